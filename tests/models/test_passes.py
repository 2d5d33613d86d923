"""Passes are measured in rounds; they, and texts of records, are kept as they are done, and continued."""

import numpy as np
import pytest

from multispin_env.models import passes
from multispin_env.models.counts import RecordedTexts, join_texts, texts_of
from multispin_env.models.passes import DRAFT, HEADER, VERIFY, Journal, PassCell, Passes, measure, rounds

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
    for cell, counts in rounds(CELLS, passes, 3, np.random.default_rng(0)):
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
    assert again.median(PassCell(VERIFY, 2, 3)) == 0.023


def test_only_what_is_missing_is_measured(file):
    """A run that fails in the middle, a second one, then more repeats and another batch."""
    calls, reports = [], []

    def dies(cell):
        calls.append(cell)
        if len(calls) > 12:
            raise KeyboardInterrupt
        return seconds_of(cell)

    with pytest.raises(KeyboardInterrupt):
        measure(CELLS, Passes(file, SETTING), 3, np.random.default_rng(1), dies, nothing)
    kept = Passes(file, SETTING)
    assert sum(map(len, kept.seconds.values())) == 12 - len(CELLS)
    calls.clear()
    counted = lambda cell: calls.append(cell) or seconds_of(cell)  # noqa: E731
    measure(CELLS, kept, 3, np.random.default_rng(1), counted, lambda *how_far: reports.append(how_far))
    assert all(kept.count(cell) == 3 for cell in CELLS)
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
        found = Passes(file, SETTING).seconds
        assert found == ({CELLS[0]: [0.5]} if end == len(whole) else {})
    file.write_bytes(whole + b"verify,1")
    Passes(file, SETTING).add(CELLS[0], 0.25)
    assert Passes(file, SETTING).seconds == {CELLS[0]: [0.5, 0.25]}


FOREIGN = [
    (
        "my notes",
        "mine.csv: expected a new file or one of this command, got one that begins with 'my notes'",
    ),
    ("# multispin profile {nonsense\n", "expected a new file or one of this command"),
    ("# multispin profile [1]\n", "expected a new file or one of this command"),
    (
        '{begin}"context": 64}}\n{header}\n',
        r"mine.csv: expected a file with context = 128, got 64; choose another name",
    ),
    ('{begin}"context": 128, "more": 1}}\n{header}\n', "expected a file with more = None, got 1"),
    ('{begin}"context": 128}}\nwhat\n', "mine.csv, line 2: expected 'what,batch,length,seconds', got 'what'"),
    ("{good}verify,1,2\n", "mine.csv, line 3: passes: expected 'what,batch,length,seconds', got 'verify,1,2'"),
    ("{good}verify,1,x,0.1\n", "line 3: passes: expected .* with numbers, got 'verify,1,x,0.1'"),
    ("{good}check,1,2,0.1\n", r"line 3: what: expected one of \['verify', 'draft'\], got 'check'"),
    ("{good}verify,0,2,0.1\n", "line 3: batch: expected an integer in 1..1000000, got 0"),
    ("{good}verify,1,-1,0.1\n", "line 3: length: expected an integer in 0..1000000, got -1"),
    ("{good}verify,1,2,nan\n", "line 3: seconds: expected a finite number in .*, got nan"),
    ("{good}" + "verify,1,2,0.1\n" * 300, "mine.csv: can't be read as a file of this command .*4096 bytes"),
]


@pytest.mark.parametrize(("text", "words"), FOREIGN, ids=range(len(FOREIGN)))
def test_what_is_not_of_this_setting_is_refused_and_left_alone(text, words, file, monkeypatch):
    monkeypatch.setattr(passes, "LARGEST", 4096)
    begin = '# multispin profile {"target": "m\\u00f6\\"del", '
    good = f'{begin}"context": 128}}\n{HEADER}\n'
    content = text.replace("{begin}", begin).replace("{good}", good).replace("{header}", HEADER).replace("}}", "}")
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=words) as caught:
        Passes(file, SETTING)
    assert "\n" not in str(caught.value)
    assert file.read_text(encoding="utf-8") == content


def test_bytes_that_are_no_text_are_refused(file):
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"mine.csv: can't be read as a file of this command"):
        Passes(file, SETTING)


def test_too_little_memory_says_where_and_keeps_the_rest(file):
    def fails(cell):
        if cell == PassCell(VERIFY, 4, 3):
            raise MemoryError("a batch of 4")
        return seconds_of(cell)

    passes = Passes(file, SETTING)
    measure(CELLS[:3], passes, 1, np.random.default_rng(0), fails, nothing)
    with pytest.raises(MemoryError, match=r"batch 4 with draft length 3: a batch of 4; leave .*kept in '.*mine.csv'"):
        measure(CELLS, passes, 1, np.random.default_rng(0), fails, nothing)
    assert Passes(file, SETTING).seconds.keys() == set(CELLS[:3])


def places(seed, *length):
    rng = np.random.default_rng(seed)
    numbers = rng.random((2, sum(length))).astype(np.float16)
    return RecordedTexts(np.array(length), numbers[0], rng.random(sum(length)) < 0.5, numbers[1])


def test_what_is_kept_comes_back(tmp_path):
    groups = [places(0, 8, 3), places(1, 9)]
    passes = Journal(tmp_path / "mine.part", "record", {"seed": 0, "draft": None}, texts_of)
    for group in groups:
        passes.add(group.line())
    again = Journal(tmp_path / "mine.part", "record", {"seed": 0, "draft": None}, texts_of)
    for found in (passes.parts, again.parts):
        assert [str(one) for one in found] == [str(one) for one in groups]
    both = join_texts(again.parts)
    assert both.length.tolist() == [8, 3, 9]
    np.testing.assert_array_equal(both.probability, np.concatenate([one.probability for one in groups]))


def test_what_says_no_texts_is_refused():
    line = places(0, 8, 3).line()
    assert texts_of(line).length.tolist() == [8, 3]
    wrong = places(0, 8)._replace(length=np.array([7])).line()
    below = places(0, 8)._replace(length=np.array([9, -1])).line()
    for bad in ("", "nonsense", "ä", line[:40], line.replace("c", "d"), wrong, below):
        with pytest.raises(ValueError, match=r"expected|base64|ASCII|padding"):
            texts_of(bad)
