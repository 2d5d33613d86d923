"""Compare controllers, and plug-ins of controllers and estimators, on the same whole episodes."""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from multispin_env.apps.executors import Executor, Serial
from multispin_env.apps.terminal.arguments import (
    COMMON_ARGUMENTS,
    DEFAULT_ENV,
    DEFAULT_SCENARIO,
    Command,
    add_executor_options,
    add_system_options,
    check_settings,
    collect_arguments,
    executor_of,
)
from multispin_env.apps.terminal.output import (
    Progress,
    Tally,
    add_table_options,
    check_outputs,
    print_errors,
    provenance,
    warn_of_memory,
    write_tables,
)
from multispin_env.baselines.systems import SYSTEMS
from multispin_env.controllers.names import CUSTOM_CONTROLLER
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.comparison import METRICS
from multispin_env.evaluation.contenders import SLOW, ContenderError, contender_errors
from multispin_env.evaluation.episodes import EpisodeStats, ReportProgress
from multispin_env.evaluation.public import EPISODES, compare_cases
from multispin_env.evaluation.statistics import EPISODE_SEED


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_system_options(parser, "arguments of the environment, as Python literals")
    parser.set_defaults(env=DEFAULT_ENV, scenario=DEFAULT_SCENARIO)
    names = (
        "controllers, which see the true state; plug-ins, which do not, such as optimal+filter or "
        f"greedy+deadlines+filter; {CUSTOM_CONTROLLER}; or, if rounds are independent, "
        f"the systems {', '.join(SYSTEMS)} "
        f"(default: those for the environment, without {', '.join(SLOW)}, which takes minutes)"
    )
    parser.add_argument("--controllers", nargs="+", metavar="NAME", help=names)
    episodes = f"episodes of each contender (default {EPISODES})"
    parser.add_argument("--episodes", type=int, default=EPISODES, help=episodes)
    seed = f"seed of the first episode (default {EPISODE_SEED})"
    parser.add_argument("--seed", type=int, default=EPISODE_SEED, help=seed)
    reference = "contender that the others are compared with (default: the best known)"
    parser.add_argument("--reference", metavar="NAME", help=reference)
    parser.add_argument("--metric", help=f"one of {', '.join(METRICS)} (default: that of the environment)")
    add_table_options(parser)
    add_executor_options(parser, "controllers")


def _play_all(
    cases: Episodes, executor: Executor, errors: list[ContenderError], contenders: Iterable[str]
) -> dict[str, EpisodeStats]:
    names = tuple(contenders)
    answers: dict[str, EpisodeStats | ContenderError] = {}
    if isinstance(executor, Serial):  # it can report the progress of a contender
        with Progress(len(names)) as progress:
            answers |= {name: _play(cases, name, progress.begin(name)) for name in names}
    else:
        with Tally(len(names), executor.width) as tally:
            for result in executor.results(partial(_play, replace(cases)), names):  # a copy, without environments
                name = names[result.index]
                error = ContenderError(f"{name}: {result.failure}") if result.error else None
                answers[name] = error or result.value
                tally.add(name, isinstance(answers[name], ContenderError))
    pairs = [(name, answers[name]) for name in names]
    errors += [answer for _, answer in pairs if isinstance(answer, ContenderError)]
    return {name: answer for name, answer in pairs if isinstance(answer, EpisodeStats)}


def _play(cases: Episodes, name: str, progress: ReportProgress | None = None) -> EpisodeStats | ContenderError:
    try:
        with contender_errors(name):
            return cases.play(name, progress)
    except ContenderError as error:
        return error


def _run(options: argparse.Namespace) -> int | None:
    check_outputs(options.json, options.csv)
    executor = executor_of(options)
    arguments = collect_arguments(options)
    check_settings(options, arguments, [options.env], COMMON_ARGUMENTS)
    cases = Episodes(EnvConfig.of(options.env, options.scenario, **arguments), options.episodes, options.seed)
    errors: list[ContenderError] = []
    play_all = partial(_play_all, cases, executor, errors)
    comparison = compare_cases(cases, options.controllers, options.reference, options.metric, play_all)
    if comparison.rows:
        about = cases.about | {"metric": comparison.metric, "reference": comparison.reference}
        write_tables(options, comparison.rows, about | provenance(options, "gymnasium", "scipy"), repr(comparison))
    warn_of_memory(options, cases.config.scenario, "colocated" in [row.name for row in comparison.rows])
    return print_errors(options, errors)


COMMAND = Command(
    __doc__,
    (
        "",
        "--scenario qwen3.5 --num-users 8 --total-bandwidth 5e6",
        "--env MultiSpin/Homogeneous-v0 --controllers homogeneous fixed --json table.json",
        "--env MultiSpin/HiddenAcceptance-v0 --controllers optimal optimal+filter optimal+task-mean",
        "--env MultiSpin/DelayedChannel-v0 --set delay=2 correlation=0.95",
        "--env MultiSpin/Serving-v0 --num-users 8 --set load=0.85",
        "--env MultiSpin/Continuous-v0 --num-users 8 --set acceptance_visible=False",
    ),
    _add_options,
    _run,
)
