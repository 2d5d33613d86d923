import dataclasses
import functools

import numpy as np
import pytest
from scipy import integrate, special, stats

from multispin_env.controllers.base import Assumptions
from multispin_env.controllers.estimators import log_likelihood, log_moment, log_rising
from multispin_env.physics.types import Observed
from tests.controllers.estimators.histories import along, history, make, system

KNOWN = Assumptions((0.85, 0.6, 0.3, 0.95), (0.1, 0.15, 0.08, 0.03))
CELLS = np.linspace(0.0, 1.0, 40_001)
GRID = 0.5 * (CELLS[1:] + CELLS[:-1])


@functools.cache
def prior_on_grid(mean, spread):
    """Probability of each cell under the Beta law of this mean and standard deviation."""
    total = mean * (1.0 - mean) / min(spread**2, 0.9 * mean * (1.0 - mean)) - 1.0
    return np.diff(stats.beta.cdf(CELLS, mean * total, (1.0 - mean) * total))


def brute_force(seen, copy, user, spreads, moment, task_visible):
    """Bayes on a grid of α by tasks by spreads, from the rounds of the present request."""
    past = []
    for observed in seen:
        if observed.age[copy, user] == 0:
            past = []
        else:
            past.append((observed.drafted[copy, user], observed.accepted[copy, user]))
    tasks = [seen[-1].task[copy, user]] if task_visible else range(4)
    density = sum(
        prior_on_grid(KNOWN.acceptance_mean[j], c * KNOWN.acceptance_spread[j]) for j in tasks for c in spreads
    )
    for drafted, accepted in past:
        density = density * GRID**accepted * (1.0 - GRID if accepted < drafted else 1.0)
    return ((density * GRID**moment).sum() / density.sum()) ** (1.0 / moment)


@pytest.mark.parametrize(("moment", "task_visible"), [(1.0, True), (1.0, False), (4.0, False), (2.5, True)])
def test_filter_equals_bayes_on_a_grid(rng, moment, task_visible):
    whole = history(rng, 9, 2, users=2)
    seen = whole if task_visible else [dataclasses.replace(observed, task=None) for observed in whole]
    filtered = make("filter", system(2), KNOWN, spreads=(0.5, 1.0, 2.0), moment=moment)
    found = along(filtered, seen)
    for rounds in (1, 3, 6, 9):
        for copy, user in ((0, 0), (0, 1), (1, 0), (1, 1)):
            slow = brute_force(whole[:rounds], copy, user, filtered.spreads, moment, task_visible)
            assert found[rounds - 1][copy, user] == pytest.approx(slow, rel=2e-5)


def test_filter_of_a_new_request_is_the_prior(rng):
    (observed,) = history(rng, 1, 3)
    found = make("filter", assumptions=KNOWN, moment=1.0)
    found.start(3)
    assert found.estimate(observed) == pytest.approx(np.array(KNOWN.acceptance_mean)[observed.task], rel=1e-12)


def test_filter_finds_the_rate(rng):
    scenario, rate = system(200), 0.72
    estimator = make("filter", scenario)
    estimator.start(1)
    drafted = np.full((1, 200), 6)
    for age in range(60):
        accepted = np.minimum(rng.geometric(1.0 - rate, (1, 200)) - 1, drafted)
        found = estimator.estimate(
            Observed(np.ones((1, 200)), np.ones((1, 200)), None, None, drafted, accepted, np.full((1, 200), age))
        )
    # the standard error of a rate from some 230 tokens is 0.03
    assert np.abs(found - rate).mean() < 0.035
    assert found.mean() == pytest.approx(rate, abs=0.015)


def test_beta_equals_a_slow_loop(rng):
    seen = history(rng, 12, 3)
    decay, strength = 0.9, 7.0
    found = along(make("beta", assumptions=KNOWN, decay=decay, strength=strength, moment=1.0), seen)
    for copy in range(3):
        for user in range(5):
            hits = misses = 0.0
            for observed, estimate in zip(seen, found, strict=True):
                drafted, accepted = observed.drafted[copy, user], observed.accepted[copy, user]
                hits, misses = decay * hits + accepted, decay * misses + (accepted < drafted)
                if observed.age[copy, user] == 0:
                    hits = misses = 0.0
                mean = KNOWN.acceptance_mean[observed.task[copy, user]]
                slow = (strength * mean + hits) / (strength + hits + misses)
                assert estimate[copy, user] == pytest.approx(slow, rel=1e-12)


def test_hidden_age_never_ends_a_request(rng):
    seen = history(rng, 6, 2)
    blind = [dataclasses.replace(observed, age=None) for observed in seen]
    always = [dataclasses.replace(observed, age=np.ones_like(observed.age)) for observed in seen]
    for name in ("beta", "filter"):
        for one, other in zip(along(make(name), blind), along(make(name), always), strict=True):
            assert (one == other).all()


@pytest.mark.parametrize("moment", [0.5, 3.0, 11.0])
def test_moments_equal_numerical_integration(rng, moment):
    seen = history(rng, 8, 1, users=2)
    mean = np.array(KNOWN.acceptance_mean)
    beta = make("beta", system(2), KNOWN, moment=moment, decay=1.0, strength=9.0)
    for observed, found in zip(seen, along(beta, seen), strict=True):
        prior = 9.0 * mean[observed.task[0]]
        for user in range(2):
            hits, misses = _counts(seen, observed, user)
            law = stats.beta(prior[user] + hits, 9.0 - prior[user] + misses)
            value = integrate.quad(lambda x, law=law: x**moment * law.pdf(x), 0.0, 1.0)[0]
            assert found[0, user] == pytest.approx(value ** (1.0 / moment), rel=1e-6)


def _counts(seen, last, user):
    hits = misses = 0
    for observed in seen:
        drafted, accepted = observed.drafted[0, user], observed.accepted[0, user]
        hits, misses = hits + accepted, misses + (accepted < drafted)
        if observed.age[0, user] == 0:
            hits = misses = 0
        if observed is last:
            break
    return hits, misses


@pytest.mark.parametrize("name", ["beta", "filter"])
def test_higher_moments_are_larger_and_one_is_the_mean(name, rng):
    seen = history(rng, 10, 4)
    first, near, high = (along(make(name, moment=m), seen)[-1] for m in (1.0, 1.0 + 1e-9, 8.0))
    assert near == pytest.approx(first, rel=1e-7)
    assert (high > first).all()
    assert (high <= 1.0).all()


def test_log_rising_for_every_size():
    for x in (1e-9, 0.3, 29.999, 30.0, 31.0, 1e3):
        for m in (0.0, 0.5, 1.0, 7.0, 400.0):
            exact = special.gammaln(x + m) - special.gammaln(x)
            assert log_rising(np.array(x), m) == pytest.approx(exact, rel=1e-11, abs=1e-11)
    for x in (1e6, 1e9, 1e15):  # Γ(x + 3) / Γ(x) = x (x + 1) (x + 2)
        assert log_rising(np.array(x), 3.0) == pytest.approx(np.log(x) + np.log(x + 1) + np.log(x + 2), rel=1e-15)
    a, b = np.array([0.2, 3.0, 50.0]), np.array([2.0, 0.4, 8.0])
    for m in (1.0, 6.5):
        assert log_moment(a, b, m) == pytest.approx(special.betaln(a + m, b) - special.betaln(a, b), rel=1e-11)
    found = log_likelihood(a, b, 5.0, 2.0)
    assert found == pytest.approx(special.betaln(a + 5.0, b + 2.0) - special.betaln(a, b), rel=1e-11)


@pytest.mark.parametrize("name", ["task-mean", "beta", "filter"])
@pytest.mark.parametrize("moment", [1.0, 0.01, 6.0, 1000.0])
def test_extremes_give_rates(name, moment):
    known = Assumptions((0.0, 1.0, 1e-12, 1.0 - 1e-12), (0.0, 0.5, 0.5, 1e-9))
    options = {} if name == "task-mean" else {"moment": moment}
    estimator = make(name, system(4), known, **options)
    task = np.arange(4)[None].repeat(5, 0)
    drafted = np.array([0, 25, 25, 10**12, 10**12])[:, None].repeat(4, 1)
    accepted = np.array([0, 25, 0, 10**12, 0])[:, None].repeat(4, 1)
    for hidden in (True, False):
        estimator.start(5)
        for _ in range(30):
            observed = Observed(
                np.ones((5, 4)), np.ones((5, 4)), None, None if hidden else task, drafted, accepted, drafted + 1
            )
            found = estimator.estimate(observed)
            assert ((found >= 0.0) & (found <= 1.0)).all()


def test_task_mean(rng):
    (observed,) = history(rng, 1, 3)
    visible = make("task-mean", assumptions=KNOWN).estimate(observed)
    assert (visible == np.array(KNOWN.acceptance_mean)[observed.task]).all()
    hidden = make("task-mean", assumptions=KNOWN).estimate(dataclasses.replace(observed, task=None))
    assert hidden == pytest.approx(np.mean(KNOWN.acceptance_mean))
