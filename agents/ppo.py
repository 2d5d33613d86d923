"""Proximal policy optimisation (Schulman et al. 2017): Stable-Baselines3's, with an update for many users.

- Features are computed once a rollout: they have no weights.
- Each user has a ratio of its own, which is clipped, and all share the return (as independent PPO: de Witt et al. 2020,
  arXiv 2011.09533). The ratio of all their actions together leaves its bounds after a small change for each of them.
- Advantages are what a regression leaves. All users share one return, so most of what one of them is told is noise. The
  regression takes out what can be known without its own action: a baseline that depends on the state and on the actions
  of the others (Wu et al. 2018, arXiv 1803.07246). Such a baseline changes no gradient on average; this one does a
  little, as it is fitted to the same rows. It has no weights to learn, so it is good from the first rollout on.
- Where γ = 0 there is no critic to learn: returns are rewards.
- Where steps take different times, discounts are of a second, and the price of time is the agent's own rate.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import torch as th
import torch.nn.functional as F  # noqa: N812 (its usual name)
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from torch import nn
from typing_extensions import override

from agents.base import BaseSettings, LinearRate, Remaining, has_late_reports
from agents.policies import EquivariantActorCritic
from agents.vec_env import NativeVecEnv, require_native
from multispin_env.arrays import FloatArray
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.objectives import Objective, TokensMinusTime
from multispin_env.envs.observations import Observation


def gains(features: th.Tensor, noise: th.Tensor, returns: th.Tensor) -> tuple[th.Tensor, float]:
    """What users' actions gained in a rollout, (n, K) of mean 0 and variance 1, and the part of variance explained.

    They depend on features (n, K, F). Noise (n, K, columns) is how far they are from their means, in standard
    deviations; returns are (n,).
    """
    state, actions = _of_states(features), _of_actions(features, noise)
    known = th.cat([state, actions.sum(1)], dim=-1).double()
    square = known.T @ known
    square.diagonal().add_(1e-5 * len(known))  # so that columns may depend on each other
    weights = th.linalg.solve(square, known.T @ returns.double())
    left = returns - (known @ weights).float()
    explained = 1.0 - float(left.var() / returns.var().clamp(min=1e-12))
    own = left.unsqueeze(-1) + actions @ weights[state.shape[-1] :].float()
    return (own - own.mean()) / (own.std() + 1e-8), explained


def _of_states(features: th.Tensor) -> th.Tensor:
    """Columns (n, numbers) that the order of users does not change: means of products, and extremes."""
    one = _with_one(features)
    first, second = th.triu_indices(one.shape[-1], one.shape[-1], device=one.device)
    products = one.transpose(-1, -2) @ one / one.shape[-2]
    return th.cat([products[:, first, second], features.amax(-2), features.amin(-2)], dim=-1)


def _of_actions(features: th.Tensor, noise: th.Tensor) -> th.Tensor:
    """Columns (n, K, numbers) of each user's own action: how it deviates, by features, and how far."""
    slopes = (_with_one(features).unsqueeze(-1) * noise.unsqueeze(-2)).flatten(-2)
    return th.cat([slopes, noise.square() - 1.0], dim=-1)


def _with_one(features: th.Tensor) -> th.Tensor:
    return th.cat([th.ones_like(features[..., :1]), features], dim=-1)


class _Steps(VecEnvWrapper):
    """What a rollout is collected from: rewards hold what is still to come where an episode is cut off.

    That is the discounted value of its last observation, by the policy. Stable-Baselines3 does the same, copy by copy,
    and also where it counts for nothing; it is not told that the episode was cut off. All episodes are cut off, and
    none ends by itself.
    """

    def __init__(self, env: VecEnv, gamma: float, policy: EquivariantActorCritic) -> None:
        super().__init__(env)
        self._gamma, self._policy = gamma, policy

    @override
    def reset(self) -> Any:
        return self.venv.reset()

    @override
    def step_wait(self) -> Any:
        observation, rewards, dones, infos = self.venv.step_wait()
        discounts = self._discounts(rewards)
        ended = np.flatnonzero(dones)
        if ended.size:
            if self._gamma:
                last = [infos[copy]["terminal_observation"] for copy in ended]
                rewards[ended] += discounts[ended] * self._values(last)
            infos = [{key: told for key, told in info.items() if key != "TimeLimit.truncated"} for info in infos]
        return observation, rewards, dones, infos

    def _discounts(self, rewards: NDArray[Any]) -> FloatArray:
        return np.full(self.num_envs, self._gamma)

    def _values(self, observations: list[Observation]) -> FloatArray:
        entries = {key: np.stack([one[key] for one in observations]) for key in observations[0]}
        with th.no_grad():
            tensors, _ = self._policy.obs_to_tensor(entries)
            values: FloatArray = self._policy.predict_values(tensors).cpu().numpy().reshape(-1)
        return values


class MultiUserPPO(PPO):
    """PPO for `EquivariantActorCritic`.

    Parameters are those of ``PPO``. Of them ``clip_range_vf``, ``ent_coef`` and ``target_kl`` are not used, nor is
    ``vf_coef`` where γ = 0.
    """

    def steps(self, env: VecEnv, buffer: RolloutBuffer) -> _Steps:
        """What rollouts are collected from."""
        return _Steps(env, self.gamma, cast(EquivariantActorCritic, self.policy))

    @override
    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        steps = self.steps(env, rollout_buffer)
        return super().collect_rollouts(steps, callback, rollout_buffer, n_rollout_steps)

    @override
    def train(self) -> None:
        policy = cast(EquivariantActorCritic, self.policy)
        policy.set_training_mode(True)
        self._update_learning_rate(policy.optimizer)
        clip = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        batch = Rollout(cast(DictRolloutBuffer, self.rollout_buffer), policy)
        seen: list[list[float]] = []
        for _ in range(self.n_epochs):
            order = th.randperm(len(batch.returns), device=self.device)
            for chosen in order.split(self.batch_size):
                loss, measured = batch.loss(chosen, clip, self.vf_coef if self.gamma else 0.0)
                policy.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                th.nn.utils.clip_grad_norm_(policy.parameters(), self.max_grad_norm)
                policy.optimizer.step()
                seen.append(measured)
            self._n_updates += 1
        names = ("policy_gradient_loss", "value_loss", "approx_kl", "clip_fraction")  # of all users' actions together
        for name, value in zip(names, np.mean(seen, axis=0), strict=True):
            self.logger.record(f"train/{name}", float(value))
        self.logger.record("train/explained_variance", batch.explained)
        self.logger.record("train/std", policy.log_std.exp().mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")


class Rollout:
    """A rollout as tensors of n rows; its loss is that of the policy that collected it, which changes meanwhile."""

    def __init__(self, buffer: DictRolloutBuffer, policy: EquivariantActorCritic) -> None:
        def rows(array: NDArray[np.float32]) -> th.Tensor:
            return th.as_tensor(array, device=policy.device).flatten(0, 1)

        self._policy = policy
        self.returns = rows(buffer.returns)
        with th.no_grad():
            shown = {key: rows(array) for key, array in buffer.observations.items()}
            self._features = policy.features_extractor(shown)
            self._actions = rows(buffer.actions).unflatten(-1, (-1, policy.columns))
            noise = self._noise(self._features, self._actions)
            self._before = self._log_prob(noise)
            by_user = self._features.unflatten(-1, (noise.shape[1], -1))
            self._gains, self.explained = gains(by_user, noise, rows(buffer.advantages))

    def loss(self, chosen: th.Tensor, clip: float, value_weight: float) -> tuple[th.Tensor, list[float]]:
        """Loss over chosen rows, and what is logged of it; without weight values are not computed."""
        features, gains = self._features[chosen], self._gains[chosen]
        change = self._log_prob(self._noise(features, self._actions[chosen])) - self._before[chosen]
        ratio = change.exp()
        clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
        policy_loss = -th.min(gains * ratio, gains * clipped).sum(-1).mean()
        loss, value_loss = policy_loss, 0.0
        if value_weight:
            error = F.mse_loss(self._policy.values(features), self.returns[chosen])
            loss, value_loss = policy_loss + value_weight * error, error.item()
        with th.no_grad():
            divergence = (ratio - 1.0 - change).sum(-1).mean()
            outside = (ratio != clipped).float().mean()
        return loss, [policy_loss.item(), value_loss, divergence.item(), outside.item()]

    def _noise(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return (actions - self._policy.means(features)) * (-self._policy.log_std).exp()

    def _log_prob(self, noise: th.Tensor) -> th.Tensor:
        """Of each user's actions (n, K), but for a constant."""
        return -0.5 * noise.square().sum(-1) - self._policy.log_std.sum()


MEMORY = 20.0
"""Seconds of each copy, about an episode, after which what was measured counts 1 / e."""


class AverageReward(nn.Module):
    """Tokens a second that an agent makes while it learns, and what its rewards are if that is the price of a second.

    With ρ the own rate, a step's (tokens − ρ · duration) is its gain over what the agent makes in the same time, as in
    average-reward learning (Schwartz 1993). The price of the environment is another number, that of a rule: where the
    agent is better than the rule every second seems to pay, and long steps with it. A moving estimate, Σ tokens / Σ
    duration over about `MEMORY` seconds of each copy. It is a module for the sake of its state, which checkpoints keep.
    Where the objective has no price of a second, rewards are left as they are.
    """

    tokens: th.Tensor
    seconds: th.Tensor

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.price, self.scale = 0.0, 1.0  # of the environment: tokens/s, and tokens that count as one
        self.priced = isinstance(objective, TokensMinusTime)
        if isinstance(objective, TokensMinusTime):
            self.price, self.scale = objective.rho, objective.scale
        for name in ("tokens", "seconds"):
            self.register_buffer(name, th.zeros((), dtype=th.float64))

    @property
    def rate(self) -> float:
        """Tokens a second of the agent; the environment's price before anything was measured."""
        return float(self.tokens / self.seconds) if self.seconds > 0.0 else self.price

    def update(self, rewards: NDArray[Any], durations: FloatArray) -> None:
        """Measure steps (steps, copies): what the environment gave for them, and seconds."""
        seconds = float(durations.sum(dtype=np.float64))
        tokens = self.scale * float(rewards.sum(dtype=np.float64)) + self.price * seconds
        kept = float(np.exp(-seconds / durations.shape[1] / MEMORY))
        self.tokens.mul_(kept).add_(tokens)
        self.seconds.mul_(kept).add_(seconds)

    def correction(self, durations: FloatArray) -> FloatArray:
        """What is added to the rewards of steps of these durations, so that a second costs the own rate."""
        if not self.priced:
            return np.zeros_like(durations)
        corrected: FloatArray = (self.price - self.rate) / self.scale * durations
        return corrected


class TimedRolloutBuffer(DictRolloutBuffer):
    """Rollouts whose steps have durations d: γ and λ are of a second, so those of a step are γ ** d and λ ** d.

    λ is of a second too: what a trace weighs then depends on how long ago something was, and not on how many
    verifications lie between, which is the agent's own decision. When a rollout is complete, its rate is measured, and
    its rewards are put right by it before advantages are computed.
    """

    def __init__(self, *args: Any, own_rate: AverageReward, **kwargs: Any) -> None:
        self.own_rate = own_rate
        super().__init__(*args, **kwargs)

    @override
    def reset(self) -> None:
        super().reset()
        self.durations = np.zeros((self.buffer_size, self.n_envs))
        self.env_rewards = np.zeros((self.buffer_size, self.n_envs))  # rewards of the environment, nothing added

    def record(self, rewards: NDArray[Any], durations: FloatArray) -> None:
        """Keep rewards and durations (n,) of the step that is added next."""
        self.env_rewards[self.pos], self.durations[self.pos] = rewards, durations

    @override
    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: NDArray[Any]) -> None:
        self.own_rate.update(self.env_rewards, self.durations)
        self.rewards += self.own_rate.correction(self.durations).astype(np.float32)
        discounts = self.gamma**self.durations
        traces = discounts * self.gae_lambda**self.durations
        values = np.vstack([self.values, last_values.detach().cpu().numpy().reshape(1, -1)])
        goes_on = 1.0 - np.vstack([self.episode_starts[1:], dones[None]])
        deltas = self.rewards + goes_on * discounts * values[1:] - values[:-1]
        later = np.zeros(self.n_envs)
        for step in reversed(range(self.buffer_size)):
            later = deltas[step] + goes_on[step] * traces[step] * later
            self.advantages[step] = later
        self.returns = self.advantages + self.values


class _TimedSteps(_Steps):
    """Steps that note their durations in the buffer, and whose discounts depend on them."""

    def __init__(self, env: NativeVecEnv, buffer: TimedRolloutBuffer, policy: EquivariantActorCritic) -> None:
        super().__init__(env, buffer.gamma, policy)
        self._native, self._buffer = env, buffer

    @override
    def _discounts(self, rewards: NDArray[Any]) -> FloatArray:
        durations = self._native.durations
        self._buffer.record(rewards, durations)
        discounts: FloatArray = self._gamma**durations
        return discounts


class TimedPPO(MultiUserPPO):
    """PPO with γ and λ of a second, and the own rate as the price of time, for a `NativeVecEnv`."""

    @override
    def _setup_model(self) -> None:
        assert isinstance(self.env, NativeVecEnv)
        self.own_rate = AverageReward(self.env.env.objective)
        self.rollout_buffer_class = TimedRolloutBuffer
        self.rollout_buffer_kwargs = {"own_rate": self.own_rate}
        super()._setup_model()

    @override
    def steps(self, env: VecEnv, buffer: RolloutBuffer) -> _TimedSteps:
        assert isinstance(env, NativeVecEnv)
        assert isinstance(buffer, TimedRolloutBuffer)
        return _TimedSteps(env, buffer, cast(EquivariantActorCritic, self.policy))

    @override
    def train(self) -> None:
        super().train()
        self.logger.record("rollout/own_rate", self.own_rate.rate)

    @override
    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        networks, others = super()._get_torch_save_params()
        return [*networks, "own_rate"], others


@dataclass(frozen=True)
class PPOSettings(BaseSettings):
    """All hyperparameters, as they are used where a state is known; `CHANGES` has what differs elsewhere."""

    num_envs: int = 256
    timesteps: int = 400_000
    rollout_rounds: int = 4
    batch_size: int = 512
    epochs: int = 1
    learning_rate: float = 4e-3  # at first; it falls linearly to 5 % of it
    clip_range: float = 0.4
    max_grad_norm: float = 1.0
    value_weight: float = 0.5  # of the critic's loss; without a critic, at γ = 0, of no importance
    gamma: float = 0.0  # discount γ of a step, or where steps take different times of a second
    trace: float = 1.0  # λ of generalised advantages, of the same
    timed: bool = False  # whether steps take different times
    width: int = 16  # of all layers
    log_std: float = -2.5  # logarithm of the exploration's first standard deviation
    column_log_std: tuple[float, ...] = ()  # added to it in single columns of the actions; steps there scale with it
    bandwidth: float = 0.0  # first mean of the actions' columns after the first
    last_std: float = 0.01  # standard deviation of the first weights of the actor's last layer
    decentralised: bool = False

    @override
    def for_environment(self, config: EnvConfig) -> Self:
        changes = {name: value for case in _cases(config) for name, value in CHANGES[case].items()}
        return replace(self, gamma=config.variant.learning.discount, **changes)

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str) -> MultiUserPPO:
        """Build the untrained model; ``ValueError`` where steps take different times that ``env`` does not know."""
        if self.timed:
            require_native(env, "durations")
        return (TimedPPO if self.timed else MultiUserPPO)(
            EquivariantActorCritic,
            env,
            learning_rate=LinearRate(self.learning_rate, remaining),
            n_steps=self.rollout_rounds,
            batch_size=self.batch_size,
            n_epochs=self.epochs,
            gamma=self.gamma,
            gae_lambda=self.trace,
            clip_range=self.clip_range,
            vf_coef=self.value_weight,
            max_grad_norm=self.max_grad_norm,
            policy_kwargs={
                "width": self.width,
                "log_std_init": self.log_std,
                "column_log_std": self.column_log_std,
                "bandwidth_init": self.bandwidth,
                "last_std": self.last_std,
                "critic": self.gamma > 0.0,
                "alone": self.decentralised,
            },
            seed=seed,
            device=device,
        )


_CAREFUL = {"rollout_rounds": 8, "epochs": 2, "learning_rate": 2e-3, "clip_range": 0.2, "width": 32}

CHANGES: Mapping[str, Mapping[str, Any]] = {
    "common length": _CAREFUL,
    "history": {"log_std": -1.5},
    "late reports": {**_CAREFUL, "log_std": -2.0, "bandwidth": 0.4},
    "residual rounds": {"column_log_std": (0.0, -2.5)},
    "verifications": {
        **{"rollout_rounds": 16, "epochs": 4, "learning_rate": 1e-3, "clip_range": 0.1, "width": 64},
        **{"trace": 0.1, "timed": True, "last_std": 0.0},
    },
    "residual verifications": {"column_log_std": (0.0, -1.0, -1.0)},
}
"""Numbers that differ from the defaults of `PPOSettings`, by what is special; γ is the environment's.

- Common length, late reports: rewards are noisy. With 400,000 rounds (llama2, K = 20, seed 0) `_CAREFUL` raised the
  share of the optimum from 0.9961 to 0.9991 where the length is common, and from 0.7935 to 0.7987 where reports are
  late. There factors on bandwidth, that hedge, are worth much: at 0.4 a step in the second column changes bandwidth
  almost four times as much as at 0; a common factor hardly matters.
- History, where what is known depends on earlier rounds: what a length is worth shows late, and exploration lasts.
  With 400,000 rounds (llama2, K = 20, seed 0) -2.5, -2 and -1.5 gave 0.9861, 0.9867 and 0.9869 of the optimum where
  acceptance is hidden.
- Residual rounds, where factors are on the best bandwidth for these lengths: all wait for the last device, so noise
  in bandwidth costs in proportion, and agents learn actions that suit their noise. With 300,000 rounds (qwen3.5, K =
  20, seed 0) that was 0.3 % of the optimum with 0, and 0.03 % with -2.5.
- Verifications, where a step is one, of about 0.06 s: its value shows later. With `own-pace` as reference, K = 8 and
  300,000 steps, traces from 0.1 to 0.8 gained 1.0 to 2.0 % on validation, whether γ was 0.2, 0.5 or 0.8 (one seed
  each). Rollouts of 64 steps with batches of 2,048 gained 0 to 0.6 % in 400,000 steps.
- Residual verifications, where actions are added to a rule's decisions: exploration costs tokens. With a standard
  deviation of 0.08 in the column of batches `groups` loses 14 % of its rate, and `own-pace` 3 %; with 0.03 none does,
  since a batch changes from 0.2 on.
"""


def _cases(config: EnvConfig) -> Iterator[str]:
    variant, residual = config.variant, config.action == "residual"
    if variant.learning.discount_of == "second":
        yield from ("verifications", "residual verifications") if residual else ("verifications",)
    elif has_late_reports(config):
        yield "late reports"
    else:
        if config.actions.common_draft_length:
            yield "common length"
        if not variant.comparison.states:
            yield "history"
        if residual:
            yield "residual rounds"


SETTINGS = PPOSettings()

DECENTRALISED = PPOSettings(decentralised=True)
"""The actor could run on the devices: it sees only the one that it decides for, and what all share.

It learns from the common reward with a baseline that sees all, so what it reaches less than `SETTINGS` is the price of
not knowing the others. Whoever knows all still shares bandwidth: with ``action="lengths"`` devices choose lengths only.
"""
