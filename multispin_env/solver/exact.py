"""Exact best decision of a round: one branch and bound for a state, compiled (docs/reference/derivations.md, 5 to 8).

The steps are those of `multispin_env.solver.search` and `multispin_env.solver.windows`, one state after the other, so
that a state does not depend on its batch:

1. *Start*: good lengths, from stationary points of the relaxed problem (derivations, 2).
2. *Roots*: all decisions that a linear bound on the latency leaves, one node for each line of the law of the pass, or
   for each longest draft if drafts are padded (7).
3. *Node*: the shadow price of the band at the right end of the latency interval bounds the goodput at both ends, and
   narrows the windows of lengths and the interval (5).
4. *Offer*: decisions inside the node replace the best one if their shares fit into a shorter round (4).
5. *Split*: the node with the largest bound is split, until none is above the best decision (6).

Numba compiles this module at the first call; the machine code is cached next to the source if possible.
"""

from typing import Any, NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.compiling import compiled, compiled_part
from multispin_env.solver.problem import ROUNDING, TINY
from multispin_env.solver.windows import SAFETY

_LISTED = 32  # Nodes with at most this many decisions are enumerated
_STARTS = 8  # Largest number of stationary points from which lengths are rounded
_COMMON = 24  # Number of common lengths that are tried
_LEAST = 1e-3  # tokens, shortest length at which the gradient of the latency is taken
_DIGITS = 1e-13  # Relative rounding error of times and goodputs
_LN2 = np.log(2.0)
_ZERO: Any = np.int64(0)  # with a literal, Numba would compile functions twice

Records = np.ndarray[Any, np.dtype[np.void]]


def _record(integers: str, numbers: str) -> np.dtype[np.void]:
    return np.dtype([(name, np.int64) for name in integers.split()] + [(name, np.float64) for name in numbers.split()])


USER = _record("low high", "draft_time token_time delay snr whole edge")
"""A device: lengths in tokens, T and c in s, δ in s; for rate curves SNR, R(1) and R'(1), and c is Q / B."""

LINE = _record("", "start slope first last")
"""A line of the law of the pass in s and s/token, and the x between which it is the largest."""

NUMBERS = _record("padded power", "time cost tpot repeat_delay efficiency_limit flattest steepest slope_step")
"""Constants of a round: s of the pass that no length changes, tokens that the longest drafts cost, and so on."""

_DEVICE = _record("best candidate last tried", "length gradient at_left at_right")
_ENTRY = _record("", "share decline")
_NODE = _record("by_user", "left right bound price start rise fewest most slope step")
_SEARCH = _record("count", "value price slope")


class Rounds(NamedTuple):
    """Problems of n states with K devices and drafts of at most W tokens."""

    tokens: FloatArray  # (n, K, W + 1) ω E[N | l] less the price of l tokens
    pace: FloatArray  # (n, K, W + 1) E[N | l]; (n, 0, 0) without a TPOT
    users: Records  # (n, K) of `USER`
    lines: Records  # (J,) of `LINE`, by rising slope
    numbers: Records  # (n,) of `NUMBERS`


class _State(NamedTuple):
    """One state of `Rounds`."""

    tokens: FloatArray
    pace: FloatArray
    users: Records
    lines: Records
    numbers: Any


class _Work(NamedTuple):
    """Best decision of a state, its search, and memory that is reused."""

    users: Records  # (K,) lengths: best ones, those that fit into φ₂, the longest ones, a trial; real ones; ∂φ/∂L
    table: Records  # (K, W + 1) w(l; φ₂), −∂w/∂φ at φ₂
    search: Records  # (1,) number of nodes; goodput of the best decision; λ and slope of the law at the start


class _Nodes(NamedTuple):
    """Parts of a state: an interval of latency, a window of lengths for each device, and a range of x of a line."""

    low: IntArray  # (M, K) shortest length that can be best
    high: IntArray  # (M, K) longest length that can be best
    parts: Records  # (M,) φ₁, φ₂ in s; bound in tokens/s; λ; line; slope of the bounding line; last kind of split


@compiled
def best_decisions(
    rounds: Rounds, first: IntArray, tolerance: float, most: int
) -> tuple[IntArray, FloatArray, FloatArray, IntArray]:
    """Return lengths (n, K), their goodput (n,), a bound on every decision (n,), and the numbers of nodes (n,).

    ``first`` (n, K) are lengths to start from, in time where any are. A state stops when its bound is within the
    relative ``tolerance``, or after ``most`` nodes. Where ``first`` misses the TPOT, goodput and bound are 0.
    """
    count, users, width = rounds.tokens.shape
    work = _Work(np.zeros(users, _DEVICE), np.zeros((users, width), _ENTRY), np.zeros(1, _SEARCH))
    size = most + 1 + max(width, len(rounds.lines))
    nodes = _Nodes(np.empty((size, users), np.int64), np.empty((size, users), np.int64), np.empty(size, _NODE))
    lengths, value, bound = np.empty((count, users), np.int64), np.empty(count), np.empty(count)
    number, search = np.zeros(count, np.int64), work.search[0]
    for row in range(count):
        pace = rounds.pace[row] if len(rounds.pace) else rounds.tokens[row]
        state = _State(rounds.tokens[row], pace, rounds.users[row], rounds.lines, rounds.numbers[row])
        search.count = 0
        if _start(state, work, first[row]):
            _add_roots(state, work, nodes, tolerance)
            while number[row] < most and _improve(state, work, nodes, tolerance):
                number[row] += 1
        for k in range(users):
            lengths[row, k] = work.users[k].best
        value[row], bound[row] = search.value, search.value * (1.0 + tolerance)
        for i in range(search.count):
            bound[row] = max(bound[row], nodes.parts[i].bound)
    return lengths, value, bound, number


# ---- a round: shares, latency, time of the pass ----


@compiled_part
def _drafting(user: Any, length: float) -> float:
    return length * user.draft_time + (user.delay if length > 0.0 else 0.0)


@compiled_part
def _share(state: _State, user: Any, length: float, room: float) -> tuple[float, float]:
    """Return the share w that sends a draft in ``room`` > 0 seconds, and −room ∂w/∂room; see `Problem.allocate`."""
    rate = user.token_time * length / room
    if not state.numbers.power:
        return rate, rate
    share, growth = _share_at_power(min(rate, user.whole), user.snr, state.numbers.efficiency_limit)
    return (share + (rate - user.whole) / user.edge, rate / user.edge) if rate > user.whole else (share, growth)


@compiled_part
def _share_at_power(rate: float, snr: float, limit: float) -> tuple[float, float]:
    """Return `links.Power.allocate` for one device."""
    v = min(rate * (_LN2 / snr), 1.0 - 1e-15)
    if v == 0.0:
        return 0.0, 0.0
    gap = _log_gap(1.0 - v, np.log(v))
    excess = gap + np.log1p(gap + np.sqrt(2.0 * gap))  # `links.lambert_excess`
    for _ in range(2):
        divisor = excess if excess > 0.0 else 1.0
        ratio = (_log_gap(-excess, np.log1p(excess)) - gap) / divisor
        excess -= 2.0 * ratio * (1.0 + excess) / (2.0 - ratio / divisor)
    share = snr * v / (excess + (1.0 - v))
    if limit > 0.0 and rate / limit > share:
        return rate / limit, rate / limit
    return share, share * (1.0 + 1.0 / excess)


@compiled_part
def _log_gap(d: float, log: float) -> float:
    """Return −d − ln(1 − d) with all digits near d = 0; ``log`` is ln(1 − d)."""
    if abs(d) >= 0.03:
        return -d - log
    series = 0.0
    for power in range(12, 1, -1):
        series = series * d + 1.0 / power
    return series * d * d


@compiled_part
def _latency(state: _State, work: _Work) -> float:
    slowest, delta = _finish(state, work)
    return slowest + delta


@compiled_part
def _finish(state: _State, work: _Work) -> tuple[float, float]:
    """Return the longest time of drafting, and φ less it, in s, of real lengths, by Newton's method (derivations, 1).

    Their sum loses the digits of an upload that takes a tiny part of the round.
    """
    slowest, density = 0.0, not state.numbers.power
    for k in range(len(work.users)):
        slowest = max(slowest, _drafting(state.users[k], work.users[k].length))
    delta, total, declined = -np.inf, 0.0, 0.0
    for k in range(len(work.users)):
        user, length = state.users[k], work.users[k].length
        if length > 0.0:
            lead = slowest - _drafting(user, length)
            upload = user.token_time * length / (1.0 if density else user.whole)
            delta, total, declined = max(delta, upload - lead), total + upload, declined + upload * lead
    if delta == -np.inf:
        return 0.0, 0.0
    if density:
        delta = max(delta, total - declined / total)
    for _ in range(200):
        used, pull = 0.0, 0.0
        for k in range(len(work.users)):
            user, length = state.users[k], work.users[k].length
            if length > 0.0:
                room = slowest - _drafting(user, length) + delta
                share, growth = _share(state, user, length, room)
                used, pull = used + share, pull + growth / room
        step = (used - 1.0) / pull * (used if density else 1.0)
        delta += step
        if abs(step) <= 1e-9 * delta:  # the error is about the square of it
            break
    return slowest, delta


@compiled_part
def _latency_of(state: _State, work: _Work, lengths: IntArray) -> float:
    for k in range(len(lengths)):
        work.users[k].length = lengths[k]
    return _latency(state, work)


@compiled_part
def _pass_time(state: _State, x: float) -> float:
    """Return T_ver + T_rtt in s if any device drafts."""
    time = 0.0
    for line in state.lines:
        time = max(time, line.start + line.slope * x)
    return state.numbers.time + time


# ---- 1. start ----


@compiled_part
def _start(state: _State, work: _Work, first: IntArray) -> bool:
    """Set the best decision from stationary points, and a plane below φ; return whether decisions are in time."""
    for k in range(len(work.users)):
        work.users[k].best = work.users[k].tried = first[k]
    tokens, limit, server = _totals(state, work)
    latency, search = _latency_of(state, work, first), work.search[0]
    search.value, search.slope = 0.0, -1.0
    if latency + server > limit:
        return False
    search.value = max(tokens / (latency + server), 0.0)  # prices can exceed all gains
    for k in range(len(work.users)):
        work.users[k].tried = state.users[k].low
    _offer(state, work)
    _try_common(state, work)
    for k in range(len(work.users)):
        device = work.users[k]
        device.candidate = device.best
        device.length = min(max(device.best, 0.5), state.users[k].high)
    for _ in range(_STARTS):
        going = _step(state, work)
        for k in range(len(work.users)):
            work.users[k].tried = work.users[k].candidate
        _offer(state, work)
        if state.numbers.padded:
            _offer_cut(state, work)
        if not going:
            break
    _set_plane(state, work)
    return True


@compiled_part
def _try_common(state: _State, work: _Work) -> None:
    """Offer the common length that is about the best."""
    longest = 0
    for k in range(len(work.users)):
        work.users[k].length = 1.0
        longest = max(longest, state.users[k].high)
    latency, best, common, length = _latency(state, work), 0.0, _ZERO, _ZERO + 1
    while length <= longest:
        _set_common(state, work, length)
        tokens, _, server = _totals(state, work)
        value = tokens / (latency * length + server)
        if value > best:
            best, common = value, length
        length += 1 + length // _COMMON
    _set_common(state, work, common)
    _offer(state, work)


@compiled_part
def _set_common(state: _State, work: _Work, length: int) -> None:
    for k in range(len(work.users)):
        work.users[k].tried = min(max(length, state.users[k].low), state.users[k].high)


@compiled_part
def _step(state: _State, work: _Work) -> bool:
    """Replace the real lengths by the best ones for φ and λ = G / P at them; return whether they have changed."""
    tokens, x, most, pull, search = 0.0, 0.0, 0.0, 0.0, work.search[0]
    slowest, delta = _finish(state, work)
    latency = slowest + delta
    for k in range(len(work.users)):
        length = work.users[k].length
        below = int(length)
        tokens += state.tokens[k, below]
        if length > below:
            tokens += (length - below) * (state.tokens[k, below + 1] - state.tokens[k, below])
        x, most = x + length, max(most, length)
        room = slowest - _drafting(state.users[k], length) + delta
        if length > 0.0 and room > 0.0:
            pull += _share(state, state.users[k], length, room)[1] / room
    if not pull > 0.0:
        return False
    server = _pass_time(state, len(work.users) * most if state.numbers.padded else x)
    value, slope, is_first = max(tokens / (latency + server), search.value), 0.0, search.slope < 0.0
    for line in state.lines:
        if x >= line.first and not state.numbers.padded:
            slope = line.slope
    search.price = value / pull
    search.slope = slope if is_first else 0.5 * (slope + search.slope)
    change = 0.0
    for k in range(len(work.users)):
        length = _walk(state, work, k, latency, value * search.slope)
        change = max(change, abs(length - work.users[k].length))
        work.users[k].length = length
    return change > 0.01


@compiled_part
def _walk(state: _State, work: _Work, k: int, latency: float, charge: float) -> float:
    """Move a candidate's length to the best for φ and λ; return the real length at which a token is as good as none."""
    length, low, high = work.users[k].candidate, state.users[k].low, state.users[k].high
    up, more, less = False, -np.inf, np.inf
    while length < high:
        more = _surplus(state, work, k, length + 1, latency, charge)
        if not more > 0.0:
            break
        length, less, more, up = length + 1, more, -np.inf, True
    while not up and length > low:
        less = _surplus(state, work, k, length, latency, charge)
        if less > 0.0:
            break
        length, more, less = length - 1, less, np.inf
    work.users[k].candidate = length
    if less == np.inf or more == -np.inf:
        return max(length, min(0.5, high))
    return length - 0.5 + less / (less - more)


@compiled_part
def _surplus(state: _State, work: _Work, k: int, length: int, latency: float, charge: float) -> float:
    """Return the tokens that the last token of a draft gains, less those that its share and its time cost."""
    user, before, tokens = state.users[k], 0.0, float(length)
    room = latency - _drafting(user, tokens)
    if room <= 0.0:
        return -np.inf
    if length > 1:
        before = _share(state, user, tokens - 1.0, room + user.draft_time)[0]
    cost = charge + work.search[0].price * (_share(state, user, tokens, room)[0] - before)
    return state.tokens[k, length] - state.tokens[k, length - 1] - cost


@compiled_part
def _set_plane(state: _State, work: _Work) -> None:
    """Set the gradient a of φ at the real lengths: without delays φ is convex and homogeneous, so φ(L) ≥ a·L."""
    pull, delayed = 0.0, False
    for k in range(len(work.users)):
        delayed = delayed or state.users[k].delay > 0.0
        work.users[k].length = max(work.users[k].length, min(_LEAST, state.users[k].high))
    slowest, delta = _finish(state, work)
    for k in range(len(work.users)):
        device = work.users[k]
        device.gradient = 0.0
        room = slowest - _drafting(state.users[k], device.length) + delta
        if device.length > 0.0 and room > 0.0 and not delayed:
            growth = _share(state, state.users[k], device.length, room)[1] / room
            pull += growth
            device.gradient = growth / device.length
    for k in range(len(work.users)):
        slope = work.users[k].gradient / pull * (slowest + delta)
        work.users[k].gradient = slope if slope < np.inf else 0.0


# ---- 2. roots ----


@compiled_part
def _add_roots(state: _State, work: _Work, nodes: _Nodes, tolerance: float) -> None:
    """Add a node for each line of the law, which no decision is below, or for each longest draft."""
    target, first, last = work.search[0].value * (1.0 + tolerance), _ZERO, _ZERO
    for user in state.users:
        first, last = max(first, user.low), max(last, user.high)
    if state.numbers.padded:
        for longest in range(first, last + 1):
            start = _pass_time(state, float(len(work.users) * longest))
            _add_root(state, work, nodes, longest, start, 0.0, target)
        return
    for line in state.lines:
        if _add_root(state, work, nodes, last, state.numbers.time + line.start, line.slope, target):
            part = nodes.parts[work.search[0].count - 1]
            part.fewest, part.most, part.slope = line.first, line.last, max(work.search[0].slope, 0.0)


@compiled_part
def _add_root(
    state: _State, work: _Work, nodes: _Nodes, longest: int, start: float, rise: float, target: float
) -> bool:
    """Add a node with windows by the linear bound and all latencies; return False if no decision can win.

    L exceeds G only if Σ (ω e(L_k) − G (a_k + b) L_k) > G A for a line A + b x of the pass: each term may be below its
    maximum by at most the slack of the sum.
    """
    i, slack, scale = work.search[0].count, -target * start, state.numbers.cost
    for k in range(len(work.users)):
        best, charge = -np.inf, target * (work.users[k].gradient + rise)
        high = min(state.users[k].high, longest)
        for length in range(state.users[k].low, high + 1):
            best = max(best, state.tokens[k, length] - charge * length)
        work.users[k].at_right = best
        slack, scale = slack + best, scale + abs(state.tokens[k, high])
    slack += SAFETY * scale
    if slack < 0.0:
        return False
    for k in range(len(work.users)):
        low, high = state.users[k].low, min(state.users[k].high, longest)
        least, charge = work.users[k].at_right - slack, target * (work.users[k].gradient + rise)
        while low < high and state.tokens[k, low] - charge * low < least:
            low += 1
        while high > low and state.tokens[k, high] - charge * high < least:
            high -= 1
        nodes.low[i, k], nodes.high[i, k] = low, high
    part = nodes.parts[i]
    part.left = _latency_of(state, work, nodes.low[i]) * (1.0 - 1e-12)
    part.right = _latency_of(state, work, nodes.high[i]) * (1.0 + 1e-12)
    part.bound, part.price, part.by_user = np.inf, work.search[0].price, 0
    part.start, part.rise, part.fewest, part.most, part.slope = start, rise, -np.inf, np.inf, 0.0
    part.step = state.numbers.slope_step
    work.search[0].count += 1
    return True


# ---- 3. node ----


@compiled_part
def _improve(state: _State, work: _Work, nodes: _Nodes, tolerance: float) -> bool:
    """Process the node with the largest bound; return False if no node can hold a better decision."""
    i, search = _ZERO, work.search[0]
    for other in range(1, search.count):
        if nodes.parts[other].bound > nodes.parts[i].bound:
            i = other
    if search.count == 0 or nodes.parts[i].bound <= search.value * (1.0 + tolerance):
        search.count = 0
        return False
    if not _expand(state, work, nodes, i, tolerance):
        search.count -= 1
        _copy(nodes, search.count, i)
    return True


@compiled_part
def _copy(nodes: _Nodes, source: int, target: int) -> None:
    for k in range(nodes.low.shape[1]):
        nodes.low[target, k], nodes.high[target, k] = nodes.low[source, k], nodes.high[source, k]
    nodes.parts[target] = nodes.parts[source]


@compiled_part
def _expand(state: _State, work: _Work, nodes: _Nodes, i: int, tolerance: float) -> bool:
    """Bound a node, offer decisions inside, and split it; return False if nothing is left of it."""
    part, target = nodes.parts[i], work.search[0].value * (1.0 + tolerance)
    before, timed, longest = part.bound, state.numbers.tpot < np.inf, np.inf
    if timed:
        longest = _hurry(state, work, nodes, i)
    if longest < 0.0 or ((timed or len(state.lines) > 1) and not _trim(nodes, i, longest)):
        return False
    if part.fewest > part.most or not _tabulate(state, work, nodes, i):
        return False
    bound, critical = _bound(state, work, nodes, i, target)
    if bound <= target:
        return False
    part.bound = min(bound, before)
    decisions = _ZERO + 1
    for k in range(len(work.users)):
        decisions = min(decisions * (nodes.high[i, k] - nodes.low[i, k] + 1), _LISTED + 1)
    if decisions <= _LISTED:
        _offer_all(state, work, nodes, i, decisions)
        return False
    for k in range(len(work.users)):
        work.users[k].tried = work.users[k].candidate
    _offer(state, work)
    target = work.search[0].value * (1.0 + tolerance)
    if part.bound <= target:
        return False
    _steer(state, work, part)
    _split(state, work, nodes, i, critical, part.bound - target < 0.7 * (before - target))
    return True


@compiled_part
def _total(lengths: IntArray) -> float:
    return float(lengths.sum())


@compiled_part
def _hurry(state: _State, work: _Work, nodes: _Nodes, i: int) -> float:
    """Remove latencies and lengths that miss the TPOT; return the longest pass in s, or −1 (`pace.timely_windows`)."""
    part, low, high, tpot = nodes.parts[i], nodes.low[i], nodes.high[i], state.numbers.tpot
    server = part.start + part.rise * max(part.fewest, _total(low))
    needs, reach = (part.left + server) / tpot * (1.0 - SAFETY), np.inf
    for k in range(len(low)):
        while state.pace[k, low[k]] < needs:
            if low[k] == high[k]:
                return -1.0
            low[k] += 1
        reach = min(reach, state.pace[k, high[k]])
    part.left = max(part.left, _latency_of(state, work, low) * (1.0 - SAFETY))
    longest = reach * tpot * (1.0 + SAFETY)
    part.right = min(part.right, longest - (part.start + part.rise * max(part.fewest, _total(low))))
    return longest - part.left if part.right >= part.left else -1.0


@compiled_part
def _trim(nodes: _Nodes, i: int, longest: float) -> bool:
    """Remove passes longer than ``longest`` seconds, and lengths outside the range of x (`windows.Segment.trim`)."""
    part, low, high = nodes.parts[i], nodes.low[i], nodes.high[i]
    fewest, most, left = _total(low), _total(high), longest - part.start
    room = left / part.rise if part.rise > 0.0 else (np.inf if left >= 0.0 else -np.inf)
    largest = max(min(np.floor(room * (1.0 + SAFETY) + SAFETY), most), -1.0)
    part.fewest, part.most = max(part.fewest, fewest), min(part.most, largest)
    if part.fewest > part.most:
        return False
    for k in range(len(low)):  # the length of each device is limited by those of the others
        least = max(low[k], int(part.fewest - (most - high[k])))
        high[k] = min(high[k], int(part.most - (fewest - low[k])))
        low[k] = least
        if least > high[k]:
            return False
    return True


@compiled_part
def _tabulate(state: _State, work: _Work, nodes: _Nodes, i: int) -> bool:
    """Write shares at φ₂ of all lengths in the windows; return whether the shortest lengths fit."""
    used, right = 0.0, nodes.parts[i].right
    for k in range(len(work.users)):
        user, last = state.users[k], nodes.low[i, k] - 1
        whole = user.whole if state.numbers.power else 1.0
        for length in range(last + 1, nodes.high[i, k] + 1):
            room, entry = right - _drafting(user, float(length)), work.table[k, length]
            if length == 0:
                entry.share = entry.decline = 0.0
            elif room > 0.0 and user.token_time * length <= whole * room * (1.0 + SAFETY):
                entry.share, growth = _share(state, user, float(length), room)
                entry.decline = growth / room
            else:  # no decision has a share above one
                break
            last = length
        work.users[k].last = last
        if last < nodes.low[i, k]:
            return False
        used += work.table[k, nodes.low[i, k]].share
    return used <= 1.0 + SAFETY


@compiled_part
def _bound(state: _State, work: _Work, nodes: _Nodes, i: int, target: float) -> tuple[float, int]:
    """Return a bound on the goodput inside a node, 0 if it is below ``target``, and the critical device.

    With any λ ≥ 0 decisions gain at most λ + Σ max (ω e(l) − λ w(l; φ)) tokens. With the tangent of w at φ₂, and a line
    of slope b in place of the pass, which charges G b tokens for a token, the surplus over G tokens a second is largest
    at φ₁ or φ₂; divided by the shortest round, it bounds the surplus of the goodput.
    """
    part, charge, least = nodes.parts[i], target * nodes.parts[i].slope, _total(nodes.low[i])
    server = part.start + part.rise * max(part.fewest, least)
    scale = state.numbers.cost + abs(charge) * (_total(nodes.high[i]) - least)
    for k in range(len(work.users)):
        scale += abs(state.tokens[k, nodes.high[i, k]])
    price, critical = _shadow_price(state, work, nodes, i, charge)
    part.price = price = min(price, 1e3 * scale)  # any λ ≥ 0 is valid, but a large λ loses digits
    line_time = _line_time(nodes, i)
    right = left = price + SAFETY * (price + scale) - target * line_time
    for k in range(len(work.users)):
        most_right, most_left = -1e300, -1e300
        for length in range(nodes.low[i, k], work.users[k].last + 1):
            at_right, at_left = _terms(state, work, nodes, i, k, length, charge)
            most_right, most_left = max(most_right, at_right), max(most_left, at_left)
        work.users[k].at_right, work.users[k].at_left = most_right, most_left
        right, left = right + most_right, left + most_left
    right, left = right - target * part.right, left - target * part.left
    bound = max(right, left) / max(part.left + server, TINY)
    if part.left + line_time > 0.0:
        bound = min(bound, max(right / (part.right + line_time), left / (part.left + line_time)))
    return target + bound if _narrow(state, work, nodes, i, charge, right, left) else 0.0, critical


@compiled_part
def _line_time(nodes: _Nodes, i: int) -> float:
    """Return the time of the shortest lengths on the bounding line, through an end of the range of x; it may be < 0.

    A line of any slope is below the law in this range, if a steeper one is through its right end, a flatter one
    through its left.
    """
    part, least = nodes.parts[i], _total(nodes.low[i])
    anchor = max(part.fewest, least)
    if part.slope > part.rise:
        anchor = min(part.most, _total(nodes.high[i]))
    above, below = part.start + part.rise * anchor, part.slope * (anchor - least)
    return above - below - _DIGITS * (abs(above) + abs(below))


@compiled_part
def _terms(
    state: _State, work: _Work, nodes: _Nodes, i: int, k: int, length: int, charge: float
) -> tuple[float, float]:
    """Return the terms of the bound at φ₂ and φ₁ for one length of a device."""
    part, entry = nodes.parts[i], work.table[k, length]
    right = state.tokens[k, length] - charge * (length - nodes.low[i, k]) - part.price * entry.share
    return right, right - part.price * (part.right - part.left) * entry.decline


@compiled_part
def _narrow(
    state: _State, work: _Work, nodes: _Nodes, i: int, charge: float, slack_right: float, slack_left: float
) -> bool:
    """Keep lengths whose terms lose at most the slack at an end, and latencies on which the slack can be positive."""
    for k in range(len(work.users)):
        device = work.users[k]
        least_right, least_left = device.at_right - slack_right, device.at_left - slack_left
        low, high, wins = nodes.low[i, k], device.last, False
        while low <= high and not wins:
            right, left = _terms(state, work, nodes, i, k, low, charge)
            wins = right >= least_right or left >= least_left
            low += 0 if wins else 1
        if not wins:
            return False
        wins = False
        while high > low and not wins:
            right, left = _terms(state, work, nodes, i, k, high, charge)
            wins = right >= least_right or left >= least_left
            high -= 0 if wins else 1
        nodes.low[i, k], nodes.high[i, k] = low, high
    part = nodes.parts[i]
    if (slack_left > 0.0) != (slack_right > 0.0):  # the slack is convex, so at most the chord of both ends
        fraction = min(max(slack_left / (slack_left - slack_right), 0.0), 1.0)
        crossing = part.left + (part.right - part.left) * fraction
        if slack_right > 0.0:
            part.left = max(crossing * (1.0 - SAFETY), part.left)
        else:
            part.right = min(crossing * (1.0 + SAFETY), part.right)
    return True


@compiled_part
def _shadow_price(state: _State, work: _Work, nodes: _Nodes, i: int, charge: float) -> tuple[float, int]:
    """Return λ at φ₂, the gain per share of the first token that no longer fits, and its device.

    The candidate becomes the lengths of all better tokens. λ is bracketed: at its upper end the candidate fits, at its
    lower end the lengths on trial do not. Single tokens follow, once few are left in between.
    """
    low, high, used, left, critical, widest = 0.0, np.inf, 0.0, 0, _ZERO, -1
    for k in range(len(work.users)):
        device, shortest = work.users[k], nodes.low[i, k]
        device.candidate = device.tried = shortest
        while device.tried < device.last and _gain(state, k, device.tried + 1, charge) > 0.0:
            device.tried += 1
        if device.last - shortest > widest:
            critical, widest = k, device.last - shortest
        used, left = used + work.table[k, device.tried].share, left + device.tried - shortest
    if used <= 1.0:
        for k in range(len(work.users)):
            work.users[k].candidate = work.users[k].tried
        return 0.0, critical
    price, factor = max(nodes.parts[i].price, TINY), 1.1
    for _ in range(60):
        if left <= 3:
            break
        fits, left = _bracket(state, work, price, charge)
        low, high = (low, price) if fits else (price, high)
        if low > 0.0 and high < np.inf:
            price = np.sqrt(low) * np.sqrt(high)
        else:
            price = price / factor if fits else price * factor
            factor *= factor
    return _fill(state, work, charge, critical)


@compiled_part
def _gain(state: _State, k: int, length: int, charge: float) -> float:
    return state.tokens[k, length] - state.tokens[k, length - 1] - charge


@compiled_part
def _bracket(state: _State, work: _Work, price: float, charge: float) -> tuple[bool, int]:
    """Move one end of the bracket to the lengths at λ = ``price``; return whether they fit, and the tokens between."""
    used, left = 0.0, 0
    for k in range(len(work.users)):
        length, share = work.users[k].candidate, work.table[k, work.users[k].candidate].share
        while length < work.users[k].tried:
            longer = work.table[k, length + 1].share
            if _gain(state, k, length + 1, charge) <= price * (longer - share):
                break
            length, share = length + 1, longer
        work.users[k].length = length
        used += share
    for k in range(len(work.users)):
        device = work.users[k]
        if used <= 1.0:
            device.candidate = int(device.length)
        else:
            device.tried = int(device.length)
        left += device.tried - device.candidate
    return used <= 1.0, left


@compiled_part
def _fill(state: _State, work: _Work, charge: float, critical: int) -> tuple[float, int]:
    """Add single tokens by gain per share until one no longer fits; return its gain per share, and its device."""
    used, price = 0.0, 0.0
    for k in range(len(work.users)):
        used += work.table[k, work.users[k].candidate].share
    while True:
        best, winner, extra = -np.inf, -1, 0.0
        for k in range(len(work.users)):
            length = work.users[k].candidate
            if length < work.users[k].tried:
                more = work.table[k, length + 1].share - work.table[k, length].share
                rate = _gain(state, k, length + 1, charge) / max(more, TINY)
                if rate > best:
                    best, winner, extra = rate, k, more
        if winner < 0:
            return price, critical
        price, used = best, used + extra
        if used > 1.0:
            return price, winner
        work.users[winner].candidate += 1


@compiled_part
def _steer(state: _State, work: _Work, part: Any) -> None:
    """Adapt the slope of the bounding line to the tokens of the candidate (`windows.Segment.steer`)."""
    x, size, above = 0, abs(part.step), part.slope - part.rise
    for device in work.users:
        x += device.candidate
    if x > part.most:
        change = size
    elif x < part.fewest:
        change = -size
    elif (x == part.most and above >= 0.0) or (x == part.fewest and above <= 0.0):
        change = 0.0
    else:
        change = min(max(-above, -size), size)
    part.slope = min(max(part.slope + change, state.numbers.flattest), state.numbers.steepest)
    if change != 0.0:
        longer = (1.3 if change * part.step > 0.0 else 0.5) * size  # shorter if the direction has changed
        longer = min(longer, state.numbers.steepest)
        part.step = longer if change > 0.0 else -longer


# ---- 4. offer ----


@compiled_part
def _totals(state: _State, work: _Work) -> tuple[float, float, float]:
    """Return tokens of the lengths on trial, the longest round that meets the TPOT, and the time of the pass, in s."""
    tokens, x, longest, least = 0.0, 0, 0, np.inf
    for k in range(len(work.users)):
        length = work.users[k].tried
        tokens += state.tokens[k, length]
        x, longest, least = x + length, max(longest, length), min(least, state.pace[k, length])
    server = _pass_time(state, float(len(work.users) * longest if state.numbers.padded else x))
    limit = state.numbers.tpot * (1.0 + ROUNDING) * least if state.numbers.tpot < np.inf else np.inf
    return tokens, limit, server if longest else server - state.numbers.repeat_delay


@compiled_part
def _offer(state: _State, work: _Work) -> None:
    """Replace the best decision by the lengths on trial, if they are in time and exceed it by more than rounding."""
    tokens, limit, server = _totals(state, work)
    time = min(tokens / max(work.search[0].value * (1.0 + _DIGITS), TINY), limit * (1.0 - _DIGITS))
    if not _fits(state, work, time - server):
        return
    for k in range(len(work.users)):
        work.users[k].length = work.users[k].tried
    value = tokens / (_latency(state, work) + server)
    if value > work.search[0].value:
        work.search[0].value = value
        for k in range(len(work.users)):
            work.users[k].best = work.users[k].tried


@compiled_part
def _fits(state: _State, work: _Work, latency: float) -> bool:
    """Return whether the shares of drafts on trial that end at ``latency`` sum to at most one."""
    used = 0.0
    for k in range(len(work.users)):
        length = float(work.users[k].tried)
        room = latency - _drafting(state.users[k], length)
        if not room > 0.0:
            return False
        if length > 0.0:
            used += _share(state, state.users[k], length, room)[0]
            if used > 1.0:
                return False
    return True


@compiled_part
def _offer_cut(state: _State, work: _Work) -> None:
    """Offer the candidate cut at every longest draft."""
    longest = 0
    for device in work.users:
        longest = max(longest, device.candidate)
    for most in range(longest):
        for k in range(len(work.users)):
            work.users[k].tried = max(min(work.users[k].candidate, most), state.users[k].low)
        _offer(state, work)


@compiled_part
def _offer_all(state: _State, work: _Work, nodes: _Nodes, i: int, decisions: int) -> None:
    for number in range(decisions):
        rest = number
        for k in range(len(work.users)):
            size = nodes.high[i, k] - nodes.low[i, k] + 1
            work.users[k].tried = nodes.low[i, k] + rest % size
            rest //= size
        _offer(state, work)


# ---- 5. split ----


@compiled_part
def _split(state: _State, work: _Work, nodes: _Nodes, i: int, critical: int, worked: bool) -> None:
    """Split a window, the range of x of the law, or the interval of latency; the last kind is repeated if it worked."""
    part, low, high, other = nodes.parts[i], nodes.low[i, critical], nodes.high[i, critical], work.search[0].count
    by_user = part.by_user == 1 if worked else part.by_user == 0
    by_user = high > low and (by_user or part.right - part.left <= 1e-14 * part.right)
    part.by_user = 1 if by_user else 0
    _copy(nodes, i, other)
    work.search[0].count += 1
    if by_user:
        cut = min(max(work.users[critical].candidate, low), max(high - 1, low))
        nodes.high[i, critical], nodes.low[other, critical] = cut, cut + 1
    elif _has_wide_pass(state, nodes, i):
        middle = np.floor(0.5 * (part.fewest + part.most))
        part.most, nodes.parts[other].fewest = middle, middle + 1.0
    else:
        # geometric mean of the round times, since intervals may span decades
        server = part.start + part.rise * max(part.fewest, _total(nodes.low[i]))
        middle = np.sqrt(part.left + server) * np.sqrt(part.right + server) - server
        if not part.left < middle < part.right:
            middle = 0.5 * (part.left + part.right)
        part.right = nodes.parts[other].left = middle


@compiled_part
def _has_wide_pass(state: _State, nodes: _Nodes, i: int) -> bool:
    """Return whether the pass varies more than the latency of a node, and the law or the TPOT limits its tokens."""
    part, least = nodes.parts[i], np.inf
    if part.rise == 0.0 or part.rise * (part.most - part.fewest) <= part.right - part.left:
        return False
    if state.numbers.tpot == np.inf:
        return len(state.lines) > 1
    for k in range(len(state.users)):
        least = min(least, state.pace[k, nodes.low[i, k]])
    longest = state.numbers.tpot * (1.0 + ROUNDING) * least
    return part.right + (part.start + part.rise * part.most) > longest
