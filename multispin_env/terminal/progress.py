"""Progress of a command on stderr: one line that is written over on a terminal, a line now and then in a log."""

import sys
from time import monotonic
from typing import Any

LINE = 79
"""Letters of a line that is written over: a longer one would wrap."""

PATIENCE = 5.0
"""Seconds between two lines of a log about the same part."""


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
            print(f"\r{line[:LINE]:<{LINE}}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _leave(self) -> None:
        if self._terminal:
            print(file=sys.stderr)


class Progress(_Line):
    """Parts that take some time each, one after the other.

    Parameters
    ----------
    total
        Parts in all.
    time_left
        Whether to say how long the rest takes, if the parts take about as long as one another.
    """

    def __init__(self, total: int, time_left: bool = False) -> None:
        super().__init__(total)
        self.time_left = time_left
        self._begun, self._name = 0, ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        """Say that all is done, unless an error says otherwise, and leave the line."""
        if self._begun:
            if error is None:
                self._show(1.0)
            self._leave()

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
        fraction, seconds = (self._begun - 1 + part) / self.total, monotonic() - self._started
        known = self.time_left and 0.0 < fraction < 1.0
        left = f", {seconds / fraction * (1.0 - fraction):.0f} s left" if known else ""
        self._print(fraction, f"{seconds:4.0f} s{left}  {self._begun} of {self.total}, {self._name}")


class Tally(_Line):
    """Tasks, ``total`` in all, of which ``width`` may run at a time."""

    def __init__(self, total: int, width: int) -> None:
        super().__init__(total)
        self.width, self.done, self.failed = width, 0, 0

    def __enter__(self) -> "Tally":
        self._show("")
        return self

    def __exit__(self, *_: Any) -> None:
        """Leave the line."""
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
