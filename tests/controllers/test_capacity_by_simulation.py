"""Capacities against what is known, and against trying load after load."""

from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.capacity import FINE, LoadPoint, rule_names

SCENARIO = ms.Scenario.preset("llama2", num_users=4)
FEW = {"copies": 4, "warm_up": 1.0, "horizon": 8.0, "requests": 40, "channel": "static"}
PLAYED = {"copies": 4, "warm_up": 1.0, "channel": "static"}


def greedy(scenario):
    return ms.make_controller("greedy", scenario, draft_length=4)


def workload(arrivals="poisson", rate=2.0, mean_output=15.0, **level):
    lengths = ms.make_lengths("geometric", mean_output=mean_output)
    return ms.Workload(arrivals=ms.make_arrivals(arrivals), lengths=lengths, rate=rate, level=ms.ServiceLevel(**level))


LEVEL = {"e2el": 0.5, "e2el_per_token": 0.08}


def share(scenario, asked):
    horizon = max(FEW["horizon"], FEW["requests"] / FEW["copies"] / asked.rate)
    return LoadPoint(0.0, ms.serve(greedy(scenario), asked, horizon=horizon, **PLAYED)).share


def test_load_is_that_of_a_slow_scan():
    asked = workload(**LEVEL)
    found = ms.capacity(SCENARIO, workload=asked, controller=greedy, percent=85.0, **FEW)
    scan = np.geomspace(0.5, 8.0, 13)
    meets = [share(SCENARIO, replace(asked, rate=float(rate))) >= 0.85 for rate in scan]
    first = meets.index(False)
    assert first > 0
    assert scan[first - 1] / FINE <= found.value <= scan[first] * FINE
    assert found.low <= found.value <= found.high
    tried = {point.load: point.share for point in found.tries}
    for load, reached in tried.items():
        assert reached == share(SCENARIO, replace(asked, rate=load))
    below, above = (
        max(load for load in tried if tried[load] >= 0.85),
        min(load for load in tried if tried[load] < 0.85),
    )
    assert below <= found.value <= above <= below * FINE


def test_users_are_those_of_a_slow_scan():
    asked = workload("think", rate=SCENARIO.num_users / 2.0, **LEVEL)
    found = ms.capacity(SCENARIO, workload=asked, controller=greedy, by="users", percent=85.0, **FEW)
    assert found.value == int(found.value)

    def served(users):
        return share(SCENARIO.replace(num_users=users), replace(asked, rate=users / 2.0)) >= 0.85

    assert served(int(found.value))
    assert not served(int(found.value) + 1)
    assert found.low <= found.value <= found.high


def test_of_a_server_alone_the_pass_decides():
    """People who ask again at once: K are served if a pass of K is within the limit of TPOT, to the device."""
    limit = 0.5 * float(SCENARIO.pass_time(6, 6) + SCENARIO.pass_time(7, 7))
    asked = workload("think", rate=SCENARIO.num_users * 1e3, mean_output=200.0, tpot=limit)
    found = ms.capacity(SCENARIO, workload=asked, controller="autoregressive", by="users", **FEW)
    assert found.value == 6.0
    assert found.verdict.startswith("95 % of requests are within all limits up to 6 devices (95 % interval 6 to 6)")


@pytest.fixture
def coarse(monkeypatch):
    """Half the loads, for what does not depend on how near they come."""
    monkeypatch.setattr("multispin_env.controllers.capacity.FINE", 1.2)


def test_a_server_that_drafts_is_never_worse_than_alone(coarse):
    scenario = SCENARIO.replace(server="a100-32b", max_draft_length=2)
    asked = workload(rate=8.0, e2el=0.3, e2el_per_token=0.03)
    drafts, alone = (
        ms.capacity(scenario, workload=asked, controller=name, **FEW) for name in ("colocated", "autoregressive")
    )
    assert drafts.value >= alone.value / 1.2


def test_limits_that_no_load_meets_are_said():
    found = ms.capacity(SCENARIO, workload=workload(ttft=1e-3), controller="greedy", **FEW)
    assert (found.value, found.low, found.high, found.run) == (0.0, 0.0, 0.0, None)
    assert found.verdict == (
        "No load meets the service level: even at 0.00195 requests/s only 0.0 % of requests are within all limits, "
        "below 95 %."
    )


def test_loads_that_all_meet_the_limits_are_said():
    asked = workload("think", rate=100.0, mean_output=2.0, ttft=60.0)
    found = ms.capacity(SCENARIO, workload=asked, controller=greedy, **{**FEW, "horizon": 1.0})
    assert found.value == found.low == found.high == 100.0 * 2.0**10
    assert found.verdict.startswith("All loads up to 1.024e+05 requests/s meet the service level")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"percent": 0.0}, r"percent: expected a finite number in \(0, 100\), got 0.0"),
        ({"percent": 100.0}, r"percent: expected a finite number in \(0, 100\), got 100.0"),
        ({"by": "user"}, "did you mean 'users'"),
        ({"copies": 1}, "copies: expected an integer ≥ 2, got 1"),
        ({"requests": 0}, "requests: expected an integer ≥ 1, got 0"),
        ({"controller": "gredy"}, "did you mean 'greedy'"),
        ({"controller": "greedy+deadline"}, "did you mean 'deadlines'"),
        ({"workload": workload()}, "level: expected a limit of ttft, tpot or e2el at least, got none"),
        ({"workload": replace(workload(**LEVEL), shares=(1.0,) * 4), "by": "users"}, "shares: expected None where"),
    ],
)
def test_bad_arguments_are_one_sentence(bad, message):
    arguments = {"controller": "greedy", "workload": workload(**LEVEL), **FEW, **bad}
    with pytest.raises(ValueError, match=message):
        ms.capacity(SCENARIO, **arguments)


def test_every_load_is_reported_and_waiting_for_all_has_less(coarse):
    """Of all controllers, of servers, and of both with deadlines there are capacities."""
    assert set(rule_names()) == {*ms.controller_names(), "autoregressive", "colocated"}
    seen, found = [], {}
    for rule in ("optimal", "greedy+deadlines", "autoregressive+deadlines"):
        seen.clear()
        asked = {"workload": workload(**LEVEL), "controller": rule, "percent": 85.0, "report": seen.append}
        found[rule] = ms.capacity(SCENARIO, **asked, **{**FEW, "copies": 2, "requests": 20})
        assert sorted(point.load for point in seen) == [point.load for point in found[rule].tries]
    assert 0.0 < found["optimal"].value < found["greedy+deadlines"].value
    assert found["autoregressive+deadlines"].value > 0.1
