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
    caption="At 10 MHz sharing one verification among more devices pays until the common budget is thin: equal bandwidth "
    "and fixed lengths saturate or fall first, the heterogeneous optimum last; with one device it equals P2P-SPIN. "
    "Means over states with 95 % bands.",
    compute=compute,
    draw=draw,
)
