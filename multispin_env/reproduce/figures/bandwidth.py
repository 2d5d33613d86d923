"""Goodput against the uplink budget."""

from collections.abc import Sequence
from typing import Any

from multispin_env.reproduce.drawing import draw_sweep
from multispin_env.reproduce.figure import FigureSpec
from multispin_env.reproduce.scale import Scale
from multispin_env.reproduce.scores import SweepRow, sweep

USERS = 20
BUDGETS = (1.25, 1.75, 2.5, 3.5, 5.0, 7.0, 10.0, 14.0, 20.0, 28.0, 40.0)
QUICK_BUDGETS = (2.5, 5.0, 10.0, 20.0)
TICKS = (1.25, 2.5, 5.0, 10.0, 20.0, 40.0)


def compute(scale: Scale) -> list[SweepRow]:
    """All systems at each budget."""
    return sweep(scale, [(USERS, budget) for budget in scale.pick(BUDGETS, QUICK_BUDGETS)])


def draw(rows: Sequence[SweepRow], figure: Any) -> None:
    """Lines over a logarithmic axis."""
    ticks = sorted({row.bandwidth_mhz for row in rows} & set(TICKS))
    for axes in draw_sweep(rows, figure, lambda row: row.bandwidth_mhz, "total bandwidth B (MHz)"):
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{budget:g}" for budget in ticks])
        axes.minorticks_off()


FIGURE = FigureSpec(
    title="Goodput against total bandwidth",
    caption="With 20 devices the heterogeneous optimum is best and Fixed BW&L last of the four controllers at every "
    "budget; Homo and Uni-BW come closer to the optimum as bandwidth ceases to be scarce, and change places between "
    "the presets. P2P-SPIN and Cen-SPIN serve one prompt at a time and hardly depend on it. Means over states with "
    "95 % bands.",
    compute=compute,
    draw=draw,
)
