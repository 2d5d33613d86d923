"""What is drawn on a figure of matplotlib, as plain numbers and texts."""

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from multispin_env.reproduce.drawing import SETTINGS


def drawn(draw, rows):
    """Axes of a figure by their order, and the figure, drawn with the settings of the files."""
    with rc_context(SETTINGS):
        figure = Figure()
        draw(rows, figure)
    return figure.axes, figure


def lines(axes):
    """Label, x and y of each line, without the underscored names that matplotlib gives."""
    return [
        (line.get_label().partition("_")[0], *(list(map(float, np.atleast_1d(data))) for data in line.get_data()))
        for line in axes.lines
    ]


def looks(axes):
    """Colour, style and marker of each line."""
    return [(to_hex(line.get_color()).upper(), line.get_linestyle(), line.get_marker()) for line in axes.lines]


def bands(axes):
    """Colour, and lower and upper edge by place, of each filled band."""
    found = []
    for band in axes.collections:
        edges = {}
        for x, y in band.get_paths()[0].vertices:
            edges.setdefault(float(x), []).append(float(y))
        places = {x: (min(ys), max(ys)) for x, ys in sorted(edges.items())}
        found.append((to_hex(band.get_facecolor()[0]).upper(), places))
    return found


def ticks(axis):
    """Places and texts of the ticks of an axis that has fixed ones."""
    return [
        (float(place), label.get_text())
        for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
    ]


def legend(figure):
    """Texts of the only legend, its columns, and whether it has a frame."""
    (one,) = figure.legends
    return [text.get_text() for text in one.get_texts()], one._ncols, one.get_frame_on()
