"""Long-run rates against what is known."""

import numpy as np
import pytest

import multispin_env as ms


@pytest.mark.parametrize("law", [{}, {"verification_pieces": ((0.0, 0.001), (0.01, 0.0)), "round_trip_time": 0.01}])
@pytest.mark.parametrize("preset", ["llama2", "qwen3.5"])
def test_the_barrier_has_the_goodput_of_a_round(preset, law):
    scenario = ms.Scenario.preset(preset, num_users=7, **law)
    state = ms.sample_state(scenario, np.random.default_rng(0), 3)
    decision = ms.make_controller("optimal", scenario)(state)
    goodput = ms.expected_outcome(scenario, state, decision).goodput
    rate = ms.long_run_rate(ms.make_controller("optimal", scenario), state, warm_up=0.5, horizon=2.0)
    assert rate == pytest.approx(goodput, rel=1e-12)


def test_a_rate_counts_whole_batches():
    """So it does not depend on where the window of a periodic schedule begins and ends."""
    scenario = ms.Scenario.preset("llama2", num_users=4)
    state = ms.sample_state(scenario, np.random.default_rng(1))
    controller = ms.make_controller("synchronous", scenario)
    rates = [
        ms.long_run_rate(controller, state, warm_up=w, horizon=h) for w, h in ((0.0, 0.1), (0.33, 1.0), (1.0, 0.7))
    ]
    assert np.shape(rates[0]) == ()
    assert rates == pytest.approx([rates[0]] * 3, rel=1e-12)


def test_fading_repeats_and_depends_on_the_seed():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    state = ms.sample_state(scenario, np.random.default_rng(1), 2)
    controller = ms.make_controller("greedy", scenario, draft_length=5)
    rates = [
        ms.long_run_rate(controller, state, warm_up=0.0, horizon=2.0, channel="independent", seed=seed)
        for seed in (0, 0, 1)
    ]
    assert (rates[0] == rates[1]).all()
    assert (rates[0] != rates[2]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0.0}, "horizon: expected a finite number in"),
        ({"warm_up": np.nan}, "warm_up: expected a finite number in"),
        ({"channel": "statik"}, "channel: expected one of .*; did you mean 'static'"),
    ],
)
def test_bad_windows(options, message):
    scenario = ms.Scenario.preset("llama2", num_users=2)
    state = ms.sample_state(scenario, np.random.default_rng(1))
    with pytest.raises(ValueError, match=message):
        ms.long_run_rate(ms.make_controller("groups", scenario), state, **options)
