"""Draft on this machine for a server that runs multispin testbed.

The access key that the server printed is read from the environment variable MULTISPIN_ACCESS. A lost connection is made
again until the server ends, or Ctrl-C. With --measure nothing is joined: the draft time of this machine is measured and
written as the profile of a device.
"""

import argparse
import os
import socket
from functools import partial
from pathlib import Path

from multispin_env.apps.terminal.arguments import Command
from multispin_env.apps.terminal.output import check_outputs
from multispin_env.checks import check_label
from multispin_env.field_files import is_file_name
from multispin_lab.access import ACCESS, check_key, parse_address
from multispin_lab.commands.model_options import add_device_options, add_draft_options, check_model_options, load


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--connect", metavar="tcp://HEX@HOST:PORT", help="address that the server printed")
    profile = "instead, measure draft times and write them to this .toml file, a device for --fleet FILE=1"
    parser.add_argument("--measure", type=Path, metavar="FILE", help=profile)
    add_draft_options(parser, required=True)
    add_device_options(parser)
    parser.add_argument("--name", default=socket.gethostname(), help="name of this device (default: the host's)")


def _run(options: argparse.Namespace) -> None:
    check_model_options(options)
    check_label("name", options.name)
    if (options.connect is None) == (options.measure is None):
        raise ValueError("connect: expected either --connect or --measure")
    if options.measure is not None:
        return _measure(options)
    parse_address(options.connect)
    access = check_key(ACCESS, os.environ.get(ACCESS, ""))
    from multispin_lab.testbed.device import draft_for

    model = load(options, options.draft, options.draft_bits)
    print(f"{options.name}: {model.dtype} on {model.device}, ready to join (Ctrl-C ends it)", flush=True)
    draft_for(options.connect, access, model, options.name, say=partial(print, f"{options.name}:", flush=True))


def _measure(options: argparse.Namespace) -> None:
    if not is_file_name(options.measure):
        raise ValueError(f"measure: expected a .toml or .json file, got {str(options.measure)!r}")
    check_outputs(options.measure)
    from multispin_lab.models.draft_times import describe_device, measure_device

    profile = measure_device(options.name, load(options, options.draft, options.draft_bits))
    profile.save(options.measure)
    print(f"{describe_device(profile)}\n{profile.model}\n{options.measure}")


COMMAND = Command(
    __doc__,
    ("--draft small.gguf --name pi-1 --measure pi-1.toml", "--connect tcp://HEX@gpu.local:8051 --draft small.gguf"),
    _add_options,
    _run,
)
