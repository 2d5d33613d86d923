"""Rows about the batches that a device sits out, for static channels: skips, idle server, uploads (ours)."""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.controllers.continuous.bound_program import Solution
from multispin_env.controllers.continuous.bound_rows import Rates, System

LOOKS_BACK = 3
"""Batches whose idle time can lie in a window: cycles of longer gaps are one kind, about which less is said."""


@dataclass(frozen=True, eq=False)
class Kinds:
    """Kinds (G,) of cycles by the batches since the device's last one; sizes of batches are in C classes."""

    sizes: BoolArray  # (C, K), which sizes a class holds
    skips: IntArray  # (G,) batches that are sat out, LOOKS_BACK for that and more
    counts: IntArray  # (C, G), how many of them are known to be of a class
    before: IntArray  # (G,) class of the last batch before the one that verifies; −1 is not known
    skipped_time: FloatArray  # W (G,) s of passes that are sat out, at most; infinite for unknown ones

    def __len__(self) -> int:
        """Return G."""
        return len(self.skips)


def kinds_of(system: System) -> Kinds:
    """No batch between, one of any class, two of any classes, more."""
    users = system.num_users
    label = np.arange(users) * min(users, 20) // users
    number = int(label[-1]) + 1
    slowest = np.array([system.batch_time[label == each].max() for each in range(number)])
    first, last = (each.ravel() for each in np.indices((number, number)))
    each = np.arange(number)
    one = np.eye(number, dtype=np.int64)
    none = np.zeros((number, number), dtype=np.int64)
    return Kinds(
        sizes=label == each[:, None],
        skips=np.repeat([0, 1, 2, LOOKS_BACK], [number, number, number**2, 1]),
        counts=np.concatenate([none, one, one[:, first] + one[:, last], none[:, :1]], axis=1),
        before=np.concatenate([each, each, last, [-1]]),
        skipped_time=np.concatenate([0.0 * slowest, slowest, slowest[first] + slowest[last], [np.inf]]),
    )


def add_skips(rates: Rates, kinds: Kinds) -> None:
    """Rows 6: a batch that a device sits out is sat out in one cycle only."""
    program, (users, number) = rates.program, (len(rates.members), len(kinds.sizes))
    cycles, sizes = rates.cycles[:, 0], kinds.sizes.astype(np.float64)  # (K, G, L), (C, K)
    by_class, out, next_one = program.rows(users, number), program.rows(users), program.rows(users, number)
    program.put(by_class[..., None, None], cycles[:, None], kinds.counts[..., None])
    program.put(by_class[..., None], rates.batches, -sizes)
    program.put(by_class[..., None], rates.members[:, None], sizes)
    program.put(out[:, None, None], cycles, kinds.skips[:, None])
    program.put(out[:, None], rates.batches, -1.0)
    program.put(out[:, None], rates.members, 1.0)
    program.put(next_one[..., None], cycles[:, :number], 1.0)
    program.put(next_one[..., None], rates.members[:, None], -sizes)


def add_idle(rates: Rates, system: System, kinds: Kinds) -> IntArray:
    """Rows 7, and the idle time that rows 8 share out: what does not fit into passes takes idle time of the server."""
    program = rates.program
    idle = program.rows(system.num_users, at_most=1.0)
    needed = (system.drafting + system.air)[:, 0, None] - kinds.skipped_time[:, None]  # (K, G, L)
    program.put(idle[:, None, None], rates.cycles[:, 0], np.maximum(needed, 0.0))
    program.put(idle[:, None], rates.batches, system.batch_time)
    shared = program.rows(at_most=float(LOOKS_BACK))
    slack = program.variables(len(kinds.sizes), most=float(LOOKS_BACK))
    program.put(shared, slack, 1.0)
    program.put(shared, rates.batches, LOOKS_BACK * system.batch_time)
    return slack


def solve_with_uploads(rates: Rates, system: System, kinds: Kinds, slack: IntArray) -> Solution:
    """Solve, adding the rows 8 that the solution breaks most, until none is."""
    start = np.ones(sum(map(len, rates.program.most)), dtype=bool)
    start[rates.cycles] = False
    start[rates.cycles[:, :, kinds.skips != 2, ::3]] = True
    spare = np.maximum(kinds.skipped_time[:, None] - system.drafting, 0.0)  # (K, G, L), the d from which on one counts
    found = rates.program.solve(start)
    for _ in range(12):
        cuts = [cut for each in range(len(slack)) if (cut := _broken(found, rates, system, kinds, slack, spare, each))]
        if not cuts:
            break
        for each, limit in cuts:
            _add_uploads(rates, system, kinds, slack, spare, each, limit)
        new = rates.program.solve(found.near)
        found = new._replace(bound=min(new.bound, found.bound))
    return found


def _broken(
    found: Solution, rates: Rates, system: System, kinds: Kinds, slack: IntArray, spare: FloatArray, each: int
) -> tuple[int, float] | None:
    """The class and the seconds d of the row 8 that is broken most, if one is."""
    here = kinds.before == each
    load = (found.amounts[rates.cycles] * system.air[:, :, None])[:, 0, here].ravel()
    limits = spare[:, here].ravel()
    order = np.argsort(limits)[: int(np.isfinite(limits).sum())]
    over = load[order].cumsum() - limits[order] * found.amounts[rates.batches[kinds.sizes[each]]].sum()
    worst = int(over.argmax())
    return (each, float(limits[order][worst])) if over[worst] > found.amounts[slack[each]] + 1e-5 else None


def _add_uploads(
    rates: Rates, system: System, kinds: Kinds, slack: IntArray, spare: FloatArray, each: int, limit: float
) -> None:
    """Row 8 of a class and d: uploads that must lie within d and idle time before a batch fit into that time."""
    row = rates.program.rows()
    counted = (kinds.before == each)[:, None] & (spare <= limit)
    rates.program.put(row, rates.cycles[:, 0], np.where(counted, system.air, 0.0))
    rates.program.put(row, rates.batches, np.where(kinds.sizes[each], -limit, 0.0))
    rates.program.put(row, slack[each], -1.0)
