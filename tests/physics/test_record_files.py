import io
import os
import pickle
import tracemalloc
import zipfile
from contextlib import suppress
from functools import partial

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics import records, traces
from multispin_env.physics.records import Records, load_records
from tests.refusals import refusals

GOOD = {
    "task": np.array([1, 0, 1]),
    "length": np.array([8, 10, 9], dtype=np.int16),
    "accept_probability": np.linspace(0, 1, 27, dtype=np.float16),
    "accepted": np.arange(27) % 3 > 0,
}
TRACE = {
    "gap_us": np.array([0, 1_500_000, 500_000], dtype=np.uint32),
    "prompt": np.array([0, 20, 5], dtype=np.uint16),
    "output": np.array([1, 60, 3], dtype=np.uint16),
}


def archive(arrays, save=np.savez, **options):
    content = io.BytesIO()
    save(content, **{name: array for name, array in arrays.items() if array is not None}, **options)
    return content.getvalue()


def test_records(tmp_path):
    packaged = load_records()
    assert packaged.task.shape == packaged.length.shape == (48,)
    assert packaged.probability.shape == packaged.accepted.shape == (4331,)
    assert (packaged.num_tasks, packaged.length.min()) == (4, 14)
    means = [packaged.probability[packaged.task[packaged.prompt] == task].mean() for task in range(4)]
    assert means == pytest.approx([0.924, 0.912, 0.662, 0.750], abs=1e-3)
    (tmp_path / "mine.npz").write_bytes(archive(GOOD | {"overlap": np.ones(27)}))
    records = load_records(tmp_path / "mine.npz")
    assert (records.task == GOOD["task"]).all()
    assert records.probability.dtype == np.float64
    assert (records.probability == GOOD["accept_probability"]).all()
    assert records.start.tolist() == [0, 8, 18]
    assert records.prompt.tolist() == [0] * 8 + [1] * 10 + [2] * 9
    with pytest.raises(ValueError, match="read-only"):
        records.probability[0] = 1.0


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def npy(dtype, shape, numbers=b"", header=None, version=b"\x01\x00"):
    text = (header or f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}").encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version == b"\x01\x00" else 4, "little") + text + numbers


def with_accepted(array, compression=zipfile.ZIP_DEFLATED):
    good = {name: npy(array.dtype.str, array.shape, array.tobytes()) for name, array in GOOD.items()}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression=compression) as file:
        for name, member in {**good, "accepted": array}.items():
            file.writestr(f"{name}.npy", member)
    return content.getvalue()


def lying(packed, unpacked):
    """An archive whose directory states these sizes of the last array; without the first, it is a bomb."""
    bomb = packed is None
    compression = zipfile.ZIP_DEFLATED if bomb else zipfile.ZIP_STORED
    content = bytearray(with_accepted(npy("|b1", (27,), bytes(10_000_000 if bomb else 27)), compression))
    position = content.rindex(b"PK\x01\x02")
    for at, size in ((20, packed), (24, unpacked)):
        if size is not None:
            content[position + at : position + at + 4] = size.to_bytes(4, "little")
    return bytes(content)


def damaged():
    content = bytearray(archive(GOOD))
    content[130] ^= 255  # inside the first array
    return bytes(content)


def raw_member():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("task", b"0")
    return content.getvalue()


NO_ARCHIVE = r"file: expected an \.npz archive, got b'"
UNREADABLE = "expected a plain array without objects, got unreadable data "
FILES = [
    (lambda: pickle.dumps(Trap()), NO_ARCHIVE),
    (lambda: archive(GOOD | {"accepted": np.array([Trap()])}, allow_pickle=True), f"accepted: {UNREADABLE}"),
    (lambda: npy("<f8", (3,), bytes(24)), NO_ARCHIVE),
    (damaged, f"task: {UNREADABLE}"),
    (raw_member, f"task: {UNREADABLE}"),
    (lambda: b"", NO_ARCHIVE),
    (
        lambda: with_accepted(npy("|b1", (27,), bytes(27)), zipfile.ZIP_BZIP2),
        f"task: {UNREADABLE}.numpy does not use its compression method",
    ),
    (lambda: lying(2**32 - 2, 2**32 - 2), "accepted: expected at most 16065536 bytes, got 4294967294"),
    (lambda: lying(94, 2**20), f"accepted: {UNREADABLE}.its header declares 27 bytes, and it has 1048509"),
    (lambda: lying(80, 94), f"accepted: {UNREADABLE}"),
    (lambda: lying(None, 94), f"accepted: {UNREADABLE}.Bad CRC-32"),  # unpacked no further than its directory says
]
RECORDS = [
    ({"accepted": None}, r"accepted: .* got only \['accept_probability', 'length', 'task'\]"),
    ({"task": np.array([0.0, 1.0, 0.0])}, "task: .* one-dimensional array of integers, got float64 of shape .3,."),
    ({"task": np.zeros(5, int), "length": np.array([2**62] * 4 + [27])}, r"length\[0\]: expected integers ≤ 27"),
    ({"length": np.array(["8", "10", "9"])}, "length: expected .* integers, got <U2 of shape"),
    ({"accept_probability": np.ones(27, int)}, "accept_probability: .* floating-point numbers, got int64"),
    ({"accepted": np.ones(27)}, "accepted: expected .* booleans, got float64"),
    ({"accept_probability": np.full(27, np.nan)}, r"accept_probability\[0\]: .* \[0, 1\], got nan"),
    ({"accept_probability": np.full(27, 1.5)}, r"accept_probability\[0\]: .* \[0, 1\], got 1\.5"),
    ({"accept_probability": np.ones(26)}, "accept_probability: expected 27 positions, the sum of length, got 26"),
    ({"accepted": np.ones(28, bool)}, "accepted: expected 27 positions, the sum of length, got 28"),
    ({"length": np.array([8, 12, 7])}, r"length\[2\]: expected integers ≥ 8, got 7"),
    ({"length": np.array([8, 19])}, r"length: expected the same number of prompts ≥ 1 as in task \(3\), got 2"),
    ({"task": np.array([], int), "length": np.array([], int)}, r"length: expected the same number .*, got 0"),
    ({"task": np.array([0, -1, 1])}, r"task\[1\]: expected integers ≥ 0, got -1"),
    ({"task": np.array([0, 3, 1])}, r"task: expected at least one prompt for each of 0\.\.3, got none for 2"),
    ({"task": np.array([0, 1, None])}, f"task: {UNREADABLE}"),
]
ARRAYS = [  # refused from their headers
    (lambda: npy("|b1", (10**13,)), UNREADABLE + r".its shape is \(10000000000000,\), with more than 1000000 numbers"),
    (lambda: npy("|b1", (-27,), bytes(27)), UNREADABLE + ".*with more than"),
    (lambda: npy("|b1", (10**6 + 1,), bytes(10**6 + 1)), UNREADABLE + ".*with more than 1000000 numbers"),
    (lambda: npy("|b1", (10**6,), bytes(27)), UNREADABLE + ".its header declares 1000000 bytes, and it has 27"),
    (lambda: npy("|b1", (27,), bytes(28)), UNREADABLE + ".its header declares 27 bytes, and it has 28"),
    (lambda: npy("|b1", (27,), bytes(20_000_000)), "expected at most 16065536 bytes, got 20000067"),
    (lambda: npy("|O", (27,), b"x"), UNREADABLE + ".it holds objects"),
    (lambda: npy("<U2000000", (2,), bytes(16_000_000)), "expected .* booleans, got <U2000000 of shape .2,."),
    (lambda: npy([("a", "|b1")], (27,), bytes(27)), "expected .* booleans, got .* of shape .27,."),
    (lambda: npy("|b1", (), bytes(1)), r"expected a one-dimensional array of booleans, got bool of shape \(\)"),
    (lambda: npy("", "", header="-" * 9000), UNREADABLE),  # Python's parser fails without a ValueError
    (lambda: npy("", "", header=" " * 15_000_000, version=b"\x02\x00"), UNREADABLE + r".version \(2, 0\)"),
    (lambda: npy("|b1", (27,), bytes(27), version=b"\x03\x00"), UNREADABLE + r".version \(3, 0\) of the format"),
    (lambda: b"", UNREADABLE),
]
TRACES = [
    ({"gap_us": None}, r"gap_us: expected an archive with the arrays \['gap_us', 'prompt', 'output'\], got only"),
    ({"gap_us": np.array([0, -5, 2])}, r"row 2, gap_us: expected microseconds in 0\.\.\d+, got -5"),
    ({"gap_us": np.array([0, 2**63, 2], np.uint64)}, r"row 2, gap_us: expected microseconds in 0\.\.\d+, got 9\.2"),
    ({"gap_us": np.array([7, 5, 2])}, "row 1, gap_us: expected 0 in the first row, got 7"),
    ({"output": np.array([1, 1])}, r"requests: expected the same number ≥ 1 of entries in .*, got \[3, 3, 2\]"),
]
HEADER = "arrived_at,prompt,output\n"
CSV = [
    ("", r"header: expected the columns \['arrived_at', 'prompt', 'output'\], each once, got \[\]"),
    ("arrived_at,prompt\n1,2\n", r"header: expected the columns .*, got \['arrived_at', 'prompt'\]"),
    (HEADER, r"requests: expected the same number ≥ 1 of entries in .*, got \[0, 0, 0\]"),
    (HEADER + "1,2,3\n2,x,3\n", "row 2, prompt: expected a number, got 'x'"),
    (HEADER + "1,2,3\nnan,2,3\n", "row 2, arrived_at: expected a finite number of .*, got nan"),
    (HEADER + "1,2,3\n2,2,3\n1.5,2,3\n", r"row 3, arrived_at: expected a time no earlier than .*, got 1\.5"),
    (HEADER + "0,2,3\n1e10,2,3\n", r"row 2, arrived_at: expected at most 1e\+09 s after"),
    (HEADER + "1,-2,3\n", r"row 1, prompt: expected an integer in 0\.\.1000000000, got -2"),
    (HEADER + "1,2,3\n1,2,0\n", r"row 2, output: expected an integer in 1\.\.1000000000, got 0"),
    (HEADER + "1,2,2.5\n", r"row 1, output: expected an integer in .*, got 2\.5"),
    (HEADER + '1,2,"3\n', "expected CSV with commas and a header, got broken CSV"),
    (HEADER + "1,2," + "3" * 200_000, "expected CSV with commas and a header, got broken CSV"),
    (HEADER.encode() + b"1,2,\xff", "expected text in UTF-8, got the byte 0xff"),
]


@pytest.mark.parametrize(
    ("load", "suffix", "content", "message"),
    [
        *((load_records, "npz", content, message) for content, message in FILES),
        *((load_records, "npz", lambda x=changes: archive(GOOD | x), message) for changes, message in RECORDS),
        *((load_records, "npz", lambda x=array: with_accepted(x()), f"accepted: {text}") for array, text in ARRAYS),
        *(
            (ms.requests.load_trace, "npz", lambda x=changes: archive(TRACE | x), message)
            for changes, message in TRACES
        ),
        *(
            (ms.requests.load_trace, "csv", lambda x=x: x if isinstance(x, bytes) else x.encode(), text)
            for x, text in CSV
        ),
    ],
    ids=lambda value: value[-40:] if isinstance(value, str) else "",
)
def test_damaged_and_foreign_files(tmp_path, load, suffix, content, message):
    path, content = tmp_path / f"mine.{suffix}", content()
    path.write_bytes(content)
    assert len(content) < 201_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"mine\.{suffix}: {message}") as caught:
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_longer_traces_than_a_limit_are_refused(tmp_path, monkeypatch):
    (tmp_path / "mine.csv").write_text(HEADER + "1,2,3\n" * 3, encoding="utf-8")
    monkeypatch.setattr(traces, "MOST_NUMBERS", 2)
    with pytest.raises(ValueError, match=r"mine\.csv: rows: expected at most 2, got more"):
        ms.requests.load_trace(tmp_path / "mine.csv")


def terabyte(path):
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize(
    ("load", "suffix"), [(load_records, "npz"), (ms.requests.load_trace, "npz"), (ms.requests.load_trace, "csv")]
)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (terabyte, r"size: expected at most \d+ bytes, got more"),  # of zeros, not read
    ],
)
def test_unreadable_files(tmp_path, load, suffix, make, message):
    make(tmp_path / f"mine.{suffix}")
    with pytest.raises(ValueError, match=rf"path: expected a readable \.{suffix} file, got .*{message}"):
        load(tmp_path / f"mine.{suffix}")


def test_changed_files_of_the_package(monkeypatch):
    traces._packaged.cache_clear()
    for module, load in ((records, load_records), (traces, lambda: ms.requests.load_trace("azure-chat"))):
        monkeypatch.setattr(module, "PACKAGED_SHA256", "0" * 64)
        with pytest.raises(ValueError, match=r"records/\w+\.npz: expected the file with SHA-256 0{64}, got a changed"):
            load()


def test_damage_raises_nothing_but_value_errors(tmp_path, rng):
    text = b"arrived_at,prompt,output\n5,0,1\n6.5,20,60\n7,5,3\n"
    traces = ((archive(TRACE, np.savez_compressed), "npz"), (text, "csv"))
    for load, whole, suffix in (
        (load_records, archive(GOOD, np.savez_compressed), "npz"),
        *((ms.requests.load_trace, *trace) for trace in traces),
    ):
        for _ in range(60):
            content = bytearray(whole)
            for position in rng.integers(len(content), size=rng.integers(1, 4)):
                content[position] = rng.integers(256)
            (tmp_path / f"mine.{suffix}").write_bytes(content)
            with suppress(ValueError):
                load(tmp_path / f"mine.{suffix}")


def test_halves_have_every_second_prompt_of_each_task():
    whole = load_records()
    for which in (0, 1):
        half = whole.half(which)
        assert np.bincount(half.task).tolist() == [6, 6, 6, 6]
        for task in range(4):
            prompts = zip(np.flatnonzero(whole.task == task)[which::2], np.flatnonzero(half.task == task), strict=True)
            for old, new in prompts:
                before, after = (slice(r.start[p], r.start[p] + r.length[p]) for r, p in ((whole, old), (half, new)))
                assert (whole.probability[before] == half.probability[after]).all()
                assert (whole.accepted[before] == half.accepted[after]).all()


def test_a_record_keeps_numbers_of_its_own():
    arrays = [GOOD["task"].astype(np.int64), np.array([8, 10, 9]), np.linspace(0.0, 1.0, 27), GOOD["accepted"].copy()]
    records = Records(*arrays)
    for array in arrays:
        array[:] = 0  # it has not been made read-only
    assert [records.task.tolist(), records.length.tolist()] == [[1, 0, 1], [8, 10, 9]]
    assert (records.probability[-1], records.accepted.sum()) == (1.0, 18)


SAME = ms.requests.RequestTrace([5.0, 6.5, 7.0], [0, 20, 5], [1, 60, 3])
PACKAGED = {
    "azure-chat": (19366, 5.53, [[181, 1020, 4083], [41, 129, 451]]),
    "azure-code": (8819, 2.57, [[75, 1469, 7303], [6, 13, 90]]),
}


@pytest.mark.parametrize("name", PACKAGED)
def test_traces_of_the_package(name):
    trace, (requests, rate, quantiles) = ms.requests.load_trace(name), PACKAGED[name]
    assert (len(trace.output), round(trace.rate, 2)) == (requests, rate)
    measured = [np.quantile(tokens, [0.05, 0.5, 0.95]) for tokens in (trace.prompt, trace.output)]
    assert np.array(measured) == pytest.approx(np.array(quantiles), abs=1.0)
    assert ms.requests.load_trace(name) is trace
    with pytest.raises(ValueError, match="read-only"):
        trace.output[0] = 1


def test_one_trace_in_every_form(tmp_path):
    np.savez(tmp_path / "mine.npz", other=np.ones(2), **TRACE)
    rows = "id, output ,arrived_at,prompt\na,1,5,0\n\nb,60,6.5,20\n c ,3.0,7.0,5\n"
    (tmp_path / "mine.csv").write_text(rows, encoding="utf-8")
    assert ms.requests.load_trace(tmp_path / "mine.npz") == SAME
    assert ms.requests.load_trace(str(tmp_path / "mine.csv")) == SAME
    assert ms.requests.load_trace(SAME) is SAME
    assert hash(ms.requests.load_trace(tmp_path / "mine.csv")) == hash(SAME)
    assert ms.requests.RequestTrace([5.0, 6.5, 7.000001], [0, 20, 5], [1, 60, 3]) != SAME


def test_microseconds_survive_large_clocks():
    trace = ms.requests.RequestTrace(1.7e9 + np.arange(1000) * 0.123456, np.zeros(1000), np.ones(1000))
    assert np.abs(trace.arrived_at - np.arange(1000) * 0.123456).max() < 1.1e-6


SINGLE = Records(np.array([0, 0, 1]), np.array([8, 8, 8]), np.full(24, 0.5), np.ones(24, dtype=bool))
PATHS, LISTS = (3, b"\0", "a\0b", "/dev/zero"), ([[0.0]], ["a"])
test_refusals = refusals(
    *((partial(load_records, path), r"path: expected a readable \.npz file, got ") for path in PATHS),
    (lambda: load_records().half(2), r"half: expected an integer in 0\.\.1, got 2"),
    (lambda: SINGLE.half(0), "task: expected at least 2 prompts of each task, got 1 of task 1"),
    (lambda: Records([0], *list(GOOD.values())[1:]), "task: expected a one-dimensional array of integers, got list"),
    *(
        (partial(ms.requests.RequestTrace, bad, [0], [1]), r"^arrived_at: expected one number for each .* \[")
        for bad in LISTS
    ),
)
