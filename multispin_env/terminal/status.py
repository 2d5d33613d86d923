"""Exit status of a command, and one sentence on stderr for what cannot be done."""

import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper

from multispin_env.checks import missing_package
from multispin_env.executors.base import Stopped

REFUSED = 2
"""Exit status for wrong use."""


def sentence(error: BaseException, extra: str = "") -> str:
    """What an error says to the user of a command, which needs an extra of the package or none."""
    if isinstance(error, MemoryError):
        reason = str(error) or "for Python"
        return f"memory: expected sizes that fit, as of users or episodes, got too large ones ({reason})"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return str(missing_package(error.name, extra))
    return str(error)


def exit_status(program: str, run: Callable[[], int | None], extra: str = "") -> int:
    """Run a command; returns its exit status, for signals that of shells.

    Parameters
    ----------
    program
        Name of the command in messages.
    run
        The command; returns a status, or ``None`` for success. Errors of what the user asks for or gives become one
        sentence and `REFUSED`.
    extra
        Extra of the package that it needs.
    """
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # of a letter that its encoding lacks, such as Σ
    try:
        try:
            return run() or 0
        finally:
            sys.stdout.flush()  # the help too, after which argparse exits
    except BrokenPipeError:  # say nothing more, not even at exit, to a reader that has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except KeyboardInterrupt:
        said, status = "interrupted", 128 + 2
    except Stopped as stopped:
        said, status = f"stopped by {signal.Signals(stopped.number).name}", 128 + stopped.number
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        said, status = sentence(error, extra), REFUSED
    print(f"{program}: {said}", file=sys.stderr)
    return status
