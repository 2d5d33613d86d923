"""Command ``multispin train``, which imports torch when it runs."""

import argparse
import sys

from multispin_agents.registry import AGENTS, OPTION
from multispin_agents.runs import ENCODING_NAMES, RUNS, SETTINGS
from multispin_env.apps.executors import Worker
from multispin_env.apps.terminal.arguments import DEFAULT_SCENARIO, Command, add_system_options
from multispin_env.controllers.names import make_controller
from multispin_env.physics.rounds import sample_state
from multispin_env.registry import import_project_module
from multispin_env.scenario import Scenario
from multispin_env.solver.certify import compile_search, is_compiled


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_system_options(parser, SETTINGS)
    names = ", ".join(AGENTS.names())
    parser.add_argument("--agent", help=f"one of {names}, or {OPTION} (default ppo, without the barrier evolution)")
    encodings = ", ".join(ENCODING_NAMES)
    parser.add_argument("--action", help=f"action encoding: {encodings} (default residual, without the barrier tuned)")
    parser.add_argument("--seed", type=int, help="random seed (default 0)")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--timesteps", type=int, help="environment steps, summed over environments (default: the agent's)"
    )
    budget.add_argument("--minutes", type=float, help="minutes of training, instead of steps")
    parser.add_argument("--name", help=f"name of the run, a folder in {RUNS}/, or a path (default: generated)")
    parser.add_argument("--resume", metavar="NAME", help="continue this run, up to its own budget or a new one")
    parser.add_argument("--device", default="cpu", help="torch device (default cpu, the fastest for small networks)")


def run(options: argparse.Namespace) -> int | None:
    """Train and compare; return an exit status if a signal stops the training.

    The first time, the searches for decisions are compiled in a second process, while this one trains.
    """
    compiler = None if is_compiled() else Worker(daemon=True)
    if compiler is not None:
        print(f"{options.program}: compiling in a second process, once; scores follow", file=sys.stderr)
        compiler.send(_compile)
    training = import_project_module("multispin_agents.training")
    if compiler is None:
        return training.run(options)
    try:
        return training.run(options, compiler.pipe.poll)
    finally:
        compiler.end()


def _compile() -> None:
    scenario = Scenario.resolve(DEFAULT_SCENARIO)
    make_controller("uniform-bandwidth", scenario)(sample_state(scenario, 0))
    compile_search()  # last, since `is_compiled` asks for it


COMMAND = Command(
    "Train an agent, then compare it with every controller on held-out states, or, if parts of the state are hidden or "
    "rounds depend on each other, with the default contenders on held-out episodes.",
    (
        "                                    defaults: about half a minute on two cores",
        "--scenario qwen3.5 --num-users 8 --minutes 2",
        "--name mine --agent decentralised --action lengths",
        "--agent apg --action lengths        learn from derivatives instead of returns",
        "--env MultiSpin/HiddenAcceptance-v0 --set spread=0.2",
        "--agent examples.own_agent:AGENT",
        "--resume mine --timesteps 2000000   continue a stopped run",
    ),
    add_options,
    run,
)
