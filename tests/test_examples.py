"""Every example runs, imports only public modules, and returns what it claims."""

import re
from itertools import product
from runpy import run_path

import numpy as np
import pytest
import yaml
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import multispin_env as ms
from multispin_env.apps.commands.main import main as multispin
from tests.repository import ROOT

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples"

CHECKS = {
    "random_play": (lambda goodput: 0 < goodput < 130, {}),
    "oracle": (lambda regret: regret < 1e-6, {}),
    "partial_knowledge": (
        lambda goodput: goodput["task-mean"] < goodput["filter"] < goodput["clairvoyant"],
        {"episodes": 4},
    ),
    "quick_check": (lambda shares: 0.5 < shares[0] < 1.0 and 0.5 < shares[1] < 1.0, {"timesteps": 512}),
    "training": (lambda reward: reward > 1.0, {"timesteps": 512}),
    "cleanrl_style": (lambda share: 0.5 < share <= 1.0, {"minutes": 0.01, "devices": True, "action": "lengths"}),
    "own_agent": (lambda share: 0.9 < share <= 1.0, {"timesteps": 4096}),
    "own_controller": (
        lambda tables: 0.9 < tables[0]["SameTime"].share < 1.0 and 0.5 < tables[1]["SameTime"].share < 0.8,
        {"episodes": 10, "horizon": 2.0},
    ),
    "own_continuous": (lambda rates: rates["in-time"] > rates["optimal"], {}),
    "serving": (
        lambda goodput: goodput["optimal"] < goodput["greedy"] < goodput["load-aware"],
        {"copies": 8, "horizon": 8.0},
    ),
    "own_environment": (lambda table: [row.name for row in table.rows][:3] == ["Evenly", "homogeneous", "optimal"], {}),
    "real_server": (  # the first device's drafts are refused, the last one's are not; after 16 rounds all is new
        lambda lengths: lengths[15][0] < lengths[0][0] and lengths[15][3] > lengths[0][3] and lengths[16] == lengths[0],
        {},
    ),
    "sweep": (lambda study: len(study.trials) == 2 and 0.5 < study.best_value <= 1.0, {"trials": 2, "timesteps": 2048}),
    "own_channel": (lambda goodput: goodput["independent"] < goodput["rician"], {"episodes": 20}),
    "testbed": (lambda goodput: all(1.0 < number < 100.0 for row in goodput.values() for number in row), {"rounds": 3}),
    "whole_model": (lambda goodput: 160 < goodput < 180, {}),
    "whole_continuous": (lambda rates: 160 < rates[0] < 170 and 200 < rates[1] < 215, {}),
    "own_scenario": (lambda goodput: goodput > 12 / (0.030 + 12 * 0.008), {}),
}

PUBLIC = {"multispin_env", "multispin_env.wrappers", "multispin_env.parallel", "multispin_lab.testbed"}
"""Modules of the package that users import from."""


def test_commands_take_the_parts_of_examples(monkeypatch, capsys):
    monkeypatch.chdir(EXAMPLES.parent)
    scenario = ms.Scenario.preset("llama2", num_users=3)
    assert ms.make_controller("examples.own_controller:SameTime", scenario, fraction=0.5).fraction == 0.5
    assert ms.make_controller("examples.own_continuous:InTime+deadlines", scenario, part=0.5).base.part == 0.5
    channel = "examples.own_channel:RICIAN"
    few = ("compare", "--num-users", "3", "--episodes", "2", "--controllers", "fixed", "--set", f"channel={channel}")
    few += ("rounds=2", "--env", "examples.own_environment:Mine/Slowest-v0")
    try:
        for more in ((), ("--workers", "1")):  # which is another process
            assert multispin([*few, *more]) == 0
            assert capsys.readouterr().out.startswith(f"Mine/Slowest-v0, channel={channel}, rounds=2")
    finally:
        ms.registry.CHANNELS.unregister(channel)
        ms.envs.unregister_environment("Mine/Slowest-v0")


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_example(name, tmp_path, monkeypatch):
    code = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert set(re.findall(r"^ *(?:from|import) (multispin_(?:env|lab)[\w.]*)", code, re.MULTILINE)) <= PUBLIC
    monkeypatch.chdir(tmp_path)  # some write files
    check, options = CHECKS[name]
    before = ms.registry.ENVIRONMENTS.names()
    try:
        assert check(run_path(str(EXAMPLES / f"{name}.py"))["main"](**options))
    finally:
        for env_id in set(ms.registry.ENVIRONMENTS.names()).difference(before):
            ms.envs.unregister_environment(env_id)


def test_no_decision_is_better_for_the_slowest_user_than_that_of_the_example():
    example = run_path(str(EXAMPLES / "own_environment.py"))
    ms.envs.unregister_environment("Mine/Slowest-v0")
    scenario = ms.Scenario.preset("llama2", num_users=2)
    state = ms.sample_state(scenario, 0, size=50)
    best, rule = example["Evenly"](scenario)(state), ms.make_controller("optimal", scenario)

    def value(decision):
        return example["SlowestUser"]().reward(ms.expected_outcome(scenario, state, decision))

    lengths = [np.broadcast_to(pair, (50, 2)) for pair in product(range(1, 26), repeat=2)]
    every = np.max([value(rule.with_equal_latency(length, state)) for length in lengths], 0)
    np.testing.assert_allclose(value(best), every, rtol=1e-12)


def test_the_testbed_writes_into_one_folder_that_git_ignores(tmp_path, monkeypatch):
    pytest.importorskip("zmq")
    monkeypatch.chdir(tmp_path)
    run_path(str(EXAMPLES / "testbed.py"))["make_files"]()
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert "/runs/\n" in (EXAMPLES.parent / ".gitignore").read_text(encoding="utf-8")


def test_the_hyperparameters_for_rl_zoo_are_those_of_an_environment_and_an_agent():
    ((env_id, options),) = yaml.safe_load((EXAMPLES / "ppo.yml").read_text(encoding="utf-8")).items()
    envs = make_vec_env(env_id, options.pop("n_envs"), env_kwargs={"num_users": 2})
    assert options.pop("n_timesteps") > 0
    PPO(env=envs, device="cpu", **options)
