"""Common drawing code: lines, panels and legends."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from multispin_env.evaluation.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY

Row = Mapping[str, Any]
"""Numbers and strings of a picture by column."""

COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
"""The palette, in the order of lines."""


class Series(NamedTuple):
    """Line through selected rows, optionally with a band from ``low`` to ``high`` (`band`)."""

    label: str
    style: tuple[str, str, str]  # colour, marker and line
    value: str  # column on the vertical axis
    where: Mapping[str, object] = {}  # required values of columns
    band: bool = False

    def draw(self, axes: Any, rows: Sequence[Row], x: str) -> None:
        """Draw the line over the column ``x``."""
        colour, marker, line = self.style
        points = sorted((row for row in rows if self.where.items() <= row.items()), key=itemgetter(x))
        positions = [row[x] for row in points]
        if self.band:
            ends = ([row[end] for row in points] for end in ("low", "high"))
            axes.fill_between(positions, *ends, color=colour, alpha=0.25)
        size, values = 9 if marker == "*" else 4, [row[self.value] for row in points]
        options = {"color": colour, "marker": marker, "ls": line, "markersize": size, "linewidth": 1.3}
        axes.plot(positions, values, label=self.label, **options)


@dataclass(frozen=True)
class Sweep:
    """Picture of a parameter sweep, with a panel for each heading and the same lines in all panels."""

    x: str  # column on the horizontal axis
    label: str  # of the horizontal axis
    series: Sequence[Series]
    y: str = "goodput (tokens/s)"  # label of the vertical axis, which begins at 0
    heading: Callable[[Row], str] = itemgetter("preset")  # panel of a row
    ticks: Sequence[float] = ()  # labelled positions; the axis is then logarithmic

    def draw(self, rows: Sequence[Row], figure: Any) -> None:
        """Draw rows on an empty figure."""
        headings = list(dict.fromkeys(map(self.heading, rows)))
        panels = figure.subplots(1, len(headings), squeeze=False)[0]
        for axes, heading in zip(panels, headings, strict=True):
            selected = [row for row in rows if self.heading(row) == heading]
            for series in self.series:
                series.draw(axes, selected, self.x)
            axes.set(title=heading, xlabel=self.label, ylabel=self.y)
            axes.set_ylim(bottom=0.0)
            if ticks := sorted({row[self.x] for row in selected} & set(self.ticks)):
                axes.set_xscale("log")
                axes.set_xticks(ticks, [f"{position:g}" for position in ticks])
                axes.minorticks_off()
        legend_below(figure, panels[0], min(len(self.series), 6))


def legend_below(figure: Any, axes: Any, columns: int, *others: Any) -> None:
    """Draw the legend of one or more panels below the figure."""
    entries = [panel.get_legend_handles_labels() for panel in (axes, *others)]
    handles, labels = ([item for part in parts for item in part] for parts in zip(*entries, strict=True))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
