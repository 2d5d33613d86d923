"""Search for the defaults of the estimators.

For every preset and number of users, plug-ins with each combination of options of a coarse grid play the same episodes,
on seeds that no reported number uses. The table has their shares of the goodput of the clairvoyant optimum, best first
by the mean over systems; the row of the defaults is marked. ``--out`` writes all of it as JSON.
"""

import json
import shlex
import sys
from argparse import Namespace
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.tools import PAIRS, Options, show
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.episodes import play_episodes
from multispin_env.evaluation.statistics import TUNING_SEED
from multispin_env.registry import ESTIMATORS


@dataclass(frozen=True)
class Search:
    """Grid of the options of an estimator in an environment."""

    env: str
    estimator: str
    grid: dict[str, tuple[Any, ...]]
    arguments: dict[str, Any] = field(default_factory=dict)  # of the environment

    def combinations(self) -> list[dict[str, Any]]:
        """Return all combinations, the defaults first."""
        cls = ESTIMATORS.load(self.estimator)
        defaults = {name: getattr(cls, name) for name in self.grid}
        tried = [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]
        return [defaults, *(options for options in tried if options != defaults)]


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


def shares(search: Search, preset: str, users: int, episodes: int) -> list[float]:
    """Return the shares of the clairvoyant optimum of all combinations in a system."""
    config = EnvConfig.of(search.env, preset, num_users=users, **search.arguments).for_any_decision
    env = config.make_vec(episodes)
    best = play_episodes(env, "optimal+clairvoyant", TUNING_SEED).goodput.mean()
    contenders = (config.contender(f"optimal+{search.estimator}", **options) for options in search.combinations())
    return [float(play_episodes(env, contender, TUNING_SEED).goodput.mean() / best) for contender in contenders]


def tune(search: Search, options: Namespace) -> list[dict[str, Any]]:
    """Try all combinations in every system; return the results, best first."""
    systems = {
        f"{preset}, K = {users}": shares(search, preset, users, options.episodes)
        for preset, users in product(options.scenarios, options.users)
    }
    tried = []
    for i, combination in enumerate(search.combinations()):
        of = {system: values[i] for system, values in systems.items()}
        mean = sum(of.values()) / len(of)
        tried.append({"options": combination, "shares": of, "is_default": i == 0, "mean": mean})
    return sorted(tried, key=lambda row: -row["mean"])


NAMES = sorted({search.estimator for search in SEARCHES})
OPTIONS: Options = {
    "episodes": 100,
    "estimator": (NAMES, "", {"choices": NAMES}),
    "scenarios": PAIRS,
    "users": [8, 20],
    "out": (None, "JSON file (default: none)", {"type": Path}),
}


def run(options: Namespace) -> None:
    results = []
    for search in SEARCHES:
        if search.estimator in options.estimator:
            tried = tune(search, options)
            results.append({"search": asdict(search), "tried": tried})
            text = "".join(f", {name}={value}" for name, value in search.arguments.items())
            rows = (
                {"options": ", ".join(f"{name}={value}" for name, value in row["options"].items()),
                 **{system: f"{share:.4f}" for system, share in row["shares"].items()},
                 "mean": f"{row['mean']:.4f}", "": "default" if row["is_default"] else ""}
                for row in tried
            )  # fmt: skip
            show(f"optimal+{search.estimator} in {search.env}{text}: share of optimal+clairvoyant", rows)
    if options.out:
        versions = {name: version(name) for name in ("multispin_env", "gymnasium", "numpy", "scipy")}
        about = {"command": shlex.join(["python", "-m", "benchmarks.tune", *sys.argv[1:]]), "seed": TUNING_SEED}
        about |= {"episodes": options.episodes, "versions": versions}
        text = json.dumps({"about": about, "searches": results}, indent=2)
        options.out.write_text(f"{text}\n", encoding="utf-8")
