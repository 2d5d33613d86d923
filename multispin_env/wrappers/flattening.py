"""Observations and actions of one dimension."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from multispin_env.wrappers.arrays import Array, Joined, Scaled, mapped
from multispin_env.wrappers.measuring import Measurable


class Flat(Measurable, gym.Wrapper[Array, Array, Any, Array], RecordConstructorArgs):
    """A single environment with flat arrays; see `flat`."""

    def __init__(self, env: gym.Env[Any, Array], scale: float = 1.0) -> None:
        RecordConstructorArgs.__init__(self, scale=scale)
        super().__init__(env)
        self._encode = Joined(env.observation_space)
        self._shape: tuple[int, ...] = env.action_space.shape or ()
        self._scaled = Scaled(env.action_space, (int(np.prod(self._shape)),), scale)
        self._scale, self._base = self._scaled.scale, env.unwrapped
        self.observation_space, self.action_space = self._encode.space, self._scaled.space
        self.places = self._encode.places
        """Where each entry is in an observation."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """As the environment."""
        observation: Any
        observation, info = self.env.reset(seed=seed, options=options)
        return self._encode(observation), info

    def step(self, action: Array) -> tuple[Array, Any, bool, bool, dict[str, Any]]:
        """As the environment, with an action (K · columns,)."""
        observation: Any
        observation, reward, terminated, truncated, info = self.env.step(self._scaled(action, self._shape))
        return self._encode(observation), reward, terminated, truncated, info


class FlatVector(Measurable, VectorWrapper):  # type: ignore[type-arg]  # no generic class before Gymnasium 1.4
    """A vector of environments with flat arrays; see `flat_vector`."""

    def __init__(self, envs: VectorEnv[Any, Array, Array], scale: float = 1.0) -> None:
        super().__init__(envs)
        self._encode = Joined(envs.single_observation_space)
        shape = envs.single_action_space.shape or ()
        self._shape = (envs.num_envs, *shape)
        self._scaled = Scaled(envs.single_action_space, (int(np.prod(shape)),), scale)
        self._scale, self._base = self._scaled.scale, envs.unwrapped
        self.autoreset_mode = envs.metadata["autoreset_mode"]
        """When copies that ended start again; TorchRL asks here."""
        self.single_observation_space, self.single_action_space = self._encode.space, self._scaled.space
        self.observation_space = batch_space(self.single_observation_space, envs.num_envs)
        self.action_space = batch_space(self.single_action_space, envs.num_envs)
        self.places = self._encode.places
        """Where each entry is in an observation."""

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """As the vector."""
        observation, infos = self.env.reset(seed=seed, options=options)
        return self._encode(observation), infos

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """As the vector, with actions (n, K · columns)."""
        observation, reward, terminated, truncated, infos = self.env.step(self._scaled(actions, self._shape))
        if "final_obs" in infos:
            infos["final_obs"] = mapped(self._encode, infos["final_obs"])
        return self._encode(observation), reward, terminated, truncated, infos


def flat(env: gym.Env[Any, Array], scale: float = 1.0) -> Flat:
    """Return a single environment whose observations and actions are arrays of one dimension.

    Parameters
    ----------
    env
        What ``gymnasium.make`` made.
    scale
        In (0, 1]. Actions are in ±1 / scale, and the environment gets them times the scale. Many libraries explore with
        a standard deviation of 1 at first, with which nothing is learnt: take .08 for the actions ``"residual"`` and .3
        for ``"lengths"``. Where a library squashes actions into the bounds of their space, take 1.

    Returns
    -------
    Flat
        Observations (numbers,), the entries one behind the other in the order of their space; ``places`` says where
        each of them is. Actions (K · columns,), one user behind the other.

    Raises
    ------
    ValueError
        For a bad scale, or an environment of another kind.

    Examples
    --------
    >>> import gymnasium as gym, multispin_env
    >>> from multispin_env.wrappers import flat
    >>> env = flat(gym.make("MultiSpin/Heterogeneous-v0", num_users=4))
    >>> env.observation_space.shape, env.action_space.shape, env.places["shared"]
    ((15,), (8,), slice(12, 15, None))
    """
    return Flat(env, scale)


def flat_vector(envs: VectorEnv[Any, Array, Array], scale: float = 1.0) -> FlatVector:
    """Return a vector of environments whose observations and actions are arrays of one dimension for each copy.

    Parameters
    ----------
    envs
        What ``gymnasium.make_vec`` made.
    scale
        As in `flat`.

    Returns
    -------
    FlatVector
        Observations (n, numbers) and actions (n, K · columns). ``final_obs`` of the infos are arrays too.

    Raises
    ------
    ValueError
        For a bad scale, or environments of another kind.

    Examples
    --------
    >>> import gymnasium as gym, multispin_env
    >>> from multispin_env.wrappers import flat_vector
    >>> envs = flat_vector(gym.make_vec("MultiSpin/Heterogeneous-v0", num_envs=3, num_users=4), scale=0.08)
    >>> envs.reset(seed=0)[0].shape, envs.action_space.shape, float(envs.action_space.high.max())
    ((3, 15), (3, 8), 12.5)
    """
    return FlatVector(envs, scale)
