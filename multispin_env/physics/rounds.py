"""Latency and goodput of a round: the one place where a decision is priced."""

import numpy as np

from multispin_env.checks import FloatArray
from multispin_env.physics.tokens import expected_tokens, sample_tokens
from multispin_env.physics.types import Decision, Outcome, SystemState
from multispin_env.physics.uplink import upload_time
from multispin_env.physics.validation import checked_decision, checked_state
from multispin_env.scenario import Scenario


def goodput(total_tokens: FloatArray, access_latency: FloatArray, verification_time: FloatArray | float) -> FloatArray:
    """G = Σ N_k / (T_ma + T_ver) in tokens/s ([MS] 13).

    Parameters
    ----------
    total_tokens
        Σ_k N_k, expected, drawn or weighted, of any shape.
    access_latency
        T_ma in seconds, of the same shape.
    verification_time
        T_ver in seconds.
    """
    return total_tokens / (access_latency + verification_time)


def price(scenario: Scenario, state: SystemState, decision: Decision, tokens: FloatArray) -> Outcome:
    """Outcome of a round in which device k gains ``tokens[k]``; nothing is checked here.

    The server waits for the last device: T_ma = max_k (L_k T_k + L_k Q / (B_k r_k)) ([MS] 26).
    """
    draft = decision.draft_length * state.draft_time
    upload = upload_time(scenario, decision.draft_length, state.spectral_efficiency, decision.bandwidth)
    access_latency = (draft + upload).max(-1)
    verification_time = scenario.verification_time
    return Outcome(
        goodput=goodput(tokens.sum(-1), access_latency, verification_time),
        tokens=tokens,
        round_latency=access_latency + verification_time,
        draft_time=draft,
        upload_time=upload,
        verification_time=verification_time,
    )


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
        For a bad state or decision, naming the field, the value and what is allowed.
    """
    state, decision = _checked(scenario, state, decision)
    return price(scenario, state, decision, expected_tokens(decision.draft_length, state.acceptance_rate))


def sampled_outcome(scenario: Scenario, state: SystemState, decision: Decision, rng: np.random.Generator) -> Outcome:
    """As `expected_outcome`, with tokens drawn from [MS] (11) by ``rng``."""
    state, decision = _checked(scenario, state, decision)
    return price(scenario, state, decision, sample_tokens(decision.draft_length, state.acceptance_rate, rng))


def _checked(scenario: Scenario, state: SystemState, decision: Decision) -> tuple[SystemState, Decision]:
    state, decision = checked_state(scenario, state), checked_decision(scenario, decision)
    try:
        np.broadcast_shapes(state.draft_time.shape, decision.draft_length.shape)
    except ValueError:
        raise ValueError(
            f"decision: got shape {decision.draft_length.shape}, "
            f"allowed is a shape that broadcasts with the state's {state.draft_time.shape}"
        ) from None
    return state, decision
