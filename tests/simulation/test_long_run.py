"""Long runs against formulas and against each other."""

import sys

import numpy as np
import pytest

import multispin_env as ms
import multispin_lab
from multispin_env.draft import expected_tokens
from multispin_env.physics.continuous.core import ContinuousCore, free_state
from multispin_lab.planning.at_server import SERVER_ONLY
from tests.controllers.continuous.states import LIMITS, workload

SCENARIO = ms.Scenario.preset("llama2", num_users=3)
GREEDY = ms.make_controller("greedy", SCENARIO, draft_length=4)
SHORT = {"warm_up": 2.0, "horizon": 6.0}
WORKLOAD = workload(**LIMITS)
FIELDS = ("time", "tokens", "timely_tokens", "arrivals", "finished", "in_time", "dropped", "missed")


@pytest.mark.parametrize("law", [{}, {"verification_pieces": ((0.0, 0.001), (0.01, 0.0)), "round_trip_time": 0.01}])
@pytest.mark.parametrize("preset", ["llama2", "qwen3.5"])
def test_the_rate_of_rounds_is_their_goodput(preset, law):
    scenario = ms.Scenario.preset(preset, num_users=7, **law)
    state = ms.sample_state(scenario, np.random.default_rng(0), 3)
    decision = ms.make_controller("optimal", scenario)(state)
    goodput = ms.expected_outcome(scenario, state, decision).goodput
    rate = ms.long_run(ms.make_controller("optimal", scenario), state, warm_up=0.5, horizon=2.0).rate
    assert rate == pytest.approx(goodput, rel=1e-12)


LOSS = {"upload_loss": 0.3, "repeat_time": 0.02}


def test_repetitions_delay_a_device_by_their_mean():
    scenario = ms.Scenario.preset("llama2", num_users=1, access_delay=0.03, **LOSS)
    state = ms.sample_state(scenario, 0, 16)
    rule = ms.make_controller("greedy", scenario, draft_length=4)
    alone = ms.Decision(np.full((16, 1), 4), np.full((16, 1), scenario.total_bandwidth))
    outcome = ms.expected_outcome(scenario, state, alone)  # the largest number of one device is its own
    rate = ms.long_run(rule, state, warm_up=0.0, horizon=50.0).rate
    assert np.mean(rate / outcome.goodput) == pytest.approx(1.0, abs=5e-3)


@pytest.mark.parametrize(
    "fields", [{}, {"draft_ahead": True}, {"access_delay": (0.0, 0.0, 0.04), "min_draft_length": 0}]
)
def test_no_rule_with_repetitions_is_above_the_bound(fields):
    scenario = ms.Scenario.preset("qwen3.5", num_users=3, server="a100-32b", payload="ids", **LOSS, **fields)
    state = ms.sample_state(scenario, 0, 3)
    bound = ms.rate_bound(scenario, state).value
    assert (bound < ms.rate_bound(scenario.replace(upload_loss=0.0), state).value).all()
    names = ["greedy", *(() if scenario.draft_ahead else ("optimal", "synchronous"))]
    rules = [ms.make_controller(name, scenario) for name in names]
    rates = [ms.long_run(rule, state, warm_up=0.5, horizon=4.0).rate.mean() for rule in rules]
    assert 0.7 * bound.mean() < max(rates) < bound.mean()


@pytest.mark.parametrize("name", ["optimal", "synchronous", "greedy", "groups", "prices", "own-pace"])
def test_equal_delays_of_drafts_are_a_round_trip(name):
    delays = {"access_delay": 0.02}, {"round_trip_time": 0.02}
    scenarios = [ms.Scenario.preset("llama2", num_users=4, **delay) for delay in delays]
    state = ms.sample_state(scenarios[0], 0, 2)
    first, second = (ms.long_run(ms.make_controller(name, s), state, warm_up=0.2, horizon=1.0).rate for s in scenarios)
    assert first == pytest.approx(second, rel=1e-9)


def test_other_links_are_refused():
    scenario = ms.Scenario.preset("llama2", num_users=3, link="power")
    rule, state = ms.make_controller("greedy", scenario), ms.sample_state(scenario, 0)
    continuous = free_state(state[None])
    for refused in (
        lambda: ms.long_run(rule, state),
        lambda: ms.long_run(ms.make_controller("optimal", scenario), state),
        lambda: ms.serve(rule, WORKLOAD),
        lambda: ms.rate_bound(scenario, state),
        lambda: multispin_lab.capacity(scenario, workload=WORKLOAD),
        lambda: ms.EnvConfig.of("MultiSpin/Continuous-v0", scenario=scenario),
        lambda: ms.EnvConfig.of("MultiSpin/Serving-v0", scenario=scenario),
        lambda: rule(continuous),
        lambda: ms.make_controller("optimal", scenario)(continuous),
    ):
        with pytest.raises(ValueError, match=r"^link: expected 'density' without the barrier, got 'power'$"):
            refused()


def test_a_rate_counts_whole_batches():
    """So it does not depend on the window in a periodic schedule."""
    state, controller = ms.sample_state(SCENARIO, 1), ms.make_controller("synchronous", SCENARIO)
    windows = ((0.0, 0.1), (0.33, 1.0), (1.0, 0.7))
    rates = [ms.long_run(controller, state, warm_up=warm_up, horizon=horizon).rate for warm_up, horizon in windows]
    assert np.shape(rates[0]) == ()
    assert rates == pytest.approx([rates[0]] * 3, rel=1e-12)


def test_fading_depends_on_the_seed_only():
    controller, state = ms.make_controller("greedy", SCENARIO, draft_length=5), ms.sample_state(SCENARIO, 1, 2)
    window = {"warm_up": 0.0, "horizon": 2.0, "channel": "independent"}
    rates = [ms.long_run(controller, state, seed=seed, **window).rate for seed in (0, 0, 1)]
    assert (rates[0] == rates[1]).all()
    assert (rates[0] != rates[2]).all()


def test_a_copy_does_not_depend_on_the_others_but_on_the_seed():
    few, many = (ms.serve(GREEDY, WORKLOAD, copies=copies, **SHORT) for copies in (2, 5))
    other = ms.serve(GREEDY, WORKLOAD, copies=2, seed=1, **SHORT)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:2])
    np.testing.assert_array_equal(few.latency.e2el, many.latency.e2el[:2])
    assert (few.tokens != other.tokens).any()


def test_requests_do_not_depend_on_the_controller():
    """Short answers are served at once, so that the last step ends with the last arrival."""
    short = workload(mean_output=1.0, **LIMITS)
    controllers = GREEDY, ms.make_controller("groups", SCENARIO), SERVER_ONLY["autoregressive"](SCENARIO)[0]
    arrivals = np.array([ms.serve(rule, short, copies=4, warm_up=0.0, horizon=20.0).arrivals for rule in controllers])
    assert arrivals[0].sum() > 100
    assert (np.ptp(arrivals, 0) <= 1).all()  # one request of the last step


def test_window_and_held_devices():
    run = ms.serve(GREEDY, workload(rate=20.0, **LIMITS), copies=4, **SHORT)
    assert (np.abs(run.time - SHORT["horizon"]) < 1.0).all()  # more than a step with work
    state = ms.sample_state(SCENARIO, np.random.default_rng(3), 2)
    slow = state.changed(draft_time=10.0 * state.draft_time)
    first, second = (ms.serve(GREEDY, WORKLOAD, copies=2, channel="static", state=s, **SHORT) for s in (state, slow))
    assert (second.pooled.ttft > first.pooled.ttft).all()


ENDLESS = workload("think", rate=3e3, mean_output=1e6, ttft=60.0)  # All devices have a request from the start on


@pytest.mark.parametrize("server", ["", "a100-32b"])
def test_rate_of_the_server_alone(server):
    scenario = SCENARIO.replace(server=server, num_users=5) if server else SCENARIO.replace(access_delay=0.1, **LOSS)
    (alone,) = SERVER_ONLY["autoregressive"](scenario)
    run = ms.serve(alone, ENDLESS, copies=2, warm_up=1.0, horizon=3.0)
    np.testing.assert_allclose(run.tokens.sum(-1) / run.time, scenario.autoregressive_goodput, rtol=1e-9)


@pytest.mark.parametrize(
    ("length", "fields", "drafting"),
    [
        (1, {}, 0.004),
        (5, {}, 0.004),
        (5, {"server_draft_pieces": ((0.002, 0.0), (0.001, 0.0007))}, 0.0045),
        (3, {"server": "", "server_draft_pieces": ((0.009, 0.0), (0.001, 0.0007))}, 0.009),
    ],
)
def test_rate_of_a_server_that_drafts(length, fields, drafting):
    scenario = SCENARIO.replace(**{"server": "a100-32b", "num_users": 5, **fields})
    drafts = SERVER_ONLY["colocated"](scenario)[length]
    alpha = np.array([[0.6, 0.7, 0.8, 0.9, 0.3]])
    state = ms.SystemState(np.full((1, 5), 1e-12), np.ones((1, 5)), alpha)
    run = ms.serve(drafts, ENDLESS, copies=1, warm_up=0.5, horizon=30.0, channel="static", state=state)
    step = length * drafting + scenario.law.time(5, 5 * (length + 1))
    np.testing.assert_allclose(run.tokens[0] / run.time, expected_tokens(length, alpha[0]) / step, rtol=0.08)
    np.testing.assert_allclose(run.pooled.gap, step, rtol=1e-9)


def test_too_large_rates_are_refused_before_anything_is_drawn(monkeypatch):
    monkeypatch.setattr(ContinuousCore, "seed", None)
    for rate in (1e9, 4.2e6, (1.0, 1e9)):
        with pytest.raises(
            ValueError, match=r"rate: expected at most 4.194e\+06 requests/s, .* 67,108,864 requests, got"
        ):
            ms.serve(GREEDY, workload(rate=rate, **LIMITS), copies=2, **SHORT)
    monkeypatch.undo()
    closed = workload("think", rate=1e9, **LIMITS)  # devices wait for answers
    assert ms.serve(GREEDY, closed, copies=2, **SHORT).tokens.any()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"copies": 0}, "copies: expected an integer ≥ 1, got 0"),
        ({"horizon": 0.0}, r"horizon: expected a finite number in \(0, inf\), got 0.0"),
        ({"warm_up": -1.0}, "warm_up: expected a finite number"),
        ({"seed": -1}, "seed: expected an integer ≥ 0, got -1"),
        ({"channel": "statics"}, "did you mean 'static'"),
        ({"state": ms.sample_state(SCENARIO, np.random.default_rng(0), 3)}, r"state: expected shape \(2, 3\)"),
    ],
)
def test_bad_arguments(bad, message):
    with pytest.raises(ValueError, match=message):
        ms.serve(GREEDY, WORKLOAD, **{"copies": 2, **SHORT, **bad})
    if bad.keys() <= {"horizon", "warm_up", "channel"}:
        with pytest.raises(ValueError, match=message):
            ms.long_run(GREEDY, ms.sample_state(SCENARIO, np.random.default_rng(1)), **bad)


@pytest.mark.parametrize("name", ["load-aware", "greedy+deadlines"])
def test_no_function_of_a_run_loses_an_interrupt(name):
    """Ctrl-C may come at any call, also where NumPy calls back and drops exceptions."""
    controller = ms.make_controller(name, SCENARIO)
    reached = set()

    def run(interrupted=None):
        def interrupt(frame, event, _):
            if event == "call":
                reached.add(frame.f_code)
                if frame.f_code is interrupted:
                    raise KeyboardInterrupt

        sys.setprofile(interrupt)
        try:
            ms.serve(controller, WORKLOAD, copies=2, warm_up=0.2, horizon=0.5)
        finally:
            sys.setprofile(None)

    run()  # fills caches
    reached.clear()
    run()
    for code in sorted(reached, key=repr):
        with pytest.raises(KeyboardInterrupt):
            run(code)


def test_batteries_are_refused():
    scenario = SCENARIO.replace(battery_rounds=5, min_draft_length=0)
    for run, argument in ((ms.long_run, ms.sample_state(scenario, 0)), (ms.serve, WORKLOAD)):
        with pytest.raises(ValueError, match=r"^battery_rounds: expected 0 without the barrier, got 5$"):
            run(ms.make_controller("optimal", scenario), argument, **SHORT)
