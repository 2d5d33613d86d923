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

INTERRUPTED, CLOSED_PIPE = 128 + 2, 128 + 13
"""Exit status after Ctrl-C, and where whoever read the output has gone, as shells have them."""


def sentence(error: BaseException, extra: str = "") -> str:
    """What an error says to the user of a command, which needs an extra of the package or none."""
    if isinstance(error, MemoryError):
        reason = str(error) or "for Python"
        return f"memory: expected sizes that fit, as of users or episodes, got too large ones ({reason})"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return str(missing_package(error.name, extra))
    return str(error)


def exit_status(program: str, run: Callable[[], int | None], extra: str = "") -> int:
    """Run a command; returns its exit status.

    Parameters
    ----------
    program
        Name of the command in messages.
    run
        The command; returns a status, or ``None`` for success. Errors of what the user asks for or gives become one
        sentence and `REFUSED`; Ctrl-C becomes `INTERRUPTED`.
    extra
        Extra of the package that it needs.
    """
    _print_anything()
    try:
        try:
            return run() or 0
        finally:
            sys.stdout.flush()  # the help too, after which argparse exits
    except BrokenPipeError:
        return _closed_pipe()
    except KeyboardInterrupt:
        return _say(f"{program}: interrupted", INTERRUPTED)
    except Stopped as stopped:
        return _say(f"{program}: stopped by {signal.Signals(stopped.number).name}", 128 + stopped.number)
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        return _say(f"{program}: {sentence(error, extra)}", REFUSED)


def _print_anything() -> None:
    """Let standard output write a letter that its encoding lacks, such as Σ, as an escape, as standard error does."""
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _say(line: str, status: int) -> int:
    print(line, file=sys.stderr)
    return status


def _closed_pipe() -> int:
    """Say nothing more, not even at exit, to a reader that has gone; returns the exit status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CLOSED_PIPE
