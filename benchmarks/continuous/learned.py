"""Pretrained agents of the environments without the barrier and rules, on the same episodes.

``habits``: rate, batches, idle server, drafts, the least served device and missed requests, K = 20, load 0.85.
``generalisation``: K = 4 to 32, and with K = 8 other bandwidth, servers, loads and arrivals.
No training and no other table uses these episodes. Differences are paired and have 95 % bootstrap intervals.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch as th

import multispin_agents
from benchmarks.tools import PAIRS, Options, Row, interval_text, show
from multispin_env.arrays import BoolArray, FloatArray
from multispin_env.checks import check_integer
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.comparison import METRICS
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.policy import Policy
from multispin_env.evaluation.statistics import EPISODE_SEED, mean_interval
from multispin_env.scenario import Scenario
from multispin_env.units import MHZ

CLOSED, OPEN = "MultiSpin/Continuous-v0", "MultiSpin/Serving-v0"

SEED = EPISODE_SEED + 50_000_000

AGENT = "agent"

RULES = {
    CLOSED: ("groups", "prices", "own-pace", "optimal"),
    OPEN: ("load-aware", "prices+deadlines", "greedy+deadlines", "optimal"),
}
"""Rules that are compared in each environment; `optimal`, the barrier, is never the best."""

SERVER = "a100-32b"
CHANGES: dict[str, dict[str, Any]] = {
    "5 MHz": {"total_bandwidth": 5 * MHZ},
    SERVER: {"server": SERVER},
    "load 0.6": {"load": 0.6},
    "load 1": {"load": 1.0},
    "bursts": {"arrivals": "gamma", "burstiness": 0.25},
    "recorded requests": {"arrivals": "trace"},
}
"""Systems with 8 devices; the last four are of `OPEN`."""

HABITS = (
    *("tokens/s", "mean batch", "verifications/s", "server idle", "mean draft", "least served (tokens/s)"),
    *("least/mean", "with nothing", "missed"),
)


@dataclass(frozen=True)
class Match:
    """Agent and rules in a system."""

    policy: Policy
    title: str
    config: EnvConfig

    @classmethod
    def of(cls, env_id: str, preset: str, users: int, what: str = "") -> "Match":
        """Make the match of the pretrained agent in a preset with one of `CHANGES`, or none."""
        policy = multispin_agents.load(env_id)
        changes = CHANGES.get(what, {})
        fields = {name: value for name, value in changes.items() if name in ("total_bandwidth", "server")}
        load = {"load": 0.85} if env_id == OPEN else {}
        others = {name: value for name, value in changes.items() if name not in fields}
        scenario = Scenario.preset(preset, num_users=users, **fields)
        title = f"{preset}, K = {users}{what and ', '}{what}"
        return cls(policy, title, policy.config.replace(scenario=scenario, **load, **others))

    @property
    def rule(self) -> str:
        """Name of the rule whose options the agent sets."""
        codec: Any = self.policy.config.actions
        return str(codec.reference)

    @property
    def contenders(self) -> dict[str, Policy | str]:
        """The agent, its rule, and the other rules, by name."""
        return {AGENT: self.policy} | {name: name for name in (self.rule, *RULES[self.config.env_id])}

    def episodes(self, size: int) -> Episodes:
        """Return the held-out episodes."""
        return Episodes(self.config, size, SEED)

    @property
    def is_readable(self) -> bool:
        """Whether the observations have the shape that the agent was trained with."""
        trained, here = self.policy.config.observations, self.config.observations
        return trained.space["shared"].shape == here.space["shared"].shape


def habits(episodes: Episodes, contender: Policy | str) -> dict[str, FloatArray]:
    """Return the columns of `HABITS`, (n,) each; shares of devices are of all delivered tokens."""
    policy = episodes.config.contender(contender) if isinstance(contender, str) else contender
    env, (batches, idle) = native(episodes.env_for(policy)), np.zeros((2, episodes.size))

    def record(playing: BoolArray) -> None:
        np.add(batches, playing * env.outcome.batch_size, out=batches)
        np.add(idle, playing * env.outcome.start_delay, out=idle)

    stats = episodes.play(policy, watch=record)
    rates = stats.user_throughput
    numbers = (
        METRICS[episodes.metric].values(stats),
        batches / stats.rounds,
        stats.rounds / stats.time,
        idle / stats.time,
        stats.drafted.sum(-1) / batches,
        rates.min(-1),
        rates.min(-1) / rates.mean(-1),
        (rates == 0.0).sum(-1).astype(np.float64),
        *([stats.episode["share_missed"]] if "share_missed" in stats.episode else []),
    )
    return dict(zip(HABITS, numbers, strict=False))


def show_habits(env_id: str, options: argparse.Namespace) -> None:
    for preset, users in product(options.presets, options.users or [20]):
        match = Match.of(env_id, preset, users)
        episodes = match.episodes(options.size)
        columns_of = {name: habits(episodes, contender) for name, contender in match.contenders.items()}
        agent_rates = columns_of[AGENT]["tokens/s"]
        show(
            f"{env_id}, {match.title}",
            (
                {"decided by": name}
                | {head: float(values.mean()) for head, values in columns.items()}
                | {
                    "agent minus it": ""
                    if name == AGENT
                    else interval_text(mean_interval(agent_rates - columns["tokens/s"]))
                }
                for name, columns in columns_of.items()
            ),
        )


def matches(env_id: str, presets: list[str], users: list[int]) -> Iterator[Match]:
    """Return the systems of an environment: numbers of devices first, then one change at a time."""
    for preset in presets:
        yield from (Match.of(env_id, preset, number) for number in users)
        yield from (Match.of(env_id, preset, 8, what) for what in list(CHANGES)[: None if env_id == OPEN else 2])


def generalisation_row(match: Match, size: int) -> Row:
    """Compare the agent with its rule and the best rule of these episodes, a choice that favours the rules."""
    heads = ("agent (tokens/s)", "minus its rule", "best rule", "its tokens/s", "agent minus it", "gain")
    if not match.is_readable:
        return {"system": match.title} | dict.fromkeys(heads, "unreadable")
    episodes = match.episodes(size)
    rates = {name: episodes.values(contender) for name, contender in match.contenders.items() if name != "optimal"}
    agent_rates = rates.pop(AGENT)
    best = max(rates, key=lambda name: rates[name].mean())
    over_rule, over_best = (mean_interval(agent_rates - rates[name]) for name in (match.rule, best))
    rate = rates[best].mean()
    gain = f"{100 * over_best.mean / rate:+.1f} %"
    cells = (f"{agent_rates.mean():.1f}", interval_text(over_rule), best, f"{rate:.1f}", interval_text(over_best), gain)
    return {"system": match.title} | dict(zip(heads, cells, strict=True))


def show_generalisation(env_id: str, options: argparse.Namespace) -> None:
    """Print the table of generalisation."""
    systems = matches(env_id, options.presets, options.users or [4, 8, 12, 20, 32])
    show(env_id, (generalisation_row(match, options.size) for match in systems))


PARTS = {"habits": show_habits, "generalisation": show_generalisation}


OPTIONS: Options = {
    "only": (list(PARTS), "tables", {"choices": PARTS}),
    "envs": (list(RULES), "", {"choices": RULES}),
    "presets": PAIRS,
    "users": (None, "K (default: as above)", {"type": int, "nargs": "+"}),
    "size": 20,
}


def run(options: argparse.Namespace) -> None:
    check_integer("size", options.size, 2)
    th.set_num_threads(1)  # networks are small, so that more threads only cost time
    for name, env_id in product(options.only, options.envs):
        PARTS[name](env_id, options)
