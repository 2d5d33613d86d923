"""Compiled search for batches and for draft lengths (not in the paper; docs/evidence/continuous.md).

`improve_lengths` adds, removes and moves single tokens by two kinds of steps that alternate until neither helps.
`_climb` tries one token more or less for each device, and for the first devices of several orders together. `_swap`
tries one token more for a device and one or two less for another.

A step tries hundreds of changes of one or two drafts. Each change sorts the uploads again, and environments need
different numbers of steps, so that NumPy would take ten times as long. Therefore this module is compiled by
Numba, at the first call; the machine code is cached next to the source if possible.
"""

from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.compiling import compiled, compiled_part

_MIN_GAIN = 1e-9  # tokens that a step must gain


class Terms(NamedTuple):
    """Gains and times of n environments; the S starting devices are listed environment by environment."""

    starts: BoolArray  # (n, K) whether the device starts a draft for the batch
    first: IntArray  # (n + 1,) index of the first starting device of each environment
    users: IntArray  # (S,) index of each starting device among the K
    gain: FloatArray  # (S, L_max + 1) tokens of drafts of lengths 0, 1, ..., minus the price of their air time
    ends: FloatArray  # (S, L_max + 2) s, end of drafting, by length
    token_time: FloatArray  # (S,) s of the whole band per token
    release: FloatArray  # (n, K) s, end of drafting of other devices; 0 without an upload
    air: FloatArray  # (n, K) s of the whole band, uploads of other devices
    server: FloatArray  # (n, tokens + 1) s, pass time by drafted tokens; zeros (n, 1) if it does not depend on them
    due: FloatArray  # (n,) s, when the server is free for the batch
    price: FloatArray  # (n,) tokens per second of delay
    least: int  # L_min
    padded: bool  # whether drafts are padded to the longest


class Market(NamedTuple):
    """Batches 0..J, counted from the next one, among which devices of n environments choose; see `prices`."""

    early: FloatArray  # (K + 2,) s, pass time of a batch that no device joins later, by number of devices
    server: FloatArray  # (n, K + 2) s, pass time of a batch that grows at least to the usual size
    fee: FloatArray  # (n, K + 2) tokens that each device of a batch pays, by number of devices
    one_more: FloatArray  # (n,) s by which one more device delays the others
    send_time: FloatArray  # (n, K, L_max + 1) s until a draft is sent, by length
    gain: FloatArray  # (n, K, L_max + 1) tokens, by length
    own_price: FloatArray  # (n, K) tokens per second of the device's time
    least: int  # L_min
    price: FloatArray  # (n,) tokens per second of delay
    sent: FloatArray  # (n, J + 1) s, when the uploads under way for each batch and earlier ones have ended
    size: IntArray  # (n, J + 1) number of devices
    price_sum: FloatArray  # (n, J + 1) tokens/s, sum of the own prices of the devices


class _EnvTerms(NamedTuple):
    gain: FloatArray  # (S, L_max + 1)
    ends: FloatArray  # (S, L_max + 2)
    token_time: FloatArray  # (S,)
    server: FloatArray  # (tokens + 1,)
    due: float
    price: float
    least: int
    padded: bool


class _Queue(NamedTuple):
    device: IntArray  # (m,) index of a starting device, −1 for others
    release: FloatArray  # s, start of the upload
    work: FloatArray  # s of the whole band


class _Notes(NamedTuple):
    remaining: FloatArray  # (m + 1,) s of work in the queue from each position on
    before: FloatArray  # (m + 1,) s, lower bound on the end of all uploads from those before this position
    after: FloatArray  # (m + 1,) s, lower bound on the end of all uploads from those at and after this position
    orders: IntArray  # (4, S) devices in four orders, see `_sort`
    keys: FloatArray  # (4, S) sort keys of the devices
    tried: IntArray  # (S,) lengths


@compiled
def all_sent(release: FloatArray, work: FloatArray) -> FloatArray:
    """Return when a work-conserving uplink ends all uploads (n, K) of ``work`` s that start at ``release``, (n,) s."""
    num_envs, users = release.shape
    ends = np.empty(num_envs)
    for env in range(num_envs):
        queue = _Queue(np.empty(users, np.int64), np.empty(users), np.empty(users))
        for user in range(users):
            _put(queue, user, user, release[env, user], work[env, user])
        ends[env] = _end(queue)
    return ends


@compiled
def pick_batches(market: Market, order: IntArray, starting: IntArray) -> IntArray:
    """Return the batches (n, K) with the highest values for the first ``starting`` (n,) devices of ``order`` (n, K).

    Devices choose one after the other; sizes and sums of prices of the market change in place.
    """
    positions = np.zeros(order.shape, np.int64)
    for env in range(len(order)):
        size, price_sum = market.size[env], market.price_sum[env]
        for device in order[env, : starting[env]]:
            send_time, own_price = market.send_time[env, device], market.own_price[env, device]
            best, due, length = -np.inf, 0.0, market.least
            for position in range(len(size)):
                if position > 0:
                    server = market.early[size[0]] if position == 1 else market.server[env, size[position - 1]]
                    due = max(due, market.sent[env, position - 1]) + server
                while length + 1 < len(send_time) and send_time[length + 1] <= due:
                    length += 1
                after = size[position] + 1
                value = (
                    market.gain[env, device, length]
                    - market.fee[env, after]
                    - market.one_more[env] * price_sum[position]
                )
                value -= own_price * (due + market.server[env, after])
                value -= market.price[env] * max(send_time[length] - due, 0.0)
                if value > best:
                    best, positions[env, device] = value, position
            size[positions[env, device]] += 1
            price_sum[positions[env, device]] += own_price
    return positions


@compiled
def gain_table(weight: FloatArray, acceptance_rate: FloatArray, token_price: FloatArray, longest: int) -> FloatArray:
    """Return ω E[N | L] − p L of lengths 0..L_max, (S, L_max + 1), with the powers of α summed as in [MS] (12).

    ``token_price`` is p (S,), the price of a token's air time.
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
    """Improve lengths (n, C, K) in place until no step helps, by at most ``most`` steps of each kind.

    Returns gains minus costs, (n, C); with ``most = 0`` the lengths do not change.
    """
    result = np.empty(lengths.shape[:2])
    for number in range(len(lengths)):
        env, users = _env_terms(terms, number), terms.users[terms.first[number] : terms.first[number + 1]]
        starters, queue = len(users), _queue(terms, number, len(users))
        times = np.empty((3, len(queue.device) + 1))
        orders, keys = np.empty((4, starters), np.int64), np.empty((4, starters))
        notes = _Notes(times[0], times[1], times[2], orders, keys, np.empty(starters, np.int64))
        best = np.empty(starters, np.int64)
        for candidate in range(lengths.shape[1]):
            for device, user in enumerate(users):
                best[device] = lengths[number, candidate, user]
            for _ in range(most):
                for _ in range(most):
                    if not _climb(env, queue, notes, best):
                        break
                if not _swap(env, queue, notes, best):
                    break
            for device, user in enumerate(users):
                lengths[number, candidate, user] = best[device]
            result[number, candidate] = _value(env, queue, best)
    return result


@compiled_part
def _env_terms(terms: Terms, number: int) -> _EnvTerms:
    first, last = terms.first[number], terms.first[number + 1]
    return _EnvTerms(
        terms.gain[first:last],
        terms.ends[first:last],
        terms.token_time[first:last],
        terms.server[number],
        terms.due[number],
        terms.price[number],
        terms.least,
        terms.padded,
    )


@compiled_part
def _queue(terms: Terms, number: int, starters: int) -> _Queue:
    release, air = terms.release[number], terms.air[number]
    others = np.flatnonzero(~terms.starts[number] & ((release > 0.0) | (air > 0.0)))
    count = len(others) + starters
    queue = _Queue(np.empty(count, np.int64), np.empty(count), np.empty(count))
    for position, user in enumerate(others):
        _put(queue, position, -1, release[user], air[user])
    queue.device[len(others) :] = np.arange(starters)
    return queue


@compiled_part
def _put(queue: _Queue, position: int, device: int, release: float, work: float) -> None:
    """Insert an upload into the sorted entries before a position, and overwrite the entry at that position."""
    while position > 0 and queue.release[position - 1] > release:
        queue.device[position] = queue.device[position - 1]
        queue.release[position] = queue.release[position - 1]
        queue.work[position] = queue.work[position - 1]
        position -= 1
    queue.device[position], queue.release[position], queue.work[position] = device, release, work


@compiled_part
def _arrange(env: _EnvTerms, queue: _Queue, lengths: IntArray) -> None:
    for position, device in enumerate(queue.device):
        if device < 0:
            _put(queue, position, device, queue.release[position], queue.work[position])
        else:
            length = lengths[device]
            _put(queue, position, device, env.ends[device, length], length * env.token_time[device])


@compiled_part
def _position(queue: _Queue, device: int) -> int:
    position = 0
    while queue.device[position] != device:
        position += 1
    return position


@compiled_part
def _move(env: _EnvTerms, queue: _Queue, device: int, length: int) -> None:
    release, work = env.ends[device, length], length * env.token_time[device]
    position = _position(queue, device)
    while position + 1 < len(queue.device) and queue.release[position + 1] < release:
        _put(queue, position, queue.device[position + 1], queue.release[position + 1], queue.work[position + 1])
        position += 1
    _put(queue, position, device, release, work)


@compiled_part
def _end(queue: _Queue) -> float:
    """Return the end of all uploads: the maximum over uploads of the start plus the work from then on."""
    end, work = 0.0, 0.0
    for position in range(len(queue.device) - 1, -1, -1):
        work += queue.work[position]
        end = max(end, queue.release[position] + work)
    return end


@compiled_part
def drafted_tokens(lengths: IntArray, padded: bool) -> int:
    """Return the drafted tokens of a pass of devices with lengths (K,), without those of length < 0."""
    drafts, total, most = 0, 0, 0
    for length in lengths:
        if length >= 0:
            drafts, total, most = drafts + 1, total + length, max(most, length)
    return most * drafts if padded else total


@compiled_part
def _cost(env: _EnvTerms, lengths: IntArray, end: float) -> float:
    late = max(end - env.due, 0.0)
    if len(env.server) > 1:
        late += env.server[drafted_tokens(lengths, env.padded)]
    return late * env.price


@compiled_part
def _gain(env: _EnvTerms, lengths: IntArray) -> float:
    gain = 0.0
    for device, length in enumerate(lengths):
        gain += env.gain[device, length]
    return gain


@compiled_part
def _value(env: _EnvTerms, queue: _Queue, lengths: IntArray) -> float:
    _arrange(env, queue, lengths)
    return _gain(env, lengths) - _cost(env, lengths, _end(queue))


@compiled_part
def _note_ends(queue: _Queue, notes: _Notes) -> None:
    count = len(queue.device)
    notes.remaining[count], notes.after[count], notes.before[0] = 0.0, -np.inf, -np.inf
    for position in range(count - 1, -1, -1):
        notes.remaining[position] = notes.remaining[position + 1] + queue.work[position]
        notes.after[position] = max(notes.after[position + 1], queue.release[position] + notes.remaining[position])
    for position in range(count):
        notes.before[position + 1] = max(notes.before[position], queue.release[position] + notes.remaining[position])


@compiled_part
def _end_with(env: _EnvTerms, queue: _Queue, notes: _Notes, device: int, length: int) -> float:
    position = _position(queue, device)
    old = queue.work[position]
    release, work = env.ends[device, length], length * env.token_time[device]
    first = after = position
    end = -np.inf
    while after + 1 < len(queue.device) and queue.release[after + 1] < release:  # the upload now starts after these
        after += 1
        end = max(end, queue.release[after] + notes.remaining[after] + work)
    while first > 0 and queue.release[first - 1] > release:  # or the upload now starts before these
        first -= 1
        end = max(end, queue.release[first] + notes.remaining[first] - old)
    remaining = notes.remaining[after + 1] if after > position or first == position else notes.remaining[first] - old
    end = max(end, notes.before[first] + (work - old), release + work + remaining)
    return max(end, notes.after[after + 1])


@compiled_part
def _climb(env: _EnvTerms, queue: _Queue, notes: _Notes, lengths: IntArray) -> bool:
    best = _value(env, queue, lengths) + _MIN_GAIN
    _note_ends(queue, notes)
    limit = _gain(env, lengths) - _cheapest(env, lengths)
    order, first, last, change = 0, 0, 0, 0
    for sign in (1, -1):
        if sign > 0 or limit > best:  # otherwise removing the cheapest token loses more than the delay costs in total
            value, where, begin, end = _best_step(env, queue, notes, lengths, sign, best)
            if end > 0:
                best, order, first, last, change = value, where, begin, end, sign
    for device in notes.orders[order, first:last]:
        if _possible(env, lengths[device] + change):
            lengths[device] += change
    return last > 0


@compiled_part
def _cheapest(env: _EnvTerms, lengths: IntArray) -> float:
    """Return the smallest loss of gain from removing a token; −∞ if a removal gains."""
    cheapest = np.inf
    for device, now in enumerate(lengths):
        if now > env.least:
            cheapest = min(cheapest, env.gain[device, now] - env.gain[device, now - 1])
    return cheapest if cheapest > 0.0 else -np.inf


@compiled_part
def _best_step(
    env: _EnvTerms, queue: _Queue, notes: _Notes, lengths: IntArray, change: int, best: float
) -> tuple[float, int, int, int]:
    """Return the best value, if above ``best``, after one token more or less for some devices: a slice of an order."""
    order = 0 if change > 0 else 2
    _sort(env, notes, lengths, order)
    which, first, last = order, 0, 0
    for position, device in enumerate(notes.orders[order]):
        now = lengths[device]
        if _possible(env, now + change):
            lengths[device] = now + change
            gain = _gain(env, lengths)
            if gain > best:
                value = gain - _cost(env, lengths, _end_with(env, queue, notes, device, now + change))
                if value > best:
                    best, first, last = value, position, position + 1
            lengths[device] = now
    for row in (order, order + 1):
        value, count = _run(env, queue, notes, lengths, row, change, best)
        if count > 0:
            best, which, first, last = value, row, 0, count
    return best, which, first, last


@compiled_part
def _possible(env: _EnvTerms, length: int) -> bool:
    return bool(env.least <= length < env.gain.shape[1])


@compiled_part
def _sort(env: _EnvTerms, notes: _Notes, lengths: IntArray, first: int) -> None:
    """Sort the devices in orders ``first`` and ``first`` + 1.

    Order 0: by decreasing gain per air time of one more token, if it arrives in time. Order 1: by its arrival time.
    Order 2: by increasing loss per air time of one token less. Order 3: by decreasing arrival time of one more token.
    """
    longest, end = env.gain.shape[1] - 1, max(env.due, notes.after[0])
    for device, now in enumerate(lengths):
        air, gain = env.token_time[device], env.gain[device]
        arrival = env.ends[device, now + 1] + air
        if first == 0:
            more = gain[now + 1] - gain[now] if now < longest else -np.inf
            keys = (1.0 if arrival > end else -more / air, arrival)
        else:
            less = gain[now - 1] - gain[now] if now > env.least else -np.inf
            keys = (-less / air, -arrival)
        for order, key in enumerate(keys):
            position, row, by = device, notes.orders[first + order], notes.keys[first + order]
            while position > 0 and by[position - 1] > key:
                by[position], row[position] = by[position - 1], row[position - 1]
                position -= 1
            by[position], row[position] = key, device


@compiled_part
def _run(
    env: _EnvTerms, queue: _Queue, notes: _Notes, lengths: IntArray, order: int, change: int, best: float
) -> tuple[float, int]:
    """Return the best value, if above ``best``, after a token more or less for the first devices; and their number."""
    tried, count = notes.tried, 0
    for device, length in enumerate(lengths):
        tried[device] = length
    for position, device in enumerate(notes.orders[order]):
        if _possible(env, tried[device] + change):
            tried[device] += change
            _move(env, queue, device, tried[device])
            gain = _gain(env, tried)
            if gain > best and position > 0:
                value = gain - _cost(env, tried, _end(queue))
                if value > best:
                    best, count = value, position + 1
            elif gain <= best and change < 0:
                break  # the gain only decreases from here on
    _arrange(env, queue, lengths)
    return best, count


@compiled_part
def _swap(env: _EnvTerms, queue: _Queue, notes: _Notes, lengths: IntArray) -> bool:
    best, gain = _value(env, queue, lengths) + _MIN_GAIN, _gain(env, lengths)
    taker, giver, tokens = 0, 0, 0
    for device in range(len(lengths)):
        now = lengths[device]
        if not _possible(env, now + 1):
            continue
        more = env.gain[device, now + 1] - env.gain[device, now]
        lengths[device] = now + 1
        _move(env, queue, device, now + 1)
        _note_ends(queue, notes)
        for less in (1, 2):
            for other in range(len(lengths)):
                held = lengths[other]
                if other == device or not _possible(env, held - less):
                    continue
                total = gain + (more + (env.gain[other, held - less] - env.gain[other, held]))
                if total > best:
                    lengths[other] = held - less
                    value = total - _cost(env, lengths, _end_with(env, queue, notes, other, held - less))
                    lengths[other] = held
                    if value > best:
                        best, taker, giver, tokens = value, device, other, less
        lengths[device] = now
        _move(env, queue, device, now)
    if tokens > 0:
        lengths[taker] += 1
        lengths[giver] -= tokens
    return tokens > 0
