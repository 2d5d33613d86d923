"""Base classes of controllers and of what changes their decisions, their options, and what is assumed of a system."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

import numpy as np
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_array, check_instance, check_integer, check_real, require, shown
from multispin_env.physics.chains import drafting_time
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join
from multispin_env.physics.continuous.validation import checked_continuous_state
from multispin_env.physics.types import Decision, SystemState, checked_state
from multispin_env.scenario import Scenario
from multispin_env.solver.equalization import equal_finish, equal_latency
from multispin_env.solver.problem import user_times


@dataclass(frozen=True)
class Tunable:
    """How far an option may move from its default when it is tuned; more may be allowed."""

    low: float
    high: float
    by_device: bool = False  # one number for each device, (..., K), or one for all of them, (...)

    def value_at(self, default: float, x: FloatArray) -> FloatArray:
        """Values at x in [-1, 1]: low at -1, the default at 0, high at 1, and lines between."""
        return np.asarray(default + np.where(x > 0.0, self.high - default, default - self.low) * x)


Option = FloatArray | float


def check_option(field: str, value: Any, low: float, high: float = np.inf, *, open_low: bool = False) -> None:
    """``ValueError`` unless all numbers of an option are in the interval."""
    array = check_array(field, value)
    good = ((array > low) if open_low else (array >= low)) & (array <= high)
    ends = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if np.isinf(high) else ']'}"
    require(field, array, good, f"numbers in {ends}")


def per_state(field: str, value: Option, copies: int) -> FloatArray:
    """An option (n,) of n states, from one number or one for each; ``ValueError`` for another count."""
    given = np.asarray(value, dtype=np.float64).reshape(-1)
    if given.size not in (1, copies):
        raise ValueError(f"{field}: expected one number, or one for each of {copies} states, got {given.size}")
    return np.broadcast_to(given, (copies,))


def per_device(field: str, value: Option, shape: tuple[int, ...]) -> FloatArray:
    """An option of states (n, K), from one number, or one for each device (K,) or (..., K)."""
    given = np.asarray(value, dtype=np.float64)
    flat = given if given.ndim < 2 else given.reshape(-1, given.shape[-1])  # as states are
    try:
        return np.broadcast_to(flat, shape)
    except ValueError:
        raise ValueError(f"{field}: expected numbers that broadcast to {shape}, got shape {given.shape}") from None


State = TypeVar("State", SystemState, ContinuousState)
DecisionT = TypeVar("DecisionT", Decision, ContinuousDecision)


def _checked(decision: Any, expected: type[DecisionT], controller: object) -> DecisionT:
    if not isinstance(decision, expected):
        kind = type(controller).__name__
        raise ValueError(f"decision: expected a {expected.__name__} of {kind}.decide, got {shown(decision)}")
    return decision


@dataclass(frozen=True, eq=False)
class Controller(ABC, Generic[State, DecisionT]):
    """Base of the controllers of both families: maps states (..., K) to decisions (..., K).

    Derive from `RoundsController` or from `ContinuousController`; add options as dataclass fields and implement
    `decide`.

    Parameters
    ----------
    scenario
        The system that it controls.
    """

    scenario: Scenario
    discipline: ClassVar[str] = "serial"
    """How the uplink is to be shared for its decisions without the barrier."""
    tunable: ClassVar[Mapping[str, Tunable]] = {}
    """Options that may be arrays, and how far they may be tuned."""
    needs_chains: ClassVar[bool] = False
    """Whether it is for devices that draft ahead alone."""

    @abstractmethod
    def __call__(self, state: State) -> DecisionT:
        """Decide for one state or a batch of them; ``ValueError`` for a bad state."""

    @abstractmethod
    def decide(self, state: State) -> DecisionT:
        """Decide for a state that has been checked: (..., K) of a round, (n, K) and (n,) without the barrier."""

    @abstractmethod
    def decide_continuous(self, state: ContinuousState) -> ContinuousDecision:
        """Decide without the barrier, for states that have been checked: arrays (n, K) and (n,)."""

    def option(self, name: str) -> Any:
        """Value of an option of `tunable`."""
        return getattr(self, name)

    def with_options(self, options: Mapping[str, Option]) -> "Controller[State, DecisionT]":
        """Return the same with other values of options of `tunable`, numbers or arrays as the states have them."""
        values: dict[str, Any] = dict(options)
        return replace(self, **values)

    def reset(self) -> None:
        """Forget what is remembered of earlier states, if anything is."""

    def _without_barrier(self, state: ContinuousState) -> ContinuousDecision:
        checked = checked_continuous_state(self.scenario, state)
        *batch, users = checked.phase.shape
        flat = checked.mapped(lambda array: array.reshape((-1, users) if array.ndim > len(batch) else -1))
        decision = _checked(self.decide_continuous(flat), ContinuousDecision, self)
        return decision.mapped(lambda array: array.reshape((*batch, *array.shape[1:])))


@dataclass(frozen=True, eq=False)
class ContinuousController(Controller[ContinuousState, ContinuousDecision]):
    """Base of the controllers without the barrier: decides whenever a verification ends, until the next one ends.

    It is a function of the state alone, which also has what must be remembered, such as the batch a draft aims at.

    Parameters
    ----------
    scenario
        The system that it controls.
    """

    @override
    def __call__(self, state: ContinuousState) -> ContinuousDecision:
        if not isinstance(state, ContinuousState):
            kind, given = type(self).__name__, type(state).__name__
            raise ValueError(
                f"state: expected a ContinuousState for {kind}, which decides without the barrier, got {given}"
            )
        return self._without_barrier(state)

    @override
    def decide_continuous(self, state: ContinuousState) -> ContinuousDecision:
        return self.decide(state)


@dataclass(frozen=True, eq=False)
class RoundsController(Controller[SystemState, Decision]):
    """Base of the controllers of rounds; without the barrier they wait for all.

    Every batch then has the lengths and the shares of the uplink of one round, and what it gains and takes is what
    `expected_outcome` says. Devices without a request count for nothing there and get next to no bandwidth, but the
    time of the pass is still that of all.

    Parameters
    ----------
    scenario
        The system that it controls.
    """

    discipline: ClassVar[str] = "reserved"

    @overload
    def __call__(self, state: SystemState) -> Decision: ...
    @overload
    def __call__(self, state: ContinuousState) -> ContinuousDecision: ...
    @override
    def __call__(self, state: SystemState | ContinuousState) -> Decision | ContinuousDecision:
        if isinstance(state, ContinuousState):
            return self._without_barrier(state)
        return _checked(self.decide(checked_state(self.scenario, state)), Decision, self)

    @override
    def decide_continuous(self, state: ContinuousState) -> ContinuousDecision:
        system, counted = state.system, state.busy | ~state.busy.any(-1, keepdims=True)  # of all idle, all count
        if not counted.all():  # the others are so fast that nothing depends on them
            draft_time = np.where(counted, system.draft_time, 1e-4 * self.scenario.mean_draft_time)
            efficiency = np.where(counted, system.spectral_efficiency, 1e4)
            system = system.changed(draft_time=draft_time, spectral_efficiency=efficiency)
        decision = self.decide(system) if state.busy.all() else self._counting(system, counted)
        decision = _checked(decision, Decision, self)
        share = decision.bandwidth / self.scenario.total_bandwidth
        stuck = ((share == 0.0) & (state.air_left > 0.0)).any(-1)
        if stuck.any():  # uploads of requests that came during the pass, where the round wants no draft
            longest = np.maximum(decision.draft_length, state.draft_length)[stuck]
            share[stuck] = equal_latency(longest, *(time[stuck] for time in user_times(self.scenario, system))).share
        return ContinuousDecision(decision.draft_length, np.full(share.shape, Join.WAIT), share=share)

    def _counting(self, state: SystemState, counted: BoolArray) -> Decision:
        return self.decide(state)

    def with_equal_latency(self, draft_length: IntArray, state: SystemState) -> Decision:
        """Give these lengths the bandwidth with which all devices finish together ([MS] 31, 32)."""
        draft_time, token_time = user_times(self.scenario, state)
        drafting = drafting_time(self.scenario, draft_length, draft_time, state.head_start)
        share = equal_finish(drafting, draft_length * token_time).share
        return Decision(draft_length, share * self.scenario.total_bandwidth)


@dataclass(frozen=True, eq=False)
class WeightedController(RoundsController):
    """Base of the controllers of rounds that maximise a weighted sum of the users' goodput.

    Parameters
    ----------
    weights
        ω (..., K) ≥ 0, broadcast to the state; ``None`` means 1.
    """

    weights: FloatArray | None = None

    def scale_weights(self, weights: FloatArray) -> Self:
        """Return the same with its weights times these."""
        return replace(self, weights=weights if self.weights is None else weights * self.weights)

    @override
    def _counting(self, state: SystemState, counted: BoolArray) -> Decision:
        return self.scale_weights(counted.astype(np.float64)).decide(state)


@dataclass(frozen=True, eq=False)
class Modifier(ContinuousController):
    """A controller that changes the decisions of another one; in names it is joined by ``+``: ``"greedy+deadlines"``.

    Parameters
    ----------
    scenario
        The system that it decides for.
    base
        The other one.
    """

    base: Controller[Any, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "discipline", self.base.discipline)
        object.__setattr__(self, "tunable", {**self.base.tunable, **type(self).tunable})

    @override
    def option(self, name: str) -> Any:
        return getattr(self, name) if name in type(self).tunable else self.base.option(name)

    @override
    def with_options(self, options: Mapping[str, Option]) -> ContinuousController:
        own: dict[str, Any] = {name: value for name, value in options.items() if name in type(self).tunable}
        others = {name: value for name, value in options.items() if name not in own}
        return replace(self, base=self.base.with_options(others), **own)

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        return self.modify(state, self.base.decide_continuous(state))

    @override
    def reset(self) -> None:
        self.base.reset()

    @abstractmethod
    def modify(self, state: ContinuousState, decision: ContinuousDecision) -> ContinuousDecision:
        """The decision that takes the place of this one, arrays (n, K) and (n,)."""


@dataclass(frozen=True)
class Assumptions:
    """Prior knowledge that estimators start from (ours).

    ``ValueError`` for a value out of range.

    Parameters
    ----------
    acceptance_mean, acceptance_spread
        Mean and standard deviation over requests of α, one entry for each task of the scenario.
    correlation
        ρ in [0, 1] between channel amplitudes of successive rounds.
    delay
        d ≥ 0, rounds that a channel report is old.
    """

    acceptance_mean: tuple[float, ...]
    acceptance_spread: tuple[float, ...]
    correlation: float = 1.0
    delay: int = 0

    def __post_init__(self) -> None:
        for field, high in (("acceptance_mean", 1.0), ("acceptance_spread", 0.5)):  # no law on [0, 1] is wider
            values = tuple(getattr(self, field))
            checked = tuple(check_real(f"{field}[{i}]", value, 0.0, high) for i, value in enumerate(values))
            object.__setattr__(self, field, checked)  # a list would not hash
        tasks, spreads = len(self.acceptance_mean), len(self.acceptance_spread)
        if not tasks:
            raise ValueError("acceptance_mean: expected one entry for each task, at least one, got none")
        if tasks != spreads:
            raise ValueError(f"acceptance_spread: expected one entry for each task ({tasks}), got {spreads}")
        check_real("correlation", self.correlation, 0.0, 1.0)
        check_integer("delay", self.delay, 0)

    @classmethod
    def of(cls, scenario: Scenario, *, spread: float = 0.08, correlation: float = 0.9, delay: int = 1) -> Self:
        """Task means of a scenario, with one spread for all tasks (0.08), ρ = 0.9 and d = 1, unless told otherwise."""
        check_instance("scenario", scenario, Scenario)
        means = tuple(task.acceptance_rate for task in scenario.tasks)
        return cls(means, (spread,) * len(means), correlation, delay)
