"""Check that reward over time can't be cheated: with a wrong price of time policies keep their order and distances."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.learned_schedulers.recording import Record, record
from benchmarks.learned_schedulers.subjects import AGENT, Learned, System
from multispin_env.envs.objectives import TokensMinusTime
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.table import aligned

PRESET, USERS, EPISODES = "llama2", 8, 12
FACTORS = (0.8, 1.0, 1.2)
"""On the environment's own ρ."""


@dataclass(frozen=True)
class Row:
    """One policy at one price.

    Parameters
    ----------
    env, name
        Where, and who.
    factor
        On the environment's own ρ.
    rate
        Tokens/s (in time), all tokens over all time.
    fitness
        Reward a second.
    from_fitness
        Tokens/s by reward alone, scale · fitness + ρ.
    largest_error
        The largest relative difference of the two rates in an episode.
    """

    env: str
    name: str
    factor: float
    rate: float
    fitness: float
    from_fitness: float
    largest_error: float


def measured(learned: Learned, size: int) -> list[Row]:
    """The agent and the rules at all prices, on the same episodes."""
    system = System.of(PRESET, learned.env_id, num_users=USERS)
    price = aim_of(learned.episodes(system, size)).rho
    rows = []
    for factor in FACTORS:
        priced = replace(system, arguments={**system.arguments, "rho": factor * price})
        episodes = learned.episodes(priced, size)
        for name, contender in learned.contenders.items():
            rows.append(_row(learned.env_id, name, factor, record(episodes, contender), aim_of(episodes)))
    return rows


def aim_of(episodes: Episodes) -> TokensMinusTime:
    """What an environment rewards; ``ValueError`` where time has no price."""
    aim = native(episodes.env()).objective
    if not isinstance(aim, TokensMinusTime):
        raise ValueError(f"rewarded: expected rewards with a price of time, got {type(aim).__name__}")
    return aim


def _row(env: str, name: str, factor: float, played: Record, aim: TokensMinusTime) -> Row:
    fitness = played.stats.returns / played.stats.time
    rate, found = played.whole_rate, aim.scale * fitness + aim.rho
    error = float(np.max(np.abs(found - rate) / rate.mean()))
    return Row(env, name, factor, float(rate.mean()), float(fitness.mean()), float(found.mean()), error)


def run(subjects: Sequence[Learned], size: int | None) -> list[Row]:
    """All agents."""
    return [row for one in subjects for row in measured(one, size or EPISODES)]


def table(rows: Sequence[Row]) -> str:
    """Policies from the best to the worst by fitness, for each price; and how far they are off the first."""
    header = (
        "tokens/s",
        "reward a second",
        "tokens/s by reward",
        "largest relative error",
        "behind by reward",
        "by rate",
    )
    parts = []
    for env, factor in dict.fromkeys((row.env, row.factor) for row in rows):
        own = sorted((row for row in rows if (row.env, row.factor) == (env, factor)), key=lambda row: -row.fitness)
        first = own[0]
        lines = [
            (
                row.name, f"{row.rate:.4f}", f"{row.fitness:+.6f}", f"{row.from_fitness:.4f}",
                f"{row.largest_error:.0e}", f"{row.from_fitness - first.from_fitness:.6f}",
                f"{row.rate - first.rate:.6f}",
            )
            for row in own
        ]  # fmt: skip
        parts.append(aligned((f"{env}, ρ times {factor:g}", *header), lines))
    return "\n\n".join([*parts, verdict(rows)])


def verdict(rows: Sequence[Row]) -> str:
    """Whether the order by reward is that by tokens at all prices, and what the agent makes of ρ."""
    said = []
    for env in dict.fromkeys(row.env for row in rows):
        own = [row for row in rows if row.env == env]
        same = all(
            [row.name for row in sorted(part, key=lambda row: -row.fitness)]
            == [row.name for row in sorted(part, key=lambda row: -row.rate)]
            for part in ([row for row in own if row.factor == factor] for factor in FACTORS)
        )
        rates = [row.rate for row in own if row.name == AGENT]
        said.append(
            f"{env}: the order by reward over time is {'' if same else 'not '}that by tokens over time at all prices. "
            f"The agent sees ρ; its own rate is {min(rates):.2f} to {max(rates):.2f} tokens/s."
        )
    return "\n".join(said)
