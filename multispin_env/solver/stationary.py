"""Stationary point of the relaxed problem (not in the paper; docs/reference/derivations.md, 2).

For a latency φ and a price λ of the total bandwidth, the best real L satisfies y + ln y = z with y = d (φ − L T) / (2
T), d = |ln α| and z = ½ (ln λ + ln φ + d φ / T + C): y is the Wright omega function of z, which does not overflow. Two
equations remain, S = Σ c L / (φ − L T) = 1 and λ P (φ + T_ver) = ΣE with P = Σ c L / (φ − L T)².

With a `Charge`, every drafted token costs κ tokens: ΣE becomes ΣE − κ (x − x₀), and a token must gain κ more. Then y
solves exp(2 y) = κ' + exp(2 z) / y². With only one of the two terms on the right, the root is known; Newton's method
starts from the larger of these roots and increases to the solution.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.draft import TokenLaw
from multispin_env.physics.types import Batched
from multispin_env.solver.equalization import MIN_TIME, equal_latency
from multispin_env.solver.problem import TINY, Problem

_FLAT = 1e-30  # Slopes and determinants below this value are treated as zero
_WIDEST = 650.0  # Largest |ln λ|, so that products with λ do not overflow
_LONGEST_STEP = 2.0  # Largest change of ln λ in a Newton step; a quarter of it for ln φ
_COARSE = 1e-2  # Tolerance of λ while φ is not known
FINE_TOL = 1e-5  # Tolerance next to a jump of the shares and at a kink, where lengths change fast
_CLOSE = 1e-9  # Finest tolerance of a nested search shortly after an end (`cut_point`), where φ − end loses digits
_ROUNDING = 1e-14  # Rounding error of φ − end, relative to φ
_total = np.add.reduce  # `numpy.sum` without its wrapper


@dataclass(frozen=True, eq=False)
class Stationary(Batched):
    """Optimum over real lengths of n instances."""

    length: FloatArray  # L (n, K) tokens
    log_latency: FloatArray  # ln φ (n,)
    log_price: FloatArray  # ln λ (n,)


@dataclass(frozen=True, eq=False)
class Charge(Batched):
    """Cost of drafted tokens in the pass, and the time of the pass at the origin x₀."""

    token: FloatArray | None  # κ (n,) tokens per drafted token; None is 0
    origin: FloatArray | None  # x₀ (n,), number of drafted tokens at which the cost is 0
    time: FloatArray  # (n,) s of the pass at the origin

    def net(self, tokens: FloatArray, length: FloatArray) -> FloatArray:
        """Return tokens (n,) less the cost of lengths (n, K)."""
        if self.token is None or self.origin is None:
            return tokens
        return tokens - self.token * (_total(length, -1) - self.origin)


class _Terms(NamedTuple):
    decay_rate: FloatArray  # d / T (n, K) 1/s
    decay: FloatArray  # d (n, K)
    constant: FloatArray  # C (n, K)
    scarcity: FloatArray | None  # ln κ' at φ = 0, (n, K)
    law: TokenLaw  # of α
    charge: Charge
    steps: int  # Newton steps for y

    def rows(self, rows: IntArray | BoolArray) -> "_Terms":
        scarcity = None if self.scarcity is None else self.scarcity[rows]
        arrays = self.decay_rate[rows], self.decay[rows], self.constant[rows]
        return _Terms(*arrays, scarcity, self.law.rows(rows), self.charge[rows], self.steps)


class _Point(NamedTuple):
    length: FloatArray  # (n, K)
    excess: FloatArray  # ln S
    tilt: FloatArray  # ln(λ P (φ + T_ver) / E)
    excess_p: FloatArray
    excess_q: FloatArray
    tilt_p: FloatArray
    tilt_q: FloatArray


@np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore")  # for extreme numbers
def stationary_point(
    problem: Problem, tolerance: float, charge: Charge, start: tuple[FloatArray, FloatArray] | None = None
) -> Stationary:
    """Maximise (Σ ω E[N] − κ (x − x₀)) / (φ + time) over real lengths in range; the law of the problem is not used.

    ``tolerance`` limits the residuals; ``start`` has initial ln φ and ln λ (n,).
    """
    terms = _terms(problem, charge, 5 if tolerance < 1e-4 else 3)
    p, q = _start(problem, terms.law, charge.time) if start is None else start
    p, q, done = _newton(problem, terms, p, q, tolerance)
    return _complete(problem, terms, p, q, done, tolerance)


@np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore")  # for extreme numbers
def cut_point(
    problem: Problem, tolerance: float, time: FloatArray, start: tuple[FloatArray, FloatArray] | None = None
) -> Stationary:
    """Return `stationary_point` for passes of ``time`` (n,) s, also where many drafts have their maximum length.

    A device can draft L_max tokens if φ exceeds L_max T, called its end. If uploads are short, its share then decreases
    as 1 / (φ − end), and the solution is shortly after one of the ends: Newton's method uses ln(φ − end) in place of
    ln φ. ``start`` should be after the same end.
    """
    terms = _terms(problem, Charge(None, None, time), 5 if tolerance < 1e-4 else 3)
    p, q = _start(problem, terms.law, time) if start is None else start
    p, q, done = _newton(problem, terms, p, q, tolerance, None if start is None else _last_end(problem, p))
    fixed = np.flatnonzero((problem.low == problem.high).all(-1))
    if len(fixed):
        part = problem[fixed]
        latency = equal_latency(part.high, part.draft_time, part.token_time).latency
        p[fixed], q[fixed], done[fixed] = np.log(np.maximum(latency, MIN_TIME)), -_WIDEST, True
    rows = np.flatnonzero(~done)
    if len(rows):
        part, of_part = problem[rows], terms.rows(rows)
        after = _after_an_end(part, of_part, _start(part, of_part.law, of_part.charge.time)[1])
        p[rows], q[rows], done[rows] = _newton(part, of_part, *after, tolerance, _last_end(part, after[0]))
    return _complete(problem, terms, p, q, done, max(tolerance, _CLOSE))


def _complete(
    problem: Problem, terms: _Terms, p: FloatArray, q: FloatArray, done: BoolArray, tolerance: float
) -> Stationary:
    open_rows = np.flatnonzero(~done)
    if len(open_rows):
        p[open_rows], q[open_rows] = _nested(problem[open_rows], terms.rows(open_rows), tolerance)
        used, _ = _excess(problem[open_rows], terms.rows(open_rows), p[open_rows], q[open_rows])
        loose = open_rows[used > tolerance]
        if len(loose) and tolerance > FINE_TOL:
            p[loose], q[loose] = _nested(problem[loose], terms.rows(loose), FINE_TOL)
    return Stationary(_draft(problem, terms, p, q, np.exp(p)[:, None]).length, p, q)


def _last_end(problem: Problem, p: FloatArray) -> FloatArray:
    ends = problem.high * problem.draft_time
    return np.where(ends < np.exp(p)[:, None], ends, 0.0).max(-1)


def _after_an_end(problem: Problem, terms: _Terms, q: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return (ln φ, ln λ) shortly after the last end at which a larger φ is better, by bisection from ln λ = ``q``."""
    ends = problem.high * problem.draft_time
    longest = equal_latency(problem.high, problem.draft_time, problem.token_time).latency
    order, rows = np.argsort(ends, -1), np.arange(len(ends))
    ends = np.take_along_axis(ends, order, -1)
    first, last = np.count_nonzero(ends == 0.0, -1), np.count_nonzero(ends < longest[:, None], -1)
    while (first < last).any():
        middle = np.minimum((first + last) // 2, ends.shape[-1] - 1)
        p = np.log(ends[rows, middle])
        q = _price(problem, terms, p, q, _COARSE)
        rises = _evaluate(problem, terms, p, q).tilt > 0.0
        open_rows = first < last
        first = np.where(open_rows & rises, middle + 1, first)
        last = np.where(open_rows & ~rises, middle, last)
    at = np.maximum(first - 1, 0)
    end = np.where(first > 0, ends[rows, at], 0.0)
    after = np.where(first < ends.shape[-1], ends[rows, np.minimum(first, ends.shape[-1] - 1)], longest)
    device = order[rows, at]
    upload = 4.0 * (problem.token_time * problem.high)[rows, device]  # with a quarter of the band
    p = np.log(end + np.minimum(upload, 0.5 * (np.minimum(after, longest) - end)))
    return p, _price(problem, terms, p, q, _COARSE)


def _terms(problem: Problem, charge: Charge, steps: int) -> _Terms:
    decay = problem.decay
    half_rate = decay / (2.0 * problem.draft_time)
    # ω e'(L) = ω d α^{L+1} / (1 − α); a device with weight zero drafts nothing
    token_gain = np.maximum(problem.weights, TINY) * (decay / -np.expm1(-decay))
    constant = np.log(problem.token_time) + decay - np.log(token_gain) + 2.0 * np.log(half_rate)
    scarcity = None if charge.token is None else np.log(charge.token)[:, None] + decay - np.log(token_gain)
    return _Terms(2.0 * half_rate, decay, constant, scarcity, TokenLaw.of(problem.acceptance_rate), charge, steps)


def _start(problem: Problem, law: TokenLaw, time: FloatArray) -> tuple[FloatArray, FloatArray]:
    length = np.minimum(np.maximum(5.0, problem.low), problem.high)  # a common length, clipped to each range
    drafting = length * problem.draft_time
    uploading = length * problem.token_time
    mean = _total(drafting, -1) / drafting.shape[-1]
    phi = np.maximum(mean + _total(uploading, -1), 1.05 * np.maximum.reduce(drafting + uploading, -1))
    phi = np.maximum(phi, 1e-12 * time)
    slope = _total(uploading / (phi[:, None] - drafting) ** 2, -1)
    tokens = _total(problem.weights * law.expected(length), -1)
    price = tokens / (np.maximum(slope, TINY) * (phi + time))
    return np.log(phi), np.log(np.maximum(price, TINY))


class _Draft(NamedTuple):
    length: FloatArray
    inside: BoolArray  # whether L is inside its range
    rate_phi: FloatArray  # d φ / T
    part: FloatArray | float  # fraction of the required gain of a token that pays for bandwidth
    damped: FloatArray  # −∂L/∂q / part; 0 at an end of the range of L
    per_token: FloatArray  # share per token
    room: FloatArray  # φ − L T in s


def _draft(problem: Problem, terms: _Terms, p: FloatArray, q: FloatArray, column: FloatArray) -> _Draft:
    """Return lengths at (φ, λ) = (e^p, e^q); ``column`` (n, 1) is φ."""
    rate_phi = terms.decay_rate * column
    z = 0.5 * ((p + q)[:, None] + rate_phi + terms.constant)
    part: FloatArray | float = 1.0
    if terms.scarcity is None:
        y = wright_omega(z, terms.steps)
    else:
        y, part = charged_omega(z, terms.scarcity + rate_phi, terms.steps)
    free = column / problem.draft_time - 2.0 * y / terms.decay
    if (large := rate_phi > 1e7).any():  # L = φ / T − 2 y / d would lose too many digits
        m = 0.5 * rate_phi[large]
        s = np.log(m) - 0.5 * ((p + q)[:, None] + terms.constant)[large]
        below, share = omega_below(m, s, None if terms.scarcity is None else terms.scarcity[large])
        y[large], free[large] = m - below, 2.0 * below / terms.decay[large]
        if isinstance(part, np.ndarray):
            part[large] = share
    length = np.minimum(np.maximum(free, problem.low), problem.high)
    room = np.maximum(column - length * problem.draft_time, 1e-9 * column)  # could be negative before convergence
    inside = length == free
    damped = inside * (y / ((part + y) * terms.decay))
    return _Draft(length, inside, rate_phi, part, damped, problem.token_time / room, room)


def _excess(problem: Problem, terms: _Terms, p: FloatArray, q: FloatArray) -> tuple[FloatArray, FloatArray]:
    at = _draft(problem, terms, p, q, np.exp(p)[:, None])
    share = at.per_token * at.length
    used = np.maximum(_total(share, -1), TINY)
    used_q = -_total((at.per_token + share / at.room * problem.draft_time) * (at.damped * at.part), -1)
    return np.log(used), used_q / used


def _evaluate(problem: Problem, terms: _Terms, p: FloatArray, q: FloatArray) -> _Point:
    phi = np.exp(p)
    column = phi[:, None]
    draft = problem.draft_time
    length, inside, rate_phi, part, damped, per_token, room = _draft(problem, terms, p, q, column)
    length_p = inside * (column / draft) - damped * (part + rate_phi)
    damped = damped * part
    room_p = column - draft * length_p
    share = per_token * length
    slope = share / room
    per_token_slope = per_token / room
    used, pull = np.maximum(_total(share, -1), TINY), np.maximum(_total(slope, -1), TINY)
    used_p = _total(per_token * length_p - slope * room_p, -1)
    used_q = -_total((per_token + slope * draft) * damped, -1)
    curve = 2.0 * slope / room
    pull_p = _total(per_token_slope * length_p - curve * room_p, -1)
    pull_q = -_total((per_token_slope + curve * draft) * damped, -1)
    expected = _total(problem.weights * terms.law.expected(length), -1)
    tokens = np.maximum(terms.charge.net(expected, length), TINY)
    token_share = np.exp(q) * phi / tokens  # c ΔL / room² times this is ΔE / E
    total = phi + terms.charge.time
    return _Point(
        length,
        np.log(used),
        q + np.log(pull) + np.log(total) - np.log(tokens),
        used_p / used,
        used_q / used,
        pull_p / pull + phi / total - token_share * _total(per_token_slope * length_p, -1),
        1.0 + pull_q / pull + token_share * _total(per_token_slope * damped, -1),
    )


def _newton(
    problem: Problem, terms: _Terms, p: FloatArray, q: FloatArray, tolerance: float, end: FloatArray | None = None
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Solve for both unknowns by Newton's method; return p, q and a mask of converged rows.

    With ``end`` (n,) in s, a lower bound of φ, the unknowns are ln(φ − end) and ln λ. As φ − end loses digits, so do
    the residuals.
    """
    p, q = p.copy(), q.copy()
    done = np.zeros(len(p), dtype=bool)
    active = np.arange(len(p))
    for _ in range(12):  # presets need 4 to 8; other rows continue with the nested search
        at = _evaluate(problem, terms, p[active], q[active])
        tolerances: FloatArray | float = tolerance
        if end is not None:
            beyond = -np.expm1(np.log(end[active]) - p[active])  # (φ − end) / φ
            tolerances = np.maximum(tolerance, np.minimum(_ROUNDING / beyond, FINE_TOL))
        good = np.maximum(np.abs(at.excess), np.abs(at.tilt)) <= tolerances
        determinant = at.excess_p * at.tilt_q - at.excess_q * at.tilt_p
        determinant = np.where(np.abs(determinant) < _FLAT, _FLAT, determinant)
        step_p = (at.excess * at.tilt_q - at.tilt * at.excess_q) / determinant
        step_q = (at.excess_p * at.tilt - at.tilt_p * at.excess) / determinant
        if end is not None:
            step_p /= beyond
        size = np.maximum(4.0 * np.abs(step_p), np.abs(step_q))
        damping = np.where(good, 0.0, _LONGEST_STEP / np.maximum(size, _LONGEST_STEP))
        p[active] -= damping * step_p if end is None else -np.log1p(beyond * np.expm1(-damping * step_p))
        q[active] -= damping * step_q
        done[active] = good
        if good.any():
            active = active[~good]
            if not len(active):
                break
            problem, terms = problem[~good], terms.rows(~good)
    return p, q, done


def _nested(problem: Problem, terms: _Terms, tolerance: float) -> tuple[FloatArray, FloatArray]:
    """Solve the second equation for φ, with λ from the first; both decrease through zero once. Return p and q."""
    q = np.zeros(len(problem))

    def price(p: FloatArray) -> FloatArray:
        return _price(problem, terms, p, q, 0.1 * tolerance)

    def tilt(p: FloatArray) -> tuple[FloatArray, FloatArray]:
        nonlocal q
        q = price(p)
        at = _evaluate(problem, terms, p, q)
        elastic = np.abs(at.excess_q) > _FLAT
        along = np.where(elastic, at.excess_p / np.where(elastic, at.excess_q, 1.0), 0.0)
        return at.tilt, at.tilt_p - at.tilt_q * along

    shortest = equal_latency(problem.low, problem.draft_time, problem.token_time).latency
    longest = equal_latency(problem.high, problem.draft_time, problem.token_time).latency
    low = np.log(np.maximum(shortest, 1e-12 * terms.charge.time))
    high = np.maximum(np.log(np.maximum(longest, TINY)), low)
    p = _falling_root(tilt, 0.5 * (low + high), low, high, tolerance)
    return p, price(p)


def _price(problem: Problem, terms: _Terms, p: FloatArray, q: FloatArray, tolerance: float) -> FloatArray:
    widest = np.full_like(p, _WIDEST)
    return _falling_root(lambda q: _excess(problem, terms, p, q), q, -widest, widest, tolerance)


def wright_omega(z: FloatArray, steps: int = 5) -> FloatArray:
    """Return y > 0 with y + ln y = z, by Newton's method in ln y from min(z, ln z); relative error about 1e-15."""
    large = z > 1.0
    u = np.where(large, np.log(np.where(large, z, 1.0)), z)
    for _ in range(steps):
        y = np.exp(u)
        u = u - (y + u - z) / (1.0 + y)
    return np.exp(u)


def charged_omega(z: FloatArray, scarcity: FloatArray, steps: int = 5) -> tuple[FloatArray, FloatArray]:
    """Return y > 0 with exp(2 y) = κ' + exp(2 z) / y², ln κ' = ``scarcity``, and the share of the last term."""
    y = np.maximum(np.maximum(0.5 * scarcity, wright_omega(z, steps)), TINY)
    for _ in range(steps):
        target, share = _logarithm(2.0 * (z - np.log(y)), scarcity)
        y = y - (y - 0.5 * target) / (1.0 + share / y)
    return y, _logarithm(2.0 * (z - np.log(y)), scarcity)[1]


def omega_below(m: FloatArray, s: FloatArray, scarcity: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Return u = m − y for y of the equations above, from m and s = m + ln m − z; and the share of the last term.

    For a very large m, y and m agree in most digits, which u keeps: exp(−2 u) = κ' + exp(−2 s) / (1 − u/m)², ln κ' =
    ``scarcity``. Each step divides the error by about m.
    """
    u, share = np.zeros_like(m), np.ones_like(m)
    for _ in range(3):
        last = -2.0 * (s + np.log1p(-np.minimum(u / m, 0.5)))
        target, share = (last, share) if scarcity is None else _logarithm(last, scarcity)
        u = -0.5 * target
    return u, share


def _logarithm(last: FloatArray, scarcity: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ln(κ' + e^last), and the share of the last term in the sum."""
    less = scarcity - last
    ratio = np.exp(-np.abs(less))
    sum_of_both = 1.0 + ratio
    return np.maximum(scarcity, last) + np.log(sum_of_both), np.where(less > 0.0, ratio, 1.0) / sum_of_both


def bracketed_root(
    function: Callable[[FloatArray, IntArray], FloatArray],
    low: FloatArray,
    high: FloatArray,
    ends: tuple[FloatArray, FloatArray],
    tolerance: float,
) -> FloatArray:
    """Return roots (n,) of functions that decrease through zero once, by the Illinois method with bisection.

    ``function`` takes x and row indices (m,); ``ends`` are its values at ``low`` (≥ 0) and ``high`` (≤ 0). A row is
    done when the width of its bracket relative to x, or the value relative to ``ends``, is at most ``tolerance``. A
    bisection follows slow steps.
    """
    low, high, x = low.copy(), high.copy(), high.copy()
    above, below = (np.array(end, dtype=np.float64) for end in ends)
    tolerances = tolerance * np.maximum(above, -below)
    rows = np.flatnonzero((above > 0.0) & (below < 0.0))
    x[above <= 0.0] = low[above <= 0.0]
    slow, side, before = np.zeros(len(x), dtype=bool), np.zeros(len(x)), high - low
    for step in range(1, 201):  # brackets are halved in at least one of four steps
        if not len(rows):
            break
        a, b = low[rows], high[rows]
        middle = a + (b - a) * np.where(slow[rows], 0.5, above[rows] / (above[rows] - below[rows]))
        x[rows] = middle = np.clip(middle, a, b)
        value = function(middle, rows)
        up = value > 0.0
        low[rows], high[rows] = np.where(up, middle, a), np.where(up, b, middle)
        # if an end stays twice, its value is halved, so that the end moves next
        above[rows] = np.where(up, value, np.where(side[rows] < 0.0, 0.5, 1.0) * above[rows])
        below[rows] = np.where(up, np.where(side[rows] > 0.0, 0.5, 1.0) * below[rows], value)
        side[rows] = np.where(up, 1.0, -1.0)
        width = high[rows] - low[rows]
        slow[rows] = False
        if step % 3 == 0:
            slow[rows], before[rows] = width > 0.5 * before[rows], width
        done = (np.abs(value) <= tolerances[rows]) | (width <= tolerance * np.maximum(np.abs(a), np.abs(b)))
        rows = rows[~done]
    return x


def _falling_root(
    function: Callable[[FloatArray], tuple[FloatArray, FloatArray]],
    x: FloatArray,
    low: FloatArray,
    high: FloatArray,
    tolerance: float,
) -> FloatArray:
    before = np.full_like(x, np.inf)
    # if uploads take almost no time, the function has a jump that may be narrower than a fine tolerance
    narrow = tolerance if tolerance >= 1e-6 else 1e-15
    done = high - low <= narrow
    for _ in range(80):  # bisection, unless Newton's step is faster
        value, slope = function(x)
        low = np.where(value > 0.0, x, low)
        high = np.where(value > 0.0, high, x)
        done = done | (np.abs(value) <= tolerance) | (high - low <= narrow)
        if done.all():
            break
        steep = np.abs(slope) > _FLAT
        newton = x - np.where(steep, value, 0.0) / np.where(steep, slope, 1.0)
        fast = steep & (np.abs(value) <= 0.5 * before) & (low < newton) & (newton < high)
        x = np.where(done, x, np.where(fast, newton, 0.5 * (low + high)))
        before = np.where(fast, np.abs(value), np.inf)
    return x
