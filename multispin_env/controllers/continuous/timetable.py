"""Periodic tables of batches, in which each device keeps its own pace (not in the paper; docs/evidence/continuous.md).

A table (P, K) has the draft lengths of the devices in P batches, which repeat for ever; `OUTSIDE` stands for a device
that is not in a batch. A device drafts for its next batch as soon as it is verified. Uploads go in the order of their
batches, and a batch starts when the server is free and its last upload has ended: no other execution of the table is
earlier at any point. So a table has one long-run rate, and a plan is a search for the table with the highest one:
simulated annealing from batches of other rules.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.compiling import compiled, compiled_part
from multispin_env.controllers.base import ContinuousController
from multispin_env.controllers.continuous.greedy import Greedy
from multispin_env.controllers.continuous.groups import Groups
from multispin_env.controllers.continuous.prices import Prices
from multispin_env.controllers.continuous.search import drafted_tokens
from multispin_env.controllers.continuous.under_way import in_deep_fade
from multispin_env.draft import expected_tokens
from multispin_env.physics.continuous.averages import play, seeded_core
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join, Phase
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario

OUTSIDE = -1
"""Length of a device outside a batch, in a table."""

_MOST_ROWS = 8
"""Batches of a table."""

_PLAYED, _ENDS = 24, 12
"""Batches that each other rule plays, and how many of them may be the last one of a table."""

_KEPT = (8, 4, 2, 1)
"""Tables that are annealed, in turn."""

_PERIODS, _EXACT_PERIODS = 4, 24
"""Periods that are counted in the search and of the result."""

_WORK = 5_000_000
"""Drafts simulated in a search, for each device."""

_HEAT = 0.1
"""Relative loss of rate that is accepted at first, of one device; in the end it is a tenth."""


class Times(NamedTuple):
    """Seconds and tokens of drafts and passes of K devices in a static channel."""

    least: int  # L_min
    ready: FloatArray  # (K, L_max + 1) s from a verification to the end of the next draft, by length
    air: FloatArray  # (K, L_max + 1) s of the whole band
    tokens: FloatArray  # (K, L_max + 1) expected
    server: FloatArray  # (K + 1, K L_max + 1) s of a pass, by drafts and their tokens
    padded: bool  # whether drafts in a pass count as long as the longest

    @classmethod
    def of(cls, scenario: Scenario, state: SystemState | ContinuousState) -> Self:
        """Return the times of devices (K,)."""
        users, longest = scenario.num_users, scenario.max_draft_length
        lengths = np.arange(longest + 1)[:, None]
        drafts, drafted = np.arange(users + 1)[:, None], np.arange(users * longest + 1)
        server = scenario.law.time(drafts, drafts + drafted)
        return cls(
            scenario.min_draft_length,
            np.ascontiguousarray((lengths * state.draft_time + scenario.uplink.cycle_wait(lengths)).T),
            np.ascontiguousarray((lengths * scenario.uplink.token_time(state.spectral_efficiency)).T),
            np.ascontiguousarray(expected_tokens(lengths, state.acceptance_rate).T),
            np.array(np.broadcast_to(server, (users + 1, drafted.size))),
            scenario.law.padded,
        )


# The rate of a table


class _Band(NamedTuple):
    """Intervals in which the band is used, from the earliest to the latest."""

    begin: FloatArray  # s
    end: FloatArray  # s


@compiled_part
def _send(band: _Band, count: int, release: float, work: float) -> tuple[float, int]:
    """Send ``work`` seconds from ``release`` on where the band is not used; return the end, and how many intervals."""
    first = count
    while first > 0 and band.end[first - 1] >= release:
        first -= 1
    after, begin, now = first, release, release
    if after < count and band.begin[after] <= release:
        begin, now = band.begin[after], band.end[after]
        after += 1
    while after < count and band.begin[after] - now < work:
        work -= band.begin[after] - now
        now = band.end[after]
        after += 1
    shift = first + 1 - after
    if shift > 0:
        for i in range(count, after, -1):
            band.begin[i], band.end[i] = band.begin[i - 1], band.end[i - 1]
    elif shift < 0:
        for i in range(after, count):
            band.begin[i + shift], band.end[i + shift] = band.begin[i], band.end[i]
    band.begin[first], band.end[first] = begin, now + work
    return now + work, count + shift


@compiled_part
def _forget(band: _Band, count: int, until: float) -> int:
    """Drop the intervals that end before ``until``; return how many are left."""
    first = 0
    while first < count and band.end[first] < until:
        first += 1
    for i in range(first, count):
        band.begin[i - first], band.end[i - first] = band.begin[i], band.end[i]
    return count - first


@compiled_part
def _begin(times: Times, table: IntArray, free: FloatArray) -> float:
    """Set ``free`` (K,) to 0 for devices in a batch, else to ∞; return a period's tokens, 0 if a batch is empty."""
    free[:], tokens = np.inf, 0.0
    for row in table:
        empty = True
        for k in range(len(row)):
            if row[k] >= 0:
                free[k], empty = 0.0, False
                tokens += times.tokens[k, row[k]]
        if empty:
            return 0.0
    return tokens


@compiled
def table_rate(times: Times, table: IntArray, periods: int) -> float:
    """Return the tokens/s of a table (P, K) in ``periods`` periods after as many others; 0 if a batch is empty."""
    rows, users = table.shape
    band, count = _Band(np.empty(users * (rows + 2)), np.empty(users * (rows + 2))), 0
    free = np.empty(users)  # s, end of the last verification
    tokens = _begin(times, table, free)
    if tokens == 0.0:
        return 0.0
    server = begun = 0.0
    for step in range(2 * periods * rows):
        begun = server if step == periods * rows else begun
        row, members = table[step % rows], 0
        count = _forget(band, count, free.min())
        for k in range(users):
            length = row[k]
            if length >= 0:
                members += 1
                sent = free[k] + times.ready[k, length]
                if length > 0:
                    sent, count = _send(band, count, sent, times.air[k, length])
                server = max(server, sent)
        server += times.server[members, drafted_tokens(row, times.padded)]
        for k in range(users):
            if row[k] >= 0:
                free[k] = server
    return periods * tokens / (server - begun)


# The search


@compiled_part
def _changed_length(times: Times, table: IntArray, p: int, k: int, kind: float, how: float) -> int:
    """Return another length of device k in batch p, by uniform variables."""
    length, longest = table[p, k], times.tokens.shape[1] - 1
    if length >= 0:
        near = min(max(length + (1 if how < 0.5 else -1), times.least), longest)
        return near if kind < 0.7 else OUTSIDE
    if kind >= 0.7:
        return times.least + int((longest + 1 - times.least) * how)
    for ahead in range(1, len(table)):  # as in its next batch
        if length < 0:
            length = table[(p + ahead) % len(table), k]
    return max(length, times.least)


@compiled
def anneal(times: Times, table: IntArray, periods: int, heat: float, draws: FloatArray) -> IntArray:
    """Return the best table of a simulated annealing from a table (P, K), with uniform variables (steps, 5).

    A step changes a length by one token, takes a device out of a batch or into one, or exchanges two of its batches. A
    relative loss is accepted if it is smaller than an exponential variable with the mean ``heat``, which falls to a
    tenth.
    """
    rows, users = table.shape
    table, best = table.copy(), table.copy()
    rate = highest = table_rate(times, table, periods)
    for step in range(len(draws)):
        where, who, kind, how, luck = draws[step]
        p, k = int(where * rows), int(who * users)
        q, before = p, table[p, k]
        if kind < 0.3 and rows > 1:
            q = (p + 1 + int(how * (rows - 1))) % rows
        other = table[q, k]
        length = other if q != p else _changed_length(times, table, p, k, kind, how)
        if length == before:
            continue
        table[q, k] = before
        table[p, k] = length
        changed = table_rate(times, table, periods)
        if changed > rate * (1.0 + heat * 0.1 ** (step / len(draws)) * np.log(1.0 - luck)):
            rate = changed
            if rate > highest:
                highest = rate
                best[:] = table
        else:
            table[q, k] = other
            table[p, k] = before
    return best


def best_table(scenario: Scenario, state: SystemState) -> IntArray:
    """Return a table (P, K) of at most 8 batches with a high long-run rate for devices (K,) in a static channel.

    For each number of batches, the search begins with the best table among successive batches of `Groups` with one to
    three groups, `Prices` and `Greedy`, with or without devices in a deep fade.
    """
    times = Times.of(scenario, state)
    firsts = dict[int, tuple[float, IntArray]]()
    for played in _played(scenario, state):
        for rows in range(1, _MOST_ROWS + 1):
            for end in range(_PLAYED - _ENDS + 1, _PLAYED + 1):
                table = played[end - rows : end]
                rate = table_rate(times, table, _PERIODS)
                if rate > firsts.get(rows, (0.0,))[0]:
                    firsts[rows] = rate, table
    pool, generator = list(firsts.values()), np.random.default_rng(0)
    for kept in _KEPT:
        pool = sorted(pool, key=lambda pair: -pair[0])[:kept]
        tables = [table for _, table in pool]
        for table in tables:
            steps = _WORK // (len(_KEPT) * len(tables) * 2 * _PERIODS * len(table))
            draws = generator.random((steps, 5))
            annealed = anneal(times, table, _PERIODS, _HEAT / scenario.num_users, draws)
            pool.append((table_rate(times, annealed, _EXACT_PERIODS), annealed))
    return max(pool, key=lambda pair: pair[0])[1]


def _played(scenario: Scenario, state: SystemState) -> Iterator[IntArray]:
    """Yield batches (24, K) that other rules play, with and without devices in a deep fade."""
    rules = *(Groups(scenario, groups) for groups in (1, 2, 3)), Prices(scenario), Greedy(scenario)
    for rule in rules:
        core = seeded_core(ContinuousSystem.of(scenario, rule.discipline), 1, 0, drawn=False)
        core.hold(state.mapped(lambda array: array[None]))
        faded = in_deep_fade(scenario, core.state)
        steps = [outcome for _, outcome in play(core, rule.decide, _PLAYED)]
        rows = np.concatenate([np.where(step.verified, step.draft_length, OUTSIDE) for step in steps])
        yield rows
        if faded.any() and not faded.all():
            yield np.where(faded, OUTSIDE, rows)


# The rule


class _Plan(NamedTuple):
    """Tables of n environments, whose rows repeat up to 8 of them."""

    rows: IntArray  # (n,) batches of the table
    ahead: IntArray  # (n, 8, K) batches until the next one of the device, from each; 0 in it, −1 if it is in none
    length: IntArray  # (n, 8, K) tokens in this next batch


@lru_cache(maxsize=1024)
def _table_of(scenario: Scenario, devices: bytes) -> IntArray:
    return best_table(scenario, SystemState(*np.frombuffer(devices).reshape(3, -1)))


@lru_cache(maxsize=8)
def _plan_of(scenario: Scenario, devices: bytes) -> _Plan:
    """Return the plan of environments whose times, efficiencies and acceptance rates (n, 3, K) have these bytes."""
    tables = [_table_of(scenario, row.tobytes()) for row in np.frombuffer(devices).reshape(-1, 3, scenario.num_users)]
    ahead, length = np.empty((2, len(tables), _MOST_ROWS, scenario.num_users), dtype=np.int64)
    for table, first, tokens in zip(tables, ahead, length, strict=True):
        for row in range(_MOST_ROWS):
            turned = np.roll(table, -row, 0)
            next_row = (turned != OUTSIDE).argmax(0)
            tokens[row] = np.maximum(np.take_along_axis(turned, next_row[None], 0)[0], scenario.min_draft_length)
            first[row] = np.where((table == OUTSIDE).all(0), -1, next_row)
    return _Plan(np.array([len(table) for table in tables]), ahead, length)


@dataclass(frozen=True, eq=False)
class Timetable(ContinuousController):
    """Rule that follows the best table found for the devices, so that each device keeps its own pace.

    The table (`best_table`) is computed at the first decision for given devices, which takes a tenth of a second with
    two devices and seconds with 60; later decisions look it up. A device in no batch of the table is never verified: a
    draft adds to the time of a pass, and where many devices share the server some are not worth it.

    The channel must be static, requests may not end, and devices may not draft ahead: a table would not be right.
    """

    requires: ClassVar[Mapping[str, Any]] = {"channel": "static", "draft_ahead": False}

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for a scenario in which a table would not be right."""
        super().__post_init__()
        for field, expected in self.requires.items():
            if (actual := getattr(self.scenario, field)) != expected:
                raise ValueError(f"{field}: expected {expected!r} for Timetable, got {actual!r}")

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        if not state.demand.never_ends.all():
            raise ValueError("demand: expected requests without end for Timetable, got requests that end")
        devices = np.stack([state.draft_time, state.spectral_efficiency, state.acceptance_rate], 1)
        plan = _plan_of(self.scenario, devices.tobytes())
        batch, place = state.batch[:, None], (np.arange(len(state.batch)), state.batch % plan.rows)
        ahead = plan.ahead[place]
        in_none = ahead < 0
        aim = np.where(state.phase == Phase.FREE, batch + ahead, state.aim)
        join = np.where(in_none | (aim > batch), Join.LEAVE, Join.WAIT)
        priority = np.where(in_none, _MOST_ROWS, aim - batch)
        return ContinuousDecision(plan.length[place], join, priority=priority.astype(np.float64), aim=aim)
