"""Adapter of the native vector environment to Stable-Baselines3's ``VecEnv``."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer
from multispin_env.envs.base import MultiSpinVectorEnv
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.statistics import (
    EPISODE_SEED,
    HELD_OUT_SEED,
    NUM_EPISODE_SEEDS,
    NUM_STATE_SEEDS,
    TUNING_SEED,
)

RESERVED = (range(HELD_OUT_SEED, HELD_OUT_SEED + NUM_STATE_SEEDS), range(TUNING_SEED, EPISODE_SEED + NUM_EPISODE_SEEDS))
"""Ranges of the seeds for states and episodes on which agents are validated and measured."""

_Indices = None | int | Iterable[int]


class NativeVecEnv(VecEnv):
    """Stable-Baselines3 ``VecEnv`` of a native vector environment, without copies of its arrays.

    Environment i equals a single environment that is reset with ``seed + i``, as in ``DummyVecEnv``. ``infos`` have the
    return and length of an episode at its end, as with ``Monitor``. Raises ``ValueError`` unless the autoreset mode is
    ``SameStep``, which Stable-Baselines3 expects.
    """

    def __init__(self, env: MultiSpinVectorEnv, seed: int) -> None:
        if env.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"autoreset_mode: expected 'SameStep', got {env.autoreset_mode.value!r}")
        self.env = env
        self.render_mode = env.render_mode
        self._actions: NDArray[Any] | None = None
        self._last_info: dict[str, Any] = {}
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self.seed(seed)

    @classmethod
    def of(cls, config: EnvConfig, num_envs: int, seed: int) -> Self:
        """Make the environments of a configuration."""
        # Stable-Baselines3 never writes into observations
        return cls(native(config.make_vec(num_envs, copy=False, autoreset_mode=AutoresetMode.SAME_STEP)), seed)

    @override
    def reset(self) -> Any:
        observation, _ = self.env.reset(seed=self._seeds)
        self._reset_seeds()
        self._returns, self._lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=np.int64)
        return observation

    @override
    def step_async(self, actions: NDArray[Any]) -> None:
        self._actions = actions

    @override
    def step_wait(self) -> Any:
        assert self._actions is not None
        observation, reward, terminated, truncated, vector_info = self.env.step(self._actions)
        self._last_info = vector_info
        self._returns += reward
        self._lengths += 1
        ended = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for env in np.flatnonzero(ended):
            infos[env] = {
                "terminal_observation": vector_info["final_obs"][env],
                "TimeLimit.truncated": bool(truncated[env]),
                "episode": {"r": float(self._returns[env]), "l": int(self._lengths[env])},
            }
        self._returns[ended] = self._lengths[ended] = 0
        return observation, reward.astype(np.float32), ended, infos

    @property
    def durations(self) -> FloatArray:
        """Durations (n,) of the last step in seconds, including the last step of an episode that has just ended."""
        name = self.env.config.info_keys.time
        ended = self._last_info.get("final_info", {}).get(name, 0.0)
        return self._last_info.get(name, 0.0) + ended  # one of the two is 0

    @override
    def close(self) -> None:
        self.env.close()

    @override
    def get_images(self) -> list[NDArray[np.uint8] | None]:  # type: ignore[override]
        return list(self.env.render() or [None] * self.num_envs)

    @override
    def get_attr(self, attr_name: str, indices: _Indices = None) -> list[Any]:
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    @override
    def set_attr(self, attr_name: str, value: Any, indices: _Indices = None) -> None:
        raise NotImplementedError(f"set_attr: expected no call, all environments share settings, got {attr_name!r}")

    @override
    def env_method(self, method_name: str, *args: Any, indices: _Indices = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError(f"env_method: expected no call, the environments are one batch, got {method_name!r}")

    @override
    def env_is_wrapped(self, wrapper_class: Any, indices: _Indices = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]


def require_native(env: VecEnv, quantity: str) -> NativeVecEnv:
    """Return ``env``; raise ``ValueError`` unless it is a `NativeVecEnv`, which provides ``quantity``."""
    if not isinstance(env, NativeVecEnv):
        raise ValueError(f"env: expected a NativeVecEnv, which has {quantity}, got {type(env).__name__}")
    return env


def first_seed(seed: int, part: int, num_envs: int) -> int:
    """Return the seed of the first environment in a part of a run.

    Each part plays other episodes, and no part plays those on which agents are measured.
    """
    return avoid_reserved(int(np.random.SeedSequence([seed, part]).generate_state(1)[0] >> 1), num_envs)


def avoid_reserved(first: int, num_envs: int) -> int:
    """Return the first of ``num_envs`` consecutive seeds, moved up past `RESERVED` seeds if it overlaps them."""
    for reserved in RESERVED:
        refused = range(reserved.start - num_envs, reserved.stop)
        if first in refused:
            first += len(refused)
    return first


def make_vec_env(env_id: str, n_envs: int = 1, seed: int = 0, **arguments: Any) -> NativeVecEnv:
    """Make a vector environment for Stable-Baselines3, like its function of this name but faster.

    ``ValueError`` for an unknown id, ``ValueError`` or ``TypeError`` for an invalid argument.

    Parameters
    ----------
    env_id
        Id of an environment of this package.
    n_envs
        Number of environments.
    seed
        Seed of the first environment; the next one has ``seed + 1``, and so on. None may be in `RESERVED`.
    **arguments
        Arguments of ``gymnasium.make``, such as ``scenario="qwen3.5"`` or ``num_users=8``.

    Examples
    --------
    >>> from multispin_agents import make_vec_env
    >>> env = make_vec_env("MultiSpin/Heterogeneous-v0", n_envs=2, num_users=4)
    >>> env.num_envs, env.action_space.shape
    (2, (4, 2))
    """
    config = EnvConfig.of(env_id, **arguments)
    if avoid_reserved(check_integer("seed", seed, 0), check_integer("n_envs", n_envs, 1)) != seed:
        expected = f"seeds outside {', '.join(map(str, RESERVED))}, which measure agents"
        raise ValueError(f"seed: expected {expected}, got {seed} for {n_envs} environments")
    return NativeVecEnv.of(config, n_envs, seed)
