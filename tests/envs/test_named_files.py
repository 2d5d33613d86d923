"""Files that a stored configuration may name, and whose word counts."""

import pytest

from multispin_env.envs.config import EnvConfig

RECORDED = "MultiSpin/RecordedAcceptance-v0"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "records.npz").write_bytes(b"")
    return tmp_path


def read(folder, given=None, **arguments):
    written = EnvConfig.of(RECORDED, num_users=2).to_dict() | {"arguments": arguments}
    return EnvConfig.from_dict(written, folder, given).arguments


def test_a_file_beside_it_is_taken_whatever_else_is_given(folder):
    own = str(folder / "records.npz")
    for given in (None, {}, {"half": 1}, {"records": "elsewhere.npz"}):
        found = read(folder, given, records="records.npz", half=0)
        assert (found["records"], found["half"]) == (own, 0)
    assert read(folder, records=None)["records"] is None


def test_another_place_is_the_users_to_name(folder):
    for named in ("missing.npz", "/etc/passwd"):
        for given in (None, {}, {"half": 1}):
            with pytest.raises(ValueError, match=f"records: expected a file next to the configuration.*, got {named!r}"):
                read(folder, given, records=named)
        assert read(folder, {"records": "mine.npz"}, records=named)["records"] == "mine.npz"
    written = EnvConfig.of(RECORDED).to_dict()
    with pytest.raises(ValueError, match=r"arguments: expected a table of names and values, got \[\]"):
        EnvConfig.from_dict(written | {"arguments": []}, folder)


def test_what_is_saved_is_the_name_of_the_copy(folder):
    config = EnvConfig.of(RECORDED, records=folder / "other.npz", half=0)
    saved = config.to_dict()["arguments"]
    assert (saved["records"], saved["half"]) == ("records.npz", 0)
    assert config.files == {"records.npz": folder / "other.npz"}
    assert EnvConfig.of(RECORDED).files == {}


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
    config = EnvConfig.of(RECORDED, records=mine, half=1)
    found = config.with_same_files(EnvConfig.of(RECORDED, records=other, half=0)).variant
    assert (found.records, found.half) == (other if taken else mine, 1)
    assert config.with_same_files(EnvConfig.of("MultiSpin/Heterogeneous-v0")).variant.records == mine
