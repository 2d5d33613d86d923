"""Capacities against trying every round, and load after load."""

import itertools
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.tokens import expected_tokens
from multispin_env.registry import SERVERS
from multispin_env.simulation.capacity import (
    FEASIBLE,
    MOST_COMPUTED,
    LoadPoint,
    _Devices,
    _searched,
    _Trial,
    capacity_of,
    rule_names,
)
from multispin_env.solver import pace
from multispin_env.solver.equalization import equal_latency
from tests.controllers.continuous.states import LIMITS, workload

capacity_module = sys.modules["multispin_env.simulation.capacity"]  # the name is that of the function elsewhere

SERVED = ms.Scenario.preset(
    "qwen3.5", server="a100-32b", min_draft_length=0, payload="ids", num_users=3, max_draft_length=5
)


def test_least_length_by_trying(rng):
    tokens = expected_tokens(np.arange(26), np.array([0.0, 1e-9, 0.3, 0.9, 1.0 - 1e-9, 1.0])[None, :, None])
    for wanted in (0.5, 1.0, 1.7, 3.1, 9.0, 30.0, *rng.uniform(1.0, 12.0, 20), *tokens[0, 3]):
        found = pace.count_shorter(tokens, np.array([0]), np.array([wanted]))[0]
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
    state = ms.sample_state(scenario, rng, 6)
    answers = []
    for tpot in (0.012, 0.02, 0.03, 0.05):
        found = FEASIBLE["multi-spin"](scenario, state, tpot)
        assert found.tolist() == [slow(scenario, state[i], tpot) for i in range(6)]
        answers += found.tolist()
    assert 0 < sum(answers) < len(answers)  # both occur


def test_blocks_do_not_change_what_is_feasible(monkeypatch, rng):
    scenario = SERVED.replace(num_users=20, max_draft_length=25, total_bandwidth=3e5)
    state = ms.sample_state(scenario, rng, 40)
    found = [FEASIBLE["multi-spin"](scenario, state, tpot) for tpot in (0.02, 0.025, 0.03)]
    monkeypatch.setattr(pace, "NUM_BLOCKS", 1)
    monkeypatch.setattr(pace, "NUM_PIECES", 3)
    monkeypatch.setattr(pace, "MAX_ENTRIES", 10**4)
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
    assert ms.capacity(SERVED, tpot=4.0, system="autoregressive", states=1) == MOST_COMPUTED


def test_a_server_that_drafts_for_all_serves_fewer_where_a_batch_drafts_slowly():
    """Of devices that are alike, by trying every length for each number of them."""
    task = ms.Task(name="all", acceptance_rate=0.8)
    scenario = SERVED.replace(tasks=(task,), server_draft_pieces=((0.003, 0.0), (0.001, 0.0001)))
    (start, slope), *_ = scenario.verification_pieces

    def served(users):
        step = max(0.003, 0.001 + 0.0001 * users)
        rounds = ((length * step + start + slope * users * (length + 1), length) for length in range(6))
        return any(time <= 0.04 * sum(0.8**position for position in range(length + 1)) for time, length in rounds)

    most = ms.capacity(scenario, tpot=0.04, system="colocated", states=1)
    assert [served(users) for users in (most, most + 1)] == [True, False]
    assert most < ms.capacity(scenario.replace(server_draft_time=0.003), tpot=0.04, system="colocated", states=1)


SCENARIO = ms.Scenario.preset("llama2", num_users=4)
FEW = {"copies": 4, "warm_up": 1.0, "horizon": 8.0, "requests": 40, "channel": "static"}
PLAYED = {"copies": 4, "warm_up": 1.0, "channel": "static"}


def greedy(scenario):
    return ms.make_controller("greedy", scenario, draft_length=4)


@pytest.fixture
def coarse(monkeypatch):
    """Half the loads, for what does not depend on how near they come."""
    monkeypatch.setattr("multispin_env.simulation.capacity.FINE", 1.2)


def served(found, scenario, asked):
    """Whether a load meets the share; one that was tried is played as it was there."""
    horizon = max(FEW["horizon"], FEW["requests"] / FEW["copies"] / asked.rate)
    share = LoadPoint(0.0, ms.serve(greedy(scenario), asked, horizon=horizon, **PLAYED)).share
    tried = {point.load: point.share for point in found.tries}
    assert tried.get(scenario.num_users if found.by == "users" else asked.rate, share) == share
    return share >= 0.85


def test_load_is_that_of_a_slow_scan(coarse):
    asked = workload(**LIMITS)
    found = ms.capacity(SCENARIO, workload=asked, controller=greedy, percent=85.0, **FEW)
    scan = np.geomspace(0.5, 8.0, 7)
    meets = [served(found, SCENARIO, replace(asked, rate=float(rate))) for rate in scan]
    first = meets.index(False)
    assert first > 0
    assert scan[first - 1] / 1.2 <= found.value <= scan[first] * 1.2
    assert found.low <= found.value <= found.high
    below = max(point.load for point in found.tries if point.share >= 0.85)
    above = min(point.load for point in found.tries if point.share < 0.85)
    assert below <= found.value <= above <= below * 1.2
    for load, meet in ((below, True), (above, False)):
        assert served(found, SCENARIO, replace(asked, rate=load)) == meet


@pytest.mark.slow
def test_a_long_run_of_other_copies_agrees_with_the_interval():
    """Below its lower end requests are in time, above its upper end they are not."""
    asked = workload(**LIMITS)
    found = ms.capacity(SCENARIO, workload=asked, controller="greedy", percent=90.0, copies=32)
    controller = ms.make_controller("greedy", SCENARIO)
    below, above = (
        LoadPoint(load, ms.serve(controller, replace(asked, rate=load), copies=96, warm_up=50.0, horizon=100.0, seed=1))
        for load in (found.low / 1.03, found.high * 1.03)
    )
    assert above.share < 0.9 < below.share
    assert 1.0 < found.high / found.low < 1.4


def test_users_are_those_of_a_slow_scan():
    asked = workload("think", rate=SCENARIO.num_users / 2.0, **LIMITS)
    found = ms.capacity(SCENARIO, workload=asked, controller=greedy, by="users", percent=85.0, **FEW)
    assert found.value == int(found.value)
    for users, meet in ((int(found.value), True), (int(found.value) + 1, False)):
        assert served(found, SCENARIO.replace(num_users=users), replace(asked, rate=users / 2.0)) == meet
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("by", ["rate", "users"])
def test_a_bad_estimate_ends_at_the_same_capacity(monkeypatch, by):
    """One thirty times too high or low costs loads, and changes no answer by more than two that are close."""
    asked = {"workload": workload("think", rate=2.0, **LIMITS), "controller": greedy, "percent": 85.0, "by": by, **FEW}
    own, found = capacity_module.estimated_tokens, []
    for wrong in (1.0, 30.0, 1.0 / 30.0):
        monkeypatch.setattr(capacity_module, "estimated_tokens", lambda *of, wrong=wrong: wrong * own(*of))
        found.append(ms.capacity(SCENARIO, **asked))
    right, *others = found
    assert 0.0 < right.low <= right.value
    for other in others:
        assert right.low / 1.02 <= other.value <= right.high * 1.02
        assert abs(np.log(other.value / right.value)) < 0.03 or abs(other.value - right.value) <= 1.0


def test_a_load_is_clear_only_if_the_queue_does_not_grow():
    """Six standard errors of the share, and of what waits at the end at most as much as at the beginning."""

    def point(in_time, missed, waiting=0):
        counts = {"in_time": in_time, "missed": missed, "finished": in_time + missed, "dropped": 0}
        arrivals = in_time + missed + waiting
        return LoadPoint(
            1.0, SimpleNamespace(arrivals=np.array(arrivals), **{k: np.array(v) for k, v in counts.items()})
        )

    assert point(2000, 0).clear(0.95)
    assert point(1000, 1000).clear(0.95)
    assert not point(2000, 0, waiting=200).clear(0.95)  # they may all be late
    assert not point(1940, 60).clear(0.95)  # too near
    assert not point(400, 0).clear(0.5)  # too few


def test_of_a_server_alone_the_pass_decides():
    """People who ask again at once: K are served if a pass of K is within the limit of TPOT, to the device."""
    limit = 0.5 * float(SCENARIO.pass_time(6, 6) + SCENARIO.pass_time(7, 7))
    asked = workload("think", rate=SCENARIO.num_users * 1e3, mean_output=200.0, tpot=limit)
    found = ms.capacity(SCENARIO, workload=asked, controller="autoregressive", by="users", **FEW)
    assert found.value == 6.0
    assert found.verdict.startswith("95 % of requests are within all limits up to 6 devices (95 % interval 6 to 6)")


def test_a_server_that_drafts_is_never_worse_than_alone(coarse):
    scenario = SCENARIO.replace(server="a100-32b", max_draft_length=2)
    asked, few = workload(rate=8.0, e2el=0.3, e2el_per_token=0.03), {**FEW, "copies": 2, "requests": 20}
    drafts, alone = (
        ms.capacity(scenario, workload=asked, controller=name, **few) for name in ("colocated", "autoregressive")
    )
    assert drafts.value >= alone.value / 1.2


def test_limits_that_no_load_meets_are_said():
    few = {**FEW, "copies": 2, "requests": 2}
    found = ms.capacity(SCENARIO, workload=workload(ttft=1e-3), controller="greedy", **few)
    assert (found.value, found.low, found.high, found.run) == (0.0, 0.0, 0.0, None)
    assert found.verdict.startswith("No load meets the service level: even at 0.00195 requests/s only 0.0 %")


def test_loads_that_all_meet_the_limits_are_said():
    asked = workload("think", rate=100.0, mean_output=2.0, ttft=60.0)
    found = ms.capacity(SCENARIO, workload=asked, controller=greedy, **{**FEW, "horizon": 1.0})
    assert found.value == found.low == found.high == 100.0 * 2.0**10
    assert found.verdict.startswith("All loads up to 1.024e+05 requests/s meet the service level")


def test_every_load_is_reported_and_waiting_for_all_has_less(coarse):
    """Of all controllers, of servers, and of both with deadlines there are capacities."""
    assert set(rule_names()) == {*ms.controller_names(), "autoregressive", "colocated"}
    seen, found = [], {}
    for rule in ("optimal", "greedy+deadlines", "autoregressive+deadlines"):
        seen.clear()
        asked = {"workload": workload(**LIMITS), "controller": rule, "percent": 85.0, "report": seen.append}
        found[rule] = ms.capacity(SCENARIO, **asked, **{**FEW, "copies": 2, "requests": 20})
        assert sorted(point.load for point in seen) == [point.load for point in found[rule].tries]
    assert 0.0 < found["optimal"].value < found["greedy+deadlines"].value
    assert found["autoregressive+deadlines"].value > 0.1


ASKED = {"workload": workload(**LIMITS), "controller": "greedy", **FEW}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"tpot": 0.0}, "tpot: .*0.0"),
        ({"tpot": float("nan")}, "tpot: .*nan"),
        ({"tpot": 0.04, "system": "multi"}, "did you mean 'multi-spin'"),
        ({"tpot": 0.04, "states": 0}, "states: .*0"),
        ({"tpot": 0.04, "seed": -1}, "seed: .*-1"),
        ({}, "tpot: expected a time or a workload, one of them, got "),
        ({"tpot": 0.04, "workload": workload(**LIMITS)}, "tpot: expected a time or a workload, one of them, got "),
        ({**ASKED, "percent": 0.0}, r"percent: expected a finite number in \(0, 100\), got 0.0"),
        ({**ASKED, "percent": 100.0}, r"percent: expected a finite number in \(0, 100\), got 100.0"),
        ({**ASKED, "by": "user"}, "did you mean 'users'"),
        ({**ASKED, "copies": 1}, "copies: expected an integer ≥ 2, got 1"),
        ({**ASKED, "requests": 0}, "requests: expected an integer ≥ 1, got 0"),
        ({**ASKED, "controller": "gredy"}, "did you mean 'greedy'"),
        ({**ASKED, "controller": "greedy+deadline"}, "did you mean 'deadlines'"),
        ({**ASKED, "workload": workload()}, "level: expected a limit of ttft, tpot or e2el at least, got none"),
        ({**ASKED, "workload": replace(workload(**LIMITS), shares=(1.0,) * 4), "by": "users"}, "shares: expected None"),
    ],
)
def test_bad_questions_are_refused(bad, words):
    with pytest.raises(ValueError, match=words):
        ms.capacity(SCENARIO, **bad)


def test_options_of_the_other_question_are_refused():
    for asked in ({"tpot": 0.04, "copies": 4}, {"workload": ASKED["workload"], "system": "multi-spin"}):
        with pytest.raises(TypeError, match=r"capacity: got an unexpected keyword argument '(copies|system)'"):
            ms.capacity(SCENARIO, **asked)


class Dip(_Trial):
    """Loads whose share is below the limit from 40 to 170 devices, and from 232 on; the search begins at 200."""

    def __init__(self):
        self.share, self.by_users = 0.95, True

    def first(self):
        return 200.0

    def __call__(self, load):
        return SimpleNamespace(load=load, share=0.9 if 40.0 <= load <= 170.0 or load >= 232.0 else 0.99)


def test_a_load_below_the_answer_is_in_time_too():
    tries = sorted(_searched(Dip(), None), key=lambda point: point.load)
    late = next(position for position, point in enumerate(tries) if point.share < 0.95)
    assert (tries[late - 1].load, tries[late].load) == (39.0, 40.0)


def test_both_questions_report_each_load_as_it_is_tried(capsys):
    told = []
    most = ms.capacity(SERVED, tpot=0.035, system="autoregressive", report=told.append)
    assert most == max(point.load for point in told if point.share >= 0.95) > 1
    few = {"controller": "greedy", "copies": 2, "warm_up": 0.0, "horizon": 2.0, "requests": 4}
    found = ms.capacity(SERVED, workload=workload(ttft=3.0), report=print, **few)
    expected = [f"load {point.load:.4g}: {100.0 * point.share:.1f} % in time" for point in found.tries]
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(expected)


def test_an_interval_ends_below_a_load_that_was_tried(coarse):
    """Some draws of copies are in time at the load that is too large for all; there the interval is open."""
    found = ms.capacity(SCENARIO, workload=workload(**LIMITS), controller=greedy, percent=85.0, **FEW)
    assert found.value < found.high < found.tries[-1].load
    ended = capacity_of(found.tries[:-1], 85.0, "rate", 0)
    assert (ended.value, ended.low, ended.high) == (found.value, found.low, np.inf)
    assert ended.verdict.endswith("to inf).")
