"""Callbacks beside learning: validation, log, checkpoints, progress, stopping."""

import time
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback

from agents.budget import Budget
from agents.checkpoints import CHECKPOINT, MODEL, Checkpoint, save_checkpoint
from agents.curve import CURVE, add_row
from agents.measures import Measure
from multispin_env.executors.signals import on_signals

VALIDATIONS = 50
"""Validations in a budget: by what is used of it, not by the clock, so that the best model repeats to the bit."""

EVERY_SECONDS = 5.0
"""Longest time between checkpoints."""

LARGEST_FALL = 0.02
"""Part of the best validation by which a later one may fall short of it without a warning."""


class Best:
    """The best validation so far, and whether the present one has fallen far below it.

    Parameters
    ----------
    score
        The best before, if there was one.
    """

    def __init__(self, score: float | None) -> None:
        self.score = score
        self._fallen = False

    def take(self, score: float) -> bool:
        """Whether this is the best so far; a number that is none never is, but for the very first."""
        better = self.score is None or score > self.score
        if better:
            self.score = score if np.isfinite(score) else -np.inf
        return better

    def falls(self, score: float) -> bool:
        """Whether this one, and not already the one before, is far below the best."""
        assert self.score is not None
        before, self._fallen = self._fallen, not score >= self.score - LARGEST_FALL * abs(self.score)
        return self._fallen and not before


class TrainingMonitor(BaseCallback):
    """Validates, logs, saves the present model and the best, warns and stops.

    Parameters
    ----------
    folder
        Of the run.
    measure
        What is validated.
    budget
        When to stop.
    console
        Where progress is shown.
    best
        Headline of the best model so far; ``None`` at the start of a run.
    """

    def __init__(
        self, folder: Path, measure: Measure, budget: Budget, console: Console, best: float | None = None
    ) -> None:
        super().__init__()
        self.folder = folder
        self.headline = measure.headline
        self.validation = measure.validation()
        self.budget = budget
        self.console = console
        self.best = Best(best)
        self.stopped_by: int | None = None
        self._due = 0.0  # part of the budget at which the next validation comes
        self._score = np.nan  # of the last one
        self._kept_at = -1  # rounds trained then
        self._saved_at = -np.inf
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[score]}  left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("training", total=1.0, score="-")

    def _on_training_start(self) -> None:
        self._progress.start()

    def _on_step(self) -> bool:
        done = self.budget.done(self.num_timesteps)
        self._progress.update(self._task, completed=done)
        if done >= self._due:
            self.keep()
            self._due = (np.floor(done * VALIDATIONS) + 1.0) / VALIDATIONS
        elif time.monotonic() - self._saved_at > EVERY_SECONDS:
            self._save_checkpoint()
        return self.stopped_by is None and done < 1.0

    def _on_training_end(self) -> None:
        if self._kept_at != self.num_timesteps:  # as where a signal stops it between two validations
            self.keep()
        self._progress.stop()

    def keep(self) -> None:
        """Validate, log and save now."""
        measured = self.validation(self.model)
        seconds = self.budget.elapsed
        for name, value in measured.items():
            self.logger.record(f"validation/{name}", value)
        self.logger.dump(self.num_timesteps)
        row = {"timesteps": self.num_timesteps, "seconds": round(seconds, 2), **measured}
        add_row(self.folder / CURVE, row)
        self._score, self._kept_at = measured[self.headline.key], self.num_timesteps
        if self.best.take(self._score):  # first, so that whoever finds a checkpoint finds a result too
            save_checkpoint(self.folder / MODEL, self._checkpoint())
        self._save_checkpoint()
        self._show(self._score, seconds)

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint.of(self.model, self.budget.elapsed, self._score if np.isfinite(self._score) else None)

    def _save_checkpoint(self) -> None:
        save_checkpoint(self.folder / CHECKPOINT, self._checkpoint())
        self._saved_at = time.monotonic()

    def _show(self, score: float, seconds: float) -> None:
        shown = f"{score:.4f} {self.headline.caption}"
        self._progress.update(self._task, score=shown)
        if not self.console.is_terminal:
            done = self.budget.done(self.num_timesteps)
            self.console.print(f"training {done:4.0%}  {seconds:4.0f} s  {shown}")
        if self.best.falls(score):
            self.console.print(
                f"warning: validation fell to {shown}, more than {LARGEST_FALL:.0%} below its best, "
                f"{self.best.score:.4f}; the best model is kept in {MODEL}",
                soft_wrap=True,
            )

    def stop_on_signals(self) -> AbstractContextManager[None]:
        """Turn Ctrl-C and SIGTERM into a clean stop after the current step, with a checkpoint."""

        def stop(number: int) -> None:
            self.stopped_by = number

        return on_signals(stop)
