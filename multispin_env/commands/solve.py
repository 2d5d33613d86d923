"""``multispin solve``: the decision for devices from a file, without any learning."""

import argparse
import json
from pathlib import Path

from multispin_env.commands.devices import read_devices
from multispin_env.commands.solution import device_cells, rival_cells, solve, summary, to_record
from multispin_env.controllers.factory import OWN_CONTROLLER, controller_names
from multispin_env.evaluation.statistics import aligned, to_csv
from multispin_env.scenario import Scenario
from multispin_env.terminal.arguments import (
    DEFAULT_SCENARIO,
    Command,
    add_scenario_options,
    add_set_option,
    chosen_arguments,
    chosen_scenario,
)
from multispin_env.terminal.output import STDOUT, check_outputs, made_by, write_output

DESCRIPTION = """Draft lengths and bandwidths for your own devices, what they are worth, and what equal bandwidth or one
length for all would give.

The file is CSV with a header, or a JSON list of objects with the same keys; "-" reads standard input. One row is one
device, and K is the number of rows. Columns:
  draft_time_s or draft_time_ms   time of the small model for one token
  spectral_efficiency or snr_db   bit/s/Hz of the uplink, or its signal-to-noise ratio, r = log2(1 + snr)
  acceptance_rate                 probability that the large model accepts a drafted token, in [0, 1]
  name, weight                    optional: a label, and how much a token of this device counts (default 1)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("file", type=Path, help="devices as CSV or JSON, or - for standard input")
    add_scenario_options(parser)
    parser.set_defaults(scenario=DEFAULT_SCENARIO)
    parser.add_argument(
        "--controller",
        default="optimal",
        metavar="NAME",
        help=f"one of {', '.join(controller_names('rounds'))}, or {OWN_CONTROLLER} (default optimal)",
    )
    parser.add_argument(
        "--certify", type=float, metavar="GAP", help="prove that no decision is better by more than this, as 1e-6"
    )
    parser.add_argument(
        "--tpot", type=float, metavar="S", help="most time that a device waits for each token, s (default: any time)"
    )
    add_set_option(
        parser,
        "fields of the scenario, as max_draft_length=12; those that only say how states are drawn change nothing here",
    )
    parser.add_argument("--json", action="store_true", help="print JSON in SI units instead of tables")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the devices' rows there too; - prints them")


def _scenario(options: argparse.Namespace, num_users: int) -> Scenario:
    """Scenario of the options; its number of users is that of the file's rows."""
    if "num_users" in chosen_arguments(options):
        raise ValueError(f"set: expected another field, since K is the number of rows, {num_users}, got 'num_users'")
    return chosen_scenario(options, num_users=num_users)


def run(options: argparse.Namespace) -> None:
    """Read, decide and show."""
    check_outputs(STDOUT if options.json else None, options.csv)
    devices = read_devices(options.file)
    scenario = _scenario(options, len(devices.names))
    solution = solve(scenario, devices, options.controller, options.certify, options.tpot)
    if options.csv is not None:
        write_output(to_csv(solution.devices), options.csv)
    if options.json:
        about = {"file": str(options.file), "controller": options.controller, "scenario": scenario.to_dict()}
        record = to_record(solution, about | made_by(options, "scipy"))
        print(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False))
    elif options.csv != STDOUT:
        system = f"{scenario.label}, K = {scenario.num_users}, B = {scenario.total_bandwidth / 1e6:g} MHz"
        print(f"{system}, decided by {options.controller}\n\n{aligned(*device_cells(solution.devices))}")
        rivals = rival_cells(solution.rivals, options.controller, solution.weighted_goodput is not None)
        print(f"\n{summary(solution)}\n\n{aligned(*rivals)}")


COMMAND = Command(
    DESCRIPTION,
    (
        "examples/devices.csv",
        "--scenario qwen3.5 --total-bandwidth 5e6 --certify 1e-6 examples/devices.csv",
        "--set max_draft_length=12 verification_fixed_time=0.04 examples/devices.csv",
        "--scenario qwen3.5 --server a100-32b --set payload=ids min_draft_length=0 examples/devices.csv",
        "--tpot 0.065 --certify 1e-6 examples/devices.csv",
        "--json - < examples/devices.csv",
    ),
    add_options,
    run,
)
