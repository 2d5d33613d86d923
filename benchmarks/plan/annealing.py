"""Tables of lengths by simulated annealing (docs/evidence/continuous.md)."""

import numpy as np

from benchmarks.plan.table import Tables
from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario

HOT, COLD = 8e-3, 1.5e-4  # first and last temperature of ln rate, times batches of the period
REHEATED = 1e-3  # first temperature once a table has been repeated, times batches of the period
SURVIVAL = 200  # moves after which the worse half of the chains go on from the better half


def search(scenario: Scenario, state: SystemState, moves: int, chains: int, seed: int = 0) -> IntArray:
    """Return the best table found, (P, K) with 0 for no draft.

    Parameters
    ----------
    scenario
        The system.
    state
        Devices (1, K) in a static channel.
    moves
        Moves of each chain before the period is doubled, and again after it.
    chains
        Chains for each first period, an even number.
    seed
        Seed of the moves.
    """
    rng = np.random.default_rng(seed)
    tables = Tables.of(scenario, state)[np.zeros(chains, dtype=np.int64)]
    best, best_rate = np.zeros((1, 1), dtype=np.int64), -np.inf
    for periods in (2, 3):
        chains_table = _start(tables, periods)
        for repeat, hot in ((1, HOT), (2, REHEATED)):
            chains_table = _annealed(tables, np.tile(chains_table, (1, repeat, 1)), np.geomspace(hot, COLD, moves), rng)
            rate = tables.rate(chains_table)
            if rate.max() > best_rate:
                best, best_rate = chains_table[rate.argmax()], rate.max()
    return best


def _start(tables: Tables, periods: int) -> IntArray:
    """Return tables (n, P, K) of groups: device i in batch i mod P, all with the best common length."""
    num_tables, users = tables.draft_time.shape
    inside = np.arange(periods)[:, None] == np.arange(users) % periods
    if users < periods:
        inside[users:] = np.arange(users) == 0  # no batch is empty
    lengths = range(1, tables.gains.shape[-1])
    starts = [np.broadcast_to(inside * length, (num_tables, periods, users)) for length in lengths]
    rates = np.stack([tables.rate(start) for start in starts], -1)
    return np.asarray(np.stack(starts)[rates.argmax(-1), np.arange(num_tables)])


def _annealed(tables: Tables, table: IntArray, temperatures: FloatArray, rng: np.random.Generator) -> IntArray:
    """Return the best tables (n, P, K) of chains that start from these."""
    rate = tables.rate(table)
    best, best_rate = table.copy(), rate.copy()
    for number, temperature in enumerate((temperatures / table.shape[1]).tolist(), start=1):
        tried = _moved(table, tables.gains.shape[-1] - 1, rng)
        value = tables.rate(tried)
        with np.errstate(divide="ignore", invalid="ignore"):
            taken = np.log(value / rate) > temperature * np.log(rng.random(len(rate)))
        table = np.where(taken[:, None, None], tried, table)
        rate = np.where(taken, value, rate)
        better = rate > best_rate
        best[better], best_rate[better] = table[better], rate[better]
        if number % SURVIVAL == 0:
            selected = np.tile(np.argsort(-rate)[: len(rate) // 2], 2)
            table, rate = table[selected], rate[selected]
    return best


def _moved(table: IntArray, longest: int, rng: np.random.Generator) -> IntArray:
    """Return tables (n, P, K) after one random move each; invalid moves change nothing."""
    tried = table.copy()
    kind = _integers(len(MOVES), len(table), rng)
    for number in np.unique(kind):
        rows = np.flatnonzero(kind == number)
        tried[rows] = MOVES[number](tried[rows], longest, rng)
    return tried


def _integers(high: int, rows: int, rng: np.random.Generator) -> IntArray:
    return (rng.random(rows) * high).astype(np.int64)


def _cells(table: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray, IntArray]:
    """Return a random cell with a draft of each table: table, batch, device."""
    weight = rng.random(table.shape) * (table > 0)
    cell = weight.reshape(len(table), -1).argmax(-1)
    return np.arange(len(table)), cell // table.shape[2], cell % table.shape[2]


def _lengthen(table: IntArray, longest: int, rng: np.random.Generator) -> IntArray:
    cell = _cells(table, rng)
    change = np.array([-2, -1, 1, 2])[_integers(4, len(table), rng)]
    table[cell] = np.clip(table[cell] + change, 1, longest)
    return table


def _trade(table: IntArray, longest: int, rng: np.random.Generator) -> IntArray:
    """Move a token from one draft to another."""
    giver, taker = _cells(table, rng), _cells(table, rng)
    fits = (table[giver] > 1) & (table[taker] < longest)
    table[giver] -= fits
    table[taker] += fits
    return table


def _shift(table: IntArray, longest: int, rng: np.random.Generator) -> IntArray:
    """Move a draft to the previous or next batch, if its device has none there."""
    index, row, user = _cells(table, rng)
    target = (row + np.array([-1, 1])[_integers(2, len(table), rng)]) % table.shape[1]
    free = table[index, target, user] == 0
    length = table[index, row, user]
    table[index, target, user] += length * free
    table[index, row, user] -= length * free
    return table


def _join_or_leave(table: IntArray, longest: int, rng: np.random.Generator) -> IntArray:
    """Let a device join a batch, with the length of another of its drafts, or leave one of several."""
    index = np.arange(len(table))
    row, user = (_integers(size, len(table), rng) for size in table.shape[1:])
    lengths = table[index, :, user]
    inside = lengths[index, row] > 0
    several = (lengths > 0).sum(-1) > 1
    length = np.clip(lengths.max(-1) + _integers(6, len(table), rng) - 4, 1, longest)
    table[index, row, user] = np.where(inside, np.where(several, 0, lengths[index, row]), length)
    return table


def _swap(table: IntArray, longest: int, rng: np.random.Generator) -> IntArray:
    index = np.arange(len(table))
    left, right = (_integers(table.shape[2], len(table), rng) for _ in range(2))
    first, second = table[index, :, left], table[index, :, right]
    table[index, :, left], table[index, :, right] = second, first
    return table


MOVES = (_lengthen, _lengthen, _trade, _trade, _shift, _join_or_leave, _swap)
