"""Command ``multispin evaluate NAME``: evaluation of a saved run in its own environment or another.

The command imports torch when it runs.
"""

import argparse
import sys
from pathlib import Path

from multispin_agents.registry import admit
from multispin_agents.runs import SETTINGS, env_config_from, load_config, run_folder
from multispin_env.apps.commands.main import run_alias
from multispin_env.apps.terminal.arguments import DEFAULTS, Command, add_system_options, collect_arguments
from multispin_env.apps.terminal.output import STDOUT, check_outputs, warn_of_memory, write_output
from multispin_env.checks import check_integer
from multispin_env.evaluation.cases import Episodes, StateCases
from multispin_env.evaluation.statistics import to_json
from multispin_env.files import make_folder
from multispin_env.registry import import_project_module

_SIZES = {kind.noun: kind.default_size for kind in (StateCases, Episodes)}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("run", help="folder or name of the run")
    add_system_options(parser, SETTINGS, dict.fromkeys(DEFAULTS, "that of the run"))
    for name, default in _SIZES.items():
        parser.add_argument(
            f"--{name}", type=int, help=f"number of held-out {name}, if the environment uses {name} (default {default})"
        )
    parser.add_argument("--agent", metavar="MODULE:ATTRIBUTE", help="agent of the run, if it is your own")
    parser.add_argument("--out", type=Path, help="folder for table.json and table.csv (default: only print)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON; - prints only JSON")


def _size(options: argparse.Namespace, noun: str, env: str) -> int | None:
    for name in _SIZES:
        size = getattr(options, name)
        if size is not None and name != noun:
            raise ValueError(f"{name}: expected --{noun} for {env}, got --{name} {size}")
    size = getattr(options, noun)
    return None if size is None else check_integer(noun, size, 2)


def run(options: argparse.Namespace) -> None:
    """Load the run, compare its agent and print the table."""
    models = import_project_module("multispin_agents.models")
    from rich.console import Console

    from multispin_agents.measures import Measure, agent_label, print_report, write_report

    check_outputs(options.json)
    folder = run_folder(options.run)
    if options.agent is not None:
        admit(options.agent)
    config, _ = load_config(folder, collect_arguments(options))
    if options.agent not in (None, config.agent):
        raise ValueError(f"agent: expected {config.agent!r}, the agent of the run, got {options.agent!r}")
    env = config.env.env_id if options.env is None else options.env
    env_config = env_config_from(options, env, config.env.action, config)
    measure = Measure(env_config)
    size = _size(options, measure.kind.noun, env)
    if options.out is not None:
        make_folder(options.out)
    model = models.load_run_model(folder, env_config)
    report = measure.report(model, agent_label(config), size)
    if options.out is not None:
        write_report(report, options.out)
    if options.json is not None:
        write_output(f"{to_json(report.rows, report.about)}\n", options.json)
    if options.json != STDOUT:
        print_report(report, Console())
    warn_of_memory(options, env_config.scenario)


COMMAND = Command(
    "Compare a saved agent with every controller on held-out states, or, if parts of the state are hidden or rounds "
    "depend on each other, with the default contenders on held-out episodes.",
    ("mine", "mine --num-users 8 --scenario qwen3.5", "runs/mine --states 100 --json -"),
    add_options,
    run,
)

if __name__ == "__main__":
    sys.exit(run_alias("evaluate"))
