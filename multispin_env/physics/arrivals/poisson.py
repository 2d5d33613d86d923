"""Poisson arrivals."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.physics.arrivals.gaps import GapArrivals, GapSource


@dataclass(frozen=True)
class Poisson(GapArrivals):
    """Requests come independently of each other: gaps are exponential.

    Examples
    --------
    >>> import numpy as np
    >>> from multispin_env.physics.arrivals.poisson import Poisson
    >>> more = Poisson().gaps(np.random.default_rng(0), np.array([0.5, 2.0]))
    >>> more(10_000).mean(0).round(1).tolist()
    [2.0, 0.5]
    """

    @override
    def gaps(self, rng: np.random.Generator, rate: FloatArray) -> GapSource:
        return partial(_exponential, rng, rate)


def _exponential(rng: np.random.Generator, rate: FloatArray, rows: int) -> FloatArray:
    return rng.standard_exponential((rows, len(rate))) / rate
