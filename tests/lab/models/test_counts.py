"""Rates from logs of counts and from records, against known rates and a slow replay."""

from itertools import accumulate
from operator import mul

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import betaln
from scipy.stats import beta as beta_distribution

from multispin_env.physics.records import Recorded, Records, load_records
from multispin_env.scenario import Scenario
from multispin_lab.models.counts import (
    ALL,
    KEPT,
    RecordedTexts,
    TaskCounts,
    _without_total,
    beta_law,
    confidence_cells,
    draw_summary,
    estimate,
    exact_interval,
    explained_share,
    make_tasks,
    read_counts,
    round_cells,
    summarise,
    task_cells,
)
from multispin_lab.models.record_files import load_extras
from tests import reference


def written(tmp_path, text, name="log.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def simulated(rng, rates, rounds, drafted=6):
    """Hits and misses of requests with these rates, simulated token by token."""
    tokens = rng.random((len(rates), rounds, drafted)) < rates[:, None, None]
    runs = np.cumprod(tokens, axis=-1).sum(-1)
    return runs.sum(-1), (runs < drafted).sum(-1)


def test_a_log_is_read(tmp_path):
    log = "more,task,request,drafted,accepted\n,x,1,4,4\n,y,1,3,0\n\n,x,1,4,2\n,x, 2 ,0,0\n,x,2,5,5\n"
    x, y = read_counts(written(tmp_path, "\ufeff" + log.replace("\n", "\r\n")))
    assert (x.task, x.rounds, x.drafted, x.hits.tolist(), x.misses.tolist()) == ("x", 4, 13, [6, 5], [1, 0])
    assert (y.task, y.rounds, y.drafted, y.hits.tolist(), y.misses.tolist()) == ("y", 1, 3, [0], [1])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"header: expected the columns .*, each once, got \[\]"),
        ("request\udcff", "expected text in UTF-8, got the byte 0xff"),
        ("request,task,drafted\n", "header: expected the columns"),
        ("request,task,drafted,accepted,task\n", "header: expected the columns"),
        ("request,task,drafted,accepted\n", "task: expected 1 to 128 different tasks, got 0"),
        ("request,task,drafted,accepted\n1,x,4,2\n\n1,x,4,5\n", "line 4, accepted: expected an integer in 0..4, .*'5'"),
        ("request,task,drafted,accepted\n1,x,4,2\n1,x,-1,0\n", "line 3, drafted: expected an integer in 0.*'-1'"),
        ("request,task,drafted,accepted\n1,x,4.5,2\n", "line 2, drafted: expected an integer in 0..*'4.5'"),
        ("request,task,drafted,accepted\n1,x,4\n", "line 2, accepted: expected an integer in 0..4.*''"),
        ("request,task,drafted,accepted\n1,x," + "9" * 5000 + ",0\n", "line 2, drafted: expected an integer"),
        ("request,task,drafted,accepted\n1,,4,2\n", "line 2, task: expected a non-empty string, got ''"),
        (f"request,task,drafted,accepted\n1,{'x' * 101},4,2\n", "line 2, task: expected a text of one line"),
        ("request,task,drafted,accepted\n ,x,4,2\n", "line 2, request: expected a non-empty string"),
        ("request,task,drafted,accepted\n1,x,0,0\n", "drafted: expected a drafted token of task 'x', got none in 1"),
        ('request,task,drafted,accepted\n1,"x,4,2\n', "expected CSV with commas and a header, got broken CSV"),
    ],
)
def test_bad_logs_are_refused_with_line_and_field(text, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        read_counts(written(tmp_path, text))
    with pytest.raises(ValueError, match=r"from_counts: expected a readable \.csv file, got"):
        read_counts(tmp_path / "none.csv")


def test_the_rate_is_the_likeliest():
    drafted, accepted = np.array([4, 4, 6, 2, 5]), np.array([4, 1, 3, 2, 0])
    grid = np.linspace(0.001, 0.999, 999)
    likelihood = np.prod(grid[:, None] ** accepted * np.where(accepted < drafted, 1 - grid[:, None], 1.0), -1)
    entry = TaskCounts("x", 5, 21, np.array([accepted.sum()]), np.array([(accepted < drafted).sum()]))
    assert estimate(entry, np.random.default_rng(0)).rate == pytest.approx(grid[likelihood.argmax()], abs=1e-3)


@pytest.mark.parametrize("rate", [0.7, *(pytest.param(rate, marks=pytest.mark.slow) for rate in (0.3, 0.95))])
def test_the_plain_interval_covers(rate):
    rng = np.random.default_rng(int(100 * rate))
    counts = np.transpose(simulated(rng, np.full(2000, rate), 30))
    ends = [exact_interval(hits, misses) for hits, misses in counts.tolist()]
    assert 0.94 <= np.mean([low <= rate <= high for low, high in ends]) <= 0.985
    assert (exact_interval(0, 5)[0], exact_interval(5, 0)[1]) == (0.0, 1.0)


@pytest.mark.slow
def test_the_interval_over_requests_covers_what_the_plain_one_misses():
    rng = np.random.default_rng(5)
    law = beta_distribution(0.7 * 8, 0.3 * 8)
    many = [part.sum() for part in simulated(rng, law.rvs(20_000, random_state=rng), 10)]
    truth = many[0] / sum(many)
    plain, over_requests = [], []
    for _ in range(60):
        hits, misses = simulated(rng, law.rvs(60, random_state=rng), 10)
        result = estimate(TaskCounts("x", 600, 3600, hits, misses), rng)
        plain.append(result.low <= truth <= result.high)
        over_requests.append(result.low_over_requests <= truth <= result.high_over_requests)
    assert np.mean(plain) < 0.75
    assert 0.87 <= np.mean(over_requests) <= 0.99


@pytest.mark.parametrize(("mean", "concentration"), [(0.7, 8.0), (0.9, 30.0)])
def test_the_law_over_requests_is_found(mean, concentration):
    rng = np.random.default_rng(6)
    law = beta_distribution(mean * concentration, (1 - mean) * concentration)
    pairs = np.stack(simulated(rng, law.rvs(3000, random_state=rng), 12), -1)
    result = beta_law(pairs, np.ones(len(pairs), int))
    assert result[0] == pytest.approx(mean, abs=0.01)
    assert result[1] == pytest.approx(law.std(), rel=0.06)

    def likelihood(middle, total):
        a, b = middle * total, (1 - middle) * total
        return (betaln(a + pairs[:, 0], b + pairs[:, 1]) - betaln(a, b)).sum()

    total = result[0] * (1 - result[0]) / result[1] ** 2 - 1
    for middle, size in ((1.01, 1.0), (0.99, 1.0), (1.0, 1.1), (1.0, 1 / 1.1)):
        assert likelihood(result[0] * middle, total * size) < likelihood(result[0], total)


def test_equal_requests_have_no_spread():
    rng = np.random.default_rng(7)
    result = [beta_law(np.stack(simulated(rng, np.full(200, 0.8), 20), -1), np.ones(200, int))[1] for _ in range(8)]
    assert max(result) < 0.03
    assert min(result) == 0.0
    assert beta_law(np.array([[7, 2]]), np.array([1])) == (pytest.approx(7 / 9), 0.0)
    assert beta_law(np.array([[7, 0]]), np.array([5])) == (1.0, 0.0)


NAMES = ("code", "math", "chat", "reading")
LENGTHS = range(1, 17)


@pytest.fixture(scope="module")
def records():
    return load_records()


@pytest.fixture(scope="module")
def rows(records):
    return summarise(records, load_extras(None, records), NAMES)


def slow_rounds(probability, accepted, length, rounds=16):
    """Mean gain of rounds from every position of a text, by loops."""
    size, gained = len(accepted), []
    for begin in range(size):
        at = begin
        for _ in range(rounds):
            ahead = [(at + step) % size for step in range(length)]
            gained.append(1.0 + sum(accumulate((probability[i] for i in ahead), mul)))
            at = (at + [*(accepted[i] for i in ahead), False].index(False) + 1) % size
    return np.mean(gained)


def test_numbers_of_the_record_of_the_package(rows):
    assert [round(row.mean_probability, 3) for row in rows] == [0.924, 0.912, 0.662, 0.750, 0.851]
    assert [(row.task, row.prompts, row.positions) for row in rows[-2:]] == [("reading", 12, 363), (ALL, 48, 4331)]
    assert all(0.20 < row.token_std < 0.385 and 0.02 < row.prompt_std < 0.105 for row in _without_total(rows))
    assert all(abs(row.overlap - row.mean_probability) < 0.01 for row in rows)


def test_rates_and_rounds_are_those_of_a_slow_replay(records, rows):
    row = rows[3]
    rates, replayed = [], []
    for prompt in np.flatnonzero(records.task == 3):
        positions = slice(records.start[prompt], records.start[prompt] + records.length[prompt])
        text = records.probability[positions].tolist(), records.accepted[positions].tolist()
        gains = [slow_rounds(*text, length) for length in LENGTHS]
        ratio = lambda rate, gains=gains: np.mean(  # noqa: E731
            [reference.expected_tokens(length, rate) / gain for length, gain in zip(LENGTHS, gains, strict=True)]
        )
        rates.append(brentq(lambda rate, ratio=ratio: ratio(rate) - 1.0, 0.0, 1.0))
        replayed.append(gains)
    assert row.rate == pytest.approx(np.mean(rates), abs=1e-9)
    assert row.prompt_std == pytest.approx(np.std(rates), abs=1e-9)
    for index, entry in enumerate(row.rounds):
        assert entry.replayed == pytest.approx(np.mean(replayed, axis=0)[index], rel=1e-9)
        formula = np.mean([reference.expected_tokens(index + 1, rate) for rate in rates])
        assert entry.off == pytest.approx(formula / entry.replayed - 1.0, abs=1e-9)
    assert row.worst.off == max((entry.off for entry in row.rounds), key=abs)


def test_the_tasks_are_those_that_the_process_assumes(records, rows):
    scenario = Scenario.preset("llama2", tasks=make_tasks(rows))
    prior = Recorded(records).prior(scenario)
    assert [task.acceptance_rate for task in scenario.tasks] == pytest.approx(prior.mean.tolist(), abs=1e-12)
    assert [task.acceptance_std for task in scenario.tasks] == pytest.approx(prior.spread.tolist(), abs=1e-12)


def test_a_single_task_without_overlap_and_a_picture_of_many(tmp_path):
    single = Records(np.zeros(1, int), np.array([9]), np.full(9, 0.5), np.arange(9) % 2 > 0)
    (row,) = rows = summarise(single, {}, ["mine"])
    assert (row.overlap, row.prompt_std, _without_total(rows)) == (None, 0.0, rows)
    header, (line,) = task_cells(rows)
    assert dict(zip(header, line, strict=True))["overlap"] == ""
    assert round_cells(rows)[0] == ("L", "mine")
    with pytest.raises(ValueError, match=r"tasks: expected an integer in 1\.\.1, got 2"):
        summarise(single, {}, ["mine", "other"])
    records = Records(np.arange(9), np.full(9, 9), np.full(81, 0.5), np.arange(81) % 2 > 0)
    draw_summary(summarise(records, {}, [f"task {index}" for index in range(9)]), records, tmp_path / "mine")
    assert (tmp_path / "mine.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
@pytest.mark.parametrize("prompts", [2, 100])
def test_a_known_share_of_the_variance_is_found(share, prompts):
    rng = np.random.default_rng(8)
    prompt = np.arange(20_000) % prompts
    mean = rng.beta(*np.array([0.7, 0.3]) * (1 / share - 1), 20_000)  # variance: share of 0.7 * 0.3
    outcomes = rng.random(20_000) < mean
    sure, other = rng.random((2, 20_000))
    beta = np.sqrt(share) * sure + np.sqrt(1 - share) * other
    for confidence, acceptance in ((mean**3, outcomes), (-1 / sure, beta / beta.max())):
        assert explained_share(confidence, acceptance, prompt) == pytest.approx(share, abs=0.02)
        assert explained_share(rng.random(20_000), acceptance, prompt) == pytest.approx(0.0, abs=0.005)


def test_what_only_fitted_prompts_share_explains_nothing():
    beta = np.repeat([0.2, 0.8], 50)  # of two prompts
    assert explained_share(beta, beta, np.repeat([0, 1], 50)) == pytest.approx(0.0, abs=1e-12)
    assert explained_share(beta, beta, np.tile([0, 1], 50)) == pytest.approx(1.0)  # by position, it seems to


@pytest.mark.parametrize("beta", [np.linspace(0, 1, 60), np.arange(60) % 2.0])
def test_a_constant_confidence_explains_nothing(beta):
    assert explained_share(np.full(60, 0.9), beta, np.arange(60) // 10) == pytest.approx(0.0, abs=1e-12)
    assert explained_share(np.full(60, 0.9), beta, np.zeros(60)) is None
    assert explained_share(beta, np.full(60, 0.3), np.arange(60) // 10) is None


def test_shares_are_shown_by_task_and_a_single_prompt_has_none():
    records = Records(np.array([0, 0, 1]), np.full(3, 40), np.tile([0.2, 0.8], 60), np.ones(120, bool))
    sure = {"draft_probability": np.tile([0.1, 0.9], 60), "draft_margin": np.ones(120)}
    rows = summarise(records, sure | {"draft_entropy": np.tile([0.9, 0.1], 60)}, ["a", "b"])
    assert confidence_cells(rows) == (
        ("task", "draft probability", "draft margin", "draft entropy"),
        [("a", "1.000", "0.000", "1.000"), ("b", "-", "-", "-"), (ALL, "1.000", "0.000", "1.000")],
    )


def test_shifts_are_differences_of_logits():
    means = (0.2, 0.4, 0.5, 0.6, 0.75, 0.8)  # with each number of probabilities; 0.8 with all
    overlap, kept = np.array([0.7, 0.9]), np.array([np.array(means) - 0.1, np.array(means) + 0.1]).ravel()
    nothing = np.zeros(0)
    texts = RecordedTexts(np.array([2]), nothing, nothing > 0, overlap, kept, nothing)
    ratios = (1 / 16, 1 / 6, 1 / 4, 3 / 8, 3 / 4, 1)  # m / (1 - m) over 4, that of all
    assert [number for number, _ in texts.shifts] == list(KEPT)
    assert [shift for _, shift in texts.shifts] == pytest.approx(np.log(ratios), abs=1e-12)
