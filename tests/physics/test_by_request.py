import numpy as np
import pytest
from scipy import stats

import multispin_env as ms
from multispin_env.physics.acceptance import BY_TASK, ByRequest, Requests, beta_quantile, task_means
from multispin_env.physics.records import Recorded
from multispin_env.physics.tokens import expected_tokens, sample_tokens


def fresh(process, shape, seed=0):
    *batch, users = shape
    return np.random.default_rng(seed).random((*batch, process.columns, users))


def tasks(shape, seed=1):
    return np.random.default_rng(seed).integers(0, 4, shape)


def run(process, scenario, rounds, shape, seed=2):
    """Requests of every round, stacked on a first axis."""
    requests = [process.first(scenario, tasks(shape), fresh(process, shape, seed))]
    for index in range(1, rounds):
        requests.append(process.next(scenario, requests[-1], np.ones(shape), fresh(process, shape, seed + index)))
    return Requests._make(np.array(field) for field in zip(*requests, strict=True))


def test_by_task_never_changes(scenario):
    task, rate, age, position = run(BY_TASK, scenario, 5, (3, 20))
    assert (task == tasks((3, 20))).all()
    assert (rate == task_means(scenario)[task]).all()
    assert (age == 0).all()
    assert (position == 0).all()
    assert (BY_TASK.prior(scenario).spread == 0).all()


def test_without_spread_and_end_it_is_by_task(scenario):
    process = ByRequest(spread=0.0, mean_rounds=np.inf)
    ours, expected = run(process, scenario, 5, (3, 20)), run(BY_TASK, scenario, 5, (3, 20))
    for field in ("task", "rate", "position"):
        assert (getattr(ours, field) == getattr(expected, field)).all()
    task, rate, _, _ = run(ByRequest(spread=0.0, mean_rounds=2), scenario, 5, (3, 20))
    assert (rate == task_means(scenario)[task]).all()


@pytest.mark.parametrize("spread", [0.08, (0.01, 0.05, 0.1, 0.15), None])
def test_rates_have_the_moments_of_the_prior(scenario, spread):
    process = ByRequest(spread=spread, mean_rounds=1)
    task, rate, _, _ = run(process, scenario, 2, (40_000,))
    prior = process.prior(scenario)
    if not prior.spread.any():  # a pair whose tasks have one rate each
        assert (rate == task_means(scenario)[task]).all()
        return
    for index in range(4):
        for draw in (rate[0][task[0] == index], rate[1][task[1] == index]):  # first requests, and those that follow
            assert draw.mean() == pytest.approx(prior.mean[index], abs=5 * prior.spread[index] / np.sqrt(len(draw)))
            noise = np.sqrt((stats.kurtosis(draw, fisher=False) - 1) / (4 * len(draw)))  # of a standard deviation
            assert draw.std() == pytest.approx(prior.spread[index], rel=5 * noise)


def test_quantile_is_that_of_the_beta_law():
    level = np.array([0.0, 0.01, 0.5, 0.99])
    expected = stats.beta(0.8 * 3, 0.2 * 3).ppf(level)  # c = 3: s² = .16 / 4
    assert beta_quantile(np.full(4, 0.8), np.full(4, 0.2), level) == pytest.approx(expected)


@pytest.mark.parametrize("spread", [0.0, 1e-300, 1e-9, 1e-5, 0.3, 0.3999999, 0.4 * (1 - 2**-52)])
def test_rates_stay_in_their_interval_at_extreme_shapes(spread):
    level = np.array([0.0, 1e-300, 1e-9, 0.5, 1 - 2**-53])
    rate = beta_quantile(np.full(5, 0.8), np.full(5, spread), level)
    assert ((rate >= 0) & (rate <= 1)).all()
    if spread < 1e-6:
        assert (rate == 0.8).all()


def test_requests_last_a_geometric_number_of_rounds(scenario):
    process = ByRequest(mean_rounds=4)
    _, _, age, _ = run(process, scenario, 60, (4000,))
    ended = age[1:][(age[1:] == 0)].size
    trials = age[1:].size
    assert ended / trials == pytest.approx(1 / 4, abs=5 * np.sqrt(3 / 16 / trials))
    last = age[:-1][age[1:] == 0]  # age at the end, of requests seen from their start or not
    counts = np.bincount(last, minlength=40)[:8]
    expected = 3 / 4  # each age is that much rarer than the one before
    assert counts[1:] / counts[:-1] == pytest.approx(np.full(7, expected), rel=0.08)


def test_new_tasks_are_uniform_and_nothing_changes_inside_a_request(scenario):
    task, rate, age, _ = run(ByRequest(mean_rounds=3), scenario, 30, (5000,))
    new = age[1:] == 0
    assert np.bincount(task[1:][new]) / new.sum() == pytest.approx(np.full(4, 0.25), abs=0.01)
    assert (task[1:][~new] == task[:-1][~new]).all()
    assert (rate[1:][~new] == rate[:-1][~new]).all()
    assert (rate[1:][new] != rate[:-1][new]).all()
    assert (age[1:][~new] == age[:-1][~new] + 1).all()


@pytest.mark.parametrize("process", [BY_TASK, ByRequest()], ids=["by-task", "by-request"])
def test_tokens_are_those_of_the_independent_law(scenario, process):
    requests = process.first(scenario, tasks((3, 20)), fresh(process, (3, 20)))
    length = np.random.default_rng(3).integers(0, 25, (3, 20))
    exponential = np.random.default_rng(4).standard_exponential((3, 20))
    assert (process.expectation(scenario, requests)(length) == expected_tokens(length, requests.rate)).all()
    drawn = process.sampled_tokens(requests, length, exponential)
    assert (drawn == sample_tokens(length, requests.rate, np.random.default_rng(4))).all()


def test_tokens_of_rates_that_were_put_in_are_theirs(scenario):
    requests = BY_TASK.first(scenario, tasks((3, 20)), fresh(BY_TASK, (3, 20)))
    changed = requests._replace(rate=requests.rate + np.where(np.arange(20) == 7, 0.01, 0.0))
    length = np.full((3, 20), scenario.max_draft_length)
    found = BY_TASK.expectation(scenario, changed)(length)
    assert (found == expected_tokens(length, changed.rate)).all()
    assert (BY_TASK.expectation(scenario, requests)(length) != found)[:, 7].all()


@pytest.mark.parametrize("process", [BY_TASK, ByRequest(), ByRequest(None, 2), Recorded()], ids=str)
def test_many_copies_equal_single_ones(scenario, process):
    def steps(task, uniform, length):
        first = process.first(scenario, task, uniform)
        tokens = process.sampled_tokens(first, length, uniform[..., 0, :] if process.columns else length * 0.1)
        expected = process.expectation(scenario, first)(length)
        return (*first, tokens, expected, *process.next(scenario, first, tokens, uniform))

    given = tasks((6, 20)), fresh(process, (6, 20)), np.random.default_rng(4).integers(1, 26, (6, 20))
    for index in range(6):
        alone = steps(*(array[index] for array in given))
        for together, single in zip(steps(*given), alone, strict=True):
            assert (together[index] == single).all()


@pytest.mark.parametrize(
    ("spread", "message"),
    [
        (-0.1, r"spread: expected a finite number in \[0, inf\), got -0\.1"),
        ((0.1, -0.2, 0.1, 0.1), r"spread\[1\]: expected a finite number in \[0, inf\), got -0\.2"),
    ],
)
def test_bad_spread(spread, message):
    with pytest.raises(ValueError, match=message):
        ByRequest(spread=spread)


@pytest.mark.parametrize("value", [0.99, np.nan, "long", True, None])
def test_bad_lifetime(value):
    with pytest.raises(ValueError, match=r"mean_rounds: expected a number ≥ 1 or infinity, got "):
        ByRequest(mean_rounds=value)


def test_spread_that_no_beta_law_has(scenario):
    uncertain = scenario.replace(tasks=(ms.Task(name="sure", acceptance_rate=0.99, acceptance_std=0.2),))
    message = r"of task 'sure': expected 0 or a number below 0\.0994987, .*mean 0\.99 can have, got 0\.2"
    with pytest.raises(ValueError, match=f"^acceptance_std {message}"):
        ByRequest(None).prior(uncertain)
    with pytest.raises(ValueError, match=f"^spread {message}"):
        ByRequest(0.2).first(uncertain, np.zeros(3, dtype=int), np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"spread: expected one number for each task of the scenario \(4\), got 2"):
        ByRequest((0.1, 0.1)).prior(scenario)
    certain = scenario.replace(tasks=(ms.Task(name="always", acceptance_rate=1.0),))
    assert ByRequest(0.0).prior(certain).mean == 1.0


def test_means_of_its_own():
    scenario = ms.Scenario.preset("llama2")
    process = ByRequest(spread=0.05, mean=(0.9, 0.8, 0.6, 0.7))
    assert process.prior(scenario).mean == pytest.approx([0.9, 0.8, 0.6, 0.7])
    rng = np.random.default_rng(0)
    task = rng.integers(0, 4, (20_000, 1))
    rate = process.first(scenario, task, rng.random((20_000, 3, 1))).rate
    for index, mean in enumerate(process.mean):
        assert rate[task == index].mean() == pytest.approx(mean, abs=0.003)
        assert rate[task == index].std() == pytest.approx(0.05, abs=0.003)
    with pytest.raises(ValueError, match=r"mean: expected one number for each task of the scenario \(4\), got 2"):
        ByRequest(mean=(0.5, 0.6)).prior(scenario)
    with pytest.raises(ValueError, match=r"mean\[0\]: expected a finite number in .*, got 1\.5"):
        ByRequest(mean=(1.5,))


def test_edges_of_ends_and_spreads(scenario):
    """A uniform variable may be 0: still nothing ends where requests last for ever; no spread is the largest."""
    process = ByRequest(mean_rounds=np.inf)
    requests = process.first(scenario, tasks((20,)), fresh(process, (20,)))
    assert (process.next(scenario, requests, np.ones(20), np.zeros((3, 20))).age == 1).all()
    even = scenario.replace(tasks=(ms.Task(name="even", acceptance_rate=0.5),))
    assert ByRequest(np.nextafter(0.5, 0)).prior(even).spread < 0.5
    with pytest.raises(ValueError, match=r"spread of task 'even': expected 0 or a number below 0\.5, .*, got 0\.5"):
        ByRequest(0.5).prior(even)


def test_old_requests_stay_as_they_are(scenario):
    process = ByRequest(mean_rounds=1.5)
    requests = process.first(scenario, tasks((3, 20)), fresh(process, (3, 20)))
    before = [array.copy() for array in requests]
    later = process.next(scenario, requests, np.ones((3, 20)), fresh(process, (3, 20), 5))
    assert (later.rate != before[1]).any()
    assert all(map(np.array_equal, requests, before))
