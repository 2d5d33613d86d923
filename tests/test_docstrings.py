import doctest
import inspect

import pytest

import multispin_env as ms
from multispin_env import wrappers
from multispin_env.baselines.systems import draft_schedule
from multispin_env.controllers.rounds.homogeneous import Algorithm1, homogeneous_draft_length
from multispin_env.controllers.rounds.optimal import Optimal
from multispin_env.draft import expected_tokens
from multispin_env.parallel import parallel_env
from multispin_env.physics.rounds import jain_index
from multispin_env.physics.tokens import sample_tokens

PUBLIC = {name: getattr(ms, name) for name in ms.__all__}
WRAPPERS = {name: getattr(wrappers, name) for name in wrappers.__all__} | {"parallel_env": parallel_env}
SOLVERS = {"Algorithm1": Algorithm1, "Optimal": Optimal}  # users make them by name, with `make_controller`
FORMULAS = (expected_tokens, sample_tokens, jain_index, homogeneous_draft_length, draft_schedule)
FORMULAS = {formula.__name__: formula for formula in FORMULAS}
FUNCTIONS = [name for name, value in PUBLIC.items() if inspect.isfunction(value)]


def examples(name, value):
    return [test for test in doctest.DocTestFinder().find(value, name, globs={}) if test.examples]


EXAMPLES = [test for name, value in (PUBLIC | SOLVERS | FORMULAS | WRAPPERS).items() for test in examples(name, value)]


def test_each_public_function_has_an_example():
    assert {"upper_bound", "sensitivities", "make_controller"} <= set(FUNCTIONS)
    assert set(FUNCTIONS) | set(SOLVERS) | set(FORMULAS) | set(WRAPPERS) <= {test.name for test in EXAMPLES}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_run(example, capsys):
    failed = doctest.DocTestRunner(verbose=False).run(example).failed
    assert failed == 0, capsys.readouterr().out
