import io
import pickle
from contextlib import contextmanager, redirect_stdout

import pytest

from multispin_agents import training
from multispin_env.apps.commands.main import main
from multispin_env.evaluation.cases import StateCases


@contextmanager
def few_cases():
    """Fewer validations and cases, which would take most of the time of short runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "VALIDATIONS", 2)
        patch.setattr(StateCases, "default_size", 40)
        yield


@pytest.fixture(scope="module", autouse=True)
def short_measures():
    with few_cases():
        yield


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """Folder of a short run of PPO, and the output of the command; tests that change it copy it."""
    folder, printed = tmp_path_factory.mktemp("runs") / "tiny", io.StringIO()
    with few_cases(), redirect_stdout(printed):
        assert main(["train", "--name", str(folder), "--timesteps", "6000", "--num-users", "3", "--seed", "1"]) == 0
    return folder, printed.getvalue()


@pytest.fixture
def evil(tmp_path):
    """Content of a pickle that creates a file when it is loaded, and the path of that file."""
    trace = tmp_path / "executed"
    return pickle.dumps(Evil(trace)), trace


class Evil:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")
