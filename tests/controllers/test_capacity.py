"""How many devices a system serves in time, against trying every round."""

import itertools

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.capacity import FEASIBLE, MOST_COMPUTED, _Devices
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.tokens import expected_tokens
from multispin_env.registry import SERVERS
from multispin_env.solver import pace
from multispin_env.solver.equalization import equal_latency

SERVED = ms.Scenario.preset(
    "qwen3.5", server="a100-32b", min_draft_length=0, payload="ids", num_users=3, max_draft_length=5
)


def test_least_length_by_trying(rng):
    tokens = expected_tokens(np.arange(26), np.array([0.0, 1e-9, 0.3, 0.9, 1.0 - 1e-9, 1.0])[None, :, None])
    for wanted in (0.5, 1.0, 1.7, 3.1, 9.0, 30.0, *rng.uniform(1.0, 12.0, 20), *tokens[0, 3]):
        found = pace.steps_to(tokens, np.array([0]), np.array([wanted]))[0]
        for user in range(6):
            enough = np.flatnonzero(tokens[0, user] >= wanted * (1.0 - 1e-12))
            assert found[user] == (enough[0] if len(enough) else 26)


def slow(scenario, state, tpot):
    """Whether any lengths serve everyone, by trying all of them."""
    token_time = full_share_token_time(scenario, state.spectral_efficiency)
    for lengths in itertools.product(
        range(scenario.min_draft_length, scenario.max_draft_length + 1), repeat=scenario.num_users
    ):
        length = np.array(lengths)
        decision = ms.Decision(
            length, scenario.total_bandwidth * equal_latency(length, state.draft_time, token_time).share
        )
        outcome = ms.expected_outcome(scenario, state, decision)
        if (outcome.round_latency <= tpot * outcome.tokens * (1.0 + 1e-9)).all():
            return True
    return False


@pytest.mark.parametrize(
    "fields", [{}, {"payload": "distributions"}, {"padded_verification": True, "min_draft_length": 1}]
)
def test_feasible_equals_trying_all_lengths(fields, rng):
    scenario = SERVED.replace(**fields, total_bandwidth=1e6 if not fields else 10e6, round_trip_time=0.004)
    state = ms.sample_state(scenario, rng, 12)
    answers = []
    for tpot in (0.012, 0.02, 0.03, 0.05):
        found = FEASIBLE["multi-spin"](scenario, state, tpot)
        assert found.tolist() == [slow(scenario, state[i], tpot) for i in range(12)]
        answers += found.tolist()
    assert 0 < sum(answers) < len(answers)  # both occur


def test_blocks_do_not_change_what_is_feasible(monkeypatch, rng):
    scenario = SERVED.replace(num_users=20, max_draft_length=25, total_bandwidth=3e5)
    state = ms.sample_state(scenario, rng, 40)
    found = [FEASIBLE["multi-spin"](scenario, state, tpot) for tpot in (0.02, 0.025, 0.03)]
    monkeypatch.setattr(pace, "BLOCKS", 1)
    monkeypatch.setattr(pace, "PIECES", 3)
    monkeypatch.setattr(pace, "ENTRIES", 10**4)
    again = [FEASIBLE["multi-spin"](scenario, state, tpot) for tpot in (0.02, 0.025, 0.03)]
    assert [one.tolist() for one in found] == [one.tolist() for one in again]
    assert 0 < sum(one.sum() for one in found) < 120


def test_capacity_is_the_last_that_is_served():
    scenario = SERVED.replace(total_bandwidth=1e6)
    tpot = 0.03
    most = ms.capacity(scenario, tpot=tpot, states=40)
    assert most > 0
    for users, enough in ((most, True), (most + 1, False)):
        state = _Devices(scenario, 40, 0).first(users)
        part = FEASIBLE["multi-spin"](scenario.replace(num_users=users), state, tpot).mean()
        assert (part >= 0.95) == enough
    devices = _Devices(scenario, 40, 0)
    assert (devices.first(most + 1).draft_time[:, :most] == devices.first(most).draft_time).all()


def test_capacities_of_a_server_alone():
    """28 + .16 n ms within 40 ms: as many tokens as devices."""
    server = SERVERS.load("a100-32b")
    ((start, slope),) = server.pieces
    assert ms.capacity(SERVED, tpot=0.04, system="autoregressive") == int((0.04 - start) / slope)
    assert ms.capacity(SERVED, tpot=start, system="autoregressive") == 0
    drafts = ms.capacity(SERVED, tpot=0.04, system="colocated", states=20)
    assert drafts >= ms.capacity(SERVED, tpot=0.04, system="autoregressive")
    assert ms.capacity(SERVED, tpot=1e9, system="autoregressive", states=1) == MOST_COMPUTED


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tpot": 0.0}, "tpot: .*0.0"),
        ({"tpot": float("nan")}, "tpot: .*nan"),
        ({"system": "multi"}, "did you mean 'multi-spin'"),
        ({"states": 0}, "states: .*0"),
        ({"seed": -1}, "seed: .*-1"),
    ],
)
def test_bad_questions_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        ms.capacity(SERVED, **{"tpot": 0.04, **arguments})


def test_a_question_is_one_of_two():
    arrivals, lengths = ms.make_arrivals("poisson"), ms.make_lengths("geometric")
    workload = ms.Workload(arrivals=arrivals, lengths=lengths, rate=1.0, level=ms.ServiceLevel(ttft=1.0))
    for asked in ({}, {"tpot": 0.04, "workload": workload}):
        with pytest.raises(ValueError, match="tpot: expected a time or a workload, one of them, got "):
            ms.capacity(SERVED, **asked)
    for asked in ({"tpot": 0.04, "copies": 4}, {"workload": workload, "system": "multi-spin"}):
        with pytest.raises(TypeError, match=r"capacity: got an unexpected keyword argument '(copies|system)'"):
            ms.capacity(SERVED, **asked)
