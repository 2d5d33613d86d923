"""Moves of one and of two tokens that improve a decision (ours).

A move changes the tokens by ΔE, the shares at the present latency by ΔS and their slope P = Σ c L / (φ − L T)² by ΔP.
The new latency is the root of S = 1; since 1/S is increasing and concave, one step of Newton ends left of that root
from wherever it starts, and so prices every move by a few numbers, never too low: a move that does not pay by this
estimate does not pay. Those that may pay are tested exactly, and still without a root: the decision L is better than G
if and only if its shares at φ = E(L)/G − T_ver(L) sum to less than one. How much longer a pass takes is known exactly.
"""

from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.server import line_time
from multispin_env.solver.problem import Problem

MOVERS = 14
"""Single moves of least estimated loss that are also tried in pairs."""

FINALISTS = 16
"""Moves that are tested exactly in a round."""

MAX_ROUNDS = 60
"""Every round improves the goodput; presets need about three."""

LEAST_DIVISOR = 1e-150
"""Stands in for zero below a fraction bar; numerators reach 1e100 (`problem.HEAVIEST`), and quotients stay finite."""

ROUNDING = 1e-13
"""Relative improvement that may be rounding."""


class _Moves(NamedTuple):
    """Effects of moves, arrays (n, m)."""

    tokens: FloatArray  # ΔE
    share: FloatArray  # ΔS at φ
    slope: FloatArray  # ΔP at φ


@np.errstate(over="ignore", invalid="ignore")  # estimates of absurd moves; the exact test decides
def improve(problem: Problem, lengths: FloatArray, latency: FloatArray) -> FloatArray:
    """Apply the best move of one or two tokens until none improves.

    Parameters
    ----------
    problem
        The batch, n instances.
    lengths
        Start (n, K), whole numbers.
    latency
        Their φ (n, 1) in s.

    Returns
    -------
    FloatArray
        Lengths (n, K).
    """
    lengths = lengths.copy()
    active = np.arange(len(lengths))
    for _ in range(MAX_ROUNDS):
        moved, better = _round(problem, lengths[active], latency)
        if not better.any():
            break
        active = active[better]
        lengths[active] = moved[better]
        problem = problem.rows(better)
        latency = problem.latency(lengths[active][:, None])
    return lengths


def _round(problem: Problem, lengths: FloatArray, phi: FloatArray) -> tuple[FloatArray, BoolArray]:
    """The best move for each instance, and whether it improves."""
    num_users = lengths.shape[-1]
    rows = np.arange(len(lengths))[:, None]
    tokens = problem.tokens(lengths[:, None])
    total = phi + problem.server_time(lengths[:, None])
    value = tokens / total
    singles, slope = _singles(problem, lengths, phi)
    longer = _longer_passes(problem, lengths) if len(problem.lines) else None

    def estimate(moves: _Moves, added: IntArray | None) -> FloatArray:
        """ΔE − G (Δφ + ΔT_ver), at least, in tokens: positive if the move pays; ``added`` tokens are −2..2."""
        used = 1.0 + moves.share
        latency = used * moves.share / np.maximum(slope + moves.slope, LEAST_DIVISOR)
        if longer is not None and added is not None:
            latency = latency + np.take_along_axis(longer, np.broadcast_to(added + 2, latency.shape), -1)
        return np.where(np.isfinite(moves.share), moves.tokens - value * latency, -np.inf)

    added = np.repeat([1, -1], num_users) if longer is not None else None
    alone = estimate(singles, added)
    count = min(MOVERS, 2 * num_users)
    movers = _largest(alone, count)
    first, second = np.triu_indices(count, 1)
    chosen = _Moves(*(np.take_along_axis(effect, movers, -1) for effect in singles))
    pair = _Moves(*(effect[:, first] + effect[:, second] for effect in chosen))
    both = estimate(pair, None if added is None else added[movers[:, first]] + added[movers[:, second]])
    same = movers[:, first] % num_users == movers[:, second] % num_users
    gain = np.concatenate([alone, np.where(same, -np.inf, both)], -1)
    best = _largest(gain, FINALISTS)
    start = np.arange(2 * num_users)
    one = np.concatenate([np.broadcast_to(start, alone.shape), movers[:, first]], -1)
    two = np.concatenate([np.broadcast_to(start, alone.shape), movers[:, second]], -1)
    candidates = np.repeat(lengths[:, None], best.shape[-1], 1)
    single = best < 2 * num_users
    slot = np.arange(best.shape[-1])
    one, two = one[rows, best], two[rows, best]
    candidates[rows, slot, one % num_users] += np.where(one < num_users, 1.0, -1.0)
    candidates[rows, slot, two % num_users] += np.where(single, 0.0, np.where(two < num_users, 1.0, -1.0))
    hopeful = np.take_along_axis(gain, best, -1) > ROUNDING * tokens
    better = hopeful & pays(problem, candidates, value)
    pick = better.argmax(-1)
    return candidates[rows[:, 0], pick], np.asarray(better.any(-1))


def _longer_passes(problem: Problem, lengths: FloatArray) -> FloatArray:
    """How much longer a pass of −2, −1, 0, 1 or 2 drafted tokens more takes, (n, 5) s."""
    x = lengths.sum(-1)[:, None]
    longer: FloatArray = line_time(problem.lines, x + np.arange(-2.0, 3.0)) - line_time(problem.lines, x)
    return longer


def _largest(score: FloatArray, count: int) -> IntArray:
    """Positions of the ``count`` largest entries of each row, largest first."""
    order: IntArray = np.argsort(-score, -1, kind="stable")[:, :count]
    return order


def _singles(problem: Problem, lengths: FloatArray, phi: FloatArray) -> tuple[_Moves, FloatArray]:
    """Add a token to each user, then drop one of each: (n, 2K); and P (n, 1)."""
    draft, token = problem.draft_time, problem.token_time
    gain = problem.weights * np.exp(-problem.decay * lengths)
    room = phi - lengths * draft
    share = token * lengths / room
    slope = share / room
    tokens, shares, slopes = [], [], []
    for sign, allowed in ((1.0, lengths < problem.high), (-1.0, lengths > problem.low)):
        space = room - sign * draft
        allowed = allowed & (space > 0.0)
        space = np.where(allowed, space, 1.0)
        moved = token * (lengths + sign) / space
        tokens.append(gain * problem.acceptance_rate if sign > 0.0 else -gain)
        shares.append(np.where(allowed, moved - share, np.inf))
        slopes.append(moved / space - slope)
    effects = (np.concatenate(effect, -1) for effect in (tokens, shares, slopes))
    return _Moves(*effects), slope.sum(-1)[:, None]


def pays(problem: Problem, candidates: FloatArray, value: FloatArray) -> BoolArray:
    """Whether candidates (n, m, K) are better than the goodput (n, 1), by more than rounding, and in time."""
    round_time = problem.tokens(candidates) / np.maximum(value * (1.0 + ROUNDING), LEAST_DIVISOR)
    if problem.tpot < np.inf:
        round_time = np.minimum(round_time, problem.longest_round(candidates) * (1.0 - ROUNDING))
    return ready(problem, candidates, round_time)


def ready(problem: Problem, candidates: FloatArray, round_time: FloatArray) -> BoolArray:
    """Whether rounds of candidates (n, m, K) need no longer than (n, m) s: their shares then sum to at most one."""
    needed = round_time - problem.server_time(candidates)
    room = needed[..., None] - candidates * problem.draft_time[:, None]
    fits = (room > 0.0).all(-1)
    share = problem.token_time[:, None] * candidates / np.where(room > 0.0, room, 1.0)
    result: BoolArray = fits & (share.sum(-1) <= 1.0)
    return result
