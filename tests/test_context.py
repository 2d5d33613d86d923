"""A drafted token takes T + c max(C − C_0, 0) seconds after C tokens of context, by other computations."""

import json
import subprocess
import sys
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import multispin_env as ms
import multispin_lab
from multispin_env.certificates import check as checker
from multispin_env.controllers.names import controller_names
from multispin_env.draft import DraftProfile
from multispin_env.registry import DEVICES, DRAFTS
from multispin_lab.planning.at_server import colocated
from tests.reference import best_goodput

GROWS = {"draft_context_time": 1e-6, "draft_context": 1000, "context": 9000}  # 8 ms more for a device with T̄
ROWS = (("fast", 0.5, 0.01, 0.02, 0.1, 1e-6, 1000), ("slow", 0.5, 0.03, 0.03, 0.1, 5e-6, 3000))
FLEET = ms.Scenario.preset("llama2", num_users=2, fleet=ROWS, context=9000, max_draft_length=9)


def test_one_device_by_hand():
    scenario = ms.Scenario.preset("llama2", num_users=1, mean_draft_time=0.01, draft_time_spread=0.0, **GROWS)
    state = ms.sample_state(scenario, 0)
    assert state.draft_time == pytest.approx([0.018], rel=1e-15)
    outcome = ms.expected_outcome(scenario, state, ms.Decision(np.array([5]), np.array([scenario.total_bandwidth])))
    upload = 5 * scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency[0])
    assert float(outcome.round_latency) == pytest.approx(0.09 + upload + scenario.verification_time, rel=1e-12)
    assert ms.sample_state(scenario.replace(context=500), 0).draft_time == pytest.approx([0.01], rel=1e-15)


@pytest.mark.parametrize(("load", "times"), [("cold", (0.018, 0.06)), ("sustained", (0.036, 0.06))])
def test_devices_of_a_fleet_grow_each_by_its_own(load, times):
    scenario = FLEET.replace(num_users=20, device_load=load)
    state = ms.sample_state(scenario, 0, 5)
    np.testing.assert_allclose(state.draft_time, np.array(times)[state.fleet_row], 1e-14)
    assert {*state.fleet_row.reshape(-1).tolist()} == {0, 1}
    low, high = scenario.devices.draft_time_range(ends=False)
    assert np.array([low, high]) * scenario.mean_draft_time == pytest.approx(times)


def test_optimum_and_certificate_of_two_devices(tmp_path):
    state = ms.sample_state(FLEET, 1, 40)
    differs = state.fleet_row[:, 0] != state.fleet_row[:, 1]
    state = state[np.flatnonzero(differs)[:4]]
    goodput = ms.expected_outcome(FLEET, state, ms.oracle(FLEET)(state)).goodput
    by_hand = np.where(state.fleet_row == 0, 0.018, 0.06)
    for row in range(4):
        one = state[row]
        assert goodput[row] == pytest.approx(best_goodput(FLEET, one.changed(draft_time=by_hand[row])), rel=1e-9)
    decision = ms.make_controller("optimal", FLEET, certify=1e-6)(state[0])
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(ms.certificate(FLEET, state[0], decision)))
    run = subprocess.run([sys.executable, checker.__file__, file], capture_output=True, text=True, check=True)
    assert run.stdout


def test_growth_equals_longer_draft_times():
    """Every rule of both families but the paper's, and the capacity by formulas."""
    long = ms.Scenario.preset("llama2", num_users=3, max_draft_length=8, **GROWS)
    factor = 1.0 + 8e-3 / long.mean_draft_time
    same = long.replace(draft_context_time=0.0, mean_draft_time=long.mean_draft_time * factor)
    state = ms.sample_state(long, 0, 2)
    np.testing.assert_allclose(state.draft_time, ms.sample_state(same, 0, 2).draft_time, 1e-14)
    for name in controller_names("rounds", long):
        if name != "algorithm1":
            first, second = (ms.make_controller(name, system)(state) for system in (long, same))
            np.testing.assert_array_equal(first.draft_length, second.draft_length, name)
    for name in controller_names("continuous", long):
        rates = [
            ms.long_run(ms.make_controller(name, system), state, warm_up=0.3, horizon=0.9).rate
            for system in (long, same)
        ]
        np.testing.assert_allclose(*rates, 1e-9, err_msg=name)
    np.testing.assert_allclose(*(multispin_lab.capacity(system, tpot=0.5, states=20) for system in (long, same)), 0)


@pytest.mark.parametrize("env_id", ["Heterogeneous", "Continuous", "Serving"])
@pytest.mark.parametrize("fields", [GROWS, {"fleet": ROWS, "context": 9000}])
def test_environments_show_the_time_of_the_context(env_id, fields):
    env = gym.make(f"MultiSpin/{env_id}-v0", num_users=3, **fields).unwrapped
    check_env(env, skip_render_check=True)
    seen, _ = env.reset(seed=1)
    scenario = env.scenario
    drawn = ms.sample_state(scenario.replace(num_users=500), 0).draft_time / scenario.mean_draft_time
    low, high = env.observation_space["compute"].low.min(), env.observation_space["compute"].high.max()
    assert low <= drawn.min()
    assert drawn.max() <= high
    assert (seen["compute"] > 1.2).any() or "fleet" in fields
    if env_id == "Serving":
        env.action_space.seed(0)
        for _ in range(30):
            seen, *_ = env.step(env.action_space.sample())
            assert env.observation_space.contains(seen)
        assert len(set(seen["compute"].tolist())) > 1


def test_server_that_drafts():
    scenario = ms.Scenario.preset("qwen3.5", server_draft_pieces=((2e-3, 1e-4), (1e-3, 3e-4)), context=5000)
    longer = scenario.replace(server_draft_context_time=2e-8, server_draft_context=1000)
    assert [longer.draft_step_time(n) for n in (1, 10)] == pytest.approx([2.1e-3 + 8e-5, 4e-3 + 8e-4], rel=1e-14)
    same = scenario.replace(server_draft_pieces=((2e-3, 1.8e-4), (1e-3, 3.8e-4)))
    state = ms.sample_state(scenario, 0)
    assert ms.baselines.colocated_goodput(longer, state) == pytest.approx(
        float(ms.baselines.colocated_goodput(same, state)), rel=1e-14
    )
    laws = [colocated(system)[4].scenario.law for system in (longer, same)]
    assert laws[0].drafting == tuple(pytest.approx(line) for line in laws[1].drafting)
    alone = scenario.replace(server_draft_time=4e-3)
    assert alone.draft_step_time(7) == 4e-3
    grown = alone.replace(server_draft_context_time=2e-8)
    assert colocated(grown)[2].scenario.law.drafting == ((8e-3, pytest.approx(2e-4)),)
    assert longer.replace(server_draft_time=1e-3).draft_step_time(3) == 1e-3
    assert longer.replace(server_draft_pieces=((1e-3, 0.0),)).draft_step_time(3) == 1e-3
    assert longer.replace(num_users=3).draft_step_time(1) == longer.draft_step_time(1)


def test_profile_of_a_draft_on_the_server():
    texts = dict.fromkeys(("name", "model", "target_model", "source", "licence"), "a")
    profile = DraftProfile(**texts, acceptance=0.8, draft_pieces=((1e-3, 1e-4),))
    law, lengths = replace(ms.Scenario.preset("qwen3.5").law, context=6000), np.array([0, 3])
    longer = replace(profile, draft_context_time=1e-7, draft_context=1000)
    added = longer.round_time(law, 4, lengths) - profile.round_time(law, 4, lengths)
    np.testing.assert_allclose(added, [0.0, 3 * 4 * 5e-4], 1e-12)


def test_growth_comes_with_the_draft_and_leaves_with_it(monkeypatch):
    measured = DRAFTS.load("qwen2.5-0.5b-q4")
    grown = replace(measured, draft_context_time=1e-7, draft_context=64, context_source="measured: here")
    load = DRAFTS.load
    monkeypatch.setattr(DRAFTS, "load", lambda name, *rest: grown if name == grown.name else load(name, *rest))
    scenario = ms.Scenario.preset("qwen3.5", draft=grown.name)
    assert (scenario.draft, scenario.draft_context_time, scenario.draft_context) == (grown.name, 1e-7, 64)
    assert scenario.replace(context=5000).draft_context_time == 1e-7
    assert (
        scenario.replace(draft="qwen2.5-1.5b-fp16").draft_context_time == load("qwen2.5-1.5b-fp16").draft_context_time
    )
    other = scenario.replace(draft_context_time=2e-7)
    assert (other.draft, other.draft_context_time) == ("", 2e-7)
    assert ms.Scenario.from_dict(json.loads(json.dumps(scenario.to_dict()))) == scenario


def test_rows_of_a_fleet(monkeypatch):
    stored = ms.Scenario.from_dict(json.loads(json.dumps(FLEET.to_dict())))
    assert stored == FLEET
    measured = DEVICES.load("pixel-8-q8")
    grown = replace(measured, draft_context_time=3e-7, draft_context=64, context_source="measured: here")
    load = DEVICES.load
    monkeypatch.setattr(DEVICES, "load", lambda name, *rest: grown if name == grown.name else load(name, *rest))
    (row,) = FLEET.replace(fleet=[["pixel-8-q8", 1.0]]).fleet
    assert row == ("pixel-8-q8", 1.0, measured.draft_time, measured.draft_time, 0.0, 3e-7, 64)
    assert FLEET.replace(fleet=[row[:5]]).fleet == (row[:5],)  # stored before its growth was known
    without = FLEET.replace(fleet=[[*row[:5], 0.0, 64]])
    assert without.fleet == (row[:5],)
    state = ms.sample_state(FLEET, 0)
    assert ms.oracle(FLEET.replace(fleet=()))(state).draft_length.shape == (2,)  # there, rows are not used
    with pytest.raises(ValueError, match=r"fleet_row\[1\]: expected integers in \[0, 1\)"):
        ms.oracle(without)(state.changed(fleet_row=np.array([0, 1])))
    with pytest.raises(ValueError, match=r"fleet\[0\], draft_context_time: expected"):
        FLEET.replace(fleet=[[*row[:5], -1e-7, 64]])
