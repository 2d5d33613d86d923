"""Search for batches and for the lengths that are best for a launch, copy by copy (ours; docs/evidence/continuous.md).

`improve_lengths` adds, takes away and moves whole tokens by two kinds of steps that take turns until none helps.
`_climb` tries one token more or less for every device, and one for each of several devices, in the order in which they
pay for their air. `_swap` tries one token more for a device, and one or two less for another.

A step tries hundreds of changes of one or two drafts. All uploads have to be put in order for each, and the copies need
different numbers of steps, so that NumPy takes ten times as long. That is why this chapter, and no other, is compiled,
by Numba, when it is first called; the machine code is kept beside the source.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import missing_package

try:
    from numba import njit
except ModuleNotFoundError as error:
    raise missing_package("numba") from error

_LEAST_GAIN = 1e-9  # tokens that a step has to bring

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function when it is first called, and keep the machine code for later processes if files allow it."""
    compiled: Any
    try:
        compiled = njit(cache=True)(function)
    except RuntimeError:  # neither this folder nor that of the user can be written to
        compiled = njit()(function)
    return compiled


class Terms(NamedTuple):
    """Gains and times of all copies n. The S devices that start count one after the other, copy by copy."""

    starts: BoolArray  # (n, K), who starts a draft for the batch
    first: IntArray  # (n + 1,) where devices of each copy begin among all that start
    who: IntArray  # (S,) their positions among the K
    gain: FloatArray  # (S, L_max + 1) tokens of drafts of length 0, 1 .., less the price of their air
    ends: FloatArray  # (S, L_max + 2) s, when drafts of these lengths end
    token_time: FloatArray  # (S,) s of the whole band a token
    release: FloatArray  # (n, K) s, when drafts of others end; 0: nothing is sent
    air: FloatArray  # (n, K) s of the whole band that uploads of others need
    server: FloatArray  # (n, tokens + 1) s of a pass, by the tokens drafted for it; one entry only: whatever the tokens
    due: FloatArray  # (n,) s, when the server is free for the batch
    price: FloatArray  # (n,) tokens/s, what a second of delay costs
    least: int  # L_min
    padded: bool  # whether drafts are filled up to the longest


class Market(NamedTuple):
    """Batches 0..J from the next one on, of which devices of all copies n pick theirs; see `prices`."""

    early: FloatArray  # (K + 2,) s of the server for so many devices, of a batch that nobody joins later
    server: FloatArray  # (n, K + 2) s, of one that becomes as large as usual
    fee: FloatArray  # (n, K + 2) tokens that each device in a batch of so many pays
    one_more: FloatArray  # (n,) s that one more device costs the others
    sends: FloatArray  # (n, K, L_max + 1) s until a draft is sent, by its length
    gain: FloatArray  # (n, K, L_max + 1) tokens that it gains
    own_price: FloatArray  # (n, K) tokens/s of the device's time
    least: int  # L_min
    price: FloatArray  # (n,) tokens/s of a delay
    sent: FloatArray  # (n, J + 1) s, when the work under way for each batch and those before has been uploaded
    size: IntArray  # (n, J + 1) devices in it
    owned: FloatArray  # (n, J + 1) tokens/s, the sum of their own prices


class _Copy(NamedTuple):
    gain: FloatArray  # (S, L_max + 1)
    ends: FloatArray  # (S, L_max + 2)
    token_time: FloatArray  # (S,)
    server: FloatArray  # (tokens + 1,)
    due: float
    price: float
    least: int
    padded: bool


class _Queue(NamedTuple):
    device: IntArray  # (m,) number of those that start, −1 of others
    release: FloatArray  # s, when they start
    work: FloatArray  # s of the whole band


class _Notes(NamedTuple):
    behind: FloatArray  # (m + 1,) s of work in a queue from each position on, and behind the last one
    before: FloatArray  # (m + 1,) s, when all is sent because of the uploads before this position
    after: FloatArray  # (m + 1,) s, when all is sent because of those from it on
    orders: IntArray  # (4, S) devices in four orders, see `_sort`
    keys: FloatArray  # (4, S) by which they are sorted
    tried: IntArray  # (S,) lengths


@compiled
def all_sent(release: FloatArray, work: FloatArray) -> FloatArray:
    """When a work-conserving uplink has served uploads (n, K) of ``work`` seconds that start at ``release``, (n,) s."""
    copies, users = release.shape
    ends = np.empty(copies)
    for copy in range(copies):
        queue = _Queue(np.empty(users, np.int64), np.empty(users), np.empty(users))
        for user in range(users):
            _put(queue, user, user, release[copy, user], work[copy, user])
        ends[copy] = _end(queue)
    return ends


@compiled
def pick_batches(market: Market, order: IntArray, starting: IntArray) -> IntArray:
    """Batches (n, K) that are worth most to devices, which pick in an ``order`` (n, K); so many of them start (n,).

    It changes the sizes of the market.
    """
    positions = np.zeros(order.shape, np.int64)
    for copy in range(len(order)):
        size, owned = market.size[copy], market.owned[copy]
        for device in order[copy, : starting[copy]]:
            sends, own = market.sends[copy, device], market.own_price[copy, device]
            best, due, length = -np.inf, 0.0, market.least
            for position in range(len(size)):
                if position > 0:
                    server = market.early[size[0]] if position == 1 else market.server[copy, size[position - 1]]
                    due = max(due, market.sent[copy, position - 1]) + server
                while length + 1 < len(sends) and sends[length + 1] <= due:
                    length += 1
                after = size[position] + 1
                worth = (
                    market.gain[copy, device, length]
                    - market.fee[copy, after]
                    - market.one_more[copy] * owned[position]
                )
                worth -= own * (due + market.server[copy, after])
                worth -= market.price[copy] * max(sends[length] - due, 0.0)
                if worth > best:
                    best, positions[copy, device] = worth, position
            size[positions[copy, device]] += 1
            owned[positions[copy, device]] += own
    return positions


@compiled
def gain_table(weight: FloatArray, acceptance_rate: FloatArray, token_price: FloatArray, longest: int) -> FloatArray:
    """ω E[N | L] − L p of lengths 0..L_max, (S, L_max + 1): sums of powers of α, as [MS] (12) has them.

    ``token_price`` is p (S,), what the air of a token costs.
    """
    table = np.empty((len(weight), longest + 1))
    for device in range(len(weight)):
        gain, power = 0.0, weight[device]
        for length in range(longest + 1):
            gain += power
            power *= acceptance_rate[device]
            table[device, length] = gain - length * token_price[device]
    return table


@compiled
def improve_lengths(terms: Terms, lengths: IntArray, most: int) -> FloatArray:
    """Change lengths (n, C, K) in place until no step betters them, or the ``most`` of each kind are taken.

    Returns the gains less the costs, (n, C), with no steps those of the lengths as they are.
    """
    result = np.empty(lengths.shape[:2])
    for number in range(len(lengths)):
        copy, who = _copy(terms, number), terms.who[terms.first[number] : terms.first[number + 1]]
        queue = _queue(terms, number, len(who))
        notes = _notes(len(queue.device) + 1, len(who))
        best = np.empty(len(who), np.int64)
        for candidate in range(lengths.shape[1]):
            for device, user in enumerate(who):
                best[device] = lengths[number, candidate, user]
            for _ in range(most):
                for _ in range(most):
                    if not _climb(copy, queue, notes, best):
                        break
                if not _swap(copy, queue, notes, best):
                    break
            for device, user in enumerate(who):
                lengths[number, candidate, user] = best[device]
            result[number, candidate] = _value(copy, queue, best)
    return result


@njit()
def _copy(terms: Terms, number: int) -> _Copy:
    first, last = terms.first[number], terms.first[number + 1]
    return _Copy(
        terms.gain[first:last],
        terms.ends[first:last],
        terms.token_time[first:last],
        terms.server[number],
        terms.due[number],
        terms.price[number],
        terms.least,
        terms.padded,
    )


@njit()
def _queue(terms: Terms, number: int, starters: int) -> _Queue:
    starts, release, air = terms.starts[number], terms.release[number], terms.air[number]
    count = starters
    for user in range(len(air)):
        count += not starts[user] and (release[user] > 0.0 or air[user] > 0.0)
    queue = _Queue(np.empty(count, np.int64), np.empty(count), np.empty(count))
    position = 0
    for user in range(len(air)):
        if not starts[user] and (release[user] > 0.0 or air[user] > 0.0):
            _put(queue, position, -1, release[user], air[user])
            position += 1
    for device in range(starters):
        queue.device[position + device] = device
    return queue


@njit()
def _notes(positions: int, starters: int) -> _Notes:
    return _Notes(
        np.empty(positions),
        np.empty(positions),
        np.empty(positions),
        np.empty((4, starters), np.int64),
        np.empty((4, starters)),
        np.empty(starters, np.int64),
    )


@njit()
def _put(queue: _Queue, position: int, device: int, release: float, work: float) -> None:
    """Put an upload among those before a position, which are in order; the one in that position is lost."""
    while position > 0 and queue.release[position - 1] > release:
        queue.device[position] = queue.device[position - 1]
        queue.release[position] = queue.release[position - 1]
        queue.work[position] = queue.work[position - 1]
        position -= 1
    queue.device[position], queue.release[position], queue.work[position] = device, release, work


@njit()
def _arrange(copy: _Copy, queue: _Queue, lengths: IntArray) -> None:
    for position, device in enumerate(queue.device):
        if device < 0:
            _put(queue, position, device, queue.release[position], queue.work[position])
        else:
            length = lengths[device]
            _put(queue, position, device, copy.ends[device, length], length * copy.token_time[device])


@njit()
def _place(queue: _Queue, device: int) -> int:
    position = 0
    while queue.device[position] != device:
        position += 1
    return position


@njit()
def _move(copy: _Copy, queue: _Queue, device: int, length: int) -> None:
    release, work = copy.ends[device, length], length * copy.token_time[device]
    position = _place(queue, device)
    while position + 1 < len(queue.device) and queue.release[position + 1] < release:
        _put(queue, position, queue.device[position + 1], queue.release[position + 1], queue.work[position + 1])
        position += 1
    _put(queue, position, device, release, work)


@njit()
def _end(queue: _Queue) -> float:
    """When all is sent: the latest of the starts of uploads, plus the work that starts then or later."""
    end, work = 0.0, 0.0
    for position in range(len(queue.device) - 1, -1, -1):
        work += queue.work[position]
        end = max(end, queue.release[position] + work)
    return end


@njit()
def _drafted(lengths: IntArray, padded: bool) -> int:
    total, most = 0, 0
    for length in lengths:
        total, most = total + length, max(most, length)
    return most * len(lengths) if padded else total


@njit()
def _cost(copy: _Copy, lengths: IntArray, end: float) -> float:
    late = max(end - copy.due, 0.0)
    if len(copy.server) > 1:
        late += copy.server[_drafted(lengths, copy.padded)]
    return late * copy.price


@njit()
def _gain(copy: _Copy, lengths: IntArray) -> float:
    gain = 0.0
    for device, length in enumerate(lengths):
        gain += copy.gain[device, length]
    return gain


@njit()
def _value(copy: _Copy, queue: _Queue, lengths: IntArray) -> float:
    _arrange(copy, queue, lengths)
    return _gain(copy, lengths) - _cost(copy, lengths, _end(queue))


@njit()
def _mark(queue: _Queue, notes: _Notes) -> None:
    count = len(queue.device)
    notes.behind[count], notes.after[count], notes.before[0] = 0.0, -np.inf, -np.inf
    for position in range(count - 1, -1, -1):
        notes.behind[position] = notes.behind[position + 1] + queue.work[position]
        notes.after[position] = max(notes.after[position + 1], queue.release[position] + notes.behind[position])
    for position in range(count):
        notes.before[position + 1] = max(notes.before[position], queue.release[position] + notes.behind[position])


@njit()
def _end_with(copy: _Copy, queue: _Queue, notes: _Notes, device: int, length: int) -> float:
    position = _place(queue, device)
    old = queue.work[position]
    release, work = copy.ends[device, length], length * copy.token_time[device]
    first = after = position
    end = -np.inf
    while after + 1 < len(queue.device) and queue.release[after + 1] < release:  # it starts behind these now
        after += 1
        end = max(end, queue.release[after] + notes.behind[after] + work)
    while first > 0 and queue.release[first - 1] > release:  # and before these
        first -= 1
        end = max(end, queue.release[first] + notes.behind[first] - old)
    behind = notes.behind[after + 1] if after > position or first == position else notes.behind[first] - old
    end = max(end, notes.before[first] + (work - old), release + work + behind)
    return max(end, notes.after[after + 1])


@njit()
def _climb(copy: _Copy, queue: _Queue, notes: _Notes, lengths: IntArray) -> bool:
    best = _value(copy, queue, lengths) + _LEAST_GAIN
    _mark(queue, notes)
    hope = _gain(copy, lengths) - _cheapest(copy, lengths)
    order, first, last, change = 0, 0, 0, 0
    for sign in (1, -1):
        if sign > 0 or hope > best:  # else even the cheapest token costs more than the delay
            value, where, begin, end = _best_step(copy, queue, notes, lengths, sign, best)
            if end > 0:
                best, order, first, last, change = value, where, begin, end, sign
    for device in notes.orders[order, first:last]:
        if _possible(copy, lengths[device] + change):
            lengths[device] += change
    return last > 0


@njit()
def _cheapest(copy: _Copy, lengths: IntArray) -> float:
    """What a token less costs where it costs least, as long as it brings nothing."""
    cheapest = np.inf
    for device, now in enumerate(lengths):
        if now > copy.least:
            cheapest = min(cheapest, copy.gain[device, now] - copy.gain[device, now - 1])
    return cheapest if cheapest > 0.0 else -np.inf


@njit()
def _best_step(
    copy: _Copy, queue: _Queue, notes: _Notes, lengths: IntArray, change: int, best: float
) -> tuple[float, int, int, int]:
    """The best value above ``best`` of a token more or less for some devices: value, and part of an order they are."""
    order = 0 if change > 0 else 2
    _sort(copy, notes, lengths, order)
    which, first, last = order, 0, 0
    for position, device in enumerate(notes.orders[order]):
        now = lengths[device]
        if _possible(copy, now + change):
            lengths[device] = now + change
            gain = _gain(copy, lengths)
            if gain > best:
                value = gain - _cost(copy, lengths, _end_with(copy, queue, notes, device, now + change))
                if value > best:
                    best, first, last = value, position, position + 1
            lengths[device] = now
    for each in (order, order + 1):
        value, count = _run(copy, queue, notes, lengths, each, change, best)
        if count > 0:
            best, which, first, last = value, each, 0, count
    return best, which, first, last


@njit()
def _possible(copy: _Copy, length: int) -> bool:
    return bool(copy.least <= length < copy.gain.shape[1])


@njit()
def _sort(copy: _Copy, notes: _Notes, lengths: IntArray, first: int) -> None:
    """Write two orders of devices.

    0 and 1: by what a token more brings for its air, if there is room for it, and by how soon it would be there.
    2 and 3: by how little a token less costs for its air, and by how late one more would be there.
    """
    longest, end = copy.gain.shape[1] - 1, max(copy.due, notes.after[0])
    for device, now in enumerate(lengths):
        air, gain = copy.token_time[device], copy.gain[device]
        there = copy.ends[device, now + 1] + air
        if first == 0:
            more = gain[now + 1] - gain[now] if now < longest else -np.inf
            keys = (1.0 if there > end else -more / air, there)
        else:
            less = gain[now - 1] - gain[now] if now > copy.least else -np.inf
            keys = (-less / air, -there)
        for order, key in enumerate(keys):
            position, row, by = device, notes.orders[first + order], notes.keys[first + order]
            while position > 0 and by[position - 1] > key:
                by[position], row[position] = by[position - 1], row[position - 1]
                position -= 1
            by[position], row[position] = key, device


@njit()
def _run(
    copy: _Copy, queue: _Queue, notes: _Notes, lengths: IntArray, order: int, change: int, best: float
) -> tuple[float, int]:
    """The best value above ``best`` of a token more or less for each of the first devices of an order, and how many."""
    tried, count = notes.tried, 0
    for device, length in enumerate(lengths):
        tried[device] = length
    for position, device in enumerate(notes.orders[order]):
        if _possible(copy, tried[device] + change):
            tried[device] += change
            _move(copy, queue, device, tried[device])
            gain = _gain(copy, tried)
            if gain > best and position > 0:
                value = gain - _cost(copy, tried, _end(queue))
                if value > best:
                    best, count = value, position + 1
            elif gain <= best and change < 0:
                break  # fewer tokens gain no more
    _arrange(copy, queue, lengths)
    return best, count


@njit()
def _swap(copy: _Copy, queue: _Queue, notes: _Notes, lengths: IntArray) -> bool:
    best, gain = _value(copy, queue, lengths) + _LEAST_GAIN, _gain(copy, lengths)
    taker, giver, tokens = 0, 0, 0
    for device in range(len(lengths)):
        now = lengths[device]
        if not _possible(copy, now + 1):
            continue
        more = copy.gain[device, now + 1] - copy.gain[device, now]
        lengths[device] = now + 1
        _move(copy, queue, device, now + 1)
        _mark(queue, notes)
        for less in (1, 2):
            for other in range(len(lengths)):
                held = lengths[other]
                if other == device or not _possible(copy, held - less):
                    continue
                brings = gain + (more + (copy.gain[other, held - less] - copy.gain[other, held]))
                if brings > best:
                    lengths[other] = held - less
                    value = brings - _cost(copy, lengths, _end_with(copy, queue, notes, other, held - less))
                    lengths[other] = held
                    if value > best:
                        best, taker, giver, tokens = value, device, other, less
        lengths[device] = now
        _move(copy, queue, device, now)
    if tokens > 0:
        lengths[taker] += 1
        lengths[giver] -= tokens
    return tokens > 0
