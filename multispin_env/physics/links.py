"""Links: rate of a share of the band as a concave curve (not in the paper, whose link is `Density`).

With the share b of the band B, a device sends R(b) B bit/s. As R is increasing and concave with R(0) = 0, the share w
of a draft that must be sent in t seconds, R(w) = bits / (B t), increases with the bits, is convex and decreases in t,
and depends on bits / t only. The certified optimum needs nothing else (docs/reference/derivations.md, 9 to 12).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.physics.types import Batched
from multispin_env.scenario import Scenario

_LARGEST_EXPONENT = 300.0  # ln(1 + SNR) above which the SNR is taken as exp(300), about 1e130: products stay finite
_SMALLEST_SNR = 1e-12  # Over the whole band, for the same reason: below it, a double does not hold R'(1)
_RATE_ERROR = 5e-13  # Relative rounding error that `Link.rate` may have; log2(1 + x) has it for x down to 4e-4
_STEP = 1e-4  # Relative step of a difference quotient
_SLOPE_ERROR = 2.0 * _RATE_ERROR / _STEP  # Rounding error of a difference quotient, relative to R(b) / b
_LEAST_PART = 1e-12  # Smallest share relative to rate / R(1), which is the largest
_BISECTIONS, _NEWTON_STEPS = 8, 6


class Link(ABC):
    """Base class of links: the rate R(b) of a device with the share b of the band, and its inverse.

    A link of your own implements `rate`, and is registered with ``registry.LINKS.register(name, link)``; docs/extend.md
    has an example. `registry.LINKS.register` raises ``ValueError`` (for a string, the first use does) for a curve that
    does not increase, or that is not concave unless the class says so, on a grid of 2,001 shares from 1e-6 to 1: a
    test, not a proof.
    """

    concave: ClassVar[bool] = True
    """Whether `rate` is concave in the share; if not, the environments work, but the optimum is refused."""
    constant_density: ClassVar[bool] = False
    """Whether R(b) = b r, as with constant power per hertz; shares and times are then closed forms, without `rate`."""

    @abstractmethod
    def rate(self, share: FloatArray, snr: FloatArray) -> FloatArray:
        """Return R(b) in bit/s per Hz of the whole band; arrays are broadcast together.

        Parameters
        ----------
        share
            b in (0, 1].
        snr
            Signal-to-noise ratio of the device when it sends with all its power over the whole band.
        """

    def slope(self, share: FloatArray, snr: FloatArray) -> FloatArray:
        """Return R'(b) or more; the default is a backward difference, not below R' for a concave rate.

        Its margin covers relative errors of `rate` up to 5e-13: for low signal-to-noise ratios, write ``log1p(x)``.
        """
        rate = self.rate(share, snr)
        step = _STEP * share
        return np.maximum(rate - self.rate(share - step, snr), 0.0) / step + _SLOPE_ERROR * rate / share

    def inverse(self, rate: FloatArray, snr: FloatArray) -> FloatArray:
        """Return the share b with R(b) = ``rate`` ≤ R(1), 0 for 0; the default approaches it from below."""
        sends, whole = rate > 0.0, self.rate(np.ones_like(rate), snr)
        rate = np.where(sends, rate * (1.0 - _RATE_ERROR), whole)
        most = rate / whole
        low, high = np.full_like(most, np.log(_LEAST_PART)), np.zeros_like(most)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            above = self.rate(most * np.exp(middle), snr) > rate
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        share = most * np.exp(low)
        for _ in range(_NEWTON_STEPS):  # a tangent of a concave curve ends left of the root
            share = share + np.maximum(rate - self.rate(share, snr), 0.0) / self.slope(share, snr)
        return np.where(sends, np.minimum(share, 1.0), 0.0)

    def allocate(self, rate: FloatArray, snr: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return `inverse` and the derivative of the share with respect to ln ``rate``, not more than the true one."""
        share = self.inverse(rate, snr)
        return share, rate / self.slope(np.where(share > 0.0, share, 1.0), snr)

    def snr(self, scenario: Scenario, spectral_efficiency: FloatArray) -> FloatArray:
        """Return the signal-to-noise ratios over the whole band, for the efficiency r over ``power_bandwidth``."""
        snr = np.expm1(np.minimum(spectral_efficiency * np.log(2.0), _LARGEST_EXPONENT))
        return np.maximum(snr * (scenario.power_bandwidth / scenario.total_bandwidth), _SMALLEST_SNR)

    def of(self, scenario: Scenario) -> Self:
        """Return this link with its numbers from the fields of a scenario; the default has none."""
        return self

    def verify(self) -> None:
        """Raise ``ValueError`` if a rule for `rate`, `slope` or `inverse` is broken on a grid of shares."""
        share = np.geomspace(1e-6, 1.0, 2001)
        for level in (1e-3, 1.0, 1e3):
            snr = np.full(share.shape, level)
            rate = np.asarray(self.rate(share, snr), dtype=np.float64)
            _demand(rate.shape == share.shape, "rates of the shape of the shares", f"{rate.shape}", level)
            _demand(np.isfinite(rate).all() and (rate > 0.0).all(), "finite rates > 0", "others", level)
            rises = "a rate that rises with the share (for a staircase of modulations, its concave envelope)"
            _demand((np.diff(rate) > 0.0).all(), rises, "one that does not rise", level)
            linear = not self.constant_density or np.allclose(rate, share * np.log2(1.0 + snr), rtol=1e-9, atol=0.0)
            _demand(linear, "the rate b r, or constant_density = False on the class", "another", level)
            if not self.concave:
                continue
            chords = np.diff(np.append(0.0, rate)) / np.diff(np.append(0.0, share))
            falls = "a rate that is concave in the share, or concave = False on the class"
            _demand((np.diff(chords) <= 1e-7 * chords[:-1]).all(), falls, "one that is not concave", level)
            slope, (inverse, growth) = self.slope(share, snr), self.allocate(rate, snr)
            inner, ahead = share[:-1], share[:-1] * (1.0 + _STEP)
            least = (self.rate(ahead, snr[:-1]) - rate[:-1]) / (ahead - inner) - _SLOPE_ERROR * rate[:-1] / inner
            between = (slope[:-1] >= least).all() and (slope <= chords * (1.0 + 1e-6)).all()
            _demand(between, "slopes between those of the chords", "others", level)
            _demand((np.abs(inverse - share) <= 1e-8 * share).all(), "the inverse rate", "another", level)
            _demand((growth[:-1] * least <= rate[:-1]).all(), "growth of at most R / R'", "more", level)
            _demand((growth >= inverse * (1.0 - 1e-6)).all(), "growth of at least the share", "less", level)
            for i in range(0, len(share), 97):
                row = slice(i, i + 1)
                alone = self.rate(share[row], snr[row]), *self.allocate(rate[row], snr[row])
                batch = rate[row], inverse[row], growth[row]
                same = all(np.array_equal(*pair) for pair in zip(alone, batch, strict=True))
                _demand(same, "the same numbers for a device alone as in a batch", "others", level)


def _demand(holds: Any, expected: str, actual: str, snr: float) -> None:
    if not holds:
        raise ValueError(f"link: expected {expected}, got {actual} at a signal-to-noise ratio of {snr:g}")


class Density(Link):
    """Constant power per hertz ([MS] 8): R(b) = b r, with the spectral efficiency r of any share."""

    constant_density = True

    @override
    def rate(self, share: FloatArray, snr: FloatArray) -> FloatArray:
        return share * np.log2(1.0 + snr)

    @override
    def snr(self, scenario: Scenario, spectral_efficiency: FloatArray) -> FloatArray:
        return np.expm1(np.minimum(spectral_efficiency * np.log(2.0), _LARGEST_EXPONENT))


@dataclass(frozen=True)
class Power(Link):
    """Constant total power: R(b) = b min(r_max, log2(1 + c / b)), with the signal-to-noise ratio c over the whole band.

    With v = R ln 2 / c < 1, x = c / b is the positive solution of ln(1 + x) = v x. It is (s + 1 − v) / v, where
    s − ln(1 + s) = v − 1 − ln v, a branch of the Lambert W function.

    Parameters
    ----------
    efficiency_limit
        r_max in bit/s/Hz; 0: none. It is that of the scenario.
    """

    efficiency_limit: float = 0.0

    @override
    def of(self, scenario: Scenario) -> Self:
        return replace(self, efficiency_limit=scenario.efficiency_limit)

    @override
    def rate(self, share: FloatArray, snr: FloatArray) -> FloatArray:
        efficiency = np.log1p(snr / share) / np.log(2.0)
        return share * (np.minimum(efficiency, self.efficiency_limit) if self.efficiency_limit else efficiency)

    @override
    def slope(self, share: FloatArray, snr: FloatArray) -> FloatArray:
        ratio = snr / share
        log = np.log1p(ratio)
        efficiency, slope = log / np.log(2.0), _log_gap(ratio / (1.0 + ratio), -log) / np.log(2.0)
        limit = self.efficiency_limit
        return np.where(efficiency < limit, slope, limit) if limit else slope

    @override
    def inverse(self, rate: FloatArray, snr: FloatArray) -> FloatArray:
        return self.allocate(rate, snr)[0]

    @override
    def allocate(self, rate: FloatArray, snr: FloatArray) -> tuple[FloatArray, FloatArray]:
        v = np.minimum(rate * (np.log(2.0) / snr), 1.0 - 1e-15)
        distance = 1.0 - v
        with np.errstate(divide="ignore", invalid="ignore"):  # without a draft
            excess = lambert_excess(_log_gap(distance, np.log(v)))
            share = snr * v / (excess + distance)
            growth = share * (1.0 + 1.0 / excess)
        idle = v == 0.0
        share, growth = np.where(idle, 0.0, share), np.where(idle, 0.0, growth)
        if not self.efficiency_limit:
            return share, growth
        capped = rate / self.efficiency_limit
        return np.maximum(share, capped), np.where(capped > share, capped, growth)


DENSITY, POWER = Density(), Power()


def _log_gap(d: FloatArray, log: FloatArray) -> FloatArray:
    """Return −d − ln(1 − d) with all digits near d = 0; ``log`` is ln(1 − d)."""
    gap = np.asarray(-d - log)
    near = np.abs(d) < 0.03
    if np.count_nonzero(near):
        d = np.asarray(d)[near]
        series = np.zeros_like(d)
        for k in range(12, 1, -1):
            series = series * d + 1.0 / k
        gap[near] = series * d * d
    return gap


def lambert_excess(u: FloatArray) -> FloatArray:
    """Return s ≥ 0 with s − ln(1 + s) = u for u ≥ 0, which is −W₋₁(−e^{−1−u}) − 1, to about 1e-15.

    This equation contains the logarithm of the argument of W₋₁, which itself would underflow from u ≈ 745 on. The
    result takes two of Halley's steps from s = u + ln(1 + u + √(2u)).
    """
    s = np.asarray(u + np.log1p(u + np.sqrt(2.0 * u)))
    for _ in range(2):
        divisor = np.where(s > 0.0, s, 1.0)
        part = (_log_gap(-s, np.log1p(s)) - u) / divisor
        s = s - 2.0 * part * (1.0 + s) / (2.0 - part / divisor)
    return s


@dataclass(frozen=True, eq=False)
class RateCurves(Batched):
    """Rate curves of devices: a concave link at their signal-to-noise ratios, continued above b = 1 by a tangent.

    The tangent keeps the curves concave, so that shares above 1, which no decision has, are finite and convex too.
    """

    unbatched: ClassVar[tuple[str, ...]] = ("link",)

    link: Link
    snr: FloatArray  # (..., K), over the whole band
    whole: FloatArray  # (..., K) R(1)
    edge: FloatArray  # (..., K) R'(1)

    @classmethod
    def of(cls, scenario: Scenario, spectral_efficiency: FloatArray) -> "RateCurves | None":
        """Return the curves of devices (..., K); ``None`` for `Density`, whose shares and times are closed forms.

        ``ValueError`` for a link that is not concave.
        """
        if scenario.uplink.constant_density:
            return None
        scenario.uplink.require_concave()
        link: Link = scenario.uplink.rate_law
        snr = link.snr(scenario, spectral_efficiency)
        ones = np.ones_like(snr)
        return cls(link, snr, link.rate(ones, snr), link.slope(ones, snr))

    def allocate(self, rate: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the shares (..., K) for rates R ≥ 0, and their derivatives with respect to ln R, not too large."""
        beyond = np.maximum(rate - self.whole, 0.0)
        share, growth = self.link.allocate(np.minimum(rate, self.whole), self.snr)
        if not np.count_nonzero(beyond):
            return share, growth
        return share + beyond / self.edge, np.where(beyond > 0.0, rate / self.edge, growth)
