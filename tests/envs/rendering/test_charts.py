"""Every stroke of the axes, the bars of bandwidth and the curves of goodput."""

import numpy as np
import pytest

from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.charts import draw_bandwidth, draw_goodput, draw_time_axis, every_nth
from multispin_env.envs.rendering.layout import Area
from tests.envs.rendering.strokes import SCALES, Strokes, make_view


def test_bars_of_bandwidth():
    strokes = Strokes()
    draw_bandwidth(strokes, Area(10.0, 20.0, 100.0, 40.0), np.array([6e6, 2e6, 0.0, 8e6, 4e6]), 8e6)
    assert strokes.of("rectangle") == [
        (10.0 + 20.0 * k + 3.0, 60.0 - height, 14.0, height, style.UPLOADING)
        for k, height in enumerate((30.0, 10.0, 0.0, 40.0, 20.0))
    ]
    assert strokes.of("line") == [
        ([(10.0, 20.0), (110.0, 20.0)], style.FAINT, 1),
        ([(10.0, 60.0), (110.0, 60.0)], style.GREY, 1),
    ]
    many = Strokes()
    draw_bandwidth(many, Area(10.0, 20.0, 80.0, 40.0), np.full(8, 8e6), 8e6)
    assert many.of("rectangle")[1] == (21.5, 20.0, 7.0, 40.0, style.UPLOADING)
    assert [text[:2] for text in many.texts[2:]] == [("1", 15.0), ("3", 35.0), ("5", 55.0), ("7", 75.0)]


def test_axis_of_time():
    strokes = Strokes()
    draw_time_axis(strokes, Area(10.0, 20.0, 100.0, 40.0), 0.5)
    assert strokes.of("line") == [([(x, 20.0), (x, 60.0)], style.FAINT, 1) for x in (10.0, 60.0, 110.0)]
    assert strokes.texts == [
        ("0", 10.0, 70.0, "left"),
        ("0.25 s", 60.0, 70.0, "centre"),
        ("0.5 s", 110.0, 70.0, "right"),
    ]


def goodput(own, other=(), rounds=None, scales=SCALES):
    strokes = Strokes()
    view = make_view(goodput=own, reference=other, scales=scales)
    draw_goodput(strokes, Area(10.0, 20.0, 40.0, 60.0), view, len(own) if rounds is None else rounds)
    return strokes


def test_curves_of_goodput():
    strokes = goodput((10.0, 40.0, 20.0), (5.0, 10.0, 20.0, 10.0), 3)
    assert strokes.of("line")[2:] == [
        ([(-14.0, -9.0), (4.0, -9.0)], style.INK, 2),
        ([(-14.0, 5.0), (-7.0, 5.0)], style.REFUSED, 2),
        ([(-3.0, 5.0), (4.0, 5.0)], style.REFUSED, 2),
        ([(20.0, 50.0), (30.0, 20.0), (40.0, 20.0)], style.INK, 2),  # no higher than the area
        ([(20.0, 65.0), (25.0, 57.5)], style.REFUSED, 2),
        ([(30.0, 50.0), (35.0, 35.0)], style.REFUSED, 2),
    ]
    assert strokes.of("disc") == [(40.0, 20.0, 3, style.INK), (40.0, 20.0, 3, style.REFUSED)]
    assert [(text, x, y) for text, x, y, _ in strokes.texts[-2:]] == [
        ("mean goodput 20.0 tokens/s", 10.0, -9.0),
        ("optimum 20.0 tokens/s", 10.0, 5.0),
    ]


def test_dashes_begin_at_round_places_and_follow_the_slope():
    strokes = goodput((1.0, 1.0), (20.0, 0.0), scales=SCALES._replace(rounds=2))
    dashes = [points for points, colour, _ in strokes.of("line")[5:] if colour == style.REFUSED]
    assert dashes == [[(30.0, 20.0), (35.0, 35.0)], [(40.0, 50.0), (45.0, 65.0)]]
    odd = Strokes()
    view = make_view(goodput=(1.0, 1.0), reference=(20.0, 20.0), scales=SCALES._replace(rounds=2))
    draw_goodput(odd, Area(7.0, 20.0, 60.0, 60.0), view, 2)
    dashes = [points for points, colour, _ in odd.of("line")[5:] if colour == style.REFUSED]
    assert dashes == [[(left, 20.0), (right, 20.0)] for left, right in ((40.0, 45.0), (50.0, 55.0), (60.0, 65.0))]


@pytest.mark.parametrize(("count", "places"), [(200, 200), (201, 101), (450, 151), (451, 151), (452, 152)])
def test_long_curves_are_thinned_out_and_end_with_the_last_round(count, places):
    means = tuple(np.linspace(0.0, 10.0, count))
    ((curve, *_),) = [
        line for line in goodput(means, scales=SCALES._replace(rounds=count)).of("line") if len(line[0]) > 2
    ]
    assert len(curve) == places
    assert curve[0] == (round(10.0 + 40.0 / count, 3), 80.0)
    assert curve[-1] == (50.0, 50.0)


def test_nothing_is_drawn_without_rounds():
    strokes = goodput(())
    assert strokes.of("disc") == []
    assert [line for line in strokes.of("line", 2) if line[0] and line[0][0][0] >= 10.0] == []
    assert every_nth(200, 0) == 1
