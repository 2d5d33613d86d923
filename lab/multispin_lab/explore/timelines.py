"""Timelines of episodes without the barrier, as JSON data for a browser."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from multispin_env.arrays import BoolArray
from multispin_env.envs.rendering.traces import Stretch, Trace, lanes, request_marks
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.episodes import EpisodeStats


class PlayedEpisodes(NamedTuple):
    """Statistics of n episodes and the trace of the first."""

    stats: EpisodeStats
    trace: Trace


def play(cases: Episodes, name: str) -> PlayedEpisodes:
    """Play episodes with a controller and record the first."""
    rule = cases.config.contender(name)
    env, outcomes = native(cases.env_for(rule)), []

    def record(playing: BoolArray) -> None:
        if playing[0]:
            outcomes.append(env.outcome[0].copy())

    stats = cases.play(rule, watch=record)
    serving = bool(env.config.info_keys.episode)
    return PlayedEpisodes(stats, Trace(env.scenario, env.config.drawn, tuple(outcomes), name, serving=serving))


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
    *devices, server = lanes(trace, 0.0, clock)
    drawn: dict[str, Any] = {
        "shown": _ticks(clock),
        "devices": [_flat(_merged(lane)) for lane in devices],
        "server": _flat((batch.drafts, batch.begin, batch.end) for batch in server),
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
