"""Local search over the lengths of a batch: whole tokens are added, taken away and moved (ours).

Two kinds of steps take turns until none helps. `_climb` tries one token more or less for every device, and one for each
of several devices, in the order in which they pay for their air. `_swap` tries one token more for a device, and one or
two less for another.
"""

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.controllers.continuous.launch import Launch, ordered_sum

LEAST_GAIN = 1e-9
"""Tokens that a step has to bring."""

MOST_STEPS = 40
"""Steps of each kind."""


def improved(launch: Launch, lengths: IntArray) -> IntArray:
    """Lengths (n, K) that no step betters, from lengths (n, K)."""
    lengths = lengths.copy()
    rows = np.arange(len(lengths))
    for _ in range(MOST_STEPS):
        _climb(launch, lengths, rows)
        rows = _swap(launch, lengths, rows)
        if not rows.size:
            break
    return lengths


def _climb(launch: Launch, lengths: IntArray, rows: IntArray) -> None:
    """Steps of the first kind for some copies, as long as they help; in place."""
    for _ in range(MOST_STEPS):
        here, now = _some(launch, lengths, rows)
        tried = _longer_and_shorter(here, now)
        values = here.value(tried)
        best = values.argmax(-1)
        chosen = np.arange(len(rows)), best
        better = values[chosen] > values[:, 0] + LEAST_GAIN
        rows = rows[better]
        if not rows.size:
            return
        lengths[rows] = tried[chosen][better]


def _some(launch: Launch, lengths: IntArray, rows: IntArray) -> tuple[Launch, IntArray]:
    return (launch, lengths) if len(rows) == len(lengths) else (launch[rows], lengths[rows])


def _longer_and_shorter(launch: Launch, lengths: IntArray) -> IntArray:
    """Candidates (n, C, K), the lengths themselves first."""
    low, high = launch.scenario.min_draft_length, launch.scenario.max_draft_length
    now = lengths[:, None]
    more, less = (_step(launch, lengths, sign) for sign in (1, -1))
    late = launch.release + lengths * launch.draft_time + launch.draft_time + launch.token_air
    misfit = late > np.maximum(launch.due, launch.ready(now)[:, 0])[:, None]
    air = np.where(launch.starts, launch.token_air, 1.0)
    longer = _ones(launch, np.where(misfit, -1.0, more / air))
    shorter = _ones(launch, less / air)
    soon = _ones(launch, -late)
    ups = [np.add.accumulate(ones, 1)[:, 1:] for ones in (longer, soon)]
    downs = [np.add.accumulate(ones, 1)[:, 1:] for ones in (shorter, _ones(launch, late))]
    changes = (longer, -shorter, *ups, *[-d for d in downs])
    tried: IntArray = np.clip(now + np.concatenate([np.zeros_like(now), *changes], 1), low, high)
    return tried


def _step(launch: Launch, lengths: IntArray, change: int) -> FloatArray:
    """What a change of every length brings by itself (n, K); −∞ where it is not possible."""
    low, high = launch.scenario.min_draft_length, launch.scenario.max_draft_length
    changed = lengths + change
    possible = launch.starts & (changed >= low) & (changed <= high)
    brings = launch.gains(np.clip(changed, low, high)) - launch.gains(lengths)
    return np.where(possible, brings, -np.inf)


def _ones(launch: Launch, worth: FloatArray) -> IntArray:
    """A token for each device that starts, the greatest worth first, (n, m, K)."""
    users = worth.shape[-1]
    order = np.argsort(-np.where(launch.starts, worth, -np.inf), -1, kind="stable")[
        :, : launch.starts.sum(-1).max(), None
    ]
    ones: IntArray = ((order == np.arange(users)) & launch.starts[:, None]).astype(np.int64)
    return ones


def _swap(launch: Launch, lengths: IntArray, rows: IntArray) -> IntArray:
    """One step of the second kind for some copies, in place; returns those where it helped."""
    here, now = _some(launch, lengths, rows)
    gain = ordered_sum(here.gains(now))
    value = gain - here.cost(now, (slice(None),))
    wins, limit = _wins(here, now)
    hopeful = gain[:, None, None, None] + wins - limit > (value + LEAST_GAIN)[:, None, None, None]
    row, less, to, source = np.nonzero(hopeful)
    tried = now[row]
    each = np.arange(len(row))
    tried[each, to] += 1
    tried[each, source] -= less + 1
    values = gain[row] + wins[hopeful] - here.cost(tried, (row,))
    return _taken(lengths, rows, row, tried, values - value[row])


def _wins(launch: Launch, lengths: IntArray) -> tuple[FloatArray, FloatArray]:
    """What moves bring, (n, 2, K to, K from), before costs, and a lower limit of the costs then, (n, 2, 1, K from).

    To take tokens away from one device without giving any to another costs no more.
    """
    users = lengths.shape[-1]
    fewer = [_step(launch, lengths, -less) for less in (1, 2)]
    down = np.array([1, 2])[:, None, None] * np.eye(users, dtype=np.int64)
    tried = np.maximum(lengths[:, None] - down.reshape(-1, users), launch.scenario.min_draft_length)
    limit = launch.cost(tried).reshape(len(lengths), 2, 1, users)
    wins = _step(launch, lengths, 1)[:, None, :, None] + np.stack(fewer, 1)[:, :, None]
    return np.where(np.eye(users, dtype=np.bool_), -np.inf, wins), limit


def _taken(lengths: IntArray, rows: IntArray, row: IntArray, tried: IntArray, wins: FloatArray) -> IntArray:
    """Take the first best of the candidates (c, K) of each copy, where it helps; returns these copies."""
    order = np.lexsort((-wins, row))
    first: BoolArray = np.diff(row[order], prepend=-1) != 0
    best = order[first]
    best = best[wins[best] > LEAST_GAIN]
    chosen: IntArray = rows[row[best]]
    lengths[chosen] = tried[best]
    return chosen
