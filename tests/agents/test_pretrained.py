"""Pretrained agents: small files that execute nothing, and scores that fresh cases repeat."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open

import agents
import multispin_env as ms
from agents.cards import CARD
from agents.checkpoints import MODEL, load_checkpoint
from agents.models import ROOT, SCORE, read
from agents.runs import command_of
from multispin_env.evaluation.cases import held_out, listed_contenders
from multispin_env.registry import ENVIRONMENTS
from tests.cards import card_of, check_card
from tools.cards import packed_card
from tools.pack import best_plug_in, main

IDS = ENVIRONMENTS.names()  # each has one
FULL = "MultiSpin/Heterogeneous-v0"
STATES_ONLY = ("MultiSpin/Homogeneous-v0", FULL)
LARGEST = 200_000
FRESH = 10**6
"""Offset of seeds that no recorded score has seen."""


@pytest.fixture(scope="module")
def loaded():
    return {env_id: agents.load(env_id) for env_id in IDS}


def folder_of(env_id):
    return ROOT / agents.PRETRAINED[env_id]


def spread_of(interval, size):
    """Standard deviation of a case, from the interval of the mean of so many."""
    return (interval["high"] - interval["low"]) / 3.92 * np.sqrt(size)


@pytest.mark.parametrize("env_id", IDS)
def test_files_are_small_and_complete(env_id):
    folder = folder_of(env_id)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", SCORE, CARD}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= LARGEST
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        assert all(name.startswith("policy/") for name in file.keys())  # noqa: SIM118


@pytest.mark.parametrize("env_id", IDS)
def test_the_score_says_where_it_comes_from(env_id, loaded):
    found = loaded[env_id].score
    assert found["command"] == command_of(folder_of(env_id))
    assert found["command"].startswith("python train.py")
    assert len(found["commit"]) == 40
    assert found["env"] == env_id
    assert found["seed"] == loaded[env_id].run.seed
    assert ms.Scenario.from_dict(found["scenario"]) == loaded[env_id].config.scenario
    assert found["score"]["agent"]["low"] < found["score"]["agent"]["mean"] < found["score"]["agent"]["high"]


@pytest.mark.parametrize("env_id", IDS)
def test_the_card_is_what_the_folder_says(env_id, loaded):
    """``python -m tools.cards`` writes it anew."""
    text = (folder_of(env_id) / CARD).read_text(encoding="utf-8")
    assert text == packed_card(folder_of(env_id))
    check_card(text, folder_of(env_id))
    told = loaded[env_id].score
    assert f"`{told['command']}`" in text
    assert told["commit"] in text
    (result,) = card_of(text)["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == pytest.approx(told["score"]["agent"]["mean"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", IDS)
def test_fresh_cases_repeat_the_score(env_id, loaded):
    """Within four standard errors of both means; so is the paired difference to the best plug-in."""
    agent = loaded[env_id]
    recorded = agent.score["score"]
    cases = held_out(agent.config, 200 if env_id in STATES_ONLY else 12, FRESH)
    assert recorded["best_plug_in"]["name"] in listed_contenders(cases)
    own = cases.values(agent)
    difference = own - cases.values(recorded["best_plug_in"]["name"])
    for fresh, kept in ((own, recorded["agent"]), (difference, recorded["minus_best_plug_in"])):
        error = spread_of(kept, recorded["size"]) * np.sqrt(1.0 / recorded["size"] + 1.0 / cases.size)
        assert abs(fresh.mean() - kept["mean"]) < 4.0 * error + 1e-9


@pytest.mark.parametrize("env_id", STATES_ONLY)
@pytest.mark.parametrize("users", [3, 30])
def test_where_all_is_known_it_decides_for_states(env_id, users, loaded):
    agent = loaded[env_id]
    scenario = ms.Scenario.preset("llama2", num_users=users)
    state = ms.sample_state(scenario, np.random.default_rng(0), 5)
    decision = agent(state)
    goodput = ms.expected_outcome(scenario, state, decision).goodput
    best = replace(agent.config, scenario=scenario).best_controller(state)
    share = goodput / ms.expected_outcome(scenario, state, best).goodput
    assert (share > 0.97).all()
    assert share.mean() > 0.99
    assert agent.on(scenario)(state).draft_length.tolist() == decision.draft_length.tolist()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", SCORE])
def test_nothing_is_executed(name, tmp_path, evil):
    pickled, trace = evil
    folder = tmp_path / "agent"
    shutil.copytree(folder_of(STATES_ONLY[0]), folder)
    (folder / name).write_bytes(pickled)
    with pytest.raises(ValueError, match=name):
        read(folder)
    assert not trace.exists()


def test_a_shipped_agent_is_packed_again(tmp_path, capsys):
    """Packing is idempotent, but for the score of fewer cases."""
    source = folder_of(STATES_ONLY[0])
    assert main([str(source), "--commit", "0" * 40, "--size", "10", "--out", str(tmp_path)]) == 0
    assert '"minus_best_plug_in"' in capsys.readouterr().out
    again = tmp_path / source.name
    assert (again / "config.json").read_bytes() == (source / "config.json").read_bytes()
    kept, packed = (load_checkpoint(folder, MODEL).parameters["policy"] for folder in (source, again))
    assert all((value == packed[key]).all() for key, value in kept.items())
    assert json.loads((again / SCORE).read_text(encoding="utf-8"))["score"]["size"] == 10
    assert "On 10 held-out states" in (again / CARD).read_text(encoding="utf-8")


@pytest.mark.parametrize("commit", ["", "0" * 39, "A" * 40, "0" * 40 + "+"])
def test_what_is_no_commit_is_refused(commit, tmp_path, capsys):
    source = folder_of(STATES_ONLY[0])
    assert main([str(source), "--commit", commit, "--size", "10", "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("python -m tools.pack: commit: expected 40 hexadecimal digits")
    assert printed.endswith(f", got {commit!r}\n")
    assert not (tmp_path / "out").exists()


def test_the_best_plug_in_is_not_told_what_is_hidden():
    values = {"optimal+clairvoyant": np.full(2, 3.0), "optimal+filter": np.full(2, 2.0), "optimal+beta": np.ones(2)}
    assert best_plug_in(values) == "optimal+filter"
    assert best_plug_in({"fixed": np.ones(2), "optimal": np.full(2, 2.0), "colocated": np.full(2, 3.0)}) == "optimal"
