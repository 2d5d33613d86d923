"""Proximal policy optimisation (Schulman et al. 2017): PPO of Stable-Baselines3 with an update for many users.

- Features are computed once per rollout, because they have no weights.
- Each user has its own clipped ratio, and all users share the return (independent PPO: de Witt et al. 2020, arXiv
  2011.09533). The ratio of the joint action would leave its bounds after a small change for each user.
- Advantages are residuals of a regression. All users share one return, so most of it is noise for a single user. The
  regression removes the part that does not depend on the user's own action: a baseline that depends on the state and on
  the actions of the others (Wu et al. 2018, arXiv 1803.07246). Such a baseline does not change the expected gradient;
  this one changes it slightly, because it is fitted to the same rows. Unlike a critic, it works from the first rollout.
- The baseline may also use what is known only after the action, if no action changes it: `hindsight`.
- With γ = 0 there is no critic: returns are rewards.
- If steps differ in duration, discounts are per second, and the price of time is the agent's own rate.
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

from multispin_agents.base import BaseSettings, LinearRate, Remaining, discount_of, has_late_reports
from multispin_agents.policies import DevicePolicy
from multispin_agents.vec_env import NativeVecEnv, require_native
from multispin_env.arrays import FloatArray
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.objectives import Objective, TokensMinusTime
from multispin_env.envs.rounds.known import RoundsConfig


def gains(features: th.Tensor, noise: th.Tensor, returns: th.Tensor) -> tuple[th.Tensor, float]:
    """Return the standardised advantages (n, K) of the users' actions, and the explained fraction of variance.

    ``features`` is (n, K, F), with `hindsight`; ``returns`` is (n,). ``noise`` (n, K, columns) is the distance of the
    actions from their means in standard deviations.
    """
    bias = th.ones_like(features[..., :1])
    biased = th.cat([bias, features], dim=-1)
    first, second = th.triu_indices(biased.shape[-1], biased.shape[-1], device=biased.device)
    products = biased.transpose(-1, -2) @ biased / biased.shape[-2]
    state = th.cat([products[:, first, second], features.amax(-2), features.amin(-2)], dim=-1)  # for any order of users
    slopes = (biased.unsqueeze(-1) * noise.unsqueeze(-2)).flatten(-2)
    actions = th.cat([slopes, noise.square() - 1.0], dim=-1)  # (n, K, numbers)
    regressors = th.cat([state, actions.sum(1)], dim=-1).double()
    square = regressors.T @ regressors
    square.diagonal().add_(1e-5 * len(regressors))  # ridge: columns may be linearly dependent
    weights = th.linalg.solve(square, regressors.T @ returns.double())
    residual = returns - (regressors @ weights).float()
    explained = 1.0 - float(residual.var() / returns.var().clamp(min=1e-12))
    advantage = residual.unsqueeze(-1) + actions @ weights[state.shape[-1] :].float()
    return (advantage - advantage.mean()) / (advantage.std() + 1e-8), explained


def hindsight(env: VecEnv) -> FloatArray:
    """Return what later reports say of the channel of the next step, (n, K, 2); (n, K, 0) if no report is late.

    The columns are the logarithm of the channel r over that of the plan, r', and the share of a device in the slowest,
    in proportion to (r' / r)². No action changes a channel, and actions are drawn before it is reported. Given the
    observation, both are independent, so a baseline that depends on the channel does not change the expected gradient
    (input-dependent baselines: Mao et al. 2019, arXiv 1807.02264). The policy never sees it. Most of the noise in
    returns is due to it. Vector environments other than `NativeVecEnv` have no hindsight.
    """
    if not (isinstance(env, NativeVecEnv) and has_late_reports(env.env.config)):
        assert env.action_space.shape is not None
        return np.empty((env.num_envs, env.action_space.shape[0], 0))
    seen = env.env.observed
    plan = seen.spectral_efficiency if seen.planned_efficiency is None else seen.planned_efficiency
    ratio = env.env.state.spectral_efficiency / plan
    slowness = ratio**-2.0
    return np.stack([np.log(ratio), slowness / np.add.reduce(slowness, -1, keepdims=True)], axis=-1)


class _Steps(VecEnvWrapper):
    """Vector environment that adds the discounted value of the last observation to the last reward of an episode.

    Stable-Baselines3 does the same for truncated episodes, but more slowly, one environment at a time and even if γ is
    0, so the truncation flag is removed here. A `TimedRolloutBuffer` also gets the steps' durations. ``hindsight`` has
    that of all steps.
    """

    def __init__(self, env: VecEnv, buffer: RolloutBuffer, policy: DevicePolicy) -> None:
        super().__init__(env)
        self._buffer, self._policy = buffer, policy
        self.hindsight: list[FloatArray] = []

    @override
    def reset(self) -> Any:
        return self.venv.reset()

    @override
    def step_wait(self) -> Any:
        self.hindsight.append(hindsight(self.venv))
        observation, rewards, dones, infos = self.venv.step_wait()
        gamma = self._buffer.gamma
        discounts: FloatArray = np.full(self.num_envs, gamma)
        if isinstance(self._buffer, TimedRolloutBuffer):
            assert isinstance(self.venv, NativeVecEnv)
            discounts = gamma**self.venv.durations
            self._buffer.record(rewards, self.venv.durations)
        ended = [env for env in np.flatnonzero(dones) if infos[env]["TimeLimit.truncated"]]
        if ended:
            if gamma:
                last = [infos[env]["terminal_observation"] for env in ended]
                entries = {key: np.stack([final[key] for final in last]) for key in last[0]}
                with th.no_grad():
                    tensors, _ = self._policy.obs_to_tensor(entries)
                    values = self._policy.predict_values(tensors).cpu().numpy().reshape(-1)
                rewards[ended] += discounts[ended] * values
            infos = [{key: value for key, value in info.items() if key != "TimeLimit.truncated"} for info in infos]
        return observation, rewards, dones, infos


class MultiUserPPO(PPO):
    """PPO for `DevicePolicy`.

    Parameters are those of ``PPO``; ``clip_range_vf``, ``ent_coef`` and ``target_kl`` are ignored, as is ``vf_coef`` if
    γ = 0.
    """

    @override
    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        steps = _Steps(env, rollout_buffer, cast(DevicePolicy, self.policy))
        completed = super().collect_rollouts(steps, callback, rollout_buffer, n_rollout_steps)
        self.hindsight = np.array(steps.hindsight, dtype=np.float32)  # (steps, n, K, columns)
        return completed

    @override
    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "hindsight"]

    @override
    def train(self) -> None:
        policy = cast(DevicePolicy, self.policy)
        policy.set_training_mode(True)
        self._update_learning_rate(policy.optimizer)
        clip = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        rollout = Rollout(cast(DictRolloutBuffer, self.rollout_buffer), policy, self.hindsight)
        logged: list[list[float]] = []
        for _ in range(self.n_epochs):
            order = th.randperm(len(rollout.returns), device=self.device)
            for rows in order.split(self.batch_size):
                loss, statistics = rollout.loss(rows, clip, self.vf_coef if self.gamma else 0.0)
                policy.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                th.nn.utils.clip_grad_norm_(policy.parameters(), self.max_grad_norm)
                policy.optimizer.step()
                logged.append(statistics)
            self._n_updates += 1
        names = ("policy_gradient_loss", "value_loss", "approx_kl", "clip_fraction")  # over the actions of all users
        for name, value in zip(names, np.mean(logged, axis=0), strict=True):
            self.logger.record(f"train/{name}", float(value))
        self.logger.record("train/explained_variance", rollout.explained)
        self.logger.record("train/std", policy.log_std.exp().mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")


class Rollout:
    """Rollout as tensors of n rows, with the log-probabilities of the policy that collected it."""

    def __init__(self, buffer: DictRolloutBuffer, policy: DevicePolicy, hindsight: NDArray[np.float32]) -> None:
        def flat(array: NDArray[np.float32]) -> th.Tensor:
            return th.as_tensor(array, device=policy.device).flatten(0, 1)

        self._policy = policy
        self.returns = flat(buffer.returns)
        with th.no_grad():
            observations = {key: flat(array) for key, array in buffer.observations.items()}
            self._features = policy.features_extractor(observations)
            self._actions = flat(buffer.actions).unflatten(-1, (-1, policy.columns))
            noise = self._noise(self._features, self._actions)
            self._before = self._log_prob(noise)
            by_user = self._features.unflatten(-1, (noise.shape[1], -1))
            known_later = th.cat([by_user, flat(hindsight)], dim=-1)
            self._gains, self.explained = gains(known_later, noise, flat(buffer.advantages))

    def loss(self, rows: th.Tensor, clip: float, value_weight: float) -> tuple[th.Tensor, list[float]]:
        """Return the loss over rows and statistics for the log; with ``value_weight=0`` no values are computed."""
        features, gains = self._features[rows], self._gains[rows]
        change = self._log_prob(self._noise(features, self._actions[rows])) - self._before[rows]
        ratio = change.exp()
        clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
        policy_loss = -th.min(gains * ratio, gains * clipped).sum(-1).mean()
        loss, value_loss = policy_loss, 0.0
        if value_weight:
            error = F.mse_loss(self._policy.values(features), self.returns[rows])
            loss, value_loss = policy_loss + value_weight * error, error.item()
        with th.no_grad():
            divergence = (ratio - 1.0 - change).sum(-1).mean()
            outside = (ratio != clipped).float().mean()
        return loss, [policy_loss.item(), value_loss, divergence.item(), outside.item()]

    def _noise(self, features: th.Tensor, actions: th.Tensor) -> th.Tensor:
        return (actions - self._policy.means(features)) * (-self._policy.log_std).exp()

    def _log_prob(self, noise: th.Tensor) -> th.Tensor:
        return -0.5 * noise.square().sum(-1) - self._policy.log_std.sum()  # (n, K), up to a constant


MEMORY = 20.0
"""Time constant of the moving averages in `AverageReward`, in seconds of each environment (about an episode)."""


class AverageReward(nn.Module):
    """Token rate of a learning agent, and rewards in which this rate is the price of a second.

    With the agent's own rate ρ, tokens − ρ · duration is the gain of a step over the agent's average in the same time,
    as in average-reward learning (Schwartz 1993). The environment's price is the rate of a rule: with this price, an
    agent that is better than the rule gains reward in every second, so long steps seem better. The estimate is
    Σ tokens / Σ duration over about `MEMORY` seconds of each environment. The class is a module so that checkpoints
    store its state. If the objective has no price of a second, rewards do not change.
    """

    tokens: th.Tensor
    seconds: th.Tensor

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.price, self.scale = 0.0, 1.0  # of the environment, in tokens/s and in tokens per unit of reward
        self.priced = isinstance(objective, TokensMinusTime)
        if isinstance(objective, TokensMinusTime):
            self.price, self.scale = objective.rho, objective.scale
        for name in ("tokens", "seconds"):
            self.register_buffer(name, th.zeros((), dtype=th.float64))

    @property
    def rate(self) -> float:
        """Tokens per second of the agent; the environment's price before the first update."""
        return float(self.tokens / self.seconds) if self.seconds > 0.0 else self.price

    def update(self, rewards: NDArray[Any], durations: FloatArray) -> None:
        """Update the rate with the environment's rewards and the durations of steps, both (steps, num_envs)."""
        seconds = float(durations.sum(dtype=np.float64))
        tokens = self.scale * float(rewards.sum(dtype=np.float64)) + self.price * seconds
        decay = float(np.exp(-seconds / durations.shape[1] / MEMORY))
        self.tokens.mul_(decay).add_(tokens)
        self.seconds.mul_(decay).add_(seconds)

    def correction(self, durations: FloatArray) -> FloatArray:
        """Return the change of rewards that makes the agent's own rate the price of a second."""
        if not self.priced:
            return np.zeros_like(durations)
        return (self.price - self.rate) / self.scale * durations


class TimedRolloutBuffer(DictRolloutBuffer):
    """Rollout buffer with γ and λ per second: a step of duration d has the factors γ ** d and λ ** d.

    With λ per second, the weights of traces depend on elapsed time instead of the number of verifications, which the
    agent influences. Before advantages are computed, the rate of the rollout is measured and its rewards are corrected.
    """

    def __init__(self, *args: Any, own_rate: AverageReward, **kwargs: Any) -> None:
        self.own_rate = own_rate
        super().__init__(*args, **kwargs)

    @override
    def reset(self) -> None:
        super().reset()
        self.durations = np.zeros((self.buffer_size, self.n_envs))
        self.env_rewards = np.zeros((self.buffer_size, self.n_envs))

    def record(self, rewards: NDArray[Any], durations: FloatArray) -> None:
        """Store the environment's rewards and the durations (n,) of the step that is added next."""
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


class TimedPPO(MultiUserPPO):
    """PPO with γ and λ per second and the agent's own rate as the price of time, for a `NativeVecEnv`."""

    @override
    def _setup_model(self) -> None:
        assert isinstance(self.env, NativeVecEnv)
        self.own_rate = AverageReward(self.env.env.objective)
        self.rollout_buffer_class = TimedRolloutBuffer
        self.rollout_buffer_kwargs = {"own_rate": self.own_rate}
        super()._setup_model()

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
    """Hyperparameters of PPO; `CHANGES` has different values for special cases."""

    num_envs: int = 256
    timesteps: int = 400_000
    rollout_rounds: int = 4
    batch_size: int = 256
    epochs: int = 4
    learning_rate: float = 4e-3  # initial value; decreases linearly to 5 % of it
    clip_range: float = 0.8
    max_grad_norm: float = 1.0
    value_weight: float = 0.5  # of the critic's loss; unused if γ = 0
    gamma: float = 0.0  # discount γ of a step, or of a second if timed
    trace: float = 1.0  # λ of generalised advantage estimation, of a step, or of a second if timed
    timed: bool = False  # whether steps differ in duration
    width: int = 16  # of all layers
    log_std: float = -0.9  # initial log standard deviation of the exploration
    column_log_std: tuple[float, ...] = ()  # added to log_std by action column; learning steps scale with it
    bandwidth: float = 0.0  # initial mean of all action columns except the first
    last_std: float = 0.01  # initial standard deviation of the weights of the actor's last layer
    decentralised: bool = False  # whether the actor sees only its own device and the shared entries

    @override
    def for_environment(self, config: EnvConfig) -> Self:
        changes = {name: value for case in _cases(config) for name, value in CHANGES[case].items()}
        return replace(self, **{"gamma": discount_of(config), **changes})

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str) -> MultiUserPPO:
        """Build the untrained model; raise ``ValueError`` if steps are timed and ``env`` has no durations."""
        if self.timed:
            require_native(env, "durations")
        return (TimedPPO if self.timed else MultiUserPPO)(
            DevicePolicy,
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


CHANGES: Mapping[str, Mapping[str, Any]] = {
    # factors multiply the best bandwidth for the lengths, and all devices wait for the last one: noise is costly
    "residual rounds": {"batch_size": 512, "epochs": 1, "clip_range": 0.4, "column_log_std": (0.0, -2.5)},
    # noisy rewards
    "common length": {
        **{"rollout_rounds": 8, "batch_size": 512, "epochs": 2},
        **{"learning_rate": 2e-3, "clip_range": 0.2, "width": 32},
    },
    # exploration has to show above the noise that `hindsight` leaves; bandwidth factors hedge
    "late reports": {"learning_rate": 2e-3, "clip_range": 0.2, "width": 32, "log_std": 0.1, "bandwidth": 3.2},
    # information depends on earlier rounds, so the effect of a length is seen late
    "history": {"log_std": 0.1},
    "head starts": {"batch_size": 256, "epochs": 4, "clip_range": 0.4, "log_std": 0.5},
    # γ is 0 since the reward has the price of a joule; timed for the agent's own rate, since long rounds seem better
    "batteries": {
        **{"timesteps": 50_000, "batch_size": 256, "epochs": 8, "clip_range": 0.4, "log_std": 0.5},
        **{"gamma": 0.0, "timed": True},
    },
    # a step is about 0.06 s, and its effect is seen later
    "verifications": {
        **{"rollout_rounds": 16, "batch_size": 512, "learning_rate": 1e-3, "clip_range": 0.1, "width": 64},
        **{"trace": 0.1, "timed": True, "last_std": 0.0},
    },
    # actions are added to a rule's decisions: exploration in the column of batches costs tokens
    "residual verifications": {"column_log_std": (0.0, -1.0, -1.0)},
}
"""Changes to the defaults of `PPOSettings` in special cases; later ones win. Otherwise γ is that of the environment.

docs/evidence/agents.md#settings-of-ppo has the scores with and without them.
"""


def _cases(config: EnvConfig) -> Iterator[str]:
    residual = config.action == "residual"
    if config.family == "continuous":
        yield from ("verifications", "residual verifications") if residual else ("verifications",)
    elif has_late_reports(config):
        yield "late reports"
    else:
        if residual:
            yield "residual rounds"
        if isinstance(config, RoundsConfig) and config.actions.common_draft_length:
            yield "common length"
        if not config.independent:
            yield "history"
        if config.scenario.draft_ahead:
            yield "head starts"
        if config.scenario.battery_rounds:
            yield "batteries"


SETTINGS = PPOSettings()

DECENTRALISED = PPOSettings(decentralised=True)
"""PPO with an actor that could run on the devices: it sees only its own device and the shared entries.

It learns from the common reward with a baseline that sees all devices, so its loss against `SETTINGS` is due to not
observing the others. The server still allocates bandwidth: with ``action="lengths"``, devices decide only on lengths.
"""
