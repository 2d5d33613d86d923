"""Tables of lengths by simulated annealing: slow to make, close to the best known (ours; docs/continuous.md)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.controllers.continuous.schedule import Tables
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario

HOT, COLD = 8e-3, 1.5e-4
"""First and last temperature of ln rate, times batches of the period."""

REHEATED = 1e-3
"""First temperature once a table has been repeated, times batches of the period."""

PERIODS = (2, 3)
"""Batches of the periods that the search starts with; later they are doubled."""

SURVIVAL = 200
"""Moves after which the worse half of the chains go on from the better half."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Random numbers for the chains of each system, the same for all systems: what is found does not depend on others.

    Parameters
    ----------
    rng
        Source of randomness.
    systems
        n; rows are theirs in turn.
    """

    rng: np.random.Generator
    systems: int

    def random(self, rows: int, *shape: int) -> FloatArray:
        """Uniform variables (rows, *shape) in [0, 1)."""
        return np.concatenate([self.rng.random((rows // self.systems, *shape))] * self.systems)

    def integers(self, high: int, rows: int) -> IntArray:
        """Whole numbers (rows,) from 0 to below ``high``."""
        return (self.random(rows) * high).astype(np.int64)

    def choice(self, values: tuple[int, ...], rows: int) -> IntArray:
        """Some of these values, (rows,)."""
        return np.array(values)[self.integers(len(values), rows)]


@dataclass(frozen=True)
class Annealing:
    """How long and how wide to search.

    Parameters
    ----------
    moves
        Of each chain, before the period is doubled, and as many after it.
    chains
        Of each system and first period; an even number.
    """

    moves: int = 500
    chains: int = 16

    def search(
        self,
        scenario: Scenario,
        state: SystemState,
        rng: np.random.Generator,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[IntArray]:
        """Return the best table found for each of n systems, (P, K) with 0 for no draft; P may differ.

        Parameters
        ----------
        scenario
            The system.
        state
            Devices (n, K) in a static channel.
        rng
            Of starts, moves and acceptance.
        progress
            Told the moves done and to do.
        """
        best: list[tuple[float, IntArray]] = [(-np.inf, np.zeros((1, 1), dtype=np.int64))] * len(state.draft_time)
        total, done = 2 * self.moves * len(PERIODS), 0
        draws = Draws(rng, len(best))
        for periods in PERIODS:
            tables = Tables.of(scenario, state)[np.repeat(np.arange(len(best)), self.chains)]
            found = _start(tables, periods)
            for repeat, hot in ((1, HOT), (2, REHEATED)):
                told = None if progress is None else _shifted(progress, done, total)
                found = self._anneal(tables, np.tile(found, (1, repeat, 1)), hot, draws, told)
                done += self.moves
                best = _better(best, found, tables.rate(found), self.chains)
        return [table for _, table in best]

    def _anneal(
        self,
        tables: Tables,
        table: IntArray,
        hot: float,
        draws: Draws,
        progress: Callable[[int], None] | None,
    ) -> IntArray:
        """Best tables (n, P, K) that chains meet on their way from these."""
        rate = tables.rate(table)
        best, best_rate = table.copy(), rate.copy()
        temperatures = np.geomspace(hot, COLD, self.moves) / table.shape[1]
        for number, temperature in enumerate(temperatures.tolist()):
            tried = _moved(table, tables.gains.shape[-1] - 1, draws)
            value = tables.rate(tried)
            with np.errstate(divide="ignore", invalid="ignore"):
                taken = np.log(value / rate) > temperature * np.log(draws.random(len(rate)))
            table = np.where(taken[:, None, None], tried, table)
            rate = np.where(taken, value, rate)
            better = rate > best_rate
            best[better], best_rate[better] = table[better], rate[better]
            if (number + 1) % SURVIVAL == 0:
                kept = _survivors(rate, self.chains)
                table, rate = table[kept], rate[kept]
                if progress is not None:
                    progress(number + 1)
        return best


def _shifted(progress: Callable[[int, int], None], before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + done, total)


def _start(tables: Tables, periods: int) -> IntArray:
    """Tables (n, P, K) of groups: device i in batch i mod P, all with one length, the best of them."""
    copies, users = tables.draft_time.shape
    inside = np.arange(periods)[:, None] == np.arange(users) % periods
    if users < periods:
        inside[users:] = np.arange(users) == 0  # every batch needs somebody
    starts = [np.broadcast_to(inside * length, (copies, periods, users)) for length in _lengths(tables)]
    rates = np.stack([tables.rate(start) for start in starts], -1)
    chosen: IntArray = np.stack(starts)[rates.argmax(-1), np.arange(copies)]
    return chosen


def _lengths(tables: Tables) -> range:
    return range(1, tables.gains.shape[-1])


def _better(
    best: list[tuple[float, IntArray]], found: IntArray, rate: FloatArray, chains: int
) -> list[tuple[float, IntArray]]:
    """The better of what was known and the best chain of each system."""
    by_system = rate.reshape(-1, chains)
    top = by_system.argmax(-1)
    pairs = (
        (float(rates[one]), found[system * chains + one])
        for system, (rates, one) in enumerate(zip(by_system, top, strict=True))
    )
    return [max(old, new, key=lambda pair: pair[0]) for old, new in zip(best, pairs, strict=True)]


def _survivors(rate: FloatArray, chains: int) -> IntArray:
    """Chains to go on with: of each system the better half, twice."""
    order = np.argsort(-rate.reshape(-1, chains), -1)[:, : chains // 2]
    first = np.arange(0, len(rate), chains)[:, None]
    kept: IntArray = (first + np.concatenate((order, order), -1)).reshape(-1)
    return kept


def _moved(table: IntArray, longest: int, draws: Draws) -> IntArray:
    """Tables (n, P, K) after one random move each; a move that makes no sense leaves the table as it is."""
    tried = table.copy()
    kind = draws.integers(len(MOVES), len(table))
    for number in np.unique(kind):
        rows = np.flatnonzero(kind == number)
        tried[rows] = MOVES[number](tried[rows], longest, draws)
    return tried


def _cells(table: IntArray, draws: Draws) -> tuple[IntArray, IntArray, IntArray]:
    """A random cell of each table that holds a draft: copy, batch, device."""
    copies = np.arange(len(table))
    weight = draws.random(*table.shape) * (table > 0)
    cell = weight.reshape(len(table), -1).argmax(-1)
    return copies, cell // table.shape[2], cell % table.shape[2]


def _lengthen(table: IntArray, longest: int, draws: Draws) -> IntArray:
    """One draft is one or two tokens longer or shorter."""
    cell = _cells(table, draws)
    change = draws.choice((-2, -1, 1, 2), len(table))
    table[cell] = np.clip(table[cell] + change, 1, longest)
    return table


def _trade(table: IntArray, longest: int, draws: Draws) -> IntArray:
    """One draft gets a token of another."""
    giver, taker = _cells(table, draws), _cells(table, draws)
    fits = (table[giver] > 1) & (table[taker] < longest)
    table[giver] -= fits
    table[taker] += fits
    return table


def _shift(table: IntArray, longest: int, draws: Draws) -> IntArray:
    """One draft goes to the batch before or behind, if its device has none there."""
    copies, row, user = _cells(table, draws)
    target = (row + draws.choice((-1, 1), len(table))) % table.shape[1]
    free = table[copies, target, user] == 0
    length = table[copies, row, user]
    table[copies, target, user] += length * free
    table[copies, row, user] -= length * free
    return table


def _join_or_leave(table: IntArray, longest: int, draws: Draws) -> IntArray:
    """One device joins a batch, with a length of another of its drafts, or leaves one of several."""
    copies = np.arange(len(table))
    row, user = (draws.integers(size, len(table)) for size in table.shape[1:])
    own = table[copies, :, user]
    inside = own[copies, row] > 0
    several = (own > 0).sum(-1) > 1
    length = np.clip(own.max(-1) + draws.integers(6, len(table)) - 4, 1, longest)
    table[copies, row, user] = np.where(inside, np.where(several, 0, own[copies, row]), length)
    return table


def _swap(table: IntArray, longest: int, draws: Draws) -> IntArray:
    """Two devices change places."""
    copies = np.arange(len(table))
    one, other = (draws.integers(table.shape[2], len(table)) for _ in range(2))
    first, second = table[copies, :, one], table[copies, :, other]
    table[copies, :, one], table[copies, :, other] = second, first
    return table


MOVES = (_lengthen, _lengthen, _trade, _trade, _shift, _join_or_leave, _swap)
