"""Draft lengths and bandwidth of the devices of one state."""

from collections.abc import Sequence
from typing import Any

from multispin_env.reproduce.allocations import CASES, AllocationRow, device_rows
from multispin_env.reproduce.drawing import BLUE, ORANGE, legend_below
from multispin_env.reproduce.figure import PRESETS, FigureSpec
from multispin_env.reproduce.scale import Scale

WIDTH = 0.4


def compute(scale: Scale) -> list[AllocationRow]:
    """The devices of the first state."""
    return device_rows(scale, 1)


def _group(row: AllocationRow) -> float:
    return round(row.acceptance_rate, 2)


def _name_devices(axes: Any, points: Sequence[AllocationRow]) -> None:
    """Channels at the ticks, acceptance once for each group of devices below them."""
    axes.set_xticks(range(len(points)), [f"{row.spectral_efficiency:.1f}" for row in points], fontsize=7.5)
    rates = [_group(row) for row in points]
    for rate in sorted(set(rates)):
        first, count = rates.index(rate), rates.count(rate)
        middle = first + (count - 1) / 2
        text = f"α ≈ {rate:.2f}"
        axes.text(middle, -0.13, text, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=8)
    axes.set_xlabel("devices: spectral efficiency r (bit/s/Hz), below it acceptance rate α", labelpad=17)


def draw(rows: Sequence[AllocationRow], figure: Any) -> None:
    """Bars by device, sorted by acceptance, then channel."""
    panels = figure.subplots(2, len(PRESETS), sharex="col", sharey="row")
    for column, preset in zip(panels.T, PRESETS, strict=True):
        for case, colour, offset in zip(CASES, (ORANGE, BLUE), (-WIDTH / 2, WIDTH / 2), strict=True):
            points = [row for row in rows if row.preset == preset and row.case == case]
            points.sort(key=lambda row: (_group(row), row.spectral_efficiency))
            x = [index + offset for index in range(len(points))]
            column[0].bar(x, [row.draft_length for row in points], WIDTH, color=colour, label=case)
            column[1].bar(x, [100.0 * row.bandwidth_share for row in points], WIDTH, color=colour)
        rates = [_group(row) for row in points]
        for axes in column:
            axes.grid(axis="x", visible=False)
            for rate in sorted(set(rates))[1:]:
                axes.axvline(rates.index(rate) - 0.5, color="0.5", linewidth=0.8, linestyle=":")
        _name_devices(column[1], points)
        column[0].set_title(preset)
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
