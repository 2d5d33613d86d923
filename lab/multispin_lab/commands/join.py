"""Draft on this machine for a server that runs multispin testbed.

The access key that the server printed is read from the environment variable MULTISPIN_ACCESS. A lost connection is made
again until the server ends, or Ctrl-C.
"""

import argparse
import os
import socket
from functools import partial

from multispin_env.apps.terminal.arguments import Command
from multispin_env.checks import check_label
from multispin_lab.access import ACCESS, check_key, parse_address
from multispin_lab.commands.model_options import add_device_options, add_draft_options, check_model_options, load


def _add_options(parser: argparse.ArgumentParser) -> None:
    address = "address that the server printed"
    parser.add_argument("--connect", metavar="tcp://HEX@HOST:PORT", required=True, help=address)
    add_draft_options(parser, required=True)
    add_device_options(parser)
    parser.add_argument("--name", default=socket.gethostname(), help="name of this device (default: the host's)")


def _run(options: argparse.Namespace) -> None:
    check_model_options(options)
    check_label("name", options.name)
    parse_address(options.connect)
    access = check_key(ACCESS, os.environ.get(ACCESS, ""))
    from multispin_lab.testbed.device import draft_for

    model = load(options, options.draft, options.draft_bits)
    print(f"{options.name}: ready to join (Ctrl-C ends it)", flush=True)
    draft_for(options.connect, access, model, options.name, say=partial(print, f"{options.name}:", flush=True))


COMMAND = Command(__doc__, ("--connect tcp://HEX@gpu.local:8051 --draft small --name pi-1",), _add_options, _run)
