"""The agent where it was not trained, beside the rule that it starts from and the best rule."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.learned_schedulers.recording import record
from benchmarks.learned_schedulers.subjects import AGENT, OPEN, PRESETS, Learned, System
from multispin_env.evaluation.statistics import Interval, mean_interval
from multispin_env.evaluation.table import aligned
from multispin_env.units import MHZ

USERS, NORMAL_USERS = (4, 8, 12, 20, 32), 8
LOADS = (0.6, 1.0)
SERVER = "a100-32b"
ARRIVALS: dict[str, dict[str, Any]] = {
    "bursts": {"arrivals": "gamma", "burstiness": 0.25},
    "recorded requests": {"arrivals": "trace"},
}
EPISODES = 10


@dataclass(frozen=True)
class Row:
    """The agent in one system.

    Parameters
    ----------
    env, system
        Where.
    agent
        Rate of the agent in tokens/s, of requests in time where they end; ``None`` where it can't play.
    reference, best
        Names of its rule, and of the rule that is best on these episodes.
    over_reference, over_best
        Paired differences in tokens/s with 95 % intervals.
    best_rate
        Rate of the best rule.
    why_not
        What keeps the agent from playing.
    """

    env: str
    system: str
    agent: float | None = None
    reference: str = ""
    over_reference: Interval | None = None
    best: str = ""
    best_rate: float | None = None
    over_best: Interval | None = None
    why_not: str | None = None


def systems(env_id: str) -> Iterator[System]:
    """Systems of an environment: the numbers of devices first, then one change at a time."""
    for preset in PRESETS:
        for users in USERS:
            yield System.of(preset, env_id, num_users=users)
        yield System.of(preset, env_id, "5 MHz", num_users=NORMAL_USERS, total_bandwidth=5 * MHZ)
        yield System.of(preset, env_id, SERVER, num_users=NORMAL_USERS, server=SERVER)
        if env_id == OPEN:
            for load in LOADS:
                yield System.of(preset, env_id, f"load {load:g}", load, num_users=NORMAL_USERS)
            for what, arguments in ARRIVALS.items():
                yield System.of(preset, env_id, what, num_users=NORMAL_USERS, **arguments)


def measured(learned: Learned, system: System, size: int) -> Row:
    """The agent and the rules on the same episodes; the best rule is chosen on them, which favours it."""
    reason = learned.obstacle(system)
    if reason is not None:
        return Row(learned.env_id, system.title, why_not=reason)
    episodes = learned.episodes(system, size)
    rates = {name: record(episodes, learned.contenders[name]).rate for name in (AGENT, *learned.rivals)}
    best = max(learned.rivals, key=lambda name: rates[name].mean())
    own = rates[AGENT]
    over_reference, over_best = (mean_interval(own - rates[name]) for name in (learned.reference, best))
    return Row(
        learned.env_id,
        system.title,
        float(own.mean()),
        learned.reference,
        over_reference,
        best,
        float(rates[best].mean()),
        over_best,
    )


def run(subjects: Sequence[Learned], size: int | None) -> list[Row]:
    """All agents in all systems."""
    return [measured(one, system, size or EPISODES) for one in subjects for system in systems(one.env_id)]


def table(rows: Sequence[Row]) -> str:
    """A table for each environment."""
    header = ("agent (tokens/s)", "minus its rule", "best rule", "its tokens/s", "agent minus it", "gain")
    parts = []
    for env in dict.fromkeys(row.env for row in rows):
        own = [row for row in rows if row.env == env]
        reference = next((row.reference for row in own if row.reference), "")
        parts.append(aligned((f"{env}; its rule: {reference}", *header), [_line(row) for row in own]))
        parts += [f"{row.system}: left out, since {row.why_not}" for row in own if row.why_not]
    return "\n\n".join(parts)


def _line(row: Row) -> tuple[str, ...]:
    if row.agent is None or row.over_reference is None or row.over_best is None or row.best_rate is None:
        return row.system, *[""] * 6
    cells = (shown(row.over_reference), row.best, f"{row.best_rate:.1f}", shown(row.over_best))
    return row.system, f"{row.agent:.1f}", *cells, f"{100 * row.over_best.mean / row.best_rate:+.1f} %"


def shown(one: Interval) -> str:
    """A difference with its interval."""
    return f"{one.mean:+.2f} ({one.low:+.2f} to {one.high:+.2f})"
