"""Extreme instances for solvers, with verification laws by tokens."""

from dataclasses import fields
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.draft import PAYLOADS
from multispin_env.physics.types import SystemState
from multispin_env.registry import SERVERS
from multispin_env.scenario import Scenario

RATES = np.array([0.0, 0.01, 0.3, 0.7, 0.9, 0.99, 0.999, 1.0])


def hostile_instance(
    rng: np.random.Generator, num_users: int | None = None, max_decisions: int = 2000
) -> tuple[Scenario, SystemState, FloatArray]:
    """Scenario, state and weights with parameters over many decades."""
    num_users = int(rng.integers(1, 5)) if num_users is None else num_users
    longest = int(max_decisions ** (1.0 / num_users))
    low = int(rng.integers(0, 2))
    scenario = Scenario.preset(
        str(rng.choice(["llama2", "qwen3.5"])),
        num_users=num_users,
        total_bandwidth=float(10.0 ** rng.uniform(5.0, 8.3)),
        min_draft_length=low,
        max_draft_length=int(rng.integers(1, min(40, longest) + 1)),
        kept_probabilities=int(rng.choice([1, 64, 1024])),
        verification_fixed_time=float(10.0 ** rng.uniform(-3.0, 0.5)),
    )
    snr = 10.0 ** rng.uniform(-2.0, 4.0, num_users)
    state = SystemState(10.0 ** rng.uniform(-3.0, 0.0, num_users), np.log2(1.0 + snr), rng.choice(RATES, num_users))
    if rng.random() < 0.2:  # identical users
        state = SystemState(
            *(np.full(num_users, x[0]) for x in (state.draft_time, state.spectral_efficiency, state.acceptance_rate))
        )
    weights = rng.choice([0.0, 1.0, 1.0, 1e3], num_users) if rng.random() < 0.5 else np.ones(num_users)
    return scenario, state, weights


def hostile_law(rng: np.random.Generator, scenario: Scenario, pieces: int, padded: bool = False) -> Scenario:
    """The scenario with a law of one or two pieces over many decades, with a kink where decisions can reach it."""
    users = scenario.num_users
    tokens = rng.uniform(users, users * (scenario.max_draft_length + 1))
    fixed = scenario.verification_fixed_time
    steep = fixed * float(10.0 ** rng.uniform(-3.0, 1.0)) / tokens
    law = [(fixed, steep)]
    if pieces == 2:
        flat = steep * float(rng.choice([0.0, 0.1, 0.7]))
        law = [(fixed + (steep - flat) * tokens, flat), (fixed, steep)]
    paper = bool(rng.random() < 0.3)
    scenario = scenario.replace(
        verification_fixed_time=0.1 * fixed if paper else 0.0,
        verification_time_per_draft=0.02 * fixed if paper else 0.0,
        verification_pieces=((0.0, 1.0),),
        padded_verification=padded,
        round_trip_time=float(rng.choice([0.0, 0.02, 0.3])),
    )
    return unchecked(scenario, verification_pieces=tuple(law))


def unchecked(part: Any, **changes: Any) -> Any:
    """A scenario or controller with numbers for its solvers that are implausible in their units."""
    changed = object.__new__(type(part))
    vars(changed).update({field.name: getattr(part, field.name) for field in fields(part)} | changes)
    return changed


def hostile_tpot_instance(rng: np.random.Generator) -> tuple[Scenario, SystemState, FloatArray, float]:
    """Scenario, state and weights in which the time of a pass often has steep tokens, and the place of a TPOT.

    The TPOT is between the least possible (0) and that of the optimum without one (1).
    """
    users = int(rng.choice([2, 3, 3, 4, 4]))
    steep = 10.0 ** rng.uniform(-2.5, -0.7)
    pieces = [(float(rng.choice([0.0, 10.0 ** rng.uniform(-4.5, -0.5)])), steep)]
    for _ in range(int(rng.choice([0, 0, 1, 2]))):  # flatter pieces, which are larger for few tokens
        start, slope = pieces[-1]
        flat = slope * float(rng.choice([0.0, 0.1, 0.5, 0.9]))
        pieces.append((start + (slope - flat) * rng.uniform(users, 6.0 * users), flat))
    scenario = Scenario.preset(
        "llama2",
        num_users=users,
        total_bandwidth=float(10.0 ** rng.uniform(5.8, 8.5)),
        min_draft_length=int(rng.integers(0, 2)),
        max_draft_length=int(rng.integers(2, {2: 19, 3: 8, 4: 5}[users])),
        kept_probabilities=int(rng.choice([1, 64, 1024])),
        verification_fixed_time=0.0,
        verification_time_per_draft=0.0,
        verification_pieces=tuple(pieces),
        padded_verification=bool(rng.random() < 0.1),
        round_trip_time=float(rng.choice([0.0, 0.0, 0.01])),
    )
    rates = RATES if rng.random() < 0.3 else np.array([0.0, 0.9, 0.99])
    snr = 10.0 ** rng.uniform(-2.0, 4.0, users)
    state = SystemState(10.0 ** rng.uniform(-3.0, -0.5, users), np.log2(1.0 + snr), rng.choice(rates, users))
    weights = rng.choice([0.0, 1.0, 1.0, 1e3], users) if rng.random() < 0.3 else np.ones(users)
    return scenario, state, weights, float(rng.uniform(0.0, 1.0) ** 2)


def extreme_instance(rng: np.random.Generator) -> tuple[Scenario, SystemState]:
    """Valid scenario and state far from any network: token times of the uplink from huge to nearly zero."""

    def decades(low: float, high: float, size: int) -> FloatArray:
        spread = rng.choice([0.0, 0.3, 2.0, 12.0])
        return 10.0 ** np.clip(rng.uniform(low, high) + spread * rng.uniform(-1.0, 1.0, size), low, high)

    servers = ("", "", "", "", *SERVERS.names())
    users = int(rng.choice([1, 2, 3, 4, 6, 8, 12, 20, 40], p=[0.04, 0.12, 0.15, 0.15, 0.18, 0.18, 0.12, 0.04, 0.02]))
    scenario = Scenario.preset(
        str(rng.choice(["llama2", "qwen3.5"])),
        num_users=users,
        total_bandwidth=float(10.0 ** rng.uniform(3.0, 9.0)),
        server=servers[rng.integers(len(servers))],
        min_draft_length=int(rng.integers(0, 2)),
        max_draft_length=int(rng.integers(1, 65)),
        payload=str(rng.choice(list(PAYLOADS))),
    )
    if not scenario.server and rng.random() < 0.5:
        scenario = hostile_law(rng, scenario, int(rng.integers(1, 3)), padded=bool(rng.random() < 0.5))
    uniform, certain = rng.uniform(0.0, 0.9999, users), 1.0 - 10.0 ** rng.uniform(-4.0, 0.0, users)
    rates = (uniform, certain, np.full(users, uniform[0]))[rng.integers(0, 3)]
    return scenario, SystemState(decades(-5.0, 1.0, users), decades(-9.0, 1.0, users), rates)
