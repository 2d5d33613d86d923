"""Draft lengths and bandwidth of the devices of one state."""

from collections.abc import Sequence
from typing import Any

from multispin_env.reproduce.allocations import CASES, DeviceRow, device_rows
from multispin_env.reproduce.drawing import BLUE, ORANGE, legend_below
from multispin_env.reproduce.figure import PRESETS, FigureSpec
from multispin_env.reproduce.scale import Scale

WIDTH = 0.4


def compute(scale: Scale) -> list[DeviceRow]:
    """The devices of the first state."""
    return device_rows(scale, 1)


def draw(rows: Sequence[DeviceRow], figure: Any) -> None:
    """Bars by device, sorted by acceptance, then channel."""
    panels = figure.subplots(2, len(PRESETS), sharex="col", sharey="row")
    for column, preset in zip(panels.T, PRESETS, strict=True):
        for case, colour, offset in zip(CASES, (ORANGE, BLUE), (-WIDTH / 2, WIDTH / 2), strict=True):
            points = [row for row in rows if row.preset == preset and row.case == case]
            points.sort(key=lambda row: (round(row.acceptance_rate, 2), row.spectral_efficiency))
            x = [index + offset for index in range(len(points))]
            column[0].bar(x, [row.draft_length for row in points], WIDTH, color=colour, label=case)
            column[1].bar(x, [100.0 * row.bandwidth_share for row in points], WIDTH, color=colour)
        names = [f"{row.acceptance_rate:.3f}"[1:] + f"\n{row.spectral_efficiency:.1f}" for row in points]
        column[1].set_xticks(range(len(points)), names, fontsize=6.5)
        column[0].set_title(preset)
        column[1].set_xlabel("devices by α (above) and spectral efficiency r in bit/s/Hz (below)")
        for axes in column:
            axes.grid(axis="x", visible=False)
    panels[0, 0].set_ylabel("draft length (tokens)")
    panels[1, 0].set_ylabel("bandwidth share (%)")
    legend_below(figure, panels[0, 0], len(CASES))


FIGURE = FigureSpec(
    title="Draft lengths and bandwidth by device",
    caption="One state of 20 devices at 10 MHz, sorted by acceptance rate (to two digits) and then by channel: with "
    "one common length bandwidth mostly falls with the channel inside every group, with own lengths the groups of high "
    "acceptance draft longer and take it. Bandwidth also makes up for slow drafting, which is not shown.",
    compute=compute,
    draw=draw,
    size=(10.5, 5.4),
)
