"""Policies of entries play in processes with limits."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import multispin_lab
from multispin_env.evaluation.policy import ONNX, POLICY, describe
from multispin_env.files import MIB
from multispin_lab.commands.suite_box import ProcessLimits, has_limits, play_policy
from tests.apps.executors.test_executors import soon

TASK = multispin_lab.suite.task("round-8")
CELL = TASK.name, 0, "folder", "policy"
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.skipif(not has_limits(), reason="no limits on this system")


def write(folder, body, constants="", task=TASK):
    """Write a policy whose network computes ``flat`` (batch, users), for each number of a device."""
    head = '<ir_version: 8, opset_import: ["": 18]> g (float[batch, users] compute) => (float[] action)'
    columns = ", ".join(["wide"] * task.config.actions.columns)
    end = f"wide = Unsqueeze(flat, two) action = Concat<axis = 2>({columns})"
    text = f"{head} <int64[1] one = {{1}}, int64[1] two = {{2}}{constants}> {{ {body} {end} }}"
    content = onnx.parser.parse_model(text).SerializeToString()
    (folder / "policy").mkdir()
    (folder / "policy" / ONNX).write_bytes(content)
    (folder / "policy" / POLICY).write_text(json.dumps(describe(task.config, {ONNX: content})), encoding="utf-8")


# a square of 2000 numbers for each of the 100 episodes, from a shape that is known only when it runs
GROWN = """
    shape = Shape(compute) batch = Slice(shape, zero, one) size = Mul(batch, twenty)
    square = Concat<axis = 0>(size, size) weights = ConstantOfShape(square)
"""
GROWN_CONSTANTS = ", int64[1] zero = {0}, int64[1] twenty = {20}"


def products(count):
    """Return products of one square with itself, each of 16 billion operations."""
    names = ["weights", *(f"w{index}" for index in range(count))]
    steps = " ".join(f"{after} = MatMul({before}, weights)" for before, after in pairwise(names))
    return f"{GROWN} {steps} all = ReduceMax<keepdims = 0>({names[-1]}) flat = Mul(compute, all)"


def test_a_policy_has_the_same_values_with_limits(tmp_path, capfd):
    write(tmp_path, "flat = Tanh(compute)")
    plays_the_same(tmp_path)
    assert capfd.readouterr() == ("", "")


ALL = "all = ReduceMax<keepdims = 0>(weights) flat = Mul(compute, all)"


@pytest.mark.parametrize(
    ("body", "limits", "error"),
    [
        ("flat = Tanh(compute)", {"seconds": 0}, "policy: expected an end within 0 s, got none"),
        (products(200), {"cpu_seconds": 1}, "policy: expected at most 1 s of CPU time, got more"),
        (  # it needs 305 MiB
            GROWN.replace("size, size", "size, size, twenty") + ALL,
            {"memory": 128 * MIB},
            "policy: expected at most 128 MiB of memory, got more (",
        ),
    ],
    ids=["time", "processor", "memory"],
)
def test_limits_end_a_policy(body, limits, error, tmp_path, capfd):
    write(tmp_path, body, GROWN_CONSTANTS)
    assert play_policy(ProcessLimits(**limits), (tmp_path, *CELL)).startswith(error)
    assert capfd.readouterr() == ("", "")


def test_a_signal_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("multispin_lab.commands.suite_box._play", end_by_signal)
    error = play_policy(ProcessLimits(), (tmp_path, *CELL))
    assert error == "policy: expected a normal end, with at most 1024 MiB of memory, got SIGFPE"


def end_by_signal(*_):
    os.kill(os.getpid(), signal.SIGFPE)


def plays_the_same(folder, name="round-8"):
    run = (folder, name, 0, "folder", "policy")
    np.testing.assert_array_equal(play_policy(ProcessLimits(), run), play_policy(None, run))


@pytest.mark.slow
def test_a_run_of_this_project_plays_within_the_limits(tmp_path):
    """It needs torch."""
    pytest.importorskip("stable_baselines3")
    shutil.copytree(
        Path(import_module("multispin_agents").__file__).parent / "pretrained" / "heterogeneous", tmp_path / "policy"
    )
    plays_the_same(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resize", "no-barrier-20", "texts"])
def test_a_good_policy_plays_within_the_limits_in_large_tasks(name, tmp_path):
    write(tmp_path, "flat = Tanh(compute)", task=multispin_lab.suite.task(name))
    plays_the_same(tmp_path, name)


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_policy_ends_with_the_command(tmp_path, number):
    write(tmp_path, products(200), GROWN_CONSTANTS)
    code = (
        "import sys; from pathlib import Path; from multispin_lab.commands.suite_box import *\n"
        f"if __name__ == '__main__': play_policy(ProcessLimits(), (Path(sys.argv[1]), *{CELL!r}))"
    )
    (tmp_path / "play.py").write_text(code, encoding="utf-8")
    with subprocess.Popen([sys.executable, tmp_path / "play.py", tmp_path], stderr=subprocess.DEVNULL) as command:
        while len(running := playing(command.pid)) < 1:
            assert command.poll() is None
            time.sleep(0.05)
        os.kill(command.pid, number)
    assert soon(lambda: not any(Path(f"/proc/{pid}").exists() for pid in running))


def playing(parent):
    """Return the processes of a command that play a policy."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
        return [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    except OSError:  # it has ended
        return []
