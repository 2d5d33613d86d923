"""Films as files, of a few small pictures."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from multispin_env.envs.rendering import style
from multispin_env.watch import gif_colours, write_gif, write_mp4, writer_for

COLOURS = (style.PAPER, style.DRAFTING, style.REFUSED)


def pictures(drawn=None):
    """Three pictures, 6 wide and 4 high, each of one colour with a point; ``drawn`` lists those that were asked for."""

    def draw(index):
        if drawn is not None:
            drawn.append(index)
        picture = np.full((4, 6, 3), COLOURS[index], np.uint8)
        picture[1, 2] = style.INK
        return picture

    return [lambda index=index: draw(index) for index in range(3)]


def test_colours_of_a_gif():
    found = gif_colours()
    assert {style.PAPER, style.DRAFTING, style.UPLOADING, style.VERIFYING, style.REFUSED, style.INK} <= set(found)
    assert len(found) == len(set(found)) <= 256


def test_pixels_times_and_loop_of_a_gif(tmp_path):
    image = pytest.importorskip("PIL.Image")
    file, drawn = tmp_path / "a.gif", []
    write_gif(file, pictures(drawn), [1, 3, 10], 8.0)
    assert drawn == [0, 1, 2]
    with image.open(file) as film:
        assert (film.n_frames, film.info["loop"]) == (3, 0)
        for index, milliseconds in enumerate((120, 370, 1250)):
            film.seek(index)
            assert film.info["duration"] == milliseconds  # the format knows hundredths of a second
            assert np.array_equal(np.array(film.convert("RGB")), pictures()[index]())


class Ffmpeg:
    """Stands for imageio-ffmpeg: keeps what it is given."""

    def __init__(self):
        self.arguments, self.sent, self.closed = None, [], 0

    def write_frames(self, *arguments, **options):
        self.arguments = arguments, options
        return self

    def send(self, pixels):
        self.sent.append(pixels)

    def close(self):
        self.closed += 1


def test_frames_of_an_mp4(tmp_path, monkeypatch):
    ffmpeg = Ffmpeg()
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", SimpleNamespace(write_frames=ffmpeg.write_frames))
    write_mp4(tmp_path / "a.mp4", pictures(), [1, 3, 2], 8.0)
    (path, size), options = ffmpeg.arguments
    assert (path, size, options["fps"], options["macro_block_size"]) == (str(tmp_path / "a.mp4"), (6, 4), 8.0, 2)
    frames = [picture().tobytes() for picture in pictures()]
    assert ffmpeg.sent == [None, frames[0], *[frames[1]] * 3, *[frames[2]] * 2]
    assert ffmpeg.closed == 1


def test_an_mp4_is_closed_when_a_picture_fails(tmp_path, monkeypatch):
    ffmpeg = Ffmpeg()
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", SimpleNamespace(write_frames=ffmpeg.write_frames))

    def fail():
        raise RuntimeError("no picture")

    with pytest.raises(RuntimeError, match="no picture"):
        write_mp4(tmp_path / "a.mp4", [pictures()[0], fail], [1, 1], 8.0)
    assert ffmpeg.closed == 1


def test_writers_by_the_name_of_the_file(tmp_path):
    assert writer_for(tmp_path / "a.GIF") is write_gif
    assert writer_for(tmp_path / "a.mp4") is write_mp4
    (tmp_path / "folder.gif").mkdir()
    for file in (tmp_path / "folder.gif", tmp_path / "none" / "a.gif"):
        with pytest.raises(ValueError, match="out: expected a file in a folder that exists, got "):
            writer_for(file)
