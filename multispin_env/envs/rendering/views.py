"""Contents of a picture of an episode: its last round, its running goodput, and the scales of both."""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.envs.engine import Step
from multispin_env.physics.types import Decision, Outcome
from multispin_env.scenario import Scenario

FEWEST_CELLS, FEWEST_ROUNDS = 8, 16
"""What the scales of tokens and of rounds begin with."""


def round_up(value: float) -> float:
    """Return the next number ≥ ``value`` that looks well at the end of an axis; 1 for 0."""
    if value <= 0.0:
        return 1.0
    unit = float(np.power(10.0, math.floor(math.log10(value))))
    numbers = (1.0, 1.2, 1.6, 2.0, 2.4, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
    return next((number * unit for number in numbers if number * unit >= value), 10.0 * unit)


class Scales(NamedTuple):
    """Ends of the axes."""

    time: float = 0.0  # s
    bandwidth: float = 0.0  # Hz
    goodput: float = 0.0  # tokens/s
    cells: int = FEWEST_CELLS  # tokens of a draft and the server's
    rounds: int = FEWEST_ROUNDS

    @classmethod
    def common(cls, scales: Iterable["Scales"]) -> "Scales":
        """Return the scales that fit all of these."""
        return cls(*(max(values) for values in zip(*scales, strict=True)))


@dataclass(frozen=True, eq=False)
class Round:
    """One round of one copy."""

    decision: Decision  # (K,)
    outcome: Outcome  # (K,)
    tokens: FloatArray  # (K,) gained, drawn or expected


@dataclass(frozen=True, eq=False)
class View:
    """One copy after a round."""

    scenario: Scenario
    drawn: bool  # whether tokens are drawn, or expected
    last: Round | None  # None before the first round
    goodput: Sequence[float]  # tokens/s, mean over the rounds up to each
    reference: Sequence[float]  # the same of what it is compared with; may be empty
    reference_name: str
    scales: Scales
    title: str = ""


class History:
    """An episode of one copy, as far as pictures need it."""

    def __init__(self) -> None:
        self.last: Round | None = None
        self._needed: deque[Scales] = deque(maxlen=12)
        self.goodput: list[float] = []
        self.optimum: list[float] = []

    def add(self, last: Round, optimum: float | None) -> None:
        """Take in a round, with the goodput of the optimum in it where that is known."""
        goodput = float(last.outcome.goodput)
        _append_to_mean(self.goodput, goodput)
        if optimum is not None:
            _append_to_mean(self.optimum, optimum)
        reached = max(self.goodput[-1], self.optimum[-1] if self.optimum else 0.0)
        rounds = max(FEWEST_ROUNDS, 2 ** math.ceil(math.log2(len(self.goodput))))
        needed = Scales(
            round_up(float(last.outcome.round_latency)),
            round_up(float(last.decision.bandwidth.max())),
            round_up(1.1 * reached),
            int(last.decision.draft_length.max()) + 1,
            rounds,
        )
        self._needed.append(needed)
        self.last = last

    @property
    def scales(self) -> Scales:
        """What fits the recent rounds, and of time just the last one: another may have taken a thousandfold."""
        common = Scales.common((Scales(), *self._needed))
        return common._replace(time=self._needed[-1].time) if self._needed else common


def _append_to_mean(means: list[float], value: float) -> None:
    count = len(means)
    means.append(value if count == 0 else means[-1] + (value - means[-1]) / (count + 1))


class Recorder(ABC):
    """Episodes of n copies, as far as pictures need them."""

    def __init__(self, settings: Any, num_copies: int) -> None:
        self._settings = settings
        self._episodes = [self._episode() for _ in range(num_copies)]

    def begin(self, copies: IntArray) -> None:
        """Forget the episodes of these copies."""
        for copy in copies.tolist():
            self._episodes[copy] = self._episode()

    def add(self, step: Any, over: BoolArray | None = None) -> None:
        """Take in a step of all copies; those that are ``over`` begin anew."""
        for copy, episode in enumerate(self._episodes):
            if over is not None and over[copy]:
                self._episodes[copy] = self._episode()
            else:
                self._take_in(episode, step, copy)

    @abstractmethod
    def _episode(self) -> Any:
        """What remembers an episode."""

    @abstractmethod
    def _take_in(self, episode: Any, step: Any, copy: int) -> None:
        """Remember a step of a copy."""

    @abstractmethod
    def view(self, copy: int = 0) -> Any:
        """What there is to show of a copy; it does not change with the next step."""


class Histories(Recorder):
    """Episodes of n copies of rounds."""

    @override
    def _episode(self) -> History:
        return History()

    @override
    def _take_in(self, episode: History, step: Step, copy: int) -> None:
        best = step.info.get("optimal_goodput")
        tokens = step.info["accepted_tokens"][copy].copy()
        last = Round(step.decision[copy].copy(), step.outcome[copy], tokens)
        episode.add(last, None if best is None else float(best[copy]))

    @override
    def view(self, copy: int = 0) -> View:
        history, drawn = self._episodes[copy], self._settings.drawn
        return View(
            self._settings.scenario,
            drawn,
            history.last,
            tuple(history.goodput),
            tuple(history.optimum),
            "optimum (expected)" if drawn else "optimum",
            history.scales,
        )
