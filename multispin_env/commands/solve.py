"""``multispin solve``: the decision for devices from a file, without any learning."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from multispin_env.commands.devices import read_devices
from multispin_env.commands.solution import Solution, device_cells, rival_cells, solve, summary, to_record
from multispin_env.controllers.factory import controller_names
from multispin_env.evaluation.cli import parse_settings
from multispin_env.evaluation.printing import STDOUT, check_outputs, exit_status, show_table, write_output
from multispin_env.evaluation.table import to_csv
from multispin_env.registry import SCENARIOS
from multispin_env.scenario import Scenario

PROGRAM = "multispin solve"

DESCRIPTION = """Draft lengths and bandwidths for your own devices, what they are worth, and what equal bandwidth or one
length for all would give.

The file is CSV with a header, or a JSON list of objects with the same keys; "-" reads standard input. One row is one
device, and K is the number of rows. Columns:
  draft_time_s or draft_time_ms   time of the small model for one token
  spectral_efficiency or snr_db   bit/s/Hz of the uplink, or its signal-to-noise ratio, r = log2(1 + snr)
  acceptance_rate                 probability that the large model accepts a drafted token, in [0, 1]
  name, weight                    optional: a label, and how much a token of this device counts (default 1)
"""


def _examples(program: str) -> str:
    return f"""examples:
  {program} examples/devices.csv
  {program} --scenario qwen3.5 --total-bandwidth 5e6 --certify 1e-6 examples/devices.csv
  {program} --set max_draft_length=12 --set verification_fixed_time=0.04 examples/devices.csv
  {program} --json - < examples/devices.csv
"""


def parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=DESCRIPTION,
        epilog=_examples(program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="devices as CSV or JSON, or - for standard input")
    parser.add_argument("--scenario", default="llama2", help=f"preset: {', '.join(SCENARIOS.names())} (default llama2)")
    parser.add_argument("--total-bandwidth", type=float, help="B, uplink budget in Hz (default 10e6)")
    parser.add_argument(
        "--controller", default="optimal", help=f"one of {', '.join(controller_names())} (default optimal)"
    )
    parser.add_argument(
        "--certify", type=float, metavar="GAP", help="prove that no decision is better by more than this, as 1e-6"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a field of the scenario, as max_draft_length=12; may be given again. Those that only say how states are "
        "drawn change nothing here",
    )
    parser.add_argument("--json", action="store_true", help="print JSON in SI units instead of tables")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the devices' rows there too; - prints them")
    return parser


def _scenario(options: argparse.Namespace, num_users: int) -> Scenario:
    """Scenario of the options; its number of users is that of the file's rows."""
    found = parse_settings(options.set)
    if "num_users" in found:
        raise ValueError(f"set: got 'num_users', allowed are other fields: K is the number of rows, {num_users}")
    if options.total_bandwidth is not None:
        if "total_bandwidth" in found:
            raise ValueError("set: got 'total_bandwidth', allowed is once: there is --total-bandwidth too")
        found["total_bandwidth"] = options.total_bandwidth
    return Scenario.preset(options.scenario).replace(num_users=num_users, **found)


def about(options: argparse.Namespace, scenario: Scenario, command: str) -> dict[str, Any]:
    """What the decision is about, for JSON."""
    return {
        "command": command,
        "file": str(options.file),
        "controller": options.controller,
        "scenario": scenario.to_dict(),
        "versions": {name: version(name) for name in ("multispin_env", "numpy", "scipy")},
    }


def _show(solution: Solution, scenario: Scenario, controller: str) -> None:
    print(
        f"{scenario.name}, K = {scenario.num_users}, B = {scenario.total_bandwidth / 1e6:g} MHz, "
        f"decided by {controller}\n"
    )
    show_table(*device_cells(solution.devices))
    print(f"\n{summary(solution)}\n")
    show_table(*rival_cells(solution.rivals, controller, solution.weighted_goodput is not None), best=0)


def _run(options: argparse.Namespace, command: str) -> None:
    check_outputs(STDOUT if options.json else None, options.csv)
    devices = read_devices(options.file)
    scenario = _scenario(options, len(devices.names))
    solution = solve(scenario, devices, options.controller, options.certify)
    if options.csv is not None:
        write_output(to_csv(solution.devices), options.csv)
    if options.json:
        record = to_record(solution, about(options, scenario, command))
        print(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False))
    elif options.csv != STDOUT:
        _show(solution, scenario, options.controller)


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the command; returns the exit status: 2, with one sentence on stderr, for what cannot be done."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser(program).parse_args(given)
    return exit_status(program, lambda: _run(options, f"{program} {shlex.join(given)}".strip()))
