"""Integer lengths along the ray of latencies and prices, without a root or a logarithm (ours; docs/optimum.md, 3).

At latency φ device k needs the share w_k(l) = c_k l / (φ − l T_k) for l tokens, increasing and convex in l, while the
l-th token gains ω_k α_k^l, decreasing in l, and costs κ in the pass. At a price λ it is drafted if and only if

    (ω α^l − κ) (φ − l T) (φ − (l − 1) T) ≥ λ c φ,

and the tokens that are drafted are those up to some l. On the ray λ / φ is constant. There, with
r = (λ / φ) c / (ω α^l − κ), the l-th token is drafted from the latency on at which (φ − l T) (φ − (l − 1) T) = r φ²:

    φ_l = T (2 l − 1 + √(1 + 4 l (l − 1) r)) / (2 (1 − r)),        or never if r ≥ 1.

Each token is put into the first point of the ray that takes it; sums along the ray are the lengths.
"""

from typing import NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.solver.problem import Problem

LEAST_FACTOR = 0.05  # Points of the ray to the left of this part of its origin count as if they were there
WINDOW = 64  # Lengths of a device that are told apart, around those of the origin


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
        return self.latency * np.maximum(self.first + self.spacing * steps, LEAST_FACTOR)


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # tokens that are never drafted, and absurd numbers
def ray_lengths(problem: Problem, ray: Ray, around: FloatArray) -> FloatArray:
    """Whole lengths (points, n, K) in range that maximise Σ (ω E[N] − κ L) − λ Σ w at every point of a ray.

    They differ from ``around`` (n, K) by less than half a `WINDOW`.
    """
    width = min(int((problem.high - problem.low).max()), WINDOW)
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
    early = factor <= np.maximum(ray.first, LEAST_FACTOR)[:, None]
    factor -= ray.first[:, None]
    factor /= ray.spacing[:, None]
    first = np.fmin(np.ceil(factor, out=factor), float(ray.points))
    first[early] = 0.0
    first[~taken if beyond is None else ~taken | beyond] = ray.points
    first *= start.size
    first += np.arange(float(start.size)).reshape(start.shape)
    found = np.bincount(first.astype(np.intp).ravel(), minlength=(ray.points + 1) * start.size)
    lengths = found[: ray.points * start.size].reshape(ray.points, *start.shape).astype(np.float64)
    lengths[0] += start
    for i in range(1, ray.points):
        lengths[i] += lengths[i - 1]
    return lengths
