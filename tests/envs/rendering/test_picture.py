"""Where the panels and the legend of a picture are."""

import pytest

from multispin_env.envs.rendering import picture, style
from multispin_env.envs.rendering.layout import Area
from multispin_env.envs.rendering.picture import Picture
from tests.envs.rendering.strokes import Strokes, make_view


@pytest.fixture
def panels(monkeypatch):
    """Areas of panels and the clocks that they were drawn with."""
    found = []
    monkeypatch.setattr(picture, "draw_panel", lambda canvas, area, view, clock: found.append((area, clock)))
    return found


def drawn(views, clock=None):
    one = Picture()
    one.canvas = Strokes()
    one.draw(views, clock)
    return one.canvas


def swatch(x, colour):
    return (x, 432.0, 11.0, 11.0, colour)


def test_legend_below_one_panel(panels):
    strokes = drawn([make_view()])
    assert panels == [(Area(10.0, 4.0, 780.0, 416.0), None)]
    assert strokes.all[0] == ("fill", style.PAPER)
    assert strokes.of("line") == [([(0.0, 424.0), (800.0, 424.0)], style.FAINT, 1)]
    names = ["drafting", "uploading", "waiting", "server verifying", "accepted token", "refused", "server's own"]
    lefts = [10.0, 118.0, 236.0, 334.0, 536.0, 704.0, 802.0]
    assert strokes.texts == [(name, left + 16.0, 437.0, "left") for name, left in zip(names, lefts, strict=True)]
    fills = (style.DRAFTING, style.UPLOADING, style.WAITING, style.VERIFYING, style.ACCEPTED)
    assert strokes.of("rectangle") == [
        *(swatch(left, colour) for left, colour in zip(lefts, fills, strict=False)),
        swatch(802.0, style.SERVER_TOKEN),
    ]
    assert strokes.of("outline") == [swatch(704.0, style.REFUSED)]


def test_two_panels_have_a_line_between_them(panels):
    strokes = drawn([make_view(drawn=True), make_view(drawn=True)], 0.2)
    assert panels == [(Area(10.0, 4.0, 378.0, 416.0), 0.2), (Area(412.0, 4.0, 378.0, 416.0), 0.2)]
    assert strokes.of("line") == [
        ([(400.0, 6.0), (400.0, 418.0)], style.FAINT, 1),
        ([(0.0, 424.0), (800.0, 424.0)], style.FAINT, 1),
        ([(704, 432), (714, 442)], style.REFUSED, 1),
    ]
    assert strokes.of("rectangle")[-1] == swatch(950.0, style.DRAFTED)
    assert strokes.texts[-1] == ("not yet judged", 966.0, 437.0, "left")


def test_a_view_is_compared_with_the_one_beside_it():
    one, other = make_view(goodput=(1.0,)), make_view(goodput=(2.0,))
    found = one.beside(other, "fixed")
    assert (found.goodput, found.reference, found.reference_name) == ((1.0,), (2.0,), "fixed")
