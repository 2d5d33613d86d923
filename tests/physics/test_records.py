import os
import pickle
import tracemalloc
import zipfile
from contextlib import contextmanager, suppress
from importlib import resources

import numpy as np
import pytest

from multispin_env.physics import records as module
from multispin_env.physics.records import Records, load_overlap, load_records, record_file
from tests.physics.damage import with_damage

GOOD = {
    "task": np.array([1, 0, 1]),
    "length": np.array([8, 10, 9], dtype=np.int16),
    "accept_probability": np.linspace(0, 1, 27, dtype=np.float16),
    "accepted": np.arange(27) % 3 > 0,
}


@pytest.fixture
def write(tmp_path):
    def written(**changes):
        path = tmp_path / "mine.npz"
        np.savez(path, **{name: array for name, array in (GOOD | changes).items() if array is not None})
        return path

    return written


def test_record_of_the_package():
    records = load_records()
    assert records.task.shape == records.length.shape == (48,)
    assert records.probability.shape == records.accepted.shape == (4331,)
    assert records.num_tasks == 4
    assert records.length.min() == 14
    means = [records.probability[records.task[records.prompt] == task].mean() for task in range(4)]
    assert means == pytest.approx([0.924, 0.912, 0.662, 0.750], abs=1e-3)
    assert (resources.files("multispin_env") / "records" / "README.md").is_file()


def test_own_record(write):
    records = load_records(write(overlap=np.ones(27)))
    assert (records.task == GOOD["task"]).all()
    assert records.probability.dtype == np.float64
    assert (records.probability == GOOD["accept_probability"]).all()
    assert records.start.tolist() == [0, 8, 18]
    assert records.prompt.tolist() == [0] * 8 + [1] * 10 + [2] * 9
    with pytest.raises(ValueError, match="read-only"):
        records.probability[0] = 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accepted": None}, r"accepted: .* got only \['accept_probability', 'length', 'task'\]"),
        ({"task": np.array([0.0, 1.0, 0.0])}, "task: .* one-dimensional array of integers, got float64 of shape .3,."),
        ({"task": np.zeros((3, 1), int)}, r"task: .* got int64 of shape \(3, 1\)"),
        ({"length": np.array(["8", "10", "9"])}, "length: expected .* integers, got <U2 of shape"),
        ({"accept_probability": np.ones(27, int)}, "accept_probability: .* floating-point numbers, got int64"),
        ({"accepted": np.ones(27)}, "accepted: expected .* booleans, got float64"),
        ({"accept_probability": np.full(27, np.nan)}, r"accept_probability\[0\]: .* \[0, 1\], got nan"),
        ({"accept_probability": np.full(27, 1.5)}, r"accept_probability\[0\]: .* \[0, 1\], got 1\.5"),
        ({"accept_probability": np.ones(26)}, "accept_probability: expected 27 places, the sum of length, got 26"),
        ({"accepted": np.ones(28, bool)}, "accepted: expected 27 places, the sum of length, got 28"),
        ({"length": np.array([8, 12, 7])}, r"length\[2\]: expected integers ≥ 8, got 7"),
        ({"length": np.array([8, 19])}, r"length: expected as many prompts as task has \(3\), at least 1, got 2"),
        ({"task": np.array([], int), "length": np.array([], int)}, r"length: expected as many .* at least 1, got 0"),
        ({"task": np.array([0, -1, 1])}, r"task\[1\]: expected integers ≥ 0, got -1"),
        ({"task": np.array([0, 3, 1])}, r"task: expected at least one prompt for each of 0\.\.3, got none for 2"),
        ({"task": np.array([0, 1, None])}, "task: expected a plain array without objects, got unreadable data"),
    ],
)
def test_bad_array(write, changes, message):
    with pytest.raises(ValueError, match=rf"mine\.npz: {message}") as caught:
        load_records(write(**changes))
    assert "\n" not in str(caught.value)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def pickled(path):
    path.write_bytes(pickle.dumps(Trap()))


def pickled_inside(path):
    np.savez(path, **(GOOD | {"accepted": np.array([Trap()], dtype=object)}), allow_pickle=True)


def plain_array(path):
    np.save(path.with_suffix(".npy"), np.ones(3))
    path.with_suffix(".npy").rename(path)


def cut_off(path):
    np.savez(path, **GOOD)
    path.write_bytes(path.read_bytes()[:-40])


def damaged(path):
    np.savez(path, **GOOD)
    content = bytearray(path.read_bytes())
    content[130] ^= 255  # inside the first array
    path.write_bytes(content)


def raw_member(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("task", b"0")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pickled, r"file: expected an \.npz archive, got b'"),
        (pickled_inside, "accepted: expected a plain array without objects, got unreadable data"),
        (plain_array, r"file: expected an \.npz archive, got .*NUMPY"),
        (cut_off, r"file: expected an \.npz archive, got "),
        (damaged, "task: expected a plain array without objects, got unreadable data"),
        (raw_member, r"task: expected an array as numpy\.savez writes it, got raw bytes"),
        (lambda path: path.write_bytes(b""), r"file: expected an \.npz archive, got b'' at its start"),
        (lambda path: path.mkdir(), r"path: expected a readable \.npz file, got "),
        (lambda path: None, r"path: expected a readable \.npz file, got .*No such file"),
    ],
)
def test_bad_file(tmp_path, make, message):
    path = tmp_path / "mine.npz"
    make(path)
    with pytest.raises(ValueError, match=message):
        load_records(path)


def npy(dtype, shape, numbers=b"", header=None, version=b"\x01\x00"):
    """An array's file with any header before any bytes."""
    text = (header or f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}").encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version == b"\x01\x00" else 4, "little") + text + numbers


def with_accepted(path, content, **changes):
    """A good record, but for the bytes of its last array, packed so well that millions take few."""
    good = {name: npy(array.dtype.str, array.shape, array.tobytes()) for name, array in GOOD.items()}
    with zipfile.ZipFile(path, "w", **{"compression": zipfile.ZIP_DEFLATED} | changes) as file:
        for name, array in {**good, "accepted": content}.items():
            file.writestr(f"{name}.npy", array)


@contextmanager
def little_memory():
    """At no time is there more than a part of what the file would like to have."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def in_directory(path, sizes, content=None):
    """Let the archive's directory say other sizes, packed and unpacked, of its last member."""
    with_accepted(path, content or npy("|b1", (27,), bytes(27)), compression=zipfile.ZIP_STORED)
    archive = bytearray(path.read_bytes())
    place = archive.rindex(b"PK\x01\x02")
    for at, size in zip((20, 24), sizes, strict=True):
        archive[place + at : place + at + 4] = size.to_bytes(4, "little")
    path.write_bytes(archive)


MANY = 1_000_000
UNREADABLE = "accepted: expected a plain array without objects, got unreadable data "


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy("|b1", (10**13,)), UNREADABLE + r".its shape is \(10000000000000,\), with more than 1000000 numbers"),
        (npy("|b1", (10**13,), bytes(27)), UNREADABLE + ".*with more than 1000000 numbers"),
        (npy("|b1", (10**6, 10**6, 10**6)), UNREADABLE + ".*with more than 1000000 numbers"),
        (npy("|b1", (-27,), bytes(27)), UNREADABLE + ".*with more than"),
        (npy("|b1", (MANY + 1,), bytes(MANY + 1)), UNREADABLE + ".*with more than 1000000 numbers"),
        (npy("|b1", (MANY,), bytes(27)), UNREADABLE + ".its header declares 1000000 bytes, and it has 27"),
        (npy("|b1", (27,), bytes(28)), UNREADABLE + ".its header declares 27 bytes, and it has 28"),
        (npy("|b1", (27,), bytes(20_000_000)), "accepted: expected at most 16065536 bytes, got 20000067"),
        (npy("|O", (27,), b"x"), UNREADABLE + ".it holds objects"),
        (npy("<U2000000", (2,), bytes(16_000_000)), "accepted: expected .* booleans, got <U2000000 of shape .2,."),
        (npy("|V0", (27,)), r"accepted: expected .* booleans, got \|V0 of shape"),
        (npy([("a", "|b1")], (27,), bytes(27)), "accepted: expected .* booleans, got .* of shape .27,."),
        (npy("|b1", (), bytes(1)), r"accepted: expected a one-dimensional array of booleans, got bool of shape \(\)"),
        (npy("", "", header="-" * 9000), UNREADABLE),  # Python's parser fails without a ValueError
        (npy("", "", header="(" * 150), UNREADABLE),
        (npy("", "", header="{'descr': ("), UNREADABLE),
        (npy("", "", header=" " * 20_000), UNREADABLE),
        (npy("", "", header=" " * 15_000_000, version=b"\x02\x00"), UNREADABLE + r".version \(2, 0\)"),
        (npy("|b1", (27,), bytes(27), version=b"\x03\x00"), UNREADABLE + r".version \(3, 0\) of the format"),
        (b"", UNREADABLE),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_an_array_is_refused_from_its_header(tmp_path, content, message):
    path = tmp_path / "mine.npz"
    with_accepted(path, content)
    assert path.stat().st_size < 200_000
    with little_memory(), pytest.raises(ValueError, match=message) as caught:
        load_records(path)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((2**32 - 2, 2**32 - 2), "accepted: expected at most 16065536 bytes, got 4294967294"),
        ((94, 2**20), UNREADABLE + ".its header declares 27 bytes, and it has 1048509"),
        ((80, 94), UNREADABLE),
        ((94, 80), UNREADABLE),
    ],
)
def test_a_directory_that_lies_is_refused(tmp_path, sizes, message):
    path = tmp_path / "mine.npz"
    in_directory(path, sizes)
    with pytest.raises(ValueError, match=message):
        load_records(path)


def test_a_bomb_is_unpacked_no_further_than_its_directory_says(tmp_path):
    path = tmp_path / "mine.npz"
    with_accepted(path, npy("|b1", (27,), bytes(10_000_000)))
    archive = bytearray(path.read_bytes())
    place = archive.rindex(b"PK\x01\x02")
    archive[place + 24 : place + 28] = len(npy("|b1", (27,), bytes(27))).to_bytes(4, "little")
    path.write_bytes(archive)
    with little_memory(), pytest.raises(ValueError, match=UNREADABLE + ".Bad CRC-32"):
        load_records(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_ways_to_pack_are_refused(tmp_path, method):
    path = tmp_path / "mine.npz"
    with_accepted(path, npy("|b1", (27,), bytes(27)), compression=method)
    with pytest.raises(ValueError, match=r"task: .*unreadable data .it is packed in another way than by numpy"):
        load_records(path)


def test_a_large_file_is_refused_unread(tmp_path):
    path = tmp_path / "mine.npz"
    with path.open("wb") as file:
        file.truncate(2**40)  # a terabyte of nothing
    with pytest.raises(ValueError, match=r"path: .*size: expected at most 16000000 bytes, got more"):
        load_records(path)


def test_devices_and_pipes_are_no_records(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe"):
        with pytest.raises(ValueError, match=r"path: expected a readable \.npz file, got .*no plain file"):
            load_records(path)


def test_lengths_whose_sum_runs_over_are_refused(write):
    length = np.array([2**62, 2**62, 2**62, 2**62, 27])
    with pytest.raises(ValueError, match=r"length\[0\]: expected integers ≤ 27, .*, got 4611686018427387904"):
        load_records(write(task=np.zeros(5, int), length=length))


def test_damage_raises_nothing_but_value_errors(tmp_path, rng):
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, **GOOD)
    for content in with_damage(path.read_bytes(), rng):
        path.write_bytes(content)
        with suppress(ValueError):
            load_records(path)


def test_changed_file_of_the_package(monkeypatch):
    monkeypatch.setattr(module, "PACKAGED_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"records/acceptance\.npz: expected .* SHA-256 0{64}, got a changed one"):
        load_records()


@pytest.mark.parametrize("path", [3, b"\0", "a\0b"])
def test_bad_path(path):
    with pytest.raises(ValueError, match=r"path: expected a readable \.npz file, got "):
        load_records(path)


def test_records_made_in_memory_are_checked():
    with pytest.raises(ValueError, match="task: expected a one-dimensional array of integers, got list"):
        Records([0], np.array([8]), np.ones(8), np.ones(8, bool))


def test_halves_share_out_the_texts_of_each_task():
    whole = load_records()
    halves = [whole.half(which) for which in (0, 1)]
    assert [np.bincount(half.task).tolist() for half in halves] == [[6, 6, 6, 6]] * 2
    for which, half in enumerate(halves):
        for task in range(4):
            texts = np.flatnonzero(whole.task == task)[which::2]
            own = np.flatnonzero(half.task == task)
            for old, new in zip(texts, own, strict=True):
                places = [slice(r.start[p], r.start[p] + r.length[p]) for r, p in ((whole, old), (half, new))]
                assert (whole.probability[places[0]] == half.probability[places[1]]).all()
                assert (whole.accepted[places[0]] == half.accepted[places[1]]).all()


def test_what_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match=r"half: expected an integer in 0\.\.1, got 2"):
        load_records().half(2)
    single = Records(np.array([0, 0, 1]), np.array([8, 8, 8]), np.full(24, 0.5), np.ones(24, dtype=bool))
    with pytest.raises(ValueError, match="task: expected at least 2 prompts of each for halves, got 1 of task 1"):
        single.half(0)


def test_a_record_keeps_numbers_of_its_own():
    given = [GOOD["task"].astype(np.int64), np.array([8, 10, 9]), np.linspace(0.0, 1.0, 27), GOOD["accepted"].copy()]
    records = Records(*given)
    for array in given:
        array[:] = 0  # it has not been made read-only
    assert records.task.tolist() == [1, 0, 1]
    assert records.length.tolist() == [8, 10, 9]
    assert records.probability[-1] == 1.0
    assert records.accepted.sum() == 18


def test_a_written_record_is_read_back(tmp_path):
    path = tmp_path / "mine.npz"
    records = Records(*GOOD.values())
    overlap = np.linspace(1, 0, 27, dtype=np.float16).astype(float)
    path.write_bytes(record_file(records, overlap))
    again = load_records(path)
    for field in ("task", "length", "probability", "accepted"):
        np.testing.assert_array_equal(getattr(again, field), getattr(records, field))
    np.testing.assert_array_equal(load_overlap(path, again), overlap)
    with np.load(path) as arrays:
        kinds = {name: array.dtype.str for name, array in arrays.items()}
    assert kinds == {"task": "|i1", "length": "<i2", "accept_probability": "<f2", "accepted": "|b1", "overlap": "<f2"}
    assert record_file(again, overlap) == path.read_bytes()


def test_a_long_text_is_written_with_its_length(tmp_path):
    path = tmp_path / "long.npz"
    path.write_bytes(record_file(Records(np.zeros(1, int), np.array([40_000]), np.ones(40_000), np.ones(40_000, bool))))
    records = load_records(path)
    assert records.length.tolist() == [40_000]
    assert load_overlap(path, records) is None


def test_a_bad_overlap_is_refused(write):
    records = Records(*GOOD.values())
    with pytest.raises(ValueError, match=r"mine.npz: overlap: expected 27 places, the sum of length, got 26"):
        load_overlap(write(overlap=np.ones(26)), records)
    with pytest.raises(ValueError, match=r"mine.npz: overlap\[0\]: expected numbers in \[0, 1\], got 2"):
        load_overlap(write(overlap=np.full(27, 2.0)), records)
