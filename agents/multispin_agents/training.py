"""Training: from the options of ``multispin train`` to checkpoints and the final table."""

import argparse
import ctypes
import re
import shlex
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch as th
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from typing_extensions import override

from multispin_agents.base import AgentSettings
from multispin_agents.checkpoints import CHECKPOINT, MODEL, Checkpoint, load_checkpoint, save_checkpoint
from multispin_agents.measures import CURVE, Measure, add_row, agent_label, draw_report, print_report, write_report
from multispin_agents.models import build_model, load_run_model
from multispin_agents.registry import AGENTS, admit
from multispin_agents.runs import (
    CONFIG,
    RUNS,
    Budget,
    Limits,
    RunConfig,
    check_run_name,
    config_from,
    env_config_from,
    load_config,
    lock_run,
    make_next_folder,
    run_folder,
    save_config,
)
from multispin_agents.vec_env import first_seed
from multispin_env.apps.executors import on_signals
from multispin_env.apps.terminal.arguments import collect_arguments, parse_settings
from multispin_env.checks import cut, missing_package, shown
from multispin_env.evaluation.cases import changed_settings
from multispin_env.evaluation.episodes import EpisodeStats
from multispin_env.files import make_folder

for _package in ("tensorboard", "matplotlib"):  # a run imports them late: check them at the start
    if find_spec(_package) is None:
        raise missing_package(_package, "train")


def keep_memory() -> None:
    """Make glibc keep freed memory for the new arrays of every minibatch, since new memory pages are slower."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc; Windows has no library without a name
        return
    mallopt(-1, 2**28)  # M_TRIM_THRESHOLD: maximum number of bytes to keep
    mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: maximum size of a kept array, the largest that glibc allows


_ROUNDS = 64  # of an episode in training, if rounds are independent

VALIDATIONS = 50
"""Number of validations in a budget, at fixed fractions of it, so that the best model is reproducible."""

EVERY_SECONDS = 5.0
"""Maximum time between checkpoints."""

_ESTIMATED_FROM = 0.05
"""Used fraction of the budget from which the remaining time is estimated; the first steps are not typical."""

_LARGEST_FALL = 0.02
"""Largest relative decrease of the validation below its best value without a warning."""


IsReady = Callable[[float | None], bool]
"""Function that waits for that many seconds, or for None without a limit; returns whether decisions are compiled."""


def always_ready(timeout: float | None) -> bool:
    """Return True."""
    return True


@dataclass(frozen=True)
class _Validation:
    """Validation cases that the model of one moment has played."""

    stats: EpisodeStats
    checkpoint: Checkpoint  # without a score
    used: float  # fraction of the budget


class TrainingMonitor(BaseCallback):
    """Callback that validates and logs, saves the current and the best model, warns, and stops the training.

    Validations are compared with the reference, and saved, once ``is_ready(0.0)``, at the latest at the end.
    """

    def __init__(
        self,
        folder: Path,
        measure: Measure,
        budget: Budget,
        console: Console,
        best: float | None = None,
        is_ready: IsReady = always_ready,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.headline = measure.headline
        self.measure = measure
        self.budget = budget
        self.console = console
        self._best = best  # best headline number so far; not None after a resume
        self._is_ready = is_ready
        self._waiting: list[_Validation] = []
        self._has_fallen = False
        self.stopped_by: int | None = None
        self._due = 0.0  # used fraction of the budget at the next validation
        self._score = np.nan  # of the last validation
        self._validated_at = -1  # environment steps at the last validation
        self._saved_at = -np.inf  # time of the last checkpoint
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
        used = self.budget.fraction_used(self.num_timesteps)
        self._progress.update(self._task, completed=used, left=_left(self.budget.elapsed, used))
        if used >= self._due:
            self.validate()
            self._due = (np.floor(used * VALIDATIONS) + 1.0) / VALIDATIONS
        elif time.monotonic() - self._saved_at > EVERY_SECONDS and not self._waiting:
            score = self._score if np.isfinite(self._score) else None
            self._save_checkpoint(CHECKPOINT, Checkpoint.of(self.model, self.budget.elapsed, score))
        return self.stopped_by is None and used < 1.0

    @override
    def _on_training_end(self) -> None:
        if self._validated_at != self.num_timesteps:  # a signal stopped the training between two validations
            self.validate()
        self._is_ready(None)
        self._compare()
        self._progress.stop()

    def validate(self) -> None:
        """Play the validation cases with the model; compare, log and save if the reference is ready."""
        ready, stats = self._is_ready(0.0), self.measure.play(self.model)
        checkpoint = Checkpoint.of(self.model, self.budget.elapsed, None)
        checkpoint = checkpoint if ready else deepcopy(checkpoint)  # its tensors change in the training
        self._waiting.append(_Validation(stats, checkpoint, self.budget.fraction_used(self.num_timesteps)))
        self._validated_at = self.num_timesteps
        self.logger.dump(self.num_timesteps)  # what the agent has recorded
        if ready:
            self._compare()

    def _compare(self) -> None:
        for validation in self._waiting:
            self._record(validation)
        self._waiting.clear()

    def _record(self, validation: _Validation) -> None:
        measured, checkpoint = self.measure.compared_with_reference(validation.stats), validation.checkpoint
        for name, value in measured.items():
            self.logger.record(f"validation/{name}", value)
        self.logger.dump(checkpoint.num_timesteps)
        row = {"timesteps": checkpoint.num_timesteps, "seconds": round(checkpoint.seconds, 2), **measured}
        add_row(self.folder / CURVE, row)
        self._score = measured[self.headline.key]
        if self._best is None:  # the first step of a new run
            self.console.print(f"untrained policy: {self._score:.4f} {self.headline.caption}")
        checkpoint = replace(checkpoint, score=self._score if np.isfinite(self._score) else None)
        if self._best is None or self._score > self._best:
            self._best = self._score if np.isfinite(self._score) else -np.inf
            self._save_checkpoint(MODEL, checkpoint)  # first, so that every folder with a checkpoint has a result
        self._save_checkpoint(CHECKPOINT, checkpoint)
        self._show(self._score, self._best, checkpoint.seconds, validation.used)

    def _save_checkpoint(self, name: str, checkpoint: Checkpoint) -> None:
        save_checkpoint(self.folder / name, checkpoint)
        self._saved_at = time.monotonic()

    def _show(self, score: float, best: float, seconds: float, used: float) -> None:
        text = f"{score:.4f} {self.headline.caption}"
        self._progress.update(self._task, score=text)
        if not self.console.is_terminal:
            self.console.print(f"training {used:4.0%}  {seconds:4.0f} s{_left(seconds, used)}  {text}")
        had_fallen, self._has_fallen = self._has_fallen, not score >= best - _LARGEST_FALL * abs(best)
        if self._has_fallen and not had_fallen:
            self.console.print(
                f"warning: validation fell to {text}, more than {_LARGEST_FALL:.0%} below its best, "
                f"{best:.4f}; the best model is kept in {MODEL}",
                soft_wrap=True,
            )

    def stop_on_signals(self) -> AbstractContextManager[None]:
        """Return a context in which Ctrl-C and SIGTERM stop the training after the current step."""

        def stop(number: int) -> None:
            self.stopped_by = number

        return on_signals(stop)


def _left(seconds: float, used: float) -> str:
    return f", {seconds / used * (1.0 - used):.0f} s left" if used >= _ESTIMATED_FROM else ""


def _check_device(name: str) -> None:
    try:
        th.empty(1, device=None if name == "auto" else name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # unknown, unsupported or missing
        reason = cut(str(error))
        raise ValueError(f"device: expected an available torch device, got {shown(name)} ({reason})") from None


def train(
    config: RunConfig,
    folder: Path,
    limits: Limits,
    resume: bool,  # from the folder's checkpoint
    device: str,
    console: Console,
    is_ready: IsReady = always_ready,
) -> int | None:
    """Train a model; write configuration, log, learning curve and checkpoints into an existing folder.

    Before ``is_ready``, decisions of the optimum would take long; training waits if every step needs one.

    Returns the signal that stopped the training, or ``None`` if the budget was used. Raises ``ValueError`` if the run
    already exists or cannot be resumed, and as in `lock_run`.
    """
    th.set_num_threads(1)  # the networks are small: more threads only wait for each other
    keep_memory()
    with lock_run(folder):
        checkpoint = load_checkpoint(folder) if resume else None
        agent: AgentSettings = AGENTS.load(config.agent).for_environment(config.env)
        trained = checkpoint.num_timesteps if checkpoint else 0
        budget = limits.budget(agent.timesteps, checkpoint.seconds if checkpoint else 0.0)
        seed = first_seed(config.seed, trained, agent.num_envs)
        # independent rounds are the same problem in longer episodes, with fewer resets, which take time
        played = config.env.replace(rounds=_ROUNDS) if config.env.independent else config.env
        model = build_model(agent, played, budget.remaining, seed, device)
        if checkpoint:
            checkpoint.restore(model)
        else:
            save_config(folder, config, limits)
        if budget.fraction_used(trained) >= 1.0:
            console.print(f"the run has its {trained:,} steps; --timesteps {2 * trained} continues", soft_wrap=True)
            return None
        model.set_logger(configure(str(folder / "tensorboard"), ["tensorboard"]))
        best = load_checkpoint(folder, MODEL).score if resume else None
        monitor = TrainingMonitor(folder, Measure(config.env), budget, console, best, is_ready)
        if config.env.optimum or config.env.reward == "share":
            is_ready(None)
        left = 10**12 if budget.timesteps is None else budget.timesteps - trained
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
    name, scenario = config.env.env_id.split("/")[-1].split("-")[0].lower(), config.env.scenario
    agent = re.sub(r"[^\w.-]+", "-", config.agent)
    stem = f"{name}-{scenario.name}-k{scenario.num_users}-{agent}-{config.env.action}"
    return make_next_folder(RUNS, check_run_name(stem))


def _resumed(options: argparse.Namespace) -> tuple[RunConfig, Path, Limits]:
    if options.name is not None:
        raise ValueError("name: expected either --name or --resume, got both")
    folder = run_folder(options.resume)
    config, limits = load_config(folder, collect_arguments(options))
    for name, saved in config.choice.items():
        option = getattr(options, name)
        if option is not None and option != saved:
            raise ValueError(f"{name}: expected {saved!r}, as in the run {options.resume!r}, got {option!r}")
    env_config = env_config_from(options, config.env.env_id, config.env.action, config).with_same_files(config.env)
    for part in ("scenario", "arguments"):
        if getattr(env_config, part) != getattr(config.env, part):
            raise ValueError(f"{part}: expected the values of the run {options.resume!r}, got others")
    make_folder(folder)
    new_limits = Limits(options.timesteps, options.minutes)
    return config, folder, limits if new_limits == Limits() else new_limits


def _finish(config: RunConfig, folder: Path, console: Console) -> None:
    measure = Measure(config.env)
    model = load_run_model(folder, config.env)
    console.print(f"comparing on {measure.kind.default_size} held-out {measure.kind.noun} ...")
    report = measure.report(model, agent_label(config))
    write_report(report, folder)
    draw_report(report, agent_label(config), folder)
    print_report(report, Console())
    console.print(
        f"saved in {folder}: {MODEL}, {CHECKPOINT}, {CONFIG}, table.json, table.csv, pictures, tensorboard",
        soft_wrap=True,
    )


def run(options: argparse.Namespace, is_ready: IsReady = always_ready) -> int | None:
    """Train and compare; return an exit status if a signal stops the training. See `train` for ``is_ready``."""
    console = Console(stderr=True, markup=False, emoji=False)  # names may contain markup
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
    title = f"run {folder}: {config.agent} on {env.env_id}{changed}, {env.action} actions, seed {config.seed}"
    console.print(title, soft_wrap=True)
    stopped_by = train(config, folder, limits, options.resume is not None, options.device, console, is_ready)
    if stopped_by is not None:
        name = signal.Signals(stopped_by).name
        command = f"{options.program} --resume {shlex.quote(str(folder))}"
        console.print(f"stopped by {name}; continue with: {command}", soft_wrap=True)
        return 128 + stopped_by
    is_ready(None)
    _finish(config, folder, console)
    return None
