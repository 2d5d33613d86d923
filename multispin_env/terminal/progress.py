"""Progress of a command on stderr: one line that is written over on a terminal, a line now and then in a log."""

import sys
from time import monotonic
from typing import Any

WIDTH = 24
"""Letters of the bar."""

LINE = 79
"""Letters of a line that is written over: a longer one would wrap."""

PATIENCE = 5.0
"""Seconds between two lines of a log about the same part."""


class Progress:
    """Parts that take some time each, one after the other.

    Parameters
    ----------
    total
        Parts in all.
    time_left
        Whether to say how long the rest takes, if the parts take about as long as one another.
    """

    def __init__(self, total: int, time_left: bool = False) -> None:
        self.total, self.time_left = total, time_left
        self._begun, self._name = 0, ""
        self._started = self._shown = monotonic()
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        """Say that all is done, unless an error says otherwise, and leave the line."""
        if self._begun and error is None:
            self._show(1.0)
        if self._begun and self._terminal:
            print(file=sys.stderr)

    def begin(self, name: str) -> "Progress":
        """Begin with the next part; the result is to be called with how far it is."""
        self._begun, self._name = self._begun + 1, name
        self._show(0.0)
        return self

    def __call__(self, done: float, of: float = 1.0) -> None:
        """Report that so much ``of`` the part is done."""
        if self._terminal or monotonic() - self._shown > PATIENCE:
            self._show(done / of)

    def say(self, line: str) -> None:
        """Print a line of results, in the place of the bar, which comes back with the next report."""
        if self._terminal:
            print(f"\r{'':{LINE}}\r", end="", file=sys.stderr, flush=True)
        print(line, flush=True)

    def _show(self, part: float) -> None:
        self._shown = monotonic()
        fraction = (self._begun - 1 + part) / self.total
        seconds = self._shown - self._started
        known = self.time_left and 0.0 < fraction < 1.0
        left = f", {seconds / fraction * (1.0 - fraction):.0f} s left" if known else ""
        _print(fraction, f"{seconds:4.0f} s{left}  {self._begun} of {self.total}, {self._name}", self._terminal)


class Tally:
    """Tasks of which several may run at a time.

    Parameters
    ----------
    total
        Tasks in all.
    width
        How many run at a time.
    """

    def __init__(self, total: int, width: int) -> None:
        self.total, self.width = total, width
        self.done, self.failed = 0, 0
        self._started = monotonic()
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> "Tally":
        self._show("")
        return self

    def __exit__(self, *_: Any) -> None:
        """Leave the line."""
        if self._terminal:
            print(file=sys.stderr)

    def add(self, name: str, failed: bool = False) -> None:
        """Report that one more is done, or has failed."""
        self.done, self.failed = self.done + (not failed), self.failed + failed
        self._show(name)

    def _show(self, name: str) -> None:
        ended = self.done + self.failed
        running = min(self.width, self.total - ended)
        seconds = monotonic() - self._started
        left = f"{seconds / ended * (self.total - ended):.0f} s left" if ended else "time left unknown"
        failed = f", {self.failed} failed" if self.failed else ""
        said = f"{self.done} of {self.total} done, {running} running{failed}, {left}"
        _print(ended / self.total if self.total else 1.0, f"{said}  {name}".rstrip(), self._terminal)


def _print(fraction: float, text: str, terminal: bool) -> None:
    bar = f"{'#' * round(WIDTH * fraction):-<{WIDTH}}"
    line = f"[{bar}] {100.0 * fraction:3.0f} %  {text}"
    if terminal:
        print(f"\r{line[:LINE]:<{LINE}}", end="", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)
