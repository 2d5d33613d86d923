"""Engine of n copies of an environment, and the codec of its actions; each family derives its own of both.

A single environment is an engine of one copy. Actions are numbers in [-1, 1], one row for each user, whose column 0 is
the draft length.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray, Rows, replace_rows
from multispin_env.checks import require
from multispin_env.controllers.base import Chosen, State
from multispin_env.envs.objectives import Objective
from multispin_env.envs.observations import SHARED, Observation, ObservationCodec
from multispin_env.physics.continuous.types import ContinuousObserved
from multispin_env.physics.types import Observed
from multispin_env.scenario import Scenario


@dataclass(frozen=True)
class ActionCodec(ABC, Generic[State, Chosen]):
    """Base of the encodings of both families."""

    scenario: Scenario

    @property
    @abstractmethod
    def columns(self) -> int:
        """Numbers for each user."""

    @abstractmethod
    def decode(self, action: NDArray[Any], state: State) -> Chosen:
        """Decision (..., K) of an action (..., K, columns) in a state (..., K).

        ``ValueError`` for NaN, or an entry outside [-1, 1]; shapes are for `check_shape`.
        """

    @abstractmethod
    def encode(self, decision: Chosen, state: State) -> NDArray[np.float32]:
        """Action (..., K, columns) that decodes to this decision (..., K) in this state, as far as it can say.

        ``ValueError`` for a bad decision, or one that the environment does not allow.
        """

    @abstractmethod
    def checked_state(self, state: State) -> State:
        """States (..., K) as arrays; ``ValueError`` for bad ones."""

    @property
    def space(self) -> spaces.Box:
        """Box [-1, 1] of shape (K, columns)."""
        return spaces.Box(-1.0, 1.0, (self.scenario.num_users, self.columns), np.float32)

    @property
    def length_range(self) -> tuple[int, int]:
        """L_min and L_max."""
        return self.scenario.min_draft_length, self.scenario.max_draft_length

    def real_length(self, column: FloatArray) -> FloatArray:
        """Length before rounding, of entries x of column 0.

        It is low − 1 + (1 + high − low)^{(x + 1)/2}, a logarithmic scale.
        """
        low, high = self.length_range
        above = np.exp((0.5 * math.log(1.0 + high - low)) * (column + 1.0))
        return above if low == 1 else low - 1.0 + above

    def length_column(self, length: FloatArray | IntArray) -> FloatArray:
        """Entries of column 0, of real lengths: the inverse of `real_length`; −1 where there is only one length."""
        low, high = self.length_range
        return 2.0 * np.log(1.0 + length - low) / math.log(max(1.0 + high - low, 2.0)) - 1.0

    def check_shape(self, action: NDArray[Any], *batch_and_users: int) -> None:
        """``ValueError`` unless the action has the shape (..., K, columns)."""
        wanted = (*batch_and_users, self.columns)
        if np.shape(action) != wanted:
            raise ValueError(f"action: expected shape {wanted}, got {np.shape(action)}")

    def checked(self, action: NDArray[Any]) -> FloatArray:
        """Actions (..., K, columns) as float64; ``ValueError`` for NaN or an entry outside [-1, 1]."""
        x = np.asarray(action, dtype=np.float64)
        few = action if getattr(action, "dtype", None) == np.float32 else x  # half the bytes to look through
        if not np.maximum.reduce(np.abs(few), None, initial=0.0) <= 1.0:  # also for NaN
            require("action", x, np.abs(x) <= 1.0 + 1e-6, "numbers in [-1, 1]")  # float32 rounds
            x = np.clip(x, -1.0, 1.0)
        return x


def columns_stacked(columns: list[FloatArray]) -> NDArray[np.float32]:
    """Action of its columns, (..., K) each, cut to [-1, 1]."""
    return np.clip(np.stack(columns, -1), -1.0, 1.0).astype(np.float32)


ALL = slice(None)


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """One step of all copies. How long it takes may differ from copy to copy and from step to step."""

    observation: Observation  # after the step, arrays (n, ...), to be read only
    reward: FloatArray  # (n,)
    terminated: BoolArray  # (n,) whether the episode has come to its own end; to be read only
    truncated: BoolArray  # (n,) whether the engine cuts it off; environments count steps besides
    duration: FloatArray  # (n,) s
    info: dict[str, NDArray[Any]]  # arrays (n,) and (n, K)
    decision: Any  # (n, K)
    outcome: Any  # (n, ...)


class Counts:
    """Tokens drafted and accepted, of n copies: in the last step, and since the present request began."""

    def __init__(self, num_envs: int, num_users: int) -> None:
        nothing = np.zeros((num_envs, num_users), dtype=np.int64)
        names = ("drafted", "accepted", "age", "hits", "misses")
        self.fields: dict[str, IntArray] = dict.fromkeys(names, nothing)
        """Fields of `Observed`, arrays (n, K), replaced by every step."""

    def reset(self, rows: Rows) -> None:
        """Forget the past of these rows."""
        for name, array in self.fields.items():
            self.fields[name] = replace_rows(array, rows, np.zeros_like(array[rows]))

    def advance(self, drafted: IntArray, accepted: IntArray, new: BoolArray, verified: BoolArray | bool = True) -> None:
        """Count a step, arrays (n, K); nothing of devices whose request is ``new``, no step of others."""
        old, same = self.fields, ~new
        self.fields = {
            "drafted": drafted,
            "accepted": accepted,
            "age": same * (old["age"] + verified),
            "hits": same * (old["hits"] + accepted),
            "misses": same * (old["misses"] + (accepted < drafted)),
        }


class Engine(ABC, Generic[State, Chosen]):
    """Base: n copies of one environment, with actions and observations as arrays (n, ...).

    A subclass sets ``_core``, which steps the copies, and has the methods below. It keeps `planned` true.
    """

    planned: State
    """State that actions are decoded with, arrays (n, K)."""
    _core: Any

    def __init__(
        self,
        actions: ActionCodec[State, Chosen],
        observations: ObservationCodec,
        objective: Objective,
        num_envs: int,
    ) -> None:
        self.scenario = actions.scenario
        self.actions: ActionCodec[State, Chosen] = actions
        self.observations = observations
        self.objective = objective
        self._never = np.zeros(num_envs, dtype=bool)
        self._entries = [(key, entry.field) for key, entry in observations.entries.items()]
        self._seen: dict[str, tuple[Any, Any]] = dict.fromkeys(observations.space, (None, None))
        """The field and the entry made of it, in the order of the space; ``shared`` is made of none."""

    @property
    def state(self) -> State:
        """What prices the next action, arrays (n, K)."""
        return self._core.state

    @property
    @abstractmethod
    def observed(self) -> Observed | ContinuousObserved:
        """What plug-ins may know of it, arrays (n, K)."""

    @abstractmethod
    def _play(self, decision: Chosen, over: BoolArray | None) -> Step:
        """Play what was decided (n, K); copies that are ``over`` (n,) start anew instead."""

    @abstractmethod
    def _forget(self, rows: Rows) -> None:
        """Forget the past of these copies."""

    @abstractmethod
    def _look(self) -> dict[str, NDArray[Any]]:
        """Renew what may be known, and `planned`; returns fields of the entries, arrays (n, K), shown or not."""

    def seed(self, copy: int, generator: np.random.Generator) -> None:
        """Give a copy fresh random streams, spawned from ``generator``."""
        self._core.seed(copy, generator)

    def reset(self, copies: IntArray | None = None) -> Observation:
        """Start new episodes in some copies (default all); returns the observation of all, to be read only."""
        self._core.reset(copies)
        self._forget(ALL if copies is None else copies)
        return self._observe()

    def step(self, action: NDArray[Any], over: BoolArray | None = None) -> Step:
        """Play actions (n, K, columns) in [-1, 1]; a bad entry raises and changes nothing.

        Copies ``over`` (n,) start a new episode instead: their action is not read, their reward and info are 0.
        """
        if over is None or not np.count_nonzero(over):
            return self._play(self.actions.decode(action, self.planned), None)
        read = np.array(action)
        read[over] = 0
        played: Step = self._play(self.actions.decode(read, self.planned), over)
        for array in (played.reward, played.duration, *played.info.values()):
            array[over] = 0
        return played

    def reward_slopes(self, action: NDArray[Any], worth: FloatArray | None = None, window: float = 0.0) -> FloatArray:
        """Derivatives of the next reward by actions, as in the vector environment; ``ValueError`` where it has none."""
        raise ValueError("reward_slopes: expected an environment whose reward has derivatives, got one without")

    def _observe(self) -> Observation:
        fields, seen = self._look(), self._seen
        for key, name in self._entries:
            field = fields[name]
            if seen[key][0] is not field:
                seen[key] = field, self.observations.encode_entry(key, field)
        if self.observations.changing or seen[SHARED][1] is None:
            seen[SHARED] = None, self.observations.encode_shared(self.planned)
        return {key: entry for key, (_, entry) in seen.items()}
