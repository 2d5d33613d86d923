"""The engine, which plays no events, and a simulator that plays nothing else, agree."""

import numpy as np
import pytest

import multispin_env as ms
from tests.physics.continuous.pairs import DISCIPLINES, LAWS, Pair, random_order

SERVERS = {
    "paper": {},
    "tokens": {"server": "a100-32b"},
    "padded": {"server": "a100-7b-gemm", "padded_verification": True},
    "ids": {"payload": "ids", "round_trip_time": 0.007},
}


def scenario_of(users, **fields):
    return ms.Scenario.preset("qwen3.5", num_users=users, total_bandwidth=5e6, min_draft_length=0, **fields)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_random_orders(discipline, law):
    rng = np.random.default_rng(1)
    for seed, users in enumerate((1, 2, 3, 5, 8, 13, 20, 30)):
        pair = Pair(scenario_of(users), discipline, law, seed, drawn=seed % 2 == 1)
        for _ in range(20):
            pair.play(random_order(pair.scenario, discipline, rng))


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_laws_of_the_server(discipline, server):
    rng = np.random.default_rng(2)
    pair = Pair(scenario_of(6, **SERVERS[server]), discipline, "independent", 3)
    for _ in range(60):
        pair.play(random_order(pair.scenario, discipline, rng))


def dyadic(users, rng, round_trip):
    """A scenario and a state whose times are multiples of 2^-20 s, so that their sums are exact."""
    scenario = ms.Scenario.preset(
        "llama2",
        num_users=users,
        min_draft_length=0,
        verification_fixed_time=1.0 / 32,
        verification_time_per_draft=1.0 / 64,
        round_trip_time=round_trip,
    )
    scenario = scenario.replace(total_bandwidth=scenario.bits_per_token * 128.0)
    efficiency = 2.0 ** rng.integers(-1, 3, users)
    return scenario, ms.SystemState(2.0 ** -rng.integers(5, 8, users), efficiency, np.full(users, 0.5))


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_simultaneous_events(discipline, equal):
    """Everything is a multiple of one short time, so that many things happen at one instant."""
    rng = np.random.default_rng(4)
    most = 2 if discipline == "shared" else 9  # thirds of a band are not exact
    for seed in range(12):
        scenario, held = dyadic(1 + seed % most, rng, (seed % 3) / 64.0)
        if equal:
            held = held[np.zeros(scenario.num_users, dtype=int)]
        pair = Pair(scenario, discipline, "static", held=held[None])
        for cell, device in zip(range(scenario.num_users), pair.slow.devices, strict=True):
            device.gain = float(held.spectral_efficiency[cell])
        pair.slow.efficiency = lambda device: device.gain  # through a logarithm it would not be exact
        for _ in range(40):
            decision = random_order(scenario, discipline, rng, dyadic=True)
            if equal and rng.random() < 0.7:
                decision["draft_length"] = [4] * scenario.num_users
            pair.play(decision)


def test_equal_devices_with_times_that_are_not_exact():
    rng = np.random.default_rng(5)
    for discipline in DISCIPLINES:
        scenario = scenario_of(7)
        one = ms.sample_state(scenario, rng, 1)
        pair = Pair(scenario, discipline, "static", held=one[:, np.zeros(7, dtype=int)])
        for _ in range(40):
            pair.play({"draft_length": [6] * 7, "join": [2] * 7})
