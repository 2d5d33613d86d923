"""All executors do the same; failures, kills and signals lose nothing that is done."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.executors import Processes, Serial, Stopped, decide

pytestmark = pytest.mark.slow


class Unreadable:
    """Can be pickled, but not read again."""

    def __reduce__(self):
        return fail, (OSError("no such file"),)


class AwkwardError(Exception):
    """Can't be pickled."""

    def __init__(self):
        super().__init__("it is awkward")
        self.function = lambda: None


def fail(error):
    raise error


def work(task):
    """A half, or what a word says."""
    if task == "awkward":
        raise AwkwardError
    if task == "exit":
        sys.exit(0)
    if task == "unreadable":
        return Unreadable()
    if task == "slow":
        time.sleep(0.3)
        return "done"
    if task == "fail":
        raise ValueError("it fails")
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "stop":
        raise Stopped(15)
    if task == "file":
        return tempfile.mkstemp()[1]
    if task == "function":
        return lambda: None
    return task / 2, os.environ.get("OMP_NUM_THREADS"), os.getpid()


@pytest.mark.parametrize("executor", [Serial(), Processes(2)], ids=["serial", "processes"])
def test_every_task_has_one_outcome(executor):
    results = {one.index: one for one in executor.results(work, [1, "fail", 3])}
    assert sorted(results) == [0, 1, 2]
    assert (results[0].value[0], results[2].value[0]) == (0.5, 1.5)
    assert results[1].value is None
    assert results[1].error.endswith("ValueError: it fails\n")
    assert list(executor.results(work, [])) == []


def test_processes_are_others_with_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ((_, threads, process),) = (one.value for one in Processes(1).results(work, [4]))
    assert threads == "1"
    assert process != os.getpid()
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("workers", [1, 2])
def test_of_a_killed_process_only_its_task_fails(workers):
    """Others go on, also those that had begun, unless no process is left."""
    results = {one.index: one for one in Processes(workers).results(work, ["die", "slow", 2])}
    assert sorted(results) == [0, 1, 2]
    assert results[0].error == "worker process was killed, possibly for lack of memory\n"
    if workers == 2:
        assert (results[1].value, results[2].value[0]) == ("done", 1.0)
    else:
        assert all(results[index].error.startswith("not started: all worker processes ended") for index in (1, 2))


HOSTILE = {"awkward": "AwkwardError: it is awkward", "exit": "SystemExit: 0", "unreadable": "OSError: no such file"}


def test_hostile_tasks_are_failures_of_their_own():
    tasks = [2, *HOSTILE, Unreadable(), 4]
    first, *failed, last = Processes(1).results(work, tasks)
    assert (first.value[0], last.value[0]) == (1.0, 2.0)
    for result, sentence in zip(failed, (*HOSTILE.values(), "OSError: no such file"), strict=True):
        assert result.error.splitlines()[-1].endswith(sentence)


def test_files_that_a_killed_process_leaves_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made, killed = Processes(1).results(work, ["file", "die"])
    assert tmp_path in Path(made.value).parents
    assert "killed" in killed.error
    assert not list(tmp_path.iterdir())


def test_a_result_that_cannot_be_pickled_is_a_failure_of_its_task():
    failed, done = Processes(1).results(work, ["function", 2])
    assert "pickle" in failed.error
    assert done.value[0] == 1.0


@pytest.mark.parametrize("executor", [Serial(), Processes(1)], ids=["serial", "processes"])
def test_a_stop_passes_through(executor):
    with pytest.raises(Stopped) as stopped:
        list(executor.results(work, ["stop"]))
    assert stopped.value.number == 15


SCRIPT = """
import os, sys, time
from pathlib import Path
from multispin_env.apps.executors import Stopped
from multispin_env.apps.executors import Processes

def wait():
    Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(60)

def work(task):
    wait()

if __name__ == "__mp_main__" and sys.argv[2] == "starting":
    wait()

if __name__ == "__main__":
    try:
        list(Processes(1).results(work, [0]))
    except Stopped as stopped:
        sys.exit(stopped.number)
"""


@pytest.mark.parametrize(
    ("when", "number"),
    [
        ("starting", signal.SIGINT),
        ("working", signal.SIGINT),
        ("working", signal.SIGTERM),
        ("working", signal.SIGKILL),
    ],
)
def test_a_signal_ends_the_workers_too(tmp_path, number, when):
    """The parent says so within a moment, unless it was killed, and no worker goes on or says anything."""
    script, folder = tmp_path / "script.py", tmp_path / "processes"
    script.write_text(SCRIPT, encoding="utf-8")
    folder.mkdir()
    command = [sys.executable, str(script), str(folder), when]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as parent:
        assert soon(lambda: list(folder.iterdir()))
        (worker,) = (int(path.name) for path in folder.iterdir())
        if number == signal.SIGINT:
            os.killpg(parent.pid, number)  # as a terminal does
        else:
            parent.send_signal(number)
        assert parent.communicate(timeout=30)[1] == ""
        assert parent.returncode == (-number if number == signal.SIGKILL else number)
    assert soon(lambda: not lives(worker)) if number == signal.SIGKILL else not lives(worker)


def soon(true):
    """Whether it is within half a minute."""
    deadline = time.monotonic() + 30.0
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


def lives(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


SCENARIO = ms.Scenario.preset("qwen3.5", num_users=4)


def states(size):
    return ms.sample_state(SCENARIO, np.random.default_rng(0), size=size)


@pytest.mark.parametrize(("executor", "options"), [(Serial(), {}), (Processes(2), {"certify": 1e-6})])
def test_parts_are_decided_as_the_whole(executor, options):
    state = states(7)
    whole = ms.make_controller("optimal", SCENARIO, **options)(state)
    parts = decide(executor, "optimal", SCENARIO, state, chunk=3, **options)
    assert type(parts) is type(whole)
    assert (parts.draft_length == whole.draft_length).all()
    np.testing.assert_allclose(parts.bandwidth, whole.bandwidth, rtol=1e-12)
    if options:
        assert (parts.gap <= 1e-6).all()


def test_mistakes_are_one_sentence():
    with pytest.raises(ValueError, match="did you mean 'optimal'"):
        decide(Serial(), "optima", SCENARIO, states(2))
    with pytest.raises(ValueError, match="chunk: expected an integer ≥ 1, got 0"):
        decide(Serial(), "optimal", SCENARIO, states(2), chunk=0)
    bad = states(2).changed(draft_time=np.full((2, 4), -1.0))
    with pytest.raises(ValueError, match=r"draft_time.*expected"):
        decide(Serial(), "optimal", SCENARIO, bad)


def test_a_task_that_ends_the_process_has_failed():
    (result,) = Serial().results(sys.exit, [0])
    assert result.error.endswith("SystemExit: 0\n")
