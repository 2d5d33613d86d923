"""The batch of environments as a Stable-Baselines3 ``VecEnv``."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from multispin_env.envs.batch import Batch, Settings

Indices = None | int | Iterable[int]


class BatchVecEnv(VecEnv):
    """Steps all copies with one call; copy i equals a single environment reset with ``seed + i``.

    Parameters
    ----------
    settings
        The environment.
    num_envs
        Number of copies.
    max_episode_steps
        Rounds until all copies truncate (they start together).
    seed
        Seed of copy 0.
    """

    def __init__(self, settings: Settings, num_envs: int, max_episode_steps: int, seed: int) -> None:
        self.batch = Batch(settings, num_envs)
        self.max_episode_steps = max_episode_steps
        self.render_mode = None
        self._actions: NDArray[Any] | None = None
        self._elapsed = 0
        super().__init__(num_envs, self.batch.observation_space, self.batch.action_space)
        self.seed(seed)

    def reset(self) -> Any:
        """Start a new episode in every copy; seeds given to `seed` since the last reset take effect."""
        for copy, seed in enumerate(self._seeds):
            if seed is not None:
                self.batch.seed(copy, seeding.np_random(seed)[0])
        self._reset_seeds()
        self._elapsed = 0
        return self.batch.reset()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Play the actions; after the last round all copies restart, the last observations in their infos."""
        assert self._actions is not None
        step = self.batch.step(self._actions)
        self._elapsed += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        over = self._elapsed >= self.max_episode_steps
        observation = step.observation
        if over:
            for copy, info in enumerate(infos):
                info["terminal_observation"] = {key: value[copy] for key, value in observation.items()}
                info["TimeLimit.truncated"] = True
            observation = self.reset()
        return observation, step.reward.astype(np.float32), np.full(self.num_envs, over), infos

    def close(self) -> None:
        """Nothing to free."""

    def _chosen(self, indices: Indices) -> list[int]:
        return list(self._get_indices(indices))

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Attribute of the batch that all copies share."""
        return [getattr(self, attr_name) for _ in self._chosen(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Refused: copies share their settings."""
        raise NotImplementedError(f"set_attr: got {attr_name!r}, allowed is nothing: copies share their settings")

    def env_method(self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any) -> list[Any]:
        """Refused: there are no single environments inside."""
        raise NotImplementedError(f"env_method: got {method_name!r}, allowed is nothing: the copies are one batch")

    def env_is_wrapped(self, wrapper_class: Any, indices: Indices = None) -> list[bool]:
        """No copy is wrapped."""
        return [False for _ in self._chosen(indices)]
