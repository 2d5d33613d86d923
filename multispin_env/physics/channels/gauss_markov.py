"""What an old report says about the gain now, for Gauss–Markov fading h' = ρ h + √(1 − ρ²) w, w ~ CN(0, H̄) (ours)."""

import numpy as np
from scipy.special import chndtrix, ndtri

from multispin_env.checks import FloatArray

LARGE_NONCENTRALITY = 3e3
"""From here on the amplitude is normal to about 1e-6 of the gain, and the exact inverse slow."""


def predictive_mean(gain: FloatArray, mean_gain: FloatArray, correlation: float, rounds: int) -> FloatArray:
    """E[H_t | H_{t−d}] = H̄ + ρ^{2d} (H_{t−d} − H̄) (ours).

    Parameters
    ----------
    gain, mean_gain
        Reported gain H_{t−d} ≥ 0 and mean gain H̄ > 0, broadcast together.
    correlation
        ρ in [0, 1], of the amplitudes of successive rounds.
    rounds
        d ≥ 0, age of the report.
    """
    kept = correlation ** (2 * rounds)
    return kept * gain + (1.0 - kept) * mean_gain


def predictive_quantile(
    probability: float, gain: FloatArray, mean_gain: FloatArray, correlation: float, rounds: int
) -> FloatArray:
    """Gain that H_t stays below with this probability, given H_{t−d} (ours).

    H_t / s is noncentral chi-squared with 2 degrees of freedom and noncentrality ρ^{2d} H_{t−d} / s, where
    s = H̄ (1 − ρ^{2d}) / 2. A certain report (ρ^d = 1) is returned as it is.

    Parameters
    ----------
    probability
        In (0, 1).
    gain, mean_gain, correlation, rounds
        As in `predictive_mean`.
    """
    kept = correlation ** (2 * rounds)
    if kept == 1.0:
        return np.broadcast_to(gain, np.broadcast_shapes(np.shape(gain), np.shape(mean_gain))).copy()
    scale = 0.5 * (1.0 - kept) * mean_gain
    return scale * _chi_squared_quantile(probability, kept * gain / scale)


def _chi_squared_quantile(probability: float, noncentrality: FloatArray) -> FloatArray:
    """Quantile with 2 degrees of freedom; by the normal law of the Rice amplitude where it is next to exact."""
    large = noncentrality > LARGE_NONCENTRALITY
    exact: FloatArray = chndtrix(probability, 2.0, np.where(large, 0.0, noncentrality))
    centre = np.sqrt(np.where(large, noncentrality, 1.0))
    normal = ndtri(probability)
    amplitude = centre + normal + 0.5 / centre - 0.25 * normal / centre**2
    return np.where(large, amplitude**2, exact)
