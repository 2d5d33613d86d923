"""The examples in the docstrings of the public names run, each public function has one, and fields are explained."""

import doctest
import inspect
import re
from dataclasses import fields, is_dataclass

import gymnasium as gym
import pytest

import multispin_env as ms
from multispin_env import wrappers
from multispin_env.controllers.rounds.homogeneous import Algorithm1, homogeneous_draft_length
from multispin_env.controllers.rounds.optimal import Optimal
from multispin_env.controllers.rounds.systems import draft_schedule
from multispin_env.envs.settings import Variant
from multispin_env.parallel import parallel_env
from multispin_env.physics.rounds import jain_index
from multispin_env.physics.tokens import expected_tokens, sample_tokens
from multispin_env.registry import ENVIRONMENTS

PUBLIC = {name: getattr(ms, name) for name in ms.__all__}
WRAPPERS = {name: getattr(wrappers, name) for name in wrappers.__all__} | {"parallel_env": parallel_env}
SOLVERS = {"Algorithm1": Algorithm1, "Optimal": Optimal}  # users make them by name, with `make_controller`
FORMULAS = {
    formula.__name__: formula
    for formula in (*(expected_tokens, sample_tokens, jain_index, homogeneous_draft_length, draft_schedule),)
}
FUNCTIONS = [name for name, value in PUBLIC.items() if inspect.isfunction(value)]


def examples(name, value):
    """Doctests of a function, or of a class and its methods."""
    found = doctest.DocTestFinder().find(value, name, globs={})
    return [test for test in found if test.examples]


EXAMPLES = [test for name, value in (PUBLIC | SOLVERS | FORMULAS | WRAPPERS).items() for test in examples(name, value)]


def test_each_public_function_has_an_example():
    assert {"upper_bound", "sensitivities", "make_controller"} <= set(FUNCTIONS)
    assert set(FUNCTIONS) | set(SOLVERS) | set(FORMULAS) | set(WRAPPERS) <= {test.name for test in EXAMPLES}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_run(example, capsys):
    failed = doctest.DocTestRunner(verbose=False).run(example).failed
    assert failed == 0, capsys.readouterr().out


def seen_by_users():
    """Types of public names and of the properties of environments; the fields of a variant are in its page."""
    environments = [gym.make(env_id).unwrapped for env_id in ENVIRONMENTS.names()]
    values = list(PUBLIC.values())
    for env in environments:
        env.reset(seed=0)
        values += [getattr(env, name) for name in dir(env) if not name.startswith("_")]
    kinds = {value if isinstance(value, type) else type(value) for value in values}
    ours = {kind for kind in kinds if kind.__module__.startswith("multispin_env.") and not issubclass(kind, Variant)}
    return sorted((kind for kind in ours if named_parts(kind)), key=lambda kind: kind.__name__)


def named_parts(kind):
    """Fields of a dataclass, and values that have a name, as those of an enumeration."""
    parts = [field.name for field in fields(kind)] if is_dataclass(kind) else []
    return {name for name in parts if not name.startswith("_")} | {name for name in dir(kind) if name.isupper()}


@pytest.mark.parametrize("kind", seen_by_users(), ids=lambda kind: kind.__name__)
def test_help_explains_every_field(kind):
    entries = re.findall(r"^(\w+(?:, \w+)*)\n    \S", inspect.getdoc(kind), re.MULTILINE)
    explained = {name for entry in entries for name in entry.split(", ")}
    assert named_parts(kind) <= explained
