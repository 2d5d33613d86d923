"""What the shells know of whatever they step: an engine of n copies, and what it is made of.

Each family of environments has its own.
"""

from collections.abc import Callable, Mapping
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


class Actions(Protocol):
    """Codec between actions in [-1, 1] and what is decided."""

    @property
    def columns(self) -> int:
        """Numbers of an action for each user."""
        ...

    @property
    def space(self) -> spaces.Box:
        """Action space of one copy, (K, columns)."""
        ...

    def check_shape(self, action: NDArray[Any], *batch_and_users: int) -> None:
        """``ValueError`` unless the action has the shape (..., K, columns)."""
        ...

    def decode(self, action: NDArray[Any], state: Any) -> Any:
        """What actions (..., K, columns) mean in states (..., K); ``ValueError`` for bad actions."""
        ...

    def encode(self, decision: Any, state: Any) -> NDArray[np.float32]:
        """Actions (..., K, columns) that decode to decisions (..., K) in these states."""
        ...


class Observations(Protocol):
    """Codec between what is seen, in physical units, and observations."""

    @property
    def space(self) -> spaces.Dict:
        """Observation space of one copy."""
        ...

    def encode(self, observed: Any) -> Observation:
        """Observations of what is seen."""
        ...

    def decode(self, observation: Mapping[str, NDArray[np.float32]]) -> Any:
        """What observations show."""
        ...


class Aim(Protocol):
    """What steps are rewarded for."""

    @property
    def metric(self) -> str:
        """Name of what whole episodes are compared by, one of `multispin_env.evaluation.comparison.METRICS`."""
        ...

    @property
    def remembered_rounds(self) -> float:
        """Steps over which the past counts for the reward; 1 where each counts by itself."""
        ...


class Renderer(Protocol):
    """What draws or shows steps."""

    def begin(self, copies: IntArray = ...) -> None:
        """Take in that these copies were reset."""
        ...

    def add(self, step: Any, over: BoolArray | None = None) -> None:
        """Take in a step; copies that are ``over`` began anew."""
        ...

    def view(self, copy: int = 0) -> Any:
        """What there is to show of a copy."""
        ...

    def frame(self, copy: int = 0) -> NDArray[np.uint8] | None:
        """Picture of a copy's last step."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


MakeRenderer = Callable[[Any, int], Renderer]
"""Settings of an environment and the number of its copies to what draws or shows them."""


class Engine(Protocol):
    """n copies of one environment. A single environment is an engine of one copy."""

    @property
    def actions(self) -> Actions:
        """Codec of actions."""
        ...

    @property
    def objective(self) -> Aim:
        """What steps are rewarded for."""
        ...

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

    @property
    def observed(self) -> Any:
        """What plug-ins may know of it, arrays (n, K)."""
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

    def reward_slopes(self, action: NDArray[Any], worth: FloatArray | None = None, window: float = 0.0) -> FloatArray:
        """Derivatives of the next reward by actions; ``ValueError`` where it has none."""
        ...
