"""Base classes of engines, which step a batch of n environments, and of action codecs.

A single environment is a batch of one. Actions are numbers within ±`LIMIT` with a row for each user; column 0 is the
draft length.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray, Rows, replace_rows
from multispin_env.checks import require
from multispin_env.controllers.base import DecisionT, State
from multispin_env.envs.objectives import Objective
from multispin_env.envs.observations import SHARED, Observation, ObservationCodec
from multispin_env.physics.continuous.types import ContinuousObserved
from multispin_env.physics.types import Observed
from multispin_env.scenario import Scenario

LIMIT = 5.0
"""Bound of all entries of actions, wide enough for learners that explore with their usual standard deviation of 1.

Codecs divide entries by it: their functions of entries and columns are of numbers in [-1, 1].
"""


_PHYSICS = {"step", "expected", "expected_tokens", "price", "_play"}


@dataclass(frozen=True)
class ActionCodec(ABC, Generic[State, DecisionT]):
    """Base of the encodings of actions in both families."""

    scenario: Scenario

    @property
    @abstractmethod
    def columns(self) -> int:
        """Number of columns."""

    @abstractmethod
    def decode(self, action: NDArray[Any], state: State) -> DecisionT:
        """Return the decision (..., K) of an action (..., K, columns) in a state (..., K).

        ``ValueError`` for NaN or an entry beyond ±`LIMIT`. The shape is checked by `check_shape` before.
        """

    @abstractmethod
    def encode(self, decision: DecisionT, state: State) -> NDArray[np.float32]:
        """Return the action (..., K, columns) that decodes to a decision (..., K), or to the nearest possible one.

        ``ValueError`` for a decision that is invalid or not allowed in the environment.
        """

    @abstractmethod
    def checked_state(self, state: State) -> State:
        """Return states (..., K) as arrays; ``ValueError`` for invalid states."""

    @property
    def space(self) -> spaces.Box:
        """Box ±`LIMIT` of shape (K, columns)."""
        return spaces.Box(-LIMIT, LIMIT, (self.scenario.num_users, self.columns), np.float32)

    @property
    def length_range(self) -> tuple[int, int]:
        """L_min and L_max."""
        return self.scenario.min_draft_length, self.scenario.max_draft_length

    def real_length(self, column: FloatArray) -> FloatArray:
        """Return unrounded draft lengths: low − 1 + (1 + high − low)^{(x + 1)/2} for entries x of column 0."""
        low, high = self.length_range
        above = np.exp((0.5 * math.log(1.0 + high - low)) * (column + 1.0))
        return above if low == 1 else low - 1.0 + above

    def length_column(self, length: FloatArray | IntArray) -> FloatArray:
        """Return entries of column 0 for real lengths, the inverse of `real_length`; −1 if low equals high."""
        low, high = self.length_range
        return 2.0 * np.log(1.0 + length - low) / math.log(max(1.0 + high - low, 2.0)) - 1.0

    def check_shape(self, action: NDArray[Any], *batch_and_users: int) -> None:
        """Raise ``ValueError`` unless the action has the shape (..., K, columns)."""
        shape = (*batch_and_users, self.columns)
        if np.shape(action) != shape:
            raise ValueError(f"action: expected shape {shape}, got {np.shape(action)}")

    def checked(self, action: NDArray[Any]) -> FloatArray:
        """Return actions / `LIMIT` (..., K, columns) as float64; ``ValueError`` for NaN or an entry beyond ±`LIMIT`."""
        x = np.asarray(action, dtype=np.float64)
        entries = action if getattr(action, "dtype", None) == np.float32 else x  # for speed: float32 is half as large
        if not np.maximum.reduce(np.abs(entries), None, initial=0.0) <= LIMIT:  # also for NaN
            inside = np.abs(x) <= LIMIT * (1.0 + 1e-6)  # allows for rounding to float32
            require("action", x, inside, f"numbers in [-{LIMIT:g}, {LIMIT:g}]")
            x = np.clip(x, -LIMIT, LIMIT)
        return x / LIMIT


def stack_columns(columns: list[FloatArray]) -> NDArray[np.float32]:
    """Return the action with these columns, (..., K) each, clipped to [-1, 1] and multiplied by `LIMIT`."""
    return (LIMIT * np.clip(np.stack(columns, -1), -1.0, 1.0)).astype(np.float32)


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """Result of one step of all environments; durations may differ."""

    observation: Observation  # after the step, arrays (n, ...), read only
    reward: FloatArray  # (n,)
    terminated: BoolArray  # (n,) read only
    truncated: BoolArray  # (n,) by the engine; `max_episode_steps` is applied outside
    duration: FloatArray  # (n,) s
    info: dict[str, NDArray[Any]]  # arrays (n,) and (n, K)
    decision: Any  # (n, K)
    outcome: Any  # (n, ...)


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


class Engine(ABC, Generic[State, DecisionT]):
    """Base of the engines: a batch of n environments, with actions and observations as arrays (n, ...).

    A subclass sets ``_core``, which steps the batch, updates `planned`, and implements the methods below.
    """

    planned: State
    """State used to decode actions, arrays (n, K)."""
    optimum_holds: ClassVar[bool] = False
    """Whether the package's optimum is that of a class of yours which plays or prices steps in its own way."""
    _core: Any

    def __init__(
        self,
        actions: ActionCodec[State, DecisionT],
        observations: ObservationCodec,
        objective: Objective,
        num_envs: int,
    ) -> None:
        self.scenario = actions.scenario
        self.actions: ActionCodec[State, DecisionT] = actions
        self.observations = observations
        self.objective = objective
        self._never = np.zeros(num_envs, dtype=bool)
        self._entries = [(key, entry.field) for key, entry in observations.entries.items()]
        self._seen: dict[str, tuple[Any, Any]] = dict.fromkeys(observations.space, (None, None))
        """Field and encoded entry of each key, in the order of the space; an entry is reused if its field is."""

    @property
    def own_physics(self) -> str:
        """Method of a user's engine or core that replaces one of the package which plays or prices a step, or ""."""
        for kind in (type(self), type(self._core)):
            for cls in () if getattr(kind, "optimum_holds", False) else kind.__mro__:
                if (names := _PHYSICS & vars(cls).keys()) and not cls.__module__.startswith("multispin_env."):
                    return f"{cls.__name__}.{min(names)}"
        return ""

    @property
    def state(self) -> State:
        """True state used to price the next action, arrays (n, K)."""
        return self._core.state

    @property
    @abstractmethod
    def observed(self) -> Observed | ContinuousObserved:
        """Input of plug-ins, arrays (n, K)."""

    @abstractmethod
    def _play(self, decision: DecisionT, over: BoolArray | None) -> Step:
        """Play decisions (n, K); environments in the mask ``over`` (n,) start a new episode instead."""

    @abstractmethod
    def _forget(self, rows: Rows) -> None:
        """Reset everything but the core."""

    @abstractmethod
    def _look(self) -> dict[str, NDArray[Any]]:
        """Update the belief and `planned`; return the fields of all entries, arrays (n, K)."""

    def seed(self, env: int, generator: np.random.Generator) -> None:
        """Give environment ``env`` new random streams, spawned from ``generator``."""
        self._core.seed(env, generator)

    def reset(self, envs: IntArray | None = None) -> Observation:
        """Start new episodes in some environments (default all); return read-only observations of all."""
        self._core.reset(envs)
        self._forget(slice(None) if envs is None else envs)
        return self._observe()

    def step(self, action: NDArray[Any], over: BoolArray | None = None) -> Step:
        """Play actions (n, K, columns) within ±`LIMIT`; ``ValueError`` for an invalid entry, before anything changes.

        Environments in the mask ``over`` (n,) start a new episode instead: their action is ignored, and their reward
        and info are 0.
        """
        if over is None or not np.count_nonzero(over):
            return self._play(self.actions.decode(action, self.planned), None)
        valid = np.array(action)
        valid[over] = 0
        step: Step = self._play(self.actions.decode(valid, self.planned), over)
        for array in (step.reward, step.duration, *step.info.values()):
            array[over] = 0
        return step

    def reward_slopes(self, action: NDArray[Any], weights: FloatArray | None = None, window: float = 0.0) -> FloatArray:
        """Return the derivatives of the next reward; see `MultiSpinVectorEnv.reward_slopes`."""
        raise ValueError("reward_slopes: expected an environment whose reward has derivatives, got one without")

    def _observe(self) -> Observation:
        fields, seen = self._look(), self._seen
        for key, name in self._entries:
            field = fields[name]
            if seen[key][0] is not field:
                seen[key] = field, self.observations.encode_entry(key, field)
        if self.observations.num_changing or seen[SHARED][1] is None:
            seen[SHARED] = None, self.observations.encode_shared(self.planned)
        return {key: entry for key, (_, entry) in seen.items()}
