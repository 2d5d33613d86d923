"""Verify the drafts of real devices, which join over the network, and compare with the prediction.

The server has the target model. Each device runs `multispin join` with a draft model of the same vocabulary, and finds
the server by the printed address and the access key, which both sides can read from the environment variable
MULTISPIN_ACCESS. The contenders take turns, round by round, with the same requests and devices. A round lasts by the
server's clock from its decisions to the last verdict; the time to read prompts between rounds is not included. Devices
send a draft over the time that the scenario's uplink takes. A device that leaves may come back under its name.
"""

import argparse
import os
import secrets
import sys
from typing import Any

import numpy as np

from multispin_env.apps.terminal.arguments import Command
from multispin_env.checks import check_integer, check_real
from multispin_env.evaluation.statistics import aligned
from multispin_lab.access import ACCESS, check_key
from multispin_lab.commands.live import add_run_options, check_run, play_and_write
from multispin_lab.commands.model_options import add_device_options, add_target_option, load
from multispin_lab.models.contender import draw_conditions


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_target_option(parser)
    add_device_options(parser)
    add_run_options(parser, seed=None)
    host = "address to listen on (default 127.0.0.1: only this machine)"
    parser.add_argument("--host", default="127.0.0.1", help=host)
    parser.add_argument("--port", type=int, default=8051, help="port to listen on, 0 for a free one (default 8051)")
    emulate = "devices wait until the scenario's draft times have passed (default: their draft times are measured)"
    parser.add_argument("--emulate", action="store_true", help=emulate)
    passes = "the server waits until the scenario's verification time has passed"
    parser.add_argument("--emulate-pass", action="store_true", help=passes)
    pacing = "devices upload as fast as they can: the radio is real"
    parser.add_argument("--no-pacing", dest="pacing", action="store_false", help=pacing)
    patience = "a device without a draft is dropped after X times the predicted time (default 3)"
    parser.add_argument("--patience", type=float, default=3.0, metavar="X", help=patience)
    parser.add_argument("--grace", type=float, default=2.0, metavar="S", help="and S more seconds (default 2)")
    most = "but after at most S seconds (default 30)"
    parser.add_argument("--max-timeout", type=float, default=30.0, metavar="S", help=most)
    parser.add_argument("--wait", type=int, metavar="N", help="start with N devices (default: all K)")
    parser.set_defaults(draft_ahead=None)


def _run(options: argparse.Namespace) -> None:
    if options.seed is None:
        options.seed = secrets.randbits(63)  # with a known seed, devices could compute the numbers of the acceptance
    run = check_run(options)
    from multispin_lab.testbed.contender import TestbedContender
    from multispin_lab.testbed.report import added_cells, added_rows, device_cells, device_rows
    from multispin_lab.testbed.server import Settings, Testbed, check_scenario
    from multispin_lab.testbed.transport import new_key

    scenario = run.scenario
    check_scenario(scenario)
    check_real("patience", options.patience, 1.0)
    check_real("grace", options.grace, 0.0)
    check_real("max_timeout", options.max_timeout, 0.0)
    wait = scenario.num_users if options.wait is None else check_integer("wait", options.wait, 1, scenario.num_users)
    access = check_key("access", os.environ.get(ACCESS) or new_key())
    target = load(options, options.target)
    conditions = draw_conditions(scenario, options.rounds, np.random.default_rng([options.seed, 0]))
    request, where = (options.raw, options.tokens), (options.host, options.port)
    clocks = options.emulate, options.emulate_pass, options.pacing
    limits = options.patience, options.grace, options.max_timeout
    settings = Settings(options.temperature, options.seed, *request, len(run.names), *where, *clocks, *limits)
    events: list[str] = []

    def say(event: str) -> None:
        events.append(event)
        print(event, file=sys.stderr, flush=True)

    with Testbed(scenario, target, run.prompts, access, settings, say) as testbed:
        print(f"{ACCESS}={access}\nmultispin join --connect {testbed.address} --draft NAME", flush=True)
        testbed.connections.wait(wait)
        contenders = [TestbedContender(name, conditions, testbed, seat) for seat, name in enumerate(run.names)]

        def more() -> tuple[dict[str, Any], str]:
            constant, added = added_rows(contenders)
            devices = device_rows(contenders)
            about = {"round_trip_time": constant, "added_ms": added, "devices": devices, "events": events}
            explained = f"round_trip_time = {constant:.4f} in the scenario would explain it"
            machine = f"target on {target.device}"
            if hasattr(os, "getloadavg"):  # not on Windows
                machine += f"; load of the machine {os.getloadavg()[0]:.2f}"
            return about, "\n\n".join(
                ("", aligned(*added_cells(added)), explained, aligned(*device_cells(devices)), machine)
            )

        draft = ", ".join(sorted({slot.draft for slot in testbed.connections.slots if slot.draft}))
        play_and_write(contenders, run, options, draft, target, more)


COMMAND = Command(
    __doc__,
    (
        "--scenario mine.toml --target large --prompts examples/prompts.jsonl --num-users 4 "
        "--host 0.0.0.0 --out testbed",
        "--scenario mine.toml --target large --prompts mine.txt --num-users 2 --emulate --versus homogeneous fixed "
        "--out testbed",
    ),
    _add_options,
    _run,
)
