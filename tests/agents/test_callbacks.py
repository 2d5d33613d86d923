"""Budgets, validations, checkpoints and lines of progress, by a clock that the test moves."""

import io
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console
from stable_baselines3.common.logger import configure

from agents import training
from agents.checkpoints import CHECKPOINT, MODEL
from agents.measures import CURVE, Headline
from agents.runs import Budget, Limits
from agents.training import EVERY_SECONDS, VALIDATIONS, TrainingMonitor


@pytest.fixture
def clock(monkeypatch):
    """Seconds of the clock, in a list that the test writes into."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_budget_counts_rounds_or_seconds(clock):
    by_rounds, by_time = Limits(timesteps=400).budget(7, 5.0), Limits(minutes=2.0).budget(7, 30.0)
    by_default = Limits().budget(800, 0.0)
    clock[0] += 30.0
    assert (by_rounds.elapsed, by_time.elapsed) == (35.0, 60.0)
    assert [budget.fraction_used(100) for budget in (by_rounds, by_time, by_default)] == [0.25, 0.5, 0.125]
    assert [budget.remaining(0.7) for budget in (by_rounds, by_time, by_default)] == [0.7, 0.5, 0.7]
    clock[0] += 600.0
    assert (by_time.fraction_used(0), by_time.remaining(0.7), by_rounds.fraction_used(500)) == (1.0, 0.0, 1.0)
    assert Limits(timesteps=100, minutes=60.0).budget(7, 0.0).fraction_used(60) == 0.6  # whichever comes first


def test_signals_are_caught_in_the_main_thread_alone(tmp_path):
    """Python allows no other thread to; libraries that run trials in threads train all the same."""
    monitor = TrainingMonitor(tmp_path, Steady(), Limits(timesteps=10).budget(7, 0.0), Console(quiet=True))
    before = signal.getsignal(signal.SIGTERM)

    def caught():
        with monitor.stop_on_signals():
            return signal.getsignal(signal.SIGTERM) is not before

    assert caught()
    with ThreadPoolExecutor() as pool:
        assert not pool.submit(caught).result()
    assert signal.getsignal(signal.SIGTERM) is before


class Steady:
    """A measure that answers a little more each time."""

    headline = Headline("score", "of it", "share of it")

    def validation(self):
        scores = iter(range(10**6))
        return lambda model: {"score": 0.5 + 1e-3 * next(scores)}


class Model:
    """As much of a model as a monitor looks at."""

    num_timesteps = 0

    def __init__(self):
        self.logger = configure(None, [])

    def get_env(self):
        return None


@pytest.fixture
def saves(monkeypatch):
    """Names of the files that were saved."""
    found = []
    monkeypatch.setattr(training.Checkpoint, "of", lambda model, seconds, score: (seconds, score))
    monkeypatch.setattr(training, "save_checkpoint", lambda path, checkpoint: found.append((path.name, checkpoint)))
    return found


def monitor(folder, budget, terminal=False):
    """A monitor in the middle of a training, and what it prints."""
    printed = io.StringIO()
    console = Console(file=printed, width=100, force_terminal=terminal, get_time=lambda: time.monotonic())
    one = TrainingMonitor(folder, Steady(), budget, console)
    one.init_callback(Model())
    return one, printed


def step(one, rounds):
    one.model.num_timesteps = rounds
    return one.on_step()


def test_it_validates_fifty_times_by_what_is_used_of_the_budget(tmp_path, clock, saves, monkeypatch):
    monkeypatch.setattr(training, "VALIDATIONS", VALIDATIONS)  # as it was before tests made it small
    one, _ = monitor(tmp_path, Budget(1000, None))
    assert [step(one, rounds) for rounds in range(1, 1001)] == [True] * 999 + [False]
    kept = [int(line.split(",")[0]) for line in (tmp_path / CURVE).read_text(encoding="utf-8").splitlines()[1:]]
    assert VALIDATIONS == 50
    assert {rounds // 20 for rounds in kept} == set(range(51))
    assert all(rounds % 20 <= 1 for rounds in kept)  # 580 / 1000 is a little less than 29 / 50
    assert [name for name, _ in saves] == [MODEL, CHECKPOINT] * len(kept)


def test_it_saves_when_five_seconds_have_gone(tmp_path, clock, saves):
    assert EVERY_SECONDS == 5.0
    one, _ = monitor(tmp_path, Budget(10**6, None))
    step(one, 1)
    saves.clear()
    for seconds in (3.0, 2.0, 0.5, 5.0, 0.5):  # at 3, 5, 5.5, 10.5 and 11
        clock[0] += seconds
        step(one, 2)
    assert saves == [(CHECKPOINT, (5.5, 0.5)), (CHECKPOINT, (11.0, 0.5))]


def test_a_validation_is_printed_logged_and_a_row_of_the_curve(tmp_path, clock, saves):
    one, printed = monitor(tmp_path, Budget(400, None, spent_seconds=7.0))
    logged = []
    one.model.logger.record = lambda *pair: logged.append(pair)
    one.model.logger.dump = logged.append
    clock[0] += 61.0
    step(one, 100)
    assert printed.getvalue().split() == ["training", "25%", "68", "s,", "204", "s", "left", "0.5000", "of", "it"]
    assert logged == [("validation/score", 0.5), 100]
    assert (tmp_path / CURVE).read_text(encoding="utf-8").splitlines() == ["timesteps,seconds,score", "100,68.0,0.5"]


def test_the_bar_ends_with_the_training_and_so_does_a_last_validation(tmp_path, clock, saves):
    one, printed = monitor(tmp_path, Budget(400, None), terminal=True)
    one.on_training_start({}, {})
    assert one._progress.live.is_started
    clock[0] += 20.0
    step(one, 100)
    one._progress.refresh()
    assert "60 s left" in printed.getvalue()
    assert "s  0." not in printed.getvalue()  # no lines of a log
    saves.clear()
    one.model.num_timesteps = one.num_timesteps = 150
    one.on_training_end()
    assert not one._progress.live.is_started
    assert [name for name, _ in saves] == [MODEL, CHECKPOINT]
    assert (tmp_path / CURVE).read_text(encoding="utf-8").splitlines()[-1].startswith("150,")
