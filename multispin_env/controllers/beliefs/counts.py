"""Accepted and refused tokens of the present request."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.controllers.estimators.base import visible
from multispin_env.physics.types import Observed


def blank_counts(n: int, num_users: int) -> dict[str, NDArray[Any]]:
    """Counts (n, K) of requests that have seen no round."""
    return {"hits": np.zeros((n, num_users)), "misses": np.zeros((n, num_users))}


def take_counts(
    estimator: str, memory: dict[str, NDArray[Any]], observed: Observed, decay: float = 1.0
) -> tuple[FloatArray, FloatArray]:
    """Add the last round to the counts in ``memory``, and return hits A and misses F, (n, K) (ours).

    A round with a of L drafted tokens accepted has likelihood α^a (1 − α)^[a < L]: a hits, and a miss if a < L. Earlier
    counts are multiplied by ``decay``. A request of age 0 starts from nothing; a hidden age never ends a request.
    """
    drafted = visible(estimator, observed, "drafted")
    accepted = visible(estimator, observed, "accepted")
    same = np.ones(drafted.shape) if observed.age is None else np.where(observed.age > 0, 1.0, 0.0)
    memory["hits"] = same * (decay * memory["hits"] + accepted)
    memory["misses"] = same * (decay * memory["misses"] + (accepted < drafted))
    return memory["hits"], memory["misses"]
