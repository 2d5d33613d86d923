"""Tokens of a round as cells: accepted, refused, and the server's own."""

from typing import NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Canvas
from multispin_env.envs.rendering.charts import every_nth
from multispin_env.envs.rendering.layout import Area
from multispin_env.envs.rendering.views import View


class Cell(NamedTuple):
    """A place for a token, in pixels."""

    x: float
    y: float
    width: float
    height: float


def draw_tokens(canvas: Canvas, area: Area, view: View, now: float | None) -> None:
    """Draw a row of cells for each device, and behind it the tokens it gained."""
    last = view.last
    assert last is not None
    rows = area.height / len(last.tokens)
    lengths = last.decision.draft_length
    if now is not None:
        lengths = _drafted(lengths, last.outcome.draft_time, now)
    step = every_nth(rows, 11.0)
    for user, (length, gained) in enumerate(zip(lengths.tolist(), last.tokens.tolist(), strict=True)):
        row = place_cells(area, area.y + (user + 0.5) * rows, view.scales.cells, rows, length + 1)
        if now is not None:
            for cell in row.cells[:-1]:
                canvas.rectangle(*cell, style.DRAFTED)
        else:
            draw_judged_row(canvas, row, gained, view.drawn, counted=user % step == 0)


class CellRow(NamedTuple):
    """Places for the tokens of a draft and the server's, and for their number."""

    cells: list[Cell]
    right: float
    middle: float


def place_cells(area: Area, middle: float, most: int, rows: float, count: int) -> CellRow:
    """Places for ``count`` tokens at a height, in an area that ``most`` would fill, with rows of a height in pixels."""
    numbers = 28.0  # width of their column
    pitch = min(16.0, (area.width - numbers) / most)
    width, height = pitch - (1.0 if pitch >= 4.0 else 0.0), max(1.0, min(16.0, 0.8 * rows))
    cells = [Cell(area.x + place * pitch, middle - 0.5 * height, width, height) for place in range(count)]
    return CellRow(cells, area.x + pitch * most + numbers, middle)


def draw_judged_row(canvas: Canvas, row: CellRow, gained: float, drawn: bool, *, counted: bool) -> None:
    """Draw what the server made of a draft; the number of tokens, one of them its own, is written if ``counted``."""
    _draw_judged(canvas, row.cells, gained - 1.0, drawn)
    if counted:
        count = f"{gained:.0f}" if drawn else f"{gained:.1f}"
        canvas.text(count, row.right, row.middle, style.SMALL, style.INK, "right")


def _drafted(length: IntArray, draft_time: FloatArray, now: float) -> IntArray:
    """Tokens (K,) that are drafted at a time."""
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(draft_time > 0.0, now / draft_time, 1.0)
    drafted: IntArray = np.floor(length * np.minimum(part, 1.0)).astype(np.int64)
    return drafted


def _draw_judged(canvas: Canvas, row: list[Cell], accepted: float, drawn: bool) -> None:
    """Draw the draft's cells as far as they are accepted, and the server's token behind the last accepted one."""
    for place, cell in enumerate(row[:-1]):
        part = min(max(accepted - place, 0.0), 1.0)
        if part < 1.0:
            draw_refused(canvas, cell, crossed=drawn)
        canvas.rectangle(cell.x, cell.y, part * cell.width, cell.height, style.ACCEPTED)
    canvas.rectangle(*row[-1], style.SERVER_TOKEN)


def draw_refused(canvas: Canvas, cell: Cell, *, crossed: bool) -> None:
    """Draw a refused token: an empty cell, crossed if it is really one and not a part of the expected."""
    canvas.outline(*cell, style.REFUSED)
    if crossed and min(cell.width, cell.height) >= 6.0:
        left, right = round(cell.x), round(cell.x + cell.width) - 1
        top, bottom = round(cell.y), round(cell.y + cell.height) - 1
        canvas.line([(left, top), (right, bottom)], style.REFUSED)
