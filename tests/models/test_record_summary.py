"""What a summary says of the package's record, against a slow replay."""

import numpy as np
import pytest
from scipy.optimize import brentq

from multispin_env.models.counts import (
    ALL,
    draw_summary,
    of_tasks,
    round_cells,
    summarise,
    task_cells,
    tasks_of,
)
from multispin_env.physics.records import Recorded, Records, load_overlap, load_records
from multispin_env.scenario import Scenario

NAMES = ("code", "math", "chat", "reading")
LENGTHS = range(1, 17)


@pytest.fixture(scope="module")
def records():
    return load_records()


@pytest.fixture(scope="module")
def rows(records):
    return summarise(records, load_overlap(None, records), NAMES)


def slow_rounds(probability, accepted, length, rounds=16):
    """Mean gain of rounds that begin at every place of a text and read on, place by place."""
    size, gained = len(accepted), []
    for begin in range(size):
        at = begin
        for _ in range(rounds):
            reached, run = 1.0, 0
            gain = 1.0
            for ahead in range(length):
                reached *= probability[(at + ahead) % size]
                gain += reached
            while run < length and accepted[(at + run) % size]:
                run += 1
            gained.append(gain)
            at = (at + run + 1) % size
    return np.mean(gained)


def slow_formula(length, rate):
    return sum(rate**token for token in range(length + 1))


def test_numbers_of_the_record_of_the_package(rows):
    """As its README says them; overlap is β without the luck of the draw."""
    assert [round(row.mean_probability, 3) for row in rows] == [0.924, 0.912, 0.662, 0.750, 0.851]
    assert [(row.task, row.prompts, row.places) for row in rows[-2:]] == [("reading", 12, 363), (ALL, 48, 4331)]
    assert all(0.20 < row.token_std < 0.385 and 0.02 < row.prompt_std < 0.105 for row in of_tasks(rows))
    assert all(abs(row.overlap - row.mean_probability) < 0.01 for row in rows)


def test_rates_and_rounds_are_those_of_a_slow_replay(records, rows):
    row = rows[3]
    rates, replayed = [], []
    for prompt in np.flatnonzero(records.task == 3):
        places = slice(records.start[prompt], records.start[prompt] + records.length[prompt])
        text = records.probability[places].tolist(), records.accepted[places].tolist()
        gains = [slow_rounds(*text, length) for length in LENGTHS]
        ratio = lambda rate, gains=gains: np.mean(  # noqa: E731
            [slow_formula(length, rate) / gain for length, gain in zip(LENGTHS, gains, strict=True)]
        )
        rates.append(brentq(lambda rate, ratio=ratio: ratio(rate) - 1.0, 0.0, 1.0))
        replayed.append(gains)
    assert row.rate == pytest.approx(np.mean(rates), abs=1e-9)
    assert row.prompt_std == pytest.approx(np.std(rates), abs=1e-9)
    for index, one in enumerate(row.rounds):
        assert one.replayed == pytest.approx(np.mean(replayed, axis=0)[index], rel=1e-9)
        formula = np.mean([slow_formula(index + 1, rate) for rate in rates])
        assert one.off == pytest.approx(formula / one.replayed - 1.0, abs=1e-9)
    assert row.worst.off == max((one.off for one in row.rounds), key=abs)


def test_the_tasks_are_those_that_the_process_assumes(records, rows):
    scenario = Scenario.preset("llama2", tasks=tasks_of(rows))
    prior = Recorded(records).prior(scenario)
    assert [task.acceptance_rate for task in scenario.tasks] == pytest.approx(prior.mean.tolist(), abs=1e-12)
    assert [task.acceptance_std for task in scenario.tasks] == pytest.approx(prior.spread.tolist(), abs=1e-12)


def test_tables(rows):
    header, lines = task_cells(rows)
    assert [line[0] for line in lines] == [*NAMES, ALL]
    assert dict(zip(header, lines[0], strict=True))["α"] == f"{rows[0].rate:.3f}"
    header, lines = round_cells(rows)
    assert header == ("L", *NAMES, ALL)
    assert len(lines) == 16
    assert all(len(line) == 6 for line in lines)


def test_a_single_task_without_overlap():
    single = Records(np.zeros(1, int), np.array([9]), np.full(9, 0.5), np.arange(9) % 2 > 0)
    (row,) = rows = summarise(single, None, ["mine"])
    assert (row.overlap, row.prompt_std, of_tasks(rows)) == (None, 0.0, rows)
    assert task_cells(rows)[1][0][5] == ""
    with pytest.raises(ValueError, match=r"tasks: expected an integer in 1\.\.1, got 2"):
        summarise(single, None, ["mine", "other"])


def test_a_picture_of_many_tasks(tmp_path):
    records = Records(np.arange(9), np.full(9, 9), np.full(81, 0.5), np.arange(81) % 2 > 0)
    draw_summary(summarise(records, None, [f"task {index}" for index in range(9)]), records, tmp_path / "mine")
    assert (tmp_path / "mine.png").read_bytes().startswith(b"\x89PNG")
