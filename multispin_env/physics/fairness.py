"""Long-run fairness: discounted throughput, its utility, and an index of equality."""

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.physics.types import Outcome
from multispin_env.scenario import Scenario


def initial_throughput(scenario: Scenario, copies: int) -> FloatArray:
    """Throughput (n, K) that an episode begins with: a token for each user and verification, in tokens/s."""
    return np.full((copies, scenario.num_users), 1.0 / scenario.verification_time)


def discounted_throughput(throughput: FloatArray, outcome: Outcome, window: float) -> FloatArray:
    """R_k ← R_k + (N_k / T_e2e − R_k) / window, arrays (..., K) in tokens/s (ours; as proportional fair scheduling).

    ``window``: rounds ≥ 1 over which the past is forgotten.
    """
    rate = outcome.tokens / outcome.round_latency[..., None]
    return throughput + (rate - throughput) / window


def utility(throughput: FloatArray) -> FloatArray:
    """Σ_k ln R_k (...) for R in tokens/s: its largest value is the proportionally fair one."""
    return np.log(throughput).sum(-1)


def jain_index(throughput: FloatArray) -> FloatArray:
    """Return Jain's index (Σ R_k)² / (K Σ R_k²): 1 if all are equal, 1/K if one has all (Jain et al. 1984).

    Parameters
    ----------
    throughput
        R_k ≥ 0, (..., K), not all 0, in any unit.

    Returns
    -------
    FloatArray
        Index (...) in [1/K, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from multispin_env.physics.fairness import jain_index
    >>> jain_index(np.array([[5.0, 5.0], [5.0, 0.0]]))
    array([1. , 0.5])
    """
    return throughput.sum(-1) ** 2 / (throughput.shape[-1] * (throughput**2).sum(-1))
