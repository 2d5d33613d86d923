"""PPO of Stable-Baselines3 with an update for small networks that answer for many users.

- Features are computed once a rollout: they have no weights.
- Each user has a ratio of its own, which is clipped, and all share the return (as independent PPO: de Witt et al. 2020,
  arXiv 2011.09533). The ratio of all their actions together leaves its bounds after a small change for each of them.
- Advantages are what `agents.baseline` leaves.
- Where γ = 0 there is no critic to learn: returns are rewards.
"""

from typing import Any, cast

import numpy as np
import torch as th
import torch.nn.functional as F  # noqa: N812 (its usual name)
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from agents.baseline import gains
from agents.policies.equivariant import EquivariantActorCritic
from multispin_env.arrays import FloatArray
from multispin_env.envs.observations import Observation


class Steps(VecEnvWrapper):
    """What a rollout is collected from: rewards hold what is still to come where an episode is cut off.

    That is the discounted value of its last observation. Stable-Baselines3 does the same, copy by copy, and also where
    it counts for nothing; it is not told that the episode was cut off.

    Parameters
    ----------
    env
        The environment; all its episodes are cut off, and none ends by itself.
    gamma
        Discount of a step.
    policy
        Has the values.
    """

    def __init__(self, env: VecEnv, gamma: float, policy: EquivariantActorCritic) -> None:
        super().__init__(env)
        self._gamma, self._policy = gamma, policy

    def reset(self) -> Any:
        """As the environment."""
        return self.venv.reset()

    def step_wait(self) -> Any:
        """As the environment, with values of last observations in the rewards."""
        observation, rewards, dones, infos = self.venv.step_wait()
        discounts = self._played(rewards)
        ended = np.flatnonzero(dones)
        if ended.size:
            if self._gamma:
                last = [infos[copy]["terminal_observation"] for copy in ended]
                rewards[ended] += discounts[ended] * self._values(last)
            infos = [{key: told for key, told in info.items() if key != "TimeLimit.truncated"} for info in infos]
        return observation, rewards, dones, infos

    def _played(self, rewards: NDArray[Any]) -> FloatArray:
        """Discounts (n,) of a step that gave these rewards."""
        return np.full(self.num_envs, self._gamma)

    def _values(self, observations: list[Observation]) -> FloatArray:
        """Of single observations, all at once."""
        entries = {key: np.stack([one[key] for one in observations]) for key in observations[0]}
        with th.no_grad():
            tensors, _ = self._policy.obs_to_tensor(entries)
            values: FloatArray = self._policy.predict_values(tensors).cpu().numpy().reshape(-1)
        return values


class Proximal(PPO):
    """PPO for `EquivariantActorCritic`.

    Parameters are those of ``PPO``. Of them ``clip_range_vf``, ``ent_coef`` and ``target_kl`` are not used, nor is
    ``vf_coef`` where γ = 0.
    """

    def steps(self, env: VecEnv, buffer: RolloutBuffer) -> Steps:
        """What rollouts are collected from."""
        return Steps(env, self.gamma, cast(EquivariantActorCritic, self.policy))

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """As in Stable-Baselines3, from `Steps`."""
        steps = self.steps(env, rollout_buffer)
        return super().collect_rollouts(steps, callback, rollout_buffer, n_rollout_steps)

    def train(self) -> None:
        """Update the policy by the rollout."""
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
        for name, value in zip(MEASURED, np.mean(seen, axis=0), strict=True):
            self.logger.record(f"train/{name}", float(value))
        self.logger.record("train/explained_variance", batch.explained)
        self.logger.record("train/std", policy.log_std.exp().mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")


MEASURED = ("policy_gradient_loss", "value_loss", "approx_kl", "clip_fraction")
"""Of a minibatch; the divergence is that of all users' actions together."""


class Rollout:
    """A rollout as tensors of n rows.

    Parameters
    ----------
    buffer
        Full.
    policy
        That has collected it; the loss is that of the same policy, which changes meanwhile.
    """

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
        """Loss over chosen rows, and what is `MEASURED`; without weight values are not computed."""
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
        """How far actions (n, K, columns) are from their present means, in present standard deviations."""
        return (actions - self._policy.means(features)) * (-self._policy.log_std).exp()

    def _log_prob(self, noise: th.Tensor) -> th.Tensor:
        """Of each user's actions (n, K), but for a constant."""
        return -0.5 * noise.square().sum(-1) - self._policy.log_std.sum()
