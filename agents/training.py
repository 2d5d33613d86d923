"""Training from the options of ``multispin train`` to checkpoints and the final table."""

import argparse
import ctypes
import shlex
import signal
import time
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch as th
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from typing_extensions import override

from agents.base import AgentSettings
from agents.checkpoints import CHECKPOINT, MODEL, Checkpoint, load_checkpoint, save_checkpoint
from agents.measures import CURVE, Measure, add_row, agent_label, draw_report, show, write_report
from agents.models import load_run_model
from agents.registry import AGENTS, admit, file_name
from agents.runs import (
    CONFIG,
    RUNS,
    Budget,
    Limits,
    RunConfig,
    check_run_name,
    config_from,
    env_config_from,
    held,
    load_config,
    make_next_folder,
    run_folder,
    save_config,
)
from agents.vec_env import first_seed, make_vec_env
from multispin_env.apps.executors import on_signals
from multispin_env.apps.terminal.arguments import collect_arguments, parse_settings
from multispin_env.checks import cut, missing_package, shown
from multispin_env.evaluation.cases import changed_settings
from multispin_env.files import make_folder

for _package in ("tensorboard", "matplotlib"):  # which are imported late in a run
    if find_spec(_package) is None:
        raise missing_package(_package, "train")


def keep_memory() -> None:
    """Let the C library keep what is freed: arrays of a minibatch are made anew in each, and new pages cost more.

    It does something where the library is glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # Windows knows no library without a name
        return
    mallopt(-1, 2**28)  # M_TRIM_THRESHOLD: bytes that are kept at most
    mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: of an array that is kept; the most that glibc takes


VALIDATIONS = 50
"""Validations in a budget: by what is used of it, not by the clock, so that the best model repeats to the bit."""

EVERY_SECONDS = 5.0
"""Longest time between checkpoints."""

_LARGEST_FALL = 0.02
"""Part of the best validation by which a later one may fall short of it without a warning."""


class Best:
    """The best validation so far, if there was one, and whether the present one has fallen far below it."""

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
        before, self._fallen = self._fallen, not score >= self.score - _LARGEST_FALL * abs(self.score)
        return self._fallen and not before


class TrainingMonitor(BaseCallback):
    """Validates, logs, saves the present model and the best, warns and stops; ``best`` is the best headline before."""

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
            TextColumn("{task.percentage:>3.0f} %  {task.fields[score]}{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("training", total=1.0, score="-", left="")

    @override
    def _on_training_start(self) -> None:
        self._progress.start()

    @override
    def _on_step(self) -> bool:
        done = self.budget.done(self.num_timesteps)
        self._progress.update(self._task, completed=done, left=self._left(done))
        if done >= self._due:
            self.keep()
            self._due = (np.floor(done * VALIDATIONS) + 1.0) / VALIDATIONS
        elif time.monotonic() - self._saved_at > EVERY_SECONDS:
            self._save_checkpoint()
        return self.stopped_by is None and done < 1.0

    @override
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
            self.console.print(f"training {done:4.0%}  {seconds:4.0f} s{self._left(done)}  {shown}")
        if self.best.falls(score):
            self.console.print(
                f"warning: validation fell to {shown}, more than {_LARGEST_FALL:.0%} below its best, "
                f"{self.best.score:.4f}; the best model is kept in {MODEL}",
                soft_wrap=True,
            )

    def _left(self, done: float) -> str:
        return f", {self.budget.elapsed / done * (1.0 - done):.0f} s left" if done else ""

    def stop_on_signals(self) -> AbstractContextManager[None]:
        """Turn Ctrl-C and SIGTERM into a clean stop after the current step, with a checkpoint."""

        def stop(number: int) -> None:
            self.stopped_by = number

        return on_signals(stop)


def _check_device(name: str) -> None:
    try:
        th.empty(1, device=None if name == "auto" else name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # unknown, not built for, not there
        reason = cut(str(error))
        raise ValueError(f"device: expected a device of torch here, got {shown(name)} ({reason})") from None


def train(
    config: RunConfig,
    folder: Path,
    limits: Limits,
    resume: bool,  # from the folder's checkpoint
    device: str,
    console: Console,
) -> int | None:
    """Train, writing configuration, log, learning curve and checkpoints into an existing folder.

    Returns the signal that stopped it, or ``None`` if the budget was used up. ``ValueError`` as `held`, and for a run
    that is there already, or can't be resumed.
    """
    th.set_num_threads(1)  # the networks are small: more threads only wait for each other
    keep_memory()
    with held(folder):
        checkpoint = load_checkpoint(folder) if resume else None
        agent: AgentSettings = AGENTS.load(config.agent).for_environment(config.env)
        done = checkpoint.num_timesteps if checkpoint else 0
        budget = limits.budget(agent.timesteps, checkpoint.seconds if checkpoint else 0.0)
        seed = first_seed(config.seed, done, agent.num_envs)
        steps = config.env.variant.family.max_episode_steps
        env = make_vec_env(config.env, agent.num_envs, steps, seed)
        model = agent.build(env, budget.remaining, seed, device)
        if checkpoint:
            checkpoint.restore(model)
        else:
            save_config(folder, config, limits)
        if budget.done(done) >= 1.0:
            return None
        model.set_logger(configure(str(folder / "tensorboard"), ["tensorboard"]))
        best = load_checkpoint(folder, MODEL).score if resume else None
        monitor = TrainingMonitor(folder, Measure(config.env), budget, console, best)
        left = 10**12 if budget.timesteps is None else budget.timesteps - done
        with monitor.stop_on_signals():
            model.learn(left, callback=monitor, reset_num_timesteps=checkpoint is None)
        return monitor.stopped_by


def _new_folder(options: argparse.Namespace, config: RunConfig) -> Path:
    if options.name is not None:
        folder = run_folder(options.name)
        check_run_name(folder.name)
        if ".." in folder.parts:
            raise ValueError(f"name: expected a name, or a path without '..', got {shown(options.name)}")
        make_folder(folder)
        return folder
    variant, scenario = config.env.env_id.split("/")[-1].split("-")[0].lower(), config.env.scenario
    stem = f"{variant}-{scenario.name}-k{scenario.num_users}-{file_name(config.agent)}-{config.env.action}"
    return make_next_folder(RUNS, check_run_name(stem))


def _resumed(options: argparse.Namespace) -> tuple[RunConfig, Path, Limits]:
    if options.name is not None:
        raise ValueError("name: expected either --name or --resume, got both")
    folder = run_folder(options.resume)
    config, limits = load_config(folder, collect_arguments(options))
    for name, saved in config.choice.items():
        given = getattr(options, name)
        if given is not None and given != saved:
            raise ValueError(f"{name}: expected {saved!r}, as the run {options.resume!r} has, got {given!r}")
    env_config = env_config_from(options, config.env.env_id, config.env.action, config).with_same_files(config.env)
    for part in ("scenario", "variant"):
        if getattr(env_config, part) != getattr(config.env, part):
            raise ValueError(f"{part}: expected the values of the run {options.resume!r}, or none, got others")
    make_folder(folder)
    given_limits = Limits(options.timesteps, options.minutes)
    return config, folder, limits if given_limits == Limits() else given_limits


def _finish(config: RunConfig, folder: Path, console: Console) -> None:
    measure = Measure(config.env)
    model = load_run_model(folder, config.env)
    console.print(f"comparing on {measure.kind.default_size} held-out {measure.kind.noun} ...")
    report = measure.report(model, agent_label(config))
    write_report(report, folder)
    draw_report(report, agent_label(config), folder)
    show(report, Console())
    console.print(
        f"saved in {folder}: {MODEL}, {CHECKPOINT}, {CONFIG}, table.json, table.csv, pictures, tensorboard",
        soft_wrap=True,
    )


def run(options: argparse.Namespace) -> int | None:
    """Train and compare; returns a status if a signal stops it."""
    console = Console(stderr=True, markup=False, emoji=False)  # names are shown as they are
    _check_device(options.device)
    if options.agent is not None:
        admit(options.agent)
    if options.resume is not None:
        config, folder, limits = _resumed(options)
    else:
        config, limits = config_from(options), Limits(options.timesteps, options.minutes)
        folder = _new_folder(options, config)
    changed = changed_settings(parse_settings(options.set))
    env = config.env
    said = f"run {folder}: {config.agent} on {env.env_id}{changed}, {env.action} actions, seed {config.seed}"
    console.print(said, soft_wrap=True)
    stopped_by = train(config, folder, limits, options.resume is not None, options.device, console)
    if stopped_by is not None:
        name = signal.Signals(stopped_by).name
        command = f"{options.program} --resume {shlex.quote(str(folder))}"
        console.print(f"stopped by {name}; continue with: {command}", soft_wrap=True)
        return 128 + stopped_by
    _finish(config, folder, console)
    return None
