"""Decisions with a proof of optimality (not in the paper)."""

from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray
from multispin_env.draft import expected_tokens
from multispin_env.physics.links import Power
from multispin_env.physics.types import Decision
from multispin_env.solver.pace import is_in_time, least_tpot
from multispin_env.solver.problem import CHUNK_ENTRIES, Problem, in_blocks, in_chunks, kinks
from multispin_env.solver.search import Search, branch_and_bound

if TYPE_CHECKING:
    from multispin_env.solver.exact import Rounds


@dataclass(frozen=True, slots=True, eq=False)
class CertifiedDecision(Decision):
    """`Decision` with its value and a bound on the value of every decision.

    Parameters
    ----------
    draft_length
        Tokens L_k to draft, (..., K).
    bandwidth
        Uplink bandwidth B_k, Σ B_k ≤ B, (..., K) Hz.
    value
        Goodput Σ ω_k E[N_k] / T_e2e of this decision, less the price of its energy, if any, (...) tokens/s; 0 if it
        misses the TPOT of a device.
    bound
        Goodput that no decision exceeds, (...) tokens/s.
    tolerance
        Requested relative gap.
    feasible
        Whether every device gets its tokens at the requested TPOT, (...); if not, no decision does. None: no TPOT.
    """

    unbatched: ClassVar[tuple[str, ...]] = ("tolerance",)

    value: FloatArray
    bound: FloatArray
    tolerance: float
    feasible: BoolArray | None = None

    @property
    def gap(self) -> FloatArray:
        """Proven relative gap (bound − value) / value, (...); 0 where value and bound are 0."""
        positive = self.value > 0.0
        surplus = np.where(positive, self.bound - self.value, self.bound)
        return np.where(positive, surplus / np.where(positive, self.value, 1.0), np.where(surplus > 0.0, np.inf, 0.0))

    @property
    def certified(self) -> BoolArray:
        """Whether the proven gap is within the tolerance, (...)."""
        return self.gap <= self.tolerance


MOST_NODES = 3_000  # of the compiled search for a state; the presets need at most a few hundred
_COARSE = 1e-3  # Tolerance of lengths to start from
_ROUNDS = 400  # of the search in NumPy; presets need about 15, extreme parameters up to about 60


def usual_tolerance(num_users: int) -> float:
    """Return the relative gap that is proven without a request: the time of a state grows with its devices."""
    return 1e-9 if num_users <= 50 else 1e-4


def certified_lengths(problem: Problem, tolerance: float, time_limit: float | None = None) -> Search:
    """Return the best lengths with a bound within ``tolerance``; ``time_limit``: seconds for the whole batch.

    The compiled search (`multispin_env.solver.exact`) solves nearly every state; `branch_and_bound` continues where it
    runs out of nodes, and solves links of one's own. After the time limit the states that are left keep their start,
    with the bound of their first nodes.
    """
    deadline = np.inf if time_limit is None else monotonic() + time_limit
    tolerance *= 0.999  # slightly below the requested one, so that rounding cannot lift the gap above it

    def search(part: Problem) -> Search:
        return branch_and_bound(part, _lengths_near(part), tolerance, _ROUNDS, deadline)

    if problem.curves is not None and not isinstance(problem.curves.link, Power):
        return Search(*in_chunks(search, problem))
    rows = max(1, CHUNK_ENTRIES // (problem.low.shape[-1] * (int(problem.high.max(initial=0)) + 1)))
    found = Search(*in_blocks(lambda part: exact_lengths(part, tolerance, deadline), rows, problem))
    for i in np.flatnonzero(found.bound > found.value * (1.0 + tolerance)) if deadline == np.inf else ():
        second = branch_and_bound(problem[i : i + 1], found.lengths[i : i + 1], tolerance, _ROUNDS)
        found.lengths[i], found.value[i] = second.lengths[0], second.value[0]
        found.bound[i] = min(found.bound[i], second.bound[0])
    return found


def is_compiled() -> bool:
    """Return whether the machine code of the search is cached; if not, the first decision of a process compiles it."""
    from multispin_env.solver.exact import best_decisions  # late: Numba takes long to import

    search: Any = best_decisions  # of Numba, whose index is empty if the source has changed
    return bool(search.stats.cache_path and search._cache._cache_file._load_index())


def compile_search() -> None:
    """Compile the search, and cache its machine code."""
    one, token = np.ones((1, 1)), np.ones((1, 1), dtype=np.int64)
    certified_lengths(Problem(one, one, 0.5 * one, one, token, token, one[0]), 0.5)


def _lengths_near(problem: Problem) -> FloatArray:
    """Return lengths (n, K) on a link of one's own: the best ones for the rates of the shares of the ones before."""
    lengths = first_lengths(problem)
    for _ in range(2):
        alike = replace(problem, curves=None, token_time=problem.token_times_at(lengths))
        following = exact_lengths(alike, _COARSE).lengths
        better = (problem.value(following[:, None]) > problem.value(lengths[:, None]))[:, 0]
        if problem.tpot < np.inf:
            better &= is_in_time(problem, following)
        lengths = np.where(better[:, None], following, lengths)
    return lengths


def first_lengths(problem: Problem) -> FloatArray:
    """Return the shortest lengths (n, K), which are in time where any are."""
    return problem.low.astype(np.float64) if problem.tpot == np.inf else least_tpot(problem, problem.tpot).length


def exact_lengths(problem: Problem, tolerance: float, deadline: float = np.inf) -> Search:
    """Return the result of the compiled search alone; ``deadline`` is a time of `time.monotonic`."""
    from multispin_env.solver.exact import best_decisions  # late: Numba takes long to import

    rounds, first = compiled_rounds(problem), np.ascontiguousarray(first_lengths(problem), dtype=np.int64)
    if deadline == np.inf:
        return Search(*_floats(best_decisions(rounds, first, tolerance, MOST_NODES)))
    solved, num_roots = [], max(len(rounds.lines), rounds.tokens.shape[-1] if problem.padded else 0)
    for i in range(len(first)):
        row = slice(i, i + 1)
        state = rounds._replace(**{name: getattr(rounds, name)[row] for name in ("tokens", "pace", "users", "numbers")})
        most = MOST_NODES if i == 0 or monotonic() <= deadline else num_roots
        solved.append(_floats(best_decisions(state, first[row], tolerance, most)))
    return Search(*(np.concatenate(arrays) for arrays in zip(*solved, strict=True)))


def _floats(solved: tuple[Any, ...]) -> tuple[FloatArray, ...]:
    lengths, value, bound, _ = solved
    return lengths.astype(np.float64), value, bound


def compiled_rounds(problem: Problem) -> "Rounds":
    """Return a problem as the arrays of the compiled search."""
    from multispin_env.solver.exact import LINE, NUMBERS, USER, Rounds  # late, as above

    shape, lines, timed = problem.low.shape, problem.lines, problem.tpot < np.inf
    length = np.arange(int(problem.high.max(initial=0)) + 1)[:, None, None]
    tokens = problem.expected(np.broadcast_to(length, (len(length), *shape)))
    pace = expected_tokens(length, problem.acceptance_rate) if timed else np.zeros((0, 0, 0))
    users, law, numbers = np.zeros(shape, USER), np.zeros(len(lines), LINE), np.zeros(len(problem), NUMBERS)
    users["low"], users["high"] = problem.low, problem.high
    users["draft_time"], users["token_time"] = problem.draft_time, problem.token_time
    users["delay"] = problem.delay
    if problem.curves is not None:
        curves = problem.curves
        users["token_time"], users["snr"], users["whole"], users["edge"] = (
            problem.band_time, curves.snr, curves.whole, curves.edge
        )  # fmt: skip
        numbers["power"], numbers["efficiency_limit"] = 1, getattr(curves.link, "efficiency_limit", 0.0)
    law["start"], law["slope"] = lines.T
    law["first"], law["last"] = np.append(-np.inf, np.ceil(kinks(lines))), np.append(np.floor(kinks(lines)), np.inf)
    numbers["time"], numbers["tpot"], numbers["padded"] = problem.constant_time, problem.tpot, problem.padded
    numbers["repeat_delay"] = problem.repeat_delay
    numbers["cost"] = 0.0 if problem.token_price is None else problem.cost(problem.high).sum(-1)
    if not problem.padded:
        flat, steep = lines[0, 1], lines[-1, 1]
        # a limit on x, of a kink or of a TPOT, counts as if tokens took longer or, for a kink, less time
        limited = timed or len(lines) > 1
        numbers["flattest"] = -8.0 * steep if len(lines) > 1 else 0.0 if timed else flat
        numbers["steepest"] = 8.0 * steep if limited else steep
        numbers["slope_step"] = 2.0 * steep if timed else 0.25 * (steep - flat)
    tokens, pace = (np.ascontiguousarray(np.moveaxis(table, 0, -1)) for table in (tokens, pace))
    return Rounds(tokens, pace, users, law, numbers)
