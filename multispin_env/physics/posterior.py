"""Distribution of the hidden parts of a state: expected tokens by draft length, or equally likely channels.

Not in the paper. Gains are those of `GaussMarkov` with the same scrambled Sobol set in all states.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.physics.radio import GaussMarkov
from multispin_env.physics.types import Batched


@dataclass(frozen=True, slots=True, eq=False)
class Posterior(Batched):
    """Distribution of what is hidden in n states, given all observations; ``None`` for a part that is known."""

    tokens: FloatArray | None = None  # E[N_k | L] for L = 0..L_max, (n, K, L_max + 1)
    efficiency: FloatArray | None = None  # equally likely spectral efficiencies, (n, S, K) bit/s/Hz


def mixture_tokens(log_weight: FloatArray, a: FloatArray, b: FloatArray, longest: int) -> FloatArray:
    """Return E[N | L] (..., longest + 1) for L = 0..longest and rates α from a mixture of laws Beta(a, b) (..., C)."""
    weight = np.exp(log_weight - log_weight.max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)
    steps = np.arange(longest)
    moments = np.cumprod((a[..., None] + steps) / ((a + b)[..., None] + steps), -1)  # E[α^j], j = 1..longest
    gains = np.add.reduce(weight[..., None] * moments, -2)
    return np.concatenate([np.ones((*gains.shape[:-1], 1)), 1.0 + np.cumsum(gains, -1)], -1)


def predictive_gains(
    gain: FloatArray, mean_gain: FloatArray, correlation: float, rounds: int, draws: int, seed: int
) -> FloatArray:
    """Return equally likely gains H_{t+d} (n, draws, K) given H_t, with the parameters of `predictive_mean`."""
    normals = _sobol_normals(gain.shape[-1], draws, seed)
    return GaussMarkov(correlation**rounds).next_gain(gain[:, None], mean_gain[:, None], normals)


@lru_cache(maxsize=8)
def _sobol_normals(num_users: int, draws: int, seed: int) -> FloatArray:
    from scipy import special, stats  # late: they take longer to import than this package

    uniform = stats.qmc.Sobol(2 * num_users, seed=np.random.default_rng(seed)).random(draws)
    normals: FloatArray = special.ndtri(np.clip(uniform, 1e-12, 1.0 - 1e-12)).reshape(draws, 2, num_users)
    normals.setflags(write=False)
    return normals
