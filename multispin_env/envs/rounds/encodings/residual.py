"""Draft lengths, and how bandwidth differs from the closed form."""

import math

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.envs.rounds.actions import LARGEST_FACTOR, LOG_LARGEST_FACTOR, ActionCodec
from multispin_env.physics.types import Decision, SystemState
from multispin_env.physics.uplink import upload_time

SHARPNESS = 5.0
"""β of ln f(x) = ln(1e4) sinh(β x) / sinh β: slope 0.62 at x = 0, where learned policies work."""

LOG_FACTOR_SCALE = LOG_LARGEST_FACTOR / math.sinh(SHARPNESS)


def residual_factor(x: FloatArray) -> FloatArray:
    """f(x): f(0) = 1, fine near 0, 1e4 and 1e-4 at the ends."""
    grown = np.exp(SHARPNESS * x)  # twice sinh is this minus its inverse: digits lost near 0 don't show in f
    return np.exp((0.5 * LOG_FACTOR_SCALE) * (grown - 1.0 / grown))


def residual_factor_inverse(factor: FloatArray) -> FloatArray:
    """x of `residual_factor`, for factors > 0."""
    return np.arcsinh(np.log(factor) / LOG_FACTOR_SCALE) / SHARPNESS


def log_factor_slope(x: FloatArray) -> FloatArray:
    """Derivative of ln f at x."""
    return LOG_FACTOR_SCALE * SHARPNESS * np.cosh(SHARPNESS * x)


class ResidualCodec(ActionCodec):
    """``"residual"``, (K, 2): log-scale draft length, and a factor on the closed form's bandwidth.

    Bandwidth is the equal-latency root with Q/r_k replaced by (Q/r_k) f(x_k); zero is the closed form. The inverse
    takes φ as the latency of the decision: f_k = (φ − L_k T_k) / upload time, which is 1 for the last device to
    finish and more for the others; where that exceeds 1e4, it takes the largest φ at which all factors are in
    range (any φ above max_k L_k T_k gives the same bandwidths). Factors more than 1e8 apart saturate. A decision
    that leaves bandwidth unused decodes to one that spends all of it.
    """

    columns = 2

    def bandwidth(self, x: FloatArray, length: FloatArray, state: SystemState) -> FloatArray:
        """The equal-latency root, for uploads f(x) times as long."""
        return self.equalized(length, state, residual_factor(x[..., 1]))

    def bandwidth_columns(self, decision: Decision, state: SystemState) -> list[FloatArray]:
        """x of the factors that the decision's bandwidth means."""
        drafting = decision.draft_length * state.draft_time
        uploading = upload_time(self.scenario, decision.draft_length, state.spectral_efficiency, decision.bandwidth)
        nothing = decision.draft_length == 0  # needs no bandwidth, whatever the factor
        latency = (drafting + uploading).max(-1, keepdims=True)
        highest = np.where(nothing, np.inf, drafting + LARGEST_FACTOR * uploading).min(-1, keepdims=True)
        factor = (np.minimum(latency, highest) - drafting) / np.where(nothing, 1.0, uploading)
        return [residual_factor_inverse(np.where(nothing, 1.0, np.maximum(factor, 1.0 / LARGEST_FACTOR)))]

    def bandwidth_slopes(
        self, x: FloatArray, length: FloatArray, state: SystemState, by_bandwidth: FloatArray
    ) -> tuple[FloatArray, list[FloatArray]]:
        """Through the root, and through the factor."""
        slopes = self.equalized_slopes(length, state, residual_factor(x[..., 1]), by_bandwidth)
        return slopes.draft_length, [slopes.log_token_time * log_factor_slope(x[..., 1])]
