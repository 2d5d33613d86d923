"""Bound with drafting ahead, against the exact optimum of one device and rules."""

import numpy as np
import pytest
from scipy import optimize

import multispin_env as ms
from benchmarks.evidence.bound_ahead import cell, controllers, drawn_system, played
from multispin_env.draft import expected_tokens

ROUNDING = 1.0 + 1e-9


def simple(alpha=0.7, users=1, **fields):
    """Return devices that draft a token in 10 ms and upload instantly, and a pass of 30 ms."""
    values = {"verification_fixed_time": 0.0, "verification_time_per_draft": 0.0, "verification_pieces": ((0.03, 0.0),)}
    values |= {"total_bandwidth": 1e30, "min_draft_length": 0, "max_draft_length": 5, "draft_ahead": True}
    scenario = ms.Scenario.preset("llama2", num_users=users, **(values | fields))
    return scenario, ms.SystemState(np.full(users, 0.01), np.ones(users), np.full(users, alpha))


def test_a_candidate_with_hits_independent_of_lengths_is_exceeded():
    scenario, state = simple()
    length = np.arange(6)
    candidate = (expected_tokens(length, 0.7) / ((1.0 - 0.7 ** (length + 1)) * length * 0.01 + 0.03)).max()
    best = ms.bounds.rate_optimum(scenario, state, step=1.0).rate  # the grid is exact: all times are whole drafts
    assert candidate == pytest.approx(50.76, abs=0.005)
    assert best == pytest.approx(53.80, abs=0.005)
    assert candidate < best <= ms.rate_bound(scenario, state).value <= 1.05 * best
    assert ms.rate_bound(scenario.replace(draft_ahead=False), state).value < 0.9 * best


@pytest.mark.parametrize(
    ("preset", "server", "least", "pick", "ratio"),
    [
        ("llama2", "paper", 1, min, 0.999),
        ("qwen3.5", "paper", 1, min, 0.996),
        ("llama2", "a100-32b", 0, min, 0.974),
        ("qwen3.5", "a100-32b", 0, max, 0.997),
    ],
)
def test_the_exact_optimum_of_known_cells(preset, server, least, pick, ratio):
    scenario, state = cell(preset, server, least, pick)
    best = ms.bounds.rate_optimum(scenario, state, step=0.125).rate
    assert best / ms.rate_bound(scenario, state).value == pytest.approx(ratio, abs=6e-4)


def test_no_best_policy_of_one_device_is_above():
    ratios = []
    for seed in range(50):
        scenario, state = drawn_system(seed)
        scenario = scenario.replace(num_users=1, max_draft_length=min(scenario.max_draft_length, 8))
        state = state.mapped(lambda array: array[:1])
        ratios.append(ms.bounds.rate_optimum(scenario, state, step=0.25).rate / ms.rate_bound(scenario, state).value)
    assert max(ratios) <= ROUNDING
    assert np.median(ratios) > 0.9


def test_no_rule_is_above():
    ratios = []
    for seed in range(2):
        scenario, state = drawn_system(seed)
        bound = float(ms.rate_bound(scenario, state).value)
        for controller in controllers(scenario).values():
            rate, error = played(controller, state, 1.5)
            assert rate - 4.0 * error <= bound * ROUNDING
            ratios.append(rate / bound)
    assert max(ratios) > 0.8


def test_no_rule_is_above_in_a_fading_channel():
    scenario = ms.Scenario.preset("qwen3.5", num_users=3, server="a100-32b", payload="ids", draft_ahead=True)
    state = ms.sample_state(scenario, np.random.default_rng(0))
    gain = np.full(3, 0.3)
    static = ms.physics.radio.spectral_efficiency(scenario, gain)
    many = state.changed(spectral_efficiency=static).mapped(lambda array: np.repeat(array[None], 8, 0))
    bound = float(ms.rate_bound(scenario, state, channel="independent", mean_gain=gain).value)
    for name in ("greedy", "plainest 1, waits for none", "plainest 4, waits for all"):
        controller = controllers(scenario)[name]
        rates = ms.long_run(controller, many, warm_up=1.0, horizon=3.0, channel="independent").rate
        assert rates.mean() - 4.0 * rates.std(ddof=1) / 8**0.5 <= bound
    assert (
        ms.rate_bound(scenario.replace(draft_ahead=False), state, channel="independent", mean_gain=gain).value < bound
    )


@pytest.mark.parametrize(
    ("guess", "bandwidth", "bound"),
    [
        ("greedy", 3e5, 63.31038609),
        ("greedy", 3e6, 67.20309886),
        ("shared-seed", 3e5, 62.31653441),
        ("independent", 3e6, 65.80783233),
    ],
)
def test_bounds_of_a_second_program(guess, bandwidth, bound):
    """Values of a dense program that was written and solved without code of the package."""
    scenario, state = simple(0.8, 2, guess=guess, max_draft_length=3, round_trip_time=0.004, total_bandwidth=bandwidth)
    scenario = scenario.replace(payload="ids", verification_time_per_draft=0.02, min_draft_length=0)
    state = ms.SystemState(np.array([0.010, 0.017]), np.array([0.02, 0.01]), state.acceptance_rate)
    assert ms.rate_bound(scenario, state).value == pytest.approx(bound, rel=1e-6)


def test_any_prices_prove_a_bound(monkeypatch):
    scenario, state = drawn_system(3)
    exact, solved = float(ms.rate_bound(scenario, state).value), optimize.linprog
    for seed in range(3):
        noise = np.random.default_rng(seed)

        def worse(*arguments, noise=noise, **options):
            result = solved(*arguments, **options)
            result.x = result.x * noise.uniform(0.9, 1.1, result.x.shape)
            return result

        monkeypatch.setattr(optimize, "linprog", worse)
        assert exact * (1.0 - 1e-6) <= ms.rate_bound(scenario, state).value < 3.0 * exact


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_drafting_ahead_where_nothing_or_everything_is_accepted(alpha):
    scenario, state = simple(alpha, 2)
    assert ms.rate_bound(scenario, state).value == pytest.approx(2 / 0.03 if alpha == 0.0 else 2 / 0.01, rel=1e-6)


def test_better_guesses_are_not_worse():
    scenario, state = simple(0.8, 3)
    guesses = ("greedy", "shared-seed", "independent")
    bounds = [float(ms.rate_bound(scenario.replace(guess=guess), state).value) for guess in guesses]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] > ms.rate_bound(scenario.replace(draft_ahead=False), state).value


def test_no_best_policy_of_rounds_with_two_devices_is_above():
    ratios = []
    for seed in range(60):
        scenario, state = drawn_system(seed)
        if scenario.num_users > 1 and scenario.max_draft_length == 3:
            scenario, state = scenario.replace(num_users=2), state.mapped(lambda array: array[:2])
            best, bounds = (
                ms.bounds.rate_optimum(scenario, state),
                (ms.rate_bound(scenario, state, barrier=b) for b in (True, False)),
            )
            ratios.append([float(best.rate / bound.value) for bound in bounds])
    assert np.max(ratios) <= ROUNDING
    assert (np.median(ratios, axis=0) > [0.95, 0.85]).all()
    assert len(ratios) > 10


def test_a_bound_on_rounds_alone():
    scenario = ms.Scenario.preset("llama2", num_users=2, max_draft_length=8)
    state = ms.sample_state(scenario, np.random.default_rng(0))
    for draft_ahead in (False, True):
        here = scenario.replace(draft_ahead=draft_ahead)
        rounds, bound = ms.rate_bound(here, state, barrier=True).value, ms.rate_bound(here, state).value
        assert rounds < 0.95 * bound
        known = ms.upper_bound(here, state) if not draft_ahead else ms.bounds.rate_optimum(here, state).rate
        assert 0.8 * rounds < known <= rounds
