"""Pixels of every kind of stroke."""

import numpy as np
import pytest

from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Canvas, load_pygame

INK = (1, 2, 3)


def marked(stroke):
    """Columns and rows, from and to, where something was drawn on a canvas."""
    canvas = Canvas(60, 40)
    canvas.fill(style.PAPER)
    stroke(canvas)
    rows, columns = np.nonzero((canvas.array() != style.PAPER).any(-1))
    return int(columns.min()), int(columns.max()), int(rows.min()), int(rows.max()), len(rows)


@pytest.mark.parametrize(
    ("stroke", "place"),
    [
        (lambda canvas: canvas.rectangle(1.4, 2.6, 3.2, 2.0, INK), (1, 4, 3, 4, 8)),
        (lambda canvas: canvas.outline(1.4, 2.6, 4.2, 4.0, INK), (1, 5, 3, 6, 14)),
        (lambda canvas: canvas.line([(1, 2), (5, 2), (5, 6)], INK), (1, 5, 2, 6, 9)),
        (lambda canvas: canvas.line([(1, 2), (5, 2)], INK, 2), (1, 5, 2, 3, 10)),
        (lambda canvas: canvas.disc(20.4, 9.6, 3, INK), (17, 22, 7, 12, 24)),
    ],
    ids=["rectangle", "outline", "line", "thick line", "disc"],
)
def test_pixels_of_strokes(stroke, place):
    assert marked(stroke) == place


def test_a_line_needs_two_points():
    canvas = Canvas(10, 10)
    canvas.fill(style.PAPER)
    canvas.line([], INK)
    canvas.line([(3.0, 3.0)], INK)
    assert (canvas.array() == style.PAPER).all()


@pytest.mark.parametrize(("align", "part"), [("left", 0.0), ("centre", 0.5), ("right", 1.0)])
def test_texts_lie_beside_around_or_before_their_place(align, part):
    widths = []
    found = marked(lambda canvas: widths.append(canvas.text("HH", 30.0, 20.0, 16, INK, align)))
    begin = 30.0 - part * widths[0]
    assert begin - 1.0 <= found[0] <= begin + 2.0
    assert begin + widths[0] - 3.0 <= found[1] <= begin + widths[0] + 1.0
    assert abs((found[2] + found[3]) / 2 - 20.0) <= 2.0


def test_texts_are_as_large_as_they_are_told():
    pygame = load_pygame()
    canvas = Canvas(60, 40)
    for size in (16, 22):
        plain = pygame.font.Font(None, size).size("goodput")
        assert abs(canvas.text("goodput", 0.0, 20.0, size, INK) - plain[0]) <= 0.12 * plain[0]
        high = marked(lambda canvas, size=size: canvas.text("H", 5.0, 20.0, size, INK))
        assert 0.4 * size <= high[3] - high[2] + 1 <= 0.7 * size


def test_few_texts_are_kept(monkeypatch):
    monkeypatch.setattr("multispin_env.envs.rendering.canvas.MOST_TEXTS", 2)
    canvas = Canvas(60, 40)
    kept = []
    for text in "abcac":
        canvas.text(text, 0.0, 0.0, 16, INK)
        kept.append(len(canvas._texts))
    assert kept == [1, 2, 1, 2, 2]
