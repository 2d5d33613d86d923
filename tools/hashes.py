"""Hash of the behaviour of an environment: its spaces, dynamics, rewards and infos."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

STEPS = 96
"""Number of steps of `steps_hash`, enough for whole episodes of default environments and suite tasks."""

_SIZES = (5.0, 0.5)
"""Scales of the actions in alternate steps: with large actions, most rounds wait for one slow device."""


def steps_hash(env: VectorEnv[Any, Any, Any], seed: int) -> str:
    """Return SHA-256 of the spaces of an environment, and of observations, rewards and infos under random actions.

    The first environment has this seed. Numbers are rounded to six digits, since processors and libraries differ in the
    last bits of exponentials and logarithms. They are multiplied by π first: expected tokens at rates such as 0.965
    would otherwise be exactly in the middle between two numbers of six digits.
    """
    sha256 = hashlib.sha256()

    def add(*tables: Mapping[str, NDArray[Any]]) -> None:
        for table in tables:
            for name in sorted(table):
                numbers = np.pi * np.ravel(table[name]).astype(np.float64) + 0.0  # + 0.0 avoids -0.0
                sha256.update(f"{name} {np.shape(table[name])} ".encode())
                sha256.update(" ".join(f"{number:.5e}" for number in numbers.tolist()).encode())

    add(_ends("action", env.single_action_space), _ends("observation", env.single_observation_space))
    add(*env.reset(seed=seed))
    rng, shape = np.random.default_rng(0), env.action_space.shape
    for step in range(STEPS):
        action = _SIZES[step % len(_SIZES)] * rng.uniform(-1.0, 1.0, shape)
        observation, reward, terminated, truncated, info = env.step(action.astype(np.float32))
        add(observation, {"reward": reward, "terminated": terminated, "truncated": truncated}, info)
    return sha256.hexdigest()


def _ends(name: str, space: spaces.Space[Any]) -> dict[str, NDArray[Any]]:
    if isinstance(space, spaces.Dict):
        return {key: end for entry, part in space.items() for key, end in _ends(f"{name}.{entry}", part).items()}
    assert isinstance(space, spaces.Box)
    return {f"{name} {space.dtype}": np.stack([space.low, space.high])}
