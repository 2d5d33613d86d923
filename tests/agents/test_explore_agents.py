"""Agents that the page of ``multispin explore`` loads: runs of one folder, and of nowhere else."""

import shutil

import numpy as np
import pytest

import agents
import multispin_env as ms
from agents.checkpoints import MODEL, Checkpoint, save_checkpoint
from agents.models import ROOT, of_package, of_run
from agents.runs import CONFIG, load_config
from agents.vec_env import make_vec_env
from multispin_env.apps.explore.agent import RUN, AgentViewSettings, agent_names, as_command, as_python, compute
from multispin_env.apps.explore.settings import Places
from tests.apps.explore.test_no_barrier import printed

FULL = "MultiSpin/Heterogeneous-v0"
SCENARIO = ms.Scenario.preset("llama2", num_users=3)


@pytest.fixture
def runs(tmp_path):
    """A folder of runs with one of them: an untrained network."""
    folder = tmp_path / "runs" / "mine"
    shutil.copytree(ROOT / agents.PRETRAINED[FULL], folder)
    config, _ = load_config(folder)
    agent = agents.AGENTS.load(config.agent)
    env = make_vec_env(config.env, agent.num_envs, max_episode_steps=1, seed=0)
    model = agent.for_environment(config.env).build(env, lambda progress: progress, 0, "cpu")
    save_checkpoint(folder / MODEL, Checkpoint.of(model, 1.0))
    return folder.parent


def test_a_run_decides_for_the_scenario_of_the_page(runs, monkeypatch):
    monkeypatch.chdir(runs.parent)
    places = Places()
    settings = AgentViewSettings(agent=f"{RUN}mine", num_users=3, seed=1)
    found = compute(settings, places)
    state = ms.sample_state(found.scenario, np.random.default_rng(0))
    assert of_run(runs / "mine", found.scenario)[1](state).draft_length.shape == (3,)
    lines = printed(as_python(settings, places)).splitlines()
    assert lines[0] == " ".join(["agent lengths", *map(str, found.agent.decision.draft_length)])
    assert f"agent goodput {found.agent.goodput:.2f} tokens/s" in lines
    assert found.loss > 0.0  # it has learnt nothing
    assert "--runs runs" in as_command(settings, places)


def test_names_are_those_of_the_package_and_of_the_folder(runs):
    assert agent_names(Places(runs=runs)) == (*agents.PRETRAINED, f"{RUN}mine")


def test_a_run_that_is_trained_on_is_read_again(runs):
    before = of_run(runs / "mine", SCENARIO)[1]
    assert of_run(runs / "mine", SCENARIO)[1] is before
    (runs / "mine" / MODEL).touch()
    assert of_run(runs / "mine", SCENARIO)[1] is not before


def test_an_agent_of_the_package_is_the_one_that_load_gives():
    state = ms.sample_state(SCENARIO, np.random.default_rng(0), 5)
    expected = agents.load(FULL).on(SCENARIO)(state)
    found = of_package(FULL, SCENARIO)[1](state)
    assert np.array_equal(found.draft_length, expected.draft_length)
    assert np.array_equal(found.bandwidth, expected.bandwidth)


@pytest.mark.parametrize("linked", [CONFIG, MODEL, None])
def test_no_file_outside_is_read(runs, tmp_path, linked):
    """Neither a file of a run nor a run may be a link to elsewhere."""
    outside = tmp_path / "outside"
    shutil.move(runs / "mine", outside)
    if linked is None:
        (runs / "mine").symlink_to(outside)
    else:
        (runs / "mine").mkdir()
        for name in (CONFIG, MODEL):
            if name == linked:
                (runs / "mine" / name).symlink_to(outside / name)
            else:
                shutil.copy(outside / name, runs / "mine" / name)
    with pytest.raises(ValueError, match=r"^(run|agent): expected "):
        compute(AgentViewSettings(agent=f"{RUN}mine", num_users=3), Places(runs=runs))


@pytest.mark.parametrize("name", ["..", "../outside", "/etc", "mine/..", "", "mine/../../outside"])
def test_no_other_folder_is_read(runs, tmp_path, name):
    shutil.copytree(runs / "mine", tmp_path / "outside")
    with pytest.raises(ValueError, match=r"^agent: expected one of "):
        compute(AgentViewSettings(agent=f"{RUN}{name}", num_users=3), Places(runs=runs))


@pytest.mark.parametrize("agent", [FULL, f"{RUN}mine"])
def test_a_scenario_of_which_more_is_observed_is_refused(runs, agent):
    settings = AgentViewSettings(agent=agent, num_users=3, server="a100-32b")
    with pytest.raises(ValueError, match=r"^server: expected one whose time does not depend on tokens, .* 'a100-32b'$"):
        compute(settings, Places(runs=runs))
