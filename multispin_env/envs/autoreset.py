"""Seeds, masks, autoreset modes and infos of vector environments, as Gymnasium has them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, IntArray
from multispin_env.checks import check_integer
from multispin_env.envs.engine import Step

Seeds = int | Sequence[int | None] | None


def checked_steps(steps: int | None) -> int:
    """Steps of an episode, -1 for no end; ``ValueError`` for less than 1."""
    return -1 if steps is None or steps == -1 else check_integer("max_episode_steps", steps, 1)


def checked_mode(mode: AutoresetMode | str) -> AutoresetMode:
    """When copies restart; ``ValueError`` for an unknown mode."""
    try:
        return AutoresetMode(mode)
    except ValueError:
        modes = [mode.value for mode in AutoresetMode]
        raise ValueError(f"autoreset_mode: expected one of {modes}, got {mode!r}") from None


def checked_seeds(seed: Seeds, num_envs: int) -> Sequence[int | None]:
    """One seed for each copy; ``ValueError`` for a wrong number of them, or a bad one."""
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, int | np.integer):
        return [check_integer("seed", seed, 0) + copy for copy in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(f"seed: expected one seed for each copy ({num_envs}), got {len(seed)}")
    return [None if one is None else check_integer(f"seed[{i}]", one, 0) for i, one in enumerate(seed)]


def checked_mask(options: dict[str, Any] | None, num_envs: int) -> BoolArray:
    """Copies (n,) to reset, by default all; ``ValueError`` for a mask that is none."""
    mask: Any = None if options is None else options.get("reset_mask")
    if mask is None:
        return np.ones(num_envs, dtype=bool)
    if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.shape != (num_envs,) or not mask.any():
        raise ValueError(f"reset_mask: expected a bool array ({num_envs},) that is true somewhere, got {mask!r}")
    return mask


def infos_of(info: Mapping[str, NDArray[Any]], given: BoolArray) -> dict[str, Any]:
    """Gymnasium's vector infos: arrays (n, ...), and under ``"_key"`` which copies have them."""
    return {**info, **{f"_{key}": given for key in info}}


def final_infos(step: Step, ended: BoolArray) -> dict[str, Any]:
    """Infos where these copies ended and started again: theirs move to ``final_obs`` and ``final_info``."""
    copies: IntArray = np.flatnonzero(ended)
    last = {key: value[copies] for key, value in step.observation.items()}
    final_obs = np.full(len(ended), None, dtype=object)
    for row, copy in enumerate(copies):
        final_obs[copy] = {key: value[row] for key, value in last.items()}
    final_info = {key: np.zeros_like(value) for key, value in step.info.items()}
    for key, value in step.info.items():
        final_info[key][copies] = value[copies]
        value[copies] = 0  # as after a reset
    return {
        **infos_of(step.info, np.ones_like(ended)),
        "final_obs": final_obs,
        "_final_obs": ended,
        "final_info": infos_of(final_info, ended),
        "_final_info": ended,
    }
