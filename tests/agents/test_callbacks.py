"""Budgets, validations, checkpoints and progress lines, with a clock that the test sets."""

import io
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from stable_baselines3.common.logger import configure

from multispin_agents import training
from multispin_agents.checkpoints import CHECKPOINT, MODEL, Checkpoint
from multispin_agents.measures import CURVE, Headline
from multispin_agents.runs import Budget, Limits
from multispin_agents.training import EVERY_SECONDS, VALIDATIONS, TrainingMonitor


@pytest.fixture
def clock(monkeypatch):
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
    assert Limits(timesteps=100, minutes=60.0).budget(7, 0.0).fraction_used(60) == 0.6  # the larger of both


class Scripted:
    headline = Headline("score", "of it", "share of it")

    def __init__(self, scores=None):
        self.scores = iter(0.5 + 1e-3 * np.arange(10**5) if scores is None else scores)

    def play(self, model):
        return float(next(self.scores))

    def compared_with_reference(self, stats):
        return {"score": stats}


@pytest.fixture
def saves(monkeypatch):
    saved = []

    def save(path, checkpoint):
        saved.append((path.name, (checkpoint.seconds, checkpoint.score)))

    def of(model, seconds, score):
        return Checkpoint({}, model.num_timesteps, 0, seconds, score)

    monkeypatch.setattr(Checkpoint, "of", of)
    monkeypatch.setattr(training, "save_checkpoint", save)
    return saved


def monitored(folder, budget, terminal=False, scores=None, best=None, is_ready=training.always_ready):
    printed = io.StringIO()
    console = Console(file=printed, width=200, force_terminal=terminal, get_time=lambda: time.monotonic())
    monitor = TrainingMonitor(folder, Scripted(scores), budget, console, best, is_ready)
    monitor.init_callback(SimpleNamespace(num_timesteps=0, logger=configure(None, []), get_env=lambda: None))
    return monitor, printed


def step(monitor, rounds):
    monitor.model.num_timesteps = rounds
    return monitor.on_step()


def test_signals_are_caught_in_the_main_thread_alone(tmp_path):
    """Python allows it in no other thread; libraries that run trials in threads still train."""
    monitor, _ = monitored(tmp_path, Limits(timesteps=10).budget(7, 0.0))
    before = signal.getsignal(signal.SIGTERM)

    def caught():
        with monitor.stop_on_signals():
            return signal.getsignal(signal.SIGTERM) is not before

    assert caught()
    with ThreadPoolExecutor() as pool:
        assert not pool.submit(caught).result()
    assert signal.getsignal(signal.SIGTERM) is before


def test_it_validates_fifty_times_by_what_is_used_of_the_budget(tmp_path, clock, saves, monkeypatch):
    monkeypatch.setattr(training, "VALIDATIONS", VALIDATIONS)  # conftest makes it small
    monitor, _ = monitored(tmp_path, Budget(1000, None))
    assert [step(monitor, rounds) for rounds in range(1, 1001)] == [True] * 999 + [False]
    validated = [int(line.split(",")[0]) for line in (tmp_path / CURVE).read_text(encoding="utf-8").splitlines()[1:]]
    assert VALIDATIONS == 50
    assert {rounds // 20 for rounds in validated} == set(range(51))
    assert all(rounds % 20 <= 1 for rounds in validated)  # 580 / 1000 is a little less than 29 / 50
    assert [name for name, _ in saves] == [MODEL, CHECKPOINT] * len(validated)


def test_it_saves_when_five_seconds_have_gone(tmp_path, clock, saves):
    assert EVERY_SECONDS == 5.0
    monitor, _ = monitored(tmp_path, Budget(10**6, None))
    step(monitor, 1)
    saves.clear()
    for seconds in (3.0, 2.0, 0.5, 5.0, 0.5):  # at 3, 5, 5.5, 10.5 and 11
        clock[0] += seconds
        step(monitor, 2)
    assert saves == [(CHECKPOINT, (5.5, 0.5)), (CHECKPOINT, (11.0, 0.5))]


def test_a_validation_is_printed_logged_and_a_row_of_the_curve(tmp_path, clock, saves):
    monitor, printed = monitored(tmp_path, Budget(400, None, spent_seconds=7.0))
    logged = []
    monitor.model.logger.record = lambda *pair: logged.append(pair)
    monitor.model.logger.dump = logged.append
    clock[0] += 61.0
    step(monitor, 100)
    untrained, line = printed.getvalue().splitlines()
    assert untrained == "untrained policy: 0.5000 of it"
    assert line.split() == ["training", "25%", "68", "s,", "204", "s", "left", "0.5000", "of", "it"]
    assert logged == [100, ("validation/score", 0.5), 100]
    assert (tmp_path / CURVE).read_text(encoding="utf-8").splitlines() == ["timesteps,seconds,score", "100,68.0,0.5"]


def test_no_time_is_estimated_from_the_first_steps(tmp_path, clock, saves):
    monitor, printed = monitored(tmp_path, Budget(1000, None))
    estimates = []
    for steps in (10, 45, 60):
        clock[0] += 5.0
        step(monitor, steps)
        estimates.append(monitor._progress.tasks[0].fields["left"])
    assert estimates == ["", "", ", 235 s left"]
    assert printed.getvalue().splitlines()[-1].split() == ["training", "1%", "5", "s", "0.5000", "of", "it"]


def test_the_bar_ends_with_the_training_and_so_does_a_last_validation(tmp_path, clock, saves):
    monitor, printed = monitored(tmp_path, Budget(400, None), terminal=True)
    monitor.on_training_start({}, {})
    assert monitor._progress.live.is_started
    clock[0] += 20.0
    step(monitor, 100)
    monitor._progress.refresh()
    assert "60 s left" in printed.getvalue()
    assert "s  0." not in printed.getvalue()  # no lines of a log
    saves.clear()
    monitor.model.num_timesteps = monitor.num_timesteps = 150
    monitor.on_training_end()
    assert not monitor._progress.live.is_started
    assert [name for name, _ in saves] == [MODEL, CHECKPOINT]
    assert (tmp_path / CURVE).read_text(encoding="utf-8").splitlines()[-1].startswith("150,")


@pytest.mark.parametrize("ready_at", [300, 10**6])
def test_validations_are_compared_once_the_reference_is_ready(ready_at, tmp_path, clock, saves, monkeypatch):
    monkeypatch.setattr(training, "VALIDATIONS", 4)
    waits = []

    def is_ready(timeout):
        waits.append(timeout)
        return timeout is None or monitor.num_timesteps >= ready_at

    monitor, printed = monitored(tmp_path, Budget(400, None), is_ready=is_ready)
    for rounds in (0, 100, 200):
        step(monitor, rounds)
        clock[0] += EVERY_SECONDS + 1.0
        step(monitor, rounds + 50)  # a checkpoint would be due
    assert saves == []
    assert printed.getvalue() == ""
    step(monitor, 300)
    assert bool(saves) == (ready_at == 300)
    step(monitor, 400)
    monitor.on_training_end()
    assert waits[-1] is None
    rows = (tmp_path / CURVE).read_text(encoding="utf-8").splitlines()[1:]
    assert rows == ["0,0.0,0.5", "100,6.0,0.501", "200,12.0,0.502", "300,18.0,0.503", "400,18.0,0.504"]
    assert [name for name, _ in saves] == [MODEL, CHECKPOINT] * 5
    assert [line.split()[1] for line in printed.getvalue().splitlines()[1:]] == ["0%", "25%", "50%", "75%", "100%"]


@pytest.mark.parametrize(
    ("before", "scores", "best", "warnings"),
    [
        (None, [0.5, 0.9, 0.89, 0.8, 0.7, 0.9, 0.95, 0.92], [0.5, 0.9, 0.95], ["0.8000", "0.9200"]),
        (None, [0.9, np.nan, 0.91], [0.9, 0.91], ["nan"]),
        (None, [np.nan, 0.1], [None, 0.1], ["nan"]),
        (None, [-10.0, -10.1, -10.3], [-10.0], ["-10.3000"]),
        (0.9, [0.89, 0.91], [0.91], []),
    ],
)
def test_the_best_model_is_saved_and_each_fall_is_reported_once(tmp_path, clock, saves, before, scores, best, warnings):
    monitor, printed = monitored(tmp_path, Budget(400, None), scores=scores, best=before)
    for _ in scores:
        monitor.validate()
    assert [score for name, (_, score) in saves if name == MODEL] == best
    assert [score for name, (_, score) in saves if name == CHECKPOINT] == [
        score if np.isfinite(score) else None for score in scores
    ]
    assert re.findall(r"warning: validation fell to (\S+)", printed.getvalue()) == warnings
    if len(warnings) == 2:
        assert "more than 2% below its best, 0.9000; the best model is kept in model.safetensors" in printed.getvalue()
