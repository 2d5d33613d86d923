"""Relaxed optimum and Lagrangian lengths against slow computations."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import wrightomega

import multispin_env as ms
from multispin_env.draft import expected_tokens
from multispin_env.solver import stationary
from multispin_env.solver.problem import Problem, make_problem
from multispin_env.solver.relaxed import Ray, ray_lengths, relaxed_optimum
from multispin_env.solver.rule import fast_lengths
from multispin_env.solver.stationary import charged_omega, omega_below, wright_omega
from tests.hostile import unchecked
from tests.strategies import problems


def test_wright_omega():
    z = np.concatenate([np.linspace(-600.0, 60.0, 2001), np.geomspace(60.0, 1e9, 100)])
    np.testing.assert_allclose(wright_omega(z), wrightomega(z), rtol=1e-13)


@pytest.mark.parametrize("scarcity", [None, -30.0, 0.0, 5.0])
def test_omega_of_large_arguments_by_the_difference(scarcity):
    m, s = (array.ravel() for array in np.meshgrid(np.geomspace(1e3, 1e6, 20), np.linspace(-20.0, 20.0, 21)))
    z = m + np.log(m) - s
    y, share = (wright_omega(z), 1.0) if scarcity is None else charged_omega(z, 2.0 * m + scarcity)
    below, part = omega_below(m, s, None if scarcity is None else np.full_like(m, scarcity))
    np.testing.assert_allclose(below, m - y, atol=1e-8)
    np.testing.assert_allclose(part, share, atol=1e-8)


@pytest.mark.parametrize("law", [{}, {"verification_pieces": ((0.02, 1e4),)}], ids=["paper", "tokens"])
def test_drafting_far_shorter_than_uploads_has_no_effect(law):
    air = {"total_bandwidth": 1e3, "bits_per_probability": 31_000_000}
    scenario = unchecked(ms.Scenario.preset("llama2", num_users=4, **air), **law)
    state = ms.sample_state(scenario, np.random.default_rng(0), 10)
    slow, fast = (
        relaxed_optimum(replace(make_problem(scenario, state), draft_time=np.full((10, 4), time)), 1e-3)
        for time in (1e2, 1e-12)
    )
    np.testing.assert_allclose(fast.value, slow.value, rtol=1e-3)
    np.testing.assert_allclose(fast.length, slow.length, rtol=0.05)


@settings(max_examples=30)
@given(problem=problems(most=2000))
def test_the_relaxed_optimum_bounds_the_integers(problem):
    integers = problem.value(fast_lengths(problem)[0][:, None])[:, 0]
    assert (relaxed_optimum(problem).value >= integers * (1.0 - 1e-9)).all()


@settings(max_examples=60)
@given(
    problem=problems(most=2000),
    charge=st.sampled_from([0.0, 0.2]),
    position=st.floats(0.05, 1.0),
    log_price=st.floats(-6.0, 3.0),
)
def test_lengths_on_a_ray_are_the_best_for_their_price(problem, charge, position, log_price):
    low, high = (problem.latency(ends[:, None])[:, 0] for ends in (problem.low, problem.high))
    phi, price = low + (high - low) * position + 1e-9, np.exp([log_price])
    ray = Ray(phi, price, np.array([charge]), np.array([0.4]), np.array([0.15]), 9)
    assert ray.latencies == pytest.approx(phi * (0.4 + 0.15 * np.arange(9.0))[:, None], rel=1e-14)
    for latency, lengths_at in zip(ray.latencies[:, 0], ray_lengths(problem, ray, problem.low)[:, 0], strict=True):
        for k, length in enumerate(lengths_at.astype(int)):
            lengths = np.arange(problem.low[0, k], problem.high[0, k] + 1)
            room = latency - lengths * problem.draft_time[0, k]
            share = problem.token_time[0, k] * lengths / np.where(room > 0.0, room, np.nan)
            tokens = problem.weights[0, k] * expected_tokens(lengths, problem.acceptance_rate[0, k])
            net = tokens - charge * lengths - price[0] * latency / phi[0] * share
            if not np.isnan(net[0]):
                best = np.nanmax(net)
                assert net[length - problem.low[0, k]] >= best - 1e-9 * (1.0 + abs(best))


def test_ranges_of_devices_may_differ():
    pace, air, alpha = np.full((1, 2), 0.01), np.full((1, 2), 1e-4), np.full((1, 2), 0.9)
    low, high = np.array([[1, 1]]), np.array([[1, 25]])
    problem = Problem(pace, air, alpha, np.ones((1, 2)), low, high, np.array([0.1]))
    ray = Ray(np.array([1.0]), np.array([1e-6]), np.zeros(1), np.ones(1), np.ones(1), 2)
    assert ray_lengths(problem, ray, low)[:, 0].tolist() == [[1, 25], [1, 25]]


def test_long_ranges_use_a_window_of_lengths():
    scenario = ms.Scenario.preset("qwen3.5", num_users=6, max_draft_length=400)
    problem = make_problem(scenario, ms.sample_state(scenario, np.random.default_rng(2), 3))
    at = relaxed_optimum(problem)
    ray = Ray(at.latency, at.price, np.zeros(3), np.full(3, 0.9), np.full(3, 0.05), 5)
    lengths, moved = (ray_lengths(problem, ray, at.length + shift) for shift in (0.0, 7.0))
    assert (np.abs(lengths - at.length) < 8.0).all()
    assert (lengths == moved).all()
    assert (np.diff(lengths, axis=0).sum((0, -1)) > 0.0).all()


@pytest.mark.parametrize("bandwidth", [2e6, 2e7, 2e8])
def test_both_equations_hold_at_the_relaxed_optimum(bandwidth):
    # shares sum to one, and λ Σ c L / (φ − L T)² (φ + T_ver) = Σ E away from the ends of ranges
    scenario = ms.Scenario.preset("qwen3.5", num_users=6, total_bandwidth=bandwidth, max_draft_length=200)
    problem = make_problem(scenario, ms.sample_state(scenario, np.random.default_rng(2), 50))
    at = relaxed_optimum(problem)
    room = at.latency[:, None] - at.length * problem.draft_time
    share = problem.token_time * at.length / room
    tokens = expected_tokens(at.length, problem.acceptance_rate).sum(-1)
    inner = ((at.length > 1.0) & (at.length < 200.0)).all(-1)
    assert inner.mean() > 0.5
    np.testing.assert_allclose(share.sum(-1), 1.0, rtol=1e-9)
    price_of_time = at.price * (share / room).sum(-1) * (at.latency + problem.constant_time)
    np.testing.assert_allclose(price_of_time[inner], tokens[inner], rtol=1e-9)
    np.testing.assert_allclose(at.value, tokens / (at.latency + problem.constant_time), rtol=1e-12)


@pytest.mark.parametrize("name", ["llama2", "qwen3.5"])
@pytest.mark.parametrize("bandwidth", [2e6, 1e7, 5e7])
def test_newton_alone_solves_the_presets(name, bandwidth, monkeypatch):
    monkeypatch.setattr(stationary, "_nested", lambda *_: pytest.fail("Newton's steps were not enough"))
    scenario = ms.Scenario.preset(name, total_bandwidth=bandwidth)
    relaxed_optimum(make_problem(scenario, ms.sample_state(scenario, np.random.default_rng(0), 100)))


@pytest.mark.parametrize("longest", range(1, 13))
def test_the_optimum_is_found_where_uploads_take_a_millionth_of_the_round(longest):
    # one device needs longer for a token than the other for twelve
    pace, air, alpha = np.array([[[0.0123713, 0.83086496]], [[4.76255e-06, 5.23673e-06]], [[0.9, 0.99]]])
    low, high = np.ones((1, 2), dtype=np.int64), np.full((1, 2), longest)
    problem = Problem(pace, air, alpha, np.ones((1, 2)), low, high, np.array([0.0107]))
    best = problem.value(np.array([[[longest, 1.0]]]))[0, 0]
    assert relaxed_optimum(problem).value[0] == pytest.approx(best, rel=1e-5)
    assert (fast_lengths(problem)[0] == [longest, 1.0]).all()
