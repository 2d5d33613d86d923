"""Relaxed optimum: best real draft lengths for every law (not in the paper; docs/reference/derivations.md, 2, 3, 7).

For a flat line, as in the paper's law, it is one stationary point. For a line a + b n, Dinkelbach's iteration charges
κ = b G for every token, where G is the best goodput so far; G increases to the optimum and converges quadratically.
With several lines the optimum is on one of them, between its kinks, or at a kink. At a kink, κ is the charge for which
the best lengths reach the kink exactly, and κ / G is between the slopes of both lines. For padded passes the goodput
has a single peak in the maximum length M, here a real number: it increases as long as the devices whose drafts M limits
gain more from longer drafts than the longer pass costs.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.rounds import goodput
from multispin_env.physics.types import Batched
from multispin_env.server import line_time
from multispin_env.solver.equalization import common_latency, equal_latency
from multispin_env.solver.problem import TINY, Problem, kinks
from multispin_env.solver.stationary import FINE_TOL, Charge, Stationary, bracketed_root, cut_point, stationary_point

_COARSE_STEPS = 2  # Number of first steps of Dinkelbach's iteration that use coarse stationary points
_CORNER = 1e-6  # Relative distance by which the search may miss an end of its range

_LEAST_FACTOR = 0.05  # Smallest latency on a ray, relative to that of the origin
_WINDOW = 64  # Number of lengths of a device, around that of the origin, which are considered on a ray


@dataclass(frozen=True, eq=False)
class Relaxed(Batched):
    """Optimum over real lengths of n instances."""

    length: FloatArray  # L (n, K) tokens
    latency: FloatArray  # φ (n,) s
    price: FloatArray  # λ (n,) tokens per round for twice the bandwidth, to first order
    value: FloatArray  # G (n,) tokens/s
    slope: FloatArray  # (n,) s/token of the line that supports T_ver at the optimum; 0 for flat laws and padded passes

    @classmethod
    def near(cls, problem: Problem, length: FloatArray, value: FloatArray) -> Self:
        """Return a substitute for the optimum where ``length`` (n, K) with goodput ``value`` (n,) is about the best."""
        zeros, latency = np.zeros(len(problem)), problem.latency(length[:, None])[:, 0]
        return cls(np.maximum(length, 0.5), latency, zeros + 1.0, value, zeros)


def relaxed_optimum(problem: Problem, tolerance: float = 1e-12) -> Relaxed:
    """Maximise the goodput over real lengths in range, to residuals of ``tolerance``; the lengths are feasible."""
    if problem.padded:
        return _padded(problem, tolerance)
    return _priced(problem, *_on_lines(problem, tolerance))


@np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore")  # for extreme numbers
def _priced(problem: Problem, at: Stationary, slope: FloatArray) -> Relaxed:
    latency = equal_latency(at.length, problem.draft_time, problem.token_time).latency
    time = problem.verification_time(at.length[:, None])[:, 0]
    value = goodput(problem.expected(at.length).sum(-1), latency, time)
    return Relaxed(at.length, latency, np.exp(at.log_price), value, slope)


@dataclass(frozen=True, eq=False)
class _Points(Batched):
    at: Stationary
    slope: FloatArray

    @classmethod
    def of(cls, problem: Problem) -> Self:
        n = len(problem)
        no_price = np.full(n, -np.inf)  # where no device drafts
        return cls(Stationary(np.zeros(problem.low.shape), np.zeros(n), no_price), np.zeros(n))

    def keep(self, rows: IntArray, at: Stationary, slope: FloatArray) -> None:
        for whole, part in zip((*vars(self.at).values(), self.slope), (*vars(at).values(), slope), strict=True):
            whole[rows] = part


def _on_lines(problem: Problem, tolerance: float) -> tuple[Stationary, FloatArray]:
    """Try lines by rising slope, until the optimum on a line is not above its kink with the next line."""
    if problem.flat:  # this return saves a twentieth of the time of the fast rule
        return _on_line(problem, 0, tolerance)
    points, ends = _Points.of(problem), kinks(problem.lines)
    rows = np.flatnonzero(~is_idle(problem))
    charge = np.zeros(len(rows))
    for j in range(len(problem.lines) if len(rows) else 0):
        part = problem[rows]
        at, cost = _on_line(part, j, tolerance)
        x = at.length.sum(-1)
        before = x < ends[j - 1] if j else np.zeros(len(rows), dtype=bool)
        points.keep(rows, at, np.full(len(rows), problem.lines[j, 1]))
        if before.any():
            bracket = charge[before], cost[before]
            points.keep(rows[before], *_at_kink(part[before], float(ends[j - 1]), *bracket, tolerance))
        beyond = x > ends[j] if j < len(ends) else np.zeros(len(rows), dtype=bool)
        rows, charge = rows[beyond], cost[beyond]
        if not len(rows):
            break
    return points.at, points.slope


def _on_line(problem: Problem, line: int, tolerance: float) -> tuple[Stationary, FloatArray]:
    start, slope = problem.lines[line]
    if slope == 0.0:
        constant = Charge(None, None, problem.constant_time + start)
        return stationary_point(problem, tolerance, constant), np.zeros(len(problem))
    points, value, rows, part = _Points.of(problem), np.zeros(len(problem)), np.arange(len(problem)), problem
    begin = None
    for step in range(30):  # about four are needed
        origin = part.low.sum(-1).astype(np.float64)
        charge = Charge(slope * value[rows], origin, part.constant_time + (start + slope * origin))
        at = stationary_point(part, max(tolerance, 1e-2) if step < _COARSE_STEPS else tolerance, charge, begin)
        time = charge.time + slope * (at.length.sum(-1) - origin)
        better = goodput(part.expected(at.length).sum(-1), np.exp(at.log_latency), time)
        points.keep(rows, at, slope * value[rows])
        going = ~(np.abs(better - value[rows]) <= 10.0 * tolerance * better) | (step < _COARSE_STEPS)
        value[rows] = better
        rows, part, begin = rows[going], part[going], (at.log_latency[going], at.log_price[going])
        if not len(rows):
            break
    return points.at, points.slope


def _at_kink(
    problem: Problem, kink: float, low: FloatArray, high: FloatArray, tolerance: float
) -> tuple[Stationary, FloatArray]:
    tolerance = min(tolerance, FINE_TOL)
    time = problem.constant_time + line_time(problem.lines, np.array(kink))
    points = _Points.of(problem)

    def surplus(token: FloatArray, rows: IntArray) -> FloatArray:
        part = problem[rows]
        charge = Charge(token, np.full(len(rows), kink), time[rows])
        at = stationary_point(part, tolerance, charge)
        net = charge.net(part.expected(at.length).sum(-1), at.length)
        points.keep(rows, at, token / goodput(net, np.exp(at.log_latency), charge.time))
        return at.length.sum(-1) - kink

    every = np.arange(len(problem))
    ends = surplus(low, every), surplus(high, every)
    surplus(bracketed_root(surplus, low, high, ends, tolerance), every)
    return points.at, np.clip(points.slope, problem.lines[0, 1], problem.lines[-1, 1])


def _padded(problem: Problem, tolerance: float) -> Relaxed:
    whole, near = relaxed_longest(problem, tolerance)
    points = _Points.of(problem)
    points.keep(np.arange(len(problem)), Stationary(near.length, np.log(near.latency), np.log(near.price)), whole)

    def excess(longest: FloatArray, rows: IntArray) -> FloatArray:
        part = problem[rows]
        at = _cut(part, longest, tolerance, points[rows])
        points.keep(rows, at, longest)
        return _surplus(part, longest, at)

    every = np.arange(len(problem))
    low, high = np.maximum(whole - 1.0, problem.low.max(-1)), np.minimum(whole + 1.0, problem.high.max(-1))
    ends = excess(low, every), excess(high, every)
    excess(bracketed_root(excess, low, high, ends, tolerance), every)
    return _cornered(problem, points.at, points.slope)


def _cornered(problem: Problem, at: Stationary, longest: FloatArray) -> Relaxed:
    """Evaluate lengths cut at M (n,); lengths close to an end of their range are moved there if that is better.

    Where all lengths are at ends, a range of λ has the same φ, and lengths close to it change fast with φ: the last
    digits of φ change a length by about 1e-9 tokens.
    """
    whole = np.round(longest)
    longest = np.where(np.abs(longest - whole) <= _CORNER * whole, whole, longest)
    low, high = problem.low, np.minimum(problem.high, longest[:, None])
    moved = np.where(at.length - low <= _CORNER * high, low, at.length)
    moved = np.where(high - at.length <= _CORNER * high, high, moved)
    constant = np.zeros(len(problem))
    near, corner = _priced(problem, at, constant), _priced(problem, replace(at, length=moved), constant)
    better = corner.value > near.value
    pairs = zip(vars(near).values(), vars(corner).values(), strict=True)
    return Relaxed(*(np.where(better if a.ndim == 1 else better[:, None], b, a) for a, b in pairs))


def relaxed_longest(problem: Problem, tolerance: float) -> tuple[FloatArray, Relaxed]:
    """Return the integer M (n,) with the best optimum of padded passes, and that optimum.

    The goodput increases up to one M and decreases after it. It is computed from the real lengths themselves, so that
    errors of λ have little effect. The search starts from the best common length; steps double until the peak is
    passed, then bisection follows.
    """
    low, high = problem.low.max(-1).astype(np.float64), problem.high.max(-1).astype(np.float64)
    middle, stride = np.clip(_common_length(problem), low, high), 1.0
    first = np.minimum(np.maximum(middle, 1.0), high)  # an optimum without drafts is no start for other M
    points, rows = _Points.of(problem), np.arange(len(problem))
    points.keep(rows, _cut(problem, first, tolerance), first)
    while len(rows := rows[high[rows] > low[rows]]):
        shorter = np.minimum(middle[rows], high[rows] - 1.0)
        twice, both = np.tile(rows, 2), np.concatenate([shorter, shorter + 1.0])
        part = problem[twice]
        at = _cut(part, both, tolerance, points[twice])
        rises = np.greater(*_priced(part.with_longest(both), at, both).value.reshape(2, -1)[::-1])
        better = np.arange(len(rows)) + np.where(rises, len(rows), 0)
        points.keep(rows, at[better], both[better])
        low[rows], high[rows] = np.where(rises, shorter + 1.0, low[rows]), np.where(rises, high[rows], shorter)
        half = np.floor(0.5 * (low + high))[rows]
        middle[rows] = np.where(rises, np.minimum(shorter + stride, half), np.maximum(shorter - stride, half))
        stride *= 2.0
    return low, _priced(problem, points.at, np.zeros(len(problem)))


def _common_length(problem: Problem) -> FloatArray:
    length = np.arange(float(problem.high.max(initial=0)) + 1.0)
    tokens = problem.expected(np.broadcast_to(length[:, None, None], (len(length), *problem.low.shape))).sum(-1)
    latency = common_latency(problem.draft_time, problem.token_time).latency
    server = problem.constant_time + line_time(problem.lines, problem.low.shape[-1] * length)[:, None]
    return length[goodput(tokens, length[:, None] * latency, server).argmax(0)]


@np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore")  # for extreme numbers
def _cut(problem: Problem, longest: FloatArray, tolerance: float, near: _Points | None = None) -> Stationary:
    """Return the optimum with M = ``longest`` (n,), started from ``near``: latencies are nearly proportional to M."""
    start = None
    if near is not None:
        further = np.log(np.maximum(longest, 0.5) / np.maximum(near.slope, 0.5))
        start = near.at.log_latency + further, near.at.log_price
    part = problem.with_longest(longest)
    return cut_point(part, tolerance, part.constant_time, start)


def _surplus(problem: Problem, longest: FloatArray, at: Stationary) -> FloatArray:
    """Return the gain of a larger M at the optimum ``at``, minus the cost of its time, (n,) tokens per token of M."""
    users = problem.low.shape[-1]
    start, slope = problem.lines.T
    steepest = slope[(start + slope * (users * longest)[:, None]).argmax(-1)]
    time = problem.with_longest(longest).constant_time
    value = goodput(problem.expected(at.length).sum(-1), np.exp(at.log_latency), time)
    return _gain_of_limited(problem, at.length, value, longest) - value * users * steepest


@np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore")  # for extreme numbers
def _gain_of_limited(problem: Problem, length: FloatArray, value: FloatArray, longest: FloatArray) -> FloatArray:
    decay = problem.decay
    value_of_token = problem.weights * (decay / -np.expm1(-decay)) * np.exp(-decay * (length + 1.0))
    # a draft nearly as long as M counts as limited by it; if M does not limit it, its gain is not positive
    held = (length >= 0.999 * longest[:, None]) & (problem.high > longest[:, None])
    surplus = value_of_token - value[:, None] * problem.latency_slopes(length)
    return np.where(held, np.maximum(surplus, 0.0), 0.0).sum(-1)


@np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore")  # for extreme numbers
def is_idle(problem: Problem) -> BoolArray:
    """Return whether the relaxed optimum, and hence the best decision, of instances (n,) has no drafts at all.

    φ(L) is homogeneous of degree 1 and E is concave. So drafting nothing is optimal if and only if no mix of first
    tokens gains more than it costs: max_L Σ g_k L_k / φ(L) ≤ G with g_k = ω α |ln α| / (1 − α) − G b and G = Σ ω /
    T_ver(0).
    """
    can_idle: BoolArray = np.asarray((problem.low == 0).all(-1))
    if not can_idle.any():
        return can_idle
    start, slope = problem.lines[0]  # the highest line at x = 0
    value = problem.weights.sum(-1) / (problem.constant_time + start)
    charge = value * slope
    decay = problem.decay
    gain = problem.weights * (decay / -np.expm1(-decay)) * np.exp(-decay) - charge[:, None]
    return can_idle & (_fastest_earnings(np.where(problem.high > 0, gain, 0.0), problem) <= value)


def _fastest_earnings(gain: FloatArray, problem: Problem) -> FloatArray:
    """Return the largest Σ g s / (c + s T) over shares, (n,).

    The tokens that a device drafts per second are concave in its share, so that the best shares satisfy g c / (c + s
    T)² = λ where they are positive. These are the first devices in order of g / c; λ follows from Σ s = 1.
    """
    gain = np.maximum(gain, 0.0)
    order = np.argsort(-gain / problem.token_time, -1, kind="stable")
    g, c, t = (np.take_along_axis(array, order, -1) for array in (gain, problem.token_time, problem.draft_time))
    # with the first j devices Σ (√(g c / λ) − c) / T = 1
    root_price = (np.sqrt(g * c) / t).cumsum(-1) / (1.0 + (c / t).cumsum(-1))
    served = (root_price * np.sqrt(c) < np.sqrt(g)).sum(-1, keepdims=True)
    last = np.maximum(served - 1, 0)
    price = np.maximum(np.take_along_axis(root_price, last, -1), TINY)
    shares = np.maximum(np.sqrt(g * c) / price - c, 0.0) / t
    return (g * shares / (c + shares * t)).sum(-1)


class Ray(NamedTuple):
    """Points (φ, λ) = f_i (φ₀, λ₀) with f_i = first + i spacing, for n instances."""

    latency: FloatArray  # φ₀ (n,) s
    price: FloatArray  # λ₀ (n,) tokens for the whole budget
    charge: FloatArray  # κ (n,) tokens
    first: FloatArray  # f₀ (n,)
    spacing: FloatArray  # (n,)
    points: int

    @property
    def latencies(self) -> FloatArray:
        """φ of all points, (points, n) s."""
        steps = np.arange(float(self.points))[:, None]
        return self.latency * np.maximum(self.first + self.spacing * steps, _LEAST_FACTOR)


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # for tokens that are never drafted and extreme numbers
def ray_lengths(problem: Problem, ray: Ray, around: FloatArray) -> FloatArray:
    """Return integer lengths (points, n, K) in range that maximise Σ (ω E[N] − κ L) − λ Σ w at every point of a ray.

    They differ from ``around`` (n, K) by at most about half a `_WINDOW`. On the ray, the l-th token is drafted at
    latencies of at least φ_l = T (2 l − 1 + √(1 + 4 l (l − 1) r)) / (2 (1 − r)) with r = (λ / φ) c / (ω α^l − κ), or
    never if r ≥ 1 (docs/reference/derivations.md, 3). Each token is counted at the first point of the ray that includes
    it; the lengths are cumulative sums along the ray.
    """
    width = min(int((problem.high - problem.low).max()), _WINDOW)
    start = np.minimum(np.maximum(np.floor(around) - width // 2, problem.low), problem.high - width)
    start = np.maximum(start, problem.low)
    length = start + np.arange(1.0, width + 1.0)[:, None, None]
    beyond = length > problem.high if (start + width > problem.high).any() else None
    gain = problem.gain(length if beyond is None else np.minimum(length, problem.high)) - ray.charge[:, None]
    ratio = (ray.price / ray.latency)[:, None] * problem.token_time / gain
    taken = (ratio < 1.0) & (gain > 0.0)
    # f_l, in place
    factor = length * (length - 1.0)
    factor *= 4.0 * ratio
    factor += 1.0
    np.sqrt(factor, out=factor)
    factor += 2.0 * length - 1.0
    factor *= 0.5 * problem.draft_time / ray.latency[:, None]
    factor /= 1.0 - ratio
    early = factor <= np.maximum(ray.first, _LEAST_FACTOR)[:, None]
    factor -= ray.first[:, None]
    factor /= ray.spacing[:, None]
    first = np.fmin(np.ceil(factor, out=factor), float(ray.points))
    first[early] = 0.0
    first[~taken if beyond is None else ~taken | beyond] = ray.points
    first *= start.size
    first += np.arange(float(start.size)).reshape(start.shape)
    counts = np.bincount(first.astype(np.intp).ravel(), minlength=(ray.points + 1) * start.size)
    lengths = counts[: ray.points * start.size].reshape(ray.points, *start.shape).astype(np.float64)
    lengths[0] += start
    for i in range(1, ray.points):
        lengths[i] += lengths[i - 1]
    return lengths
