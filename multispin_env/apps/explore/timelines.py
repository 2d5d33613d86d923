"""Timelines: episodes without the barrier, played as the environment plays them, in numbers that a browser draws."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from gymnasium.utils import seeding

from multispin_env.envs.config import EnvConfig
from multispin_env.envs.rendering.continuous import Stretch, Trace, Traces, marks_of, of_device, of_server
from multispin_env.evaluation.episodes import EpisodeStats
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousOutcome, ContinuousState


class PlayedEpisodes(NamedTuple):
    """What came of n episodes."""

    stats: EpisodeStats
    trace: Trace  # of the first


def make_engine(config: EnvConfig, episodes: int, seed: int) -> Any:
    """Engine of so many episodes, at their beginning."""
    engine = config.engine(episodes)
    for copy in range(episodes):
        engine.seed(copy, seeding.np_random(seed + copy)[0])
    engine.reset()
    return engine


def play(
    config: EnvConfig, rule: Callable[[ContinuousState], ContinuousDecision], name: str, episodes: int, seed: int
) -> PlayedEpisodes:
    """Play episodes with seeds from ``seed`` on, as `play_episodes`; the environment gets the uplink of the rule."""
    suited = config.for_contender(rule)
    engine = make_engine(suited, episodes, seed)
    keys, traces = config.variant.comparison.info, Traces(suited, 1)  # of the first copy alone
    stats = EpisodeStats.empty(episodes, config.scenario.num_users, by_round=False)
    playing = np.ones(episodes, dtype=np.bool_)
    while playing.any():
        step = engine.step(engine.actions.encode(rule(engine.state), engine.planned))
        stats.add(step.reward, step.info, keys, playing)
        if playing[0]:
            traces.add(step)
        playing &= ~step.truncated
    return PlayedEpisodes(stats, replace(traces.view(), title=name))


TICKS = 10_000  # in a second
MAX_STRETCHES = 300_000  # of a trace: at most some 2 MB of JSON; a longer one is cut off in time


def timeline(trace: Trace) -> dict[str, Any]:
    """All that is drawn of a trace; times are whole ticks, and lists of stretches are flat.

    ``shown``: end of what is in here. ``devices``: for each device, of each stretch what it does, the ticks since the
    end of the one before, and its own. ``server``: the same with drafts in the position of what it does. ``ends``,
    ``gained``: the end of each step, and tokens until then (where requests end, those in time). Where requests end
    also ``waiting`` (requests that wait at the end of each step, all devices together), ``marks`` (of each, time,
    device and what it is) and ``answers`` (of each, time, whether it is in time, TTFT, time per token and E2EL).
    """
    most = MAX_STRETCHES // (4 * trace.scenario.num_users)  # steps, in which each device has four at most
    clock = trace.duration if len(trace.ends) <= most else trace.ends[most - 1]
    over = trace.over(clock)
    users = range(trace.scenario.num_users)
    drawn: dict[str, Any] = {
        "shown": _ticks(clock),
        "devices": [_flat(_merged(of_device(trace, user, 0.0, clock))) for user in users],
        "server": _flat((one.drafts, one.begin, one.end) for one in of_server(trace, 0.0, clock)),
        "ends": [_ticks(end) for end in trace.ends[:over]],
        "gained": [round(gained, 2) for gained in trace.gained[:over]],
    }
    if trace.serving:
        drawn["waiting"] = [int(waiting.sum()) for waiting in trace.waiting[:over]]
        drawn["marks"] = [[_ticks(mark.time), mark.user, mark.kind] for mark in marks_of(trace, 0.0, clock)]
        drawn["answers"] = [
            answer
            for end, outcome in zip(trace.ends[:over], trace.outcomes, strict=False)
            for answer in _answers(_ticks(end), outcome)
        ]
    return drawn


def _ticks(time: float) -> int:
    return round(time * TICKS)


def _merged(stretches: Iterable[Stretch]) -> list[tuple[int, float, float]]:
    """What goes on when a step ends is one stretch."""
    rows: list[tuple[int, float, float]] = []
    for doing, begin, end, _ in stretches:
        goes_on = rows and rows[-1][0] == doing and _ticks(begin) == _ticks(rows[-1][2])
        rows.append((int(doing), rows.pop()[1] if goes_on else begin, end))
    return rows


def _flat(stretches: Iterable[tuple[int, float, float]]) -> list[int]:
    flat: list[int] = []
    before = 0
    for what, begin, end in stretches:
        left, right = _ticks(begin), _ticks(end)
        flat += [what, left - before, right - left]
        before = right
    return flat


def _answers(end: int, outcome: ContinuousOutcome) -> Iterable[list[float]]:
    served = outcome.served
    for user in served.finished.nonzero()[0].tolist():
        times = (float(each[user]) for each in (served.ttft, served.tpot, served.e2el))
        yield [end, int(served.in_time[user]), *(round(time, 4) for time in times)]
