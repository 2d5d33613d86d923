"""What a step means for requests: endless ones, or such that arrive, end and are dropped (ours; docs/serving.md)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.continuous.calendar import Course, after, started
from multispin_env.physics.continuous.lines import Lines
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join, Phase, Served
from multispin_env.scenario import Scenario


@dataclass(frozen=True, eq=False, slots=True)
class Before:
    """What the end of a step needs to know of its beginning, (n, K)."""

    idle: BoolArray  # devices without a request
    dropped: BoolArray
    dropped_after: FloatArray  # s between arrival and drop, 0 without
    arrivals: IntArray  # requests that arrived at the very moment


@dataclass(frozen=True, eq=False, slots=True)
class Opening:
    """What a decision starts."""

    begun: ContinuousState  # (n, K), no device is free or idle
    decision: ContinuousDecision  # as the batch takes it
    prompt: IntArray | None = None  # (n, K) tokens that the verification of each draft holds besides
    before: Before | None = None
    undo: Callable[[], None] | None = None  # takes back what was dropped


@dataclass(frozen=True, eq=False, slots=True)
class Closing:
    """What is left behind it."""

    state: ContinuousState  # (n, K), channels and acceptance still those of before
    tokens: FloatArray  # (n, K) delivered
    served: Served | None = None
    next_began: BoolArray | None = None  # (n, K) where a request finished, and the next one had arrived
    absent: BoolArray | None = None  # (n, K) devices that had no request to draft for before the verification ended


class Service(Protocol):
    """How requests begin and end in a step."""

    def seed(self, copy: int, generator: np.random.Generator) -> None:
        """Give a copy its generator."""
        ...

    def reset(self, state: ContinuousState, copies: IntArray) -> ContinuousState:
        """State in which these copies begin anew; their arrays are those of free devices."""
        ...

    def begin(self, state: ContinuousState, decision: ContinuousDecision, over: BoolArray | None) -> Opening:
        """What a decision (n, K) starts in a state (n, K); copies that are ``over`` (n,) don't matter."""
        ...

    def reach(self, path: Course, over: BoolArray | None) -> None:
        """Draw the requests that may arrive; ``ValueError`` if there are too many, and nothing has changed then."""
        ...

    def newcomers(self, opening: Opening, path: Course, over: BoolArray | None) -> BoolArray | None:
        """Devices (n, K) that get a request before the verification ends, or just then; ``None``: nobody."""
        ...

    def close(self, opening: Opening, path: Course, tokens: FloatArray, over: BoolArray | None) -> Closing:
        """What is left behind a verification that gave ``tokens`` (n, K), 0 for those that were not in it."""
        ...


class Endless:
    """A device always has something to ask."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def seed(self, copy: int, generator: np.random.Generator) -> None:
        """Nothing is random."""

    def reset(self, state: ContinuousState, copies: IntArray) -> ContinuousState:
        """The same."""
        return state

    def begin(self, state: ContinuousState, decision: ContinuousDecision, over: BoolArray | None) -> Opening:
        """Free devices start drafts."""
        return Opening(started(self._scenario, state, decision), decision)

    def reach(self, path: Course, over: BoolArray | None) -> None:
        """Nothing arrives."""

    def newcomers(self, opening: Opening, path: Course, over: BoolArray | None) -> BoolArray | None:
        """Nobody: who has a request keeps it."""
        return None

    def close(self, opening: Opening, path: Course, tokens: FloatArray, over: BoolArray | None) -> Closing:
        """Those that were verified are free."""
        return Closing(after(path), tokens)


class Ending:
    """Requests of `Lines`: they arrive, are served one after the other, and end.

    Parameters
    ----------
    scenario
        The system.
    lines
        Of all copies and devices.
    """

    def __init__(self, scenario: Scenario, lines: Lines) -> None:
        self._scenario = scenario
        self._lines = lines

    def seed(self, copy: int, generator: np.random.Generator) -> None:
        """Of the requests."""
        self._lines.seed(copy, generator)

    def reset(self, state: ContinuousState, copies: IntArray) -> ContinuousState:
        """Devices without a request."""
        self._lines.reset(copies)
        state.phase[copies] = Phase.IDLE
        nothing = np.zeros(state.phase.shape, dtype=np.int64)
        old = state.demand
        drafted, accepted = (nothing, nothing.copy()) if old is None else (old.drafted, old.accepted)
        for array in (drafted, accepted):
            array[copies] = 0
        return state.changed(demand=self._lines.demand(drafted, accepted))

    def begin(self, state: ContinuousState, decision: ContinuousDecision, over: BoolArray | None) -> Opening:
        """Requests are dropped, free devices start drafts, and idle ones will as soon as a request arrives."""
        lines, undo, shape = self._lines, None, state.phase.shape
        dropped, age = np.zeros(shape, dtype=np.bool_), np.zeros(shape)
        arrivals = np.zeros(shape, dtype=np.int64)
        if decision.drop is not None and decision.drop.any():
            dropped, undo = decision.drop if over is None else decision.drop & ~over[:, None], lines.kept()
            age = np.where(dropped, state.time[:, None] - lines.shaped("arrived"), 0.0)
            arrivals = self._end(dropped, state.time)
            state = _without(state, dropped, lines.idle)
        idle = lines.idle
        wait = np.where(idle, lines.shaped("arrived") - state.time[:, None], 0.0)
        begun = started(self._scenario, state, decision, wait, lines.shaped("wanted") - 1)
        decision = decision.changed(join=np.where(idle, np.minimum(decision.join, Join.TAKE), decision.join))
        return Opening(begun, decision, lines.shaped("prompt"), Before(idle, dropped, age, arrivals), undo)

    def _end(self, ended: BoolArray, now: FloatArray) -> IntArray:
        """The requests in front of these lines (n, K) end, (n,) s; how many others arrive at that very moment."""
        cells = np.flatnonzero(ended)
        if cells.size:
            self._lines.end(cells, now.repeat(ended.shape[1]).take(cells))
        return self._lines.arrive(now)

    def reach(self, path: Course, over: BoolArray | None) -> None:
        """All until the end of the step."""
        self._lines.reach(_end_of(path, over))

    def newcomers(self, opening: Opening, path: Course, over: BoolArray | None) -> BoolArray | None:
        """Devices that were idle, or dropped a request, and have one that has arrived."""
        before = opening.before
        assert before is not None  # as `begin` makes it
        arrived = self._lines.shaped("arrived") <= (path.begun.time + path.duration)[:, None]
        new: BoolArray = (before.dropped & ~before.idle) | (before.idle & arrived)
        return new if over is None else new & ~over[:, None]

    def close(self, opening: Opening, path: Course, tokens: FloatArray, over: BoolArray | None) -> Closing:
        """Tokens are delivered, requests arrive and end, and the next in line are served."""
        lines, before = self._lines, opening.before
        assert before is not None  # as `begin` makes it
        now = _end_of(path, over)
        arrivals = before.arrivals + lines.arrive(now)
        verified, arrived = path.verified, lines.shaped("arrived")
        absent = before.idle & ~verified & (arrived >= now[:, None])
        gained = np.minimum(tokens, lines.shaped("wanted")) * verified
        last = lines.shaped("last_at").copy()
        cells = np.flatnonzero(verified)
        lines.deliver(cells, gained.take(cells).astype(np.int64), now.repeat(verified.shape[1]).take(cells))
        finished = verified & (lines.shaped("wanted") == 0)
        clock = now[:, None]
        gap = np.where(verified & (last > 0.0), clock - last, 0.0)
        in_time, output, ttft, tpot, e2el = self._times(finished, clock)
        arrivals += self._end(finished, now)
        state = _left(after(path), absent, lines.idle)
        accepted = (tokens - 1.0) * verified
        demand = lines.demand(path.begun.draft_length * verified, accepted.astype(np.int64))
        ends = before.dropped, before.dropped_after, finished, in_time, output
        idle_time = np.where(before.idle, np.minimum(-path.begun.age, path.duration[:, None]), 0.0)
        served = Served(arrivals, *ends, ttft, tpot, e2el, gap, idle_time)
        return Closing(state.changed(demand=demand), gained, served, finished & ~lines.idle, absent)

    def _times(
        self, finished: BoolArray, clock: FloatArray
    ) -> tuple[BoolArray, IntArray, FloatArray, FloatArray, FloatArray]:
        """Of requests that finish, (n, K), at ``clock`` (n, 1): in time or not, tokens, TTFT, TPOT, E2EL; else 0."""
        lines = self._lines
        output, arrived, first = (lines.shaped(name) for name in ("output", "arrived", "first_at"))
        ttft, e2el = first - arrived, clock - arrived
        tpot = np.where(output > 1, (clock - first) / np.maximum(output - 1, 1), 0.0)
        in_time = finished & lines.workload.level.met(ttft, tpot, e2el, output)
        ttft, tpot, e2el = (np.where(finished, time, 0.0) for time in (ttft, tpot, e2el))
        return in_time, output * finished, ttft, tpot, e2el

    def overdue(self, now: FloatArray, copies: IntArray | None = None) -> tuple[IntArray, IntArray]:
        """Requests (m, K) of these copies (m,), default all, that have arrived and not ended at ``now`` (m,).

        Those that are late already, and others.
        """
        return self._lines.overdue(now, copies)


def _end_of(path: Course, over: BoolArray | None) -> FloatArray:
    """When the step ends, (n,) s; in copies that are over, which have none, when it began."""
    now: FloatArray = path.begun.time + path.duration
    return now if over is None else np.where(over, path.begun.time, now)


def _without(state: ContinuousState, dropped: BoolArray, idle: BoolArray) -> ContinuousState:
    """State in which the drafts of devices that dropped theirs are gone."""
    phase = np.where(dropped, np.where(idle, Phase.IDLE, Phase.FREE), state.phase)
    return state.changed(phase=phase, **_drafts_but(dropped, state))


def _left(state: ContinuousState, absent: BoolArray, idle: BoolArray) -> ContinuousState:
    """State behind a step, in which ``absent`` devices have begun no draft, and ``idle`` ones have no request."""
    phase = np.where(idle, Phase.IDLE, np.where(absent, Phase.FREE, state.phase))
    return state.changed(phase=phase, age=state.age * ~(absent | idle), **_drafts_but(absent, state))


def _drafts_but(gone: BoolArray, state: ContinuousState) -> dict[str, Any]:
    """Fields of a state's drafts, without those that are gone, (n, K)."""
    kept = ~gone
    return {name: getattr(state, name) * kept for name in ("draft_length", "drafting_left", "air_left")}
