"""Three ways to share one uplink among devices that start to upload at different times (ours; docs/continuous.md).

An upload needs w seconds of the whole band. All three serve at most one second of it a second. `UplinkDiscipline`
says when each upload ends, and how much of it is left at any time, for one decision that does not change meanwhile.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import FloatArray, IntArray, put
from multispin_env.checks import check_name


@dataclass(frozen=True, eq=False)
class Uploads:
    """Uploads under one decision; times count from when it was given."""

    ends: FloatArray  # (n, K) s, infinite where an upload never ends
    left_at: Callable[[FloatArray], FloatArray]  # times (n,) to air time left (n, K)


UplinkDiscipline = Callable[[FloatArray, FloatArray, FloatArray], Uploads]
"""Release times (n, K) ≥ 0, air times (n, K) ≥ 0, and priorities or shares (n, K), to `Uploads`."""


def reserved(release: FloatArray, air: FloatArray, share: FloatArray) -> Uploads:
    """Every device has its share of the band, and nobody else uses it: the paper's uplink ([MS] 9).

    Parameters
    ----------
    release
        (n, K) s, when drafts end.
    air
        (n, K) s of the whole band.
    share
        (n, K), at most one for all together; with none, an upload never ends.
    """
    nothing = air == 0.0
    with np.errstate(divide="ignore"):
        ends = release + np.where(nothing, 0.0, air) / np.where(nothing, 1.0, share)

    def left_at(time: FloatArray) -> FloatArray:
        served = share * np.maximum(time[:, None] - release, 0.0)
        return np.where(ends <= time[:, None], 0.0, np.maximum(air - served, 0.0))

    return Uploads(ends, left_at)


def serial(release: FloatArray, air: FloatArray, priority: FloatArray) -> Uploads:
    """The whole band to one upload after the other: the smallest priority first, the shorter one where these are equal.

    An upload that comes first interrupts another. No events are needed: with the devices that come before device k and
    with k itself alone, the band is busy in periods, whoever is served in them; the upload of k ends with the period in
    which it begins. What is left of it is the work left of these devices less that of the devices before k.

    Parameters
    ----------
    release, air
        As in `reserved`.
    priority
        (n, K), any numbers.
    """
    cells = np.arange(release.size).reshape(release.shape)
    first = cells[:, :1]
    by_release = np.argsort(release, -1, kind="stable") + first
    start, work, key = (array.take(by_release) for array in (release, air, priority))
    by_priority = np.lexsort((work, key)) + first  # of those sorted by release
    place = np.empty_like(cells)
    put(place, by_priority, cells - first)
    by_user = start.T.copy()
    finish = _busy_until(by_user, work.T, place.T)
    ends = np.empty_like(release)
    put(ends, by_release, np.where(work == 0.0, start, _first_idle(by_user, finish).T))

    def left_at(time: FloatArray) -> FloatArray:
        now = time[:, None]
        begun = np.maximum((start <= now).sum(-1) - 1, 0)  # the last upload that began
        waiting = np.maximum(finish[begun, :, np.arange(len(time))] - now, 0.0).take(by_priority)
        left = np.empty_like(release)
        waiting[:, 1:] -= waiting[:, :-1].copy()
        put(left, by_release.take(by_priority), waiting)
        bounded = np.minimum(np.maximum(left, 0.0), air)
        return np.where(ends <= now, 0.0, np.where(release >= now, air, bounded))

    return Uploads(ends, left_at)


def _busy_until(start: FloatArray, work: FloatArray, place: IntArray) -> FloatArray:
    """When the work is done that devices up to k by place, and up to j by release, bring: (K of j, K of k, n).

    All arrays have users first, (K, n), so that loops run over long rows. The sum goes row by row, since NumPy
    accumulates along a first axis entry by entry, which takes ten times as long.
    """
    before = place.astype(np.int32, order="C")  # half the numbers to compare
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


def shared(release: FloatArray, air: FloatArray, weight: FloatArray) -> Uploads:
    """The band is divided among those who upload now, in proportion to their weights.

    The rates change with every start and end of an upload, so this one goes from event to event, all copies together.

    Parameters
    ----------
    release, air
        As in `reserved`.
    weight
        (n, K); an upload without weight never ends.
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

    return Uploads(ends, left_at)


def _shared_course(release: FloatArray, air: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Times (e, n) of starts and ends of uploads, and what is left at each, (e, n, K)."""
    now, left = np.zeros(len(release)), air.copy()
    times, amounts = [now], [left]
    for _ in range(2 * release.shape[-1]):
        started = release <= now[:, None]
        active = started & (left > 0.0)
        served = active & (weight > 0.0)
        total = np.where(served, weight, 0.0).sum(-1, keepdims=True)
        rate = np.where(served, weight, 0.0) / np.where(total > 0.0, total, 1.0)
        needed = np.where(served, left / np.where(served, rate, 1.0), np.inf)
        first_end = needed.min(-1)
        next_start = np.where(started, np.inf, release).min(-1)
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
