"""Base classes of controllers and modifiers, tunable options, and prior knowledge for estimators."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Self, overload

import numpy as np
from typing_extensions import TypeVar, override

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import (
    broadcast,
    check_array,
    check_fields,
    check_instance,
    check_integer,
    check_real,
    checked_field,
    require,
    shown,
)
from multispin_env.draft import expected_tokens
from multispin_env.physics.acceptance import task_means
from multispin_env.physics.chains import drafting_time
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join
from multispin_env.physics.continuous.validation import checked_continuous_state
from multispin_env.physics.rounds import round_outcome
from multispin_env.physics.types import Decision, SystemState, checked_state
from multispin_env.scenario import Scenario
from multispin_env.solver.equalization import equal_latency, finish_together
from multispin_env.solver.problem import user_times


@dataclass(frozen=True)
class Tunable:
    """Range in which an option is tuned; the option may allow a wider range."""

    low: float
    high: float
    by_device: bool = False  # one number for each device (..., K) instead of one for all devices (...)

    def value_at(self, default: float, x: FloatArray) -> FloatArray:
        """Interpolate linearly: ``low`` at x = -1, the default at 0, ``high`` at 1."""
        return np.asarray(default + np.where(x > 0.0, self.high - default, default - self.low) * x)


Option = FloatArray | float


def check_option(field: str, value: Any, low: float, high: float = np.inf, *, open_low: bool = False) -> None:
    """Raise ``ValueError`` unless all numbers of an option are in the interval."""
    array = check_array(field, value)
    valid = ((array > low) if open_low else (array >= low)) & (array <= high)
    ends = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if np.isinf(high) else ']'}"
    require(field, array, valid, f"numbers in {ends}")


def per_state(field: str, value: Option, num_states: int) -> FloatArray:
    """Broadcast an option to n states, (n,); ``ValueError`` unless it has 1 or n entries."""
    flat = np.asarray(value, dtype=np.float64).reshape(-1)
    if flat.size not in (1, num_states):
        raise ValueError(f"{field}: expected one number, or one for each of {num_states} states, got {flat.size}")
    return flat if flat.size == num_states else np.broadcast_to(flat, (num_states,))


def per_device(field: str, value: Option, shape: tuple[int, ...]) -> FloatArray:
    """Broadcast an option, a number or an array (K,) or (..., K), to states (n, K)."""
    array = np.asarray(value, dtype=np.float64)
    flat = array if array.ndim < 2 else array.reshape(-1, array.shape[-1])  # states are flattened in the same way
    return broadcast(field, flat, shape)


def min_length(rule: "Controller") -> int:
    """Return L_min, a limit of options."""
    return rule.scenario.min_draft_length


def max_length(rule: "Controller") -> int:
    """Return L_max, a limit of options."""
    return rule.scenario.max_draft_length


State = TypeVar("State", bound=SystemState | ContinuousState, default=Any)
DecisionT = TypeVar("DecisionT", bound=Decision | ContinuousDecision, default=Any)


def _checked(decision: Any, expected: type[DecisionT], controller: object) -> DecisionT:
    if not isinstance(decision, expected):
        kind = type(controller).__name__
        raise ValueError(f"decision: expected a {expected.__name__} from {kind}.decide, got {shown(decision)}")
    return decision


@dataclass(frozen=True, eq=False)
class Controller(ABC, Generic[State, DecisionT]):
    """Base class of all controllers, which map states (..., K) to decisions (..., K).

    Derive from `RoundsController` or `ContinuousController`, add options as dataclass fields and implement `decide`.

    Parameters
    ----------
    scenario
        The controlled system.
    """

    scenario: Scenario
    discipline: ClassVar[str] = "serial"
    """Discipline of the uplink that decisions without the barrier assume."""
    tunable: ClassVar[Mapping[str, Tunable]] = {}
    """Options that may be arrays, with the ranges in which to tune them."""
    requires: ClassVar[Mapping[str, Any]] = {}
    """Fields of the scenario with the only value that suits; ``True`` stands for any that is not 0 or empty."""

    def __post_init__(self) -> None:
        check_fields(self)

    @abstractmethod
    def __call__(self, state: State) -> DecisionT:
        """Decide for one state or a batch of states; ``ValueError`` for an invalid state."""

    @abstractmethod
    def decide(self, state: State) -> DecisionT:
        """Decide for a checked state: arrays (..., K) in rounds, (n, K) and (n,) without the barrier."""

    @abstractmethod
    def decide_continuous(self, state: ContinuousState) -> ContinuousDecision:
        """Decide without the barrier for checked states with arrays (n, K) and (n,)."""

    def option(self, name: str) -> Any:
        """Return the value of an option of `tunable`."""
        return getattr(self, name)

    def with_options(self, options: Mapping[str, Option]) -> "Controller[State, DecisionT]":
        """Return a copy with new values of `tunable` options: numbers, or arrays that broadcast to the states."""
        values: dict[str, Any] = dict(options)
        return replace(self, **values)

    def reset(self) -> None:
        """Forget earlier states; a controller without memory does nothing."""

    def _without_barrier(self, state: ContinuousState) -> ContinuousDecision:
        self.scenario.uplink.require_paper("without the barrier", "link")
        checked = checked_continuous_state(self.scenario, state)
        *batch, users = checked.phase.shape
        flat = checked.mapped(lambda array: array.reshape((-1, users) if array.ndim > len(batch) else -1))
        decision = _checked(self.decide_continuous(flat), ContinuousDecision, self)
        return decision.mapped(lambda array: array.reshape((*batch, *array.shape[1:])))


@dataclass(frozen=True, eq=False)
class ContinuousController(Controller[ContinuousState, ContinuousDecision]):
    """Base class of controllers without the barrier, which decide each time a verification ends.

    A decision depends on the state alone, unless a rule documents a memory. The state also holds earlier decisions that
    matter, such as the batch for which a device drafts.

    Parameters
    ----------
    scenario
        The system.
    """

    @override
    def __call__(self, state: ContinuousState) -> ContinuousDecision:
        if not isinstance(state, ContinuousState):
            kind, actual = type(self).__name__, type(state).__name__
            raise ValueError(f"state: expected a ContinuousState for {kind}, which has no barrier, got {actual}")
        return self._without_barrier(state)

    @override
    def decide_continuous(self, state: ContinuousState) -> ContinuousDecision:
        return self.decide(state)


@dataclass(frozen=True, eq=False)
class RoundsController(Controller[SystemState, Decision]):
    """Base class of controllers of rounds; without the barrier, they wait for all devices.

    Without the barrier, each batch has the draft lengths and uplink shares of one round, and `expected_outcome` gives
    its expected tokens and time. Devices without a request are assumed to be so fast that they do not limit the round,
    and have weight 0 if the controller has weights; but the pass takes as long as with all devices.

    Parameters
    ----------
    scenario
        The system.
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
        # devices with a request, or all devices if none has one
        system, counted = state.system, state.busy | ~state.busy.any(-1, keepdims=True)
        if not counted.all():  # the others get rates so high that they do not limit the round
            draft_time = np.where(counted, system.draft_time, 1e-4 * self.scenario.mean_draft_time)
            efficiency = np.where(counted, system.spectral_efficiency, 1e4)
            system = system.changed(draft_time=draft_time, spectral_efficiency=efficiency)
        decision = self.decide(system) if state.busy.all() else self._decide_counted(system, counted)
        decision = _checked(decision, Decision, self)
        share = decision.bandwidth / self.scenario.total_bandwidth
        stuck = ((share == 0.0) & (state.air_left > 0.0)).any(-1)
        if stuck.any():  # drafts of requests that arrived during the pass, to which the round gives no bandwidth
            longest = np.maximum(decision.draft_length, state.draft_length)[stuck]
            share[stuck] = equal_latency(longest, *(time[stuck] for time in user_times(self.scenario, system))).share
        return ContinuousDecision(decision.draft_length, np.full(share.shape, Join.WAIT), share=share)

    def _decide_counted(self, state: SystemState, counted: BoolArray) -> Decision:
        return self.decide(state)

    def with_equal_latency(self, draft_length: IntArray, state: SystemState) -> Decision:
        """Return the decision with these lengths and the bandwidth that equalizes latency ([MS] 31, 32).

        Lengths that a battery does not suffice for are cut first.
        """
        if state.batteries is not None:
            draft_length = np.minimum(draft_length, state.batteries.affordable).astype(np.int64)
        draft_time, token_time = user_times(self.scenario, state)
        drafting = drafting_time(self.scenario, draft_length, draft_time, state.head_start)
        share = finish_together(self.scenario, state, draft_length, drafting, token_time).share
        return Decision(draft_length, share * self.scenario.total_bandwidth)

    def with_equal_bandwidth(self, draft_length: IntArray) -> Decision:
        """Return the decision with these lengths (..., K) and the bandwidth B/K for each device."""
        part = self.scenario.total_bandwidth / self.scenario.num_users
        return Decision(draft_length, np.full(draft_length.shape, part))

    def or_no_draft(self, decision: Decision, state: SystemState) -> Decision:
        """Return the decision, or no drafts where that is better, without repeated uploads and delays."""
        scenario = self.scenario
        if scenario.min_draft_length or not scenario.uplink.delays_drafts:
            return decision
        tokens = expected_tokens(decision.draft_length, state.acceptance_rate)
        drafting = round_outcome(scenario, state, decision, tokens).goodput
        worse = (drafting < scenario.num_users / (scenario.verification_time + scenario.uplink.fixed_wait))[..., None]
        return Decision(np.where(worse, 0, decision.draft_length), np.where(worse, 0.0, decision.bandwidth))


@dataclass(frozen=True, eq=False)
class WeightedController(RoundsController):
    """Base class of controllers of rounds that maximise a weighted sum of the users' goodput.

    Parameters
    ----------
    weights
        ω (..., K) ≥ 0, broadcast to the state; ``None`` means 1.
    """

    weights: FloatArray | None = None

    def scale_weights(self, weights: FloatArray) -> Self:
        """Return a copy whose weights are multiplied by these."""
        return replace(self, weights=weights if self.weights is None else weights * self.weights)

    @override
    def _decide_counted(self, state: SystemState, counted: BoolArray) -> Decision:
        return self.scale_weights(counted.astype(np.float64)).decide(state)


@dataclass(frozen=True, eq=False)
class Modifier(ContinuousController):
    """Controller that modifies the decisions of another one; its name follows ``+``, as in ``"greedy+deadlines"``.

    Parameters
    ----------
    scenario
        The system.
    base
        The controller whose decisions are modified.
    """

    base: Controller

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "discipline", self.base.discipline)
        object.__setattr__(self, "tunable", {**self.base.tunable, **type(self).tunable})

    @override
    def option(self, name: str) -> Any:
        return getattr(self, name) if name in type(self).tunable else self.base.option(name)

    @override
    def with_options(self, options: Mapping[str, Option]) -> ContinuousController:
        changes: dict[str, Any] = {name: value for name, value in options.items() if name in type(self).tunable}
        others = {name: value for name, value in options.items() if name not in changes}
        return replace(self, base=self.base.with_options(others), **changes)

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        return self.modify(state, self.base.decide_continuous(state))

    @override
    def reset(self) -> None:
        self.base.reset()

    @abstractmethod
    def modify(self, state: ContinuousState, decision: ContinuousDecision) -> ContinuousDecision:
        """Return the modified decision, arrays (n, K) and (n,)."""


@dataclass(frozen=True)
class Assumptions:
    """Prior knowledge of estimators; ``ValueError`` for a value out of range.

    Parameters
    ----------
    acceptance_mean, acceptance_spread
        Mean and standard deviation of α over requests, one entry for each task of the scenario.
    correlation
        Correlation ρ in [0, 1] between channel amplitudes of successive rounds.
    delay
        Age d ≥ 0 of a channel report in rounds.
    """

    acceptance_mean: tuple[float, ...]
    acceptance_spread: tuple[float, ...]
    correlation: float = checked_field(1.0, check_real, 0.0, 1.0)
    delay: int = checked_field(0, check_integer, 0)

    def __post_init__(self) -> None:
        for field, high in (("acceptance_mean", 1.0), ("acceptance_spread", 0.5)):  # the largest deviation on [0, 1]
            values = tuple(getattr(self, field))
            checked = tuple(check_real(f"{field}[{i}]", value, 0.0, high) for i, value in enumerate(values))
            object.__setattr__(self, field, checked)  # tuples, since lists cannot be hashed
        tasks, spreads = len(self.acceptance_mean), len(self.acceptance_spread)
        if not tasks:
            raise ValueError("acceptance_mean: expected at least one entry, one for each task, got none")
        if tasks != spreads:
            raise ValueError(f"acceptance_spread: expected one entry for each task ({tasks}), got {spreads}")
        check_fields(self)

    @classmethod
    def of(cls, scenario: Scenario, *, spread: float = 0.08, correlation: float = 0.9, delay: int = 1) -> Self:
        """Return assumptions with the task means of a scenario and the same spread for all tasks."""
        check_instance("scenario", scenario, Scenario)
        means = tuple(task_means(scenario).tolist())
        return cls(means, (spread,) * len(means), correlation, delay)
