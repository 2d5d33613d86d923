"""PettingZoo environment in which each device is an agent.

The vector form is `multispin_env.wrappers.by_device`.
"""

import re
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from typing_extensions import override

from multispin_env.arrays import Array
from multispin_env.checks import check_name, missing_package
from multispin_env.envs.actions import LIMIT
from multispin_env.envs.base import MultiSpinEnv
from multispin_env.registry import ENVIRONMENTS
from multispin_env.wrappers import Measurable

try:
    from pettingzoo import ParallelEnv
except ModuleNotFoundError as error:
    raise missing_package("pettingzoo", "marl") from error


class DevicesEnv(Measurable, ParallelEnv[str, Array, Array]):  # type: ignore[misc]  # untyped base
    """PettingZoo environment with the agents ``user_0``, ``user_1``, ...; made by `parallel_env`."""

    def __init__(self, env_id: str, **arguments: Any) -> None:
        check_name("env", env_id, ENVIRONMENTS.names())
        self._env = gym.make(env_id, disable_env_checker=True, **arguments)
        base = self._env.unwrapped
        assert isinstance(base, MultiSpinEnv)
        self._base = base
        users = base.scenario.num_users
        self.possible_agents = [f"user_{user}" for user in range(users)]
        self.agents: list[str] = []
        self.render_mode = base.render_mode
        name = re.sub(r"\B(?=[A-Z])", "_", env_id.rpartition("/")[2]).lower().replace("-", "_")  # as in pistonball_v6
        self.metadata = {**base.metadata, "name": name, "is_parallelizable": True}
        self._read_by(base.observation_space, users)
        row = spaces.Box(-LIMIT, LIMIT, base.action_space.shape[1:], np.float32)  # type: ignore[index]
        self.observation_spaces = {agent: deepcopy(self._encode.space) for agent in self.possible_agents}
        self.action_spaces = {agent: deepcopy(row) for agent in self.possible_agents}

    @override
    def observation_space(self, agent: str) -> spaces.Space[Array]:
        """Return the observation space (numbers,) of a device: its part of each entry and the shared numbers."""
        return self.observation_spaces[agent]

    @override
    def action_space(self, agent: str) -> spaces.Space[Array]:
        """Return the action space (columns,) of a device: its row of the action."""
        return self.action_spaces[agent]

    @override
    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, dict[str, Any]]]:
        self._seen, info = self._env.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        return self._observations(), self._infos(info)

    @override
    def step(
        self, actions: dict[str, Array]
    ) -> tuple[dict[str, Array], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Play one step; reward, termination and truncation are the same for all devices.

        ``RuntimeError`` before `reset` and after the end of an episode; ``ValueError`` for a missing or bad action.
        """
        if not self.agents:
            raise RuntimeError("step: expected reset() first, got a call without a running episode")
        missing = [agent for agent in self.agents if agent not in actions]
        if missing:
            raise ValueError(f"actions: expected one for each of {len(self.agents)} agents, got none for {missing[:5]}")
        action = np.stack([actions[agent] for agent in self.agents])
        self._seen, reward, terminated, truncated, info = self._env.step(action)
        shared = (float(reward), bool(terminated), bool(truncated))
        rewards, terminations, truncations = (dict.fromkeys(self.agents, value) for value in shared)
        observations, infos = self._observations(), self._infos(info)
        if terminated or truncated:
            self.agents = []
        return observations, rewards, terminations, truncations, infos  # type: ignore[return-value]

    @override
    def render(self) -> Any:
        return self._env.render()

    @override
    def close(self) -> None:
        self._env.close()

    def _observations(self) -> dict[str, Array]:
        assert self._seen is not None  # `reset` sets it
        return dict(zip(self.possible_agents, self._encode(self._seen), strict=True))

    def _infos(self, info: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {
            agent: {key: value[user] if np.ndim(value) else value for key, value in info.items()}
            for user, agent in enumerate(self.possible_agents)
        }


def parallel_env(env_id: str, **arguments: Any) -> DevicesEnv:
    """Make the PettingZoo environment of a registered id, in which each device is an agent.

    Importing this module raises ``ModuleNotFoundError`` if PettingZoo is missing (extra ``marl``). Other errors are
    those of ``gymnasium.make``.

    Parameters
    ----------
    env_id
        Environment id, such as ``"MultiSpin/Heterogeneous-v0"``.
    **arguments
        Arguments of ``gymnasium.make``, such as ``num_users=8``, ``action="lengths"`` or ``rounds=32``.

    Returns
    -------
    DevicesEnv
        Environment with the agents ``user_0``, ``user_1``, ... An agent observes its own part of each entry of the
        observation and the shared numbers, and sets its own row of the action. All agents get the reward of the
        environment and end together. ``state()`` returns the joint observation.

    Examples
    --------
    >>> from multispin_env.parallel import parallel_env
    >>> env = parallel_env("MultiSpin/Heterogeneous-v0", num_users=3)
    >>> observations, infos = env.reset(seed=0)
    >>> list(observations), observations["user_0"].shape, env.action_space("user_0").shape, env.state().shape
    (['user_0', 'user_1', 'user_2'], (6,), (2,), (12,))
    """
    return DevicesEnv(env_id, **arguments)
