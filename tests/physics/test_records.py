import pickle
import zipfile
from importlib import resources

import numpy as np
import pytest

from multispin_env.physics.acceptance import records as module
from multispin_env.physics.acceptance.records import Records, load_records

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
        (
            {"accepted": None},
            r"accepted: got only \['accept_probability', 'length', 'task'\], allowed is an archive with",
        ),
        (
            {"task": np.array([0.0, 1.0, 0.0])},
            "task: got float64 of shape .3,., allowed is a one-dimensional array of int",
        ),
        ({"task": np.zeros((3, 1), int)}, r"task: got int64 of shape \(3, 1\), allowed is a one-dimensional array"),
        ({"length": np.array(["8", "10", "9"])}, "length: got <U2 of shape .*allowed is .* integers"),
        (
            {"accept_probability": np.ones(27, int)},
            "accept_probability: got int64 .*allowed is .* floating-point numbers",
        ),
        ({"accepted": np.ones(27)}, "accepted: got float64 .*allowed is .* booleans"),
        (
            {"accept_probability": np.full(27, np.nan)},
            r"accept_probability\[0\]: got nan, allowed are numbers in \[0, 1\]",
        ),
        (
            {"accept_probability": np.full(27, 1.5)},
            r"accept_probability\[0\]: got 1\.5, allowed are numbers in \[0, 1\]",
        ),
        ({"accept_probability": np.full(27, -0.1)}, r"accept_probability\[0\]: got -0\.1"),
        ({"accept_probability": np.ones(26)}, "accept_probability: got 26 places, allowed are 27, the sum of length"),
        ({"accepted": np.ones(28, bool)}, "accepted: got 28 places, allowed are 27, the sum of length"),
        ({"length": np.array([8, 12, 7])}, r"length\[2\]: got 7, allowed are integers ≥ 8"),
        ({"length": np.array([8, 19])}, r"length: got 2 prompts, allowed are as many as task has \(3\)"),
        ({"task": np.array([], int), "length": np.array([], int)}, "length: got 0 prompts, allowed are .* at least 1"),
        ({"task": np.array([0, -1, 1])}, r"task\[1\]: got -1, allowed are integers ≥ 0"),
        ({"task": np.array([0, 3, 1])}, r"task: got no prompt of task 2, allowed is at least one for each of 0\.\.3"),
        ({"task": np.array([0, 1, None])}, "task: got unreadable data .*allowed is a plain array without objects"),
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
        (pickled, r"file: got b'.*allowed is an \.npz archive"),
        (pickled_inside, "accepted: got unreadable data .*allowed is a plain array without objects"),
        (plain_array, r"file: got .*NUMPY.*allowed is an \.npz archive"),
        (cut_off, r"file: got .*allowed is an \.npz archive"),
        (damaged, "task: got unreadable data"),
        (raw_member, "task: got raw bytes, allowed is an array"),
        (lambda path: path.write_bytes(b""), r"file: got b'' at its start, allowed is an \.npz archive"),
        (lambda path: path.mkdir(), r"path: got .*allowed is a readable \.npz file"),
        (lambda path: None, r"path: got .*No such file.*allowed is a readable \.npz file"),
    ],
)
def test_bad_file(tmp_path, make, message):
    path = tmp_path / "mine.npz"
    make(path)
    with pytest.raises(ValueError, match=message):
        load_records(path)


def test_changed_file_of_the_package(monkeypatch):
    monkeypatch.setattr(module, "PACKAGED_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"records/acceptance\.npz: got a changed file, allowed is .*SHA-256 0000"):
        load_records()


@pytest.mark.parametrize("path", [3, b"\0", "a\0b"])
def test_bad_path(path):
    with pytest.raises(ValueError, match=r"path: got .*allowed is a readable \.npz file"):
        load_records(path)


def test_records_made_in_memory_are_checked():
    with pytest.raises(ValueError, match="task: got list, allowed is a one-dimensional array of integers"):
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
    with pytest.raises(ValueError, match=r"half: got 2, allowed is an integer in 0\.\.1"):
        load_records().half(2)
    single = Records(np.array([0, 0, 1]), np.array([8, 8, 8]), np.full(24, 0.5), np.ones(24, dtype=bool))
    with pytest.raises(ValueError, match="task: got 1 prompt of task 1, allowed for halves are at least 2 of each"):
        single.half(0)
