"""Cost of partial knowledge: ``python benchmarks/partial_knowledge.py``.

In every environment that hides something or asks for fairness, for K = 8 and 20 and every preset, the plug-ins of that
environment play the same episodes as the fixed and the homogeneous controller, which know the truth, and the optimum
that does. Differences are paired, with 95 % bootstrap intervals. Tables go to ``results/partial_knowledge/`` as
Markdown, CSV and JSON. At the end stands which expected orders hold: yes or no where the interval of the paired
difference is off zero, else undecided.
"""

import argparse
import csv
import io
import itertools
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any

from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.comparison import METRICS, Row, compare_episodes, comparison_cells, user_cells
from multispin_env.evaluation.episode_stats import EpisodeStats
from multispin_env.evaluation.seeds import EPISODE_SEED
from multispin_env.evaluation.statistics import Interval, mean_interval
from multispin_env.evaluation.table import aligned, markdown
from multispin_env.reproduce.figure import PRESETS

USERS: tuple[int, ...] = (8, 20)
OUT = Path("results/partial_knowledge")
REFERENCE = "optimal+clairvoyant"
ALWAYS = ("fixed", "homogeneous", REFERENCE)
ACCEPTANCE = ("optimal+filter", "optimal+beta", "optimal+task-mean")
CHANNEL = ("optimal+quantile", "optimal+mmse", "optimal+last-report")
FAIRNESS = ("optimal+gradient", "optimal+round-robin")


@dataclass(frozen=True)
class Case:
    """One environment with its arguments, who plays there, and who is expected to be ahead of whom."""

    env: str
    contenders: tuple[str, ...]
    orders: tuple[tuple[str, str], ...]
    arguments: dict[str, Any] = field(default_factory=dict)
    order_metrics: tuple[str, ...] = ("goodput",)

    @property
    def title(self) -> str:
        """Environment and arguments."""
        return self.env + "".join(f", {name}={value}" for name, value in self.arguments.items())


def _chain(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple(itertools.pairwise(names))


BY_ACCEPTANCE = _chain(REFERENCE, *ACCEPTANCE)
BY_CHANNEL = (*_chain(REFERENCE, "optimal+quantile", "optimal+last-report"), ("optimal+quantile", "optimal+mmse"))
BY_FAIRNESS = _chain("optimal+gradient", REFERENCE, "optimal+round-robin")

CASES = (
    Case("MultiSpin/HiddenAcceptance-v0", ACCEPTANCE, BY_ACCEPTANCE, {"task_visible": True}),
    Case("MultiSpin/HiddenAcceptance-v0", ACCEPTANCE, BY_ACCEPTANCE, {"task_visible": False}),
    Case("MultiSpin/DelayedChannel-v0", CHANNEL, BY_CHANNEL),
    Case("MultiSpin/DelayedChannel-v0", CHANNEL, BY_CHANNEL, {"mean_gain_visible": False}),
    Case("MultiSpin/RecordedAcceptance-v0", ACCEPTANCE, BY_ACCEPTANCE),
    Case("MultiSpin/Fair-v0", FAIRNESS, BY_FAIRNESS, order_metrics=("return", "utility")),
)


@dataclass(frozen=True)
class Lead:
    """Whether one contender is ahead of another."""

    ahead: str
    behind: str
    metric: str
    difference: Interval  # paired, in the metric's unit

    @property
    def verdict(self) -> str:
        """Yes or no where the interval is off zero."""
        if self.difference.low > 0.0:
            return "yes"
        return "no" if self.difference.high < 0.0 else "undecided"


@dataclass(frozen=True)
class System:
    """Results of one case for one preset and number of users."""

    case: Case
    preset: str
    num_users: int
    metric: str
    rows: list[Row]
    orders: list[Lead]

    @property
    def title(self) -> str:
        """What the table is of."""
        return f"{self.case.title}, {self.preset}, K = {self.num_users}"


def run(case: Case, preset: str, num_users: int, episodes: int) -> System:
    """Play all contenders of a case in one system."""
    cases = Episodes(case.env, episodes, preset, {"num_users": num_users, **case.arguments})
    names = dict.fromkeys((*ALWAYS, *case.contenders, *cases.contenders))
    names.pop("optimal", None)  # the clairvoyant one by another name
    all_stats = {name: cases.play(name) for name in names}
    rows = compare_episodes(all_stats, cases.reference, cases.metric)
    return System(case, preset, num_users, cases.metric, rows, _orders(case, all_stats))


def _orders(case: Case, all_stats: dict[str, EpisodeStats]) -> list[Lead]:
    return [
        Lead(ahead, behind, name, mean_interval(values(all_stats[ahead]) - values(all_stats[behind])))
        for name, values in ((name, METRICS[name].values) for name in case.order_metrics)
        for ahead, behind in case.orders
    ]


def systems(
    cases: tuple[Case, ...], presets: tuple[str, ...], users: tuple[int, ...], episodes: int
) -> Iterator[System]:
    """Results of all cases, one after the other; progress on stderr."""
    start = monotonic()
    for case, preset, num_users in itertools.product(cases, presets, users):
        system = run(case, preset, num_users, episodes)
        print(f"{monotonic() - start:4.0f} s: {system.title}", file=sys.stderr, flush=True)
        yield system


def order_lines(system: System) -> list[str]:
    """One line for each expected order."""
    return [
        f"{order.verdict:9s} {order.ahead} ahead of {order.behind} by {order.metric}: "
        f"{order.difference.mean:+.3f} ({order.difference.low:+.3f} to {order.difference.high:+.3f})"
        for order in system.orders
    ]


def show(system: System) -> None:
    """Print the tables of one system."""
    print(f"\n{system.title}\n\n{aligned(*comparison_cells(system.rows, system.metric))}")
    if system.metric == "return":
        print(f"\n{aligned(*user_cells(system.rows))}")


def to_markdown(played: list[System], about: dict[str, Any]) -> str:
    """All tables, with the orders below each."""
    parts = [f"# Partial knowledge\n\n`{about['command']}`: {about['episodes']} episodes each, seed {about['seed']}."]
    for system in played:
        parts += [f"## {system.title}", markdown(*comparison_cells(system.rows, system.metric))]
        if system.metric == "return":
            parts.append(markdown(*user_cells(system.rows)))
        parts.append("\n".join(f"- {line}" for line in order_lines(system)))
    return "\n\n".join(parts) + "\n"


def to_csv(played: list[System]) -> str:
    """All rows, each with its system."""
    lines = [
        {"case": one.case.title, "preset": one.preset, "num_users": one.num_users, "metric": one.metric} | row.to_dict()
        for one in played
        for row in one.rows
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def to_json(played: list[System], about: dict[str, Any]) -> str:
    """Everything."""
    results = [
        asdict(one)
        | {"rows": [row.to_dict() for row in one.rows]}
        | {"orders": [asdict(order) | {"verdict": order.verdict} for order in one.orders]}
        for one in played
    ]
    return json.dumps({"about": about, "systems": results}, indent=2, ensure_ascii=False) + "\n"


def write(played: list[System], about: dict[str, Any], folder: Path) -> None:
    """Write ``table.md``, ``table.csv`` and ``table.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("table.md", to_markdown(played, about)),
        ("table.csv", to_csv(played)),
        ("table.json", to_json(played, about)),
    ):
        (folder / name).write_text(text, encoding="utf-8")


def main() -> int:
    """Print the tables; exit status 1 if an expected order is reversed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=200, help="episodes of each contender (default 200)")
    parser.add_argument(
        "--env", nargs="+", choices=sorted({one.env for one in CASES}), help="only these environments (default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="4 episodes of one system each, to see that it runs")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder (default {OUT})")
    options = parser.parse_args()
    presets, users, episodes = PRESETS, USERS, options.episodes
    if options.quick:
        presets, users, episodes = presets[:1], users[:1], 4
    cases = tuple(case for case in CASES if case.env in (options.env or [case.env]))
    played = []
    for system in systems(cases, presets, users, episodes):
        show(system)
        played.append(system)
    about = {
        "command": shlex.join(["python", "benchmarks/partial_knowledge.py", *sys.argv[1:]]),
        "episodes": episodes,
        "seed": EPISODE_SEED,
        "versions": {name: version(name) for name in ("multispin_env", "gymnasium", "numpy", "scipy")},
    }
    write(played, about, options.out)
    for system in played:
        print(f"\n{system.title}", *order_lines(system), sep="\n  ")
    print(f"\nsaved in {options.out}")
    return int(any(order.verdict == "no" for system in played for order in system.orders))


if __name__ == "__main__":
    sys.exit(main())
