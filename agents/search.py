"""Search for hyperparameters: what may vary, and what a choice is worth."""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from agents.base import AgentSettings
from agents.budget import Limits
from agents.checkpoints import MODEL, load_checkpoint
from agents.registry import AGENTS
from agents.runs import RunConfig
from agents.training import train
from multispin_env.checks import check_name
from multispin_env.executors.base import Stopped

if TYPE_CHECKING:
    from optuna.trial import Trial

EXPECTED = "NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,C"


@dataclass(frozen=True)
class Dimension:
    """A hyperparameter, and the values that it may have.

    Parameters
    ----------
    name
        Field of the agent's settings.
    choices
        Values to choose from; empty for an interval.
    low, high
        Ends of an interval.
    log
        Whether the interval's logarithm is even.
    whole
        Whether its numbers are whole.
    """

    name: str
    choices: tuple[float | int, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @classmethod
    def parse(cls, text: str, agent: AgentSettings) -> "Dimension":
        """From ``NAME=LOW:HIGH``, ``NAME=LOW:HIGH:log`` or ``NAME=A,B,C``.

        Raises
        ------
        ValueError
            For another text, an unknown name, or a field that is no number.
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

    def suggest(self, trial: "Trial") -> float | int:
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
    """A choice of hyperparameters, to be trained with some seeds.

    Parameters
    ----------
    config
        Of the run; its seed is the first.
    values
        Fields of the agent's settings that are not its own.
    timesteps
        Budget of each training.
    seeds
        How many trainings.
    """

    config: RunConfig
    values: Mapping[str, float | int]
    timesteps: int
    seeds: int

    def scores(self) -> list[float]:
        """Best validation of each training; it leaves nothing behind."""
        return [self._score(replace(self.config, seed=self.config.seed + more)) for more in range(self.seeds)]

    def _score(self, config: RunConfig) -> float:
        settings: Any = AGENTS.load(config.agent)
        agent: AgentSettings = replace(settings, **self.values)
        with TemporaryDirectory() as name:
            quiet = Console(stderr=True, quiet=True)
            stopped = train(config, Path(name), Limits(self.timesteps), False, "cpu", quiet, agent)
            if stopped is not None:
                raise Stopped(stopped)
            score = load_checkpoint(Path(name), MODEL).score
        return -np.inf if score is None else score


def scores(candidate: Candidate) -> list[float]:
    """What a candidate is worth, as executors call it."""
    return candidate.scores()


def dimensions(texts: Sequence[str], agent: AgentSettings) -> list[Dimension]:
    """All that may vary; ``ValueError`` for a name given twice, and as `Dimension.parse`."""
    found = [Dimension.parse(text, agent) for text in texts]
    for one in found:
        if [other.name for other in found].count(one.name) > 1:
            raise ValueError(f"tune: expected {one.name!r} once, got it twice")
    return found
