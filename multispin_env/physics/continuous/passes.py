"""Between two passes of the server: drafts start, uploads share the band, a batch starts, and what is left behind it.

Nothing is decided in between, so everything follows from one decision, and no events are played (ours;
docs/evidence/continuous.md).

An upload needs w seconds of the whole band. The three ways to share it serve at most one second of
it a second; `UplinkDiscipline` says when each upload ends, and how much of it is left at any time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray, put
from multispin_env.checks import check_name
from multispin_env.physics.chains import drafting_time
from multispin_env.physics.continuous.types import (
    ContinuousDecision,
    ContinuousOutcome,
    ContinuousState,
    Join,
    Phase,
    Served,
)
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.tokens import verification_time
from multispin_env.scenario import Scenario


@dataclass(frozen=True, eq=False)
class _Uploads:
    ends: FloatArray  # (n, K) s from the decision on, infinite where an upload never ends
    left_at: Callable[[FloatArray], FloatArray]  # times (n,) to air time left (n, K)


UplinkDiscipline = Callable[[FloatArray, FloatArray, FloatArray], _Uploads]
"""Release times (n, K) ≥ 0, air times (n, K) ≥ 0, and priorities or shares (n, K), to `_Uploads`."""


def start_drafts(
    scenario: Scenario,
    state: ContinuousState,
    decision: ContinuousDecision,
    wait: FloatArray | None = None,
    longest: IntArray | None = None,
) -> ContinuousState:
    """State (n, K) in which free devices have begun the drafts that a checked decision (n, K) names for them.

    Idle ones start after ``wait`` (n, K) s, so that their drafts have a negative age until then; ``None``: nobody is
    idle. A draft beyond ``longest`` (n, K) tokens is of no use to the request; ``None``: no limit.
    """
    starts = (state.phase == Phase.FREE) | (state.phase == Phase.IDLE)
    length = decision.draft_length
    if longest is not None:
        length = np.minimum(length, np.maximum(longest, scenario.min_draft_length))
    length = np.where(starts, length, state.draft_length)
    token_time = full_share_token_time(scenario, state.spectral_efficiency)
    aim = state.batch[:, None] if decision.aim is None else decision.aim
    ends = scenario.round_trip_time + drafting_time(scenario, length, state.draft_time, state.head_start)
    return state.changed(
        phase=np.where(starts, Phase.DRAFTING, state.phase),
        draft_length=length,
        drafting_left=np.where(starts, ends if wait is None else wait + ends, state.drafting_left),
        air_left=np.where(starts, length * token_time, state.air_left),
        age=np.where(starts, 0.0 if wait is None else -wait, state.age),
        aim=np.where(starts, aim, state.aim),
    )


def next_pass(
    scenario: Scenario,
    discipline: UplinkDiscipline,
    begun: ContinuousState,
    decision: ContinuousDecision,
    over: BoolArray | None = None,
    prompt: IntArray | None = None,
    context: IntArray | None = None,
) -> tuple[ContinuousOutcome, ContinuousState]:
    """What happens until the next verification ends, without any tokens yet, and the state (n, K) behind it.

    Between the two nothing is decided, so everything follows from the checked decision (ours): when
    uploads end on the uplink, when the batch starts, and how long it takes. The batch starts when those that it waits
    for are there, and as many as it needs, or when its timeout ends; in any case with one device at least. ``begun``
    is a result of `start_drafts`; nothing of copies ``over`` (n,) is verified; ``prompt`` and ``context`` (n, K) are
    those of `verification_time`. ``ValueError`` for a decision under which a batch never starts.
    """
    key = decision.priority if decision.share is None else decision.share
    assert key is not None  # a checked decision has one of them
    uploads = discipline(begun.drafting_left, begun.air_left, key)
    start = _batch_start(uploads.ends, decision)
    verified = (decision.join >= Join.TAKE) & (uploads.ends <= start[:, None])
    time = verification_time(scenario, begun.draft_length, verified, prompt, context)
    duration = start + time
    ends = np.isfinite(duration)
    if not (ends if over is None else ends | over).all():
        copy = int(np.flatnonzero(~ends if over is None else ~(ends | over))[0])
        raise ValueError(f"decision[{copy}]: expected one under which a batch starts, got one that waits for ever")
    air_left = uploads.left_at(np.where(ends, duration, 0.0))
    if over is not None:
        verified[over] = False
    shape, zeros = verified.shape, np.zeros(verified.shape)
    times = begun.drafting_left, uploads.ends, begun.air_left - air_left, start, time, duration
    rest = Served.nothing(shape), zeros, zeros, np.zeros(shape, dtype=np.bool_)
    outcome = ContinuousOutcome(zeros, begun.draft_length * verified, verified, *times, *rest)
    return outcome, _behind(begun, outcome, air_left)


def _batch_start(ends: FloatArray, decision: ContinuousDecision) -> FloatArray:
    """When the batch starts, (n,) s; infinite where it never does."""
    there = np.where(decision.join >= Join.TAKE, ends, np.inf)
    first = np.minimum.reduce(there, -1)
    start = np.maximum(np.maximum.reduce(np.where(decision.join == Join.WAIT, ends, 0.0), -1), first)
    if decision.least_batch is not None:
        fewest = np.clip(decision.least_batch, 1, (decision.join >= Join.TAKE).sum(-1).clip(1))
        nth = np.take_along_axis(np.sort(there, -1), (fewest - 1)[:, None], -1)[:, 0]
        start = np.maximum(start, nth)
    if decision.timeout is not None:
        start = np.minimum(start, np.maximum(decision.timeout, first))
    return start


def _behind(begun: ContinuousState, outcome: ContinuousOutcome, air_left: FloatArray) -> ContinuousState:
    """State (n, K) at the end of the verification: the batch is free, the others have gone on.

    Channels, acceptance and head starts of free devices are still those of the cycle that ended, and so is their age.
    """
    span, going = outcome.duration[:, None], ~outcome.verified
    drafting = np.maximum(begun.drafting_left - span, 0.0)
    uploading = np.where(outcome.uploaded_at > span, Phase.UPLOADING, Phase.READY)
    return begun.changed(
        phase=np.where(outcome.verified, Phase.FREE, np.where(drafting > 0.0, Phase.DRAFTING, uploading)),
        draft_length=begun.draft_length * going,
        drafting_left=drafting * going,
        air_left=air_left * going,
        age=begun.age + span,
        batch=begun.batch + 1,
        time=begun.time + outcome.duration,
    )


def clear_drafts(state: ContinuousState, gone: BoolArray, idle: BoolArray) -> ContinuousState:
    """State (n, K) in which devices whose draft is ``gone`` are free, and ``idle`` ones have no request."""
    kept, waits = ~gone, ~(gone | idle)
    return state.changed(
        phase=np.where(idle, Phase.IDLE, np.where(gone, Phase.FREE, state.phase)),
        draft_length=state.draft_length * kept,
        drafting_left=state.drafting_left * kept,
        air_left=state.air_left * kept,
        age=state.age * waits,
        head_start=state.head_start * waits,
    )


def reserved(release: FloatArray, air: FloatArray, share: FloatArray) -> _Uploads:
    """Every device has its share of the band, and nobody else uses it: the paper's uplink ([MS] 9).

    Shares sum to one at most; with none, an upload never ends.
    """
    nothing = air == 0.0
    with np.errstate(divide="ignore"):
        ends = release + np.where(nothing, 0.0, air) / np.where(nothing, 1.0, share)

    def left_at(time: FloatArray) -> FloatArray:
        served = share * np.maximum(time[:, None] - release, 0.0)
        return np.where(ends <= time[:, None], 0.0, np.maximum(air - served, 0.0))

    return _Uploads(ends, left_at)


MANY = 64  # devices with which it pays to look for busy periods first


def serial(release: FloatArray, air: FloatArray, priority: FloatArray) -> _Uploads:
    """The whole band to one upload after the other: the smallest priority first, the shorter one where these are equal.

    An upload that comes first interrupts another. No events are needed: with the devices that come before device k and
    with k itself alone, the band is busy in periods, whoever is served in them; the upload of k ends with the period in
    which it begins. What is left of it is the work left of these devices less that of the devices before k.

    This takes a table of K × K. Where devices are many and most come at different times, each busy period of the band
    has one of its own: what happens in one does not change another, so the numbers are the same to the bit.
    """
    cells = np.arange(release.size).reshape(release.shape)
    first = cells[:, :1]
    by_release = np.argsort(release, -1, kind="stable") + first
    start, work, key = (array.take(by_release) for array in (release, air, priority))
    by_priority = np.lexsort((work, key)) + first  # of those sorted by release
    position = np.empty_like(cells)
    put(position, by_priority, cells - first)
    periods = _Periods(start, work, position) if release.shape[1] >= MANY else None
    ends = np.empty_like(release)
    if periods is not None and 2 * periods.size.max(initial=1) <= release.shape[1]:
        put(ends, by_release, periods.ends())
        order, waiting_at = by_release, periods.left
    else:
        by_user = start.T.copy()
        finish = _busy_until(by_user, work.T, position.T)
        put(ends, by_release, np.where(work == 0.0, start, _first_idle(by_user, finish).T))
        order = by_release.take(by_priority)

        def waiting_at(now: FloatArray) -> FloatArray:
            begun = np.maximum((start <= now[:, None]).sum(-1) - 1, 0)  # the last upload that began
            waiting = np.maximum(finish[begun, :, np.arange(len(now))] - now[:, None], 0.0).take(by_priority)
            waiting[:, 1:] -= waiting[:, :-1].copy()
            return waiting

    def left_at(time: FloatArray) -> FloatArray:
        now, left = time[:, None], np.empty_like(release)
        put(left, order, waiting_at(time))
        bounded = np.minimum(np.maximum(left, 0.0), air)
        return np.where(ends <= now, 0.0, np.where(release >= now, air, bounded))

    return _Uploads(ends, left_at)


def _busy_until(start: FloatArray, work: FloatArray, position: IntArray) -> FloatArray:
    """When the work is done that devices up to k by position, and up to j by release, bring: (K of j, K of k, n).

    All arrays have users first, (K, n), so that loops run over long rows. The sum goes row by row, since NumPy
    accumulates along a first axis entry by entry, which takes ten times as long.
    """
    before = position.astype(np.int32, order="C")  # half the numbers to compare
    done = np.multiply(before[:, None] <= before, np.ascontiguousarray(work)[:, None])
    done[0] += start[0]
    later = np.empty(start.shape)
    for earlier, now, begins in zip(done, done[1:], start[1:], strict=False):
        now += np.maximum(earlier, begins, out=later)
    return done


def _first_idle(start: FloatArray, finish: FloatArray) -> FloatArray:
    """The end of the busy period in which each upload begins, (K, n): the first from j = k on without work left."""
    ends = finish[-1].copy()
    idle = finish[:-1] <= start[1:, None]
    for j in range(len(start) - 2, -1, -1):
        np.copyto(ends[: j + 1], finish[j, : j + 1], where=idle[j, : j + 1])
    return ends


class _Periods:
    """Busy periods of the band, (n, K) devices by release; those without work are in none."""

    def __init__(self, start: FloatArray, work: FloatArray, position: IntArray) -> None:
        self.start, self.work, self.position = start, work, position
        total = np.add.accumulate(work, -1)
        busy = total + np.maximum.accumulate(start - (total - work), -1)
        begins = np.ones(start.shape, dtype=np.bool_)  # with a margin for rounding: two periods may count as one
        begins[:, 1:] = busy[:, :-1] < (1.0 - 1e-9) * start[:, 1:] - 1e-9 * total[:, -1:]
        self.cells = np.flatnonzero(work > 0.0)
        period = np.add.accumulate(begins.ravel()).take(self.cells)
        self.first = np.flatnonzero(np.diff(period, prepend=0))  # of each period, in the cells
        self.size = np.diff(self.first, append=len(self.cells))

    def table(self, chosen: IntArray) -> tuple[IntArray, BoolArray, FloatArray, FloatArray, IntArray]:
        """Cells, which of them count, start, work and position of the chosen periods (m,), each (m, most devices)."""
        size = self.size.take(chosen)[:, None]
        column = np.arange(size.max(initial=1))
        counts = column < size
        cells = self.cells.take(self.first.take(chosen)[:, None] + np.minimum(column, size - 1))
        start = np.where(counts, self.start.take(cells), np.inf)
        position = np.where(counts, self.position.take(cells), self.position.size)
        return cells, counts, start, np.where(counts, self.work.take(cells), 0.0), position

    def ends(self) -> FloatArray:
        ends = self.start + self.work
        width = 2
        while width < 2 * self.size.max(initial=1):  # periods of about the same size at a time
            chosen = np.flatnonzero((2 * self.size > width) & (self.size <= width))
            cells, counts, start, work, position = self.table(chosen)
            by_user = start.T.copy()
            found = _first_idle(by_user, _busy_until(by_user, work.T, position.T)).T
            put(ends, cells[counts], found[counts])
            width *= 2
        return ends

    def left(self, now: FloatArray) -> FloatArray:
        """What is left at ``now`` (n,) of uploads (n, K) in the last period that began until then; else 0."""
        left = np.zeros(self.start.shape)
        begun = np.flatnonzero((self.start <= now[:, None]).take(self.cells))
        copy = self.cells.take(begun) // self.start.shape[1]
        last = begun[np.diff(copy, append=-1) != 0]  # upload of each copy that has one
        copy = self.cells.take(last) // self.start.shape[1]
        chosen = np.searchsorted(self.first, last, side="right") - 1
        cells, counts, start, work, position = self.table(chosen)
        finish = _busy_until(start.T.copy(), work.T, position.T)
        by_place = np.argsort(position, -1)
        rows = np.arange(len(last))
        until = finish[last - self.first.take(chosen), :, rows]
        waiting = np.take_along_axis(np.maximum(until - now[copy, None], 0.0), by_place, -1)
        waiting[:, 1:] -= waiting[:, :-1].copy()
        there = np.take_along_axis(counts, by_place, -1)
        put(left, np.take_along_axis(cells, by_place, -1)[there], waiting[there])
        return left


def shared(release: FloatArray, air: FloatArray, weight: FloatArray) -> _Uploads:
    """The band is divided among those who upload now, in proportion to weights; without any, an upload never ends.

    The rates change with every start and end of an upload, so this one goes from event to event, all copies together.
    """
    times, amounts = _shared_course(release, air, weight)
    ended = amounts <= 0.0
    first = ended.argmax(0)
    never = ~ended[-1]
    ends = np.where(never, np.inf, np.maximum(np.take_along_axis(times[..., None], first[None], 0)[0], release))

    def left_at(time: FloatArray) -> FloatArray:
        segment = np.maximum((times <= time).sum(0) - 1, 0)
        following = np.minimum(segment + 1, len(times) - 1)
        rows = np.arange(len(release))
        before, after = amounts[segment, rows], amounts[following, rows]
        length = times[following, rows] - times[segment, rows]
        part = np.where(length > 0.0, (time - times[segment, rows]) / np.where(length > 0.0, length, 1.0), 0.0)
        left = before + np.clip(part, 0.0, 1.0)[:, None] * (after - before)
        return np.where(ends <= time[:, None], 0.0, left)

    return _Uploads(ends, left_at)


def _shared_course(release: FloatArray, air: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Times (e, n) of starts and ends of uploads, and what is left at each, (e, n, K)."""
    now, left = np.zeros(len(release)), air.copy()
    times, amounts = [now], [left]
    for _ in range(2 * release.shape[-1]):
        begun = release <= now[:, None]
        active = begun & (left > 0.0)
        served = active & (weight > 0.0)
        total = np.where(served, weight, 0.0).sum(-1, keepdims=True)
        rate = np.where(served, weight, 0.0) / np.where(total > 0.0, total, 1.0)
        needed = np.where(served, left / np.where(served, rate, 1.0), np.inf)
        first_end = needed.min(-1)
        next_start = np.where(begun, np.inf, release).min(-1)
        until = np.minimum(now + first_end, next_start)
        moving = np.isfinite(until)
        elapsed = np.where(moving, until - now, 0.0)[:, None]
        ending = active & (needed == first_end[:, None]) & (now + first_end <= next_start)[:, None]
        left = np.where(ending, 0.0, np.where(active, np.maximum(left - rate * elapsed, 0.0), left))
        now = np.where(moving, until, now)
        times.append(now)
        amounts.append(left)
    return np.array(times), np.array(amounts)


DISCIPLINES: dict[str, UplinkDiscipline] = {"serial": serial, "shared": shared, "reserved": reserved}
"""The ways to share the uplink."""


def discipline_of(name: str) -> UplinkDiscipline:
    """Return the discipline of a name; ``ValueError`` for an unknown one suggests the nearest."""
    check_name("discipline", name, DISCIPLINES)
    return DISCIPLINES[name]
