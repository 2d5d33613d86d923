"""Stored decisions of rules that search.

A change that should alter decisions stores new ones, by
``python -m tests.controllers.continuous.test_stored_decisions``.
"""

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.continuous.groups import batch_decision
from multispin_env.controllers.continuous.launch import Launch, fit, fit_ratio
from multispin_env.controllers.continuous.under_way import Background
from multispin_env.physics.continuous.averages import seeded_core
from multispin_env.physics.continuous.core import ContinuousSystem
from tests.envs.continuous.played import BUSY

STORED = Path(__file__).with_name("stored_decisions.npz")
NUM_ENVS, STEPS = 32, 7
FEW = np.arange(8)  # environments for slow searches, one of each age
SYSTEMS = {
    "paper": {},
    "narrow": {"total_bandwidth": 2e6, "draft_time_spread": 0.0},
    "tokens": {"server": "a100-32b"},
    "padded": {"verification_pieces": ((0.0, 0.001),), "padded_verification": True},
    "empty drafts, round trip": {"min_draft_length": 0, "round_trip_time": 0.02},
    "ahead": {"draft_ahead": True, "server": "a100-32b", "total_bandwidth": 5e6},
    "requests": {},
}
CASES = list(itertools.product(SYSTEMS, (8, 20)))


def scenario_of(system, users):
    return ms.Scenario.preset("llama2", num_users=users, channel="independent", **SYSTEMS[system])


@cache
def met(system, users):
    """Return a state (n, K) after 0 to 7 batches of three groups with random lengths, some drafts not waited for."""
    scenario, rng = scenario_of(system, users), np.random.default_rng(users)
    requests = BUSY if system == "requests" else None
    core = seeded_core(ContinuousSystem.of(scenario, workload=requests), NUM_ENVS, 0, drawn=requests is not None)
    core.reset()
    turn = np.arange(users) % 3
    for step in range(STEPS):
        state = core.state
        batch = state.batch[:, None]
        aim = np.where(state.starting, np.where(batch == 0, turn, batch + 2), state.aim)
        length = rng.integers(scenario.min_draft_length, 10, aim.shape)
        ignored = (rng.random(aim.shape) < 0.1) | ~state.busy
        core.step(batch_decision(state, length, aim, ignored, np.zeros_like(ignored)), np.arange(NUM_ENVS) % 8 == step)
    return core.state


def _ratio(launch):
    return fit_ratio(launch, np.zeros_like(launch.starts))


def launch_of(scenario, state, rows=slice(None)):
    """Return a launch of all free devices for the batch after the next, at random prices and head starts."""
    rng = np.random.default_rng(0)
    if scenario.draft_ahead:
        state = state.changed(head_start=rng.uniform(0.0, 8.0, state.phase.shape))
    work = Background.of(scenario, state, rng.random(state.phase.shape) < 0.1)
    weight, rho = rng.uniform(0.5, 2.0, state.phase.shape), rng.uniform(20.0, 300.0, NUM_ENVS)
    starts = state.phase == ms.physics.Phase.FREE
    rows = np.flatnonzero(starts.any(-1))[rows]
    background, due = work[rows].up_to(1), work[rows].due(1)
    return Launch.of(
        scenario, state[rows], starts[rows], background, due, rho[rows], air_price=10.0, weight=weight[rows]
    )


SEARCHES = {
    "fit": lambda *system: fit(launch_of(*system)),
    "fit, thorough": lambda *system: fit(launch_of(*system, FEW), thorough=True),
    "fit_ratio": lambda *system: _ratio(launch_of(*system, FEW)),
}
WEIGHTS = np.linspace(0.5, 2.0, 20)
RULES = {
    "synchronous": lambda _: {},
    "groups": lambda _: {"groups": 2},
    "groups+deadlines": lambda users: {"groups": 3, "weights": WEIGHTS[:users], "air_price": 20.0, "delay_weight": 0.5},
    "prices": lambda _: {},
    "prices+deadlines": lambda _: {"ahead": 3, "size": 0.36, "server_price": 0.5, "penalty": 0.5},
    "greedy": lambda _: {},
    "load-aware": lambda _: {},
}


def decided(system, users):
    """Return lengths (m, K) of searches and parts (m, K) of decisions of rules by name."""
    scenario, state = scenario_of(system, users), met(system, users)
    result = {name: search(scenario, state) for name, search in SEARCHES.items()}
    for name, options in RULES.items():
        states = state[FEW] if name == "synchronous" else state
        decision = ms.make_controller(name, scenario, **options(users))(states)
        result[f"length, {name}"] = decision.draft_length
        if name not in ("synchronous", "greedy"):
            result[f"order, {name}"] = np.argsort(decision.priority, -1, kind="stable")
        if decision.aim is not None and name != "synchronous":
            result[f"join, {name}"], result[f"aim, {name}"] = decision.join, decision.aim - state.batch[:, None]
        if system == "requests" and decision.drop is not None:
            result[f"drop, {name}"] = decision.drop
    return result


@pytest.mark.parametrize(("system", "users"), CASES)
def test_decisions_are_those_that_were_stored(system, users):
    with np.load(STORED) as file:
        stored = file[f"{system} {users}"]
    result = decided(system, users)
    before = np.split(stored, np.cumsum([len(now) for now in result.values()]))
    changed = {name: (was != now).any(-1) for was, (name, now) in zip(before[:-1], result.items(), strict=True)}
    assert {name: np.flatnonzero(envs).tolist() for name, envs in changed.items() if envs.any()} == {}
    assert not before[-1].size


def test_states_have_every_phase_and_age():
    states = [met(*case) for case in CASES]
    assert {int(phase) for state in states for phase in np.unique(state.phase)} == {*range(5)}
    assert all({*state.batch[FEW].tolist()} == {*range(STEPS + 1)} for state in states)


def store():
    arrays = {f"{system} {users}": np.concatenate([*decided(system, users).values()]) for system, users in CASES}
    assert all(abs(array).max() < 128 for array in arrays.values())
    np.savez_compressed(STORED, **{name: array.astype(np.int8) for name, array in arrays.items()})


if __name__ == "__main__":
    store()
