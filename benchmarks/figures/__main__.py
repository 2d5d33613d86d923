"""Figures of the evidence pages, drawn as by ``multispin reproduce``: ``python -m benchmarks.figures``."""

import sys
from collections.abc import Sequence

from benchmarks.figures.context import CONTEXT
from benchmarks.figures.draft_time import DRAFT_TIME
from benchmarks.figures.no_barrier import BARRIER, LOAD
from benchmarks.figures.pays import CAPACITY, PAY
from benchmarks.figures.search import SEARCH
from benchmarks.figures.uplink import LOSSES, SHARES
from multispin_env.apps.terminal.output import exit_status
from multispin_lab.commands.reproduce import COMMAND
from multispin_lab.reproduce import FIGURES

OURS = {
    "does-it-pay": PAY, "barrier": BARRIER, "load": LOAD, "capacity": CAPACITY, "losses": LOSSES, "shares": SHARES,
    "draft-time": DRAFT_TIME, "search": SEARCH, "context": CONTEXT,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the figures; the options are those of ``multispin reproduce``."""
    options = sys.argv[1:] if arguments is None else arguments
    program = "python -m benchmarks.figures"
    for name, spec in OURS.items():
        FIGURES.register(name, spec)
    try:
        return exit_status(program, lambda: COMMAND(program, ["--only", *OURS, *options]))
    finally:
        for name in OURS:
            FIGURES.unregister(name)


if __name__ == "__main__":
    sys.exit(main())
