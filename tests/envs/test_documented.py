"""The tables of the environments' docstrings are their spaces, and their own arguments are checked."""

import re
from dataclasses import fields

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms

IDS = ms.ENVIRONMENTS.names()
LINE = r"\| `(\w+)` +\|.*\| +([-\d.]+) +\| ([-\d.]+)(?: \(presets\))? +\|"


def own_arguments(env_id):
    return {field.name for field in fields(ms.ENVIRONMENTS.load(env_id))}


def documented(env):
    """Lowest and highest value of each entry, as printed."""
    return {entry: (low, high) for entry, low, high in re.findall(LINE, type(env.unwrapped).__doc__)}


@pytest.mark.parametrize("env_id", IDS)
def test_ranges_are_those_of_the_space(env_id, preset):
    env = gym.make(env_id, scenario=preset, **dict.fromkeys({"history"} & own_arguments(env_id), True))
    printed = documented(env)
    assert set(printed) == set(env.observation_space.spaces)
    for entry, box in env.observation_space.items():
        for number, bound in zip(printed[entry], (box.low, box.high), strict=True):
            assert bound.min() == bound.max()
            _, _, decimals = number.partition(".")
            assert float(number) == round(float(bound[0]), len(decimals)), entry


def test_the_channel_ends_at_64_times_the_largest_mean_gain():
    """By hand: log2(1 + 10^2.35 · 64 · .5) over log2(1 + 10^2.35 · .35); with a planned channel as much."""
    env = gym.make("MultiSpin/DelayedChannel-v0", plan_quantile=0.1)
    most = np.log2(1.0 + 10.0**2.35 * 64.0 * 0.5) / np.log2(1.0 + 10.0**2.35 * 0.35)
    for entry in ("channel", "mean_channel", "planned_channel"):
        assert env.observation_space[entry].high == pytest.approx(most, rel=2e-6)  # rounding of float32: 1e-6


REFUSED = {
    "Homogeneous": [{"optimum": "no"}, {"optimum": 1}, {"reward": None}, {"action": 3}, {"render_mode": "no"}],
    "Heterogeneous": [{"optimum": "no"}, {"optimum": 1}, {"reward": None}, {"action": 3}, {"render_mode": "no"}],
    "HiddenAcceptance": [
        *({flag: value} for flag in ("task_visible", "history", "privileged", "optimum") for value in ("no", 1, None)),
        *({"mean_rounds": value} for value in ("long", True, None, 0.5, float("nan"))),
        *({"spread": value} for value in ("wide", True, (0.1,), -0.1)),
    ],
    "DelayedChannel": [
        *({flag: value} for flag in ("mean_gain_visible", "privileged", "optimum") for value in ("no", 1, None)),
        *({"correlation": value} for value in ("high", True, None, 1.1)),
        *({"delay": value} for value in ("1", True, None, 1.0, -1)),
        *({"plan_quantile": value} for value in ("low", True, 0.0, 1.0)),
    ],
    "RecordedAcceptance": [
        *({flag: value} for flag in ("task_visible", "history", "privileged", "modelled") for value in ("no", 1, None)),
        *({"mean_rounds": value} for value in ("long", True, None)),
        *({"half": value} for value in ("0", True, 0.0, 2)),
    ],
    "Fair": [
        *({"window": value} for value in ("long", True, None, 0.9)),
        *({"spread": value} for value in ("wide", True, (0.1,), -0.1)),
    ],
}


def name_of(env_id):
    return env_id.removeprefix("MultiSpin/").removesuffix("-v0")


@pytest.mark.parametrize("env_id", IDS)
def test_own_arguments_of_a_wrong_type_or_size_are_refused(env_id):
    """Single and vector, in one sentence that names the argument and its value."""
    name = name_of(env_id)
    tried = {argument for options in REFUSED[name] for argument in options}
    assert own_arguments(env_id) - tried <= {"records"}  # a path, see test_hidden.py
    for options in REFUSED[name]:
        ((argument, value),) = options.items()
        got = "1 numbers" if value == (0.1,) else re.escape(repr(value))
        for make in (gym.make, gym.make_vec):
            if (make, argument) == (gym.make, "render_mode"):
                continue  # Gymnasium itself looks at it first
            with pytest.raises(ValueError, match=rf"^{argument}: got {got}, allowed (is|are) [^\n]+$"):
                make(env_id, **options)


@pytest.mark.parametrize("env_id", IDS)
def test_no_environment_takes_no_for_false(env_id):
    """``privileged="no"`` and ``copy="no"`` would be true; where there is nothing to hide there is no such argument."""
    hides = "privileged" in own_arguments(env_id)
    assert hides == (name_of(env_id) in ("HiddenAcceptance", "DelayedChannel", "RecordedAcceptance"))
    error, message = (ValueError, "privileged: got 'no'") if hides else (TypeError, "unknown keyword 'privileged'")
    for make in (gym.make, gym.make_vec):
        with pytest.raises(error, match=message):
            make(env_id, privileged="no")
    with pytest.raises(ValueError, match="copy: got 'no', allowed is True or False"):
        gym.make_vec(env_id, copy="no")
