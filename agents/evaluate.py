"""``python -m agents.evaluate runs/NAME``: the table of a saved run, on its own environment or another."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from agents.decider import load_decider
from agents.options import add_system_options, fail, run_folder, scenario_from
from agents.report import HELD_OUT, agent_label, compare, show, write
from agents.runs import load_config, make_folder
from multispin_env.checks import check_integer, check_name
from multispin_env.envs.settings import Settings
from multispin_env.registry import ENVIRONMENTS


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m agents.evaluate",
        description="Compare a saved agent with every controller on held-out states.",
        epilog="example: python -m agents.evaluate runs/mine --num-users 8 --scenario qwen3.5",
    )
    parser.add_argument("run", help="folder or name of the run")
    add_system_options(parser)
    parser.add_argument("--states", type=int, default=HELD_OUT, help=f"held-out states (default {HELD_OUT})")
    parser.add_argument("--out", type=Path, help="folder for table.json and table.csv (default: only print)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        check_integer("states", options.states, 2)
        folder = run_folder(options.run)
        config, _ = load_config(folder)
        env = config.env if options.env is None else options.env
        check_name("env", env, ENVIRONMENTS.names())
        scenario = scenario_from(options, config.scenario)
        settings = Settings(scenario, ENVIRONMENTS.load(env).variant_type(), config.action)
        if options.out is not None:
            make_folder(options.out)
        decide, config = load_decider(folder, settings)
    except (ValueError, TypeError) as error:
        fail("agents.evaluate", error)
    rows = compare(decide, settings, agent_label(config), options.states)
    if options.out is not None:
        write(rows, settings, env, options.states, options.out)
    show(rows, settings, env, options.states, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
