"""Poisson arrivals."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.physics.arrivals.gaps import GapArrivals, GapSource


@dataclass(frozen=True)
class Poisson(GapArrivals):
    """Requests come independently of each other: gaps are exponential."""

    @override
    def gaps(self, rng: np.random.Generator, rate: FloatArray) -> GapSource:
        return partial(_exponential, rng, rate)


def _exponential(rng: np.random.Generator, rate: FloatArray, rows: int) -> FloatArray:
    return rng.standard_exponential((rows, len(rate))) / rate
