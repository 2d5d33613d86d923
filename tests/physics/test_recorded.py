import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.records import ENDLESS, Recorded, Records, accepted_runs, advance, prompt_rates
from multispin_env.physics.tokens import expected_tokens
from tests.physics.test_by_request import fresh, tasks


@pytest.fixture(scope="module")
def process():
    return Recorded()


@pytest.fixture
def llama():
    return ms.Scenario.preset("llama2")


def make(probability, accepted, task=None, length=None):
    count = len(accepted)
    return Records(
        np.array([0] if task is None else task),
        np.array([count] if length is None else length),
        np.asarray(probability, dtype=float),
        np.asarray(accepted, dtype=bool),
    )


def slow_run(records, place, length):
    """Tokens accepted by walking along the text, and the places walked."""
    prompt = records.prompt[place]
    start, size = records.start[prompt], records.length[prompt]
    run = 0
    while run < length and records.accepted[start + (place - start + run) % size]:
        run += 1
    return run, start + (place - start + run + 1) % size


@pytest.mark.parametrize("length", [0, 1, 5, 40])
def test_a_round_is_a_walk_along_the_text(process, llama, length):
    place = np.arange(len(process.records.accepted))
    requests = process.first(llama, np.zeros_like(place), fresh(Recorded, place.shape))._replace(position=place)
    tokens = process.sampled_tokens(requests, np.full(place.shape, length), np.full(place.shape, np.nan))
    follows = advance(process.records, place, tokens)
    expected = [slow_run(process.records, at, length) for at in place]
    assert tokens.tolist() == [run + 1 for run, _ in expected]
    assert follows.tolist() == [after for _, after in expected]


def test_replay_of_a_request_is_the_slow_loop(llama):
    process = Recorded(mean_rounds=np.inf)
    requests = process.first(llama, tasks((50,)), fresh(Recorded, (50,)))
    place = requests.position.tolist()
    for index in range(30):
        length = np.random.default_rng(index).integers(1, 26, 50)
        tokens = process.sampled_tokens(requests, length, np.zeros(50))
        for user in range(50):
            run, place[user] = slow_run(process.records, place[user], length[user])
            assert tokens[user] == run + 1
        requests = process.next(llama, requests, tokens, fresh(Recorded, (50,), index))
        assert requests.position.tolist() == place
        assert (requests.age == index + 1).all()


def test_expected_tokens_are_the_sum_of_products(process, llama):
    records = process.records
    requests = process.first(llama, tasks((300,)), fresh(Recorded, (300,)))
    length = np.random.default_rng(2).integers(0, 70, 300)
    found = process.expected_tokens(requests, length)
    for user in range(300):
        prompt = records.prompt[requests.position[user]]
        start, size = records.start[prompt], records.length[prompt]
        places = start + (requests.position[user] - start + np.arange(length[user])) % size
        assert found[user] == pytest.approx(1 + np.cumprod(records.probability[places]).sum(), rel=1e-12)


def test_prompts_that_accept_everything_or_nothing(llama):
    ones, zeros = np.ones(8), np.zeros(9)
    records = make(np.r_[ones, zeros, ones], np.r_[ones, zeros, ones], [0, 1, 0], [8, 9, 8])
    assert (accepted_runs(records) == np.repeat([ENDLESS, 0, ENDLESS], [8, 9, 8])).all()
    assert prompt_rates(records) == pytest.approx([1, 0, 1], abs=1e-15)
    process = Recorded(records)
    requests = process.first(llama.replace(tasks=llama.tasks[:2]), np.array([0, 1, 0]), fresh(Recorded, (3,)))
    assert process.sampled_tokens(requests, np.full(3, 25), np.zeros(3)).tolist() == [26, 1, 26]
    assert process.expected_tokens(requests, np.full(3, 25)).tolist() == [26, 1, 26]


def replayed(process, scenario, length, users=2000, rounds=48):
    """Mean tokens a round: sampled, expected at the place, and by the formula with the rate of the prompt."""
    shape, lengths = (users,), np.full(users, length)
    requests, rows = process.first(scenario, tasks(shape), fresh(Recorded, shape)), []
    for index in range(rounds):
        tokens = process.sampled_tokens(requests, lengths, np.zeros(users))
        formula = expected_tokens(lengths, requests.rate)
        rows.append((tokens.mean(), process.expected_tokens(requests, lengths).mean(), formula.mean()))
        requests = process.next(scenario, requests, tokens, fresh(Recorded, shape, index + 1))
    return np.mean(rows, axis=0)


@pytest.mark.parametrize("mean_rounds", [4, 16, 64])
def test_one_rate_for_each_prompt_is_within_two_percent(llama, mean_rounds):
    process = Recorded(mean_rounds=mean_rounds)
    for length in range(1, 17):
        sampled, expected, formula = replayed(process, llama, length)
        assert formula == pytest.approx(sampled, rel=0.02)
        assert formula == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("alpha", [0.5, 0.9])
def test_record_of_independent_draws_gives_the_formula(llama, alpha):
    places = 20_000
    accepted = np.random.default_rng(5).random(places) < alpha
    process = Recorded(make(np.full(places, alpha), accepted))
    one_task = llama.replace(tasks=llama.tasks[:1])
    assert prompt_rates(process.records) == pytest.approx(alpha, abs=1e-12)
    place = np.arange(places)
    requests = process.first(one_task, np.zeros_like(place), fresh(Recorded, place.shape))._replace(position=place)
    for length in (1, 4, 16):
        lengths = np.full(places, length)
        formula = expected_tokens(length, alpha)
        assert process.expected_tokens(requests, lengths) == pytest.approx(np.full(places, formula))
        assert process.sampled_tokens(requests, lengths, np.zeros(places)).mean() == pytest.approx(formula, rel=0.03)


def test_prompts_and_places_are_uniform(process, llama):
    users = 200_000
    records = process.records
    requests = process.first(llama, np.full(users, 3), fresh(Recorded, (users,)))
    prompt = records.prompt[requests.position]
    assert (records.task[prompt] == 3).all()
    counts = np.bincount(prompt, minlength=48)[records.task == 3]
    assert counts / users == pytest.approx(np.full(12, 1 / 12), rel=0.05)
    offset = (requests.position - records.start[prompt]) / records.length[prompt]
    assert offset.mean() == pytest.approx(0.5 - 0.5 / 12 * (1 / records.length[records.task == 3]).sum(), abs=0.005)


def test_requests_end_and_the_next_is_of_any_task(process, llama):
    users, records = 4000, process.records
    requests = process.first(llama, tasks((users,)), fresh(Recorded, (users,)))
    ends, started = 0, np.zeros(4)
    for index in range(40):
        before = requests
        requests = process.next(llama, requests, np.ones(users), fresh(Recorded, (users,), index + 1))
        new = requests.age == 0
        ends += new.sum()
        started += np.bincount(requests.task[new], minlength=4)
        prompt = records.prompt[requests.position]
        assert (records.task[prompt] == requests.task).all()
        assert (requests.rate == prompt_rates(records)[prompt]).all()
        assert (prompt[~new] == records.prompt[before.position[~new]]).all()
    trials = 40 * users
    assert ends / trials == pytest.approx(1 / 16, abs=5 * np.sqrt(1 / 16 / trials))
    assert started / ends == pytest.approx(np.full(4, 0.25), abs=0.025)


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
    message = "tasks of the scenario: expected at most 1, the tasks of the record, got 4"
    requests = process.first(llama.replace(tasks=llama.tasks[:1]), np.zeros(3, int), fresh(Recorded, (3,)))
    for ask in (
        lambda: process.first(llama, np.zeros(3, int), fresh(Recorded, (3,))),
        lambda: process.next(llama, requests, np.ones(3), fresh(Recorded, (3,))),
        lambda: process.prior(llama),
    ):
        with pytest.raises(ValueError, match=message):
            ask()


def test_bad_options():
    with pytest.raises(ValueError, match="mean_rounds: expected a number ≥ 1 or infinity, got 0"):
        Recorded(mean_rounds=0)
    with pytest.raises(ValueError, match=r"records: expected Records, as load_records returns them, got 'mine\.npz'"):
        Recorded("mine.npz")
