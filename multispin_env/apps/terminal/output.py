"""Output of commands: progress on stderr, the exit status, and files of tables."""

import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from io import BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from multispin_env.apps.executors import Stopped, on_signals
from multispin_env.checks import missing_package
from multispin_env.evaluation.contenders import ContenderError
from multispin_env.evaluation.statistics import to_csv, to_json
from multispin_env.files import write_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance, ReadableBuffer

_LINE = 79  # letters of a line that is written over: a longer one would wrap
LOG_INTERVAL = 5.0  # seconds between two lines of a log about the same part


class _Line:
    """A bar and a text that change; ``total`` parts are 100 %."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._started = self._shown = monotonic()
        self._terminal = sys.stderr.isatty()

    def _print(self, fraction: float, text: str) -> None:
        self._shown = monotonic()
        line = f"[{'#' * round(24 * fraction):-<24}] {100.0 * fraction:3.0f} %  {text}"
        if self._terminal:
            print(f"\r{line[:_LINE]:<{_LINE}}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _leave(self) -> None:
        if self._terminal:
            print(file=sys.stderr)


class Progress(_Line):
    """Parts that take some time each, ``total`` in all, one after the other.

    Of the time left, the present part takes what it needs at its pace, and each later one the mean of those so far.
    """

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self._begun, self._name, self._since = 0, "", self._started

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        if self._begun:
            if error is None:
                self._show(1.0)
            self._leave()

    def begin(self, name: str) -> "Progress":
        """Begin with the next part; the result is to be called with how far it is."""
        self._begun, self._name, self._since = self._begun + 1, name, monotonic()
        self._show(0.0)
        return self

    def __call__(self, done: float, of: float = 1.0) -> None:
        """Report that so much ``of`` the part is done."""
        if self._terminal or monotonic() - self._shown > LOG_INTERVAL:
            self._show(done / of)

    def say(self, line: str) -> None:
        """Print a line of results, in the position of the bar, which comes back with the next report."""
        if self._terminal:
            print(f"\r{'':{_LINE}}\r", end="", file=sys.stderr, flush=True)
        print(line, flush=True)

    def _show(self, part: float) -> None:
        fraction = (self._begun - 1 + part) / self.total
        left = f", {self._left(part):.0f} s left" if 0.0 < fraction < 1.0 else ""
        seconds = monotonic() - self._started
        self._print(fraction, f"{seconds:4.0f} s{left}  {self._begun} of {self.total}, {self._name}")

    def _left(self, part: float) -> float:
        earlier, here = self._since - self._started, monotonic() - self._since
        whole = here / part if part else earlier / (self._begun - 1)
        return whole - here + (earlier + whole) / self._begun * (self.total - self._begun)


class Tally(_Line):
    """Tasks, ``total`` in all, of which ``width`` may run at a time."""

    def __init__(self, total: int, width: int) -> None:
        super().__init__(total)
        self.width, self.done, self.failed = width, 0, 0

    def __enter__(self) -> "Tally":
        self._show("")
        return self

    def __exit__(self, *_: Any) -> None:
        self._leave()

    def add(self, name: str, failed: bool = False) -> None:
        """Report that one more is done, or has failed."""
        self.done, self.failed = self.done + (not failed), self.failed + failed
        self._show(name)

    def _show(self, name: str) -> None:
        ended, seconds = self.done + self.failed, monotonic() - self._started
        left = f"{seconds / ended * (self.total - ended):.0f} s left" if ended else "time left unknown"
        failed = f", {self.failed} failed" if self.failed else ""
        said = f"{self.done} of {self.total} done, {min(self.width, self.total - ended)} running{failed}, {left}"
        self._print(ended / self.total if self.total else 1.0, f"{said}  {name}".rstrip())


USAGE_ERROR = 2  # exit status for wrong use


def error_message(error: BaseException, extra: str = "") -> str:
    """What an error says to the user of a command, which needs an extra of the package or none."""
    if isinstance(error, MemoryError):
        reason = str(error) or "for Python"
        return f"memory: expected sizes that fit, as of users or episodes, got too large ones ({reason})"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return str(missing_package(error.name, extra))
    return str(error)


class _Stream(FileIO):
    """Standard output or standard error of a command; what the latter cannot take is dropped."""

    @override
    def write(self, data: "ReadableBuffer") -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            if self.fileno() == 1:
                raise
        except OSError as error:
            if self.fileno() == 1:
                raise _UnwritableError(f"standard output can't be written: {error.strerror}") from None
        return memoryview(data).nbytes


class _UnwritableError(Exception):
    """Standard output is closed, or its disk is full."""


@contextmanager
def _standard_streams() -> Iterator[None]:
    """Stand in for the standard streams of the process, unless they have been replaced, until the end of the block.

    Those that are closed take a place again, so that no file gets their number, and refuse what is written.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
    with ExitStack() as stack:
        for number, name in ((1, "stdout"), (2, "stderr")):
            given = getattr(sys, name)
            if given is getattr(sys, f"__{name}__"):
                encoding = None if given is None else given.encoding
                raw = BufferedWriter(_Stream(number, "w", closefd=False))
                lines = number == 2 or raw.isatty() or getattr(given, "write_through", False)
                setattr(sys, name, TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=lines))
                stack.callback(setattr, sys, name, given)
        yield


def exit_status(program: str, run: Callable[[], int | None], extra: str = "") -> int:
    """Run a command, ``program`` in messages, which needs an extra of the package or none; returns its exit status.

    After a signal the status is that of a shell. Each error is printed as one sentence; the status is `USAGE_ERROR` for
    wrong input, and 1 for an error of a contender or of standard output.
    """
    with on_signals(), _standard_streams():
        if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="backslashreplace")  # of a letter that its encoding lacks, such as Σ
        try:
            try:
                return run() or 0
            finally:
                sys.stdout.flush()  # the help too, after which argparse exits
        except (BrokenPipeError, _UnwritableError) as error:  # nothing more, not even at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):  # say nothing more to a reader that has gone
                return 128 + 13
            said, status = str(error), 1
        except KeyboardInterrupt as stopped:
            number = stopped.number if isinstance(stopped, Stopped) else signal.SIGINT
            said, status = f"stopped by {signal.Signals(number).name}", 128 + number
        except ContenderError as error:
            said, status = str(error), 1
        except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
            said, status = error_message(error, extra), USAGE_ERROR
        print(f"{program}: {said}", file=sys.stderr)
        return status


def print_errors(options: Namespace, errors: Sequence[ContenderError]) -> int | None:
    """Say what went wrong with contenders; returns the exit status."""
    for error in errors:
        print(f"{options.program}: {error}", file=sys.stderr)
    return 1 if errors else None


STDOUT = Path("-")  # stands for standard output where the name of a file may stand


def add_table_options(parser: ArgumentParser) -> None:
    """``--json --csv``."""
    for name, more in (("--json", ", with how it was made"), ("--csv", "")):
        text = f"write the table there too{more}; - prints it instead"
        parser.add_argument(name, type=Path, metavar="FILE", help=text)


def check_outputs(*files: Path | None) -> None:
    """``ValueError`` unless each is a file in a folder that exists, or `STDOUT`, which only one may be."""
    for file in files:
        if file not in (None, STDOUT) and (file.is_dir() or not file.resolve().parent.is_dir()):
            raise ValueError(f"file: expected a file in a folder that exists, got {str(file)!r}")
    if sum(file == STDOUT for file in files) > 1:
        raise ValueError("file: expected standard output ('-') once, got it twice")


def is_quiet(options: Namespace) -> bool:
    """Whether standard output is for the content of a file alone."""
    return STDOUT in (options.json, options.csv)


def write_tables(options: Namespace, rows: "Sequence[DataclassInstance]", about: Mapping[str, Any], shown: str) -> None:
    """Write what `add_table_options` asks for, ``about`` to JSON; print what is ``shown`` unless `is_quiet`."""
    if options.json is not None:
        write_output(f"{to_json(rows, about)}\n", options.json)
    if options.csv is not None:
        write_output(to_csv(rows), options.csv)
    if not is_quiet(options):
        print(shown)


def write_output(text: str, file: Path) -> None:
    """Write text to a file, or to standard output."""
    if file == STDOUT:
        sys.stdout.write(text)
    else:
        write_text(file, text)


def provenance(options: Namespace, *packages: str) -> dict[str, Any]:
    """How something was made: the command that repeats it, and versions of ours, numpy and other packages."""
    versions = {name: version(name) for name in ("multispin_env", "numpy", *packages)}
    return {"command": options.command, "versions": versions}
