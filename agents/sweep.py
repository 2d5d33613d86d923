"""Search for hyperparameters, ``multispin sweep``: what may vary, what a choice is worth, and the study."""

import argparse
import csv
import io
import json
import signal
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState
from rich.console import Console

from agents.base import AgentSettings
from agents.checkpoints import MODEL, load_checkpoint
from agents.registry import AGENTS
from agents.runs import ENCODING_NAMES, SETTINGS, Limits, RunConfig, config_from
from agents.training import train
from multispin_env.apps.executors import Executor, Stopped
from multispin_env.apps.terminal.arguments import Command, add_executor_options, add_system_options, executor_of
from multispin_env.apps.terminal.output import Tally
from multispin_env.checks import check_integer, check_name
from multispin_env.evaluation.statistics import aligned
from multispin_env.files import make_folder, replacing, write_atomically

EXPECTED = "NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,C"


@dataclass(frozen=True)
class Dimension:
    """A hyperparameter, and the values that it may have."""

    name: str  # of a field of the agent's settings
    choices: tuple[float | int, ...] = ()  # empty for an interval
    low: float = 0.0
    high: float = 0.0
    log: bool = False  # whether the interval's logarithm is even
    whole: bool = False

    @classmethod
    def parse(cls, text: str, agent: AgentSettings) -> "Dimension":
        """From ``NAME=LOW:HIGH``, ``NAME=LOW:HIGH:log`` or ``NAME=A,B,C``.

        ``ValueError`` for another text, an unknown name, or a field that is no number.
        """
        name, equals, values = text.partition("=")
        kinds = _numbers(agent)
        if not equals:
            raise ValueError(f"tune: expected {EXPECTED}, got {text!r}")
        check_name("tune", name, tuple(kinds))
        whole = kinds[name] is int
        try:
            if ":" not in values:
                return cls(name, tuple(kinds[name](value) for value in values.split(",")), whole=whole)
            low, high, *log = values.split(":")
            found = cls(name, (), kinds[name](low), kinds[name](high), log == ["log"], whole)
        except ValueError:
            raise ValueError(f"tune: expected {EXPECTED}, of {kinds[name].__name__}, got {text!r}") from None
        if log not in ([], ["log"]) or not found.low < found.high or (found.log and not found.low > 0.0):
            raise ValueError(f"tune: expected {EXPECTED}, LOW < HIGH, and LOW > 0 for log, got {text!r}")
        return found

    def suggest(self, trial: Trial) -> float | int:
        """A value for a trial of Optuna."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)  # type: ignore[return-value]
        if self.whole:
            return trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)


def _numbers(agent: AgentSettings) -> dict[str, type[int] | type[float]]:
    """Fields of an agent's settings that are one number, with its type."""
    kinds = typing.get_type_hints(type(agent))
    return {one.name: kinds[one.name] for one in fields(agent) if kinds[one.name] in (int, float)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Candidate:
    """A choice of hyperparameters, to be trained with some seeds."""

    config: RunConfig  # its seed is the first
    values: Mapping[str, float | int]  # of fields of the agent's settings
    timesteps: int  # of each training
    seeds: int

    def scores(self) -> list[float]:
        """Best validation of each training; it leaves nothing behind."""
        return [self._score(replace(self.config, seed=self.config.seed + more)) for more in range(self.seeds)]

    def _score(self, config: RunConfig) -> float:
        settings: Any = AGENTS.load(config.agent).for_environment(config.env)
        agent: AgentSettings = replace(settings, **self.values)
        with TemporaryDirectory() as name:
            quiet = Console(stderr=True, quiet=True)
            stopped = train(config, Path(name), Limits(self.timesteps), False, "cpu", quiet, agent)
            if stopped is not None:
                raise Stopped(stopped)
            score = load_checkpoint(Path(name), MODEL).score
        return -np.inf if score is None else score


def dimensions(texts: Sequence[str], agent: AgentSettings) -> list[Dimension]:
    """All that may vary; ``ValueError`` for a name given twice, and as `Dimension.parse`."""
    found = [Dimension.parse(text, agent) for text in texts]
    for one in found:
        if [other.name for other in found].count(one.name) > 1:
            raise ValueError(f"tune: expected {one.name!r} once, got it twice")
    return found


OUT = Path("results/sweep")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_system_options(parser, SETTINGS)
    parser.add_argument(
        "--agent", help=f"one of {', '.join(AGENTS.names())} (default ppo; without the barrier evolution)"
    )
    parser.add_argument("--action", help=f"action encoding: {', '.join(ENCODING_NAMES)} (default: the environment's)")
    parser.add_argument(
        "--tune", nargs="+", action="extend", required=True, metavar="NAME=RANGE",
        help=f"fields of the agent's dataclass that vary: {EXPECTED}",
    )  # fmt: skip
    parser.add_argument("--trials", type=int, default=20, help="choices in all, those of calls before too (default 20)")
    parser.add_argument("--timesteps", type=int, help="rounds of each training (default: a quarter of the agent's)")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each choice (default 1)")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of the study and its tables (default {OUT})")
    add_executor_options(parser, "choices", parts=False)


def study_in(folder: Path, about: dict[str, Any]) -> optuna.Study:
    """The study of a folder, begun or continued; ``ValueError`` if it is of something else.

    Processes that have the same file open share it.
    """
    study = optuna.create_study(
        study_name="sweep",
        storage=JournalStorage(JournalFileBackend(str(folder / "study.log"))),
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True),  # several choices are tried at a time
    )
    before = study.user_attrs.get("about")
    if before is None:
        study.set_user_attr("about", about)
    elif before != about:
        changed = [name for name in about if before.get(name) != about[name]]
        raise ValueError(f"out: expected an empty folder, or the same {' and '.join(changed)}, got {str(folder)!r}")
    return study


def complete(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that have a score, best first."""
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(done, key=lambda trial: -float(trial.value or 0.0))


def run_trials(
    study: optuna.Study, space: Sequence[Dimension], base: Candidate, trials: int, executor: Executor
) -> None:
    """Try choices until there are so many, as many at a time as the executor does; `Stopped` after a signal."""
    missing = trials - len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL)))
    if missing <= 0:
        return
    with Tally(missing, executor.width) as tally:
        while missing > 0:
            asked = [study.ask() for _ in range(min(missing, executor.width))]
            choices = [{one.name: one.suggest(trial) for one in space} for trial in asked]
            tasks = [Candidate(base.config, values, base.timesteps, base.seeds) for values in choices]
            for result in executor.results(Candidate.scores, tasks):
                trial = asked[result.index]
                if result.error:
                    trial.set_user_attr("error", result.error)
                    study.tell(trial, state=TrialState.FAIL)
                else:
                    trial.set_user_attr("scores", result.value)
                    study.tell(trial, sum(result.value) / len(result.value))
                tally.add(f"trial {trial.number}", failed=bool(result.error))
            missing -= len(asked)


def write_sweep(study: optuna.Study, space: Sequence[Dimension], folder: Path, command: str) -> str:
    """Write ``best.json``, ``results.csv`` and ``sweep.png``; returns the table of the best for the terminal."""
    done, names = complete(study), [one.name for one in space]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("trial", "score", *names))
    writer.writerows((trial.number, trial.value, *(trial.params[name] for name in names)) for trial in done)
    write_atomically(folder / "results.csv", text.getvalue().encode())
    best = {"score": done[0].value, "values": done[0].params, **study.user_attrs["about"], "command": command}
    write_atomically(folder / "best.json", (json.dumps(best, indent=2, ensure_ascii=False) + "\n").encode())
    _draw(done, space, folder / "sweep.png")
    lines = [
        (str(trial.number), f"{trial.value:.5f}", *(f"{trial.params[name]:.4g}" for name in names))
        for trial in done[:10]
    ]
    return aligned(("trial", "score", *names), lines)


def _draw(done: Sequence[FrozenTrial], space: Sequence[Dimension], path: Path) -> None:
    """Scores over the trials, and over each hyperparameter; the star is the best."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.0 * (1 + len(space)), 3.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    scores = [trial.value for trial in done]
    panels = [("trial", [trial.number for trial in done], False)]
    panels += [(one.name, [trial.params[one.name] for trial in done], one.log) for one in space]
    for axes, (name, given, log) in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
        axes.plot(given, scores, "o", markersize=4)
        axes.plot(given[:1], scores[:1], "*", markersize=12)
        axes.set_xscale("log" if log else "linear")
        axes.set(xlabel=name, ylabel="best validation" if name == "trial" else None)
    with replacing(path) as file:
        figure.savefig(file)


def run(options: argparse.Namespace) -> int | None:
    """Search, and show the best; returns a status if a signal stops it, or nothing could be trained."""
    for name in ("trials", "seeds", "timesteps"):
        if getattr(options, name) is not None:
            check_integer(name, getattr(options, name), 1)
    executor = executor_of(options, ("multispin_env", "agents"))
    config = config_from(options)
    agent: AgentSettings = AGENTS.load(config.agent)
    base = Candidate(config, {}, options.timesteps or agent.timesteps // 4, options.seeds)
    space = dimensions(options.tune, agent)
    make_folder(options.out)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    about = {
        "run": config.to_dict(), "timesteps": base.timesteps, "seeds": base.seeds, "tune": sorted(options.tune),
    }  # fmt: skip
    study = study_in(options.out, json.loads(json.dumps(about)))
    stopped_by = None
    try:
        run_trials(study, space, base, options.trials, executor)
    except Stopped as stopped:
        stopped_by = stopped.number
    if complete(study):
        print(write_sweep(study, space, options.out, options.command))
    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    for trial in failed:
        print(f"trial {trial.number} failed: {trial.user_attrs['error'].strip().splitlines()[-1]}", file=sys.stderr)
    if stopped_by is not None:
        name = signal.Signals(stopped_by).name
        print(f"stopped by {name}; the same command goes on", file=sys.stderr)
        return 128 + stopped_by
    return None if complete(study) else 1


COMMAND = Command(
    "Search for hyperparameters of an agent with Optuna: fields of its dataclass, by the best validation of a run.",
    (
        "--tune learning_rate=1e-4:1e-2:log width=16,32,64",
        "--agent apg --num-users 8 --tune max_grad_norm=.1:1 --trials 40 --workers 2",
        "--env MultiSpin/Continuous-v0 --num-users 8 --tune noise=.03:.3:log pairs=8,16 --timesteps 100000",
    ),
    add_options,
    run,
)
