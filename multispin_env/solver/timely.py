"""The fast rule where every device must get its tokens in time (ours).

Where the lengths that are best without a TPOT are late, rounds of several durations T are tried. Every device gets its
least length for T. The rest of the round goes to the tokens that earn most for their share of the uplink, by the least
price at which all still fit. Moves improve the best of these decisions; they keep to what is in time.
"""

from dataclasses import replace

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.rounds import goodput
from multispin_env.solver.lagrangian import lagrangian_lengths
from multispin_env.solver.moves import ready
from multispin_env.solver.pace import expected_ladder, in_time, least_pace, steps_to, useful_needs
from multispin_env.solver.problem import TINY, Problem
from multispin_env.solver.relaxed import Relaxed
from multispin_env.solver.starts import improve_best

ROUNDS = 16
"""Durations that are tried, and again as many around the best of them."""

HALVINGS, DECADES = 20, 6.0
"""Of the search for a price, and how far it lies from the relaxed optimum's to both sides."""

STARTS = 4
"""Decisions that moves improve."""


def timely_lengths(problem: Problem, length: FloatArray, relaxed: Relaxed) -> FloatArray:
    """Very good lengths that are in time, (n, K); where none are, those of the shortest time per output token.

    Parameters
    ----------
    problem
        The batch, n instances with a TPOT.
    length
        Good lengths (n, K) without the TPOT: where they are in time, they stay.
    relaxed
        The relaxed optimum without the TPOT.
    """
    late = np.flatnonzero(~in_time(problem, length))
    if not len(late):
        return length
    length, part = length.copy(), problem.rows(late)
    length[late] = least_pace(part, problem.tpot).length
    able = np.asarray(in_time(part, length[late]))
    if able.any():
        rows = late[able]
        length[rows] = _best_in_time(part.rows(able), Relaxed(*(array[rows] for array in relaxed)), length[rows])
    return length


def _best_in_time(problem: Problem, relaxed: Relaxed, safe: FloatArray) -> FloatArray:
    """Good lengths in time, starting from some (n, K) that are."""
    ladder = expected_ladder(problem)
    needs = useful_needs(ladder)
    most = needs.shape[1] - 1
    place = np.broadcast_to(np.linspace(0, most, ROUNDS).astype(np.int64), (len(problem), ROUNDS))
    first, worth = _filled_rounds(problem, relaxed, ladder, needs, place, safe)
    best = np.take_along_axis(place, worth.argmax(-1)[:, None], -1)
    spacing = most / (ROUNDS - 1)
    near = best + np.linspace(-spacing, spacing, ROUNDS).astype(np.int64)
    second, more = _filled_rounds(problem, relaxed, ladder, needs, np.clip(near, 0, most), safe)
    candidates = np.concatenate([safe[:, None], first, second], 1)
    value = np.concatenate([problem.value(safe[:, None]), worth, more], 1)
    return improve_best(problem, candidates, problem.latency(candidates), value, STARTS)


def _filled_rounds(
    problem: Problem, relaxed: Relaxed, ladder: FloatArray, needs: FloatArray, place: IntArray, safe: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Lengths (n, m, K) of rounds for the numbers at ``place`` (n, m), and their goodput; ``safe`` where one is late."""
    rows = np.repeat(np.arange(len(problem)), place.shape[1])
    wanted = needs[rows, place.ravel()]
    part = problem.rows(rows)
    part = replace(part, low=part.low + steps_to(ladder, rows, wanted))
    lasts = problem.tpot * wanted
    fits = ready(part, part.low[:, None], lasts[:, None])[:, 0]
    length = safe[rows]
    if fits.any():
        length[fits] = _filled(part.rows(fits), Relaxed(*(array[rows[fits]] for array in relaxed)), lasts[fits])
    lengths = length.reshape(*place.shape, -1)
    value = goodput(problem.tokens(lengths), problem.latency(lengths), problem.server_time(lengths))
    return lengths, value


def _filled(problem: Problem, relaxed: Relaxed, lasts: FloatArray) -> FloatArray:
    """Lengths (m, K) at the least price at which rounds of ``lasts`` (m,) s hold them; the shortest do."""
    latency = (lasts - problem.server_time(problem.low[:, None])[:, 0])[:, None]
    charge = relaxed.value * relaxed.slope if len(problem.lines) and not problem.padded else None
    low, high = -DECADES * np.ones(len(problem)), DECADES * np.ones(len(problem))
    length = problem.low.astype(np.float64)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        price = np.maximum(relaxed.price, TINY) * 10.0**middle
        tried = lagrangian_lengths(problem, latency, price[:, None], charge)
        fits = ready(problem, tried, lasts[:, None])[:, 0]
        length[fits] = tried[fits, 0]
        low, high = np.where(fits, low, middle), np.where(fits, middle, high)
    return length
