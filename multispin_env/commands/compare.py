"""``multispin compare``: contenders compared on whole episodes of an environment."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from multispin_env.checks import check_integer, check_name
from multispin_env.controllers.names import ContenderName
from multispin_env.controllers.rounds.systems import SYSTEMS
from multispin_env.evaluation.cases.base import heading
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.comparison import METRICS, Row, compare_ledgers, comparison_cells
from multispin_env.evaluation.contenders import SLOW, make_contender, native
from multispin_env.evaluation.ledger import Ledger
from multispin_env.evaluation.seeds import EPISODE_SEED
from multispin_env.evaluation.table import to_csv, to_json
from multispin_env.executors.base import Executor
from multispin_env.executors.serial import Serial
from multispin_env.scenario import Scenario
from multispin_env.terminal.arguments import (
    DEFAULT_ENV,
    DEFAULT_SCENARIO,
    add_system_options,
    chosen_arguments,
    parse_settings,
)
from multispin_env.terminal.command import Command
from multispin_env.terminal.executors import add_executor_options, executor_of
from multispin_env.terminal.progress import Progress, Tally
from multispin_env.terminal.tables import STDOUT, check_outputs, show_table, write_output


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_system_options(parser, "arguments of the environment, values as in Python")
    parser.set_defaults(env=DEFAULT_ENV, scenario=DEFAULT_SCENARIO)
    parser.add_argument(
        "--controllers",
        nargs="+",
        metavar="NAME",
        help="a controller, which sees the true state, or one with estimators, which does not, as "
        "optimal+filter or greedy+deadlines+filter "
        f"(default: those that fit the environment; never {', '.join(SLOW)}, which takes minutes), or a system: "
        f"{', '.join(SYSTEMS.names())} (where rounds are independent)",
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
    add_executor_options(parser, "controllers", parts=False)


@dataclass(frozen=True)
class Part:
    """All episodes of one contender.

    Parameters
    ----------
    env_id, size, scenario, arguments, seed
        As of `Episodes`.
    name
        Of the contender.
    """

    env_id: str
    size: int
    scenario: Scenario | str
    arguments: Mapping[str, Any]
    seed: int
    name: str


def play(part: Part) -> Ledger:
    """Play a part, as executors call it."""
    return Episodes(part.env_id, part.size, part.scenario, part.arguments, part.seed).play(part.name)


def ledgers_of(cases: Episodes, names: Sequence[str], executor: Executor) -> dict[str, Ledger]:
    """What each contender does in the same episodes; ``ValueError`` with what went wrong with one."""
    if isinstance(executor, Serial):  # which can say how far a contender is
        with Progress(len(names)) as progress:
            return {name: cases.play(name, progress.begin(name)) for name in names}
    parts = [Part(cases.env_id, cases.size, cases.scenario, cases.arguments, cases.seed, name) for name in names]
    found = {}
    with Tally(len(names), executor.width) as tally:
        for outcome in executor.outcomes(play, parts):
            if outcome.error:
                raise ValueError(f"{names[outcome.index]}: {outcome.error.strip().splitlines()[-1]}")
            found[names[outcome.index]] = outcome.value
            tally.add(names[outcome.index])
    return {name: found[name] for name in names}


def chosen_names(cases: Episodes, controllers: Sequence[str] | None, reference: str | None) -> tuple[list[str], str]:
    """Names to play, each once and the reference among them, and which of them is the reference.

    Raises
    ------
    ValueError, TypeError
        For an unknown name; the nearest is suggested.
    """
    names = list(dict.fromkeys((*cases.contenders, *cases.systems) if controllers is None else controllers))
    wanted = cases.reference if reference is None else reference
    same = next((name for name in names if ContenderName.parse(name) == ContenderName.parse(wanted)), None)
    if same is None:
        names.append(wanted)
    for name in names:
        if name not in cases.systems:
            make_contender(name, cases.env())
    return names, wanted if same is None else same


def about(cases: Episodes, options: argparse.Namespace, reference: str, metric: str) -> dict[str, Any]:
    """What a table is about, for its JSON file."""
    versions = {name: version(name) for name in ("multispin_env", "gymnasium", "numpy", "scipy")}
    return {**cases.about, "metric": metric, "reference": reference, "command": options.command, "versions": versions}


def _show(rows: list[Row], metric: str, title: str, below: str) -> None:
    """Print the table of a metric, and what stands below that of another one, which fits the environment."""
    print(f"{title}\n")
    show_table(*comparison_cells(rows, metric), best=0)
    cells = METRICS[below].below
    if cells is not None:
        print()
        show_table(*cells(rows), best=0)


def run(options: argparse.Namespace) -> None:
    """Play, compare and show."""
    check_outputs(options.json, options.csv)
    check_integer("seed", options.seed, 0)
    executor = executor_of(options)
    cases = Episodes(options.env, options.episodes, options.scenario, chosen_arguments(options), options.seed)
    metric = cases.metric if options.metric is None else options.metric
    check_name("metric", metric, METRICS)
    names, reference = chosen_names(cases, options.controllers, options.reference)
    rows = compare_ledgers(ledgers_of(cases, names, executor), reference, metric)
    if options.json is not None:
        write_output(f"{to_json(rows, about(cases, options, reference, metric))}\n", options.json)
    if options.csv is not None:
        write_output(to_csv(rows), options.csv)
    if STDOUT not in (options.json, options.csv):
        scenario, what = native(cases.env()).scenario, f"{cases.title}; reference: {reference}"
        title = heading(options.env, parse_settings(options.set), scenario, what)
        _show(rows, metric, title, cases.metric)


COMMAND = Command(
    "Compare controllers, and plug-ins of controllers and estimators, on the same whole episodes.",
    (
        "",
        "--scenario qwen3.5 --num-users 8 --total-bandwidth 5e6",
        "--env MultiSpin/Homogeneous-v0 --controllers homogeneous fixed --json table.json",
        "--env MultiSpin/HiddenAcceptance-v0 --controllers optimal optimal+filter optimal+task-mean",
        "--env MultiSpin/DelayedChannel-v0 --set delay=2 correlation=0.95",
        "--env MultiSpin/Serving-v0 --num-users 8 --set load=0.85",
        "--env MultiSpin/Continuous-v0 --num-users 8 --set acceptance_visible=False",
    ),
    add_options,
    run,
)
