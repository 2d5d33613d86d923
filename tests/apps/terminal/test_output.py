import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from multispin_env.apps.executors import Stopped
from multispin_env.apps.terminal import output
from multispin_env.apps.terminal.arguments import Command
from multispin_env.apps.terminal.output import LOG_INTERVAL, Progress, exit_status
from multispin_env.checks import missing_package


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(output, "monotonic", lambda: now[0])
    return now


def drawn(clock):
    with Progress(2) as bar:
        show = bar.begin("devices")
        clock[0] += 15.0
        show(0.5)
        clock[0] += 15.0
        show(1.0)
        show = bar.begin("claims")
        clock[0] += 30.4


def test_a_log_has_a_line_at_the_beginning_of_a_part_and_now_and_then(clock, capsys):
    drawn(clock)
    assert capsys.readouterr().err.splitlines() == [
        "[------------------------]   0 %     0 s  1 of 2, devices",
        "[######------------------]  25 %    15 s, 45 s left  1 of 2, devices",
        "[############------------]  50 %    30 s, 30 s left  1 of 2, devices",
        "[############------------]  50 %    30 s, 30 s left  2 of 2, claims",
        "[########################] 100 %    60 s  2 of 2, claims",
    ]
    with contextlib.suppress(ValueError), Progress(1) as bar:
        show = bar.begin("states")
        for done in range(100):
            clock[0] += LOG_INTERVAL / 50
            show(done, 100)
        raise ValueError("it fails")
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 2
    assert "100 %" not in printed  # after an error


def test_time_left_is_that_of_the_present_part_and_the_mean_of_all(clock, capsys):
    with Progress(3) as bar:
        for seconds in (40.0, 8.0, 8.0):
            show = bar.begin("a rule")
            for quarter in (1, 2, 3, 4):
                clock[0] += seconds / 4.0
                bar._shown = -LOG_INTERVAL  # so that each report is a line
                show(quarter, 4)
    left = [re.findall(r"(\d+) s left", line) for line in capsys.readouterr().err.splitlines()]
    seconds = [110, 100, 90, 80, 80, 30, 28, 26, 24, 24, 6, 4, 2]
    assert left == [[], *([str(number)] for number in seconds), [], []]


def test_a_terminal_has_one_line_that_is_written_over_and_does_not_wrap(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    drawn(clock)
    with Progress(1) as bar:
        bar.begin("x" * 200)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 2
    assert printed.endswith("\n")
    lines = printed.replace("\n", "").split("\r")[1:]
    assert [len(line) for line in lines] == [79] * 7
    with Progress(2) as bar:
        bar.begin("first")
        bar.say("first: 3")
        printed = capsys.readouterr()
    assert printed.out == "first: 3\n"
    assert printed.err.split("\r")[2:] == [" " * 79, ""]


def failing(error):
    def run():
        raise error

    return run


def test_the_status_of_a_command(capsys, monkeypatch):
    assert exit_status("x", lambda: None) == 0
    assert exit_status("x", lambda: 143) == 143
    with pytest.raises(AttributeError):  # a bug of the program is not hidden
        exit_status("x", failing(AttributeError("a bug")))
    command = Command("", (), lambda parser: None, lambda options: sys.exit(0))  # a part of the user that exits
    assert exit_status("x", lambda: command("x", [])) == 1
    assert "ended the process" in capsys.readouterr().err
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "cp1252"))
    assert exit_status("x", lambda: print("a Σ")) == 0
    assert out.getvalue().split() == [b"a", rb"\u03a3"]  # a letter that standard output lacks


FIT = "users, episodes etc. that fit into memory"


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "stopped by SIGINT"),
        (Stopped(15), 143, "stopped by SIGTERM"),
        (TypeError("got an unexpected keyword argument"), 2, "got an unexpected keyword argument"),
        (FileNotFoundError(2, "No such file", "a.csv"), 2, "[Errno 2] No such file: 'a.csv'"),
        (ImportError("MP4 files need imageio-ffmpeg"), 2, "MP4 files need imageio-ffmpeg"),
        (MemoryError(), 2, f"memory: expected numbers of {FIT}, got too large ones (for Python)"),
        (ModuleNotFoundError(name="torch"), 2, str(missing_package("torch", "train"))),
        (missing_package("torch", "another"), 2, str(missing_package("torch", "train"))),
        (ModuleNotFoundError(name="numpy"), 2, "the package 'numpy' is missing; install it with: pip install numpy"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_one_sentence(error, status, words, capsys):
    extra = "" if getattr(error, "name", None) == "numpy" else "train"
    assert exit_status("multispin x", failing(error), extra) == status
    assert capsys.readouterr().err == f"multispin x: {words}\n"


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("unbuffered", [False, True])
def test_lines_for_people_are_written_at_once(unbuffered, terminal, monkeypatch):
    for name in ("stdout", "stderr"):
        stream = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=unbuffered)
        monkeypatch.setattr(sys, name, stream)
        monkeypatch.setattr(sys, f"__{name}__", stream)
    monkeypatch.setattr(output._Stream, "isatty", lambda stream: terminal, raising=False)
    at_once = []
    assert exit_status("x", lambda: at_once.extend((sys.stdout.line_buffering, sys.stderr.line_buffering))) == 0
    assert at_once == [unbuffered or terminal, True]


STREAMS = """
import os, sys
from multispin_env.apps.terminal.output import exit_status
def run():
    print("progress", file=sys.stderr, flush=True)
    open(os.devnull)  # its number is not that of a closed stream
    print("table")
for number, name in ((1, "stdout"), (2, "stderr")):
    for target in ("closed", "/dev/full"):
        print(number, target, flush=True)
        child = os.fork()
        if child == 0:
            if target == "closed":
                os.close(number)
                setattr(sys, name, None)
                setattr(sys, f"__{name}__", None)
            else:
                os.dup2(os.open(target, os.O_WRONLY), number)
            sys.exit(exit_status("x", run))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_streams_that_cannot_be_written():
    """Progress is dropped; without the table there is an error."""
    done = subprocess.run([sys.executable, "-c", STREAMS], capture_output=True, text=True, check=False)
    statuses = ["1 closed", "1", "1 /dev/full", "1", "2 closed", "table", "0", "2 /dev/full", "table", "0"]
    assert done.stdout.splitlines() == statuses
    reasons = "Bad file descriptor", "No space left on device"
    errors = [line for reason in reasons for line in ("progress", f"x: standard output cannot be written: {reason}")]
    assert done.stderr.splitlines() == errors
