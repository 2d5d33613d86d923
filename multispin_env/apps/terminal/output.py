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
from typing import TYPE_CHECKING, Any, Self, TextIO

from typing_extensions import override

from multispin_env.apps.executors import Stopped, on_signals
from multispin_env.checks import missing_package
from multispin_env.evaluation.contenders import ContenderError
from multispin_env.evaluation.statistics import to_csv, to_json
from multispin_env.files import write_text
from multispin_env.scenario import Scenario

if TYPE_CHECKING:
    from _typeshed import DataclassInstance, ReadableBuffer

_LINE = 79  # characters of a line that is overwritten; longer lines would wrap
LOG_INTERVAL = 5.0  # minimum seconds between two log lines of the same part


class _Line:
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._terminal:
            print(file=sys.stderr)


class Progress(_Line):
    """Progress of ``total`` parts that run one after the other.

    The remaining time is the rest of the current part at its present speed, plus the mean time per part for the others.
    """

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self._begun, self._name, self._since = 0, "", self._started

    @override
    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        if self._begun:
            if error is None:
                self._show(1.0)
            super().__exit__()

    def begin(self, name: str) -> "Progress":
        """Begin the next part; call the returned object to report its progress."""
        self._begun, self._name, self._since = self._begun + 1, name, monotonic()
        self._show(0.0)
        return self

    def __call__(self, done: float, of: float = 1.0) -> None:
        """Report that ``done`` of ``of`` units of the part are done."""
        if self._terminal or monotonic() - self._shown > LOG_INTERVAL:
            self._show(done / of)

    def say(self, line: str, file: TextIO | None = None) -> None:
        """Print a line in place of the bar, by default of results; the next report prints the bar again."""
        if self._terminal:
            print(f"\r{'':{_LINE}}\r", end="", file=sys.stderr, flush=True)
        print(line, file=file, flush=True)

    def _show(self, part: float) -> None:
        fraction = (self._begun - 1 + part) / self.total
        left = f", {self._seconds_left(part):.0f} s left" if 0.0 < fraction < 1.0 else ""
        seconds = monotonic() - self._started
        self._print(fraction, f"{seconds:4.0f} s{left}  {self._begun} of {self.total}, {self._name}")

    def _seconds_left(self, part: float) -> float:
        earlier, here = self._since - self._started, monotonic() - self._since
        whole = here / part if part else earlier / (self._begun - 1)
        return whole - here + (earlier + whole) / self._begun * (self.total - self._begun)


class Tally(_Line):
    """Progress of ``total`` tasks, at most ``width`` of them at the same time."""

    def __init__(self, total: int, width: int) -> None:
        super().__init__(total)
        self.width, self.done, self.failed = width, 0, 0
        self._show("")

    def add(self, name: str, failed: bool = False) -> None:
        """Report that a task is done or has ``failed``."""
        self.done, self.failed = self.done + (not failed), self.failed + failed
        self._show(name)

    def _show(self, name: str) -> None:
        ended, seconds = self.done + self.failed, monotonic() - self._started
        left = f"{seconds / ended * (self.total - ended):.0f} s left" if ended else "time left unknown"
        failed = f", {self.failed} failed" if self.failed else ""
        counts = f"{self.done} of {self.total} done, {min(self.width, self.total - ended)} running{failed}, {left}"
        self._print(ended / self.total if self.total else 1.0, f"{counts}  {name}".rstrip())


USAGE_ERROR = 2  # exit status for wrong input


def error_message(error: BaseException, extra: str = "") -> str:
    """Return the sentence for the user about an error; ``extra`` of the package is suggested for a missing module."""
    if isinstance(error, MemoryError):
        reason = str(error) or "for Python"
        return f"memory: expected numbers of users, episodes etc. that fit into memory, got too large ones ({reason})"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return str(missing_package(error.name, extra))
    return str(error)


class _Stream(FileIO):
    """Standard output or standard error of a command; errors of the latter are ignored."""

    @override
    def write(self, data: "ReadableBuffer") -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            if self.fileno() == 1:
                raise
        except OSError as error:
            if self.fileno() == 1:
                raise _UnwritableError(f"standard output cannot be written: {error.strerror}") from None
        return memoryview(data).nbytes


class _UnwritableError(Exception):
    """Standard output is closed, or its disk is full."""


@contextmanager
def _standard_streams() -> Iterator[None]:
    """Replace the standard streams of the process in the block, except those that are replaced already.

    Closed streams are opened again without write access, so that no other file gets their descriptor.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
    with ExitStack() as stack:
        for number, name in ((1, "stdout"), (2, "stderr")):
            stream = getattr(sys, name)
            if stream is getattr(sys, f"__{name}__"):
                encoding = None if stream is None else stream.encoding
                raw = BufferedWriter(_Stream(number, "w", closefd=False))
                lines = number == 2 or raw.isatty() or getattr(stream, "write_through", False)
                setattr(sys, name, TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=lines))
                stack.callback(setattr, sys, name, stream)
        yield


def exit_status(program: str, run: Callable[[], int | None], extra: str = "") -> int:
    """Run a command and return its exit status; messages begin with ``program``.

    After a signal the status is 128 plus its number. Each error is printed as one sentence; the status is `USAGE_ERROR`
    for wrong input, and 1 for an error of a contender or of standard output.
    """
    with on_signals(), _standard_streams():
        if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="backslashreplace")  # for characters that the encoding lacks, e.g. Σ
        try:
            try:
                return run() or 0
            finally:
                sys.stdout.flush()  # also after the help, where argparse exits
        except (BrokenPipeError, _UnwritableError) as error:  # write nothing more, also at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):  # the reader has closed the pipe
                return 128 + 13
            message, status = str(error), 1
        except KeyboardInterrupt as stopped:
            number = stopped.number if isinstance(stopped, Stopped) else signal.SIGINT
            message, status = f"stopped by {signal.Signals(number).name}", 128 + number
        except ContenderError as error:
            message, status = str(error), 1
        except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
            message, status = error_message(error, extra), USAGE_ERROR
        print(f"{program}: {message}", file=sys.stderr)
        return status


def print_errors(options: Namespace, errors: Sequence[ContenderError]) -> int | None:
    """Print the errors of contenders; return the exit status."""
    for error in errors:
        print(f"{options.program}: {error}", file=sys.stderr)
    return 1 if errors else None


def warn(options: Namespace, text: str) -> None:
    """Print a warning on stderr."""
    print(f"{options.program}: warning: {text}", file=sys.stderr)


def warn_of_memory(options: Namespace, scenario: Scenario, drafts: bool = False) -> None:
    """Warn if the requests of all devices do not fit into the memory, if needed of a server that ``drafts``."""
    memory, size = scenario.memory, (scenario.num_users, scenario.context)
    if text := memory.excess(*size) or memory.excess(*size, drafts):
        warn(options, f"{text}, and the results assume that they do")


STDOUT = Path("-")  # file name for standard output


def add_table_options(parser: ArgumentParser) -> None:
    """Add ``--json --csv``."""
    for name, more in (("--json", ", command and versions"), ("--csv", "")):
        text = f"also write the table{more} to this file; with -, print only that"
        parser.add_argument(name, type=Path, metavar="FILE", help=text)


def check_outputs(*files: Path | None) -> None:
    """Check that the folders of the files exist and that at most one file is `STDOUT`."""
    for file in files:
        if file not in (None, STDOUT) and (file.is_dir() or not file.resolve().parent.is_dir()):
            raise ValueError(f"file: expected a file in a folder that exists, got {str(file)!r}")
    if sum(file == STDOUT for file in files) > 1:
        raise ValueError("file: expected standard output ('-') once, got it twice")


def is_quiet(options: Namespace) -> bool:
    """Whether standard output contains nothing but the content of a file."""
    return STDOUT in (options.json, options.csv)


def write_tables(options: Namespace, rows: "Sequence[DataclassInstance]", about: Mapping[str, Any], text: str) -> None:
    """Write the files of `add_table_options`, with ``about`` in JSON; print ``text`` unless `is_quiet`."""
    if options.json is not None:
        write_output(f"{to_json(rows, about)}\n", options.json)
    if options.csv is not None:
        write_output(to_csv(rows), options.csv)
    if not is_quiet(options):
        print(text)


def write_output(text: str, file: Path) -> None:
    """Write text to a file, or to standard output."""
    if file == STDOUT:
        sys.stdout.write(text)
    else:
        write_text(file, text)


def provenance(options: Namespace, *packages: str) -> dict[str, Any]:
    """Return the command that repeats a result, and the versions of this package, NumPy and other ``packages``."""
    versions = {name: version(name) for name in ("multispin_env", "numpy", *packages)}
    return {"command": options.command, "versions": versions}
