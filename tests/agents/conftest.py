"""What tests of agents share."""

import pickle

import pytest

from agents import training
from multispin_env.evaluation.cases import States


@pytest.fixture(scope="module", autouse=True)
def short_measures():
    """Runs of tests are so short that most of their time would go into being measured.

    `test_callbacks` holds how often a run validates, `tests/evaluation/test_cases.py` on how many cases.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "VALIDATIONS", 2)
        patch.setattr(States, "default_size", 40)
        yield


@pytest.fixture
def evil(tmp_path):
    """Content of a pickle that leaves a file behind when it is loaded, and that file's path."""
    trace = tmp_path / "executed"
    return pickle.dumps(Evil(trace)), trace


class Evil:
    """Pickled, a call of ``open``."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")
