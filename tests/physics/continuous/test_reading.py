"""Devices that read the prompts of their requests, against the event simulator, and by hand."""

from dataclasses import fields

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.workload import ServiceLevel
from tests.physics.continuous.pairs import DISCIPLINES, LAWS, Fixed, Pair
from tests.physics.continuous.test_events import (
    LEVELS,
    check_accounts,
    dyadic,
    exact_pair,
    gaps,
    played,
    requests_of,
    scenario_of,
)

SYSTEMS = (
    {"context_time": 3e-5, "draft_context_time": 1e-4, "draft_context": 90},
    {"server": "h100-8b", "context_time": 2e-6, "round_trip_time": 0.007, "access_delay": 0.01},
    {
        "fleet": (
            ("a", 0.5, 0.01, 0.02, 0.0, 2e-4, 30, 170.0),
            ("b", 0.3, 0.02, 0.02, 0.0, 5e-5, 0),
            ("c", 0.2, 0.03, 0.03, 0.0, 0.0, 0, 4000.0),
        )
    },
    {"acceptance": "by-request", "upload_loss": 0.3, "repeat_time": 0.02, "draft_context_time": 1e-4},
    {"draft_ahead": True, "round_trip_time": 0.004},
)
SLOW = pytest.mark.slow


def pairs_of(rng, discipline, least, systems, num_users):
    """Pairs in which most devices read, some of them for longer than a whole answer takes."""
    for seed in range(systems):
        users, law = num_users[seed % len(num_users)], LAWS[seed // 5 % 3]
        scenario = scenario_of(users, **SYSTEMS[seed % len(SYSTEMS)])
        scenario = scenario.replace(prompt_rate=10.0 ** rng.uniform(1.5, 4.5), min_draft_length=least)
        kind, level = ("dense", "sparse", "bursts")[seed // 2 % 3], LEVELS[seed % len(LEVELS)]
        requests = requests_of(rng, users, kind, seed % 4 == 3, level, most=60)
        yield Pair(scenario, discipline, law, seed, True, requests=requests)


def count_readers(pair):
    return sum(device.request is not None and device.read_ends > pair.slow.now for device in pair.slow.devices)


def check_systems(rng, discipline, least, systems, num_users, steps):
    ended, read = np.zeros(2, dtype=int), 0
    for pair in pairs_of(rng, discipline, least, systems, num_users):
        outcomes = []
        while len(outcomes) < steps and (outcome := played(pair, rng, 1)):
            outcomes += outcome
            read += count_readers(pair)
        ended += check_accounts(pair, outcomes)
    assert read > systems
    assert (ended > systems).all()


@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_random_orders(discipline, least):
    check_systems(np.random.default_rng(20 + least), discipline, least, 15, (1, 2, 2), 24)


@SLOW
@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_many_random_orders(discipline, least):
    check_systems(np.random.default_rng(30 + least), discipline, least, 96, (1, 2, 3, 7), 60)


@pytest.mark.parametrize("users", [1, 2])
@pytest.mark.parametrize("rule", ["greedy", "load-aware", pytest.param("groups", marks=SLOW)])
def test_rules(rule, users):
    scenario = scenario_of(users, **SYSTEMS[0], prompt_rate=260.0).replace(min_draft_length=users - 1)
    rng, controller = np.random.default_rng(users), ms.make_controller(rule, scenario)
    columns = [(gaps(rng, "sparse", 99), rng.integers(0, 600, 99), rng.integers(1, 40, 99)) for _ in range(users)]
    requests = [list(zip(*(column.tolist() for column in row), strict=True)) for row in columns]
    served = Fixed(requests, False, ServiceLevel(ttft=3.0, tpot=0.2))
    pair, outcomes, read = Pair(scenario, "serial", "static", users, True, requests=served), [], 0
    for _ in range(150):
        decision = controller(pair.core.state)
        rows = {field.name: getattr(decision, field.name) for field in fields(decision)}
        outcomes.append(pair.play({name: row[0].tolist() for name, row in rows.items() if row is not None}))
        read += count_readers(pair)
    assert check_accounts(pair, outcomes)[0] > 5
    assert read > 5


# TTFT and E2EL of the first request, and of the second if it arrived when the first ends
BY_HAND = {
    0: (3 / 64, 32 * 3 / 64 + 13 * 13 / 64 + 8 / 64, 3 / 64, 16 * 3 / 64),
    1: (1.0 + 13 / 64, 1.0 + 20 * 13 / 64, 0.5 + 13 / 64, 0.5 + 3 * 13 / 64 + 5.5 / 64),
}


@pytest.mark.parametrize("least", [0, 1])
def test_two_requests_by_hand(least):
    """A verification takes 3/64 s, a draft of 4 tokens with its verification 13/64 s, and the device reads 64 tokens/s.

    While it reads the first prompt, of 1 s, the server adds a token every 3/64 s, which takes 1/64 s to read: the 31st
    token, at 93/64 s, is the last before the end of the reading at 95/64 s, so that 32 passes verify no draft. Then 13
    drafts of 4 tokens and one of 2 give the other 68 tokens. While it reads the second prompt, of 0.5 s, 16 passes
    give the whole answer of 16 tokens. If no draft is empty, drafts start when the prompt has been read.
    """
    scenario, _ = dyadic(1, np.random.default_rng(0), 0.0)
    scenario = scenario.replace(prompt_rate=64.0, min_draft_length=least)
    held = ms.SystemState(np.array([1 / 32]), np.array([1.0]), np.array([1.0]))
    requests = Fixed([[(0.5, 64, 100), (0.5, 32, 16)]], False, ServiceLevel(ttft=2.0))
    pair = exact_pair("serial", scenario, held, requests)
    ends = []
    while len(ends) < 2:
        served = pair.play({"draft_length": [4], "join": [1]}).served
        ends += [served] * int(served.finished[0])
    first, second = ends
    ttft, e2el, next_ttft, next_e2el = BY_HAND[least]
    assert (first.ttft[0], first.e2el[0], first.tpot[0]) == (ttft, e2el, (e2el - ttft) / 99)
    waited = e2el - 0.5
    assert (second.ttft[0], second.e2el[0]) == (waited + next_ttft, waited + next_e2el)
    assert (first.in_time[0], second.in_time[0]) == (True, False)
