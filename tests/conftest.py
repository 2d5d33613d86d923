import gc
import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import settings

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.registry import SCENARIOS
from multispin_env.solver.certify import compile_search
from multispin_env.solver.energy import computed_law

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # windows of tests are not seen
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the networks are small: more threads only wait for each other

# the same examples in every run; explore others with --hypothesis-profile=default
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def compare_arrays_at_once():
    """Let `pytest.approx` compare finite arrays of floats at once, not by number, which takes 0.1 ms for each."""
    kind = type(pytest.approx(np.zeros(1)))
    by_number = kind.__eq__

    def equal(self, actual):
        expected, found = self.expected, np.asarray(actual)
        if expected.dtype.kind == "f" and found.dtype.kind in "iuf" and np.isfinite(expected).all():
            tolerance = 1e-12 if self.abs is None else self.abs
            if self.rel is not None or self.abs is None:
                tolerance = np.maximum((1e-6 if self.rel is None else self.rel) * np.abs(expected), tolerance)
            if expected.shape == found.shape and (np.abs(found - expected) <= tolerance).all():
                return True
        return by_number(self, actual)  # which explains the difference

    kind.__eq__ = equal


compare_arrays_at_once()


SEARCHES = """
import multispin_env as ms

scenario = ms.Scenario.preset("llama2", num_users=2)
state = ms.sample_state(scenario, 0)
ms.make_controller("uniform-bandwidth", scenario)(state)
for name in ("groups", "prices"):
    ms.long_run(ms.make_controller(name, scenario), state, warm_up=0.0, horizon=0.1)
"""


def pytest_sessionstart(session):
    """Compile before the workers start, which would otherwise each do so: the optimum here, all else beside it."""
    if getattr(session.config.option, "numprocesses", None) and not hasattr(session.config, "workerinput"):
        with subprocess.Popen([sys.executable, "-c", SEARCHES]) as others:
            compile_search()
        assert others.returncode == 0


def pytest_collection():
    gc.disable()  # nearly all that is imported and collected stays


def pytest_collection_finish():
    gc.freeze()  # and need not be visited in each collection of garbage
    gc.enable()


def pytest_collection_modifyitems(config, items):
    """Begin the slow tests with the documentation: else one worker plays its longest examples while the others wait."""
    if config.option.markexpr == "slow":
        items.sort(key=lambda item: item.path.parent.name != "docs")


slow_left_out = 0  # number of slow tests deselected by default


def pytest_deselected(items):
    global slow_left_out
    slow_left_out += sum(item.get_closest_marker("slow") is not None for item in items)


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # a worker of xdist
        session.config.workeroutput["slow_left_out"] = slow_left_out


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    global slow_left_out
    slow_left_out = max(slow_left_out, getattr(node, "workeroutput", {}).get("slow_left_out", 0))


def pytest_terminal_summary(terminalreporter, config):
    if slow_left_out and config.option.markexpr == "not slow":
        terminalreporter.write_line(f"{slow_left_out} slow tests left out; run them with: pytest -m slow")


@pytest.fixture(scope="session", autouse=True)
def windows_do_not_wait():
    """Draw pictures in windows at once, as checkers show many in real time."""
    with pytest.MonkeyPatch.context() as patch:
        if find_spec("pygame") is not None:
            patch.setattr("pygame.time.Clock", lambda: SimpleNamespace(tick=lambda fps: 0))
        yield


@cache
def small_energy_law(scenario):
    return computed_law(scenario.replace(battery_rounds=20.0, budget_time=0.0), 0)  # from the fewest states


@pytest.fixture
def quick_prices(monkeypatch):
    """Replace measured prices of time and the measured number of groups, for tests in which any will do."""
    monkeypatch.setattr("multispin_env.controllers.continuous.groups.best_num_groups", lambda scenario: 2)
    monkeypatch.setattr("multispin_env.controllers.rounds.ahead.best_price_factor", lambda scenario, weight: 1.0)
    rooms = ("rounds.ahead", "continuous.endless", "continuous.serving")
    for name in (*(f"{room}.reference_rate" for room in rooms), "continuous.serving.reference_tokens_in_time"):
        monkeypatch.setattr(f"multispin_env.envs.{name}", lambda system, *rule: 22.0 * system.scenario.num_users)
    for room in ("bounds", "controllers.rounds", "envs.rounds"):
        monkeypatch.setattr(f"multispin_env.{room}.energy.energy_law", small_energy_law)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(params=SCENARIOS.names())
def preset(request):
    return request.param


@pytest.fixture
def scenario(preset):
    return ms.Scenario.preset(preset)


@pytest.fixture
def refused(capsys):
    """Call a command that fails with status 2; return its error, the last line of the output."""

    def call(name, arguments):
        capsys.readouterr()
        try:
            status = main([name, *arguments])
        except SystemExit as ended:  # of argparse
            status = ended.code
        assert status == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    return call
