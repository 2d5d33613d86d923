"""The tables of the environments' docstrings are their spaces, and their own arguments are checked."""

import re
from dataclasses import fields

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.settings import MARK
from multispin_env.registry import ENVIRONMENTS

IDS = ENVIRONMENTS.names()
LINE = r"\| `(\w+)` +\| (\([K\d].*?\)) +\|.*\| ([-\d.]+) +\| ([-\d.]+) +\|"


def own_arguments(env_id):
    return {field.name for field in fields(ENVIRONMENTS.load(env_id))}


def documented(env):
    """Shape, lowest and highest value of each entry, as printed."""
    return {entry: words for entry, *words in re.findall(LINE, type(env.unwrapped).__doc__)}


def all_shown(env_id):
    """Arguments with which an environment shows every entry that it can show."""
    arguments = set(ENVIRONMENTS.load(env_id).entries.values()) - {""}
    return {name: 0.1 if name == "plan_quantile" else True for name in arguments}


@pytest.mark.parametrize("env_id", IDS)
def test_shapes_and_ranges_are_those_of_the_space(env_id, preset):
    """The numbers are of the default preset, and hold for the others."""
    env = gym.make(env_id, scenario=preset, num_users=5, **all_shown(env_id))
    printed = documented(env)
    assert set(printed) == set(env.observation_space.spaces)
    sizes = {
        "(K,)": 5,
        "(K · tasks,)": 5 * len(env.unwrapped.scenario.tasks),
        "(K · phases,)": 5 * ms.Phase.IDLE,  # all but the last
        "(K · 5,)": 5 * (ms.Phase.IDLE + 1),
        "(3,)": 3,
        "(6,)": 6,
        "(8,)": 8,
    }
    for entry, box in env.observation_space.items():
        shape, *range_ = printed[entry]
        assert box.shape == (sizes[shape],)
        for number, bound in zip(range_, (box.low, box.high), strict=True):
            assert bound.min() == bound.max()
            _, _, decimals = number.partition(".")
            assert float(number) == round(float(bound[0]), len(decimals)), entry


@pytest.mark.parametrize("env_id", IDS)
def test_the_page_has_the_table_and_names_the_argument_that_shows_an_entry(env_id):
    variant = ENVIRONMENTS.load(env_id)
    help_text = type(gym.make(env_id).unwrapped).__doc__
    assert help_text == variant.page()
    assert MARK in variant.__doc__
    assert MARK not in help_text
    without = variant(**{name: None if name == "plan_quantile" else False for name in all_shown(env_id)})
    shown = without.observations(ms.Scenario.preset("llama2", num_users=3)).space.spaces
    for entry, argument in variant.entries.items():
        (line,) = (line for line in help_text.splitlines() if line.startswith(f"| `{entry}` "))
        assert (f"(`{argument}`)" in line) == bool(argument)
        assert (entry in shown) == (not argument)


def test_the_table_says_what_the_numbers_are():
    """By hand: one line of a count, one of tasks."""
    lines = [" ".join(line.split()) for line in ENVIRONMENTS.load("MultiSpin/HiddenAcceptance-v0").page().splitlines()]
    hits = "| `hits` | (K,) | x / (x + 64) | x = tokens accepted since then (`history`) | tokens | 0 | 1 |"
    task = "| `task` | (K · tasks,) | 0 or 1 | for each user a 1 at its task (`task_visible`) | 1 | 0 | 1 |"
    assert {hits, task} <= set(lines)


def test_the_channel_ends_at_64_times_the_largest_mean_gain():
    """By hand: log2(1 + 10^2.35 · 64 · .5) over log2(1 + 10^2.35 · .35); with a planned channel as much."""
    env = gym.make("MultiSpin/DelayedChannel-v0", plan_quantile=0.1)
    most = np.log2(1.0 + 10.0**2.35 * 64.0 * 0.5) / np.log2(1.0 + 10.0**2.35 * 0.35)
    for entry in ("channel", "mean_channel", "planned_channel"):
        assert env.observation_space[entry].high == pytest.approx(most, rel=2e-6)  # rounding of float32: 1e-6


HIDING = [
    *({"acceptance_visible": value} for value in ("no", 1, None)),
    *({"acceptance_visible": False, "task_visible": value} for value in ("no", 1, None)),
    *({"acceptance_visible": False, "spread": value} for value in ("wide", True, (0.1,), -0.1)),
    *({"channel_report": value} for value in ("late", 1, None)),
]

REFUSED = {
    "Homogeneous": [{"optimum": "no"}, {"optimum": 1}, {"reward": 3}, {"action": 3}, {"render_mode": "no"}],
    "Heterogeneous": [{"optimum": "no"}, {"optimum": 1}, {"reward": 3}, {"action": 3}, {"render_mode": "no"}],
    "HiddenAcceptance": [
        *({flag: value} for flag in ("task_visible", "history", "privileged", "optimum") for value in ("no", 1, None)),
        *({"mean_rounds": value} for value in ("long", True, None, 0.5, float("nan"))),
        *({"spread": value} for value in ("wide", True, (0.1,), -0.1)),
    ],
    "DelayedChannel": [
        *({flag: value} for flag in ("mean_gain_visible", "privileged", "optimum") for value in ("no", 1, None)),
        *({"correlation": value} for value in ("high", True, None, 1.1, -0.1)),
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
    "Serving": [
        *({"optimum": value} for value in ("no", True)),
        *({"reward": value} for value in ("expected", 3)),
        *(
            {"load": value}
            for value in (0, -0.5, "high", True, None, float("inf"), (0.8, 0.4), (0.1, 0.2, 0.3), (0, 1))
        ),
        *({"arrivals": value} for value in ("poison", 3, None, ["poisson"])),
        *({"lengths": value} for value in ("geometrical", 3)),
        *({"burstiness": value} for value in (0.5, 0.0, "no")),  # Poisson arrivals have none
        *({"mean_output": value} for value in (0.5, "long", True, float("nan"))),
        *({"mean_prompt": value} for value in (0.5, -1, "long", True)),
        *({"trace": value} for value in ("azure", 3, "azure-chat")),  # Poisson arrivals have none
        *({"start": value} for value in (-1, 0, "first")),  # Poisson arrivals have none
        *({name: value} for name in ("ttft", "tpot", "e2el") for value in (0.0, -1, "soon", True, float("inf"))),
        *({"e2el_per_token": value} for value in (-0.1, "soon", True, float("nan"))),
        *({"horizon": value} for value in ("long", True, None, 0.0)),
        *({"warm_up": value} for value in (-1.0, "long", True, None, 30.0, float("nan"))),
        *({"rewarded": value} for value in ("token", 3, None)),
        *({"discipline": value} for value in ("seriell", None)),
        *({"channel": value} for value in ("rayleigh", None)),
        *({"coherence_time": value} for value in (0.0, None)),
        *({"rho": value} for value in ("high", True, 0.0, -1.0)),
        *({"patience": value} for value in ("long", -0.1)),
        *({"reference": value} for value in ("group", 3)),
        *HIDING,
    ],
    "Continuous": [
        *({"optimum": value} for value in ("no", 1, None, True)),
        *({"discipline": value} for value in ("seriell", 3, None)),
        *({"channel": value} for value in ("rayleigh", 3, None)),
        *({"coherence_time": value} for value in ("long", True, None, 0.0, float("inf"))),
        *({"horizon": value} for value in ("long", True, None, 0.0, 0.01)),
        *({"rho": value} for value in ("high", True, 0.0, -1.0, float("nan"))),
        *({"patience": value} for value in ("long", True, -0.1)),
        *({"action": value} for value in ("shares", "lengths", None)),
        *({"reference": value} for value in ("group", 3)),
        *HIDING,
        *({"acceptance_visible": False, "mean_cycles": value} for value in ("long", True, None, 0.5)),
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
        *_, (argument, value) = options.items()
        got = "1" if value == (0.1,) else re.escape(repr(value))
        for make in (gym.make, gym.make_vec):
            if (make, argument) == (gym.make, "render_mode"):
                continue  # Gymnasium itself looks at it first
            with pytest.raises(ValueError, match=rf"^{argument}: expected [^\n]+, got {got}(; did you mean '.*'\?)?$"):
                make(env_id, **options)
