import numpy as np
import pytest
from scipy.optimize import minimize

from multispin_lab.models import passes
from multispin_lab.models.counts import KEPT, RecordedTexts, parse_texts
from multispin_lab.models.passes import (
    DRAFT,
    HEADER,
    VERIFY,
    PassCell,
    Passes,
    fit_cells,
    fit_law,
    law_times,
    measure,
    schedule_passes,
)

SETTING = {"target": 'mö"del', "context": 128}
CELLS = [PassCell(VERIFY, batch, length) for batch in (1, 2, 4) for length in (0, 3)] + [PassCell(DRAFT, 1, 8)]


def nothing(*_):
    pass


def seconds_of(cell):
    return 0.01 * cell.batch + 0.001 * cell.length


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mine.csv"


def test_each_round_has_each_cell_once_in_its_own_order(file):
    passes = Passes(file, SETTING)
    order = []
    for cell, counts in schedule_passes(CELLS, passes, 3, np.random.default_rng(0)):
        order.append((cell, counts))
        if counts:
            passes.add(cell, 1.0)
    size = len(CELLS)
    parts = [order[begin : begin + size] for begin in range(0, 4 * size, size)]
    assert len(order) == 4 * size
    assert all({cell for cell, _ in part} == set(CELLS) for part in parts)
    assert [{counts for _, counts in part} for part in parts] == [{False}, {True}, {True}, {True}]
    assert len({tuple(part) for part in parts[1:]}) == 3


def test_the_file_has_a_line_for_each_pass_and_is_read_again(file):
    passes = Passes(file, SETTING)
    measure(CELLS, passes, 2, np.random.default_rng(0), seconds_of, nothing)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0] == '# multispin profile {"target": "m\\u00f6\\"del", "context": 128}'
    assert lines[1] == HEADER
    assert len(lines) == 2 + 2 * len(CELLS)
    assert "verify,4,3,0.043000000" in lines
    again = Passes(file, SETTING)
    assert again.seconds == passes.seconds
    assert again.medians([PassCell(VERIFY, 2, 3)]) == [0.023]


def test_only_what_is_missing_is_measured(file):
    calls, reports = [], []

    def dies(cell):
        calls.append(cell)
        if len(calls) > 12:
            raise KeyboardInterrupt
        return seconds_of(cell)

    with pytest.raises(KeyboardInterrupt):
        measure(CELLS, Passes(file, SETTING), 3, np.random.default_rng(1), dies, nothing)
    stored = Passes(file, SETTING)
    assert sum(map(len, stored.seconds.values())) == 12 - len(CELLS)
    calls.clear()
    counted = lambda cell: calls.append(cell) or seconds_of(cell)  # noqa: E731
    measure(CELLS, stored, 3, np.random.default_rng(1), counted, lambda *how_far: reports.append(how_far))
    assert all(stored.count(cell) == 3 for cell in CELLS)
    assert len(calls) == 3 * len(CELLS) - 5 + len(CELLS)  # each warms up again
    assert reports == [(done, len(calls)) for done in range(1, len(calls) + 1)]
    calls.clear()
    measure(CELLS, Passes(file, SETTING), 3, np.random.default_rng(1), counted, nothing)
    assert not calls
    new = PassCell(VERIFY, 8, 0)
    measure([*CELLS, new], Passes(file, SETTING), 3, np.random.default_rng(1), counted, nothing)
    assert calls == [new] * 4


def test_half_a_line_of_a_killed_process_is_cut_off(file):
    passes = Passes(file, SETTING)
    passes.add(CELLS[0], 0.5)
    whole = file.read_bytes()
    for end in range(len(whole) + 1):
        file.write_bytes(whole[:end])
        result = Passes(file, SETTING).seconds
        assert result == ({CELLS[0]: [0.5]} if end == len(whole) else {})
    file.write_bytes(whole + b"verify,1")
    Passes(file, SETTING).add(CELLS[0], 0.25)
    assert Passes(file, SETTING).seconds == {CELLS[0]: [0.5, 0.25]}


FOREIGN = [
    ("my notes", "mine.csv: expected a new file or a file of this command, got a file that begins with 'my notes'"),
    ("\udcff\udcfe", "mine.csv: expected a readable file of this command, got an error"),
    ("# multispin profile {nonsense\n", "expected a new file or a file of this command"),
    ("# multispin profile [1]\n", "expected a new file or a file of this command"),
    ('{begin}"context": 64}}\n{header}\n', "mine.csv: expected a file with context = 128, got 64; choose another"),
    ('{begin}"context": 128, "more": 1}}\n{header}\n', "expected a file with more = None, got 1"),
    ('{begin}"context": 128}}\nwhat\n', "mine.csv, line 2: expected 'what,batch,length,seconds', got 'what'"),
    ("{good}verify,1,2\n", "mine.csv, line 3: passes: expected 'what,batch,length,seconds', got 'verify,1,2'"),
    ("{good}verify,1,x,0.1\n", "line 3: passes: expected .* with numbers, got 'verify,1,x,0.1'"),
    ("{good}check,1,2,0.1\n", r"line 3: what: expected one of \['verify', 'draft', 'long-draft'\], got 'check'"),
    ("{good}verify,0,2,0.1\n", "line 3: batch: expected an integer in 1..1000000, got 0"),
    ("{good}verify,1,-1,0.1\n", "line 3: length: expected an integer in 0..1000000, got -1"),
    ("{good}verify,1,2,nan\n", "line 3: seconds: expected a finite number in .*, got nan"),
    ("{good}" + "verify,1,2,0.1\n" * 300, "mine.csv: expected a readable file of this command, got .*4096 bytes"),
]


@pytest.mark.parametrize(("text", "words"), FOREIGN, ids=range(len(FOREIGN)))
def test_what_is_not_of_this_setting_is_refused_and_left_alone(text, words, file, monkeypatch):
    monkeypatch.setattr(passes, "LARGEST_FILE", 4096)
    begin = '# multispin profile {"target": "m\\u00f6\\"del", '
    good = f'{begin}"context": 128}}\n{HEADER}\n'
    content = text.replace("{begin}", begin).replace("{good}", good).replace("{header}", HEADER).replace("}}", "}")
    file.write_text(content, "utf-8", "surrogateescape")
    with pytest.raises(ValueError, match=words) as caught:
        Passes(file, SETTING)
    assert "\n" not in str(caught.value)
    assert file.read_text("utf-8", "surrogateescape") == content


def test_too_little_memory_says_where_and_keeps_the_rest(file):
    def fails(cell):
        if cell == PassCell(VERIFY, 4, 3):
            raise MemoryError("a batch of 4")
        return seconds_of(cell)

    passes = Passes(file, SETTING)
    measure(CELLS[:3], passes, 1, np.random.default_rng(0), fails, nothing)
    with pytest.raises(MemoryError, match=r"batch 4 with draft length 3: a batch of 4; leave .* are in '.*mine.csv'"):
        measure(CELLS, passes, 1, np.random.default_rng(0), fails, nothing)
    assert Passes(file, SETTING).seconds.keys() == set(CELLS[:3])


def positions(*length):
    rng = np.random.default_rng(0)
    numbers = rng.random((2, sum(length))).astype(np.float16)
    kept = np.repeat(numbers[1], len(KEPT))
    sure = np.repeat(numbers[1], 3)
    return RecordedTexts(np.array(length), numbers[0], rng.random(sum(length)) < 0.5, numbers[1], kept, sure)


def test_what_says_no_texts_is_refused():
    line = positions(8, 3).line()
    assert parse_texts(line).length.tolist() == [8, 3]
    wrong = positions(8)._replace(length=np.array([7])).line()
    below = positions(8)._replace(length=np.array([9, -1])).line()
    for bad in ("", "nonsense", "ä", line[:40], line.replace("c", "d"), wrong, below):
        with pytest.raises(ValueError, match=r"expected|base64|ASCII|padding"):
            parse_texts(bad)


def grid(batches, lengths):
    drafts, length = (entry.ravel() for entry in np.meshgrid(np.array(batches, float), np.array(lengths, float)))
    return drafts, drafts * (length + 1.0)


def random_law(rng, pieces, scale=1.0):
    return float(rng.choice([0.0, rng.random()])) * scale, rng.random((pieces, 2)) * [3.0, 0.2] * scale


@pytest.mark.parametrize("seed", range(8))
def test_a_law_is_found_again(seed):
    rng = np.random.default_rng(seed)
    drafts, tokens = grid((1, 2, 4, 8), (0, 1, 4, 8, 16))
    scale = 10.0 ** rng.uniform(-5, 2)
    per_draft = rng.random() * scale
    pieces = np.array([[15.0 + rng.random(), 0.1 * rng.random()], [rng.random(), 0.4 + rng.random()]]) * scale
    times = law_times(per_draft, pieces, drafts, tokens)
    result = fit_cells(drafts, tokens, times)
    assert result.error < 1e-7
    assert result.time_per_draft == pytest.approx(per_draft, rel=1e-5, abs=1e-6 * scale)
    np.testing.assert_allclose(result.pieces, pieces, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("seed", range(6))
def test_no_search_finds_a_better_law(seed):
    rng = np.random.default_rng(seed)
    pieces = 1 + seed % 2
    drafts, tokens = grid((1, 2, 5), (0, 2, 9))
    times = law_times(*random_law(rng, pieces), drafts, tokens) * np.exp(0.2 * rng.normal(size=9))
    result = fit_law(tokens, times, pieces, drafts)
    law = np.array([result.time_per_draft, *result.pieces.ravel()])
    assert (law >= 0.0).all()

    def error(roots):
        first, *pieces = roots**2
        lines = [start + slope * tokens for start, slope in zip(pieces[::2], pieces[1::2], strict=True)]
        return np.abs((drafts * first + np.max(lines, axis=0)) / times - 1.0).max()

    assert result.error == pytest.approx(error(np.sqrt(law)), abs=1e-12)
    starts = [np.sqrt(law), *rng.random((4, law.size)) * 1.5]
    best = min(minimize(error, start, method="Nelder-Mead", options={"maxiter": 600}).fun for start in starts)
    assert result.error <= best + 1e-6


def test_what_the_largest_error_leaves_open_is_settled_by_the_others():
    _, tokens = grid((1, 2), (0, 1, 40, 60, 80))
    times = np.where(tokens < 10, 5.0, 0.5 * tokens)
    times[tokens == 2] = np.array([6.0, 4.0])  # K = 1 and 2
    result = fit_law(tokens, times, 2)
    assert result.error == pytest.approx(0.2)
    np.testing.assert_allclose(result.errors[tokens >= 10], 0.0, atol=1e-6)


def test_two_pieces_only_where_they_halve_the_error():
    drafts, tokens = grid((1, 2, 4, 8), (0, 1, 4, 8, 16))
    noise = np.exp(0.05 * np.random.default_rng(0).normal(size=20))
    straight = law_times(0.3, np.array([[20.0, 0.5]]), drafts, tokens)
    bent = law_times(0.3, np.array([[20.0, 0.0], [2.0, 1.0]]), drafts, tokens)
    assert len(fit_cells(drafts, tokens, straight).pieces) == 1
    assert len(fit_cells(drafts, tokens, straight * noise).pieces) == 1
    assert len(fit_cells(drafts, tokens, bent * noise).pieces) == 2
    slightly = law_times(0.0, np.array([[20.0, 0.5], [19.5, 0.51]]), drafts, tokens)  # bent by less than 1 %
    assert fit_law(tokens, slightly, 2, drafts).error < 1e-6 < fit_law(tokens, slightly, 1, drafts).error
    assert len(fit_cells(drafts, tokens, slightly).pieces) == 1


@pytest.mark.parametrize(
    ("batches", "lengths", "words"),
    [
        ((1, 2), (0,), "cells: expected at least 4, got 2"),
        ((2,), (0, 1, 2, 3), r"two batch sizes and two lengths.*got batch sizes \[2\] and .*\[2, 4, 6, 8\]"),
        ((1, 2, 3, 4), (3,), "cells: expected at least two batch sizes and two lengths"),
    ],
)
def test_too_few_cells_are_refused(batches, lengths, words):
    drafts, tokens = grid(batches, lengths)
    with pytest.raises(ValueError, match=words):
        fit_cells(drafts, tokens, 1.0 + tokens)
