"""Estimators against Bayes on a grid, loops and simulated channels, and their common properties."""

import functools
import pickle
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import integrate, special, stats

from multispin_env.controllers.base import Assumptions
from multispin_env.controllers.estimators import log_likelihood, log_moment, log_pochhammer
from multispin_env.physics.radio import channel_gain, predictive_quantile
from multispin_env.physics.types import Observed
from multispin_env.registry import ESTIMATORS
from tests.alike import equal
from tests.controllers.histories import along, history, make, system
from tests.refusals import refusals

NAMES = ESTIMATORS.names()
OPTIONS = {"filter": {"moment": 5.0}, "beta": {"moment": 5.0}}


def build(name):
    return make(name, **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hidden", [False, True])
def test_a_batch_equals_single_environments(name, hidden, rng):
    seen = history(rng, 8, 7)
    if hidden:
        seen = [replace(o, task=None, mean_gain=None) for o in seen]
    before = deepcopy(seen)
    batch = along(build(name), seen)
    assert equal(seen, before)
    for row in range(7):
        assert equal(along(build(name), [o[row : row + 1] for o in seen]), [x[row : row + 1] for x in batch])
    assert equal(along(build(name), [o[::2] for o in seen]), [x[::2] for x in batch])  # strided arrays


@pytest.mark.parametrize("name", NAMES)
def test_reset_and_copies(name, rng):
    first, second = history(rng, 5, 4), history(rng, 5, 4)
    mask = np.array([True, False, True, False])
    estimator = build(name)
    along(estimator, first)
    copies = [deepcopy(estimator), pickle.loads(pickle.dumps(estimator))]
    estimator.reset(mask)
    mixed = [estimator.estimate(o) for o in second]
    fresh, continued = along(build(name), second), along(build(name), first + second)[5:]
    for rows, expected in ((mask, fresh), (~mask, continued)):
        assert equal([estimate[rows] for estimate in mixed], [estimate[rows] for estimate in expected])
    for other in copies:
        assert equal([other.estimate(o) for o in second], continued)


KNOWN = Assumptions((0.85, 0.6, 0.3, 0.95), (0.1, 0.15, 0.08, 0.03))
CELLS = np.linspace(0.0, 1.0, 40_001)
GRID = 0.5 * (CELLS[1:] + CELLS[:-1])


@functools.cache
def prior_on_grid(mean, spread):
    total = mean * (1.0 - mean) / min(spread**2, 0.9 * mean * (1.0 - mean)) - 1.0
    return np.diff(stats.beta.cdf(CELLS, mean * total, (1.0 - mean) * total))


def brute_force(seen, env, user, spreads, moment, task_visible):
    """Return the estimate by Bayes on a grid of α, from the rounds of the current request."""
    past = []
    for observed in seen:
        if observed.age[env, user] == 0:
            past = []
        else:
            past.append((observed.drafted[env, user], observed.accepted[env, user]))
    tasks = [seen[-1].task[env, user]] if task_visible else range(4)
    density = sum(
        prior_on_grid(KNOWN.acceptance_mean[j], c * KNOWN.acceptance_spread[j]) for j in tasks for c in spreads
    )
    for drafted, accepted in past:
        density = density * GRID**accepted * (1.0 - GRID if accepted < drafted else 1.0)
    return ((density * GRID**moment).sum() / density.sum()) ** (1.0 / moment)


@pytest.mark.parametrize(("moment", "task_visible"), [(1.0, True), (1.0, False), (4.0, False), (2.5, True)])
def test_filter_equals_bayes_on_a_grid(rng, moment, task_visible):
    whole = history(rng, 9, 2, users=2)
    seen = whole if task_visible else [replace(observed, task=None) for observed in whole]
    filtered = make("filter", system(2), KNOWN, spreads=(0.5, 1.0, 2.0), moment=moment)
    estimates = along(filtered, seen)
    for rounds in (1, 3, 6, 9):
        for env, user in np.ndindex(2, 2):
            slow = brute_force(whole[:rounds], env, user, filtered.spreads, moment, task_visible)
            assert estimates[rounds - 1][env, user] == pytest.approx(slow, rel=2e-5)


@pytest.mark.parametrize("moment", [0.5, 1.0, 11.0])
def test_beta_equals_a_slow_loop_and_numerical_integration(rng, moment):
    seen = history(rng, 8, 2, users=2)
    decay, strength = 0.9, 7.0
    estimates = along(make("beta", system(2), KNOWN, decay=decay, strength=strength, moment=moment), seen)
    for row, user in np.ndindex(2, 2):
        hits = misses = 0.0
        for observed, estimate in zip(seen, estimates, strict=True):
            drafted, accepted = observed.drafted[row, user], observed.accepted[row, user]
            hits, misses = decay * hits + accepted, decay * misses + (accepted < drafted)
            if observed.age[row, user] == 0:
                hits = misses = 0.0
            mean = KNOWN.acceptance_mean[observed.task[row, user]]
            law = stats.beta(strength * mean + hits, strength * (1.0 - mean) + misses)
            slow = integrate.quad(lambda x, law=law: x**moment * law.pdf(x), 0.0, 1.0)[0]
            assert estimate[row, user] == pytest.approx(slow ** (1.0 / moment), rel=1e-6)


def test_task_mean(rng):
    (observed,) = history(rng, 1, 3)
    visible, hidden = (
        make("task-mean", assumptions=KNOWN).estimate(o) for o in (observed, replace(observed, task=None))
    )
    assert (visible == np.array(KNOWN.acceptance_mean)[observed.task]).all()
    assert hidden == pytest.approx(np.mean(KNOWN.acceptance_mean))


def test_hidden_age_never_ends_a_request(rng):
    seen = history(rng, 6, 2)
    hidden, always = [replace(o, age=None) for o in seen], [replace(o, age=np.ones_like(o.age)) for o in seen]
    for name in ("beta", "filter"):
        assert equal(along(make(name), hidden), along(make(name), always))


def test_log_pochhammer_for_every_size():
    for x in (1e-9, 0.3, 29.999, 30.0, 31.0, 1e3):
        for m in (0.0, 0.5, 1.0, 7.0, 400.0):
            exact = special.gammaln(x + m) - special.gammaln(x)
            assert log_pochhammer(np.array(x), m) == pytest.approx(exact, rel=1e-11, abs=1e-11)
    for x in (1e6, 1e9, 1e15):  # Γ(x + 3) / Γ(x) = x (x + 1) (x + 2)
        assert log_pochhammer(np.array(x), 3.0) == pytest.approx(np.log(x) + np.log(x + 1) + np.log(x + 2), rel=1e-15)
    a, b = np.array([0.2, 3.0, 50.0]), np.array([2.0, 0.4, 8.0])
    for m in (1.0, 6.5):
        assert log_moment(a, b, m) == pytest.approx(special.betaln(a + m, b) - special.betaln(a, b), rel=1e-11)
    expected = special.betaln(a + 5.0, b + 2.0) - special.betaln(a, b)
    assert log_likelihood(a, b, 5.0, 2.0) == pytest.approx(expected, rel=1e-11)


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
            seen = None if hidden else task, drafted, accepted, drafted + 1
            rate = estimator.estimate(Observed(np.ones((5, 4)), np.ones((5, 4)), None, *seen))
            assert ((rate >= 0.0) & (rate <= 1.0)).all()


@pytest.mark.parametrize(("correlation", "delay"), [(0.9, 1), (0.9, 3), (0.5, 2), (0.0, 1)])
def test_mmse_and_quantile(rng, correlation, delay):
    scenario, seen = system(), history(rng, 1, 3)
    known = Assumptions.of(scenario, correlation=correlation, delay=delay)
    gain, mean_gain = channel_gain(scenario, seen[0].spectral_efficiency), seen[0].mean_gain
    (estimate,) = along(make("mmse", scenario, known), seen)
    expected = mean_gain + correlation ** (2 * delay) * (gain - mean_gain)
    assert channel_gain(scenario, estimate) == pytest.approx(expected, rel=1e-9)
    for quantile in (None, 0.1, 0.9):
        (estimate,) = along(make("quantile", scenario, known, quantile=quantile), seen)
        expected = predictive_quantile(quantile or 1 / 6, gain, mean_gain, correlation, delay)
        assert channel_gain(scenario, estimate) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["last-report", "mmse", "quantile"])
@pytest.mark.parametrize(("correlation", "delay"), [(1.0, 0), (1.0, 5), (0.3, 0), (0.0, 0)])
def test_a_certain_report_is_returned(name, correlation, delay, rng):
    seen = history(rng, 3, 2)
    known = Assumptions.of(system(), correlation=correlation, delay=delay)
    assert equal(along(make(name, assumptions=known), seen), [o.spectral_efficiency for o in seen])


def test_hidden_mean_gain_is_a_shrunk_average(rng):
    seen = [replace(observed, mean_gain=None) for observed in history(rng, 6, 2)]
    scenario, strength = system(), 4.0
    known = Assumptions.of(scenario, correlation=0.8, delay=2)
    estimates = along(make("mmse", scenario, known, mean_gain_strength=strength), seen)
    total = np.zeros((2, 5))
    for rounds, (observed, estimate) in enumerate(zip(seen, estimates, strict=True), start=1):
        gain = (2.0**observed.spectral_efficiency - 1.0) / scenario.transmit_snr
        total += gain
        mean = (strength * 0.35 + total) / (strength + rounds)
        expected = mean + 0.8**4 * (gain - mean)
        assert channel_gain(scenario, estimate) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("options", [{}, *({"quantile": q} for q in (1e-6, 0.5, 1.0 - 1e-6))])
def test_extreme_reports(options):
    for correlation in (0.0, 0.5, 1.0 - 1e-13):
        known = Assumptions.of(system(1), correlation=correlation)
        estimator = make("quantile" if options else "mmse", system(1), known, **options)
        for efficiency in (1e-12, 1e-3, 60.0):
            (estimate,) = along(estimator, [Observed(np.ones((1, 1)), np.full((1, 1), efficiency))])
            assert 0.0 < estimate[0, 0] < np.inf
            assert correlation < 0.9 or estimate[0, 0] == pytest.approx(efficiency, rel=1e-4, abs=1e-5)


def test_assumptions():
    scenario = system()
    assert Assumptions.of(scenario).acceptance_mean == tuple(task.acceptance_rate for task in scenario.tasks)
    assert hash(Assumptions([0.5], [0.1])) == hash(Assumptions((0.5,), (0.1,)))


def seen_by(name, acceptance=None):
    return along(build(name), [Observed(np.ones((1, 5)), np.ones((1, 5)), acceptance)])


BAD = [
    *(
        (partial(make, "beta", **{field: bad}), field)
        for field, bad in (("decay", 1.5), ("strength", 0.0), ("moment", 0.0))
    ),
    (partial(make, "beta", assumptions=Assumptions((0.5,), (0.1,))), "acceptance_mean"),
    (partial(make, "filter", spreads=()), "spreads"),
    (partial(make, "filter", spreads=(1.0, -1.0)), r"spreads\[1\]"),
    (partial(make, "filter", moment=np.inf), "moment"),
    (partial(make, "quantile", quantile=1.0), "quantile"),
    (partial(make, "mmse", mean_gain_strength=0.0), "mean_gain_strength"),
    (partial(make, "gradient", floor=0.0), "floor"),
    (partial(Assumptions, (0.5, 1.2), (0.1, 0.1)), r"acceptance_mean\[1\]"),
    (partial(Assumptions, (0.5,), (0.7,)), r"acceptance_spread\[0\]"),
    (partial(Assumptions, (0.5,), (0.1, 0.1)), "acceptance_spread"),
    (partial(Assumptions, (), ()), "acceptance_mean"),
    (partial(Assumptions, (0.5,), (0.1,), 1.1), "correlation"),
    (partial(Assumptions, (0.5,), (0.1,), 1.0, -1), "delay"),
]
HIDDEN = (("beta", "drafted"), ("filter", "drafted"), ("gradient", "throughput"))
ARRAY = r"expected an array \(n, K\) for the estimator '{}', got None"
RATES = r"^estimator: expected hidden acceptance rates .*leave out '\+{}'"
test_refusals = refusals(
    *((call, rf"^{field}: expected .*, got ") for call, field in BAD),
    *((partial(seen_by, name), f"{field}: {ARRAY.format(name)}") for name, field in HIDDEN),
    *((partial(seen_by, name, np.full((1, 5), 0.5)), RATES.format(name)) for name in ("beta", "filter")),
)
