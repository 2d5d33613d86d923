"""Parts of a record in the making."""

import numpy as np
import pytest

from multispin_env.models.parts import SETTINGS, RecordedTexts, RecordParts, join_texts


def places(seed, *length):
    rng = np.random.default_rng(seed)
    count = sum(length)
    # float16 numbers, as they are kept
    return RecordedTexts(np.array(length), rng.random(count).astype(np.float16), rng.random(count) < 0.5,
                  rng.random(count).astype(np.float16))  # fmt: skip


def same(first, second):
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_what_is_kept_comes_back(tmp_path):
    parts = RecordParts(tmp_path / "mine.part", {"seed": 0, "draft": None})
    parts.open()
    groups = [places(0, 8, 3), places(1, 9)]
    for index, group in enumerate(groups):
        assert parts.load(index) is None
        parts.save(index, group)
    again = RecordParts(tmp_path / "mine.part", {"seed": 0, "draft": None})
    again.open()
    assert all(same(again.load(index), group) for index, group in enumerate(groups))
    assert join_texts(groups).length.tolist() == [8, 3, 9]
    again.close()
    assert not (tmp_path / "mine.part").exists()


def test_other_settings_are_refused_in_one_sentence(tmp_path):
    folder = tmp_path / "mine.part"
    RecordParts(folder, {"seed": 0, "tokens": 8}).open()
    other = RecordParts(folder, {"seed": 1, "tokens": 8})
    other.open()  # nothing is made yet
    other.save(0, places(0, 8))
    with pytest.raises(ValueError, match=r"seed: expected 1, as of the parts in '.*mine.part' .*, got 0$"):
        RecordParts(folder, {"seed": 0, "tokens": 8}).open()
    with pytest.raises(ValueError, match=r"tokens: expected 8, .* got None"):
        RecordParts(folder, {"seed": 1}).open()
    assert same(other.load(0), places(0, 8))
    (folder / SETTINGS).write_text("[", encoding="utf-8")
    with pytest.raises(ValueError, match=r"out: expected the settings of old parts in .*settings.json', got none"):
        other.open()


def test_a_damaged_part_is_made_again(tmp_path):
    parts = RecordParts(tmp_path / "mine.part", {"seed": 0})
    parts.open()
    parts.save(3, places(0, 8))
    path = tmp_path / "mine.part" / "group-0003.npz"
    content = path.read_bytes()
    for bad in (content[:100], b"", content.replace(b"settings", b"sittengs")):
        path.write_bytes(bad)
        assert parts.load(3) is None
    RecordParts(tmp_path / "other", {"seed": 1}).open()
    path.write_bytes(content)
    assert RecordParts(tmp_path / "mine.part", {"seed": 1}).load(3) is None
    assert same(parts.load(3), places(0, 8))


def test_what_others_put_there_stays(tmp_path):
    parts = RecordParts(tmp_path / "mine.part", {"seed": 0})
    parts.open()
    parts.save(0, places(0, 8))
    parts.close_if_empty()
    (tmp_path / "mine.part" / "notes.txt").write_text("mine", encoding="utf-8")
    parts.close()
    assert [path.name for path in (tmp_path / "mine.part").iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "mine.part").write_text("a file", encoding="utf-8")
    with pytest.raises(ValueError, match="folder: expected a folder that can be written, got"):
        RecordParts(tmp_path / "mine.part", {}).open()
