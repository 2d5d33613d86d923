"""Homo-Multi-SPIN: one common draft length ([MS] §IV)."""

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_array, check_integer, require
from multispin_env.controllers.base import RoundsController
from multispin_env.physics.rounds import goodput
from multispin_env.physics.tokens import expected_tokens
from multispin_env.physics.types import Decision, SystemState
from multispin_env.solver.equalization import common_latency
from multispin_env.solver.problem import lengths_in_chunks, user_times


@dataclass(frozen=True, eq=False)
class CommonLength(RoundsController):
    """The best common length with the bandwidth of equal latency ([MS] 20, 21; "Homo-Multi-SPIN").

    ϑ* does not depend on L, and G(L) = Σ_k E[N_k | L] / (L ϑ* + T_ver(L)) is concave over convex, hence unimodal: a
    pass holds K (L + 1) tokens, padded or not. The first L that the next one does not improve is found by halving,
    exactly and for any α_k (ours; for a common α and the paper's law `homogeneous_draft_length` is the closed form).
    """

    @override
    def decide(self, state: SystemState) -> Decision:
        lengths = lengths_in_chunks(self._lengths, state, self.scenario.num_users)
        return self.with_equal_latency(lengths, state)

    def _lengths(self, state: SystemState) -> IntArray:
        scenario = self.scenario
        latency = common_latency(*user_times(scenario, state)).latency

        def value(length: IntArray) -> FloatArray:
            tokens = expected_tokens(length[:, None], state.acceptance_rate)
            server = scenario.pass_time(scenario.num_users, scenario.num_users * (length + 1))
            return goodput(tokens.sum(-1), latency * length, server + scenario.round_trip_time)

        low = np.full(latency.shape, scenario.min_draft_length)
        high = np.full(latency.shape, scenario.max_draft_length)
        for _ in range(int(scenario.max_draft_length).bit_length()):
            middle = (low + high) // 2
            rises = (low < high) & (value(middle + 1) > value(middle))
            low, high = np.where(rises, middle + 1, low), np.where(rises, high, middle)
        return np.broadcast_to(low[:, None], state.draft_time.shape)


def lambert_excess(u: FloatArray) -> FloatArray:
    """s ≥ 0 with s − ln(1 + s) = u, that is −W₋₁(−e^{−1−u}) − 1, for u ≥ 0.

    Works with the logarithm of Lambert's argument, which itself underflows from u ≈ 745 on. Newton falls
    monotonically from the upper bound s ≤ √(2u) + u (Chatzigeorgiou 2013) and needs about six steps.
    """
    s = np.sqrt(2.0 * u) + u
    for _ in range(60):
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(s > 0.0, (s - np.log1p(s) - u) * (1.0 + s) / s, 0.0)
        s = s - step
        if (np.abs(step) <= 4e-16 * (1.0 + s)).all():
            break
    return np.maximum(s, 0.0)


def homogeneous_draft_length(
    acceptance_rate: FloatArray,
    token_latency: FloatArray,
    verification_time: FloatArray | float,
    max_draft_length: int = 25,
) -> IntArray:
    """Return the best common draft length of devices with one common α, in closed form ([MS] 23, 24).

    It solves

        maximise    E[N | L] / (L ϑ* + T_ver)    with E[N | L] = (1 − α^{L+1}) / (1 − α)
        over        integers L in 1..L_max

    The objective has a single peak. With x = T_ver/ϑ*, if x > (1 − α)/(α |ln α|), its real optimum is
    L̃ = −ln(−W₋₁(−α^{x−1}/e))/ln α − 1, and the better of floor and ceiling is optimal. Otherwise L = 1 is optimal.

    Parameters
    ----------
    acceptance_rate
        α in [0, 1].
    token_latency
        ϑ* in s/token, > 0.
    verification_time
        T_ver in s, > 0.
    max_draft_length
        L_max, default 25.

    Returns
    -------
    IntArray
        Lengths, of the broadcast shape of the first three.

    Raises
    ------
    ValueError
        For values out of range. The message names the field, what is expected and the value.

    Examples
    --------
    >>> import numpy as np
    >>> from multispin_env.controllers.rounds.homogeneous import homogeneous_draft_length
    >>> homogeneous_draft_length(np.array([0.5, 0.8, 0.95]), token_latency=0.02, verification_time=0.1)
    array([ 1,  4, 10])
    """
    alpha = check_array("acceptance_rate", acceptance_rate)
    theta = check_array("token_latency", token_latency)
    t_ver = check_array("verification_time", verification_time)
    check_integer("max_draft_length", max_draft_length, 1)
    require("acceptance_rate", alpha, (alpha >= 0.0) & (alpha <= 1.0), "numbers in [0, 1]")
    require("token_latency", theta, theta > 0.0, "numbers > 0")
    require("verification_time", t_ver, t_ver > 0.0, "numbers > 0")
    alpha, theta, t_ver = np.broadcast_arrays(alpha, theta, t_ver)
    inner = (alpha > 0.0) & (alpha < 1.0)
    decay = -np.log(np.where(inner, alpha, 0.5))  # |ln α|
    x = t_ver / theta
    with np.errstate(over="ignore"):  # a subnormal α is as good as none: the threshold is ∞
        threshold = (1.0 - alpha) / np.where(inner, alpha * decay, 1.0)
    long = inner & (x > threshold)
    excess = lambert_excess(np.where(long, (x - 1.0) * decay, 0.0))
    certain = (alpha == 1.0) & (x > 1.0)  # (L + 1) / (L ϑ* + T_ver) rises for ever, or falls
    relaxed = np.where(long, np.log1p(excess) / decay - 1.0, np.where(certain, max_draft_length, 1.0))
    floor = np.clip(np.floor(relaxed), 1, max_draft_length)
    ceiling = np.minimum(floor + 1, max_draft_length)

    def value(length: FloatArray) -> FloatArray:
        return goodput(expected_tokens(length, alpha), length * theta, t_ver)

    return np.where(value(ceiling) > value(floor), ceiling, floor).astype(np.int64)
