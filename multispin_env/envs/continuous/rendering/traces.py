"""Traces of episodes without the barrier, for pictures: steps, and the tokens per second so far."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
from typing_extensions import override

from multispin_env.arrays import IntArray
from multispin_env.envs.engine import Step
from multispin_env.envs.rendering.charts import Curve
from multispin_env.envs.rendering.views import Recorder, round_up
from multispin_env.physics.continuous.types import ContinuousOutcome
from multispin_env.scenario import Scenario

FEWEST_CELLS = 8
"""Cells for tokens of a draft and the server's, at least."""


@dataclass(frozen=True, eq=False)
class Trace:
    """One copy, as far as it has come; it does not change with the next step."""

    scenario: Scenario
    drawn: bool  # whether tokens are drawn, or expected
    outcomes: Sequence[ContinuousOutcome]  # one behind the other from time 0, each (K,)
    title: str = ""
    serving: bool = False  # whether requests end

    @cached_property
    def ends(self) -> list[float]:
        """When each step ends, in seconds."""
        return list(accumulate(float(outcome.duration) for outcome in self.outcomes))

    @cached_property
    def gained(self) -> list[float]:
        """Tokens gained up to the end of each step; where requests end, those of requests in time."""
        return list(accumulate(map(self._tokens, self.outcomes)))

    def _tokens(self, outcome: ContinuousOutcome) -> float:
        served = outcome.served
        return float((served.output * served.in_time if self.serving else outcome.tokens).sum())

    @cached_property
    def missed(self) -> list[int]:
        """Requests dropped or late up to the end of each step."""
        return list(accumulate(map(_missed, self.outcomes)))

    @cached_property
    def waiting(self) -> list[IntArray]:
        """Requests (K,) that wait behind others at the end of each step."""
        inside = accumulate(map(_more, self.outcomes), np.add)
        return [np.maximum(here - 1, 0) for here in inside]

    def seen(self, start: float, clock: float) -> Iterator[tuple[float, ContinuousOutcome]]:
        """Steps between two times, each with its begin."""
        for number in range(self.over(start), len(self.outcomes)):
            begin = self.ends[number - 1] if number else 0.0
            if begin >= clock:
                return
            yield begin, self.outcomes[number]

    def queues(self, start: float, clock: float) -> Iterator[tuple[float, ContinuousOutcome, IntArray]]:
        """The same, each with the requests (K,) that wait when it begins."""
        first = self.over(start)
        for number, (begin, outcome) in enumerate(self.seen(start, clock), start=first):
            if number:
                yield begin, outcome, self.waiting[number - 1]

    @property
    def duration(self) -> float:
        """Of all steps, in seconds."""
        return self.ends[-1] if self.ends else 0.0

    @cached_property
    def most_cells(self) -> int:
        """Tokens of the longest verified draft and the server's."""
        return max([FEWEST_CELLS, *(int(outcome.draft_length.max()) + 1 for outcome in self.outcomes)])

    def over(self, time: float) -> int:
        """Steps that are over at a time."""
        return bisect_right(self.ends, time)

    def rate(self, time: float) -> float:
        """Tokens/s from the start to the end of the last step that is over; 0 before the first."""
        over = self.over(time)
        return self.gained[over - 1] / self.ends[over - 1] if over else 0.0

    def curve(self, name: str, time: float, horizon: float) -> Curve:
        """Tokens/s so far at the end of each step that is over, on an axis of ``horizon`` seconds."""
        over = self.over(time)
        pairs = zip(self.ends[:over], self.gained[:over], strict=True)
        return Curve(name, [(min(end / horizon, 1.0), gained / end) for end, gained in pairs])

    def highest(self, time: float) -> float:
        """End of an axis for tokens/s that fits what is reached up to a time."""
        over = self.over(time)
        rates = [gained / end for gained, end in zip(self.gained[:over], self.ends[:over], strict=True)]
        return round_up(1.1 * max(rates, default=0.0))


def _missed(outcome: ContinuousOutcome) -> int:
    served = outcome.served
    return int(served.dropped.sum() + (served.finished & ~served.in_time).sum())


def _more(outcome: ContinuousOutcome) -> IntArray:
    """How many more requests (K,) there are at the end than at the begin."""
    served = outcome.served
    return served.arrivals - served.dropped - served.finished


class Traces(Recorder):
    """Episodes of n copies without the barrier."""

    @override
    def _episode(self) -> list[ContinuousOutcome]:
        return []

    @override
    def _take_in(self, episode: list[ContinuousOutcome], step: Step, copy: int) -> None:
        episode.append(step.outcome[copy].copy())

    @override
    def view(self, copy: int = 0) -> Trace:
        settings = self._settings
        serving = bool(settings.variant.comparison.info.episode)
        return Trace(settings.scenario, settings.drawn, tuple(self._episodes[copy]), serving=serving)
