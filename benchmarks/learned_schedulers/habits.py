"""Habits of agents and rules when they schedule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.learned_schedulers.recording import record
from benchmarks.learned_schedulers.subjects import AGENT, PRESETS, Learned, System
from multispin_env.arrays import FloatArray
from multispin_env.evaluation.statistics import Interval, mean_interval
from multispin_env.evaluation.table import aligned

USERS, EPISODES = 20, 24

HEADERS = {
    "rate": ("tokens/s", 1),
    "batch": ("mean batch", 2),
    "per_second": ("verifications/s", 2),
    "idle": ("server idle", 3),
    "draft": ("mean draft", 2),
    "least": ("least served (tokens/s)", 2),
    "least_of_mean": ("least/mean", 3),
    "starved": ("with nothing", 2),
    "missed": ("missed", 3),
}
"""Titles of columns, and digits."""


@dataclass(frozen=True)
class Row:
    """One contender in one system.

    Parameters
    ----------
    env, system, name
        Where, and who.
    habits
        Means over episodes, with 95 % intervals.
    agent_minus
        Paired differences, agent minus this one, with 95 % intervals.
    """

    env: str
    system: str
    name: str
    habits: Mapping[str, Interval]
    agent_minus: Mapping[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "env": self.env,
            "system": self.system,
            "name": self.name,
            "habits": {key: one._asdict() for key, one in self.habits.items()},
            "agent_minus": {key: one._asdict() for key, one in self.agent_minus.items()},
        }


def measured(learned: Learned, system: System, size: int) -> list[Row]:
    """The agent and the rules on the same episodes."""
    episodes = learned.episodes(system, size)
    found = {name: record(episodes, contender).habits for name, contender in learned.contenders.items()}
    return [
        Row(learned.env_id, system.title, name, _means(habits), _differences(found[AGENT], habits))
        for name, habits in found.items()
    ]


def _means(habits: Mapping[str, FloatArray]) -> dict[str, Interval]:
    return {key: mean_interval(values) for key, values in habits.items()}


def _differences(agent: Mapping[str, FloatArray], other: Mapping[str, FloatArray]) -> dict[str, Interval]:
    return {key: mean_interval(agent[key] - other[key]) for key in agent}


def run(subjects: Sequence[Learned], size: int | None) -> list[Row]:
    """All agents in both presets."""
    systems = [(one, System.of(preset, one.env_id, num_users=USERS)) for one in subjects for preset in PRESETS]
    return [row for one, system in systems for row in measured(one, system, size or EPISODES)]


def table(rows: Sequence[Row]) -> str:
    """A table for each system: means, and for the rate agent minus rule with its interval."""
    parts = []
    for env, system in dict.fromkeys((row.env, row.system) for row in rows):
        own = [row for row in rows if (row.env, row.system) == (env, system)]
        keys = [key for key in HEADERS if key in own[0].habits]
        header = (f"{env}, {system}", *(HEADERS[key][0] for key in keys), "agent minus it (tokens/s)")
        parts.append(aligned(header, [_line(row, keys) for row in own]))
    return "\n\n".join(parts)


def _line(row: Row, keys: Sequence[str]) -> tuple[str, ...]:
    cells = [f"{row.habits[key].mean:.{HEADERS[key][1]}f}" for key in keys]
    mean, low, high = row.agent_minus["rate"]
    gain = "" if row.name == AGENT else f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"
    return row.name, *cells, gain
