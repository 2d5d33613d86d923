"""Command-line options that training and evaluation share, and the errors of both."""

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario

RUNS = Path("runs")


def add_system_options(parser: argparse.ArgumentParser) -> None:
    """``--env --scenario --num-users --total-bandwidth``; ``None`` where not given."""
    parser.add_argument("--env", help=f"environment id: {', '.join(ENVIRONMENTS.names())}")
    parser.add_argument("--scenario", help="preset name (default llama2)")
    parser.add_argument("--num-users", type=int, help="K, number of devices (default 20)")
    parser.add_argument("--total-bandwidth", type=float, help="B, uplink budget in Hz (default 10e6)")


def scenario_from(options: argparse.Namespace, base: Scenario | None = None) -> Scenario:
    """Scenario of the options, on top of ``base`` where there is one."""
    given: dict[str, Any] = {
        name: getattr(options, name) for name in ("num_users", "total_bandwidth") if getattr(options, name) is not None
    }
    if options.scenario is not None or base is None:
        return Scenario.preset(options.scenario or "llama2", **given)
    return base.replace(**given)


def run_folder(name: str) -> Path:
    """Folder of a run's name or path."""
    return Path(name) if Path(name).parts[:-1] else RUNS / name


def fail(program: str, error: Exception) -> NoReturn:
    """One sentence on stderr, exit status 2."""
    print(f"{program}: {error}", file=sys.stderr)
    raise SystemExit(2)
