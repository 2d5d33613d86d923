import json
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multispin_agents import AGENTS, train, training
from multispin_agents.checkpoints import CHECKPOINT, MODEL, load_checkpoint
from multispin_agents.measures import CURVE, read_curve
from multispin_env.apps.commands.main import main
from multispin_env.apps.executors import Worker
from multispin_env.evaluation.comparison import Row
from multispin_env.solver.certify import is_compiled

ROOT = Path(__file__).parents[3]


def rounds(folder):
    return read_curve(folder / CURVE, "timesteps")[0]


def test_a_run_leaves_everything(tiny_run):
    folder, printed = tiny_run
    expected = {"config.json", CHECKPOINT, MODEL, CURVE, "table.json", "table.csv", "comparison.png", "tensorboard"}
    assert expected <= {path.name for path in folder.iterdir()}
    assert rounds(folder) == sorted(set(rounds(folder)))
    assert rounds(folder)[-1] >= 6000
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["seed"] == 1
    assert config["versions"]["torch"]
    assert config["versions"]["safetensors"]
    rows = [Row.from_dict(row) for row in json.loads((folder / "table.json").read_text(encoding="utf-8"))["rows"]]
    names = {row.name for row in rows}
    assert {"optimal", "homogeneous", "fixed", "p2p", "centralized", "ppo (residual)"} <= names
    assert "algorithm1" not in names  # slow
    assert "of optimum" in printed
    assert f"{rows[0].mean:.2f}" in printed


def test_evaluate_repeats_the_table(tiny_run, tmp_path, capsys):
    folder, printed = tiny_run
    assert main(["evaluate", str(folder), "--out", str(tmp_path)]) == 0
    again = capsys.readouterr()
    assert again.out.split() == printed.split()
    rows = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))["rows"]
    for row in rows:
        assert re.search(rf"\d of {len(rows)}, {re.escape(row['name'])}\n", again.err)
    assert " s left" in again.err
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == (folder / "table.csv").read_text(encoding="utf-8")


def test_evaluate_elsewhere(tiny_run, capsys):
    folder, _ = tiny_run
    arguments = [str(folder), "--num-users", "5", "--scenario", "qwen3.5", "--states", "20"]
    assert main(["evaluate", *arguments, "--env", "MultiSpin/Homogeneous-v0"]) == 0
    assert "qwen3.5, K = 5" in capsys.readouterr().out


def test_evaluate_on_a_server_with_other_observations(tiny_run, refused):
    message = refused("evaluate", [str(tiny_run[0]), "--server", "a100-32b"])
    assert "server: expected a server whose time does not depend on tokens, as in training, got 'a100-32b'" in message


def test_resume_goes_on(tiny_run, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_run[0], folder)
    before = load_checkpoint(folder).num_timesteps
    assert main(["train", "--resume", str(folder), "--timesteps", "10000"]) == 0
    after = load_checkpoint(folder)
    assert before < 10_000 <= after.num_timesteps
    assert rounds(folder) == sorted(set(rounds(folder)))
    assert rounds(folder)[: len(rounds(tiny_run[0]))] == rounds(tiny_run[0])
    files = [(folder / name).read_bytes() for name in (CHECKPOINT, MODEL, CURVE)]
    assert main(["train", "--resume", str(folder)]) == 0  # its own budget of 6,000 is used
    assert [(folder / name).read_bytes() for name in (CHECKPOINT, MODEL, CURVE)] == files
    steps = after.num_timesteps
    notice = f"the run has its {steps:,} steps; --timesteps {2 * steps} continues\n"
    assert capsys.readouterr().err.count(notice) == 1  # of the second resume


@pytest.mark.parametrize("name", ["checkpoint.safetensors.part", "curve.csv", "tensorboard"])
def test_a_run_with_links_is_refused(name, tiny_run, tmp_path, refused):
    """They may lead to files of the user."""
    folder, outside = shutil.copytree(tiny_run[0], tmp_path / "copy"), tmp_path / "outside"
    if (folder / name).exists():
        shutil.move(folder / name, outside)
    (folder / name).symlink_to(outside)
    files = outside.rglob("*") if outside.is_dir() else [outside]
    before = {path: path.read_bytes() for path in files if path.is_file()}
    message = f"run: expected a folder without links, got {str(folder / name)!r}"
    assert message in refused("train", ["--resume", str(folder), "--timesteps", "10000"])
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.slow
def test_a_run_is_trained_by_one_process_and_a_signal_leaves_a_checkpoint_that_resumes(tmp_path, refused):
    folder = tmp_path / "cut"
    command = [sys.executable, str(ROOT / "train.py"), "--name", str(folder), "--minutes", "5", "--num-users", "3"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        deadline = time.monotonic() + 60
        while not (folder / CHECKPOINT).exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        message = f"folder: expected a folder that no other process writes to, got {str(folder)!r}"
        assert message in refused("train", ["--resume", str(folder)])
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "stopped by SIGINT; continue with: python train.py --resume" in printed.replace("\n", " ")
    steps = load_checkpoint(folder).num_timesteps
    assert main(["train", "--resume", str(folder), "--timesteps", str(steps + 1000)]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "MultiSpin/Heterogenous-v0"], "did you mean 'MultiSpin/Heterogeneous-v0'"),
        (["--scenario", "lama2"], "got 'lama2'; did you mean 'llama2'"),
        (["--agent", "pp"], f"agent: expected one of {[*AGENTS.names(), 'module:ATTRIBUTE']}, got 'pp'"),
        (["--action", "share"], "action: expected one of ['residual', 'shares', 'lengths'], got 'share'"),
        (["--resume", "nowhere"], "run: expected the folder of a run, with its config.json, got 'runs/nowhere'"),
        (["--name", "a", "--resume", "b"], "name: expected either --name or --resume, got both"),
        (["--name", "file/run"], "folder: expected a folder that can be written, got 'file/run' ("),
        (["--device", "nonsense"], "device: expected an available torch device, got 'nonsense' ("),
        (["--device", "cuda:99"], "device: expected an available torch device, got 'cuda:99' ("),
    ],
)
def test_wrong_use_is_one_sentence(arguments, message, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert message in refused("train", arguments)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--agent", "apg"], "agent: expected 'ppo', as in the run {run!r}, got 'apg'"),
        (
            ["--env", "MultiSpin/Homogeneous-v0"],
            "env: expected 'MultiSpin/Heterogeneous-v0', as in the run {run!r}, got 'MultiSpin/Homogeneous-v0'",
        ),
        (["--action", "lengths"], "action: expected 'residual', as in the run {run!r}, got 'lengths'"),
        (["--num-users", "4"], "scenario: expected the values of the run {run!r}, got others"),
    ],
)
def test_resuming_something_else(tiny_run, arguments, message, refused):
    run = str(tiny_run[0])
    assert message.format(run=run) in refused("train", ["--resume", run, *arguments])


def test_a_second_process_compiles_while_this_one_trains(monkeypatch, capsys):
    workers = []

    def run(options, is_ready):
        assert workers[0].process.is_alive()
        return int(is_ready(None))

    def send(worker, work):
        workers.append(worker)
        worker.pipe.send_bytes(pickle.dumps((work, ())))

    monkeypatch.setattr(train, "is_compiled", lambda: False)
    monkeypatch.setattr(train, "_compile", is_compiled)
    monkeypatch.setattr(training, "run", run)
    monkeypatch.setattr(Worker, "send", send)
    assert main(["train"]) == 1
    assert not workers[0].process.is_alive()
    assert "compiling in a second process, once" in capsys.readouterr().err
