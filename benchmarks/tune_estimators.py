"""Search for the defaults of the estimators: ``python benchmarks/tune_estimators.py``.

For every preset and number of users, plug-ins with each combination of options of a coarse grid play the same episodes,
on seeds that no reported number uses. The table has the share of the clairvoyant optimum's goodput that each one
reaches, best first by the mean over systems; the row of the defaults is marked. All of it goes to a JSON file with the
command, the seed and the versions.
"""

import argparse
import itertools
import json
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from multispin_env.evaluation.contenders import make_contender
from multispin_env.evaluation.episodes import make_episode_env, play_episodes
from multispin_env.evaluation.seeds import TUNING_SEED
from multispin_env.evaluation.table import aligned
from multispin_env.registry import ESTIMATORS
from multispin_env.reproduce.figure import PRESETS

USERS: tuple[int, ...] = (8, 20)
OUT = Path("results/tune_estimators.json")

Options = dict[str, Any]


@dataclass(frozen=True)
class Search:
    """A grid for one estimator in one environment."""

    env: str
    estimator: str
    grid: dict[str, tuple[Any, ...]]
    arguments: Options = field(default_factory=dict)  # of the environment

    @property
    def title(self) -> str:
        """Where, and what of."""
        arguments = "".join(f", {name}={value}" for name, value in self.arguments.items())
        return f"optimal+{self.estimator} in {self.env}{arguments}"

    @property
    def defaults(self) -> Options:
        """What the options are if nobody chooses."""
        cls = ESTIMATORS.load(self.estimator)
        return {name: getattr(cls, name) for name in self.grid}

    def combinations(self) -> list[Options]:
        """All combinations, the defaults first."""
        tried = [self.defaults]
        for values in itertools.product(*self.grid.values()):
            options = dict(zip(self.grid, values, strict=True))
            if options != self.defaults:
                tried.append(options)
        return tried


BETA = {"decay": (0.98, 1.0), "strength": (10.0, 20.0, 40.0, 80.0), "moment": (1.0, 4.0, 8.0, 16.0)}
FILTER = {"spreads": ((0.5,), (1.0,), (0.5, 1.0, 2.0), (0.25, 1.0, 4.0)), "moment": (1.0, 4.0, 8.0, 16.0)}
STRENGTHS = {"mean_gain_strength": (10.0, 30.0, 100.0, 300.0, 1000.0)}

SEARCHES = (
    Search("MultiSpin/HiddenAcceptance-v0", "beta", BETA),
    Search("MultiSpin/HiddenAcceptance-v0", "filter", FILTER),
    Search("MultiSpin/RecordedAcceptance-v0", "beta", BETA),
    Search("MultiSpin/RecordedAcceptance-v0", "filter", FILTER),
    Search("MultiSpin/DelayedChannel-v0", "quantile", {"quantile": (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5)}),
    Search("MultiSpin/DelayedChannel-v0", "quantile", STRENGTHS, {"mean_gain_visible": False}),
    Search("MultiSpin/DelayedChannel-v0", "mmse", STRENGTHS, {"mean_gain_visible": False}),
)


@dataclass(frozen=True)
class Tried:
    """One combination of options."""

    options: Options
    shares: dict[str, float]  # of the clairvoyant optimum's mean goodput, by system
    is_default: bool

    @property
    def mean_share(self) -> float:
        """Mean over systems."""
        return sum(self.shares.values()) / len(self.shares)


def shares(search: Search, preset: str, num_users: int, episodes: int) -> list[float]:
    """Share of the clairvoyant optimum that each combination reaches in one system."""
    env = make_episode_env(search.env, episodes, preset, {"num_users": num_users, **search.arguments})
    best = play_episodes(env, "optimal+clairvoyant", TUNING_SEED).goodput.mean()
    reached = []
    for options in search.combinations():
        contender = make_contender(f"optimal+{search.estimator}", env, options)
        reached.append(float(play_episodes(env, contender, TUNING_SEED).goodput.mean() / best))
    return reached


def tune(search: Search, presets: Iterable[str], users: Iterable[int], episodes: int) -> list[Tried]:
    """Try all combinations in every system, best first."""
    systems: dict[str, list[float]] = {}
    for preset, num_users in itertools.product(presets, users):
        print(f"{search.title}: {preset}, K = {num_users}", file=sys.stderr, flush=True)
        systems[f"{preset}, K = {num_users}"] = shares(search, preset, num_users, episodes)
    tried = [
        Tried(options, {system: values[index] for system, values in systems.items()}, index == 0)
        for index, options in enumerate(search.combinations())
    ]
    return sorted(tried, key=lambda one: -one.mean_share)


def show(title: str, tried: list[Tried]) -> None:
    """Print the table of a search, or of several."""
    header = ("options", *tried[0].shares, "mean")
    lines = [
        (
            ", ".join(f"{name}={value}" for name, value in one.options.items())
            + (" (default)" if one.is_default else ""),
            *(f"{share:.4f}" for share in one.shares.values()),
            f"{one.mean_share:.4f}",
        )
        for one in tried
    ]
    print(f"\n{title}: share of optimal+clairvoyant\n\n{aligned(header, lines)}", flush=True)


def together(results: list[tuple[Search, list[Tried]]]) -> Iterator[tuple[str, list[Tried]]]:
    """Estimators that were searched with one grid in several environments, with the means of all, best first."""
    groups: dict[str, list[tuple[Search, list[Tried]]]] = {}
    for search, tried in results:
        groups.setdefault(f"{search.estimator}: {', '.join(search.grid)}", []).append((search, tried))
    for title, members in groups.items():
        if len(members) < 2:
            continue
        merged = [
            Tried(
                one.options,
                {
                    search.env: next(t for t in tried if t.options == one.options).mean_share
                    for search, tried in members
                },
                one.is_default,
            )
            for one in members[0][1]
        ]
        yield title, sorted(merged, key=lambda one: -one.mean_share)


def write(results: list[tuple[Search, list[Tried]]], episodes: int, file: Path) -> None:
    """Write everything as JSON."""
    about = {
        "command": shlex.join(["python", "benchmarks/tune_estimators.py", *sys.argv[1:]]),
        "seed": TUNING_SEED,
        "episodes": episodes,
        "versions": {name: version(name) for name in ("multispin_env", "gymnasium", "numpy", "scipy")},
    }
    searches = [
        {"search": asdict(search), "tried": [asdict(one) | {"mean": one.mean_share} for one in tried]}
        for search, tried in results
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"about": about, "searches": searches}, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=100, help="episodes of each combination (default 100)")
    parser.add_argument(
        "--env", nargs="+", choices=sorted({one.env for one in SEARCHES}), help="only these environments (default: all)"
    )
    parser.add_argument(
        "--estimator",
        nargs="+",
        choices=sorted({one.estimator for one in SEARCHES}),
        help="only these estimators (default: all)",
    )
    parser.add_argument("--quick", action="store_true", help="4 episodes of one system, to see that it runs")
    parser.add_argument("--out", type=Path, default=OUT, help=f"JSON file (default {OUT})")
    options = parser.parse_args()
    presets, users, episodes = PRESETS, USERS, options.episodes
    if options.quick:
        presets, users, episodes = presets[:1], users[:1], 4
    searches = [
        search
        for search in SEARCHES
        if search.env in (options.env or [search.env]) and search.estimator in (options.estimator or [search.estimator])
    ]
    results: list[tuple[Search, list[Tried]]] = []
    for search in searches:
        tried = tune(search, presets, users, episodes)
        show(search.title, tried)
        results.append((search, tried))
    for title, tried in together(results):
        show(title, tried)
    write(results, episodes, options.out)
    print(f"\nsaved in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
