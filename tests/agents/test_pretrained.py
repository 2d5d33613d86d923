"""Pretrained agents: small files that execute nothing, and scores that fresh cases confirm."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open

import multispin_agents
import multispin_env as ms
from multispin_agents.cards import CARD
from multispin_agents.checkpoints import MODEL, load_checkpoint
from multispin_agents.models import ROOT, SCORE
from multispin_agents.runs import command_of
from multispin_env.evaluation.cases import held_out, listed_contenders
from multispin_env.registry import ENVIRONMENTS
from tests.cards import card_of, check_card
from tools.cards import packed_card
from tools.pack import best_plug_in, main

IDS = tuple(multispin_agents.PRETRAINED)
FULL = "MultiSpin/Heterogeneous-v0"
STATES_ONLY = ("MultiSpin/Homogeneous-v0", FULL)
LARGEST_FOLDER = 200_000
FRESH = 10**6  # offset of seeds that recorded scores do not use


@pytest.fixture(scope="module")
def loaded():
    return {env_id: multispin_agents.load(env_id) for env_id in IDS}


def folder_of(env_id):
    return ROOT / multispin_agents.PRETRAINED[env_id]


def test_every_id_has_an_agent():
    missing = {*ENVIRONMENTS.names()} - {*IDS}
    assert not missing, f"PRETRAINED: expected a folder with an agent for {missing}; CONTRIBUTING.md says how"


@pytest.mark.parametrize("env_id", IDS)
def test_files_are_small_and_describe_the_agent(env_id, loaded):
    folder = folder_of(env_id)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", SCORE, CARD}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= LARGEST_FOLDER
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        assert all(name.startswith("policy/") for name in file.keys())  # noqa: SIM118
    score = loaded[env_id].score
    agent = score["score"]["agent"]
    assert score["command"] == command_of(folder)
    assert score["command"].startswith("python train.py")
    assert len(score["commit"]) == 40
    assert (score["env"], score["seed"]) == (env_id, loaded[env_id].run.seed)
    assert ms.Scenario.from_dict(score["scenario"]) == loaded[env_id].config.scenario
    assert agent["low"] < agent["mean"] < agent["high"]
    text = (folder / CARD).read_text(encoding="utf-8")
    assert text == packed_card(folder)
    check_card(text, folder)
    assert f"`{score['command']}`" in text
    assert score["commit"] in text
    (result,) = card_of(text)["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == pytest.approx(agent["mean"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", IDS)
def test_fresh_cases_confirm_the_score(env_id, loaded):
    """Within four standard errors of both means; so is the paired difference to the best plug-in."""
    agent = loaded[env_id]
    recorded = agent.score["score"]
    cases, plug_in = (
        held_out(agent.config, 200 if env_id in STATES_ONLY else 12, FRESH),
        recorded["best_plug_in"]["name"],
    )
    assert plug_in in listed_contenders(cases)
    values = cases.values(agent)
    difference = values - cases.values(plug_in)
    for fresh, interval in ((values, recorded["agent"]), (difference, recorded["minus_best_plug_in"])):
        spread = (interval["high"] - interval["low"]) / 3.92 * np.sqrt(recorded["size"])  # of one case
        error = spread * np.sqrt(1.0 / recorded["size"] + 1.0 / cases.size)
        assert abs(fresh.mean() - interval["mean"]) < 4.0 * error + 1e-9


@pytest.mark.parametrize("env_id", STATES_ONLY)
@pytest.mark.parametrize("users", [3, 30])
def test_agents_that_see_the_whole_state_decide_for_states(env_id, users, loaded):
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


def test_a_shipped_agent_is_packed_again(tmp_path, capsys):
    """Packing is idempotent, but for the score of fewer cases."""
    source = folder_of(STATES_ONLY[0])
    assert main([str(source), "--commit", "0" * 40, "--size", "10", "--out", str(tmp_path)]) == 0
    assert '"minus_best_plug_in"' in capsys.readouterr().out
    again = tmp_path / source.name
    assert (again / "config.json").read_bytes() == (source / "config.json").read_bytes()
    original, packed = (load_checkpoint(folder, MODEL).parameters["policy"] for folder in (source, again))
    assert all((value == packed[key]).all() for key, value in original.items())
    assert json.loads((again / SCORE).read_text(encoding="utf-8"))["score"]["size"] == 10
    assert "On 10 held-out states" in (again / CARD).read_text(encoding="utf-8")
    for commit in ("", "0" * 39, "A" * 40, "0" * 40 + "+"):
        assert main([str(source), "--commit", commit, "--size", "10", "--out", str(tmp_path / "out")]) == 2
        message = "python -m tools.pack: commit: expected 40 hexadecimal digits"
        assert re.fullmatch(f"{message}.*, got {re.escape(repr(commit))}\n", capsys.readouterr().err)
        assert not (tmp_path / "out").exists()


def test_the_best_plug_in_does_not_see_hidden_state():
    values = {"optimal+clairvoyant": np.full(2, 3.0), "optimal+filter": np.full(2, 2.0), "optimal+beta": np.ones(2)}
    assert best_plug_in(values) == "optimal+filter"
    assert best_plug_in({"fixed": np.ones(2), "optimal": np.full(2, 2.0), "colocated": np.full(2, 3.0)}) == "optimal"
