"""Timelines of episodes without the barrier, as JSON data for a browser."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from gymnasium.utils import seeding

from multispin_env.envs.config import EnvConfig
from multispin_env.envs.rendering.continuous import (
    Stretch,
    Trace,
    Traces,
    device_stretches,
    request_marks,
    server_stretches,
)
from multispin_env.evaluation.episodes import EpisodeStats
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState


class PlayedEpisodes(NamedTuple):
    """Statistics of n episodes and the trace of the first."""

    stats: EpisodeStats
    trace: Trace


def make_simulator(config: EnvConfig, episodes: int, seed: int) -> Any:
    """Make and reset a simulator of several episodes, with consecutive seeds."""
    simulator = config.simulator(episodes)
    for env in range(episodes):
        simulator.seed(env, seeding.np_random(seed + env)[0])
    simulator.reset()
    return simulator


def play(
    config: EnvConfig, rule: Callable[[ContinuousState], ContinuousDecision], name: str, episodes: int, seed: int
) -> PlayedEpisodes:
    """Play episodes with consecutive seeds, as `play_episodes` does, with the uplink discipline of the rule."""
    config = config.for_contender(rule)
    simulator = make_simulator(config, episodes, seed)
    keys, traces = config.info_keys, Traces(config, 1)  # trace of the first episode only
    stats = EpisodeStats.empty(episodes, config.scenario.num_users, by_round=False)
    playing = np.ones(episodes, dtype=np.bool_)
    while playing.any():
        step = simulator.step(simulator.actions.encode(rule(simulator.state), simulator.planned))
        stats.add(step.reward, step.info, keys, playing)
        if playing[0]:
            traces.add(step)
        playing &= ~step.truncated
    return PlayedEpisodes(stats, replace(traces.view(), title=name))


TICKS = 10_000  # per second
MAX_STRETCHES = 300_000  # activities of a trace (about 2 MB of JSON); a longer trace is cut off


def timeline(trace: Trace) -> dict[str, Any]:
    """Return the data of a trace that is drawn; times are whole ticks.

    - ``shown``: end of the data.
    - ``devices``: for each device a flat list of (activity, gap since the last activity, duration).
    - ``server``: a flat list of (batch size, gap, duration).
    - ``ends``, ``gained``: end of each step, and tokens up to it (where requests end, tokens in time).
    - ``waiting``: where requests end, requests in all queues at the end of each step.
    - ``marks``: where requests end, (time, device, kind) of each event.
    - ``answers``: where requests end, (time, in time or not, TTFT, TPOT, E2EL) of each finished request.
    """
    max_steps = MAX_STRETCHES // (4 * trace.scenario.num_users)  # a device has at most four activities per step
    clock = trace.duration if len(trace.ends) <= max_steps else trace.ends[max_steps - 1]
    over = trace.num_finished(clock)
    users = range(trace.scenario.num_users)
    drawn: dict[str, Any] = {
        "shown": _ticks(clock),
        "devices": [_flat(_merged(device_stretches(trace, user, 0.0, clock))) for user in users],
        "server": _flat((batch.drafts, batch.begin, batch.end) for batch in server_stretches(trace, 0.0, clock)),
        "ends": [_ticks(end) for end in trace.ends[:over]],
        "gained": [round(gained, 2) for gained in trace.gained[:over]],
    }
    if trace.serving:
        drawn["waiting"] = [int(waiting.sum()) for waiting in trace.waiting[:over]]
        drawn["marks"] = [[_ticks(mark.time), mark.user, mark.kind] for mark in request_marks(trace, 0.0, clock)]
        drawn["answers"] = []
        for end, outcome in zip(trace.ends[:over], trace.outcomes, strict=False):
            served = outcome.served
            for user in served.finished.nonzero()[0].tolist():
                times = [round(float(latency[user]), 4) for latency in (served.ttft, served.tpot, served.e2el)]
                drawn["answers"].append([_ticks(end), int(served.in_time[user]), *times])
    return drawn


def _ticks(time: float) -> int:
    return round(time * TICKS)


def _merged(stretches: Iterable[Stretch]) -> list[tuple[int, float, float]]:
    """Merge an activity that continues in the next step."""
    rows: list[tuple[int, float, float]] = []
    for activity, begin, end, _ in stretches:
        continues = rows and rows[-1][0] == activity and _ticks(begin) == _ticks(rows[-1][2])
        rows.append((int(activity), rows.pop()[1] if continues else begin, end))
    return rows


def _flat(stretches: Iterable[tuple[int, float, float]]) -> list[int]:
    flat: list[int] = []
    last = 0
    for activity, begin, end in stretches:
        left, right = _ticks(begin), _ticks(end)
        flat += [activity, left - last, right - left]
        last = right
    return flat
