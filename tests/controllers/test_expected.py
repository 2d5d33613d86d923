"""The decision with the largest expected goodput, against enumeration, quadrature and plug-ins."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import integrate, optimize, stats

import multispin_env as ms
from benchmarks.evidence.attainable import shares_bound
from multispin_env.controllers.base import Assumptions
from multispin_env.draft import expected_tokens
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.episodes import play_episodes
from multispin_env.physics.posterior import Posterior, mixture_tokens, predictive_gains
from multispin_env.physics.radio import (
    channel_gain,
    predictive_mean,
    predictive_quantile,
    spectral_efficiency,
)
from multispin_env.physics.types import Observed
from multispin_env.solver.equalization import equal_latency
from multispin_env.solver.problem import make_problem, user_times
from multispin_env.solver.samples import SampleProblem, sample_decisions
from tests.controllers.histories import along, history, make, system
from tests.refusals import refusals


def test_expected_tokens_of_a_mixture():
    log_weight, a, b = np.log([0.2, 0.8]) + 7.0, np.array([3.0, 40.0]), np.array([2.0, 5.0])
    table = mixture_tokens(log_weight, a, b, 12)

    def density(alpha):
        return 0.2 * stats.beta.pdf(alpha, 3.0, 2.0) + 0.8 * stats.beta.pdf(alpha, 40.0, 5.0)

    for length in (0, 1, 5, 12):
        expected = integrate.quad(lambda alpha, L=length: density(alpha) * expected_tokens(L, np.array(alpha)), 0, 1)[0]
        assert table[length] == pytest.approx(expected, rel=1e-7)


def test_gains_are_those_of_the_predictive_law(rng):
    gain, mean = rng.uniform(0.05, 1.0, (3, 4)), rng.uniform(0.2, 0.5, (3, 4))
    drawn = predictive_gains(gain, mean, 0.9, 2, 4096, seed=1)
    np.testing.assert_allclose(drawn.mean(1), predictive_mean(gain, mean, 0.9, 2), rtol=5e-3)
    for level in (0.05, 0.5, 0.9):
        below = (drawn < predictive_quantile(level, gain, mean, 0.9, 2)[:, None]).mean(1)
        np.testing.assert_allclose(below, level, atol=5e-3)
    assert (predictive_gains(gain[:1], mean[:1], 0.9, 2, 4096, seed=1) == drawn[:1]).all()


@pytest.mark.parametrize("changes", [{}, {"verification_pieces": ((0.03, 0.002),)}, {"padded": True}])
def test_hidden_acceptance_against_enumeration(changes, rng):
    law = {"verification_pieces": ((0.03, 0.002),), "padded_verification": True} if "padded" in changes else changes
    scenario = ms.Scenario.preset("llama2", num_users=2, max_draft_length=12, **law)
    (*_, observed) = history(rng, 6, 12, users=2)
    observed = replace(observed, age=np.full((12, 2), 3))
    estimator = make("expected", scenario)
    estimator.start(12)
    tokens = estimator.estimate(observed).tokens
    fast, proven = (
        ms.make_controller("optimal+expected", scenario, **options)(observed) for options in ({}, {"certify": 1e-9})
    )
    lengths = np.array([*product(range(1, 13), repeat=2)])
    times = user_times(scenario, ms.SystemState(observed.draft_time, observed.spectral_efficiency, np.ones((12, 2))))
    server = scenario.law.time(2, scenario.law.tokens(lengths, 2))
    for row in range(12):
        latency = equal_latency(lengths, times[0][row], times[1][row]).latency
        values = tokens[row, [0, 1], lengths].sum(-1) / (latency + server)
        chosen = (lengths == fast.draft_length[row]).all(-1)
        assert values[chosen] >= values.max() * (1.0 - 1e-4)
        assert proven.value[row] == pytest.approx(values.max(), rel=1e-9)
    assert proven.certified.all()


def two_devices(rng, num_states=6, draws=64, **changes):
    """Return a scenario with short drafts, states of the quantile and upload times for equally likely channels."""
    scenario = ms.Scenario.preset("qwen3.5", num_users=2, max_draft_length=6, total_bandwidth=8e5, **changes)
    gain, mean = rng.uniform(0.05, 0.5, (num_states, 2)), rng.uniform(0.2, 0.5, (num_states, 2))
    efficiency = spectral_efficiency(scenario, predictive_gains(gain, mean, 0.9, 1, draws, 0))
    draft_time, rate = rng.uniform(0.01, 0.03, (num_states, 2)), rng.uniform(0.5, 0.95, (num_states, 2))
    state = ms.SystemState(draft_time, np.quantile(efficiency, 1 / 3, axis=1), rate)
    return scenario, state, scenario.uplink.token_time(efficiency)


@pytest.mark.parametrize("law", [{}, {"verification_pieces": ((0.03, 0.01),)}, {"min_draft_length": 0}])
def test_old_reports_against_enumeration(law, rng):
    scenario, state, token_time = two_devices(rng, **law)
    problem = make_problem(scenario, state)
    solved = sample_decisions(problem, token_time)
    for row, uploads in enumerate(token_time):

        def loss(share, lengths, row=row, uploads=uploads):
            shares = np.where(lengths > 0, [share, 1.0 - share], 1.0)
            last = (lengths * (state.draft_time[row] + uploads / shares)).max(-1)
            server = scenario.law.time(2, 2 + lengths.sum()) + scenario.round_trip_time
            return -expected_tokens(lengths, state.acceptance_rate[row]).sum() * (1.0 / (server + last)).mean()

        best = max(
            -optimize.minimize_scalar(loss, bounds=(1e-3, 1.0 - 1e-3), args=(np.array(lengths),), method="bounded").fun
            for lengths in product(range(scenario.min_draft_length, 7), repeat=2)
        )
        assert solved.value[row] >= best * (1.0 - 1e-4)
        own = loss(solved.share[row, 0], solved.lengths[row])
        assert solved.value[row] == pytest.approx(-own, rel=1e-9)
        assert solved.share[row].sum() == pytest.approx(1.0)


UPLINKS: tuple[dict[str, Any], ...] = (
    {"access_delay": (0.0, 0.1)},
    {"access_delay": (0.02, 0.03), "min_draft_length": 0},
    {"link": "power"},
    {"link": "power", "efficiency_limit": 4.8, "access_delay": 0.02, "min_draft_length": 0},
    {"upload_loss": 0.3, "repeat_time": 0.15, "min_draft_length": 0},
)


@pytest.mark.parametrize("changes", UPLINKS)
def test_other_uplinks_against_enumeration(changes, rng):
    size, draws, longest = 8, 32, 5
    scenario = ms.Scenario.preset(
        "qwen3.5", num_users=2, **{"max_draft_length": longest, "total_bandwidth": 8e5, **changes}
    )
    gain, mean = rng.uniform(0.05, 0.5, (size, 2)), rng.uniform(0.2, 0.5, (size, 2))
    efficiency = spectral_efficiency(scenario, predictive_gains(gain, mean, 0.9, 1, draws, 0))
    weights, rate = rng.uniform(0.5, 2.0, (size, 2)), rng.uniform(0.3, 0.9, (size, 2))
    reported = ms.SystemState(rng.uniform(0.01, 0.03, (size, 2)), spectral_efficiency(scenario, gain), rate)
    drawn = ms.SystemState(reported.draft_time[:, None], efficiency, rate[:, None])

    def values(lengths, share):  # (n, 2) or (1, 2)
        decision = ms.Decision(lengths[:, None], share[:, None] * scenario.total_bandwidth)
        outcome = ms.expected_outcome(scenario, drawn, decision)
        return ((weights[:, None] * outcome.tokens).sum(-1) / outcome.round_latency).mean(-1)

    best = np.zeros(size)
    for pair in product(range(scenario.min_draft_length, longest + 1), repeat=2):
        for share in np.linspace(0.02, 0.98, 49) if all(pair) else [1.0 if pair[0] else 0.0]:
            best = np.maximum(best, values(np.array([pair]), np.array([[share, 1.0 - share]])))
    made = ms.make_controller("optimal", scenario, weights=weights).decide_expected(
        reported, Posterior(efficiency=efficiency)
    )
    assert (values(made.draft_length, made.bandwidth / scenario.total_bandwidth) >= best * (1.0 - 1e-4)).all()


def test_no_single_device_would_better_stop_drafting(rng):
    scenario = ms.Scenario.preset("qwen3.5", num_users=8, min_draft_length=0, total_bandwidth=8e5)
    state = ms.sample_state(scenario, 0, 6)
    gain = channel_gain(scenario, state.spectral_efficiency)
    efficiency = spectral_efficiency(scenario, predictive_gains(gain, np.full_like(gain, 0.3), 0.9, 2, 64, 0))
    made = ms.make_controller("optimal", scenario).decide_expected(state, Posterior(efficiency=efficiency))
    problem, token_time = make_problem(scenario, state), scenario.uplink.token_time(efficiency)
    for row in range(6):
        sampled = SampleProblem(problem[row : row + 1], token_time[row].T.copy())
        lengths, share = made.draft_length[row] * 1.0, made.bandwidth[row] / scenario.total_bandwidth
        others = [
            sampled.solve(np.where(np.arange(8) == device, 0.0, lengths), share).value
            for device in np.flatnonzero(lengths)
        ]
        assert max(others) <= sampled.value(lengths, share) * 1.002


def test_the_search_reaches_the_longest_draft(rng):
    scenario, state, token_time = two_devices(rng)
    problem = make_problem(scenario.replace(max_draft_length=3), state)
    solved = sample_decisions(problem, token_time)
    assert (solved.lengths == 3).any()
    for row, uploads in enumerate(token_time):
        shortest = SampleProblem(problem[row : row + 1], uploads.T.copy()).solve(np.ones(2), np.full(2, 0.5))
        assert shortest.value == pytest.approx(solved.value[row], rel=1e-4)


@pytest.mark.parametrize("law", [{}, {"verification_pieces": ((0.03, 0.002),)}])
def test_the_search_of_many_devices_does_not_depend_on_its_start(law, rng):
    scenario = ms.Scenario.preset("qwen3.5", num_users=12, min_draft_length=0, total_bandwidth=4e6, **law)
    state = ms.sample_state(scenario, rng, 2)
    fading = state.spectral_efficiency[:, None] * rng.uniform(0.5, 1.0, (2, 32, 12))
    problem, token_time = make_problem(scenario, state), scenario.uplink.token_time(fading)
    solved = sample_decisions(problem, token_time)
    for row, uploads in enumerate(token_time):
        start = np.ones(12), np.full(12, 1.0 / 12.0)
        shortest = SampleProblem(problem[row : row + 1], uploads.T.copy()).solve(*start)
        assert shortest.value == pytest.approx(solved.value[row], rel=5e-3)


def test_a_device_without_a_draft_is_not_waited_for(rng):
    scenario, state, token_time = two_devices(rng, min_draft_length=0)
    problem, uploads = make_problem(scenario, state)[:1], token_time[0].T.copy()
    values = []
    for slower in (1.0, 1e6):
        sampled = SampleProblem(problem, uploads * np.array([[slower], [1.0]]))
        values.append(sampled.value(np.array([0.0, 3.0]), np.array([0.0, 1.0])))
    assert values[0] == values[1]


def test_the_bound_holds_for_all_shares(rng):
    scenario, state, token_time = two_devices(rng, 2)
    problem = make_problem(scenario, state)[:1]
    sampled = SampleProblem(problem, token_time[0].T.copy())
    decision = sampled.solve(problem.high[0] * 1.0, np.full(2, 0.5))
    bound = shares_bound(sampled, decision)
    others = max(sampled.value(decision.lengths, np.array([x, 1.0 - x])) for x in np.linspace(0.01, 0.99, 99))
    assert max(others, decision.value) <= bound <= 1.002 * decision.value


def test_devices_that_finish_together_share_the_price_of_the_band(rng):
    """The price is the derivative of the mean of 1 / T_e2e with respect to the logarithm of the band."""
    scenario = ms.Scenario.preset("qwen3.5", num_users=3)
    problem = make_problem(scenario, ms.SystemState(np.full(3, 0.02), np.full(3, 4.0), np.full(3, 0.9)))
    uploads = np.repeat(rng.uniform(1e-3, 1e-2, (1, 16)), 3, 0)  # equal in each draw
    at, wider = (
        SampleProblem(problem, uploads * factor).fixed(np.full(3, 4.0)).mean(np.ones(3)) for factor in (1.0, 1.0 - 1e-6)
    )
    assert at.pull.sum() == pytest.approx((wider.rate - at.rate) / 1e-6, rel=1e-4)
    assert at.pull == pytest.approx(np.full(3, at.pull.mean()))


def test_channels_that_are_known_have_the_optimum(rng):
    scenario = system(6)
    state = ms.sample_state(scenario, rng, 8)
    solved = sample_decisions(
        make_problem(scenario, state), scenario.uplink.token_time(state.spectral_efficiency)[:, None]
    )
    known = ms.make_controller("optimal", scenario, certify=1e-9)(state)
    np.testing.assert_allclose(solved.value, known.value, rtol=2e-3)
    assert (solved.value <= known.bound).all()


def test_it_is_ahead_of_the_quantile_for_other_draws(rng):
    scenario = ms.Scenario.preset("qwen3.5", num_users=8)
    (observed,) = history(rng, 1, 16, users=8)
    observed = replace(observed, acceptance_rate=rng.uniform(0.8, 0.97, (16, 8)))
    names = {"optimal+expected": {"draws": 128}, "optimal+quantile": {}}
    decisions = [ms.make_controller(name, scenario, **options)(observed) for name, options in names.items()]
    fresh = make("expected", scenario, draws=2048, seed=1)
    fresh.start(16)
    token_time = scenario.uplink.token_time(fresh.estimate(observed).efficiency)
    state = ms.SystemState(observed.draft_time, observed.spectral_efficiency, observed.acceptance_rate)
    problem = make_problem(scenario, state)
    values = [
        [
            SampleProblem(problem[row : row + 1], token_time[row].T.copy()).value(length * 1.0, share)
            for row, (length, share) in enumerate(zip(made.draft_length, made.bandwidth / 1e7, strict=True))
        ]
        for made in decisions
    ]
    assert scenario.total_bandwidth == 1e7
    assert np.mean(values[0]) > 1.005 * np.mean(values[1])


@pytest.mark.parametrize("part", ["tokens", "efficiency"])
def test_a_masked_reset_forgets_only_these_environments(part, rng):
    """With all that has to be remembered hidden: ages of requests, and mean gains."""
    rates = None if part == "tokens" else rng.uniform(0.5, 0.9, (3, 5))
    seen = [replace(each, acceptance_rate=rates, age=None, mean_gain=None) for each in history(rng, 4, 3)]
    reset, going, fresh = (make("expected", draws=4) for _ in range(3))
    along(reset, seen[:3])
    mask = np.array([False, True, False])
    reset.reset(mask)
    found, old, new = reset.estimate(seen[3]), along(going, seen)[-1], along(fresh, seen[3:])[0]
    for row in range(3):
        assert (getattr(found, part)[row] == getattr(new if mask[row] else old, part)[row]).all()
        assert (getattr(new, part)[row] != getattr(old, part)[row]).any()


def test_each_seed_has_its_own_channels(rng):
    observed = replace(history(rng, 1, 3)[0], acceptance_rate=np.full((3, 5), 0.7))
    first, again, other = (along(make("expected", draws=64, seed=seed), [observed])[0].efficiency for seed in (0, 0, 1))
    assert (first == again).all()
    assert not np.isclose(first, other).any()
    assert other.mean() == pytest.approx(first.mean(), rel=0.05)


KNOWN = ms.sample_state(system(), 0, 2)
SEEN = Observed(KNOWN.draft_time, KNOWN.spectral_efficiency, KNOWN.acceptance_rate, mean_gain=np.full((2, 5), 0.3))


def decide(name="optimal+expected", **options):
    return ms.make_controller(name, system(), **options)(SEEN)


test_refusals = refusals(
    (lambda: decide("fixed+expected"), "estimators: expected 'expected' with 'optimal' .* got Fixed"),
    (lambda: decide("optimal+expected+filter"), "no other of the state, got Optimal"),
    (lambda: decide(draws=3), "draws: expected a power of 2, got 3"),
    (lambda: decide(assumptions=Assumptions.of(system(), delay=0)), "got a known state; leave"),
    (lambda: decide(draws=4, certify=1e-3), "certify: expected no value with"),
    (lambda: decide(draws=4, tpot=0.1), "tpot: expected no value with"),
    (lambda: decide(draws=4, energy_price=0.1), "energy_price: expected no value with"),
    (lambda: play_episodes(EnvConfig.of("MultiSpin/Continuous-v0").make_vec(2), "optimal+expected"), "estimator: exp"),
)
