"""Every cell of the tokens of a round."""

import numpy as np
import pytest

from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.layout import Area
from multispin_env.envs.rendering.tokens import Cell, draw_refused, draw_tokens
from tests.envs.rendering.strokes import ROUND, SCALES, Strokes, make_round, make_view


def tokens(last, now=None, drawn=False, width=108.0, height=60.0, cells=4):
    strokes = Strokes()
    view = make_view(last, drawn=drawn, scales=SCALES._replace(cells=cells))
    draw_tokens(strokes, Area(100.0, 20.0, width, height), view, now)
    return strokes


def test_expected_tokens_are_parts_of_cells():
    strokes = tokens(ROUND)
    assert strokes.all == [
        ("rectangle", 100.0, 27.0, 15.0, 16.0, style.ACCEPTED),
        ("outline", 116.0, 27.0, 15.0, 16.0, style.REFUSED),
        ("rectangle", 116.0, 27.0, 7.5, 16.0, style.ACCEPTED),
        ("outline", 132.0, 27.0, 15.0, 16.0, style.REFUSED),
        ("rectangle", 132.0, 27.0, 0.0, 16.0, style.ACCEPTED),
        ("rectangle", 148.0, 27.0, 15.0, 16.0, style.SERVER_TOKEN),
        ("text", "2.5", 192.0, 35.0, style.SMALL, style.INK, "right"),
        ("rectangle", 100.0, 57.0, 15.0, 16.0, style.ACCEPTED),
        ("rectangle", 116.0, 57.0, 15.0, 16.0, style.SERVER_TOKEN),
        ("text", "2.0", 192.0, 65.0, style.SMALL, style.INK, "right"),
    ]


def test_drawn_tokens_are_whole_and_refused_ones_crossed():
    strokes = tokens(make_round([2], [2.0], [0.1], [0.1]), drawn=True)
    assert strokes.of("outline") == [(116.0, 42.0, 15.0, 16.0, style.REFUSED)]
    assert strokes.of("line") == [([(116, 42), (130, 57)], style.REFUSED, 1)]
    assert [text[0] for text in strokes.texts] == ["2"]


@pytest.mark.parametrize(
    ("width", "cells", "first", "step"),
    [(68.0, 4, (9.0, 16.0), 10.0), (44.0, 4, (3.0, 16.0), 4.0), (40.0, 4, (3.0, 16.0), 3.0)],
)
def test_cells_are_narrow_where_they_must_be(width, cells, first, step):
    rectangles = tokens(ROUND, width=width, cells=cells).of("rectangle")
    assert rectangles[0][2:4] == first
    assert rectangles[1][0] - rectangles[0][0] == step


@pytest.mark.parametrize(("height", "cell", "labels"), [(100.0, 4.0, [1, 4, 7, 10, 13, 16, 19]), (10.0, 1.0, [1])])
def test_cells_are_low_where_they_must_be(height, cell, labels):
    ones = np.ones(20)
    strokes = tokens(make_round([1] * 20, np.arange(1.0, 21.0), ones, ones), height=height)
    assert {rectangle[3] for rectangle in strokes.of("rectangle")} == {cell}
    assert [float(text[0]) for text in strokes.texts] == labels


@pytest.mark.parametrize(("now", "drafted"), [(0.0, [0, 4, 0]), (0.5, [1, 4, 4]), (1.0, [2, 4, 4]), (1.9, [3, 4, 4])])
def test_drafted_tokens_up_to_now(now, drafted):
    strokes = tokens(make_round([4, 4, 4], [1.0] * 3, [2.0, 0.0, 0.5], [1.0] * 3), now)
    assert strokes.texts == strokes.of("outline") == []
    rows = [rectangle[1] for rectangle in strokes.of("rectangle", style.DRAFTED)]
    assert [rows.count(22.0 + 20.0 * user) for user in range(3)] == drafted
    assert len(rows) == len(strokes.all)


@pytest.mark.parametrize(("width", "height", "crossed"), [(6.0, 6.0, True), (5.9, 9.0, False), (9.0, 5.9, False)])
def test_crosses_have_their_place(width, height, crossed):
    strokes = Strokes()
    draw_refused(strokes, Cell(10.4, 20.6, width, height), crossed=True)
    assert strokes.of("line") == ([([(10, 21), (15, 26)], style.REFUSED, 1)] if crossed else [])
