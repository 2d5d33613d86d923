"""What the shells know of whatever they step: an engine of n copies. Each family of environments has its own."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray

Observation = dict[str, NDArray[np.float32]]
"""Arrays by entry: (...) of one copy, (n, ...) of all."""


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """One step of all copies. How long it takes may differ from copy to copy and from step to step."""

    observation: Observation  # after the step, arrays (n, ...), to be read only
    reward: FloatArray  # (n,)
    terminated: BoolArray  # (n,) whether the episode has come to its own end; to be read only
    truncated: BoolArray  # (n,) whether the engine cuts it off; shells count steps besides
    duration: FloatArray  # (n,) s
    info: dict[str, NDArray[Any]]  # arrays (n,) and (n, K)


class Engine(Protocol):
    """n copies of one environment. A single environment is an engine of one copy."""

    @property
    def action_space(self) -> spaces.Box:
        """Action space of one copy."""
        ...

    @property
    def observation_space(self) -> spaces.Dict:
        """Observation space of one copy."""
        ...

    @property
    def state(self) -> Any:
        """What prices the next action, arrays (n, K)."""
        ...

    def seed(self, copy: int, generator: np.random.Generator) -> None:
        """Give a copy fresh random streams, spawned from ``generator``."""
        ...

    def reset(self, copies: IntArray | None = None) -> Observation:
        """Start new episodes in some copies (default all); returns the observation of all, to be read only."""
        ...

    def step(self, action: NDArray[Any], over: BoolArray | None = None) -> Step:
        """Play actions (n, ...); a bad action raises and changes nothing.

        Copies that are ``over`` (n,) start a new episode instead: their action is not read, reward and info are 0.
        """
        ...

    def encode(self, decision: Any, copy: int | None = None) -> NDArray[np.float32]:
        """Return the actions that decode to decisions of all copies, or the action of one copy."""
        ...

    def decode(self, action: NDArray[Any], copy: int | None = None) -> Any:
        """Return the decisions that actions of all copies mean now, or the action of one copy."""
        ...

    def decode_observation(self, observation: Observation) -> Any:
        """Return what observations show, in physical units."""
        ...
