"""Texts of a record in the making, as lines of its journal."""

import numpy as np
import pytest

from multispin_env.models.journal import Journal
from multispin_env.models.parts import RecordedTexts, join_texts, texts_of


def places(seed, *length):
    rng = np.random.default_rng(seed)
    numbers = rng.random((2, sum(length))).astype(np.float16)
    return RecordedTexts(np.array(length), numbers[0], rng.random(sum(length)) < 0.5, numbers[1])


def test_what_is_kept_comes_back(tmp_path):
    groups = [places(0, 8, 3), places(1, 9)]
    journal = Journal(tmp_path / "mine.part", "record", {"seed": 0, "draft": None}, texts_of)
    for group in groups:
        journal.add(group.line())
    again = Journal(tmp_path / "mine.part", "record", {"seed": 0, "draft": None}, texts_of)
    for found in (journal.parts, again.parts):
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
