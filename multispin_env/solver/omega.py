"""Solutions of y + ln y = z, and of the same equation under a charge (ours)."""

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.solver.problem import TINY


def wright_omega(z: FloatArray, steps: int = 5) -> FloatArray:
    """Y > 0 with y + ln y = z, by Newton in ln y from ln y = min(z, ln z); relative error about 1e-15."""
    large = z > 1.0
    u = np.where(large, np.log(np.where(large, z, 1.0)), z)
    for _ in range(steps):
        y = np.exp(u)
        u = u - (y + u - z) / (1.0 + y)
    return np.exp(u)


def charged_omega(z: FloatArray, scarcity: FloatArray, steps: int = 5) -> tuple[FloatArray, FloatArray]:
    """Y > 0 with exp(2 y) = κ' + exp(2 z) / y², ln κ' = ``scarcity``, and the share of the last term."""
    y = np.maximum(np.maximum(0.5 * scarcity, wright_omega(z, steps)), TINY)
    for _ in range(steps):
        target, share = _logarithm(2.0 * (z - np.log(y)), scarcity)
        y = y - (y - 0.5 * target) / (1.0 + share / y)
    return y, _logarithm(2.0 * (z - np.log(y)), scarcity)[1]


def omega_below(m: FloatArray, s: FloatArray, scarcity: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """U = m − y of the same equations for a very large m, from s = m + ln m − z, and the share of the last term.

    It keeps the digits that y shares with m: exp(−2 u) = κ' + exp(−2 s) / (1 − u/m)², ln κ' = ``scarcity``. Each step
    divides the error by about m.
    """
    u, share = np.zeros_like(m), np.ones_like(m)
    for _ in range(3):
        last = -2.0 * (s + np.log1p(-np.minimum(u / m, 0.5)))
        target, share = (last, share) if scarcity is None else _logarithm(last, scarcity)
        u = -0.5 * target
    return u, share


def _logarithm(last: FloatArray, scarcity: FloatArray) -> tuple[FloatArray, FloatArray]:
    """ln(κ' + e^last), and the share of the last term in the sum."""
    less = scarcity - last
    ratio = np.exp(-np.abs(less))
    sum_of_both = 1.0 + ratio
    return np.maximum(scarcity, last) + np.log(sum_of_both), np.where(less > 0.0, ratio, 1.0) / sum_of_both
