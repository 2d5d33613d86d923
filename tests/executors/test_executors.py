"""All executors do the same; failures, kills and signals lose nothing that is done."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from multispin_env.executors.base import Stopped
from multispin_env.executors.processes import Processes
from multispin_env.executors.serial import Serial


def work(task):
    """A half, or what a word says."""
    if task == "fail":
        raise ValueError("it fails")
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "stop":
        raise Stopped(15)
    return task / 2, os.environ.get("OMP_NUM_THREADS"), os.getpid()


@pytest.mark.parametrize("executor", [Serial(), Processes(2)], ids=["serial", "processes"])
def test_every_task_has_one_outcome(executor):
    outcomes = {one.index: one for one in executor.outcomes(work, [1, "fail", 3])}
    assert sorted(outcomes) == [0, 1, 2]
    assert (outcomes[0].value[0], outcomes[2].value[0]) == (0.5, 1.5)
    assert outcomes[1].value is None
    assert outcomes[1].error.endswith("ValueError: it fails\n")
    assert list(executor.outcomes(work, [])) == []


def test_processes_are_others_with_one_thread(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ((_, threads, process),) = (one.value for one in Processes(1).outcomes(work, [4]))
    assert threads == "1"
    assert process != os.getpid()
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_killed_process_is_a_failure():
    outcomes = list(Processes(1).outcomes(work, [2, "die"]))
    assert any("killed" in one.error for one in outcomes)
    assert all(one.error or one.value[0] == 1.0 for one in outcomes)


@pytest.mark.parametrize("executor", [Serial(), Processes(1)], ids=["serial", "processes"])
def test_a_stop_passes_through(executor):
    with pytest.raises(Stopped) as stopped:
        list(executor.outcomes(work, ["stop"]))
    assert stopped.value.number == 15


def test_a_signal_ends_the_workers_too(tmp_path):
    """The parent says so within a moment, and no worker goes on."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, pathlib, sys, time
            from multispin_env.executors.base import Stopped
            from multispin_env.executors.processes import Processes

            def work(folder):
                pathlib.Path(folder, str(os.getpid())).touch()
                time.sleep(60)

            if __name__ == "__main__":
                try:
                    list(Processes(1).outcomes(work, [sys.argv[1]]))
                except Stopped as stopped:
                    sys.exit(stopped.number)
            """
        ),
        encoding="utf-8",
    )
    folder = tmp_path / "processes"
    folder.mkdir()
    with subprocess.Popen([sys.executable, str(script), str(folder)]) as parent:
        deadline = time.monotonic() + 30.0
        while not list(folder.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        (worker,) = (int(path.name) for path in folder.iterdir())
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(30) == signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
