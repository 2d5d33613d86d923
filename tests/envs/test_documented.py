"""Pages of environments: their tables describe the spaces, and their arguments are checked."""

import inspect
import re
from dataclasses import fields, is_dataclass

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.rounds.known import RoundsConfig
from multispin_env.physics.radio import spectral_efficiency
from multispin_env.registry import ENVIRONMENTS
from tests.envs.continuous.played import HIDDEN
from tests.families import CLASSES
from tools.pages import public_names

pytestmark = pytest.mark.usefixtures("quick_prices")

IDS = ENVIRONMENTS.names()
TASKS = tuple(ms.Task(name=str(number), acceptance_rate=0.5) for number in range(5))
LINE = r"\| `(\w+)` +\| (\([K\d].*?\)) +\|.*\| ([-\d.]+) +\| ([-\d.]+) +\|"


SHOWING = {"mean_gain_visible": True, "plan_quantile": 0.1, "task_visible": True, "history": True}
"""Arguments of rounds that show entries."""


def all_shown(env_id):
    kind = ENVIRONMENTS.load(env_id)
    return {k: v for k, v in SHOWING.items() if k in kind.own_fields() and issubclass(kind, RoundsConfig)}


@pytest.mark.parametrize("env_id", IDS)
def test_shapes_and_ranges_are_those_of_the_space(env_id, preset):
    env = gym.make(env_id, scenario=preset, num_users=5, **all_shown(env_id))
    printed = {entry: words for entry, *words in re.findall(LINE, CLASSES[env_id].__doc__)}
    assert set(printed) == set(env.observation_space.spaces), "## Observation Space: expected a table with all entries"
    names = {"K": 5, "tasks": len(env.unwrapped.scenario.tasks)}
    for entry, box in env.observation_space.items():
        shape, *range_ = printed[entry]
        assert box.shape == eval(shape.replace("·", "*"), names)
        for number, bound in zip(range_, (box.low, box.high), strict=True):
            assert bound.min() == bound.max()
            _, _, decimals = number.partition(".")
            assert float(number) == round(float(bound[0]), len(decimals)), entry


def test_the_channel_ends_at_64_times_the_largest_mean_gain():
    env = gym.make("MultiSpin/DelayedChannel-v0", plan_quantile=0.1)
    most = np.log2(1.0 + 10.0**2.35 * 64.0 * 0.5) / np.log2(1.0 + 10.0**2.35 * 0.35)
    for entry in ("channel", "mean_channel", "planned_channel"):
        assert env.observation_space[entry].high == pytest.approx(most, rel=2e-6)  # rounding of float32: 1e-6


@pytest.mark.parametrize("env_id", IDS)
def test_the_page_names_the_argument_that_shows_an_entry(env_id):
    page = inspect.getdoc(CLASSES[env_id])
    without = {name: None if name == "plan_quantile" else False for name in all_shown(env_id)}
    shown = EnvConfig.of(env_id, **without).observations.entries
    for entry in EnvConfig.of(env_id, **all_shown(env_id)).observations.entries:
        line = next((line for line in page.splitlines() if line.startswith(f"| `{entry}` ")), None)
        assert line, f"## Observation Space: expected a line of the table with `{entry}`"
        (named,) = [name for name in SHOWING if f"(`{name}`)" in line] or [""]
        assert (entry in shown) == (not named)
        if named:
            others = {name: value for name, value in all_shown(env_id).items() if name != named}
            hidden = {named: without[named]} | ({"plan_quantile": None} if named == "mean_gain_visible" else {})
            assert entry not in EnvConfig.of(env_id, **others | hidden).observations.entries


@pytest.mark.parametrize("env_id", IDS)
def test_formulas_of_the_table_are_those_of_the_codec(env_id):
    config = EnvConfig.of(env_id, num_users=1, **all_shown(env_id))
    scenario, codec = config.scenario, config.observations
    names = {
        **dict.fromkeys(("x", "T_k", "r_k", "α_k", "A_k", "L_k", "R_k", "H̄_k", "C_k", "P_k"), 3.0),
        **{"T̄": scenario.mean_draft_time, "T_ver": scenario.verification_time, "L_max": scenario.max_draft_length},
        **{"r̄": codec.reference_efficiency, "e": scenario.draft_energy},
        **{"r": lambda gain: spectral_efficiency(scenario, np.array(gain))},
    }
    table = re.findall(r"\| `(\w+)` +\| \([^|]+\| ([^|]+?) +\|", inspect.getdoc(CLASSES[env_id]))
    formulas = {
        entry: value.replace("16 T", "16 * T").replace("L_max e", "L_max * e")
        for entry, value in table
        if "_" in value or "x" in value
    }
    missing = codec.entries.keys() - {"phase", "task"} - formulas.keys()
    assert not missing, f"## Observation Space: expected formulas of {missing} in the table"
    for entry, formula in formulas.items():
        assert codec.entries[entry].encode(codec, np.array(3.0)) == pytest.approx(eval(formula, names)), entry


@pytest.mark.parametrize("env_id", ["MultiSpin/Heterogeneous-v0", "MultiSpin/Continuous-v0", "MultiSpin/Serving-v0"])
def test_the_table_of_actions_has_every_encoding(env_id):
    """Pages of the other ids refer to these."""
    listed = re.findall(r'^\| `"(\w+)"`(?: \(default\))? +\| (\d+) ', inspect.getdoc(CLASSES[env_id]), re.MULTILINE)
    spaces = {
        name: EnvConfig.of(env_id, action=name).actions.space for name in ENVIRONMENTS.load(env_id).encodings.names()
    }
    columns = {name: space.shape[-1] for name, space in spaces.items()}
    assert {name: int(text) for name, text in listed} == columns, "## Action Space: expected a row of each encoding"


INF, NAN = float("inf"), float("nan")
FLAGS = ("task_visible", "history", "privileged", "modelled", "mean_gain_visible", "acceptance_visible", "regret")
BAD = {
    **dict.fromkeys(FLAGS, (1, None)),
    **{"mean_rounds": (None, 0.5, NAN), "mean_cycles": (None, 0.5), "spread": (True, (0.1,), -0.1)},
    **{"half": (True, 0.0, 2), "correlation": (None, 1.1, -0.1), "delay": (None, 1.0, -1)},
    **{"plan_quantile": (0.0, 1.0), "window": (None, 0.9), "rho": (0.0, NAN), "coherence_time": (None, 0.0, INF)},
    **{"horizon": (None, 0.0), "timeout": (-0.1,), "warm_up": (-1.0, None, 30.0, NAN), "reference": (3,)},
    **dict.fromkeys(("discipline", "channel_report", "rewarded"), (None,)),
    "load": (0, None, INF, (0.8, 0.4), (0.1, 0.2, 0.3)),
    **{"full_rate": (0.0, INF), "arrivals": (3, None, ["poisson"]), "lengths": (3,), "mean_prompt": (0.5,)},
    **{"burstiness": (0.5,), "mean_output": (0.5, NAN), "trace": (3, "azure-chat"), "start": (-1,)},
    **dict.fromkeys(("ttft", "tpot", "e2el"), (0.0, INF)),
    "e2el_per_token": (-0.1, NAN),
    **{"rounds": (None, 0, 2.5), "action": (3,), "reward": (3,), "optimum": (), "render_mode": ()},
}
"""Bad values of each argument, besides "no"."""

WITH_OPTIMUM = ({"optimum": True}, {"reward": "share"})
TOGETHER = [
    *(("Continuous", {name: value}) for name, value in (("task_visible", False), ("spread", 0.2), ("mean_cycles", 3))),
    *(("Continuous", {"channel": "rayleigh"}), ("Continuous", {"action": "shares"})),
    *((name, part) for name in ("Fair", "DraftAhead", "Energy", "Continuous", "Serving") for part in WITH_OPTIMUM),
    ("DelayedChannel", {"mean_gain_visible": False, "plan_quantile": 0.1}),
    *(("Serving", {"arrivals": "gamma", "burstiness": 0.0}), ("Serving", {"arrivals": "trace", "mean_output": 9.0})),
    *(("Serving", {"arrivals": "trace", "start": -1}), ("Serving", {"horizon": 4.0, "warm_up": 5.0})),
    ("Serving", {"reward": "expected"}),
]
"""Arguments whose last one is bad in this environment, or together with the others."""


def refuses(env_id, options):
    *_, (argument, value) = options.items()
    got = "1" if value == (0.1,) else repr(value)
    for make in (gym.make, gym.make_vec):
        if (make, argument) == (gym.make, "render_mode"):
            continue  # Gymnasium checks it first
        words = rf"^{argument}: expected [^\n]+, got {re.escape(got)}(; did you mean '.*'\?)?$"
        with pytest.raises(ValueError, match=words):
            make(env_id, **options)


@pytest.mark.parametrize("env_id", IDS)
def test_bad_arguments(env_id):
    kind = ENVIRONMENTS.load(env_id)
    for name in ("action", "reward", "optimum", "render_mode", *kind.own_fields()):
        needed = HIDDEN if name in ("task_visible", "spread", "mean_cycles") and hasattr(kind, "horizon") else {}
        for value in ("no", *BAD[name]) if name != "records" else ():
            refuses(env_id, {**needed, name: value})


@pytest.mark.parametrize(("name", "options"), TOGETHER, ids=str)
def test_arguments_that_are_bad_together(name, options):
    refuses(f"MultiSpin/{name}-v0", options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("HiddenAcceptance", {"spread": 0.5}, r"spread of task 'MBPP\+': expected 0 or a number below .*, got 0\.5"),
        ("Fair", {"spread": 0.9}, r"spread of task .*: expected 0 or a number below 0\.348845, .*, got 0\.9"),
        ("Continuous", {**HIDDEN, "spread": 0.7}, r"spread of task 'MBPP.*': expected 0 or a number below"),
        ("Fair", {"optimum": True}, "optimum: expected False in MultiSpin/Fair-v0, which has no known optimum, got"),
        ("RecordedAcceptance", {"records": "/nowhere.npz"}, ".*nowhere"),
        ("RecordedAcceptance", {"tasks": TASKS}, "tasks of the scen"),
        ("Serving", {"load": (1, 2, 3)}, r"load: expected a number or a pair \(low, high\)"),
        ("Continuous", {"reference": "groups+deadline"}, r"reference: expected one of .* did you mean 'deadlines'\?$"),
        ("Continuous", {"discipline": "serail"}, r"discipline: expected one of .* did you mean 'serial'\?$"),
        ("Continuous", {"horizon": 0.03}, r"horizon: expected at least 0.0354 s for a verification, got 0.03$"),
    ],
)
def test_messages_of_bad_arguments(name, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        gym.make_vec(f"MultiSpin/{name}-v0", **options)


def public_types():
    """Types of public names and of the properties of environments; pages explain the fields of configurations."""
    values = [*public_names().values()]
    for env_id in IDS:
        env = gym.make(env_id).unwrapped
        env.reset(seed=0)
        values += [getattr(env, name) for name in dir(env) if not name.startswith("_")]
    kinds = {value if isinstance(value, type) else type(value) for value in values}
    kinds = {kind for kind in kinds if kind.__module__.startswith(("multispin_env.", "multispin_lab."))}
    return {kind for kind in kinds if kind is EnvConfig or not issubclass(kind, EnvConfig)}


def test_help_explains_every_field():
    explained = set()
    for kind in public_types():
        names = {field.name for field in fields(kind) if field.name[0] != "_"} if is_dataclass(kind) else set()
        if names := names | {name for name in dir(kind) if name.isupper()}:
            entries = re.findall(r"^(\w+(?:, \w+)*)\n    \S", inspect.getdoc(kind), re.MULTILINE)
            assert names <= {name for entry in entries for name in entry.split(", ")}, kind
            explained.add(kind)
    assert len(explained) > 20
