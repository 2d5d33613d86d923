"""Latency and goodput of a round: the one place where a decision is priced; slopes and `largest` are ours."""

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.physics.tokens import expected_tokens, sample_tokens
from multispin_env.physics.types import Decision, Outcome, RealDecision, SystemState
from multispin_env.physics.uplink import upload_time
from multispin_env.physics.validation import checked_decision, checked_state
from multispin_env.physics.verification import verification_slopes, verification_time
from multispin_env.scenario import Scenario

FEWEST_NUMBERS, MOST_USERS = 1_000, 64
"""Where `largest` turns arrays round; with fewer numbers or longer rows that takes longer than it saves."""


def goodput(total_tokens: FloatArray, access_latency: FloatArray, verification_time: FloatArray | float) -> FloatArray:
    """G = Σ N_k / (T_ma + T_ver) in tokens/s ([MS] 13), from tokens expected, drawn or weighted, and times in s."""
    return total_tokens / (access_latency + verification_time)


def largest(array: FloatArray) -> FloatArray:
    """Maximum over users, (...) of (..., K): what ``array.max(-1)`` gives, for many short rows in a third of the time.

    NumPy compares rows with each other faster than the entries of each; a maximum is exact in any order.
    """
    if array.size < FEWEST_NUMBERS or array.shape[-1] > MOST_USERS:
        result: FloatArray = np.maximum.reduce(array, -1)
        return result
    result = np.maximum.reduce(np.ascontiguousarray(array.T), 0).T
    return result


def price(scenario: Scenario, state: SystemState, decision: Decision | RealDecision, tokens: FloatArray) -> Outcome:
    """Outcome of a round in which device k gains ``tokens[k]``; nothing is checked here.

    The server waits for the last device: T_ma = max_k (L_k T_k + L_k Q / (B_k r_k)) ([MS] 26). A round lasts
    T_ma + T_ver + T_rtt; the paper has no round trip.
    """
    draft_length = np.asarray(decision.draft_length, dtype=np.float64)
    draft = draft_length * state.draft_time
    upload = upload_time(scenario, draft_length, state.spectral_efficiency, decision.bandwidth)
    latency = draft + upload
    access_latency = largest(latency)
    if draft_length.shape != latency.shape:
        draft_length = np.broadcast_to(draft_length, latency.shape)
    verified = verification_time(scenario, draft_length)
    rest = verified + scenario.round_trip_time if scenario.round_trip_time else verified
    return Outcome(
        goodput=goodput(np.add.reduce(tokens, -1), access_latency, rest),
        tokens=tokens,
        round_latency=access_latency + rest,
        draft_time=draft,
        upload_time=upload,
        verification_time=verified,
    )


def slopes(
    scenario: Scenario, decision: RealDecision, outcome: Outcome, token_slope: FloatArray, weights: FloatArray | float
) -> RealDecision:
    """Derivatives of Σ_k ω_k N_k / T_e2e by lengths and bandwidths (..., K), at a decision that `price` has priced.

    By L_k, tokens grow with ``token_slope``, E[N_k]'; the verification by its own slope; and the latency of the device
    that the server waits for, the first of these if there are several, by T_k + Q / (B_k r_k). With B_k that latency
    grows by −L_k Q / (B_k² r_k). A device without a draft or without bandwidth is not waited for. ``weights``: ω.
    """
    latency = outcome.draft_time + outcome.upload_time
    last = np.arange(latency.shape[-1]) == latency.argmax(-1)[..., None]
    total = outcome.round_latency[..., None]
    rates = np.add.reduce(weights * outcome.tokens, -1)[..., None] / total
    waited = np.where(last, rates / total, 0.0)
    length, bandwidth = (np.where(x > 0.0, x, 1.0) for x in (decision.draft_length, decision.bandwidth))
    won = weights * token_slope / total - rates / total * verification_slopes(scenario, decision.draft_length)
    return RealDecision(won - waited * latency / length, waited * outcome.upload_time / bandwidth)


def expected_outcome(scenario: Scenario, state: SystemState, decision: Decision) -> Outcome:
    """Price a decision with expected tokens E[N_k | L_k] ([MS] 12, 13).

    Parameters
    ----------
    scenario
        The system.
    state
        Arrays (..., K).
    decision
        Arrays (..., K); broadcast against the state.

    Returns
    -------
    Outcome
        Goodput in tokens/s (...), tokens, draft and upload times in s (..., K), round latency in s (...).

    Raises
    ------
    ValueError
        For a bad state or decision. The message names the field, what is expected and the value.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=2)
    >>> state = ms.SystemState(np.full(2, 0.012), np.full(2, 6.0), np.full(2, 0.5))
    >>> decision = ms.Decision(np.array([1, 2]), np.full(2, scenario.total_bandwidth / 2))
    >>> ms.expected_outcome(scenario, state, decision).tokens
    array([1.5 , 1.75])
    """
    state, decision = _checked(scenario, state, decision)
    return price(scenario, state, decision, expected_tokens(decision.draft_length, state.acceptance_rate))


def sampled_outcome(scenario: Scenario, state: SystemState, decision: Decision, rng: np.random.Generator) -> Outcome:
    """Price a decision as `expected_outcome` does, with tokens that ``rng`` draws from [MS] (11).

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=2)
    >>> state = ms.SystemState(np.full(2, 0.012), np.full(2, 6.0), np.array([0.0, 1.0]))
    >>> decision = ms.Decision(np.array([3, 3]), np.full(2, scenario.total_bandwidth / 2))
    >>> ms.sampled_outcome(scenario, state, decision, np.random.default_rng(0)).tokens
    array([1., 4.])
    """
    state, decision = _checked(scenario, state, decision)
    return price(scenario, state, decision, sample_tokens(decision.draft_length, state.acceptance_rate, rng))


def _checked(scenario: Scenario, state: SystemState, decision: Decision) -> tuple[SystemState, Decision]:
    state, decision = checked_state(scenario, state), checked_decision(scenario, decision)
    try:
        np.broadcast_shapes(state.draft_time.shape, decision.draft_length.shape)
    except ValueError:
        raise ValueError(
            f"decision: expected a shape that broadcasts with the state's {state.draft_time.shape}, "
            f"got {decision.draft_length.shape}"
        ) from None
    return state, decision
