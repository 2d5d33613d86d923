"""The decision of the best expected round: its tokens by quadrature, and itself by trying all lengths."""

import itertools

import numpy as np
import pytest
from scipy import integrate, stats

import multispin_env as ms
from benchmarks.left_to_win import ENV, Bayes, rounded, row
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.episodes import make_episode_env
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.solver.equalization import equal_latency


@pytest.fixture(scope="module")
def seen():
    scenario = ms.Scenario.preset("llama2", num_users=2, max_draft_length=7)
    env = make_episode_env(ENV, 5, scenario, {"history": True})
    observation, _ = env.reset(seed=0)
    for _ in range(6):
        observation, *_ = env.step(np.zeros(env.action_space.shape, dtype=np.float32))
    base = native(env)
    return Bayes(base), base.decode_observation(observation)


def test_expected_tokens_are_integrals_over_the_posterior(seen):
    bayes, observed = seen
    found = bayes.expected_tokens(observed)
    prior = bayes.env.assumptions
    rate = np.linspace(1e-6, 1.0 - 1e-6, 20_001)
    for copy, user in itertools.product(range(5), range(2)):
        task = observed.task[copy, user]
        mean, spread = prior.acceptance_mean[task], prior.acceptance_spread[task]
        size = mean * (1.0 - mean) / spread**2 - 1.0
        density = stats.beta(mean * size, (1.0 - mean) * size).pdf(rate)
        density *= rate ** observed.hits[copy, user] * (1.0 - rate) ** observed.misses[copy, user]
        for length in (0, 1, 7):
            tokens = (1.0 - rate ** (length + 1)) / (1.0 - rate)
            wanted = integrate.trapezoid(density * tokens, rate) / integrate.trapezoid(density, rate)
            assert found[copy, user, length] == pytest.approx(wanted, rel=1e-4)


def test_no_lengths_are_better(seen):
    bayes, observed = seen
    scenario, tokens = bayes.env.scenario, bayes.expected_tokens(observed)
    token_time = full_share_token_time(scenario, observed.spectral_efficiency)

    def value(length):
        gained = np.take_along_axis(tokens, length[..., None], -1)[..., 0].sum(-1)
        return gained / (equal_latency(length, observed.draft_time, token_time).latency + scenario.verification_time)

    every = [value(np.tile(pair, (5, 1))) for pair in itertools.product(range(1, 8), repeat=2)]
    decision = bayes.decide(observed)
    assert value(decision.draft_length) == pytest.approx(np.max(every, axis=0), rel=1e-12)
    assert decision.bandwidth.sum(-1) == pytest.approx(scenario.total_bandwidth)


def test_rounding_costs_more_where_lengths_and_users_are_few():
    shares = [float(rounded("llama2", users, 100)[2]) for users in (4, 20)]
    assert 0.99 < shares[0] < shares[1] < 1.0


def test_a_line_of_the_table():
    system, clairvoyant, filtered, bayes = row("llama2", 2, 4)
    assert system == "llama2, K = 2"
    assert float(clairvoyant) > 0.0
    assert filtered.startswith("-")
    assert abs(float(bayes.split()[0])) < 1.0
