"""Optimum without the barrier for two or three devices, certified from both sides by policy iteration.

A policy is a sequence of batches with lengths. For a given sequence, uploads in the order of their batches and starts
as early as possible are earliest for all batches at once. So there are decisions only when a batch ends: lengths of the
free devices, members of the next batch and the order of the other uploads. The state is, for each device with a draft,
its length and the seconds left of drafting and upload. Fewer are never worse: rounded down to a grid, with exact
durations, the process has at least the rate of the system.

For any values h of the states, no policy has a higher rate than the largest (N + h' − h) / D over all states and
decisions, with N tokens and h' after the D seconds of a batch: the changes of h cancel in the long run. By policy
iteration the bound is nearly the rate of a cycle of the process. The batches of this cycle, played exactly and
improved by a local search, have an attained rate.
"""

from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

import numpy as np

import multispin_env as ms
from multispin_env.arrays import FloatArray, IntArray
from multispin_env.compiling import compiled, compiled_part
from multispin_env.draft import expected_tokens
from multispin_env.solver.problem import user_times

OUTSIDE = -1
"""Length of a device outside the batch, in a table (P, K) of the lengths of P batches."""

_GAIN = 1e-9
"""Tokens by which a new decision must be better."""

_NEVER = -1e6
"""Value of states from which no decision is known that leads to the best cycle."""

_MOST_SWEEPS = 40
"""Sweeps of a grid; any of them has a valid bound."""

_MOST_CELLS = 48
"""Cells of a table above which no local search changes it."""

_BETTER = 1.0 + 1e-4
"""Factor on the rate from which a table of a finer grid replaces another one, since it may be much longer."""

_PERIODS = 24
"""Periods that are counted, after as many others."""


class Fleet(NamedTuple):
    """Times and tokens of K devices and their server."""

    low: int  # least length
    draft_time: FloatArray  # (K,) s
    token_time: FloatArray  # (K,) s of the whole band
    tokens: FloatArray  # (K, L_max + 1) expected
    pass_time: FloatArray  # (K + 1, K L_max + 1) s, by drafts and their tokens


def make_fleet(scenario: ms.Scenario, state: ms.SystemState) -> Fleet:
    """Return the times of devices (K,) in static channels."""
    users, longest = scenario.num_users, scenario.max_draft_length
    assert not scenario.padded_verification
    scenario.uplink.require_paper("of the exact optimum", "round_trip_time", "access_delay", "upload_loss")
    drafts, drafted = np.arange(users + 1)[:, None], np.arange(users * longest + 1)
    tokens = expected_tokens(np.arange(longest + 1), state.acceptance_rate[:, None])
    pass_time = np.array(np.broadcast_to(scenario.law.time(drafts, drafts + drafted), (users + 1, drafted.size)))
    return Fleet(scenario.min_draft_length, *user_times(scenario, state), tokens, pass_time)


@compiled_part
def _busy_until(release: FloatArray, air: FloatArray, order: IntArray, count: int, now: float) -> float:
    """Return when the band has done the first ``count`` uploads of an order that are released by ``now``."""
    until = 0.0
    for i in order[:count]:
        if release[i] <= now:
            end = release[i]
            for j in order[:count]:
                if release[i] <= release[j] <= now:
                    end += air[j]
            until = max(until, end)
    return until


@compiled_part
def _left(release: FloatArray, air: FloatArray, order: IntArray, position: int, members: int, duration: float) -> float:
    """Return the seconds left at the end of a batch of the upload at a position, after those of the members."""
    k = order[position]
    if release[k] > duration:
        return release[k] - duration + air[k]
    before = _busy_until(release, air, order, position, duration) if position > members else 0.0
    return max(_busy_until(release, air, order, position + 1, duration) - max(before, duration), 0.0)


@compiled
def _play(fleet: Fleet, table: IntArray, periods: int) -> FloatArray:
    """Return the ends of periods of a table (P, K)."""
    rows, users = table.shape
    left, ends = np.full(users, -1.0), np.empty(periods)
    release, air, distance = np.empty(users), np.empty(users), np.empty(users, np.int64)
    now = 0.0
    for step in range(periods * rows):
        members = total = 0
        for k in range(users):
            distance[k] = 0
            while distance[k] < rows and table[(step + distance[k]) % rows, k] < 0:
                distance[k] += 1
            length = max(table[(step + distance[k]) % rows, k], 0)
            air[k] = length * fleet.token_time[k]
            if left[k] < 0.0:
                left[k] = length * fleet.draft_time[k] + air[k]
            release[k], air[k] = max(left[k] - air[k], 0.0), min(left[k], air[k])
            if distance[k] == 0:
                members += 1
                total += length
        order = np.argsort(distance)
        duration = _busy_until(release, air, order, members, np.inf) + fleet.pass_time[members, total]
        for position in range(users):
            later = position >= members
            left[order[position]] = _left(release, air, order, position, members, duration) if later else -1.0
        now += duration
        ends[step // rows] = now
    return ends


def table_rate(fleet: Fleet, table: IntArray) -> float:
    """Return the long-run tokens/s of a table (P, K); 0 if a batch is empty."""
    if (table == OUTSIDE).all(-1).any():
        return 0.0
    ends = _play(fleet, table, 2 * _PERIODS + 1)
    tokens = np.where(table == OUTSIDE, 0.0, fleet.tokens[np.arange(table.shape[1]), table]).sum()
    return float(_PERIODS * tokens / (ends[-1] - ends[_PERIODS]))


def improved(fleet: Fleet, table: IntArray) -> tuple[IntArray, float]:
    """Return a table and its rate, after changes of single lengths that increase it."""
    table, rate = table.copy(), table_rate(fleet, table)
    lengths = range(fleet.low, fleet.tokens.shape[1])
    changed = table.size <= _MOST_CELLS
    while changed:
        changed = False
        for cell in np.ndindex(table.shape):
            for length in (OUTSIDE, *lengths):
                before, table[cell] = int(table[cell]), length
                if (other := table_rate(fleet, table)) > rate * (1.0 + 1e-9):
                    rate, changed = other, True
                else:
                    table[cell] = before
    periods = (n for n in range(1, len(table) + 1) if len(table) % n == 0)
    return table[: next(n for n in periods if (table == np.roll(table, n, 0)).all())], rate


class _Grid(NamedTuple):
    """States of devices on a grid: block i has those in which device i is the first that is free.

    A state of block i is a cell for each other device, 0 if it is free too.
    """

    step: float  # s
    length: IntArray  # (K, cells)
    release: FloatArray  # (K, cells) s
    air: FloatArray  # (K, cells) s
    first: IntArray  # (K, L_max + 1) first cell of each length
    cells: IntArray  # (K,)
    start: IntArray  # (K + 1,) first state of each block
    stride: IntArray  # (K, K) of the cells of devices in each block
    orders: IntArray  # (n, K) of uploads, members of the next batch first
    members: IntArray  # (n,)


def _make_grid(fleet: Fleet, step: float) -> _Grid:
    users, longest = len(fleet.draft_time), fleet.tokens.shape[1] - 1
    least = fleet.pass_time[1].min()
    first, parts = np.zeros((users, longest + 1), dtype=np.int64), []
    for k in range(users):
        lengths = np.arange(fleet.low, longest + 1)
        air = lengths * fleet.token_time[k]
        most = np.maximum(lengths * fleet.draft_time[k] + air - least, air)  # at the end of a batch
        counts = (most / step + 1e-9).astype(np.int64) + 1
        first[k, fleet.low :] = 1 + counts.cumsum() - counts
        left = step * np.concatenate([np.arange(count) for count in counts])
        whole = np.repeat(air, counts)
        parts.append((np.repeat(lengths, counts), np.maximum(left - whole, 0.0), np.minimum(left, whole)))
    cells = np.array([1 + len(part[0]) for part in parts])
    length, release, air_left = (
        np.stack([np.pad(a, (1, cells.max() - 1 - len(a))) for a in arrays]) for arrays in zip(*parts, strict=True)
    )
    shapes = np.where(np.eye(users, dtype=bool), 1, cells)
    stride = shapes[:, ::-1].cumprod(-1)[:, ::-1] // shapes
    start = np.append(0, shapes.prod(-1).cumsum())
    both = {(*sorted(p[:n]), *p[n:], n) for n in range(1, users + 1) for p in permutations(range(users))}
    *orders, members = np.array(sorted(both)).T
    order = np.ascontiguousarray(np.stack(orders, -1))
    return _Grid(step, length, release, air_left, first, cells, start, stride, order, members)


class _Policy(NamedTuple):
    """Decision of each state and what it leads to."""

    decision: IntArray
    following: IntArray
    tokens: FloatArray
    duration: FloatArray


@compiled
def _decode(grid: _Grid, block: int, state: int, cells: IntArray) -> bool:
    """Set the cells (K,) of a state; return whether the device of the block is the first that is free."""
    is_first = True
    for k in range(len(cells)):
        cells[k] = (state - grid.start[block]) // grid.stride[block, k] % grid.cells[k] if k != block else 0
        is_first &= k >= block or cells[k] > 0
    return is_first


@compiled_part
def _set_drafts(
    fleet: Fleet, grid: _Grid, cells: IntArray, combination: int, length: IntArray, release: FloatArray, air: FloatArray
) -> None:
    """Set the drafts (K,) of a state, with a combination of lengths of the free devices."""
    choices = fleet.tokens.shape[1] - fleet.low
    for k in range(len(cells)):
        if cells[k] == 0:
            length[k] = fleet.low + combination % choices
            combination //= choices
            release[k], air[k] = length[k] * fleet.draft_time[k], length[k] * fleet.token_time[k]
        else:
            length[k] = grid.length[k, cells[k]]
            release[k], air[k] = grid.release[k, cells[k]], grid.air[k, cells[k]]


@compiled
def _improve(fleet: Fleet, grid: _Grid, rate: float, values: FloatArray, policy: _Policy) -> float:
    """Set decisions with a larger N − rate D + h' than the policy's; return the bound for the values h."""
    users, choices, bound = len(grid.cells), fleet.tokens.shape[1] - fleet.low, 0.0
    release, air = np.empty(users), np.empty(users)
    length, cells = np.empty(users, np.int64), np.empty(users, np.int64)
    for block in range(users):
        for state in range(grid.start[block], grid.start[block + 1]):
            if not _decode(grid, block, state, cells):
                continue
            best = values[state] + _GAIN if policy.following[state] >= 0 else -np.inf
            for combination in range(choices ** (cells == 0).sum()):
                _set_drafts(fleet, grid, cells, combination, length, release, air)
                for i in range(len(grid.orders)):
                    order, members = grid.orders[i], grid.members[i]
                    drafted, tokens = 0, 0.0
                    for k in order[:members]:
                        drafted += length[k]
                        tokens += fleet.tokens[k, length[k]]
                    duration = _busy_until(release, air, order, members, np.inf) + fleet.pass_time[members, drafted]
                    following = grid.start[order[0]]
                    for position in range(members, users):
                        k = order[position]
                        left = _left(release, air, order, position, members, duration)
                        cell = grid.first[k, length[k]] + int(left / grid.step + 1e-9)
                        following += grid.stride[order[0], k] * cell
                    gain = tokens + values[following]
                    bound = max(bound, (gain - values[state]) / duration)
                    if gain - rate * duration > best:
                        best = gain - rate * duration
                        policy.decision[state] = combination * len(grid.orders) + i
                        policy.following[state] = following
                        policy.tokens[state], policy.duration[state] = tokens, duration
    return bound


@compiled
def _best_cycle(policy: _Policy) -> tuple[float, int]:
    """Return the rate of a policy's best cycle and a state of it."""
    seen, rate, root = np.full(len(policy.following), -1), -1.0, -1
    for begun in range(len(seen)):
        state = begun
        while seen[state] < 0 and policy.following[state] >= 0:
            seen[state] = begun
            state = policy.following[state]
        if seen[state] == begun:  # a new cycle
            last, tokens, seconds = state, 0.0, 0.0
            while seconds == 0.0 or state != last:
                tokens += policy.tokens[state]
                seconds += policy.duration[state]
                state = policy.following[state]
            if tokens / seconds > rate:
                rate, root = tokens / seconds, state
    return rate, root


@compiled
def _evaluate(policy: _Policy, rate: float, root: int, values: FloatArray) -> None:
    """Set the values of a policy, and drop its decisions that do not lead to the cycle with a state ``root``."""
    states = len(values)
    leads, path = np.full(states, -1), np.empty(states, np.int64)  # 1: yes, 0: no, or on the path
    leads[root], values[root] = 1, 0.0
    for begun in range(states):
        state, steps = begun, 0
        while leads[state] < 0 and policy.following[state] >= 0:
            leads[state], path[steps] = 0, state
            steps += 1
            state = policy.following[state]
        if leads[state] == 1:
            for state in path[:steps][::-1]:
                leads[state] = 1
                values[state] = policy.tokens[state] - rate * policy.duration[state] + values[policy.following[state]]
    for state in range(states):
        if leads[state] < 1:
            values[state], policy.following[state] = _NEVER, -1


def _finer(coarse: _Grid, fine: _Grid, values: FloatArray) -> FloatArray:
    """Return values of a grid with half the step."""
    users, cells = len(fine.cells), []
    for k in range(users):
        length = fine.length[k, 1 : fine.cells[k]]
        inside = np.arange(1, fine.cells[k]) - fine.first[k, length]
        last = np.append(coarse.first[k, 1:], coarse.cells[k])[length] - 1
        cells.append(np.append(0, np.minimum(coarse.first[k, length] + inside // 2, last)))
    blocks = []
    for i, part in enumerate(np.split(values, coarse.start[1:-1])):
        shape = [1 if k == i else int(coarse.cells[k]) for k in range(users)]
        chosen = np.ix_(*[np.zeros(1, np.int64) if k == i else cells[k] for k in range(users)])
        blocks.append(part.reshape(shape)[chosen].ravel())
    return np.concatenate(blocks)


def _cycle(fleet: Fleet, grid: _Grid, policy: _Policy, root: int) -> IntArray:
    """Return the table of the cycle from a state."""
    users, choices = len(grid.cells), fleet.tokens.shape[1] - fleet.low
    rows, state, cells = list[IntArray](), root, np.empty(len(grid.cells), dtype=np.int64)
    while not rows or state != root:
        _decode(grid, int(np.searchsorted(grid.start, state, "right")) - 1, state, cells)
        rest, order = divmod(int(policy.decision[state]), len(grid.orders))
        row = grid.length[np.arange(users), cells]
        for k in np.flatnonzero(cells == 0):
            rest, place = divmod(rest, choices)
            row[k] = fleet.low + place
        row[grid.orders[order, grid.members[order] :]] = OUTSIDE
        rows.append(row)
        state = int(policy.following[state])
    return np.array(rows)


@dataclass(frozen=True, eq=False)
class Optimum:
    """Bracket of the optimal rate in tokens/s, and the table (P, K) that attains the lower end."""

    rate: float
    table: IntArray
    bounds: tuple[float, ...]  # of all grids; each is valid

    @property
    def bound(self) -> float:
        """Upper end."""
        return min(self.bounds)


def optimum(fleet: Fleet, tolerance: float = 3e-4, most_states: int = 1_000_000) -> Optimum:
    """Return the optimum, on grids of half the step each until the ends agree or the next grid has too many states."""
    grid = _make_grid(fleet, fleet.pass_time[1].min() / 8.0)
    values, rate, bounds = np.zeros(grid.start[-1]), 0.0, list[float]()
    table: IntArray = np.zeros((0, len(fleet.draft_time)), dtype=np.int64)
    while True:
        states, bound, process = len(values), np.inf, rate
        policy = _Policy(np.full(states, -1), np.full(states, -1), np.zeros(states), np.zeros(states))
        for _ in range(_MOST_SWEEPS):
            bound = min(bound, _improve(fleet, grid, process, values, policy))
            if bound <= process * (1.0 + tolerance / 10.0):
                break
            process, root = _best_cycle(policy)
            _evaluate(policy, process, root, values)
        found, attained = improved(fleet, _cycle(fleet, grid, policy, root))
        if attained > rate * _BETTER:
            table, rate = found, attained
        bounds.append(bound)
        finer = _make_grid(fleet, grid.step / 2.0)
        if rate >= (1.0 - tolerance) * min(bounds) or finer.start[-1] > most_states:
            return Optimum(rate, table, tuple(bounds))
        values, grid = _finer(grid, finer, values), finer
