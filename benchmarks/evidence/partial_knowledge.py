"""Cost of partial knowledge, as Markdown.

In every environment that hides something or rewards fairness, for every preset and number of users, the plug-ins play
the same episodes as the fixed controller, the homogeneous one and the optimum, which get the true state. Differences
are paired, with 95 % bootstrap intervals. A list below each table has the expected orders: yes or no where the interval
of the paired difference excludes zero, else undecided.
"""

import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Any

from benchmarks.tools import PAIRS, Options, interval_text
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.comparison import METRICS, compare_episodes, comparison_cells, user_cells
from multispin_env.evaluation.episodes import EpisodeStats
from multispin_env.evaluation.statistics import EPISODE_SEED, markdown, mean_interval

BEST = "optimal+clairvoyant"
ALWAYS = ("fixed", "homogeneous", BEST)
ACCEPTANCE = ("optimal+filter", "optimal+beta", "optimal+task-mean")
CHANNEL = ("optimal+quantile", "optimal+mmse", "optimal+last-report")
FAIRNESS = ("optimal+gradient", "optimal+round-robin")


@dataclass(frozen=True)
class Case:
    """Environment with its arguments, its contenders, and their expected order."""

    env: str
    contenders: tuple[str, ...]
    orders: tuple[tuple[str, str], ...]
    arguments: dict[str, Any] = field(default_factory=dict)
    order_metrics: tuple[str, ...] = ("goodput",)


BY_ACCEPTANCE = tuple(pairwise((BEST, *ACCEPTANCE)))
BY_CHANNEL = (
    *pairwise((BEST, "optimal+quantile", "optimal+last-report")),
    ("optimal+quantile", "optimal+mmse"),
)
BY_FAIRNESS = tuple(pairwise(("optimal+gradient", BEST, "optimal+round-robin")))

CASES = (
    Case("MultiSpin/HiddenAcceptance-v0", ACCEPTANCE, BY_ACCEPTANCE, {"task_visible": True}),
    Case("MultiSpin/HiddenAcceptance-v0", ACCEPTANCE, BY_ACCEPTANCE, {"task_visible": False}),
    Case("MultiSpin/DelayedChannel-v0", CHANNEL, BY_CHANNEL),
    Case("MultiSpin/DelayedChannel-v0", CHANNEL, BY_CHANNEL, {"mean_gain_visible": False}),
    Case("MultiSpin/RecordedAcceptance-v0", ACCEPTANCE, BY_ACCEPTANCE),
    Case("MultiSpin/Fair-v0", FAIRNESS, BY_FAIRNESS, order_metrics=("return", "utility")),
)


def order_lines(case: Case, all_stats: Mapping[str, EpisodeStats]) -> Iterator[str]:
    """Yield a line for every expected order, with the verdict."""
    for name, (ahead, behind) in product(case.order_metrics, case.orders):
        values = METRICS[name].values
        lead = mean_interval(values(all_stats[ahead]) - values(all_stats[behind]))
        verdict = "yes" if lead.low > 0.0 else "no" if lead.high < 0.0 else "undecided"
        yield f"- {verdict:9s} {ahead} ahead of {behind} by {name}: {interval_text(lead, '+.3f')}"


def section(case: Case, preset: str, users: int, episodes: int) -> str:
    """Play all contenders of a case in one system; return tables and orders."""
    cases = Episodes(EnvConfig.of(case.env, preset, num_users=users, **case.arguments), episodes)
    names = dict.fromkeys((*ALWAYS, *case.contenders, *cases.contenders))
    names.pop("optimal", None)  # the clairvoyant under another name
    all_stats = {name: cases.play(name) for name in names}
    rows = compare_episodes(all_stats, cases.reference, cases.metric)
    arguments = "".join(f", {name}={value}" for name, value in case.arguments.items())
    parts = [f"## {case.env}{arguments}, {preset}, K = {users}", markdown(*comparison_cells(rows, cases.metric))]
    if cases.metric == "return":
        parts.append(markdown(*user_cells(rows)))
    return "\n\n".join([*parts, "\n".join(order_lines(case, all_stats))])


ENVS = list(dict.fromkeys(case.env for case in CASES))
OPTIONS: Options = {"episodes": 200, "env": (ENVS, "", {"choices": ENVS}), "scenarios": PAIRS, "users": [8, 20]}


def run(options: Namespace) -> None:
    command = shlex.join(["python", "-m", "benchmarks.evidence", *sys.argv[1:]])
    print(f"# Partial knowledge\n\n`{command}`: {options.episodes} episodes each, seed {EPISODE_SEED}.")
    for case, preset, users in product(CASES, options.scenarios, options.users):
        if case.env in options.env:
            print(f"\n{section(case, preset, users, options.episodes)}", flush=True)
