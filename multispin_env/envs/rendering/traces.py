"""Records of episodes as timelines: steps without the barrier, and rounds, in which every step has all devices."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.envs.simulator import Step
from multispin_env.physics.chains import ChainRound
from multispin_env.physics.continuous.types import ContinuousOutcome, Served
from multispin_env.scenario import Scenario
from multispin_env.units import MHZ

_MIN_CELLS, _MIN_ROUNDS, _RECENT = 8, 8, 12
"""Smallest axes for tokens and for rounds; number of rounds that axes fit."""

FRAME_TIME = 1.0 / 24.0
"""Seconds between two frames of a film without the barrier."""

MOVES, JUDGED, END = 8, 5, 24
"""Frames of a round before its last one; repetitions of the last frame of a round, and of a film."""


def round_up(value: float, numbers: Sequence[float] = (1.0, 1.2, 1.6, 2.0, 2.4, 3.0, 4.0, 5.0, 6.0, 8.0)) -> float:
    """Return the next round number ≥ ``value``, one of ``numbers`` times a power of ten; 1 for 0."""
    if value <= 0.0:
        return 1.0
    unit = float(np.power(10.0, math.floor(math.log10(value))))
    return next((number * unit for number in numbers if number * unit >= value), 10.0 * unit)


class Axes(NamedTuple):
    """Ends of the axes."""

    window: float  # s, width of the timeline
    horizon: float  # s or rounds
    rate: float  # tokens/s
    cells: int  # tokens of a draft, the server's token, and tokens drafted ahead
    bar: float = 0.0  # of the bars, if any

    @classmethod
    def of(cls, traces: "Sequence[Trace]", clocks: Sequence[float]) -> Self:
        """Return the largest axes of traces side by side, each at a time in seconds."""
        each = (trace.axes(clock) for trace, clock in zip(traces, clocks, strict=True))
        return cls(*(max(ends) for ends in zip(*each, strict=True)))


class Frame(NamedTuple):
    """Picture of a film."""

    clocks: tuple[float, float]  # s, time of each side
    times: int  # repetitions


@dataclass(frozen=True, eq=False)
class Trace:
    """Data for the picture of an environment: all steps of the episode so far."""

    scenario: Scenario
    drawn: bool  # whether tokens are drawn instead of expected
    outcomes: Sequence[ContinuousOutcome]  # of consecutive steps from time 0, each (K,)
    title: str = ""
    serving: bool = False  # whether requests are finite

    unit: ClassVar[str] = "s"  # of `positions`

    @classmethod
    def of(cls, config: Any, steps: Sequence[Any]) -> Self:
        """Make the trace of the ``steps`` that `record` returned, in the environment of a configuration."""
        return cls(config.scenario, config.drawn, tuple(steps), serving=bool(config.info_keys.episode))

    @staticmethod
    def record(step: Step, env: int) -> Any:
        """Return what a trace needs of a step of environment ``env``; it shares no memory with the step."""
        return step.outcome[env].copy()

    @cached_property
    def ends(self) -> list[float]:
        """End of each step in seconds."""
        return list(accumulate(float(outcome.duration) for outcome in self.outcomes))

    @cached_property
    def gained(self) -> list[float]:
        """Tokens gained up to the end of each step; for finite requests, only tokens of requests in time."""
        tokens = (step.served.output * step.served.in_time if self.serving else step.tokens for step in self.outcomes)
        return list(accumulate(float(array.sum()) for array in tokens))

    @cached_property
    def means(self) -> list[float]:
        """Tokens/s up to the end of each step."""
        return [gained / end for gained, end in zip(self.gained, self.ends, strict=True)]

    @property
    def means_name(self) -> str:
        """Name of the means."""
        return "in time" if self.serving else "so far"

    @property
    def optima(self) -> Sequence[float]:
        """Means of the optimum, if it is known."""
        return ()

    @property
    def positions(self) -> Sequence[float]:
        """Position of each step on the axis of the means."""
        return self.ends

    @cached_property
    def missed(self) -> list[int]:
        """Number of requests dropped or late up to the end of each step."""
        served = (outcome.served for outcome in self.outcomes)
        return list(accumulate(int(step.dropped.sum() + (step.finished & ~step.in_time).sum()) for step in served))

    @cached_property
    def waiting(self) -> list[IntArray]:
        """Number of requests (K,) in queues at the end of each step, without those in service."""
        served = (outcome.served for outcome in self.outcomes)
        present = accumulate((step.arrivals - step.dropped - step.finished for step in served), np.add)
        return [np.maximum(number - 1, 0) for number in present]

    @property
    def duration(self) -> float:
        """Duration of all steps in seconds."""
        return self.ends[-1] if self.ends else 0.0

    def num_finished(self, time: float) -> int:
        """Return the number of steps that end at or before a time."""
        return bisect_right(self.ends, time)

    def steps_between(self, start: float, clock: float) -> Iterator[tuple[int, float, ContinuousOutcome]]:
        """Iterate over the number, start time and outcome of the steps between two times."""
        for number in range(self.num_finished(start), len(self.outcomes)):
            begin = self.ends[number - 1] if number else 0.0
            if begin >= clock:
                return
            yield number, begin, self.outcomes[number]

    def status(self, clock: float) -> str:
        """Return the state at a time as text."""
        finished = self.num_finished(clock)
        if not finished:
            return "before the first batch"
        missed = f" in time, {self.missed[finished - 1]} missed" if self.serving else ""
        return f"{self.means[finished - 1]:.0f} tokens/s{missed}"

    def interval(self, clock: float, window: float) -> tuple[float, float]:
        """Return the first time of the timeline, and the time from which its axis counts."""
        return max(0.0, clock - window), 0.0

    def bars(self, clock: float) -> FloatArray | None:
        """Return the heights (K,) of bars at a time; ``None`` for a picture without bars."""
        return None

    def axes(self, clock: float) -> Axes:
        """Return axes that fit the trace; those of rounds fit the rounds before a time."""
        return self._axes

    @cached_property
    def _axes(self) -> Axes:
        shortest = 2.0 if self.serving else 1.0
        window = max(shortest, 5.0 * float(np.median([0.0, *(step.duration for step in self.outcomes)])))
        rate = round_up(1.1 * max(self.means, default=0.0))
        return Axes(window, max(1.0, self.duration), rate, _num_cells(self.outcomes))

    def film(self, other: "Trace") -> list[Frame]:
        """Return the frames of a film of two traces with common axes, which ends with the shorter episode.

        It begins when the timelines are full, or at half of the shorter episode if this is earlier, but not before the
        first step of both has ended.
        """
        pair = self, other
        end, window = min(self.duration, other.duration), Axes.of(pair, (0.0, 0.0)).window
        begin = max(min(window, 0.5 * end), *(trace.ends[0] for trace in pair))
        frames = [Frame((clock, clock), 1) for clock in np.arange(begin, end, FRAME_TIME).tolist()]
        return [*frames, Frame((end, end), END)]


def _num_cells(outcomes: Sequence[ContinuousOutcome]) -> int:
    used = [outcome.draft_length + 1 + np.ceil(outcome.drafted_ahead) for outcome in outcomes]
    return max(_MIN_CELLS, int(np.max(used))) if used else _MIN_CELLS


class Round(NamedTuple):
    """Record of a round."""

    outcome: ContinuousOutcome  # (K,) of the round as a step without the barrier
    goodput: float  # tokens/s
    optimum: float | None  # goodput of the optimum, if it is known
    bars: FloatArray  # (K,) bandwidth in MHz, or charge of the battery in percent of its capacity


@dataclass(frozen=True, eq=False)
class RoundsTrace(Trace):
    """Data for the picture of an environment of rounds: steps in which all devices begin together and are verified."""

    rounds: Sequence[Round] = ()
    by_time: bool = False  # whether means are over time instead of rounds

    unit: ClassVar[str] = "rounds"

    @classmethod
    @override
    def of(cls, config: Any, steps: Sequence[Round]) -> Self:
        outcomes, by_time = tuple(step.outcome for step in steps), config.info_keys.goodput is None
        return cls(config.scenario, config.drawn, outcomes, rounds=tuple(steps), by_time=by_time)

    @staticmethod
    @override
    def record(step: Step, env: int) -> Round:
        info, played, decision = step.info, step.outcome[env], step.decision[env]
        tokens, ready = info["accepted_tokens"][env], played.ready_time
        zeros = np.zeros_like(info["accepted_tokens"])
        outcome = ContinuousOutcome(
            *(tokens, decision.draft_length, np.ones(tokens.shape, np.bool_)),
            *(played.draft_time, ready, zeros[env]),  # no picture shows the time on air
            *(ready.max(), played.verification_time, played.round_latency),
            Served.nothing(tokens.shape),
            *(info.get(name, zeros)[env] for name in ChainRound._fields),
        )
        battery = "battery" in info
        bars = 100.0 * info["battery"][env] / info["capacity"][env] if battery else decision.bandwidth / MHZ
        optimum = float(info["optimal_goodput"][env]) if "optimal_goodput" in info else None
        return Round(outcome.copy(), float(played.goodput), optimum, bars)

    @cached_property
    @override
    def means(self) -> list[float]:
        return super().means if self.by_time else _means([record.goodput for record in self.rounds])

    @property
    @override
    def means_name(self) -> str:
        return super().means_name if self.by_time else "mean goodput"

    @cached_property
    @override
    def optima(self) -> list[float]:
        return _means([record.optimum for record in self.rounds if record.optimum is not None])

    @property
    @override
    def positions(self) -> Sequence[float]:
        return range(1, len(self.rounds) + 1)

    def _number(self, clock: float) -> int:
        """Return the number of the round at a time, from 1; a round includes its end, and 0 is before the first."""
        return min(bisect_left(self.ends, clock) + 1, len(self.ends))

    @override
    def status(self, clock: float) -> str:
        number = self._number(clock)
        if not number:
            return "before the first round"
        over = clock >= self.ends[number - 1]
        return f"round {number}" + (f": {self.rounds[number - 1].goodput:.0f} tokens/s" if over else "")

    @override
    def interval(self, clock: float, window: float) -> tuple[float, float]:
        begin = [0.0, 0.0, *self.ends][self._number(clock)]
        return begin, begin

    @override
    def bars(self, clock: float) -> FloatArray:
        number = self._number(clock)
        return self.rounds[number - 1].bars if number else np.zeros(self.scenario.num_users)

    @override
    def axes(self, clock: float) -> Axes:
        number = self._number(clock)
        recent = slice(max(0, number - _RECENT), number)
        shown = self.rounds[recent]
        window = round_up(float(shown[-1].outcome.duration)) if shown else 1.0
        rate = round_up(1.1 * max([0.0, *self.means[recent], *self.optima[recent]]))
        largest = np.max([record.bars for record in shown]) if shown else self.scenario.total_bandwidth / MHZ
        bar = 100.0 if self.scenario.battery_rounds else round_up(float(largest))
        return Axes(window, max(_MIN_ROUNDS, len(self.rounds)), rate, _num_cells(self.outcomes[recent]), bar)

    @override
    def film(self, other: Trace) -> list[Frame]:
        """Return the frames of a film of two traces, with the same number of frames for each round but the first.

        Both sides show the same time within the round. Of the first round there is only the end.
        """
        frames: list[Frame] = []
        ends = list(zip(self.ends, other.ends, strict=False))  # until the shorter episode ends
        for begins, stops in pairwise([(0.0, 0.0), *ends]):
            longest = max(stop - begin for begin, stop in zip(begins, stops, strict=True))
            for move in range(1, MOVES + 1) if frames else ():
                elapsed = longest * move / (MOVES + 1)
                left, right = (min(begin + elapsed, stop) for begin, stop in zip(begins, stops, strict=True))
                frames.append(Frame((left, right), 1))
            frames.append(Frame(stops, JUDGED))
        return [*frames[:-1], frames[-1]._replace(times=END)]


def _means(values: Sequence[float]) -> list[float]:
    return [total / number for number, total in enumerate(accumulate(values), start=1)]


class Activity(IntEnum):
    """Activity of a device; the server only verifies."""

    DRAFTING = 0
    UPLOADING = 1
    WAITING = 2  # at the server
    VERIFYING = 3


class Stretch(NamedTuple):
    """Interval of a timeline with one activity."""

    activity: Activity
    begin: float  # s
    end: float  # s
    drafts: int = 0  # size of the batch, for the server


def lanes(trace: Trace, start: float, clock: float) -> list[list[Stretch]]:
    """Return the activities between two times, for each device and, last, the server; an idle device has none."""
    devices: list[list[Stretch]] = [[] for _ in range(trace.scenario.num_users)]
    server: list[Stretch] = []
    for _, begin, outcome in trace.steps_between(start, clock):
        end, delay, idle = outcome.duration, outcome.start_delay, outcome.served.idle_time
        marks = [np.minimum(np.maximum(mark, idle), end) for mark in (idle, outcome.drafted_at, outcome.uploaded_at)]
        over = delay + outcome.verification_time  # in rounds, the round trip follows
        marks += [np.where(outcome.verified, delay, end), np.where(outcome.verified, over, end)]
        times = np.clip(begin + np.array(marks), start, clock).tolist()
        for activity, lefts, rights in zip(Activity, times[:-1], times[1:], strict=True):
            for lane, left, right in zip(devices, lefts, rights, strict=True):
                if right > left:
                    lane.append(Stretch(activity, left, right))
        left, right = max(begin + float(delay), start), min(begin + float(over), clock)
        if right > left:
            server.append(Stretch(Activity.VERIFYING, left, right, int(outcome.batch_size)))
    return [*devices, server]


IN_TIME, LATE, DROPPED, ARRIVED = "in time", "late", "dropped", "arrived"


class Mark(NamedTuple):
    """Event of a request."""

    time: float  # s
    user: int
    kind: str


def request_marks(trace: Trace, start: float, clock: float) -> list[Mark]:
    """Return the events between two times; arrivals at busy devices are marked at the end of their step."""
    marks: list[Mark] = []
    for _, begin, outcome in trace.steps_between(start, clock):
        served, end = outcome.served, begin + float(outcome.duration)
        for user in range(trace.scenario.num_users):
            idle = float(served.idle_time[user])
            first = 0.0 < idle < float(outcome.duration)
            marks += [Mark(begin, user, DROPPED)] * bool(served.dropped[user])
            marks += [Mark(begin + idle, user, ARRIVED)] * first
            marks += [Mark(end, user, ARRIVED)] * (int(served.arrivals[user]) - first > 0)
            if served.finished[user]:
                marks.append(Mark(end, user, IN_TIME if served.in_time[user] else LATE))
    return [mark for mark in marks if start <= mark.time <= clock]
