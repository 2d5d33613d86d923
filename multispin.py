"""Console script ``multispin``, which Ctrl-C ends with one line of output at any time."""

import os
import signal
from contextlib import suppress
from types import FrameType


def end_on_interrupt(program: str) -> None:
    """End the process at Ctrl-C, unless that is ignored; while modules are imported, nothing needs cleaning up."""

    def end(number: int, frame: FrameType | None) -> None:
        with suppress(OSError):  # standard error may be closed
            os.write(2, f"{program}: stopped by SIGINT\n".encode())
        os._exit(128 + number)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)


def main() -> int:
    """Import and run the command; return its exit status."""
    end_on_interrupt("multispin")
    from multispin_env.apps.commands.main import main as run

    return run()
