"""Which files a configuration may name, and whose word counts."""

import numpy as np
import pytest

from multispin_env.envs.registration import loaded_arguments, named_files, saved_arguments, with_same_files
from multispin_env.envs.rounds.hidden import RecordedAcceptance
from multispin_env.envs.rounds.variants import Heterogeneous


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "records.npz").write_bytes(b"")
    return tmp_path


def test_a_file_beside_it_is_taken_whatever_else_is_given(folder):
    own = str(folder / "records.npz")
    for given in (None, {}, {"half": 1}, {"records": "elsewhere.npz"}):
        assert loaded_arguments(RecordedAcceptance, {"records": "records.npz", "half": 0}, folder, given) == {
            "records": own,
            "half": 0,
        }
    assert loaded_arguments(RecordedAcceptance, {"records": None}, folder) == {"records": None}


def test_another_place_is_the_users_to_name(folder):
    for named in ("missing.npz", "/etc/passwd"):
        for given in (None, {}, {"half": 1}):
            with pytest.raises(ValueError, match=f"records: expected a file beside the configuration.*, got {named!r}"):
                loaded_arguments(RecordedAcceptance, {"records": named}, folder, given)
        found = loaded_arguments(RecordedAcceptance, {"records": named}, folder, {"records": "mine.npz"})
        assert found == {"records": "mine.npz"}
    with pytest.raises(ValueError, match=r"arguments: expected a table of names and values, got \[\]"):
        loaded_arguments(RecordedAcceptance, [], folder)


def test_what_is_saved_is_the_name_of_the_copy(folder):
    arguments = {"records": folder / "other.npz", "half": 0}
    assert saved_arguments(RecordedAcceptance, arguments) == {"records": "records.npz", "half": 0}
    assert named_files(RecordedAcceptance, arguments) == {"records.npz": folder / "other.npz"}
    for nothing in (None, np.zeros(1)):  # the package's own, or a record in memory
        assert named_files(RecordedAcceptance, {"records": nothing}) == {}


@pytest.mark.parametrize(
    ("own", "theirs", "taken"),
    [
        ("a", "same", True),
        ("a", "other", False),  # as long, of another content
        ("a", "missing", False),
        ("missing", "a", False),
        ("a", None, False),
        (None, "a", False),
    ],
)
def test_another_path_is_taken_where_the_same_bytes_are(own, theirs, taken, tmp_path):
    for name, content in (("a", b"12"), ("same", b"12"), ("other", b"34")):
        (tmp_path / name).write_bytes(content)
    mine, other = (None if name is None else str(tmp_path / name) for name in (own, theirs))
    found = with_same_files(RecordedAcceptance(records=mine, half=1), RecordedAcceptance(records=other, half=0))
    assert (found.records, found.half) == (other if taken else mine, 1)
    assert with_same_files(RecordedAcceptance(records=mine), Heterogeneous()).records == mine
