"""Bursty or regular arrivals."""

from dataclasses import dataclass, field

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_real
from multispin_env.physics.arrivals.gaps import GapArrivals, GapSource


@dataclass(frozen=True)
class Gamma(GapArrivals):
    """Gaps follow a gamma law, as in the benchmark of vLLM.

    Its shape changes the variation of the gaps, std / mean = 1 / sqrt(shape), and not their mean. Time 0 is any time
    of the process, not one of a request: the first gap is what is left of one, so that the expected number of
    requests until t is rate · t for every t.

    Parameters
    ----------
    burstiness
        Shape of the law, ≥ 0.001, in the word of vLLM: 1 is `Poisson`, smaller is burstier; default 0.25.
    """

    burstiness: float = 0.25

    def __post_init__(self) -> None:
        check_real("burstiness", self.burstiness, 1e-3, 1e6)  # with less, nearly all gaps are 0 in float64

    @override
    def gaps(self, rng: np.random.Generator, rate: FloatArray) -> GapSource:
        return _GammaGaps(rng, rate, self.burstiness)


@dataclass
class _GammaGaps:
    rng: np.random.Generator
    rate: FloatArray
    shape: float
    first: list[FloatArray] = field(init=False)  # empty once it has been given

    def __post_init__(self) -> None:
        # a gap that holds a given time is longer in proportion to itself, and that time lies anywhere in it
        users = len(self.rate)
        self.first = [self.rng.random(users) * self.rng.standard_gamma(self.shape + 1.0, users)]

    def __call__(self, rows: int) -> FloatArray:
        head = [self.first.pop()] if self.first and rows else []
        drawn = self.rng.standard_gamma(self.shape, (rows - len(head), len(self.rate)))
        return np.concatenate([*([row] for row in head), drawn]) / (self.shape * self.rate)
