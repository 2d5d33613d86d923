"""The paper's Remark 2: whom the bandwidth compensates, and whom it rewards."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from multispin_env.reproduce.allocations import CASES, AllocationRow, device_rows
from multispin_env.reproduce.drawing import BLUE, ORANGE, legend_below
from multispin_env.reproduce.figure import PRESETS, FigureSpec
from multispin_env.reproduce.scale import Scale

STATES = 40
QUICK_STATES = 10
BINS = 8
STYLES = ((ORANGE, "s", -1.0), (BLUE, "o", 1.0))
"""Colour and marker of each case, and the side of α on which its points are set off."""

OFFSET = 0.015
"""How far, of the range of α."""


def compute(scale: Scale) -> list[AllocationRow]:
    """Every device of some states."""
    return device_rows(scale, QUICK_STATES if scale.quick else STATES)


def _medians(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """Medians of both in bins that hold equally many points."""
    order = np.argsort(x, kind="stable")
    parts = np.array_split(order, BINS)
    return [float(np.median(np.take(x, part))) for part in parts], [
        float(np.median(np.take(y, part))) for part in parts
    ]


def draw(rows: Sequence[AllocationRow], figure: Any) -> None:
    """Share against channel, and against acceptance; a row of panels for each preset."""
    panels = figure.subplots(len(PRESETS), 2, sharey=True)
    for (left, right), preset in zip(panels, PRESETS, strict=True):
        chosen = [row for row in rows if row.preset == preset]
        rates = sorted({round(row.acceptance_rate, 2) for row in chosen})
        offset = OFFSET * (rates[-1] - rates[0])
        for case, (colour, marker, side) in zip(CASES, STYLES, strict=True):
            points = [row for row in chosen if row.case == case]
            share = [100.0 * row.bandwidth_share for row in points]
            efficiency = [row.spectral_efficiency for row in points]
            left.scatter(efficiency, share, s=8, color=colour, marker=marker, alpha=0.3, linewidths=0)
            left.plot(*_medians(efficiency, share), color=colour, linewidth=2.0)
            right.scatter(
                [round(row.acceptance_rate, 2) + side * offset for row in points],
                share,
                s=8,
                color=colour,
                marker=marker,
                alpha=0.3,
                linewidths=0,
            )
            medians = [
                float(
                    np.median(
                        [s for s, row in zip(share, points, strict=True) if round(row.acceptance_rate, 2) == rate]
                    )
                )
                for rate in rates
            ]
            right.plot(
                [rate + side * offset for rate in rates],
                medians,
                color=colour,
                linewidth=2.0,
                marker=marker,
                label=f"{case}, line: median",
            )
        left.set_ylabel(f"{preset}: bandwidth share (%)")
        left.set_yscale("log")
        left.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    panels[1, 0].set_xlabel("spectral efficiency r (bit/s/Hz)")
    panels[1, 1].set_xlabel("acceptance rate α, to two digits")
    legend_below(figure, panels[0, 1], len(CASES))


FIGURE = FigureSpec(
    title="Remark 2: who is compensated, who is rewarded",
    caption="With one common length (homogeneous) the bandwidth share falls with the channel's quality and does not "
    "see acceptance: the weak are compensated. With own lengths (heterogeneous) it rises with acceptance: the accepted "
    "are rewarded. The lowest orange points share their state with one device in a deep fade, which the common length "
    "gives nearly everything. 20 devices, 10 MHz; lines are medians, the cases are set a little apart along α.",
    compute=compute,
    draw=draw,
    size=(9.0, 6.2),
)
