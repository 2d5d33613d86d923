"""Common pieces of the simulators of both families, which step a batch of n environments."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self

import numpy as np
from typing_extensions import TypeVar

from multispin_env.arrays import Array, BoolArray, FloatArray, IntArray, Rows, replace_rows
from multispin_env.controllers.base import DecisionT, State
from multispin_env.envs.objectives import Objective
from multispin_env.envs.observations import Observation, ObservationCodec
from multispin_env.physics.continuous.types import ContinuousObserved, ContinuousOutcome
from multispin_env.physics.types import Observed, Outcome

if TYPE_CHECKING:  # not needed at import
    from multispin_env.envs.actions import ActionCodec

OutcomeT = TypeVar("OutcomeT", bound=Outcome | ContinuousOutcome, default=Any)


@dataclass(eq=False, slots=True)  # not frozen, which would take three times as long
class Step(Generic[DecisionT, OutcomeT]):
    """Result of one step of all environments; durations may differ."""

    observation: Observation  # after the step, arrays (n, ...), read only
    reward: FloatArray  # (n,)
    terminated: BoolArray  # (n,) read only
    truncated: BoolArray  # (n,) by the simulator; `max_episode_steps` is applied outside
    duration: FloatArray  # (n,) s
    info: dict[str, Array]  # arrays (n,) and (n, K)
    decision: DecisionT  # (n, K)
    outcome: OutcomeT  # (n, ...)

    def without(self, over: BoolArray | None) -> Self:
        """Set reward, duration and info to 0 in the environments in the mask ``over`` (n,)."""
        for array in () if over is None else (self.reward, self.duration, *self.info.values()):
            array[over] = 0
        return self


class Counts:
    """Counts of tokens drafted and accepted in the last step, and of events since the current request began."""

    def __init__(self, num_envs: int, num_users: int) -> None:
        zeros = np.zeros((num_envs, num_users), dtype=np.int64)
        names = ("drafted", "accepted", "age", "hits", "misses")
        self.fields: dict[str, IntArray] = dict.fromkeys(names, zeros)
        """Fields of `Observed`, arrays (n, K); every step replaces them."""

    def reset(self, rows: Rows) -> None:
        """Start new episodes."""
        for name, array in self.fields.items():
            self.fields[name] = replace_rows(array, rows, np.zeros_like(array[rows]))

    def advance(self, drafted: IntArray, accepted: IntArray, new: BoolArray, verified: BoolArray | bool = True) -> None:
        """Count a step, arrays (n, K); devices with a ``new`` request start from 0."""
        old, same = self.fields, ~new
        self.fields = {
            "drafted": drafted,
            "accepted": accepted,
            "age": same * (old["age"] + verified),
            "hits": same * (old["hits"] + accepted),
            "misses": same * (old["misses"] + (accepted < drafted)),
        }


class Simulator(Protocol[State, DecisionT]):
    """Interface of the simulators: n environments, with actions and observations as arrays (n, ...)."""

    observations: ObservationCodec
    objective: Objective
    planned: State  # state used to decode actions, arrays (n, K)

    @property
    def actions(self) -> "ActionCodec[State, DecisionT]":
        """Codec between actions and decisions."""

    @property
    def state(self) -> State:
        """True state used to price the next action, arrays (n, K)."""

    @property
    def observed(self) -> Observed | ContinuousObserved:
        """Input of plug-ins, arrays (n, K)."""

    @property
    def own_physics(self) -> str:
        """Method of a subclass that plays or prices steps, so that the package's optimum need not hold; "" if none."""

    def seed(self, env: int, generator: np.random.Generator) -> None:
        """Give environment ``env`` new random streams, spawned from ``generator``."""

    def reset(self, envs: IntArray | None = None) -> Observation:
        """Start new episodes in some environments (default all); return read-only observations of all."""

    def step(self, action: Array, over: BoolArray | None = None) -> Step[DecisionT, Any]:
        """Play actions (n, K, columns) within ±`LIMIT`; ``ValueError`` for an invalid entry, before anything changes.

        Environments in the mask ``over`` (n,) start a new episode instead: their action is ignored, and their reward
        and info are 0.
        """


def blank_ended(action: Array, over: BoolArray | None) -> tuple[Array, BoolArray | None]:
    """Return actions (n, ...) that are 0 in the environments in the mask ``over``, and the mask, ``None`` if empty."""
    if over is None or not np.count_nonzero(over):
        return action, None
    action = np.array(action)
    action[over] = 0
    return action, over
