"""A bar on stderr: one line on a terminal, one line a figure in a log."""

import sys
from collections.abc import Callable
from time import monotonic

WIDTH = 24


class Bar:
    """Progress over figures that take some time each.

    Parameters
    ----------
    total
        Figures in all.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.started = monotonic()
        self.terminal = sys.stderr.isatty()

    def begin(self, index: int, name: str) -> Callable[[float], None]:
        """Begin with figure ``index``, counted from 0; the result takes the fraction of it that is done."""

        def show(fraction: float) -> None:
            if self.terminal or fraction in (0.0, 1.0):
                self._show((index + fraction) / self.total, f"{index + 1} of {self.total}, {name}")

        show(0.0)
        return show

    def end(self) -> None:
        """Leave the line."""
        if self.terminal:
            print(file=sys.stderr)

    def _show(self, fraction: float, text: str) -> None:
        filled = round(WIDTH * fraction)
        bar = "#" * filled + "-" * (WIDTH - filled)
        line = f"[{bar}] {100.0 * fraction:3.0f} %  {monotonic() - self.started:4.0f} s  {text}"
        print(
            f"\r{line:<79}" if self.terminal else line, end="" if self.terminal else "\n", file=sys.stderr, flush=True
        )
