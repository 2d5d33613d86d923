"""Every stroke of a panel; one pixel of its timeline is a millisecond."""

import numpy as np
import pytest

from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.layout import Area, Layout
from multispin_env.envs.rendering.panel import draw_panel
from multispin_env.envs.rendering.views import Scales
from tests.envs.rendering.strokes import Strokes, make_round, make_view

AREA = Area(100.0, 50.0, 700.0, 302.0)
"""Of a panel whose timeline is 424 pixels wide and 120 high."""


def panel(view, clock=None):
    strokes = Strokes()
    draw_panel(strokes, AREA, view, clock)
    return strokes


def test_parts_of_a_panel():
    assert Layout.of(AREA) == (
        Area(124.0, 94.0, 424.0, 120.0),
        Area(560.0, 94.0, 240.0, 120.0),
        Area(124.0, 272.0, 292.0, 64.0),
        Area(452.0, 272.0, 348.0, 64.0),
    )
    assert Layout.of(AREA._replace(width=400.0)).tokens == pytest.approx((332.0, 94.0, 168.0, 120.0))
    assert (AREA.right, AREA.bottom) == (800.0, 352.0)


TIMELINE = [
    (124.0, 96.0, 100.0, 56.0, style.DRAFTING),
    (124.0, 156.0, 200.0, 56.0, style.DRAFTING),
    (224.0, 96.0, 200.0, 56.0, style.UPLOADING),
    (324.0, 156.0, 50.0, 56.0, style.UPLOADING),
    (424.0, 96.0, 0.0, 56.0, style.WAITING),
    (374.0, 156.0, 50.0, 56.0, style.WAITING),
    (424.0, 96.0, 100.0, 56.0, style.VERIFYING),
    (424.0, 156.0, 100.0, 56.0, style.VERIFYING),
]
"""One pixel is a millisecond."""


@pytest.mark.parametrize("clock", [None, 0.4, 0.5])
def test_timeline_of_a_round_that_is_over(clock):
    strokes = panel(make_view(), clock)
    assert strokes.of("rectangle")[:8] == TIMELINE
    assert [line for line in strokes.of("line") if line[1:] == (style.INK, 1)] == []
    assert strokes.of("rectangle", style.SERVER_TOKEN)[-1][0] > 560.0  # judged too


@pytest.mark.parametrize("now", [0.0, 0.15, 0.39])
def test_timeline_up_to_now(now):
    strokes = panel(make_view(), now)
    reached = 124.0 + 1e3 * now
    shown = [(x, y, max(0.0, min(x + width, reached) - x), height) for x, y, width, height, _ in TIMELINE]
    assert [(min(x, reached), *rest) for x, *rest in shown] == [stroke[:4] for stroke in strokes.of("rectangle")[:8]]
    assert ([(reached, 92.0), (reached, 216.0)], style.INK, 1) in strokes.of("line")
    assert strokes.of("rectangle", style.SERVER_TOKEN, style.VERIFYING)[2:] == []  # nothing is judged yet


@pytest.mark.parametrize(("users", "top", "height", "labels"), [(20, 94.72, 4.56, 2), (24, 94.0, 5.0, 3)])
def test_rows_lose_their_gaps_where_they_are_low(users, top, height, labels):
    ones = np.ones(users)
    view = make_view(make_round([1] * users, ones, 0.1 * ones, 0.1 * ones))
    strokes = panel(view)
    assert strokes.of("rectangle")[0] == (124.0, top, 100.0, height, style.DRAFTING)
    row = 120.0 / users
    numbers = [text for text in strokes.texts if text[1] == 118.0]
    expected = [(str(k + 1), 118.0, round(94.0 + (k + 0.5) * row, 3), "right") for k in range(0, users, labels)]
    assert numbers == expected


TEXTS = [
    ("llama2, K = 2, B = 8 MHz", 100.0, 60.0, "left"),
    ("round 2: 11 tokens/s", 800.0, 60.0, "right"),
    ("device: its time in the round", 100.0, 83.0, "left"),
    ("tokens, expected", 560.0, 83.0, "left"),
    ("0", 124.0, 224.0, "left"),
    ("0.212 s", 336.0, 224.0, "centre"),
    ("0.424 s", 548.0, 224.0, "right"),
    ("1", 118.0, 124.0, "right"),
    ("2", 118.0, 184.0, "right"),
    ("20", 448.0, 273.0, "right"),
    ("0", 452.0, 345.0, "left"),
    ("4 rounds", 800.0, 345.0, "right"),
    ("mean goodput 11.2 tokens/s", 452.0, 243.0, "left"),
    ("2.5", 652.0, 124.0, "right"),
    ("2.0", 652.0, 184.0, "right"),
    ("bandwidth (MHz)", 100.0, 250.0, "left"),
    ("8", 120.0, 273.0, "right"),
    ("1", 197.0, 345.0, "centre"),
    ("2", 343.0, 345.0, "centre"),
]


def test_texts_of_a_round():
    assert panel(make_view()).texts == TEXTS
    drawn = panel(make_view(drawn=True, title="fixed"), 0.1)
    changed = [text[0] for text, before in zip(drawn.texts, TEXTS, strict=False) if text != before]
    assert changed[:3] == ["fixed", "round 2", "tokens gained"]
    assert ("mean goodput 10.0 tokens/s", 452.0, 243.0, "left") in drawn.texts  # of the round before


def test_texts_before_the_first_round():
    strokes = panel(make_view(None, goodput=(), scales=Scales()))
    assert [text for text, *_ in strokes.texts] == [
        *("llama2, K = 2, B = 8 MHz", "before the first round", "device: its time in the round", "tokens, expected"),
        *("1", "2", "", "0", "16 rounds", "mean goodput (tokens/s)", "bandwidth (MHz)", "8", "1", "2"),
    ]
    assert [rectangle[3:] for rectangle in strokes.of("rectangle")] == [(0.0, style.UPLOADING)] * 2
