"""One pass of the server: drafts start, uploads share the band, and a batch starts and is verified.

One decision determines a whole pass, so that most passes are computed without simulating events (not in the paper;
docs/evidence/continuous.md). An upload needs w seconds of the whole band. An `UplinkDiscipline` returns the end of each
upload and the work left at any time.
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
from multispin_env.scenario import Scenario


@dataclass(frozen=True, eq=False)
class _Uploads:
    ends: FloatArray  # (n, K) s after the decision, infinite if an upload never ends
    left_at: Callable[[FloatArray], FloatArray]  # function from times (n,) to remaining air times (n, K)


UplinkDiscipline = Callable[[FloatArray, FloatArray, FloatArray], _Uploads]
"""Function from release times (n, K) ≥ 0, air times (n, K) ≥ 0 and priorities or shares (n, K) to `_Uploads`."""


def start_drafts(
    scenario: Scenario,
    state: ContinuousState,
    decision: ContinuousDecision,
    wait: FloatArray | None = None,
    longest: IntArray | None = None,
) -> ContinuousState:
    """Return the state (n, K) after free devices have started the drafts of a checked decision (n, K).

    Idle devices start after ``wait`` (n, K) s, and the age of their drafts is negative until then; ``None``: no device
    is idle. Drafts are cut to ``longest`` (n, K) tokens; ``None``: no limit. A device that reads its prompt has no
    draft, or drafts later if the least length is 1.
    """
    starts, length = state.starting, decision.draft_length
    if longest is not None:
        length = np.minimum(length, np.maximum(longest, scenario.min_draft_length))
    reading = state.reading_left
    if reading is not None:
        length = np.where(reading > 0.0, length * scenario.min_draft_length, length)
    length = np.where(starts, length, state.draft_length)
    token_time = scenario.uplink.token_time(state.spectral_efficiency)
    aim = state.batch[:, None] if decision.aim is None else decision.aim
    drafting = scenario.uplink.fixed_wait + drafting_time(scenario, length, state.draft_time, state.head_start)
    drafting = scenario.uplink.with_access(drafting, length)
    if reading is not None:
        drafting = drafting + reading * scenario.min_draft_length
    return state.changed(
        phase=np.where(starts, Phase.DRAFTING, state.phase),
        draft_length=length,
        drafting_left=np.where(starts, drafting if wait is None else wait + drafting, state.drafting_left),
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
    late: FloatArray | None = None,
) -> tuple[ContinuousOutcome, ContinuousState]:
    """Return the outcome until the end of the next verification, without tokens, and the state (n, K) after it.

    The batch starts as soon as it has at least one draft and either all drafts that it waits for have arrived and it
    has the least size, or the timeout is over. ``begun`` is a state after `start_drafts`; environments with ``over``
    (n,) verify nothing; ``prompt`` and ``context`` (n, K) are those of `VerificationLaw.pass_time`. Drafts arrive
    ``late`` (n, K) s after the band has sent them. ``ValueError`` for a decision under which a batch never starts.
    """
    key = decision.priority if decision.share is None else decision.share
    assert key is not None  # a checked decision has priorities or shares
    uploads = discipline(begun.drafting_left, begun.air_left, key)
    arrival = uploads.ends if late is None else uploads.ends + late
    start = _batch_start(arrival, decision)
    verified = (decision.join >= Join.TAKE) & (arrival <= start[:, None])
    time = scenario.law.pass_time(begun.draft_length, verified, prompt, context)
    duration = start + time
    finite = np.isfinite(duration)
    stuck = ~finite if over is None else ~(finite | over)
    if stuck.any():
        env = int(np.flatnonzero(stuck)[0])
        raise ValueError(f"decision[{env}]: expected a batch that can start, got one that waits forever")
    air_left = uploads.left_at(np.where(finite, duration, 0.0))
    if over is not None:
        verified[over] = False
    shape, zeros = verified.shape, np.zeros(verified.shape)
    outcome = ContinuousOutcome(
        tokens=zeros,
        draft_length=begun.draft_length * verified,
        verified=verified,
        drafted_at=begun.drafting_left,
        uploaded_at=arrival,
        air_time=begun.air_left - air_left,
        start_delay=start,
        verification_time=time,
        duration=duration,
        served=Served.nothing(shape),
        head_start=zeros,
        drafted_ahead=zeros,
        hit=np.zeros(shape, dtype=np.bool_),
    )
    return outcome, _state_after(begun, outcome, air_left)


def _batch_start(arrival: FloatArray, decision: ContinuousDecision) -> FloatArray:
    usable = np.where(decision.join >= Join.TAKE, arrival, np.inf)
    first = np.minimum.reduce(usable, -1)
    start = np.maximum(np.maximum.reduce(np.where(decision.join == Join.WAIT, arrival, 0.0), -1), first)
    if decision.least_batch is not None:
        fewest = np.clip(decision.least_batch, 1, (decision.join >= Join.TAKE).sum(-1).clip(1))
        nth = np.take_along_axis(np.sort(usable, -1), (fewest - 1)[:, None], -1)[:, 0]
        start = np.maximum(start, nth)
    if decision.timeout is not None:
        start = np.minimum(start, np.maximum(decision.timeout, first))
    return start


def _state_after(begun: ContinuousState, outcome: ContinuousOutcome, air_left: FloatArray) -> ContinuousState:
    # channel, acceptance, head start and age of free devices are still those of the cycle that ended
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
    """Return the state (n, K) after the drafts ``gone`` are discarded; devices become free, or idle where ``idle``."""
    drafts, cycles = ~gone, ~(gone | idle)
    return state.changed(
        phase=np.where(idle, Phase.IDLE, np.where(gone, Phase.FREE, state.phase)),
        draft_length=state.draft_length * drafts,
        drafting_left=state.drafting_left * drafts,
        air_left=state.air_left * drafts,
        age=state.age * cycles,
        head_start=state.head_start * cycles,
    )


def reserved(release: FloatArray, air: FloatArray, share: FloatArray) -> _Uploads:
    """Uplink with a reserved share of the band for each device, as in the paper ([MS] 9).

    Shares sum to at most 1; with a share of 0 an upload never ends.
    """
    nothing = air == 0.0
    with np.errstate(divide="ignore"):
        ends = release + np.where(nothing, 0.0, air) / np.where(nothing, 1.0, share)

    def left_at(time: FloatArray) -> FloatArray:
        served = share * np.maximum(time[:, None] - release, 0.0)
        return np.where(ends <= time[:, None], 0.0, np.maximum(air - served, 0.0))

    return _Uploads(ends, left_at)


def serial(release: FloatArray, air: FloatArray, priority: FloatArray) -> _Uploads:
    """Uplink that serves one upload at a time with the whole band: smallest priority value first, ties by shorter work.

    Service is preemptive. No events are simulated. Consider only device k and the devices served before it: the busy
    periods of the band do not depend on the order of service, and the upload of k ends with the busy period in which it
    begins. The remaining work of k is that of all these devices minus that of the devices before k.
    """
    from multispin_env.physics.continuous.serial import serial_ends, serial_left  # late: Numba takes long to import

    cells = np.arange(release.size).reshape(release.shape)
    first = cells[:, :1]
    by_release = np.argsort(release, -1, kind="stable") + first
    start, work, key = release.take(by_release), air.take(by_release), priority.take(by_release)
    position = np.empty_like(cells)
    put(position, np.lexsort((work, key)) + first, cells - first)
    ends = np.empty_like(release)
    put(ends, by_release, serial_ends(start, work, position))

    def left_at(time: FloatArray) -> FloatArray:
        now, left = time[:, None], np.empty_like(release)
        put(left, by_release, serial_left(start, work, position, time))
        bounded = np.minimum(np.maximum(left, 0.0), air)
        return np.where(ends <= now, 0.0, np.where(release >= now, air, bounded))

    return _Uploads(ends, left_at)


def shared(release: FloatArray, air: FloatArray, weight: FloatArray) -> _Uploads:
    """Uplink divided among the current uploads in proportion to weights; with a weight of 0 an upload never ends.

    Rates change whenever an upload starts or ends; these events are simulated for all environments together.
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
    """Return the times (e, n) of starts and ends of uploads, and the work left at each, (e, n, K)."""
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


def discipline_of(name: str) -> UplinkDiscipline:
    """Return the named discipline; ``ValueError`` for an unknown name (the nearest is suggested)."""
    check_name("discipline", name, DISCIPLINES)
    return DISCIPLINES[name]
