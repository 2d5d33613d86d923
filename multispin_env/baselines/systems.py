"""Goodput of other systems, those of [MS] §VI and more, for comparison."""

from collections.abc import Callable

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_instance
from multispin_env.draft import expected_tokens
from multispin_env.physics.rounds import goodput
from multispin_env.physics.types import SystemState, checked_state
from multispin_env.scenario import Scenario


def p2p_goodput(scenario: Scenario, state: SystemState) -> FloatArray:
    """Return the goodput of P2P-SPIN: one device has all of B, a batch to itself and its best length ([MS] §VI).

    It is the mean over the devices, (...) tokens/s for states (..., K).

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0), size=5)
    >>> ms.baselines.p2p_goodput(scenario, state).shape
    (5,)
    """
    state = checked_state(scenario, state)
    token_latency = state.draft_time + scenario.uplink.shared_token_time(state.spectral_efficiency, 1)
    counts = np.arange(scenario.max_draft_length + 1)
    rest = scenario.uplink.with_wait(_passes_alone(scenario), counts[:, None], np.transpose)
    return _best_alone(scenario, state, token_latency, rest)


def centralized_goodput(scenario: Scenario, state: SystemState) -> FloatArray:
    """Return the goodput of Cen-SPIN: the server drafts and verifies one prompt at a time ([MS] §VI).

    It is the mean over the devices of E[N] / (L T_srv + T_ver(1, L + 1) + T_rtt) with the best L, (...) tokens/s for
    states (..., K). T_srv is the paper's constant (``server_draft_time``); the paper has T_ver = T_fix + T_lin and no
    round trip. Only the acceptance rates of the state are used.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0), size=5)
    >>> ms.baselines.centralized_goodput(scenario, state).shape
    (5,)
    """
    state = checked_state(scenario, state)
    token_latency = np.full_like(state.draft_time, scenario.server_draft_time)
    return _best_alone(scenario, state, token_latency, _passes_alone(scenario))


def autoregressive_goodput(scenario: Scenario, state: SystemState | None = None) -> FloatArray:
    """Return the goodput K / T_ver(K, K), (...) tokens/s, of the server without drafts: one token per device and pass.

    Only the shape (..., K) of ``state`` is used; with ``None`` the result is one number.

    Examples
    --------
    >>> import multispin_env as ms
    >>> scenario = ms.Scenario.preset("qwen3.5", server="a100-32b")
    >>> round(float(ms.baselines.autoregressive_goodput(scenario)))
    658
    """
    check_instance("scenario", scenario, Scenario)
    batch = () if state is None else checked_state(scenario, state).draft_time.shape[:-1]
    return np.full(batch, scenario.autoregressive_goodput)[()]


def colocated_goodput(scenario: Scenario, state: SystemState) -> FloatArray:
    """Return the goodput of a server that hosts both models and drafts for all devices in batches, without uploads.

    It is Σ_k E[N_k | L] / (L T_srv(K) + T_ver(K, K (L + 1))) with the best common L ≥ 0, (...) tokens/s for states
    (..., K). Only the acceptance rates of the state are used.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("qwen3.5", server="a100-32b")
    >>> state = ms.sample_state(scenario, np.random.default_rng(0), size=5)
    >>> bool((ms.baselines.colocated_goodput(scenario, state) >= ms.baselines.autoregressive_goodput(scenario)).all())
    True
    """
    state, lengths = checked_state(scenario, state), np.arange(scenario.max_draft_length + 1)
    return _best_common(scenario, state, colocated_round_time(scenario, scenario.num_users, lengths))


def overlapping_goodput(scenario: Scenario, state: SystemState) -> FloatArray:
    """Return the goodput of a server with a second device that drafts while the server verifies.

    It is Σ_k E[N_k | L] / max(L T_srv(K), T_ver(K, K (L + 1))) with the best common L ≥ 0, (...) tokens/s for states
    (..., K). This is an upper bound, since it assumes that no token drafted during a verification is wasted. Only the
    acceptance rates of the state are used.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("qwen3.5", server="a100-32b")
    >>> state = ms.sample_state(scenario, np.random.default_rng(0), size=5)
    >>> in_turn = ms.baselines.colocated_goodput(scenario, state)
    >>> bool((ms.baselines.overlapping_goodput(scenario, state) >= in_turn).all())
    True
    """
    state = checked_state(scenario, state)
    users, lengths = scenario.num_users, np.arange(scenario.max_draft_length + 1)
    drafting, verifying = scenario.server_drafting_time(lengths, users), scenario.law.time(users, users * (lengths + 1))
    return _best_common(scenario, state, np.maximum(drafting, verifying))


def _best_common(scenario: Scenario, state: SystemState, round_time: FloatArray) -> FloatArray:
    lengths = np.arange(scenario.max_draft_length + 1)
    tokens = expected_tokens(lengths, state.acceptance_rate[..., None]).sum(-2)  # (..., L_max + 1)
    return np.asarray((tokens / round_time).max(-1))[()]


def colocated_round_time(scenario: Scenario, batch: int, draft_length: IntArray) -> FloatArray:
    """Return L T_srv(n) + T_ver(n, n (L + 1)) in s, the time to draft and verify a batch of n, for lengths (l,).

    A draft also takes the scenario's ``server_draft_round_time``.
    """
    return scenario.server_drafting_time(draft_length, batch) + scenario.law.time(batch, batch * (draft_length + 1))


def _passes_alone(scenario: Scenario) -> FloatArray:
    return scenario.law.time(1, np.arange(scenario.max_draft_length + 1) + 1) + scenario.uplink.fixed_wait


def _best_alone(scenario: Scenario, state: SystemState, token_latency: FloatArray, rest: FloatArray) -> FloatArray:
    counts = np.arange(scenario.max_draft_length + 1)
    tokens = expected_tokens(counts, state.acceptance_rate[..., None])  # (..., K, L_max + 1)
    value = goodput(tokens, token_latency[..., None] * counts, rest)
    return np.asarray(value[..., scenario.min_draft_length :].max(-1).mean(-1))[()]


SYSTEMS: dict[str, Callable[[Scenario, SystemState], FloatArray]] = {
    "p2p": p2p_goodput,
    "centralized": centralized_goodput,
    "autoregressive": autoregressive_goodput,
    "colocated": colocated_goodput,
}
"""Goodput functions of the systems that tables compare with controllers, by name."""
