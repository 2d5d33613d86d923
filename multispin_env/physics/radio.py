"""Radio: spectral efficiencies, laws of fading, and prediction from old gains.

A gain is constant during a round ([MS] §VI) or, without the barrier, during a cycle of its device. The paper has
independent gains only; the other laws and the predictions are additions.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_array, check_fields, check_real, checked_field, require
from multispin_env.scenario import Scenario
from multispin_env.units import BITS_PER_NAT

SMALL_SNR = 1e-2  # Below this value, 1 + snr has too few digits of the snr


def spectral_efficiency(scenario: Scenario, channel_gain: FloatArray) -> FloatArray:
    """Return r = log2(1 + p H / N0) in bit/s/Hz for power gains H ([MS] 8), with relative error below 1e-13."""
    snr = np.asarray(scenario.transmit_snr * channel_gain)
    efficiency = np.asarray(1.0 + snr)
    np.log2(efficiency, out=efficiency)  # half the time of log1p without AVX-512
    small = snr < SMALL_SNR
    if np.count_nonzero(small):  # rarely
        efficiency[small] = np.log1p(snr[small]) * BITS_PER_NAT
    return efficiency


def channel_gain(scenario: Scenario, spectral_efficiency: FloatArray) -> FloatArray:
    """Return the power gain H = (2^r − 1) N0 / p for r in bit/s/Hz, the inverse of [MS] (8); exact for small r too."""
    return np.expm1(spectral_efficiency * np.log(2.0)) / scenario.transmit_snr


class Channel(Protocol):
    """Interface of laws of power gains; `CHANNELS` lists their classes.

    Gains and their means are arrays (..., K). Fresh random variables are (..., K), or (..., m, K) with m per gain.
    """

    @property
    def changes(self) -> bool:
        """Whether gains can change; if not, nothing is drawn after the first gain."""

    def draw(self, rng: np.random.Generator, rows: int, num_users: int) -> FloatArray:
        """Draw fresh variables (rows, K) or (rows, m, K), one row per change; two calls for 1 row equal one for 2."""

    def first_gain(self, mean_gain: FloatArray, fresh: FloatArray) -> FloatArray:
        """Return gains H from the stationary law with means H̄."""

    def next_gain(
        self, gain: FloatArray, mean_gain: FloatArray, fresh: FloatArray, elapsed: FloatArray | None = None
    ) -> FloatArray:
        """Return the gains of the next round, or the gains ``elapsed`` seconds (..., K) later."""


@dataclass(frozen=True)
class Independent(Channel):
    """Independent Rayleigh fading: H = |h|² with h ~ CN(0, H̄), exponential with mean H̄ ([MS] §VI)."""

    changes: ClassVar[bool] = True

    @override
    def draw(self, rng: np.random.Generator, rows: int, num_users: int) -> FloatArray:
        return rng.standard_exponential((rows, num_users))

    @override
    def first_gain(self, mean_gain: FloatArray, fresh: FloatArray) -> FloatArray:
        return mean_gain * fresh

    @override
    def next_gain(
        self, gain: FloatArray, mean_gain: FloatArray, fresh: FloatArray, elapsed: FloatArray | None = None
    ) -> FloatArray:
        return self.first_gain(mean_gain, fresh)


INDEPENDENT = Independent()


@dataclass(frozen=True)
class _Static(Independent):
    """Rayleigh fading, drawn once and then constant."""

    changes: ClassVar[bool] = False

    @override
    def next_gain(
        self, gain: FloatArray, mean_gain: FloatArray, fresh: FloatArray, elapsed: FloatArray | None = None
    ) -> FloatArray:
        return gain


STATIC = _Static()


@dataclass(frozen=True)
class GaussMarkov(Channel):
    """Gauss-Markov fading h' = ρ h + sqrt(1 − ρ²) w, w ~ CN(0, H̄), started in the stationary law h ~ CN(0, H̄).

    Only the power gain H = |h|² is stored: a rotation of h and w by the phase of h makes h the real number sqrt(H) and
    does not change the circular law of w. So H' = (ρ sqrt(H) + s w_r)² + (s w_i)² with s² = 1 − ρ² is a step of a
    Markov chain. The correlation of gains is ρ², after d rounds ρ^{2d}. ``ValueError`` for a number out of range.

    Parameters
    ----------
    correlation
        Correlation ρ of h between rounds, in [0, 1]: 0 is `Independent`, 1 a constant gain; default 0.9. In Clarke's
        scattering model, ρ = J0(2π v f_c τ / c) after τ seconds at speed v and carrier frequency f_c.
    coherence_time
        Time τ in seconds, > 0, without the barrier: ρ = exp(−Δt / τ) after Δt seconds; default 0.5.
    """

    changes: ClassVar[bool] = True
    correlation: float = checked_field(0.9, check_real, 0.0, 1.0)
    coherence_time: float = checked_field(0.5, check_real, 0.0, open_low=True)

    def __post_init__(self) -> None:
        check_fields(self)

    @override
    def draw(self, rng: np.random.Generator, rows: int, num_users: int) -> FloatArray:
        return rng.standard_normal((rows, 2, num_users))  # real and imaginary part of w before scaling

    @override
    def first_gain(self, mean_gain: FloatArray, fresh: FloatArray) -> FloatArray:
        return mean_gain * (fresh[..., 0, :] ** 2 + fresh[..., 1, :] ** 2) / 2.0

    @override
    def next_gain(
        self, gain: FloatArray, mean_gain: FloatArray, fresh: FloatArray, elapsed: FloatArray | None = None
    ) -> FloatArray:
        if elapsed is None and self.correlation == 1.0:
            return gain  # the square of the root would drift by rounding
        correlation = self.correlation if elapsed is None else np.exp(-elapsed / self.coherence_time)
        noise = np.sqrt((1.0 - correlation) * (1.0 + correlation) * mean_gain / 2.0)
        real, imaginary = fresh[..., 0, :], fresh[..., 1, :]
        return (correlation * np.sqrt(gain) + noise * real) ** 2 + (noise * imaginary) ** 2


GAUSS_MARKOV = GaussMarkov()


def predictive_mean(
    gain: FloatArray, mean_gain: FloatArray, correlation: FloatArray | float, rounds: IntArray | int
) -> FloatArray:
    """Return E[H_{t+d} | H_t] = H̄ + ρ^{2d} (H_t − H̄), (..., K).

    ``gain``, ``mean_gain``: H_t and H̄, (..., K); ``correlation``: ρ in [0, 1]; ``rounds``: age d ≥ 0 of H_t.
    """
    power = np.asarray(correlation, dtype=np.float64) ** (2 * np.asarray(rounds))
    return mean_gain + power * (gain - mean_gain)


def predictive_quantile(
    probability: FloatArray | float,
    gain: FloatArray,
    mean_gain: FloatArray,
    correlation: FloatArray | float,
    rounds: IntArray | int,
) -> FloatArray:
    """Return the quantile (..., K) of H_{t+d} given H_t at ``probability`` in (0, 1); always finite.

    With s² = 1 − ρ^{2d}, H_{t+d} / (s² H̄ / 2) is noncentral chi-squared with 2 degrees of freedom and
    noncentrality 2 ρ^{2d} H_t / (s² H̄): the squared length of a plane Gaussian vector with mean ρ^d h_t.
    The other parameters are those of `predictive_mean`; at ρ = 1 or d = 0 the quantile is H_t.
    """
    level = check_array("probability", probability)
    require("probability", level, (level > 0.0) & (level < 1.0), "numbers in (0, 1)")
    with np.errstate(divide="ignore", invalid="ignore"):  # ln 0 = −∞ and 0 · −∞ are intended
        log_power = np.where(np.asarray(rounds) == 0, 0.0, 2.0 * np.asarray(rounds) * np.log(correlation))
    scale = -np.expm1(log_power) * mean_gain / 2.0
    centre = np.exp(log_power) * gain
    known = scale <= np.finfo(np.float64).tiny * np.maximum(centre, 1.0)  # the gain has not changed since the report
    unit = np.where(known, 1.0, scale)
    return np.where(known, centre, unit * _chi_squared_quantile(level, np.where(known, 0.0, centre / unit)))


def _chi_squared_quantile(probability: FloatArray, noncentrality: FloatArray) -> FloatArray:
    from scipy import special

    large = noncentrality > 1e4  # from here on the expansion agrees with scipy's inverse to about 1e-7
    exact = special.chndtrix(probability, 2.0, np.where(large, 0.0, noncentrality))
    # X = (a + n₁)² + n₂² with a = √λ: the expansion of √X in 1/a has an error of order a⁻³
    root = np.sqrt(np.where(large, noncentrality, 1.0))
    normal = special.ndtri(probability)
    expanded = (root + normal + 0.5 / root - normal / (4.0 * root**2)) ** 2
    return np.where(large, expanded, exact)
