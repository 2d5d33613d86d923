"""Goodput against the number of devices."""

from collections.abc import Sequence
from typing import Any

from multispin_env.reproduce.drawing import draw_sweep
from multispin_env.reproduce.figure import FigureSpec
from multispin_env.reproduce.scale import Scale
from multispin_env.reproduce.scores import SweepRow, sweep

BUDGET = 10.0
USERS = (1, 2, 4, 8, 12, 16, 20, 25, 30, 40)
QUICK_USERS = (1, 4, 10, 20)


def compute(scale: Scale) -> list[SweepRow]:
    """All systems with each number of devices."""
    return sweep(scale, [(users, BUDGET) for users in scale.pick(USERS, QUICK_USERS)])


def draw(rows: Sequence[SweepRow], figure: Any) -> None:
    """Lines over the number of devices."""
    draw_sweep(rows, figure, lambda row: row.num_users, "devices K")


FIGURE = FigureSpec(
    title="Goodput against the number of devices",
    caption="At 10 MHz Fixed BW&L peaks near 16 devices and then falls, as each has too little bandwidth for its eight "
    "tokens, while the systems that choose lengths go on rising, ever more slowly; with one device all that choose "
    "equal P2P-SPIN. Means over states with 95 % bands, other states for each K.",
    compute=compute,
    draw=draw,
)
