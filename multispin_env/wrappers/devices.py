"""Devices as copies: the vector form of devices as agents."""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from multispin_env.wrappers.arrays import Array, ArraysByEntry, DeviceRows, Joined, Scaled, mapped
from multispin_env.wrappers.measuring import Measurable


class ByDevice(Measurable, VectorWrapper):  # type: ignore[type-arg]  # no generic class before Gymnasium 1.4
    """A vector in which each device is a copy of its own; see `by_device`."""

    def __init__(self, envs: VectorEnv[Any, Array, Array], scale: float = 1.0) -> None:
        super().__init__(envs)
        self._shape = (envs.num_envs, *(envs.single_action_space.shape or ()))
        self.num_agents = self._shape[1]
        """K, devices of each copy."""
        self._encode = DeviceRows(envs.single_observation_space, self.num_agents)
        self._join = Joined(envs.single_observation_space)
        row = spaces.Box(-1.0, 1.0, self._shape[2:], np.float32)
        self._scaled = Scaled(row, row.shape, scale)
        self._scale, self._base = self._scaled.scale, envs.unwrapped
        self.autoreset_mode = envs.metadata["autoreset_mode"]
        """When copies that ended start again; TorchRL asks here."""
        self.single_observation_space, self.single_action_space = self._encode.space, self._scaled.space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.state_space = self._join.space
        """Space of the state of one copy."""
        self.places = self._encode.places
        """Where each entry is in an observation."""
        self._seen: ArraysByEntry | None = None

    @property
    def num_envs(self) -> int:  # type: ignore[override]  # as in the base
        """Devices of all copies, n · K: device k of copy i is at i · K + k."""
        return self._shape[0] * self.num_agents

    def state(self) -> Array:
        """What all devices of each copy see together, (n, numbers), for central critics; after `reset`."""
        if self._seen is None:
            raise RuntimeError("state: expected reset() first, got a call before it")
        return self._join(self._seen)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """As the vector; seeds are those of copies, and a ``reset_mask`` of devices (n · K,) that of their copies."""
        if options is not None and np.shape(options.get("reset_mask", ())) == (self.num_envs,):
            mask = np.asarray(options["reset_mask"]).reshape(-1, self.num_agents)
            options = {**options, "reset_mask": mask.any(-1)}
        self._seen, infos = self.env.reset(seed=seed, options=options)
        return self._handed_out(self._seen), self._spread(infos)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """As the vector, with actions (n · K, columns); every device earns the reward of its copy."""
        self._seen, *rest, infos = self.env.step(self._scaled(actions, self._shape))
        reward, terminated, truncated = (np.repeat(np.asarray(one), self.num_agents) for one in rest)
        return self._handed_out(self._seen), reward, terminated, truncated, self._spread(infos)

    def _handed_out(self, observation: ArraysByEntry) -> Array:
        return self._encode(observation).reshape(self.num_envs, -1)

    def _spread(self, infos: dict[str, Any]) -> dict[str, Any]:
        """Infos of devices: their own numbers, and those of their copy."""
        spread: dict[str, Any] = {}
        for key, value in infos.items():
            if isinstance(value, dict):
                spread[key] = self._spread(value)
            elif key == "final_obs":
                rows = mapped(self._encode, value)
                of_devices = [row for one in rows for row in (one if one is not None else [None] * self.num_agents)]
                spread[key] = mapped(np.copy, np.fromiter(of_devices, dtype=object, count=self.num_envs))
            else:
                own = value.ndim > 1
                spread[key] = (
                    value.reshape(self.num_envs, *value.shape[2:]) if own else np.repeat(value, self.num_agents)
                )
        return spread


def by_device(envs: VectorEnv[Any, Array, Array], scale: float = 1.0) -> ByDevice:
    """Return a vector in which each device is a copy: it sees what it knows of itself, and earns the common reward.

    This is the vector form of `multispin_env.parallel.parallel_env`. A learner of single agents trains one policy for
    all devices on it. One of many agents takes ``observation.reshape(n, K, -1)``, which copies nothing.

    Parameters
    ----------
    envs
        What ``gymnasium.make_vec`` made.
    scale
        As in `flat`.

    Returns
    -------
    ByDevice
        n · K copies, device k of copy i at i · K + k. Observations (n · K, numbers): its own numbers of each entry and
        what is shared; ``places`` says where. Actions (n · K, columns), rewards (n · K,). ``state()`` is what all
        devices of a copy see together, (n, numbers).

    Raises
    ------
    ValueError
        For a bad scale, or environments of another kind.

    Examples
    --------
    >>> import gymnasium as gym, multispin_env
    >>> from multispin_env.wrappers import by_device
    >>> envs = by_device(gym.make_vec("MultiSpin/Heterogeneous-v0", num_envs=3, num_users=4))
    >>> observation, infos = envs.reset(seed=0)
    >>> observation.shape, envs.action_space.shape, envs.state().shape
    ((12, 6), (12, 2), (3, 15))
    """
    return ByDevice(envs, scale)
