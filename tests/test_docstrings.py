import doctest
import inspect

import pytest

from multispin_env import wrappers
from multispin_env.controllers.rounds.homogeneous import Algorithm1
from multispin_env.controllers.rounds.optimal import Optimal
from multispin_env.draft import expected_tokens
from multispin_env.parallel import parallel_env
from multispin_env.physics.rounds import jain_index
from multispin_env.physics.tokens import sample_tokens
from multispin_lab.planning.schedule import draft_schedule
from multispin_lab.reproduce.closed_form import homogeneous_draft_length
from tools.pages import public_names

PUBLIC = {name.rpartition(".")[2]: value for name, value in public_names().items()}
FUNCTIONS = {name for name, value in PUBLIC.items() if inspect.isfunction(value)}
OTHERS = {
    **{name: getattr(wrappers, name) for name in wrappers.__all__},
    **{"Algorithm1": Algorithm1, "Optimal": Optimal},  # users make them by name, with `make_controller`
    **{f.__name__: f for f in (expected_tokens, sample_tokens, jain_index, homogeneous_draft_length, draft_schedule)},
    "parallel_env": parallel_env,
}
FINDER, VALUES = doctest.DocTestFinder(), PUBLIC | OTHERS
SLOW = {"capacity", "rate_optimum"}  # more than three seconds; their own tests are quick
EXAMPLES = [test for name, value in VALUES.items() for test in FINDER.find(value, name, globs={}) if test.examples]


def test_each_public_function_has_an_example():
    assert {"upper_bound", "sensitivities", "make_controller"} <= FUNCTIONS
    assert FUNCTIONS | set(OTHERS) <= {test.name for test in EXAMPLES}


@pytest.mark.parametrize(
    "example",
    [pytest.param(e, id=e.name, marks=[pytest.mark.slow] if e.name in SLOW else []) for e in EXAMPLES],
)
def test_examples_run(example, capsys):
    failed = doctest.DocTestRunner(verbose=False).run(example).failed
    assert failed == 0, capsys.readouterr().out
