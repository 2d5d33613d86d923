"""Arrivals whose rate goes up and down."""

from dataclasses import dataclass, field

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_real
from multispin_env.physics.arrivals.gaps import GapArrivals, GapSource


@dataclass(frozen=True)
class Ramp(GapArrivals):
    """Poisson arrivals whose rate goes up in a line, and down again, in every period (ours).

    The rate of a device is rate · m(t), where m goes from ``low`` / c to ``high`` / c in half a period and back in the
    other half. c = (``low`` + ``high``) / 2 makes its mean 1, so the mean rate of whole periods is that of the
    workload. Times are exact: those of a Poisson process of rate 1, through the inverse of M(t) = ∫ m.

    Parameters
    ----------
    low, high
        Least and largest rate, relative to each other and, if their mean is 1, to the mean rate: 0 ≤ low ≤ high,
        high > 0; default 0.5 and 1.5.
    period
        Seconds up and down; default 60.
    phase
        Where in its period an episode begins, in [0, 1): 0, the default, at ``low`` on the way up, 0.5 at ``high``.
        ``None``: drawn uniformly for each episode.
    """

    low: float = 0.5
    high: float = 1.5
    period: float = 60.0
    phase: float | None = 0.0

    def __post_init__(self) -> None:
        check_real("low", self.low, 0.0, 1e6)
        check_real("high", self.high, max(self.low, 1e-6), 1e6)
        check_real("period", self.period, 1e-3, 1e9)
        if self.phase is not None:
            check_real("phase", self.phase, 0.0, 1.0, open_high=True)

    @override
    def gaps(self, rng: np.random.Generator, rate: FloatArray) -> GapSource:
        phase = rng.random() if self.phase is None else self.phase
        return _RampGaps(rng, rate, self, phase * self.period)

    def integrated(self, time: FloatArray) -> FloatArray:
        """M(t) in s: requests until t of a device with rate 1, for t (...) from the start of a period on."""
        whole, inside = np.divmod(time, self.period)
        half = self.period / 2.0
        up = self._rise(np.minimum(inside, self.period - inside))
        return whole * self.period + np.where(inside <= half, up, self.period - up)

    def inverse(self, area: FloatArray) -> FloatArray:
        """The time t (...) with M(t) = ``area``; the same down as up, from the other end."""
        whole, inside = np.divmod(area, self.period)
        below = np.minimum(inside, self.period - inside)
        start, slope = self._line
        # the root of start · t + slope · t² / 2 = below, written so that nothing cancels
        root = start + np.sqrt(start**2 + 2.0 * slope * below)
        up = 2.0 * below / np.where(root > 0.0, root, 1.0)
        return whole * self.period + np.where(inside <= self.period / 2.0, up, self.period - up)

    @property
    def _line(self) -> tuple[float, float]:
        """m at the start of a period, and how it rises a second."""
        centre = (self.low + self.high) / 2.0
        return self.low / centre, (self.high - self.low) / centre / (self.period / 2.0)

    def _rise(self, time: FloatArray) -> FloatArray:
        start, slope = self._line
        return start * time + slope * time**2 / 2.0


@dataclass
class _RampGaps:
    rng: np.random.Generator
    rate: FloatArray
    ramp: Ramp
    begin: float  # s from the start of a period
    used: FloatArray = field(init=False)  # M at the last request of each device
    last: FloatArray = field(init=False)  # its time in s

    def __post_init__(self) -> None:
        self.last = np.full(len(self.rate), self.begin)
        self.used = self.ramp.integrated(self.last)

    def __call__(self, rows: int) -> FloatArray:
        steps = self.rng.standard_exponential((rows, len(self.rate))) / self.rate
        used = np.cumsum(np.concatenate([self.used[None], steps]), axis=0)
        times = np.concatenate([self.last[None], self.ramp.inverse(used[1:])])
        self.used, self.last = used[-1], times[-1]
        return np.maximum(np.diff(times, axis=0), 0.0)  # the inverse of neighbours may fall by rounding
