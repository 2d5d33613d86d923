"""Search for the lengths that are best for a launch, copy by copy (ours; docs/evidence/continuous.md).

`improve` adds, takes away and moves whole tokens by two kinds of steps that take turns until none helps. `_climb` tries
one token more or less for every device, and one for each of several devices, in the order in which they pay for their
air. `_swap` tries one token more for a device, and one or two less for another.

A step tries hundreds of changes of one or two drafts. All uploads have to be put in order for each, and the copies need
different numbers of steps, so that NumPy takes ten times as long. That is why this chapter, and no other, is compiled,
by Numba, when it is first called; the machine code is kept beside the source.
"""

from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import missing_package

try:
    from numba import njit
except ModuleNotFoundError as error:
    raise missing_package("numba") from error

LEAST_GAIN = 1e-9  # tokens that a step has to bring
MOST_STEPS = 40  # of each kind


class Terms(NamedTuple):
    """Gains and times of all copies n, by the length of each draft."""

    starts: BoolArray  # (n, K), whose drafts start now; lengths of others are L_min
    gain: FloatArray  # (n, K, L_max + 1) tokens, less the price of their air; 0 for others
    ends: FloatArray  # (n, K, L_max + 2) s, when a draft of this length ends, or, of others, the draft under way does
    token_air: FloatArray  # (n, K) s of the whole band a token; 0 for others
    air: FloatArray  # (n, K) s of the whole band that uploads of others need
    server: FloatArray  # (n, tokens + 1) s of a pass, by the tokens drafted for it; one entry only: whatever the tokens
    due: FloatArray  # (n,) s, when the server is free for the batch
    price: FloatArray  # (n,) tokens/s, what a second of delay costs
    least: int  # L_min
    padded: bool  # whether drafts are filled up to the longest


class Copy(NamedTuple):
    """One copy, of which the S devices that start have numbers of their own, in their order."""

    gain: FloatArray  # (S, L_max + 1)
    ends: FloatArray  # (S, L_max + 2)
    token_air: FloatArray  # (S,)
    server: FloatArray  # (tokens + 1,)
    due: float
    price: float
    least: int
    padded: bool


class Queue(NamedTuple):
    """Uploads in the order in which they start."""

    device: IntArray  # (m,) number of those that start, −1 of others
    release: FloatArray  # s, when they start
    work: FloatArray  # s of the whole band


class Marks(NamedTuple):
    """Times in a queue, at each place and behind the last one (m + 1,)."""

    behind: FloatArray  # s of work from this place on
    before: FloatArray  # s, when all is sent because of the uploads before this place
    after: FloatArray  # s, when all is sent because of those from it on


@njit(cache=True)
def all_sent(release: FloatArray, work: FloatArray) -> FloatArray:
    """When a work-conserving uplink has served uploads (n, K) of ``work`` seconds that start at ``release``, (n,) s."""
    copies, users = release.shape
    ends = np.empty(copies)
    for copy in range(copies):
        queue = Queue(np.empty(users, np.int64), np.empty(users), np.empty(users))
        for user in range(users):
            _put(queue, user, user, release[copy, user], work[copy, user])
        ends[copy] = _end(queue)
    return ends


@njit(cache=True)
def gain_table(weight: FloatArray, acceptance_rate: FloatArray, token_price: FloatArray, longest: int) -> FloatArray:
    """ω E[N | L] − L p of lengths 0..L_max, (n, K, L_max + 1): sums of powers of α, as [MS] (12) has them.

    ``token_price`` is p (n, K), what the air of a token costs.
    """
    copies, users = weight.shape
    table = np.empty((copies, users, longest + 1))
    for copy in range(copies):
        for user in range(users):
            gain, power = 0.0, weight[copy, user]
            for length in range(longest + 1):
                gain += power
                power *= acceptance_rate[copy, user]
                table[copy, user, length] = gain - length * token_price[copy, user]
    return table


@njit(cache=True)
def values(terms: Terms, lengths: IntArray) -> FloatArray:
    """Gains less costs (n, C) of lengths (n, C, K)."""
    result = np.empty(lengths.shape[:2])
    for number in range(len(lengths)):
        who = np.flatnonzero(terms.starts[number])
        copy, queue = _copy(terms, number, who), _queue(terms, number, who)
        for candidate in range(lengths.shape[1]):
            result[number, candidate] = _value(copy, queue, lengths[number, candidate][who])
    return result


@njit(cache=True)
def improve(terms: Terms, lengths: IntArray) -> None:
    """Change lengths (n, C, K) in place until no step betters them."""
    for number in range(len(lengths)):
        who = np.flatnonzero(terms.starts[number])
        copy, queue = _copy(terms, number, who), _queue(terms, number, who)
        count = len(queue.device) + 1
        marks = Marks(np.empty(count), np.empty(count), np.empty(count))
        for candidate in range(lengths.shape[1]):
            best = lengths[number, candidate][who]
            for _ in range(MOST_STEPS):
                for _ in range(MOST_STEPS):
                    if not _climb(copy, queue, marks, best):
                        break
                if not _swap(copy, queue, marks, best):
                    break
            lengths[number, candidate][who] = best


@njit(cache=True)
def _copy(terms: Terms, number: int, who: IntArray) -> Copy:
    return Copy(
        terms.gain[number][who],
        terms.ends[number][who],
        terms.token_air[number][who],
        terms.server[number],
        terms.due[number],
        terms.price[number],
        terms.least,
        terms.padded,
    )


@njit(cache=True)
def _queue(terms: Terms, number: int, who: IntArray) -> Queue:
    """A queue for the devices that send something, in no order yet."""
    release, air = terms.ends[number, :, 0], terms.air[number]
    others = np.flatnonzero(~terms.starts[number] & ((release > 0.0) | (air > 0.0)))
    count = len(others) + len(who)
    queue = Queue(np.empty(count, np.int64), np.empty(count), np.empty(count))
    for place, device in enumerate(others):
        _put(queue, place, -1, release[device], air[device])
    for place in range(len(who)):
        queue.device[len(others) + place] = place
    return queue


@njit(cache=True)
def _put(queue: Queue, place: int, device: int, release: float, work: float) -> None:
    """Put an upload among those before a place, which are in order; the one in that place is lost."""
    while place > 0 and queue.release[place - 1] > release:
        queue.device[place] = queue.device[place - 1]
        queue.release[place] = queue.release[place - 1]
        queue.work[place] = queue.work[place - 1]
        place -= 1
    queue.device[place], queue.release[place], queue.work[place] = device, release, work


@njit(cache=True)
def _arrange(copy: Copy, queue: Queue, lengths: IntArray) -> None:
    """Put the uploads of these lengths (S,) in order; that is fast where few of them have changed."""
    for place, device in enumerate(queue.device):
        if device < 0:
            _put(queue, place, device, queue.release[place], queue.work[place])
        else:
            length = lengths[device]
            _put(queue, place, device, copy.ends[device, length], length * copy.token_air[device])


@njit(cache=True)
def _place(queue: Queue, device: int) -> int:
    place = 0
    while queue.device[place] != device:
        place += 1
    return place


@njit(cache=True)
def _move(copy: Copy, queue: Queue, device: int, length: int) -> None:
    """Give one draft of a queue in order another length."""
    release, work = copy.ends[device, length], length * copy.token_air[device]
    place = _place(queue, device)
    while place + 1 < len(queue.device) and queue.release[place + 1] < release:
        _put(queue, place, queue.device[place + 1], queue.release[place + 1], queue.work[place + 1])
        place += 1
    _put(queue, place, device, release, work)


@njit(cache=True)
def _end(queue: Queue) -> float:
    """When all is sent: the latest of the starts of uploads, plus the work that starts then or later."""
    end, work = 0.0, 0.0
    for place in range(len(queue.device) - 1, -1, -1):
        work += queue.work[place]
        end = max(end, queue.release[place] + work)
    return end


@njit(cache=True)
def _cost(copy: Copy, lengths: IntArray, end: float) -> float:
    """What the delay costs if all is sent at ``end``, and the server's time where it depends on tokens."""
    late = max(end - copy.due, 0.0)
    if len(copy.server) > 1:
        late += copy.server[lengths.max() * len(lengths) if copy.padded else lengths.sum()]
    return late * copy.price


@njit(cache=True)
def _gain(copy: Copy, lengths: IntArray) -> float:
    gain = 0.0
    for device, length in enumerate(lengths):
        gain += copy.gain[device, length]
    return gain


@njit(cache=True)
def _value(copy: Copy, queue: Queue, lengths: IntArray) -> float:
    _arrange(copy, queue, lengths)
    return _gain(copy, lengths) - _cost(copy, lengths, _end(queue))


@njit(cache=True)
def _mark(queue: Queue, marks: Marks) -> None:
    """Fill in the times of a queue in order."""
    count = len(queue.device)
    marks.behind[count], marks.after[count], marks.before[0] = 0.0, -np.inf, -np.inf
    for place in range(count - 1, -1, -1):
        marks.behind[place] = marks.behind[place + 1] + queue.work[place]
        marks.after[place] = max(marks.after[place + 1], queue.release[place] + marks.behind[place])
    for place in range(count):
        marks.before[place + 1] = max(marks.before[place], queue.release[place] + marks.behind[place])


@njit(cache=True)
def _end_with(copy: Copy, queue: Queue, marks: Marks, device: int, length: int) -> float:
    """When all is sent if the draft of this device had another length."""
    place = _place(queue, device)
    old = queue.work[place]
    release, work = copy.ends[device, length], length * copy.token_air[device]
    first = after = place
    end = -np.inf
    while after + 1 < len(queue.device) and queue.release[after + 1] < release:  # it starts behind these now
        after += 1
        end = max(end, queue.release[after] + marks.behind[after] + work)
    while first > 0 and queue.release[first - 1] > release:  # and before these
        first -= 1
        end = max(end, queue.release[first] + marks.behind[first] - old)
    behind = marks.behind[after + 1] if after > place or first == place else marks.behind[first] - old
    end = max(end, marks.before[first] + (work - old), release + work + behind)
    return max(end, marks.after[after + 1])


@njit(cache=True)
def _climb(copy: Copy, queue: Queue, marks: Marks, lengths: IntArray) -> bool:
    """Take the best step of the first kind from lengths (S,), in place; False where none helps."""
    best = _value(copy, queue, lengths) + LEAST_GAIN
    _mark(queue, marks)
    longer, soon, shorter, late = _orders(copy, lengths, marks.after[0])
    first, change, count = longer, 0, 0
    for sign, order in ((1, longer), (-1, shorter)):
        for device in order:
            now = lengths[device]
            if _possible(copy, now + sign):
                lengths[device] = now + sign
                gain = _gain(copy, lengths)
                if gain > best:
                    value = gain - _cost(copy, lengths, _end_with(copy, queue, marks, device, now + sign))
                    if value > best:
                        best, first, change, count = value, np.array([device]), sign, 1
                lengths[device] = now
    for sign, order in ((1, longer), (1, soon), (-1, shorter), (-1, late)):
        value, found = _run(copy, queue, lengths, order, sign, best)
        if found > 0:
            best, first, change, count = value, order, sign, found
    for device in first[:count]:
        if _possible(copy, lengths[device] + change):
            lengths[device] += change
    return count > 0


@njit(cache=True)
def _possible(copy: Copy, length: int) -> bool:
    return bool(copy.least <= length < copy.gain.shape[1])


@njit(cache=True)
def _orders(copy: Copy, lengths: IntArray, end: float) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Devices by what a token more brings for its air, if there is room for it, and by how soon it would be there.

    And by how little a token less costs for its air, and by how late the token would be there.
    """
    count, longest = len(lengths), copy.gain.shape[1] - 1
    longer, soon, shorter, late = [Queue(np.empty(count, np.int64), np.empty(count), np.empty(count)) for _ in range(4)]
    for device in range(count):
        now, air, gain = lengths[device], copy.token_air[device], copy.gain[device]
        more = gain[now + 1] - gain[now] if now < longest else -np.inf
        less = gain[now - 1] - gain[now] if now > copy.least else -np.inf
        there = copy.ends[device, now + 1] + air
        _put(longer, device, device, 1.0 if there > max(copy.due, end) else -more / air, 0.0)
        _put(soon, device, device, there, 0.0)
        _put(shorter, device, device, -less / air, 0.0)
        _put(late, device, device, -there, 0.0)
    return longer.device, soon.device, shorter.device, late.device


@njit(cache=True)
def _run(copy: Copy, queue: Queue, lengths: IntArray, order: IntArray, change: int, best: float) -> tuple[float, int]:
    """The best value above ``best`` of a token more or less for each of the first devices of an order, and how many."""
    tried, count = lengths.copy(), 0
    _arrange(copy, queue, lengths)
    for place, device in enumerate(order):
        if not _possible(copy, tried[device] + change):
            continue
        tried[device] += change
        _move(copy, queue, device, tried[device])
        gain = _gain(copy, tried)
        if place > 0 and gain > best:
            value = gain - _cost(copy, tried, _end(queue))
            if value > best:
                best, count = value, place + 1
    return best, count


@njit(cache=True)
def _swap(copy: Copy, queue: Queue, marks: Marks, lengths: IntArray) -> bool:
    """Take the best step of the second kind from lengths (S,), in place; False where none helps."""
    best, gain = _value(copy, queue, lengths) + LEAST_GAIN, _gain(copy, lengths)
    taker, giver, tokens = 0, 0, 0
    for less in (1, 2):
        for device in range(len(lengths)):
            now = lengths[device]
            if not _possible(copy, now + 1):
                continue
            more = copy.gain[device, now + 1] - copy.gain[device, now]
            lengths[device] = now + 1
            _move(copy, queue, device, now + 1)
            _mark(queue, marks)
            for other in range(len(lengths)):
                held = lengths[other]
                if other == device or not _possible(copy, held - less):
                    continue
                brings = gain + (more + (copy.gain[other, held - less] - copy.gain[other, held]))
                if brings > best:
                    lengths[other] = held - less
                    value = brings - _cost(copy, lengths, _end_with(copy, queue, marks, other, held - less))
                    lengths[other] = held
                    if value > best:
                        best, taker, giver, tokens = value, device, other, less
            lengths[device] = now
            _move(copy, queue, device, now)
    if tokens > 0:
        lengths[taker] += 1
        lengths[giver] -= tokens
    return tokens > 0
