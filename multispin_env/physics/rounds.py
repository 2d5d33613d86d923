"""Rounds: random states, outcomes of decisions and fairness.

`round_outcome` is the only function that computes the outcome of a decision.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from multispin_env.arrays import FloatArray, IntArray, Rng
from multispin_env.checks import check_instance, check_integer, check_rng
from multispin_env.draft import expected_tokens
from multispin_env.physics.acceptance import Acceptance
from multispin_env.physics.chains import drafting_time
from multispin_env.physics.energy import Batteries
from multispin_env.physics.radio import Channel, spectral_efficiency
from multispin_env.physics.tokens import sample_tokens
from multispin_env.physics.types import (
    Batched,
    Decision,
    Outcome,
    RealDecision,
    SystemState,
    checked_decision,
    checked_state,
)
from multispin_env.registry import ACCEPTANCES, CHANNELS
from multispin_env.scenario import Scenario


def goodput(total_tokens: FloatArray, access_latency: FloatArray, verification_time: FloatArray | float) -> FloatArray:
    """Return G = Σ N_k / (T_ma + T_ver) in tokens/s ([MS] 13) from tokens and times in s."""
    return total_tokens / (access_latency + verification_time)


def round_outcome(
    scenario: Scenario, state: SystemState, decision: Decision | RealDecision, tokens: FloatArray
) -> Outcome:
    """Return the outcome of a round in which device k gains ``tokens[k]``; arguments are not checked.

    The server waits for the last device: T_ma = max_k (L_k T_k + L_k Q / (B_k r_k)) ([MS] 26); head starts A_k reduce
    the drafting time to (L_k − A_k)^+ T_k. A round lasts T_ma + T_ver + T_rtt; the paper has no round trip. Devices
    that draft also wait for ``access_delay``. If any device drafts, the round waits for the repetitions of its uploads,
    on average `Uplink.repeat_delay`.
    """
    uplink, draft_length = scenario.uplink, np.asarray(decision.draft_length, dtype=np.float64)
    draft = drafting_time(scenario, draft_length, state.draft_time, state.head_start)
    upload = uplink.upload_time(draft_length, state.spectral_efficiency, decision.bandwidth)
    ready = uplink.with_access(draft + upload, draft_length)
    access_latency = np.maximum.reduce(ready.T.copy(), 0).T  # a third of the time of the last axis
    if draft_length.shape != ready.shape:
        draft_length = np.broadcast_to(draft_length, ready.shape)
    verifying = scenario.law.pass_time(draft_length)
    return Outcome(
        total_tokens=np.add.reduce(tokens, -1),
        tokens=tokens,
        round_latency=access_latency + uplink.with_round_wait(verifying, draft_length),
        draft_time=draft,
        upload_time=upload,
        ready_time=ready,
        verification_time=verifying,
    )


def expected_outcome(scenario: Scenario, state: SystemState, decision: Decision) -> Outcome:
    """Return the outcome of a decision with expected tokens E[N_k | L_k] ([MS] 12, 13).

    Arrays (..., K) of state and decision are broadcast together. ``ValueError`` for a bad state or decision.

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
    return round_outcome(scenario, state, decision, expected_tokens(decision.draft_length, state.acceptance_rate))


def sampled_outcome(scenario: Scenario, state: SystemState, decision: Decision, rng: Rng) -> Outcome:
    """Return the outcome of a decision with tokens drawn from [MS] (11), and drawn repetitions of uploads.

    ``rng`` is a generator or a seed.

    Shapes and errors are those of `expected_outcome`.

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
    rng = check_rng("rng", rng)
    tokens = sample_tokens(decision.draft_length, state.acceptance_rate, rng)
    outcome = round_outcome(scenario, state, decision, tokens)
    if not scenario.uplink.repeat_delay:
        return outcome
    return with_repetitions(scenario, outcome, decision.draft_length, rng.random(tokens.shape))


def with_repetitions(scenario: Scenario, outcome: Outcome, draft_length: IntArray, uniforms: FloatArray) -> Outcome:
    """Return an outcome with drawn repetitions instead of their mean, from uniform variables (..., K) in [0, 1).

    The uploads of device k are repeated G_k times, P(G_k ≥ j) = p^j, and the round waits for the largest number.
    """
    extra = scenario.uplink.drawn_repeats(uniforms, draft_length)
    return outcome.changed(round_latency=outcome.round_latency + extra)


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


UNIFORMS_PER_USER = 3  # Uniform variables per device, for draft time, mean gain and task


@dataclass(frozen=True, slots=True, eq=False)
class Users(Batched):
    """Devices of an episode, arrays (..., K)."""

    draft_time: FloatArray  # T_k after the scenario's context, s/token
    mean_gain: FloatArray  # H̄_k
    task: IntArray  # index into scenario.tasks
    draft_energy: FloatArray | None = None  # J, with a fleet
    fleet_row: IntArray | None = None  # with a fleet


def users_from_uniforms(scenario: Scenario, uniforms: FloatArray) -> Users:
    """Map uniform variables (..., 3, K) in [0, 1) to devices, by `Devices.draw`, and their tasks."""
    draft, gain, task = (uniforms[..., i, :] for i in range(UNIFORMS_PER_USER))
    drawn = scenario.devices.draw(draft, gain)._asdict()
    return Users(task=(task * len(scenario.tasks)).astype(np.int64), **drawn)


@dataclass(frozen=True)
class Dynamics:
    """Processes of channels, acceptance and batteries between rounds."""

    channel: Channel
    acceptance: Acceptance
    batteries: Batteries | None = None

    @classmethod
    def of(cls, scenario: Scenario) -> Self:
        """Make the dynamics named by a scenario."""
        return cls(CHANNELS.load(scenario.channel), ACCEPTANCES.load(scenario.acceptance))


def sample_devices(scenario: Scenario, rng: np.random.Generator, size: int, rows: int = 1) -> tuple[Users, SystemState]:
    """Draw new devices (size · rows, K), each ``rows`` times, with their first gains and requests ([MS] §VI)."""
    dynamics, num_users = Dynamics.of(scenario), scenario.num_users
    uniforms = np.repeat(rng.random((size, UNIFORMS_PER_USER, num_users)), rows, 0)
    if rows > 1 and dynamics.acceptance.changes:  # new requests have new tasks
        uniforms[:, -1] = rng.random((size * rows, num_users))
    users, size = users_from_uniforms(scenario, uniforms), size * rows
    gain = dynamics.channel.first_gain(users.mean_gain, dynamics.channel.draw(rng, size, num_users))
    fresh = rng.random((size, dynamics.acceptance.columns, num_users))
    requests = dynamics.acceptance.first(scenario, users.task, fresh)
    efficiency = spectral_efficiency(scenario, gain)
    return users, users.into(SystemState, spectral_efficiency=efficiency, acceptance_rate=requests.rate)


def sample_state(scenario: Scenario, rng: Rng, size: int | None = None) -> SystemState:
    """Draw independent random states: new devices with their first gains and requests ([MS] §VI).

    Arrays are (size, K), or (K,) without ``size``. ``ValueError`` for an argument of a wrong type or size.

    Parameters
    ----------
    rng
        A ``numpy.random.Generator`` or a seed for ``numpy.random.default_rng``.
    size
        Number of states; ``None`` for one state without a batch axis.

    Examples
    --------
    >>> import multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> ms.sample_state(scenario, 0, size=5).draft_time.shape
    (5, 3)
    """
    check_instance("scenario", scenario, Scenario)
    rng = check_rng("rng", rng)
    count = 1 if size is None else check_integer("size", size, 0)
    _, state = sample_devices(scenario, rng, count)
    return state[0] if size is None else state


def initial_throughput(scenario: Scenario, num_envs: int) -> FloatArray:
    """Return the throughput (n, K) in tokens/s at the start of an episode: one token per user and T_ver of a round."""
    return np.full((num_envs, scenario.num_users), 1.0 / scenario.verification_time)


def discounted_throughput(throughput: FloatArray, outcome: Outcome, window: float) -> FloatArray:
    """Return R_k + (N_k / T_e2e − R_k) / window, (..., K) in tokens/s (as in proportional fair scheduling).

    ``window``: time constant of the average in rounds, ≥ 1.
    """
    rate = outcome.tokens / outcome.round_latency[..., None]
    return throughput + (rate - throughput) / window


def utility(throughput: FloatArray) -> FloatArray:
    """Return Σ_k ln R_k (...) for R in tokens/s; its maximum is the proportionally fair solution."""
    return np.log(throughput).sum(-1)


def jain_index(throughput: FloatArray) -> FloatArray:
    """Return Jain's index (Σ R_k)² / (K Σ R_k²), (...): 1 for equal rates, 1/K if one user has all (Jain et al. 1984).

    Parameters
    ----------
    throughput
        R_k ≥ 0, (..., K), not all 0, in any unit.

    Examples
    --------
    >>> import numpy as np
    >>> from multispin_env.physics.rounds import jain_index
    >>> jain_index(np.array([[5.0, 5.0], [5.0, 0.0]]))
    array([1. , 0.5])
    """
    return throughput.sum(-1) ** 2 / (throughput.shape[-1] * (throughput**2).sum(-1))
