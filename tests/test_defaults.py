"""Defaults that docstrings and help state are those of the code, and every option is explained."""

import ast
import inspect
import json
import re
from dataclasses import MISSING, fields, is_dataclass

import pytest

import multispin_env as ms
from multispin_env import registry
from multispin_env.apps.commands.main import COMMANDS, load_command
from multispin_env.controllers.base import Assumptions
from multispin_env.registry import class_of_part
from tests.families import CLASSES, CONFIGS
from tests.repository import ROOT

TUNED = ROOT / "docs" / "results" / "tune_estimators.json"
VALUE = r"(`[^`]+`|[\w.-]*\w)"
STATED = re.compile(rf"[Dd]efault(?: is)? {VALUE}(?: and {VALUE})?|(`[^`]+`) \(default\)")


def stated(words, names):
    """Return {name: default} where the text of these names states one default for all of them, or one for each."""
    texts = [value for match in STATED.findall(words.replace("``", "`")) for value in match if value]
    values = [literal(value.strip("`")) for value in texts]
    pairs = dict(zip(names, values if len(values) == len(names) else values[:1] * len(names), strict=False))
    return {name: value for name, value in pairs.items() if value is not MISSING}


def literal(text):
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):  # a word
        return MISSING


def arguments(env_id):
    page = inspect.getdoc(CLASSES[env_id]).partition("## Arguments\n")[2].partition("\n## ")[0]
    items = (item.partition(":") for item in page.split("\n- ")[1:])
    return {tuple(re.findall(r"`(\w+)`", head)): words for head, _, words in items}


def parameters(kind):
    entry = re.compile(r"^(\w+(?:, \w+)*)\n((?:    .*\n?|\n)+)", re.MULTILINE)
    pages = [inspect.getdoc(base) + "\n" for base in kind.__mro__ if is_dataclass(base) and base.__doc__]
    return {tuple(head.split(", ")): words for page in reversed(pages) for head, words in entry.findall(page)}


def defaults_hold(kind, explained):
    defaults = {field.name: getattr(field.default, "value", field.default) for field in fields(kind)}
    texts = {name: value for names, words in explained.items() for name, value in stated(words, names).items()}
    for name in texts.keys() & defaults:
        assert defaults[name] in (texts[name], (texts[name],)), (kind, name, defaults[name], texts[name])
    return {name for names in explained for name in names}, len(texts.keys() & defaults)


@pytest.mark.parametrize("env_id", CONFIGS)
def test_arguments_of_environments(env_id):
    kind = CONFIGS[env_id]
    explained, count = defaults_hold(kind, arguments(env_id))
    if env_id == "MultiSpin/RecordedAcceptance-v0":
        explained |= set().union(*arguments("MultiSpin/HiddenAcceptance-v0")) - {"spread"}
    names = set(kind.own_fields())
    assert names <= explained, f"## Arguments of {env_id}: expected also {names - explained}"
    assert count >= len(names) // 3


CLASS_TABLES = (registry.CONTROLLERS, registry.MODIFIERS, registry.ESTIMATORS, registry.ARRIVALS, registry.LENGTHS)
PARTS = {class_of_part(table.load(name)) for table in CLASS_TABLES for name in table.names()}
PARTS |= {type(table.load(name)) for table in (registry.ACCEPTANCES, registry.CHANNELS) for name in table.names()}


@pytest.mark.parametrize("kind", sorted(PARTS, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_options_of_parts(kind):
    explained, _ = defaults_hold(kind, parameters(kind))
    inherited = {"scenario", "assumptions", "memory", "rng", "workload", "clock"}
    assert {field.name for field in fields(kind) if field.init} - inherited <= explained


def test_assumptions_are_the_defaults_of_the_parts(rng):
    scenario = ms.Scenario.preset("llama2", num_users=4)
    assumptions = Assumptions.of(scenario)
    channel, acceptance = registry.CHANNELS.load("gauss-markov"), registry.ACCEPTANCES.load("by-request")
    assert (assumptions.correlation, assumptions.delay) == (channel.correlation, 1)
    assert set(assumptions.acceptance_spread) == {acceptance.spread}
    state = ms.sample_state(scenario, rng, 3)
    observed = ms.Observed(state.draft_time, state.spectral_efficiency, state.acceptance_rate)
    made = [ms.make_controller("optimal+quantile", scenario, **options) for options in ({}, {"quantile": 1 / 5})]
    assert (made[0](observed).bandwidth == made[1](observed).bandwidth).all()


@pytest.mark.parametrize("name", COMMANDS)
def test_defaults_of_commands(name):
    command = load_command(name)
    if not hasattr(command, "parser"):
        return
    for action in command.parser("multispin")._actions:
        text, default = re.search(r"\(default ([^),;:]+)", action.help or ""), action.default
        if text and default is not None:
            values = default if isinstance(default, tuple | list) else (default,)
            assert text[1] in (" ".join(map(str, values)), str(default).removesuffix(".0"))


def test_defaults_of_estimators_are_near_the_best_that_were_tried():
    lost = {}
    for search in json.loads(TUNED.read_text(encoding="utf-8"))["searches"]:
        name, (default,) = search["search"]["estimator"], [row for row in search["tried"] if row["is_default"]]
        for option, value in default["options"].items():
            value = tuple(value) if isinstance(value, list) else value
            assert getattr(registry.ESTIMATORS.load(name), option) == value
        best = max(row["mean"] for row in search["tried"])
        lost.setdefault((name, search["search"]["env"]), []).append(best - default["mean"])
    for name, hidden, recorded in (("beta", 2e-4, 2e-3), ("filter", 2e-4, 5e-4)):
        assert max(lost[name, "MultiSpin/HiddenAcceptance-v0"]) <= hidden
        assert max(lost[name, "MultiSpin/RecordedAcceptance-v0"]) <= recorded
    assert lost["quantile", "MultiSpin/DelayedChannel-v0"][0] == 0.0  # docs: ahead of every fixed one
