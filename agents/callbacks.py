"""What happens beside learning: validation, log, checkpoints, progress, stopping."""

import csv
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback

from agents.budget import Budget
from agents.measures.base import Measure
from agents.runs import CURVE, save_checkpoint

EVERY_SECONDS = 5.0
"""Time between validations; each is followed by a checkpoint."""


class Keeper(BaseCallback):
    """Validates, logs, saves and stops."""

    def __init__(self, folder: Path, measure: Measure, budget: Budget, console: Console) -> None:
        super().__init__()
        self.folder = folder
        self.headline = measure.headline
        self.validation = measure.validation()
        self.budget = budget
        self.console = console
        self.stopped_by: int | None = None
        self._last = -np.inf
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
        if time.monotonic() - self._last > EVERY_SECONDS:
            self.keep()
        return self.stopped_by is None and done < 1.0

    def _on_training_end(self) -> None:
        self.keep()
        self._progress.stop()

    def keep(self) -> None:
        """Validate, log and save now."""
        found = self.validation(self.model)
        seconds = self.budget.elapsed
        for name, value in found.items():
            self.logger.record(f"validation/{name}", value)
        self.logger.dump(self.num_timesteps)
        row = {"timesteps": self.num_timesteps, "seconds": round(seconds, 2), **found}
        path = self.folder / CURVE
        fresh = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        save_checkpoint(self.folder, self.model, seconds)
        score = f"{found[self.headline.key]:.4f} {self.headline.caption}"
        self._progress.update(self._task, score=score)
        if not self.console.is_terminal:
            done = self.budget.done(self.num_timesteps)
            self.console.print(f"training {done:4.0%}  {seconds:4.0f} s  {score}")
        self._last = time.monotonic()

    @contextmanager
    def stop_on_signals(self) -> Iterator[None]:
        """Turn Ctrl-C and SIGTERM into a clean stop after the current step, with a checkpoint."""

        def stop(number: int, frame: FrameType | None) -> Any:
            self.stopped_by = number

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
