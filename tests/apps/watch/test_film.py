import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from multispin_env.apps.watch import gif_colours, watch, write_gif, write_mp4, writer_for
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.picture import Picture
from multispin_env.envs.rendering.renderers import Film

FULL = "MultiSpin/Heterogeneous-v0"


def episodes(*names, seed=7, **arguments):
    config = EnvConfig.of(FULL, num_users=3, **arguments).for_any_decision
    return [watch(config, 3, name, seed) for name in names]


def test_both_meet_the_same_states():
    optimal, again, fixed = episodes("optimal", "optimal", "fixed", optimum=True)
    assert optimal.means == again.means
    assert [(trace.title, len(trace.outcomes)) for trace in (optimal, fixed)] == [("optimal", 3), ("fixed", 3)]
    (other,) = episodes("optimal", seed=8)
    assert other.means[0] != optimal.means[0]
    assert optimal.optima == pytest.approx(fixed.optima)  # what the optimum makes of the states
    assert optimal.means == pytest.approx(optimal.optima)
    assert fixed.means[-1] < optimal.means[-1]


CONTENTS = {
    "times": (style.DRAFTING, style.UPLOADING, style.WAITING, style.VERIFYING),
    "tokens": (style.ACCEPTED, style.REFUSED, style.SERVER_TOKEN),
    "curve": (style.INK,),
}
"""Colours of what panels show, which axes do not have."""


@pytest.mark.parametrize(("env_id", "arguments"), [(FULL, {}), ("MultiSpin/Continuous-v0", {"horizon": 2.0})])
def test_no_panel_is_empty_in_any_frame(env_id, arguments):
    config = EnvConfig.of(env_id, num_users=3, **arguments).for_any_decision
    sides = [watch(config, 3, name, 7) for name in ("optimal", "fixed")]
    film, layouts = Film(*sides), Picture().layouts(sides)
    frames = film.frames()
    assert len(frames) > 9
    for number, frame in enumerate(frames):
        picture = film.draw(frame).array()
        for side, layout in enumerate(layouts):
            for part, colours in CONTENTS.items():
                x, y, width, height = map(round, getattr(layout, part))
                pixels = picture[y : y + height, x : x + width, None]
                assert (pixels == np.array(colours, np.uint8)).all(axis=-1).any(), (number, side, part)


def picture(*colours):
    """Function that draws a spot of each colour on the first one."""

    def draw():
        pixels = np.full((4, 6, 3), colours[0], np.uint8)
        pixels[1, : len(colours)] = colours
        return pixels

    return draw


PICTURES = [
    picture(style.PAPER, style.INK, style.UPLOADING),
    picture(style.DRAFTING, style.INK, style.VERIFYING),
    picture(style.REFUSED, style.INK),
]


def test_pixels_times_and_loop_of_a_gif(tmp_path):
    image = pytest.importorskip("PIL.Image")
    assert len(gif_colours()) == len(set(gif_colours())) <= 256
    write_gif(tmp_path / "a.gif", PICTURES, [1, 3, 10], 8.0)
    with image.open(tmp_path / "a.gif") as film:
        assert (film.n_frames, film.info["loop"]) == (3, 0)
        for index, milliseconds in enumerate((120, 370, 1250)):
            film.seek(index)
            assert film.info["duration"] == milliseconds  # the format knows hundredths of a second
            assert np.array_equal(np.array(film.convert("RGB")), PICTURES[index]())


@pytest.mark.parametrize("fails", [False, True])
def test_frames_of_an_mp4_which_is_closed_even_if_a_picture_fails(fails, tmp_path, monkeypatch):
    made, sent, closed = [], [], []
    writer = SimpleNamespace(send=sent.append, close=lambda: closed.append(True))
    ffmpeg = SimpleNamespace(write_frames=lambda *arguments, **options: made.append((arguments, options)) or writer)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", ffmpeg)
    frames = [draw().tobytes() for draw in PICTURES]
    last = (lambda: 1 / 0) if fails else PICTURES[2]
    with pytest.raises(ZeroDivisionError) if fails else nullcontext():
        write_mp4(tmp_path / "a.mp4", [*PICTURES[:2], last], [1, 3, 2], 8.0)
    (((path, size), options),) = made
    assert (path, size, options["fps"], options["macro_block_size"]) == (str(tmp_path / "a.mp4"), (6, 4), 8.0, 2)
    assert sent == [None, frames[0], *[frames[1]] * 3, *([] if fails else [frames[2]] * 2)]
    assert closed == [True]


def test_a_folder_is_no_film(tmp_path):
    (tmp_path / "folder.gif").mkdir()
    with pytest.raises(ValueError, match="out: expected a file in a folder that exists, got "):
        writer_for(tmp_path / "folder.gif")
