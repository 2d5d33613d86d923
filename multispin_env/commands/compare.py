"""``multispin compare``: contenders compared on whole episodes of an environment."""

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from multispin_env.checks import check_integer, check_name
from multispin_env.controllers.names import ContenderName
from multispin_env.evaluation.comparison import (
    METRICS,
    EpisodeRow,
    compare,
    comparison_cells,
    default_metric,
    play_all,
    user_cells,
)
from multispin_env.evaluation.contenders import (
    SLOW,
    default_contenders,
    default_reference,
    make_contender,
    native,
)
from multispin_env.evaluation.episodes import make_episode_env
from multispin_env.evaluation.seeds import EPISODE_SEED
from multispin_env.evaluation.table import to_csv, to_json
from multispin_env.terminal.arguments import DEFAULT_ENV, DEFAULT_SCENARIO, add_system_options, chosen_arguments
from multispin_env.terminal.command import Command
from multispin_env.terminal.progress import Progress
from multispin_env.terminal.tables import STDOUT, check_outputs, show_table, write_output


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_system_options(parser, "arguments of the environment, values as in Python")
    parser.set_defaults(env=DEFAULT_ENV, scenario=DEFAULT_SCENARIO)
    parser.add_argument(
        "--controllers",
        nargs="+",
        metavar="NAME",
        help="a controller, which sees the true state, or one with estimators, which does not, as optimal+filter "
        f"(default: those that fit the environment; never {', '.join(SLOW)}, which takes minutes)",
    )
    parser.add_argument("--episodes", type=int, default=200, help="episodes of each (default 200)")
    parser.add_argument("--seed", type=int, default=EPISODE_SEED, help=f"of the first episode (default {EPISODE_SEED})")
    parser.add_argument(
        "--reference", metavar="NAME", help="what the others are compared with (default: the best known)"
    )
    parser.add_argument("--metric", help=f"one of {', '.join(METRICS)} (default: what fits the environment)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the table there too, with how it was made; - prints it instead"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table there too; - prints it instead")


def chosen_names(
    env: VectorEnv[Any, Any, Any], controllers: Sequence[str] | None, reference: str | None
) -> tuple[list[str], str]:
    """Names to play, each once and the reference among them, and which of them is the reference.

    Raises
    ------
    ValueError, TypeError
        For an unknown name; the nearest is suggested.
    """
    names = list(dict.fromkeys(default_contenders(env) if controllers is None else controllers))
    wanted = default_reference(env) if reference is None else reference
    found = next((name for name in names if ContenderName.parse(name) == ContenderName.parse(wanted)), None)
    if found is None:
        names.append(wanted)
    for name in names:
        make_contender(name, env)
    return names, wanted if found is None else found


def about(env: VectorEnv[Any, Any, Any], options: argparse.Namespace, reference: str, metric: str) -> dict[str, Any]:
    """What a table is about, for its JSON file."""
    base = native(env)
    return {
        "env": options.env,
        "arguments": {name: str(value) for name, value in chosen_arguments(options).items()},
        "episodes": options.episodes,
        "rounds": base.max_episode_steps,
        "seed": options.seed,
        "metric": metric,
        "reference": reference,
        "scenario": base.scenario.to_dict(),
        "command": options.command,
        "versions": {name: version(name) for name in ("multispin_env", "gymnasium", "numpy", "scipy")},
    }


def _title(env: VectorEnv[Any, Any, Any], options: argparse.Namespace, reference: str) -> str:
    base = native(env)
    scenario = base.scenario
    extra = "".join(f", {text}" for text in options.set)
    return (
        f"{options.env}{extra}, {scenario.name}, K = {scenario.num_users}, "
        f"B = {scenario.total_bandwidth / 1e6:g} MHz, {options.episodes} episodes of {base.max_episode_steps} rounds; "
        f"reference: {reference}"
    )


def _show(rows: list[EpisodeRow], metric: str, title: str, with_users: bool) -> None:
    print(f"{title}\n")
    show_table(*comparison_cells(rows, metric), best=0)
    if with_users:
        print()
        show_table(*user_cells(rows), best=0)


def run(options: argparse.Namespace) -> None:
    """Play, compare and show."""
    check_outputs(options.json, options.csv)
    check_integer("seed", options.seed, 0)
    env = make_episode_env(options.env, options.episodes, options.scenario, chosen_arguments(options))
    fitting = default_metric(env)
    metric = fitting if options.metric is None else options.metric
    check_name("metric", metric, METRICS)
    names, reference = chosen_names(env, options.controllers, options.reference)
    with Progress(len(names)) as progress:
        rows = compare(play_all(env, names, options.seed, progress.begin), reference, metric)
    if options.json is not None:
        text = to_json(rows, about(env, options, reference, metric))
        write_output(f"{text}\n", options.json)
    if options.csv is not None:
        write_output(to_csv(rows), options.csv)
    if STDOUT not in (options.json, options.csv):
        _show(rows, metric, _title(env, options, reference), with_users=fitting == "return")


COMMAND = Command(
    "Compare controllers, and plug-ins of controllers and estimators, on the same whole episodes.",
    (
        "",
        "--scenario qwen3.5 --num-users 8 --total-bandwidth 5e6",
        "--env MultiSpin/Homogeneous-v0 --controllers homogeneous fixed --json table.json",
        "--env MultiSpin/HiddenAcceptance-v0 --controllers optimal optimal+filter optimal+task-mean",
        "--env MultiSpin/DelayedChannel-v0 --set delay=2 correlation=0.95",
    ),
    add_options,
    run,
)
