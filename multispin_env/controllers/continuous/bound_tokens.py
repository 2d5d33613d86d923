"""Rows for a server whose passes take longer for every token: how much longer at least (ours)."""

from dataclasses import replace

import numpy as np

from multispin_env.arrays import IntArray
from multispin_env.controllers.continuous.bound_rows import Amount, Rates, System


def with_token_times(rates: Rates, system: System) -> Rates:
    """Put the time of passes, by size of batch, above every line of the law.

    Tokens are counted by device and size, and once more in each batch that a device waits for.
    """
    program, users = rates.program, np.arange(system.num_users)
    passes = Amount(program.variables(len(users), most=1.0, group=0), 1.0)
    waiting = Amount(program.variables(len(users), len(users), most=1.0, group=users[:, None]), 1.0)
    most = system.lengths[-1] / system.batch_time
    own = program.variables(len(users), len(users), most=most)
    whole = program.variables(len(users), len(users), most=system.sizes * most)
    _token_rows(rates, system, own, whole)
    start, slope = np.moveaxis(system.token_lines, -1, 0)  # (K, J)
    line = program.rows(*start.shape)
    program.put(line, rates.batches[:, None], start)
    program.put(line, own[..., None], slope)
    program.put(line, passes.variable[:, None], -1.0)
    line = program.rows(len(users), *start.shape)
    program.put(line, rates.members[..., None], start)
    program.put(line, whole[..., None], slope)
    program.put(line, waiting.variable[..., None], -1.0)
    return replace(rates, passes=passes, waiting=waiting)


def _token_rows(rates: Rates, system: System, own: IntArray, whole: IntArray) -> None:
    """Tie the counts (K, K) by device and size to the cycles, to each other, and to batches without the device."""
    program, users, sizes = rates.program, system.num_users, system.sizes
    shortest, longest = system.lengths[[0, -1]]
    drafted = program.rows(users)
    program.put(drafted[:, None, None, None], rates.cycles, system.lengths)
    program.put(drafted[:, None], own, -1.0)
    for sign, bound in ((-1.0, shortest), (1.0, longest)):
        span = program.rows(users, users)
        program.put(span, own, sign)
        program.put(span, rates.members, -sign * bound)
    others = program.rows(users, users)
    program.put(others, own, 1.0)
    program.put(others, rates.members, (sizes - 1) * shortest)
    program.put(others, whole, -1.0)
    without = program.rows(users, users)
    program.put(without, own[:, None], 1.0)
    program.put(without, rates.batches, -sizes * longest)
    program.put(without, rates.members, sizes * longest)
    program.put(without, whole, -1.0)
    counted = program.rows(users)
    program.put(counted, own, sizes)
    program.put(counted, whole, -1.0)
