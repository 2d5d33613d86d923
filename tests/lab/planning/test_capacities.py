"""Capacities against brute force and slow scans of loads."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import multispin_env as ms
import multispin_lab
from multispin_env.draft import expected_tokens
from multispin_env.registry import SERVERS
from multispin_env.solver import pace
from multispin_lab.planning.at_server import SERVER_ONLY
from multispin_lab.planning.capacity import (
    FEASIBLE,
    LoadPoint,
    LoadSearch,
    _largest,
    nested_states,
    rule_names,
)
from multispin_lab.planning.estimates import share_within_memory
from tests.controllers.continuous.states import LIMITS, workload

capacity_module = sys.modules["multispin_lab.planning.capacity"]  # the name is that of the function elsewhere
long_run = sys.modules["multispin_env.simulation.long_run"]

SERVED = ms.Scenario.preset(
    "qwen3.5", server="a100-32b", min_draft_length=0, payload="ids", num_users=3, max_draft_length=5
)


def test_least_length_by_trying(rng):
    tokens = expected_tokens(np.arange(26), np.array([0.0, 1e-9, 0.3, 0.9, 1.0 - 1e-9, 1.0])[None, :, None])
    for required in (0.5, 1.0, 1.7, 3.1, 9.0, 30.0, *rng.uniform(1.0, 12.0, 20), *tokens[0, 3]):
        enough = tokens[0] >= required * (1.0 - 1e-12)
        expected = np.where(enough.any(-1), enough.argmax(-1), 26)
        assert (pace.count_shorter(tokens, np.array([0]), np.array([required]))[0] == expected).all()


def test_blocks_do_not_change_what_is_feasible(monkeypatch, rng):
    scenario = SERVED.replace(num_users=20, max_draft_length=25, total_bandwidth=3e5)
    state = ms.sample_state(scenario, rng, 40)
    feasible = np.array([FEASIBLE["multi-spin"](scenario, state, tpot) for tpot in (0.02, 0.025, 0.03)])
    for name, value in (("NUM_BLOCKS", 1), ("NUM_PIECES", 3), ("MAX_ENTRIES", 10**4)):
        monkeypatch.setattr(pace, name, value)
    assert (feasible == [FEASIBLE["multi-spin"](scenario, state, tpot) for tpot in (0.02, 0.025, 0.03)]).all()
    assert 0 < feasible.sum() < feasible.size


def test_capacity_is_the_last_that_is_served():
    scenario = SERVED.replace(total_bandwidth=1e6)
    most, devices = multispin_lab.capacity(scenario, tpot=0.03, states=40), nested_states(scenario, 40, 0)
    assert most > 0
    for users, enough in ((most, True), (most + 1, False)):
        feasible = FEASIBLE["multi-spin"](scenario.replace(num_users=users), devices(users), 0.03)
        assert (feasible.mean() >= 0.95) == enough
    assert (devices(most + 1).draft_time[:, :most] == devices(most).draft_time).all()


def test_one_access_delay_per_device_where_their_number_is_fixed():
    few = {"copies": 2, "warm_up": 0.5, "horizon": 1.0, "requests": 4, "controller": "own-pace", "most": 4.0}
    late = [SERVED.replace(access_delay=delay) for delay in (0.02, (0.02, 0.02, 0.02), (0.02, 0.02, 0.1))]
    runs = [multispin_lab.capacity(scenario, workload=workload(e2el=20.0), **few).run for scenario in late]
    medians = [run.pooled.e2el[0] for run in runs]
    assert medians[0] == medians[1] < medians[2]
    for options in ({"tpot": 0.04}, {"workload": workload(**LIMITS), "by": "users"}):
        with pytest.raises(ValueError, match=r"^access_delay: expected one number for all devices, .* got \(0.02, "):
            multispin_lab.capacity(late[2], **options)


def test_capacities_of_a_server_alone(monkeypatch):
    ((start, slope),) = SERVERS.load("a100-32b").pieces
    assert multispin_lab.capacity(SERVED, tpot=0.04, system="autoregressive") == int((0.04 - start) / slope)
    assert multispin_lab.capacity(SERVED, tpot=start, system="autoregressive") == 0
    drafts = multispin_lab.capacity(SERVED, tpot=0.04, system="colocated", states=5)
    assert drafts >= multispin_lab.capacity(SERVED, tpot=0.04, system="autoregressive")
    monkeypatch.setattr(capacity_module, "MAX_COMPUTED", 300)
    assert multispin_lab.capacity(SERVED, tpot=4.0, system="autoregressive", states=1) == 300


def test_a_server_that_drafts_for_all_serves_fewer_where_a_batch_drafts_slowly():
    """Equal devices; every length is tried."""
    task = ms.Task(name="all", acceptance_rate=0.8)
    scenario = SERVED.replace(tasks=(task,), server_draft_pieces=((0.003, 0.0), (0.001, 0.0001)))
    (start, slope), *_ = scenario.verification_pieces

    def served(users):
        step = max(0.003, 0.001 + 0.0001 * users)
        rounds = ((length * step + start + slope * users * (length + 1), length) for length in range(6))
        return any(time <= 0.04 * sum(0.8**position for position in range(length + 1)) for time, length in rounds)

    most = multispin_lab.capacity(scenario, tpot=0.04, system="colocated", states=1)
    assert [served(users) for users in (most, most + 1)] == [True, False]
    assert most < multispin_lab.capacity(
        scenario.replace(server_draft_time=0.003), tpot=0.04, system="colocated", states=1
    )


SCENARIO = ms.Scenario.preset("llama2", num_users=4)
WORKLOAD = workload(**LIMITS)
FEW = {"copies": 4, "warm_up": 1.0, "horizon": 8.0, "requests": 40, "channel": "static"}
FEWER = {**FEW, "copies": 2, "requests": 20, "horizon": 4.0}


def greedy(scenario):
    return ms.make_controller("greedy", scenario, draft_length=4)


@pytest.fixture
def coarse(monkeypatch):
    monkeypatch.setattr("multispin_lab.planning.capacity.CLOSE_RATIO", 1.2)


@pytest.fixture(scope="module")
def found():
    """Capacity in requests/s for the workload above, by a coarse search."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capacity_module, "CLOSE_RATIO", 1.2)
        return multispin_lab.capacity(SCENARIO, workload=WORKLOAD, controller=greedy, percent=85.0, **FEW)


def meets_level(result, load):
    horizon = max(FEW["horizon"], FEW["requests"] / FEW["copies"] / load.rate)
    run = ms.serve(greedy(SCENARIO), load, horizon=horizon, copies=4, warm_up=1.0, channel="static")
    share, tried = LoadPoint(0.0, run).share, {point.load: point.share for point in result.tries}
    assert tried.get(load.rate, share) == share
    return share >= 0.85


def test_load_is_that_of_a_slow_scan(found):
    scan = np.geomspace(0.5, 8.0, 7)
    first = [meets_level(found, replace(WORKLOAD, rate=float(rate))) for rate in scan].index(False)
    assert scan[first - 1] / 1.2 <= found.value <= scan[first] * 1.2
    assert found.low <= found.value <= found.high
    below = max(point.load for point in found.tries if point.share >= 0.85)
    above = min(point.load for point in found.tries if point.share < 0.85)
    assert below <= found.value <= above <= below * 1.2
    for load, meets in ((below, True), (above, False)):
        assert meets_level(found, replace(WORKLOAD, rate=load)) == meets


@pytest.mark.slow
def test_a_long_run_of_other_copies_agrees_with_the_interval():
    result = multispin_lab.capacity(SCENARIO, workload=WORKLOAD, controller="greedy", percent=90.0, copies=32)
    controller, window = ms.make_controller("greedy", SCENARIO), {"warm_up": 50.0, "horizon": 100.0}
    loads = [replace(WORKLOAD, rate=rate) for rate in (result.low / 1.03, result.high * 1.03)]
    below, above = (LoadPoint(0.0, ms.serve(controller, load, copies=96, seed=1, **window)).share for load in loads)
    assert above < 0.9 < below
    assert 1.0 < result.high / result.low < 1.4


@pytest.mark.parametrize("whole", [False, True])
def test_the_largest_load_is_found_from_any_start(whole, rng):
    def meets(load):
        tried.append(load)
        return load <= limit

    for limit, start in np.exp(rng.uniform(-1.0, 7.0, (300, 2))).tolist():
        tried = []
        load = _largest(meets, float(np.clip(round(start) if whole else start, 1, 512)), (1.0, 512.0), whole, 1.02)
        assert load == max((load for load in tried if load <= limit), default=0.0)
        if 1.0 <= limit < 512.0:
            assert min(load for load in tried if load > limit) <= max(load * 1.02, load + whole)
        assert all(1.0 <= load <= 512.0 and (load % 1.0 == 0.0 or not whole) for load in tried)
        assert len(tried) == len({*tried}) < 25


@pytest.mark.parametrize(("by", "factor"), [("rate", 0.1), ("users", 30.0)])
def test_a_bad_estimate_ends_at_the_same_capacity(monkeypatch, coarse, by, factor):
    closed = workload("think", rate=2.0, **LIMITS)
    few = {"workload": closed, "controller": greedy, "percent": 85.0, "by": by, **FEWER}
    right, estimate = multispin_lab.capacity(SCENARIO, **few), capacity_module.estimated_tokens
    monkeypatch.setattr(capacity_module, "estimated_tokens", lambda *of: factor * estimate(*of))
    other = multispin_lab.capacity(SCENARIO, **few)
    assert 0.0 < right.low <= right.value
    assert abs(np.log(other.value / right.value)) < 0.2 or abs(other.value - right.value) <= 1.0


def test_a_load_is_clear_only_if_the_queue_does_not_grow():
    def is_clear(share, in_time, missed, waiting=0):
        counts = {"in_time": in_time, "missed": missed, "finished": in_time + missed, "dropped": 0}
        counts["arrivals"] = in_time + missed + waiting
        return LoadPoint(1.0, SimpleNamespace(**{k: np.array(count) for k, count in counts.items()})).is_clear(share)

    assert is_clear(0.95, 2000, 0)
    assert is_clear(0.95, 1000, 1000)
    assert not is_clear(0.95, 2000, 0, waiting=200)  # all of them may be late
    assert not is_clear(0.95, 1940, 60)  # too near
    assert not is_clear(0.5, 400, 0)  # too few


def test_capacity_of_the_server_alone_follows_from_its_passes():
    """Closed requests without think time: K devices are served if a pass of K is within the limit of TPOT."""
    limit = 0.5 * float(SCENARIO.law.time(6, 6) + SCENARIO.law.time(7, 7))
    closed = workload("think", rate=SCENARIO.num_users * 1e3, mean_output=200.0, tpot=limit)
    result = multispin_lab.capacity(SCENARIO, workload=closed, controller="autoregressive", by="users", **FEW)
    assert result.value == 6.0
    assert result.summary.startswith("95 % of requests are within all limits up to 6 devices (95 % interval 6 to 6)")


def test_a_server_that_drafts_is_never_worse_than_alone(coarse):
    scenario = SCENARIO.replace(server="a100-32b", max_draft_length=2)
    load, few = workload(rate=8.0, e2el=0.3, e2el_per_token=0.03), FEWER
    names = ("colocated", "autoregressive")
    drafts, alone = (multispin_lab.capacity(scenario, workload=load, controller=name, **few).value for name in names)
    assert drafts >= alone / 1.2


def test_summary_if_no_load_or_all_loads_meet_the_level():
    few = {**FEW, "copies": 2, "requests": 2}
    result = multispin_lab.capacity(SCENARIO, workload=workload(ttft=1e-3), controller="greedy", **few)
    assert (result.value, result.low, result.high, result.run) == (0.0, 0.0, 0.0, None)
    assert result.summary.startswith("No load meets the service level: even at 0.00195 requests/s only 0.0 %")
    easy = workload("think", rate=100.0, mean_output=2.0, ttft=60.0)
    result = multispin_lab.capacity(SCENARIO, workload=easy, controller=greedy, **{**FEW, "horizon": 1.0})
    assert result.value == result.low == result.high == 100.0 * 2.0**10
    assert result.summary.startswith("All loads up to 1.024e+05 requests/s meet the service level")


LONG = replace(
    workload(rate=8.0, tpot=0.2), lengths=ms.requests.make_lengths("geometric", mean_output=60.0, mean_prompt=300.0)
)


def test_share_within_the_memory_is_that_of_simulated_contexts(monkeypatch):
    """The contexts of the simulation itself, in a load of independent users."""
    cores, make_core = [], long_run.seeded_core
    monkeypatch.setattr(long_run, "seeded_core", lambda *of, **more: cores.append(make_core(*of, **more)) or cores[-1])
    rows = []

    def sums(run):
        queues = cores[-1].queues
        rows.append((queues.context * ~queues.idle).sum(-1))
        return False

    (alone,) = SERVER_ONLY["autoregressive"](SCENARIO.replace(num_users=40, server="a100-32b"))
    run = ms.serve(alone, LONG, copies=24, warm_up=5.0, horizon=20.0, enough=sums)
    contexts = np.array(rows[len(rows) // 4 :])
    for share, error in ((0.5, 0.12), (0.95, 0.04)):  # the sum is skewed
        tokens = float(np.quantile(contexts, share))
        assert share_within_memory(LONG, run, tokens) == pytest.approx(share, abs=error)


def test_memory_limits_the_capacity_if_latencies_do_not(coarse):
    few = {"workload": LONG, "controller": "autoregressive", **FEWER, "by": "users", "most": 20}
    scenario = SCENARIO.replace(server="a100-32b")
    runs = []
    free = multispin_lab.capacity(scenario, **few, progress=runs.append)
    assert (free.value, free.tries[-1].load) == (20.0, 20.0)
    assert sorted(runs) == runs
    assert len(runs) > len(free.tries)  # also within runs
    tight = multispin_lab.capacity(scenario, **few, kv_tokens=6000.0)
    assert 0.0 < tight.value < 20.0
    assert tight.summary.endswith("; with more, the contexts exceed the KV memory.")
    above = next(point for point in tight.tries if point.load > tight.value)
    assert above.kv_share < 0.95 < 1.0 == share_within_memory(LONG, above.run, np.inf)


def test_controllers_differ(coarse):
    without = {"energy-prices", "drift", "shaped", "paced", "timetable"}
    assert {*rule_names()} == {*ms.controller_names(), "autoregressive", "colocated"} - without
    few = {"workload": WORKLOAD, "percent": 85.0, **FEWER}
    names = ("optimal", "greedy+deadlines", "autoregressive+deadlines")
    optimal, greedy, alone = (multispin_lab.capacity(SCENARIO, controller=name, **few).value for name in names)
    assert 0.0 < optimal < greedy
    assert alone > 0.1


OPTIONS = {"workload": WORKLOAD, "controller": "greedy", **FEW}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"tpot": 0.0}, "tpot: .*0.0"),
        ({"tpot": float("nan")}, "tpot: .*nan"),
        ({"tpot": 0.04, "system": "multi"}, "did you mean 'multi-spin'"),
        ({"tpot": 0.04, "states": 0}, "states: .*0"),
        ({"tpot": 0.04, "seed": -1}, "seed: .*-1"),
        ({}, "tpot: expected either tpot or workload, got "),
        ({"tpot": 0.04, "workload": WORKLOAD}, "tpot: expected either tpot or workload, got "),
        ({**OPTIONS, "percent": 0.0}, r"percent: expected a finite number in \(0, 100\), got 0.0"),
        ({**OPTIONS, "percent": 100.0}, r"percent: expected a finite number in \(0, 100\), got 100.0"),
        ({**OPTIONS, "by": "users", "most": 2.5}, "most: expected an integer ≥ 1, got 2.5"),
        ({**OPTIONS, "most": 0.0}, r"most: expected a finite number in \(0, inf\), got 0.0"),
        ({**OPTIONS, "kv_tokens": 0.0}, "kv_tokens: expected .*, got 0.0"),
        ({**OPTIONS, "by": "user"}, "did you mean 'users'"),
        ({**OPTIONS, "copies": 1}, "copies: expected an integer ≥ 2, got 1"),
        ({**OPTIONS, "requests": 0}, "requests: expected an integer ≥ 1, got 0"),
        ({**OPTIONS, "controller": "gredy"}, "did you mean 'greedy'"),
        ({**OPTIONS, "controller": "greedy+deadline"}, "did you mean 'deadlines'"),
        ({**OPTIONS, "workload": workload()}, "level: expected a limit of ttft, tpot or e2el, got none"),
        ({**OPTIONS, "workload": replace(WORKLOAD, shares=(1.0,) * 4), "by": "users"}, "shares: expected None"),
    ],
)
def test_bad_arguments(bad, words):
    with pytest.raises(ValueError, match=words):
        multispin_lab.capacity(SCENARIO, **bad)
    for options in ({"tpot": 0.04, "copies": 4}, {"workload": WORKLOAD, "system": "multi-spin"}):
        with pytest.raises(TypeError, match=r"capacity: got .* '(copies|system)' \(expected one of \['"):
            multispin_lab.capacity(SCENARIO, **options)


def test_a_load_below_the_result_is_in_time_too(monkeypatch):
    """Fewer than 95 % are in time from 40 to 170 devices, and from 232 on; the search begins at 200."""

    def trial(*_):
        def point(load):
            late = 40.0 <= load <= 170.0 or load >= 232.0
            in_time, missed = np.array([[90, 10]] * 4 if late else [[99, 1]] * 4).T
            return LoadPoint(load, SimpleNamespace(in_time=in_time[:, None], missed=missed[:, None], time=in_time))

        return point

    monkeypatch.setattr(capacity_module, "_Trial", trial)
    monkeypatch.setattr(LoadSearch, "estimate", lambda _: (200.0, 0))
    result = multispin_lab.capacity(SCENARIO, workload=WORKLOAD, by="users")
    late = next(position for position, point in enumerate(result.tries) if point.share < 0.95)
    assert [point.load for point in result.tries[late - 1 : late + 1]] == [39.0, 40.0]
    assert result.value == 39.0


def test_loads_are_reported_one_by_one(capsys):
    points = []
    most = multispin_lab.capacity(SERVED, tpot=0.035, system="autoregressive", report=points.append)
    assert most == max(point.load for point in points if point.share >= 0.95) > 1
    few = {"controller": "greedy", "copies": 2, "warm_up": 0.0, "horizon": 2.0, "requests": 4}
    result = multispin_lab.capacity(SERVED, workload=workload(ttft=3.0), report=print, **few)
    expected = [f"load {point.load:.4g}: {100.0 * point.share:.1f} % in time" for point in result.tries]
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(expected)


def test_an_interval_is_open_if_resamples_meet_the_level_at_the_largest_load(coarse, found):
    assert found.value < found.high < found.tries[-1].load
    partial = LoadSearch(SCENARIO, WORKLOAD, percent=85.0).result(found.tries[:-1])
    assert (partial.value, partial.low, partial.high) == (found.value, found.low, np.inf)
    assert partial.summary.endswith("to inf).")


@pytest.mark.parametrize("name", SERVER_ONLY)
def test_a_server_alone_does_not_wait_for_devices_that_read(name):
    lengths = ms.requests.make_lengths("geometric", mean_output=20.0, mean_prompt=100.0)
    requests = replace(workload(), lengths=lengths)
    runs = []
    for prompt_rate in (0.0, 26.0):
        controller = SERVER_ONLY[name](SERVED.replace(prompt_rate=prompt_rate))[-1]
        runs.append(ms.serve(controller, requests, copies=2, warm_up=1.0, horizon=6.0))
    assert runs[0].finished.sum() > 10
    np.testing.assert_array_equal(runs[0].pooled.ttft, runs[1].pooled.ttft)
    np.testing.assert_array_equal(runs[0].pooled.tpot, runs[1].pooled.tpot)
