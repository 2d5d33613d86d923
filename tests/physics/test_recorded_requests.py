import os
from contextlib import suppress

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics import traces as module
from tests.physics.damage import with_damage

GOOD = {
    "gap_us": np.array([0, 1_500_000, 500_000], dtype=np.uint32),
    "prompt": np.array([0, 20, 5], dtype=np.uint16),
    "output": np.array([1, 60, 3], dtype=np.uint16),
}
SAME = ms.RequestTrace([5.0, 6.5, 7.0], [0, 20, 5], [1, 60, 3])


@pytest.mark.parametrize(
    ("name", "requests", "rate", "prompt", "output"),
    [
        ("azure-chat", 19366, 5.53, [181, 1020, 4083], [41, 129, 451]),
        ("azure-code", 8819, 2.57, [75, 1469, 7303], [6, 13, 90]),
    ],
)
def test_traces_of_the_package(name, requests, rate, prompt, output):
    trace = ms.load_trace(name)
    assert len(trace.output) == requests
    assert trace.rate == pytest.approx(rate, abs=0.005)
    assert np.quantile(trace.prompt, [0.05, 0.5, 0.95]) == pytest.approx(prompt, abs=1.0)
    assert np.quantile(trace.output, [0.05, 0.5, 0.95]) == pytest.approx(output, abs=1.0)
    assert ms.load_trace(name) is trace
    with pytest.raises(ValueError, match="read-only"):
        trace.output[0] = 1


def test_changed_file_of_the_package(monkeypatch):
    monkeypatch.setattr(module, "PACKAGED_SHA256", "0" * 64)
    module._packaged.cache_clear()
    with pytest.raises(ValueError, match=r"records/requests\.npz: expected the file with SHA-256 0{64}, got a changed"):
        ms.load_trace("azure-chat")


def test_one_trace_in_every_form(tmp_path):
    np.savez(tmp_path / "mine.npz", other=np.ones(2), **GOOD)
    (tmp_path / "mine.csv").write_text(
        "id, output ,arrived_at,prompt\na,1,5,0\n\nb,60,6.5,20\n c ,3.0,7.0,5\n", encoding="utf-8"
    )
    assert ms.load_trace(tmp_path / "mine.npz") == SAME
    assert ms.load_trace(str(tmp_path / "mine.csv")) == SAME
    assert ms.load_trace(SAME) is SAME
    assert hash(ms.load_trace(tmp_path / "mine.csv")) == hash(SAME)
    assert ms.RequestTrace([5.0, 6.5, 7.000001], [0, 20, 5], [1, 60, 3]) != SAME


def test_microseconds_survive_large_clocks():
    trace = ms.RequestTrace(1.7e9 + np.arange(1000) * 0.123456, np.zeros(1000), np.ones(1000))
    assert np.abs(trace.arrived_at - np.arange(1000) * 0.123456).max() < 1.1e-6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"header: expected the columns \['arrived_at', 'prompt', 'output'\], each once, got \[\]"),
        ("arrived_at,prompt\n1,2\n", r"header: expected the columns .*, got \['arrived_at', 'prompt'\]"),
        ("arrived_at,prompt,output\n", r"requests: expected as many numbers in each of .*, ≥ 1, got \[0, 0, 0\]"),
        ("arrived_at,prompt,output\n1,2,3\n2,x,3\n", "row 2, prompt: expected a number, got 'x'"),
        ("arrived_at,prompt,output\n1,2,3\nnan,2,3\n", "row 2, arrived_at: expected a finite number of .*, got nan"),
        (
            "arrived_at,prompt,output\n1,2,3\n2,2,3\n1.5,2,3\n",
            r"row 3, arrived_at: expected a time no earlier than that of the row before, got 1\.5",
        ),
        ("arrived_at,prompt,output\n0,2,3\n1e10,2,3\n", r"row 2, arrived_at: expected at most 1e\+09 s after"),
        ("arrived_at,prompt,output\n1,-2,3\n", r"row 1, prompt: expected an integer in 0\.\.1000000000, got -2"),
        ("arrived_at,prompt,output\n1,2,3\n1,2,0\n", r"row 2, output: expected an integer in 1\.\.1000000000, got 0"),
        ("arrived_at,prompt,output\n1,2,2.5\n", r"row 1, output: expected an integer in .*, got 2\.5"),
        ('arrived_at,prompt,output\n1,2,"3\n', "expected CSV with commas and a header, got broken CSV"),
        ("arrived_at,prompt,output\n1,2," + "3" * 200_000, "expected CSV with commas and a header, got broken CSV"),
        (b"arrived_at,prompt,output\n1,2,\xff", "expected text in UTF-8, got the byte 0xff"),
    ],
    ids=lambda value: repr(value)[-30:],
)
def test_bad_csv(tmp_path, text, message):
    path = tmp_path / "mine.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=rf"mine\.csv: {message}") as caught:
        ms.load_trace(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gap_us": None}, r"gap_us: expected an archive with the arrays \['gap_us', 'prompt', 'output'\], got only"),
        ({"gap_us": np.array([0.0, 1.0, 2.0])}, "gap_us: expected a one-dimensional array of integers, got float64"),
        ({"gap_us": np.array([0, -5, 2])}, r"row 2, gap_us: expected microseconds in 0\.\.\d+, got -5"),
        ({"gap_us": np.array([0, 2**63, 2], np.uint64)}, r"row 2, gap_us: expected microseconds in 0\.\.\d+, got 9\.2"),
        ({"gap_us": np.array([7, 5, 2])}, "row 1, gap_us: expected 0, as nothing comes before, got 7"),
        ({"output": np.array([1, 1])}, r"requests: expected as many numbers in each of .*, ≥ 1, got \[3, 3, 2\]"),
        ({name: array[:0] for name, array in GOOD.items()}, r"requests: expected as many .*, ≥ 1, got \[0, 0, 0\]"),
        ({"output": np.array([1, None, 2])}, "output: expected a plain array without objects, got unreadable data"),
    ],
)
def test_bad_npz(tmp_path, changes, message):
    path = tmp_path / "mine.npz"
    np.savez(path, **{name: array for name, array in (GOOD | changes).items() if array is not None})
    with pytest.raises(ValueError, match=rf"mine\.npz: {message}") as caught:
        ms.load_trace(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_unreadable_files(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"mine{suffix}"
    with pytest.raises(ValueError, match=rf"path: expected a readable \{suffix} file, got .*No such file"):
        ms.load_trace(path)
    with path.open("wb") as file:
        file.truncate(2**40)  # a terabyte of nothing
    with pytest.raises(ValueError, match=r"path: .*size: expected at most 33554432 bytes, got more"):
        ms.load_trace(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"path: expected a readable .*no plain file"):
        ms.load_trace(path)


def test_too_many_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_NUMBERS", 2)
    (tmp_path / "mine.csv").write_text("arrived_at,prompt,output\n" + "1,2,3\n" * 3, encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.csv: rows: expected at most 2, got more"):
        ms.load_trace(tmp_path / "mine.csv")


def test_damage_raises_nothing_but_value_errors(tmp_path, rng):
    np.savez_compressed(tmp_path / "mine.npz", **GOOD)
    (tmp_path / "mine.csv").write_text("arrived_at,prompt,output\n5,0,1\n6.5,20,60\n7,5,3\n", encoding="utf-8")
    for path in (tmp_path / "mine.npz", tmp_path / "mine.csv"):
        for content in with_damage(path.read_bytes(), rng):
            path.write_bytes(content)
            with suppress(ValueError):
                ms.load_trace(path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([], [], []), r"requests: expected as many numbers in each of .*, ≥ 1, got \[0, 0, 0\]"),
        (([[0.0]], [0], [1]), r"arrived_at: expected one number for each request, got \[\[0\.0\]\]"),
        ((["a"], [0], [1]), r"arrived_at: expected one number for each request, got \['a'\]"),
    ],
)
def test_bad_traces_in_memory(given, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ms.RequestTrace(*given)
