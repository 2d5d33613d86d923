"""Acceptance processes: rates, ends and tokens of requests; replays against slow walks along the text."""

from functools import partial

import numpy as np
import pytest
from scipy import stats

import multispin_env as ms
from multispin_env.draft import expected_tokens
from multispin_env.physics.acceptance import BY_TASK, ByRequest, Requests, beta_quantile, task_means
from multispin_env.physics.chains import HIT_THRESHOLDS
from multispin_env.physics.records import NEVER_REJECTED, Recorded, Records, accepted_runs, load_records, prompt_rates
from multispin_env.physics.tokens import sample_tokens


def fresh(process, shape, seed=0):
    *batch, users = shape
    return np.random.default_rng(seed).random((*batch, process.columns, users))


def tasks(shape, seed=1):
    return np.random.default_rng(seed).integers(0, 4, shape)


def run(process, scenario, rounds, shape, seed=2):
    requests = [process.first(scenario, tasks(shape), fresh(process, shape, seed))]
    for index in range(1, rounds):
        requests.append(process.next(scenario, requests[-1], np.ones(shape), fresh(process, shape, seed + index)))
    return Requests._make(np.array(field) for field in zip(*requests, strict=True))


def test_rates_without_spread_are_those_of_the_tasks(scenario):
    for process in (BY_TASK, ByRequest(spread=0.0, mean_rounds=np.inf), ByRequest(spread=0.0, mean_rounds=2)):
        requests = run(process, scenario, 5, (3, 20))
        assert (requests.rate == task_means(scenario)[requests.task]).all()
        assert (requests.task == tasks((3, 20))).all() == (process != ByRequest(0.0, 2))
        assert (requests.position == 0).all()
        assert (process.prior(scenario).spread == 0).all()
        assert (requests.age == 0).all() == (process is BY_TASK)


@pytest.mark.parametrize("spread", [0.08, (0.01, 0.05, 0.1, 0.15), None])
@pytest.mark.parametrize("mean", [None, (0.85, 0.8, 0.6, 0.7)])
def test_rates_have_the_moments_of_the_prior(scenario, spread, mean):
    process = ByRequest(spread=spread, mean_rounds=1, mean=mean)
    if mean is not None:
        assert process.prior(scenario).mean == pytest.approx(mean)
    task, rate, _, _ = run(process, scenario, 2, (40_000,))
    prior = process.prior(scenario)
    if not prior.spread.any():  # a pair whose tasks have one rate each
        assert (rate == prior.mean[task]).all()
        return
    for index in range(4):
        for draw in (rate[0][task[0] == index], rate[1][task[1] == index]):  # first and following requests
            assert draw.mean() == pytest.approx(prior.mean[index], abs=5 * prior.spread[index] / np.sqrt(len(draw)))
            noise = np.sqrt((stats.kurtosis(draw, fisher=False) - 1) / (4 * len(draw)))  # of a standard deviation
            assert draw.std() == pytest.approx(prior.spread[index], rel=5 * noise)


def test_beta_quantile():
    level = np.array([0.0, 0.01, 0.5, 0.99])
    expected = stats.beta(0.8 * 3, 0.2 * 3).ppf(level)  # c = 3: s² = 0.16 / 4
    assert beta_quantile(np.full(4, 0.8), np.full(4, 0.2), level) == pytest.approx(expected)
    level = np.array([0.0, 1e-300, 1e-9, 0.5, 1 - 2**-53])
    for spread in (0.0, 1e-300, 1e-9, 1e-5, 0.3, 0.3999999, 0.4 * (1 - 2**-52)):
        rate = beta_quantile(np.full(5, 0.8), np.full(5, spread), level)
        assert ((rate >= 0) & (rate <= 1)).all()
        assert (rate == 0.8).all() == (spread < 1e-6)


def test_requests_end_at_random_and_the_next_is_of_any_task(scenario):
    task, rate, age, _ = run(ByRequest(mean_rounds=4), scenario, 60, (4000,))
    new, trials = age[1:] == 0, age[1:].size
    assert new.sum() / trials == pytest.approx(1 / 4, abs=5 * np.sqrt(3 / 16 / trials))
    counts = np.bincount(age[:-1][new], minlength=40)[:8]  # ages at the end have a geometric law
    assert counts[1:] / counts[:-1] == pytest.approx(np.full(7, 3 / 4), rel=0.08)
    assert np.bincount(task[1:][new]) / new.sum() == pytest.approx(np.full(4, 0.25), abs=0.01)
    for array in (task, rate):
        assert (array[1:][~new] == array[:-1][~new]).all()
    assert (rate[1:][new] != rate[:-1][new]).all()
    assert (age[1:][~new] == age[:-1][~new] + 1).all()
    process = ByRequest(mean_rounds=np.inf)  # no request ends, even if a uniform variable is 0
    requests = process.first(scenario, tasks((20,)), fresh(process, (20,)))
    assert (process.next(scenario, requests, np.ones(20), np.zeros((3, 20))).age == 1).all()


@pytest.mark.parametrize("process", [BY_TASK, ByRequest()], ids=["by-task", "by-request"])
def test_tokens_are_those_of_the_independent_law(scenario, process):
    requests = process.first(scenario, tasks((3, 20)), fresh(process, (3, 20)))
    length = np.random.default_rng(3).integers(0, 25, (3, 20))
    exponential = np.random.default_rng(4).standard_exponential((3, 20))
    assert (process.expectation(scenario, requests)(length) == expected_tokens(length, requests.rate)).all()
    for law in HIT_THRESHOLDS.values():
        assert (process.by_length(scenario, requests, law)(length) == law(length, requests.rate)).all()
    drawn = process.sampled_tokens(requests, length, exponential)
    assert (drawn == sample_tokens(length, requests.rate, np.random.default_rng(4))).all()
    changed = requests._replace(rate=requests.rate * np.where(np.arange(20) == 7, 0.99, 1.0))  # by a caller
    assert (process.expectation(scenario, changed)(length) == expected_tokens(length, changed.rate)).all()


LIFETIMES = [({"mean_rounds": x}, "mean_rounds: expected a number ≥ 1") for x in (0.99, np.nan, "long", True, None)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *LIFETIMES,
        ({"spread": -0.1}, r"spread: expected a finite number in \[0, inf\), got -0\.1"),
        ({"spread": (0.1, -0.2, 0.1, 0.1)}, r"spread\[1\]: expected a finite number in \[0, inf\), got -0\.2"),
        ({"mean": (1.5,)}, r"mean\[0\]: expected a finite number in .*, got 1\.5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ByRequest(**options)


def test_spread_that_no_beta_law_has(scenario):
    uncertain = scenario.replace(tasks=(ms.Task(name="sure", acceptance_rate=0.99, acceptance_std=0.2),))
    message = r"of task 'sure': expected 0 or a number below 0\.0994987, .*mean 0\.99, got 0\.2"
    with pytest.raises(ValueError, match=f"^acceptance_std {message}"):
        ByRequest(None).prior(uncertain)
    with pytest.raises(ValueError, match=f"^spread {message}"):
        ByRequest(0.2).first(uncertain, np.zeros(3, dtype=int), np.zeros((3, 3)))
    for field in ("spread", "mean"):
        with pytest.raises(ValueError, match=rf"{field}: expected one number for each task of .* \(4\), got 2"):
            ByRequest(**{field: (0.1, 0.1)}).prior(scenario)
    even = scenario.replace(tasks=(ms.Task(name="even", acceptance_rate=0.5),))
    assert ByRequest(np.nextafter(0.5, 0)).prior(even).spread < 0.5
    with pytest.raises(ValueError, match=r"spread of task 'even': expected 0 or a number below 0\.5, .*, got 0\.5"):
        ByRequest(0.5).prior(even)
    certain = scenario.replace(tasks=(ms.Task(name="always", acceptance_rate=1.0),))
    assert ByRequest(0.0).prior(certain).mean == 1.0


@pytest.fixture(scope="module")
def process():
    return Recorded()


@pytest.fixture
def llama():
    return ms.Scenario.preset("llama2")


def make(probability, accepted, task=None, length=None):
    prompts = np.array([0] if task is None else task), np.array([len(accepted)] if length is None else length)
    return Records(*prompts, np.asarray(probability, dtype=float), np.asarray(accepted, dtype=bool))


def slow_run(records, position, length):
    prompt = records.prompt[position]
    start, size = records.start[prompt], records.length[prompt]
    run = 0
    while run < length and records.accepted[start + (position - start + run) % size]:
        run += 1
    return run, start + (position - start + run + 1) % size


def test_replay_of_a_request_is_the_slow_loop(llama):
    process = Recorded(mean_rounds=np.inf)
    requests = process.first(llama, tasks((50,)), fresh(Recorded, (50,)))
    for index in range(30):
        length = np.random.default_rng(index).integers(0, 41, 50)
        tokens = process.sampled_tokens(requests, length, np.zeros(50))
        runs, positions = zip(*map(partial(slow_run, process.records), requests.position, length), strict=True)
        assert (tokens == np.array(runs) + 1).all()
        requests = process.next(llama, requests, tokens, fresh(Recorded, (50,), index))
        assert requests.position.tolist() == list(positions)
        assert (requests.age == index + 1).all()


def test_expected_tokens_are_the_sum_of_products(process, llama):
    records = process.records
    requests = process.first(llama, tasks((300,)), fresh(Recorded, (300,)))
    length = np.random.default_rng(2).integers(0, 70, 300)
    expected = process.expectation(llama, requests)(length)
    for user in range(300):
        prompt = records.prompt[requests.position[user]]
        start, size = records.start[prompt], records.length[prompt]
        positions = start + (requests.position[user] - start + np.arange(length[user])) % size
        assert expected[user] == pytest.approx(1 + np.cumprod(records.probability[positions]).sum(), rel=1e-12)


def test_prompts_that_accept_everything_or_nothing(llama):
    ones, zeros = np.ones(8), np.zeros(9)
    records = make(np.r_[ones, zeros, ones], np.r_[ones, zeros, ones], [0, 1, 0], [8, 9, 8])
    assert (accepted_runs(records) == np.repeat([NEVER_REJECTED, 0, NEVER_REJECTED], [8, 9, 8])).all()
    assert prompt_rates(records) == pytest.approx([1, 0, 1], abs=1e-15)
    process = Recorded(records)
    requests = process.first(llama.replace(tasks=llama.tasks[:2]), np.array([0, 1, 0]), fresh(Recorded, (3,)))
    assert process.sampled_tokens(requests, np.full(3, 25), np.zeros(3)).tolist() == [26, 1, 26]
    assert process.expected_tokens(requests, np.full(3, 25)).tolist() == [26, 1, 26]


def replayed(process, scenario, length, users=2000, rounds=48):
    """Mean tokens a round: sampled, expected at the position, and by the formula with the rate of the prompt."""
    shape, lengths = (users,), np.full(users, length)
    requests, rows = process.first(scenario, tasks(shape), fresh(Recorded, shape)), []
    for index in range(rounds):
        tokens = process.sampled_tokens(requests, lengths, np.zeros(users))
        formula = expected_tokens(lengths, requests.rate)
        rows.append((tokens.mean(), process.expected_tokens(requests, lengths).mean(), formula.mean()))
        requests = process.next(scenario, requests, tokens, fresh(Recorded, shape, index + 1))
    return np.mean(rows, axis=0)


@pytest.mark.parametrize("mean_rounds", [4, 64])
def test_one_rate_for_each_prompt_is_within_two_percent(llama, mean_rounds):
    process = Recorded(mean_rounds=mean_rounds)
    for length in (1, 2, 4, 8, 12, 16):
        sampled, expected, formula = replayed(process, llama, length)
        assert formula == pytest.approx(sampled, rel=0.02)
        assert formula == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("alpha", [0.5, 0.9])
def test_record_of_independent_draws_gives_the_formula(alpha):
    size = 20_000
    process = Recorded(make(np.full(size, alpha), np.random.default_rng(5).random(size) < alpha))
    assert prompt_rates(process.records) == pytest.approx(alpha, abs=1e-12)
    zeros = np.zeros(size, dtype=np.int64)
    requests = Requests(zeros, zeros + alpha, zeros, np.arange(size))
    for length in (1, 4, 16):
        lengths = np.full(size, length)
        formula = expected_tokens(length, alpha)
        assert process.expected_tokens(requests, lengths) == pytest.approx(np.full(size, formula))
        assert process.sampled_tokens(requests, lengths, np.zeros(size)).mean() == pytest.approx(formula, rel=0.03)


def test_the_next_request_is_any_prompt_of_any_task(process, llama):
    users, records = 4000, process.records
    requests = process.first(llama, tasks((users,)), fresh(Recorded, (users,)))
    ends, started, begun = 0, np.zeros(4), []
    for index in range(40):
        before = requests
        requests = process.next(llama, requests, np.ones(users), fresh(Recorded, (users,), index + 1))
        new = requests.age == 0
        ends += new.sum()
        started += np.bincount(requests.task[new], minlength=4)
        begun.append(requests.position[new])
        prompt = records.prompt[requests.position]
        assert (records.task[prompt] == requests.task).all()
        assert (requests.rate == prompt_rates(records)[prompt]).all()
        assert (prompt[~new] == records.prompt[before.position[~new]]).all()
    trials = 40 * users
    assert ends / trials == pytest.approx(1 / 16, abs=5 * np.sqrt(1 / 16 / trials))
    assert started / ends == pytest.approx(np.full(4, 0.25), abs=0.025)
    position = np.concatenate(begun)
    prompt = records.prompt[position]
    assert np.abs(np.bincount(prompt, minlength=48) / ends - 1 / 48).max() < 5 * (1 / 48 / ends) ** 0.5
    offset = (position - records.start[prompt] + 0.5) / records.length[prompt]
    assert offset.mean() == pytest.approx(0.5, abs=5 * (1 / 12 / ends) ** 0.5)


def test_spreads_are_those_that_the_documentation_states():
    def percent(std, rate):
        return 100.0 * std / np.sqrt(rate * (1.0 - rate))

    record, tokens, prompts = load_records(), [], []
    for task in range(record.num_tasks):
        texts = [record.probability[record.prompt == i].astype(float) for i in np.flatnonzero(record.task == task)]
        beta = np.concatenate(texts)
        tokens.append(percent(beta.std(), beta.mean()))
        noise = np.mean([text.var(ddof=1) / len(text) for text in texts])
        prompts.append(np.sqrt(max(0.0, np.var([text.mean() for text in texts], ddof=1) - noise)))
    tasks = [task for name in ("llama2", "qwen3.5") for task in ms.Scenario.preset(name).tasks]
    paper = [percent(task.acceptance_std, task.acceptance_rate) for task in tasks]
    stated = " ".join(ms.Task.__doc__.split())
    assert f"{min(paper):.0f} to {max(paper):.0f} %" in stated
    assert f"{min(tokens):.0f} to {max(tokens):.0f} %" in stated
    assert f"{min(prompts):.0f} to {max(prompts):.2f}" in stated
    assert ms.EnvConfig.of("MultiSpin/Fair-v0").spread > 2.0 * max(prompts)


def test_prior_is_that_of_the_prompts(process, llama):
    prior = process.prior(llama)
    rates = prompt_rates(process.records)
    for task in range(4):
        assert prior.mean[task] == pytest.approx(rates[process.records.task == task].mean())
        assert prior.spread[task] == pytest.approx(rates[process.records.task == task].std())
    assert prior.mean == pytest.approx([0.918, 0.908, 0.664, 0.749], abs=1e-3)
    assert process.prior(llama.replace(tasks=llama.tasks[:2])).mean.shape == (2,)


def test_scenario_with_more_tasks_than_the_record(llama):
    process = Recorded(make(np.ones(8), np.ones(8)))
    zeros, uniforms = np.zeros(3, dtype=np.int64), fresh(Recorded, (3,))
    requests = process.first(llama.replace(tasks=llama.tasks[:1]), zeros, uniforms)
    calls = (process.first, zeros, uniforms), (process.next, requests, np.ones(3), uniforms), (process.prior,)
    for method, *arguments in calls:
        with pytest.raises(ValueError, match="expected at most 1, the number in the record, got 4"):
            method(llama, *arguments)
    with pytest.raises(ValueError, match=r"records: expected Records as returned by load_records, got 'mine\.npz'"):
        Recorded("mine.npz")
