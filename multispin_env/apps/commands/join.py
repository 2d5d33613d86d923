"""Draft on this machine for a server that runs multispin testbed.

The access key that the server printed is read from the environment variable MULTISPIN_ACCESS. A lost connection is made
again until Ctrl-C.
"""

import argparse
import os
import socket
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from multispin_env.apps.commands.model_options import add_device_options, add_draft_options, check_model_options
from multispin_env.apps.commands.testbed import ACCESS
from multispin_env.apps.terminal.arguments import Command
from multispin_env.checks import check_label
from multispin_env.units import MS

if TYPE_CHECKING:
    from multispin_env.apps.models.network import Model

_TIMED = 8  # tokens from which the draft time is estimated


def _add_options(parser: argparse.ArgumentParser) -> None:
    address = "address that the server printed"
    parser.add_argument("--connect", metavar="tcp://HEX@HOST:PORT", required=True, help=address)
    add_draft_options(parser, required=True)
    add_device_options(parser)
    parser.add_argument("--name", default=socket.gethostname(), help="name of this device (default: the host's)")


def _token_time(model: "Model") -> float:
    """Return the time of a drafted token in seconds, after a first draft."""
    from multispin_env.apps.models.halves import Drafter

    drafter = Drafter(model, 1, model.vocabulary_size, 1.0, 1, 1)
    drafter.begin(0, [0])
    for _ in range(2):
        start = perf_counter()
        drafter.draft(np.zeros(1, dtype=np.int64), np.array([_TIMED]), np.zeros((1, _TIMED)))
    return (perf_counter() - start) / _TIMED


def _run(options: argparse.Namespace) -> None:
    from multispin_env.apps.models.halves import Drafter
    from multispin_env.apps.models.network import load_model
    from multispin_env.apps.testbed.device import join, parse_address
    from multispin_env.apps.testbed.messages import vocabulary_digest
    from multispin_env.apps.testbed.transport import check_key

    check_model_options(options)
    check_label("name", options.name)
    parse_address(options.connect)
    access = check_key(ACCESS, os.environ.get(ACCESS, ""))
    model = load_model(options.draft, options.device, options.dtype, options.draft_bits)
    about = {
        "name": options.name,
        "vocabulary": vocabulary_digest(model.tokenizer.get_vocab()),
        "size": model.vocabulary_size,
        "context": model.context,
        "draft": Path(model.name).name,
        "token_time": _token_time(model),
    }
    print(
        f"{options.name}: {about['token_time'] / MS:.2f} ms a token, looks for the server (Ctrl-C ends it)", flush=True
    )

    def make(terms: dict[str, Any]) -> Drafter:
        print(f"{options.name}: joined", flush=True)
        return Drafter(model, *(terms[name] for name in ("seats", "size", "temperature", "kept", "bits")))

    join(options.connect, access, about, make)


COMMAND = Command(__doc__, ("--connect tcp://HEX@gpu.local:8051 --draft small --name pi-1",), _add_options, _run)
