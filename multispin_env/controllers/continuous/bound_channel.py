"""A channel that is drawn for each cycle, as a few states that no policy finds worse (ours)."""

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.physics.radio import full_share_token_time, spectral_efficiency
from multispin_env.scenario import Scenario
from multispin_env.solver.problem import LONGEST, SHORTEST

STATES = 24
"""m, states that stand for the fading law."""

DEEPEST = 1e-3
"""Share of cycles in the deepest fades, which count as the best of them: their mean air time is infinite."""


def fading_states(scenario: Scenario, mean_gain: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Air times u (K, m) of a token and their probabilities p (K, m), for mean gains H̄ (K,).

    The first state is u = 0. A cycle between two states counts as a share of each, so that the mean of u stays. Deeper
    fades than the last state count as that state.
    """
    levels = (1.0 - DEEPEST) * (1.0 - np.linspace(1.0, 0.0, STATES)[1:] ** 2)  # P(x > x_i) of H / H̄
    ends = -np.log(levels)  # falling
    times = _token_time(scenario, mean_gain, ends)
    above, heavy = np.polynomial.laguerre.laggauss(64)
    means, masses = [_token_time(scenario, mean_gain, ends[0] + above) @ heavy], [levels[0]]  # E[u | x > x_0]
    points, weights = np.polynomial.legendre.leggauss(64)
    for low, high in zip(np.log(ends[1:]), np.log(ends[:-1]), strict=True):
        gain = np.exp(low + (high - low) * (points + 1.0) / 2.0)
        weight = weights * (high - low) / 2.0 * gain * np.exp(-gain)
        masses.append(weight.sum())
        means.append(_token_time(scenario, mean_gain, gain) @ weight / weight.sum())
    times, mass = np.insert(times, 0, 0.0, axis=1), np.array(masses)
    upper = (np.stack(means, axis=1) - times[:, :-1]) / np.diff(times) * mass
    probability = np.zeros_like(times)
    probability[:, :-1] += mass - upper
    probability[:, 1:] += upper
    probability[:, -1] += 1.0 - mass.sum()  # deeper fades
    return times, probability


def _token_time(scenario: Scenario, mean_gain: FloatArray, gain: FloatArray) -> FloatArray:
    efficiency = spectral_efficiency(scenario, mean_gain[:, None] * gain)
    with np.errstate(over="ignore", divide="ignore"):
        return np.clip(full_share_token_time(scenario, efficiency), SHORTEST, LONGEST)
