"""Workers that train, as those of a league do, when Ctrl-C comes."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest

from agents.checkpoints import CHECKPOINT

SCRIPT = """
import os, sys
from pathlib import Path

from rich.console import Console

import multispin_env as ms
from agents.runs import Limits
from agents.runs import RunConfig
from agents.training import train
from multispin_env.executors import Stopped
from multispin_env.executors import Processes


def work(task):
    folder = Path(sys.argv[1], str(os.getpid()))
    folder.mkdir()
    config = RunConfig("MultiSpin/Heterogeneous-v0", ms.Scenario.preset("llama2", num_users=3), "ppo", "residual", task)
    stopped = train(config, folder, Limits(timesteps=10**8), False, "cpu", Console(quiet=True))
    if stopped is not None:
        raise Stopped(stopped)


if __name__ == "__main__":
    try:
        list(Processes(2).results(work, range(6)))
    except Stopped as stopped:
        print(stopped)
"""

SOON = 20.0
"""Seconds within which the command is to end; the trainings would take hours."""


@contextmanager
def training(tmp_path):
    """A process with two workers in the middle of their trainings, and the workers' process numbers."""
    script, folder = tmp_path / "script.py", tmp_path / "runs"
    script.write_text(SCRIPT, encoding="utf-8")
    folder.mkdir()
    command = [sys.executable, str(script), str(folder)]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, start_new_session=True) as parent:
        try:
            deadline = time.monotonic() + 120.0
            while len(begun := list(folder.glob(f"*/{CHECKPOINT}"))) < 2:
                assert time.monotonic() < deadline
                assert parent.poll() is None
                time.sleep(0.05)
            yield parent, [int(path.parent.name) for path in begun]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)


def test_ctrl_c_ends_trainings_and_those_that_would_come(tmp_path):
    with training(tmp_path) as (parent, workers):
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
        assert parent.communicate(timeout=SOON) == ("2\n", "")
        for worker in workers:
            with pytest.raises(ProcessLookupError):
                os.kill(worker, 0)
