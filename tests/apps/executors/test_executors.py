"""All executors give the same results; failures, kills and signals lose no finished task."""

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
    def __reduce__(self):
        return fail, (OSError("no such file"),)


class AwkwardError(Exception):
    def __init__(self):
        super().__init__("it is awkward")
        self.function = lambda: None  # which cannot be pickled


def fail(error):
    raise error


ACTIONS = {
    "awkward": lambda: fail(AwkwardError()),
    "exit": lambda: sys.exit(0),
    "unreadable": Unreadable,
    "slow": lambda: time.sleep(0.3),
    "fail": lambda: fail(ValueError("it fails")),
    "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: fail(Stopped(15)),
    "file": lambda: tempfile.mkstemp()[1],
    "function": lambda: lambda: None,
}


def work(task):
    if isinstance(task, str):
        return ACTIONS[task]()
    return task / 2, os.environ.get("OMP_NUM_THREADS"), os.getpid()


@pytest.mark.parametrize("executor", [Serial(), Processes(2)], ids=["serial", "processes"])
def test_every_task_has_one_result(executor):
    results = {result.index: result for result in executor.results(work, [1, "fail", 3, "exit"])}
    assert sorted(results) == [0, 1, 2, 3]
    assert (results[0].value[0], results[2].value[0]) == (0.5, 1.5)
    assert results[1].value is None
    assert results[1].error.endswith("ValueError: it fails\n")
    assert results[3].error.endswith("SystemExit: 0\n")
    assert list(executor.results(work, [])) == []
    with pytest.raises(Stopped) as stopped:
        list(executor.results(work, ["stop"]))
    assert stopped.value.number == 15


def test_processes_are_others_with_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ((_, threads, process),) = (result.value for result in Processes(1).results(work, [4]))
    assert threads == "1"
    assert process != os.getpid()
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("workers", [1, 2])
def test_of_a_killed_process_only_its_task_fails(workers):
    """Other tasks go on, unless no process is left."""
    results = {result.index: result for result in Processes(workers).results(work, ["die", "slow", 2])}
    assert sorted(results) == [0, 1, 2]
    assert results[0].error == "worker process was killed, possibly for lack of memory\n"
    if workers == 2:
        assert (results[1].error, results[2].value[0]) == ("", 1.0)
    else:
        assert all(results[index].error.startswith("not started: all worker processes ended") for index in (1, 2))


HOSTILE = {"awkward": "AwkwardError: it is awkward", "exit": "SystemExit: 0", "unreadable": "OSError: no such file"}


def test_hostile_tasks_are_failures_of_their_own():
    first, unpickled, *failed, last = Processes(1).results(work, [2, "function", *HOSTILE, Unreadable(), 4])
    assert (first.value[0], last.value[0]) == (1.0, 2.0)
    assert "pickle" in unpickled.error
    for result, sentence in zip(failed, (*HOSTILE.values(), "OSError: no such file"), strict=True):
        assert result.error.splitlines()[-1].endswith(sentence)


def test_temporary_files_of_a_killed_process_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made, killed = Processes(1).results(work, ["file", "die"])
    assert tmp_path in Path(made.value).parents
    assert "killed" in killed.error
    assert not list(tmp_path.iterdir())


SCRIPT = """
import os, sys, time
from pathlib import Path
from multispin_env.apps.executors import Processes, Stopped
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


@pytest.mark.parametrize(("when", "number"), [("starting", 2), ("working", 2), ("working", 15), ("working", 9)])
def test_a_signal_ends_the_workers_too(tmp_path, number, when):
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
STATE = ms.sample_state(SCENARIO, np.random.default_rng(0), size=5003)


@pytest.mark.parametrize(("executor", "options"), [(Serial(), {}), (Processes(2), {"certify": 1e-6})])
def test_parts_are_decided_as_the_whole(executor, options):
    whole = ms.make_controller("optimal", SCENARIO, **options)(STATE)
    parts = decide(executor, "optimal", SCENARIO, STATE, **options)
    assert type(parts) is type(whole)
    assert (parts.draft_length == whole.draft_length).all()
    np.testing.assert_allclose(parts.bandwidth, whole.bandwidth, rtol=1e-12)
    if options:
        assert (parts.gap <= 1e-6).all()


def test_mistakes_are_one_sentence():
    with pytest.raises(ValueError, match="did you mean 'optimal'"):
        decide(Serial(), "optima", SCENARIO, STATE)
    with pytest.raises(ValueError, match=r"draft_time.*expected"):
        decide(Serial(), "optimal", SCENARIO, STATE.changed(draft_time=np.full((5003, 4), -1.0)))
