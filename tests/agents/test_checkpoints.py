"""What a run saves: safetensors that only hold numbers, the best model beside the last, and what is refused."""

import json
import pickle
import re
import shutil

import numpy as np
import pytest
import torch as th
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stable_baselines3.common.logger import configure

from agents import cli, convert, evaluate
from agents.budget import Limits
from agents.callbacks import Best, Keeper
from agents.checkpoints import CHECKPOINT, MODEL, Checkpoint, load_checkpoint, save_checkpoint
from agents.decider import load_model
from agents.measures.base import Headline
from agents.runs import load_config
from agents.training import train

TINY = ["--num-users", "3", "--seed", "1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert cli.main(["--name", str(folder), "--timesteps", "4000", *TINY]) == 0
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    return folder


def refused(main, arguments, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert "Traceback" not in lines
    return lines[-1]


def old_content(folder, **changes):
    """What a run of schema 1 saved."""
    found = load_checkpoint(folder)
    counters = {"num_timesteps": found.num_timesteps, "updates": found.updates, "seconds": found.seconds}
    return {"format": 1, "parameters": found.parameters, **counters, **changes}


def make_old(folder, **changes):
    th.save(old_content(folder, **changes), folder / "checkpoint.pt")
    for name in (CHECKPOINT, MODEL):
        (folder / name).unlink()


def test_everything_comes_back(trained, tmp_path):
    found = load_checkpoint(trained)
    save_checkpoint(tmp_path / CHECKPOINT, found)
    again = load_checkpoint(tmp_path)
    assert {name for name in again.parameters} == {"policy", "policy.optimizer"}
    for key, value in found.parameters["policy"].items():
        assert th.equal(again.parameters["policy"][key], value)
    optimizer, kept = (one.parameters["policy.optimizer"] for one in (found, again))
    assert kept["param_groups"] == optimizer["param_groups"]
    assert kept["state"].keys() == optimizer["state"].keys()
    assert all(th.equal(kept["state"][i]["exp_avg"], optimizer["state"][i]["exp_avg"]) for i in kept["state"])
    assert (again.num_timesteps, again.updates, again.seconds) == (found.num_timesteps, found.updates, found.seconds)
    assert again.score == found.score > 0.5


def test_names_are_flat_and_the_schema_is_in_the_file(trained):
    with safe_open(trained / MODEL, framework="pt") as file:
        assert file.metadata()["schema"] == "2"
        assert all(re.fullmatch(r"policy/[\w.]+|policy\.optimizer/\d+/\w+", name) for name in file.keys())  # noqa: SIM118


class Evil:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("content", [pickle.dumps(Evil()), b"", b"not a checkpoint"], ids=["pickle", "empty", "text"])
@pytest.mark.parametrize(
    ("name", "main", "option"),
    [(MODEL, evaluate.main, []), (CHECKPOINT, cli.main, ["--resume"])],
    ids=["model", "last"],
)
def test_foreign_files_are_refused_and_not_executed(copied, name, main, option, content, capsys):
    (copied / name).write_bytes(content)
    message = refused(main, [*option, str(copied)], capsys)
    assert f"{name}: can't be read safely as a checkpoint of this project" in message
    assert "executed" not in capsys.readouterr().out


def test_other_safetensors_are_refused(copied, capsys):
    save_file({"policy/weight": th.zeros(3)}, copied / MODEL)
    assert "it was made by something else" in refused(evaluate.main, [str(copied)], capsys)


def test_damaged_files_are_refused(copied, capsys):
    whole = (copied / MODEL).read_bytes()
    (copied / MODEL).write_bytes(whole[: len(whole) // 2])
    assert "can't be read safely" in refused(evaluate.main, [str(copied)], capsys)
    flipped = bytearray(whole)
    flipped[-5] ^= 64
    (copied / MODEL).write_bytes(flipped)
    assert "its numbers have changed since it was written" in refused(evaluate.main, [str(copied)], capsys)
    (copied / "config.json").write_text('{"format": 1}')
    assert "can't be read as the configuration" in refused(evaluate.main, [str(copied)], capsys)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema", "3", "its schema is '3', not 2: another version of this project made it"),
        ("counters", "{}", "can't be read safely"),
        ("counters", "[", "can't be read safely"),
    ],
)
def test_other_headers_are_refused(copied, key, value, message, capsys):
    with safe_open(copied / MODEL, framework="pt") as file:
        about = file.metadata()
    save_file(load_file(copied / MODEL), copied / MODEL, {**about, key: value})
    assert message in refused(evaluate.main, [str(copied)], capsys)


def test_networks_of_another_agent_are_refused(copied, capsys):
    found = load_checkpoint(copied, MODEL)
    policy = {**found.parameters["policy"], "log_std": th.zeros(7)}
    parameters = {**found.parameters, "policy": policy}
    save_checkpoint(copied / MODEL, Checkpoint(parameters, 1, 1, 1.0))
    assert "networks that do not fit this agent" in refused(evaluate.main, [str(copied)], capsys)


def test_an_old_run_says_how_to_convert_it(copied, capsys):
    make_old(copied)
    for main, option in ((evaluate.main, []), (cli.main, ["--resume"])):
        assert f"allowed after: python -m agents.convert {copied}" in refused(main, [*option, str(copied)], capsys)


def test_a_converted_run_goes_on(copied, capsys):
    before = load_checkpoint(copied)
    make_old(copied)
    assert convert.main([str(copied)]) == 0
    assert "wrote checkpoint.safetensors and model.safetensors" in capsys.readouterr().out
    after = load_checkpoint(copied)
    assert all(th.equal(value, after.parameters["policy"][key]) for key, value in before.parameters["policy"].items())
    assert cli.main(["--resume", str(copied), "--timesteps", "8000"]) == 0
    assert load_checkpoint(copied).num_timesteps >= 8000
    assert "that has no checkpoint.safetensors yet" in refused(convert.main, [str(copied)], capsys)


@pytest.mark.parametrize("changes", [{"parameters": Evil()}, {"format": 7}], ids=["code", "version"])
def test_conversion_executes_nothing(copied, changes, capsys):
    make_old(copied, **changes)
    assert "checkpoint.pt: can't be read safely" in refused(convert.main, [str(copied)], capsys)
    assert not (copied / MODEL).exists()


def test_nothing_to_convert(copied, capsys):
    assert "allowed is a run that has a checkpoint.pt" in refused(convert.main, [str(copied)], capsys)


class Scripted:
    """A measure whose validations are given."""

    headline = Headline("score", "of it", "share of it")

    def __init__(self, scores):
        self.scores = iter(scores)

    def validation(self):
        return lambda model: {"score": next(self.scores)}


class Clock:
    elapsed = 1.0

    def done(self, steps):
        return 0.5


def kept(folder, scores, trained, best=None):
    """What a keeper printed, and the scores of the files after each validation."""
    config, _ = load_config(trained)
    with (folder / "printed").open("w") as printed:
        console = Console(file=printed, width=200)
        keeper = Keeper(folder, Scripted(scores), Clock(), console, best)
        keeper.init_callback(load_model(trained, config.env, config.settings))
        keeper.model.set_logger(configure(None, []))
        files = []
        for _ in scores:
            keeper.keep()
            files.append([load_checkpoint(folder, name).score for name in (MODEL, CHECKPOINT)])
    return (folder / "printed").read_text(), files


def test_the_best_is_the_result_and_falls_are_said_once(trained, tmp_path):
    scores = [0.5, 0.9, 0.89, 0.8, 0.7, 0.9, 0.95, 0.92]
    printed, files = kept(tmp_path, scores, trained)
    assert [last for _, last in files] == scores
    assert [best for best, _ in files] == [0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.95, 0.95]
    warnings = re.findall(r"warning: validation fell to ([\d.]+)", printed)
    assert warnings == ["0.8000", "0.9200"]
    assert "more than 2% below its best, 0.9000; the best model is kept in model.safetensors" in printed


def test_numbers_that_are_none_are_never_the_best(trained, tmp_path):
    printed, files = kept(tmp_path, [0.9, np.nan, 0.91], trained)
    assert files == [[0.9, 0.9], [0.9, None], [0.91, 0.91]]
    assert "fell to nan" in printed


def test_negative_scores_fall_too():
    best = Best(None)
    assert best.take(-10.0)
    assert not best.falls(-10.1)
    assert best.falls(-10.3)


def test_a_resumed_run_remembers_its_best(copied, tmp_path):
    marked = load_checkpoint(copied, MODEL)
    save_checkpoint(copied / MODEL, Checkpoint(marked.parameters, 77, marked.updates, marked.seconds, 2.0))
    config, _ = load_config(copied)
    assert train(config, copied, Limits(timesteps=6000), True, "cpu", Console(quiet=True)) is None
    assert load_checkpoint(copied, MODEL).num_timesteps == 77
    assert load_checkpoint(copied).num_timesteps >= 6000


def test_the_table_is_of_the_best(copied, capsys):
    """A worse model in the last checkpoint changes nothing of the comparison."""
    assert evaluate.main([str(copied), "--states", "20"]) == 0
    before = capsys.readouterr().out
    found = load_checkpoint(copied)
    policy = {key: th.zeros_like(value) for key, value in found.parameters["policy"].items()}
    save_checkpoint(copied / CHECKPOINT, Checkpoint({**found.parameters, "policy": policy}, 1, 1, 1.0))
    assert evaluate.main([str(copied), "--states", "20"]) == 0
    assert capsys.readouterr().out == before
    assert json.loads((copied / "config.json").read_text())["versions"]["safetensors"]
