"""States and observations are made from one another by `Batched.into`, which loses no field."""

import ast
from dataclasses import fields
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.physics.continuous.core import free_state
from multispin_env.physics.continuous.validation import checked_continuous_state
from tests.alike import equal
from tests.repository import ROOT

KINDS = "SystemState", "Observed", "ContinuousState"
FIELDS = {field.name for field in fields(ms.SystemState)}
FOLDERS = "multispin_env", "agents", "lab", "benchmarks", "examples", "tools"


def locals_of(function):
    """Return the expression that each name of a function is assigned last."""
    local = {}
    for node in ast.walk(function):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple):
                values = getattr(node.value, "elts", None) or [node.value] * len(target.elts)
                pairs = zip(target.elts, values, strict=False)
            local |= {name.id: value for name, value in pairs if isinstance(name, ast.Name)}
    return local


def read(expression, local, depth=3):
    """Return the pairs (record, field) that an expression reads, also through local names."""
    pairs = set()
    for node in ast.walk(expression):
        if isinstance(node, ast.Attribute) and node.attr in FIELDS:
            pairs.add((ast.unparse(node.value), node.attr))
        if isinstance(node, ast.Name) and node.id in local and depth:
            pairs |= read(local[node.id], local, depth - 1)
    return pairs


def rebuilt(source):
    """Return the lines on which a state or observation is made from two arrays of one other record."""
    lines = set()
    for function in ast.walk(ast.parse(source)) if any(kind in source for kind in KINDS) else ():
        if not isinstance(function, ast.FunctionDef | ast.Lambda):
            continue
        local = locals_of(function)
        calls = (node for node in ast.walk(function) if isinstance(node, ast.Call))
        for call in (call for call in calls if ast.unparse(call.func).rpartition(".")[2] in KINDS):
            pairs = set().union(*(read(part, local) for part in (*call.args, *(word.value for word in call.keywords))))
            records = sorted(record for record, _ in pairs if "(" not in record)  # each call returns another record
            lines |= {call.lineno for first, second in pairwise(records) if first == second}
    return sorted(lines)


def test_nobody_rebuilds_a_state():
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 300
    assert {str(file): lines for file in files if (lines := rebuilt(file.read_text("utf-8")))} == {}


@pytest.mark.parametrize(
    "call",
    [
        "SystemState(s.draft_time, s.spectral_efficiency, rate)",
        "ms.SystemState(draft_time=s.draft_time, spectral_efficiency=s.spectral_efficiency * 2)",
        "Observed(*rates)",
        "ContinuousState(*(np.ones(3) * x for x in rates))",
    ],
)
def test_a_rebuilt_state_is_found(call):
    source = f"def f(s):\n    rates = s.draft_time, s.acceptance_rate\n    return {call}"
    assert rebuilt(source) == [3]
    assert rebuilt(source.replace("s.draft_time", "t.draft_time")) == []


FLEET = (("a", 0.5, 0.01, 0.012, 0.05), ("b", 0.5, 0.03, 0.04, 2.0))  # 0.05 and 2 J for a drafted token


@pytest.fixture
def fleet():
    return ms.Scenario.preset("llama2", fleet=FLEET, num_users=6)


def test_every_common_field_is_carried(fleet):
    state = ms.sample_state(fleet, 0, 2)
    for name in FIELDS:
        if getattr(state, name) is not None:
            assert getattr(state.into(ms.Observed), name) is getattr(state, name)
            assert getattr(free_state(state), name) is getattr(state, name)
            assert getattr(free_state(state).system, name) is getattr(state, name)
    assert equal(state.into(ms.Observed).into(ms.SystemState), state)
    other = state.into(ms.Observed, acceptance_rate=None, age=np.ones((2, 6)))
    assert other.acceptance_rate is None
    assert (other.age == 1.0).all()
    assert equal(checked_continuous_state(fleet, free_state(state)).system, state)


def test_joules_of_each_device_are_priced(fleet):
    state, oracle = ms.sample_state(fleet, 0, 2), ms.oracle(fleet, energy_price=2.0)
    best = oracle(state)
    assert best.draft_length[0].tolist() == [1, 9, 7, 9, 1, 1]  # a token of the second device of the fleet costs 2 J
    assert equal(PlugIn(oracle)(state.into(ms.Observed)), best)
    assert (oracle(free_state(state)).draft_length == best.draft_length).all()


@pytest.mark.parametrize(
    ("env_id", "estimators", "options"),
    [
        ("Heterogeneous", [], {}),
        ("HiddenAcceptance", ["filter"], {"rounds": 2}),
        ("DelayedChannel", ["mmse"], {"rounds": 2}),
        ("Continuous", [], {"rho": 90.0, "horizon": 0.5}),
        ("Continuous", ["filter"], {"rho": 90.0, "horizon": 0.5, "mean_cycles": 4, "acceptance_visible": False}),
        ("Serving", ["mmse"], {"rho": 60.0, "horizon": 0.5, "warm_up": 0.0, "channel_report": "old"}),
    ],
)
def test_plug_ins_of_environments_price_the_joules_of_each_device(env_id, estimators, options, fleet):
    env = gym.make_vec(f"MultiSpin/{env_id}-v0", num_envs=3, num_users=6, fleet=FLEET, **options)
    env.reset(seed=0)
    base, states = env.unwrapped, []
    plug_in = PlugIn(ms.oracle(base.scenario, energy_price=2.0))
    if estimators:
        plug_in = ms.make_controller("+".join(["optimal", *estimators]), base.scenario, base.assumptions)
    oracle = ms.oracle(base.scenario, energy_price=2.0)

    def decide(state):
        states.append(state)
        return oracle(state)

    plug_in.base, decide.scenario = decide, base.scenario
    for _ in range(12):
        plug_in(base.observed)
        state = states[-1]
        assert (state.draft_energy == np.where(state.draft_time < 0.02, 0.05, 2.0)).all()
        env.step(np.zeros(env.action_space.shape, np.float32))
    assert (states[0].draft_energy != states[-1].draft_energy).any()  # new devices
