"""Sensitivities: derivatives of the optimal goodput by each resource (not in the paper)."""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.types import SystemState, checked_state
from multispin_env.scenario import Scenario
from multispin_env.solver.certify import certified_lengths, usual_tolerance
from multispin_env.solver.problem import checked_problem


@dataclass(frozen=True, slots=True, eq=False)
class Sensitivities:
    """Optimum and its derivatives by the resources of the system, for the best lengths.

    Parameters
    ----------
    goodput
        Optimum G, (...) tokens/s: each second saved in a round gains G tokens.
    draft_length
        Best draft lengths, (..., K) tokens.
    access_latency
        Latency φ of the access, (...) s.
    bandwidth_price
        Price λ of bandwidth, (...) tokens: gain per round from doubling the bandwidth, to first order.
    total_bandwidth
        ∂G / ∂B, (...) tokens/s/Hz.
    snr_db
        ∂G / ∂ (signal-to-noise ratio of a device), (..., K) tokens/s/dB.
    verification_time
        ∂G / ∂T_ver, negative, (...) tokens/s/s.
    token_time
        ∂G / ∂b, negative, (...) tokens/s/(s/token), where b is the time of a pass for each of its tokens.
    draft_time
        ∂G / ∂T_k, not positive, (..., K) tokens/s/s.
    """

    goodput: FloatArray
    draft_length: IntArray
    access_latency: FloatArray
    bandwidth_price: FloatArray
    total_bandwidth: FloatArray
    snr_db: FloatArray
    verification_time: FloatArray
    token_time: FloatArray
    draft_time: FloatArray


def sensitivities(scenario: Scenario, state: SystemState, weights: FloatArray | None = None) -> Sensitivities:
    """Return the optimum and its derivatives by the resources of the system.

    The problem is that of `multispin_env.controllers.rounds.optimal.Optimal` with weights ω (..., K) ≥ 0, ``None``
    meaning 1. Lengths are held constant at the best ones and the best bandwidths follow; at a state where other lengths
    are as good, the derivatives to both sides differ, and these are those of the returned lengths.

    With c = Q / (B r), S(φ) = Σ c L / (φ − L T) = 1 and P = −S', a change of the shares by dS changes φ by dS / P, and
    a change of φ by dφ changes G by −G dφ / (φ + T_ver + T_rtt). A change of T_ver has the same effect; it is n db for
    a pass of n tokens, also at a kink, where all pieces give the same time. Units are SI: multiply by 1e6 for one
    megahertz, by 1e-3 for one millisecond. ``ValueError`` for a bad state or bad weights, for a link other than
    ``"density"``, delays and repeated uploads.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0))
    >>> rates = ms.sensitivities(scenario, state)
    >>> more = scenario.replace(total_bandwidth=scenario.total_bandwidth + 1e3)
    >>> change = ms.sensitivities(more, state).goodput - rates.goodput
    >>> bool(np.isclose(change, 1e3 * rates.total_bandwidth, rtol=1e-3))
    True
    """
    state = checked_state(scenario, state)
    scenario.uplink.require_paper("for sensitivities")
    shape = state.draft_time.shape
    problem = checked_problem(scenario, state, weights)
    best = certified_lengths(problem, usual_tolerance(shape[-1]))
    goodput, length = best.value, best.lengths
    latency, share = problem.finish_together(length)
    drafts = length > 0.0
    room = np.where(drafts, problem.token_time * length, 1.0) / np.where(drafts, share, 1.0)  # φ − L T with all digits
    slope = share / room
    pull = np.where(drafts.any(-1), slope.sum(-1), np.inf)  # without drafts their resources have no effect
    total = latency + problem.verification_time(length[:, None])[:, 0]
    tokens = scenario.law.tokens(length, length.shape[-1])
    share_value = (goodput / (total * pull))[:, None]  # gain per unit of share
    efficiency = state.spectral_efficiency.reshape(length.shape)
    per_db = -np.expm1(-efficiency * np.log(2.0)) * (np.log(10.0) / 10.0) / np.log(2.0)  # dr / d dB
    batch = shape[:-1]
    return Sensitivities(
        goodput=goodput.reshape(batch),
        draft_length=length.astype(np.int64).reshape(shape),
        access_latency=latency.reshape(batch),
        bandwidth_price=(goodput / pull).reshape(batch),
        total_bandwidth=(share_value[:, 0] * share.sum(-1) / scenario.total_bandwidth).reshape(batch),
        snr_db=(share_value * share * per_db / efficiency).reshape(shape),
        verification_time=(-goodput / total).reshape(batch),
        token_time=(-goodput / total * tokens).reshape(batch),
        draft_time=(-share_value * slope * length).reshape(shape),
    )
