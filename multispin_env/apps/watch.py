"""Films of contenders in the same episode, as GIF or MP4."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multispin_env.checks import check_integer, check_name, missing_package
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Colour
from multispin_env.envs.rendering.traces import Trace
from multispin_env.evaluation.contenders import contender_errors, native
from multispin_env.evaluation.episodes import play_episodes

Pixels = NDArray[np.uint8]  # picture of shape (height, width, 3)


def write_gif(path: Path, pictures: Sequence[Callable[[], Pixels]], times: Sequence[int], fps: float) -> None:
    """Write a looping GIF, whose pictures share a palette.

    Each of ``pictures`` draws one picture, which is shown for ``times`` frames at ``fps`` frames per second.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_package("Pillow", "render") from error
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for colour in gif_colours() for part in colour])
    images = (Image.fromarray(picture()).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    first = next(images)
    duration = [round(1_000 * count / fps) for count in times]
    first.save(path, format="GIF", save_all=True, append_images=images, duration=duration, loop=0, optimize=False)


def gif_colours() -> list[Colour]:
    """Return the palette: colours of pictures, and shades for antialiased text."""
    fills = [
        *(style.PAPER, style.FAINT, style.DRAFTING, style.UPLOADING, style.WAITING, style.VERIFYING),
        *(style.ACCEPTED, style.DRAFTED, style.REFUSED, style.SERVER_TOKEN),
    ]
    parts = np.linspace(0.0, 1.0, 8, endpoint=False)[:, None]
    letters = (style.INK, style.GREY, style.REFUSED)
    shades = [(1.0 - parts) * colour + parts * np.array(style.PAPER) for colour in letters]
    mixed: list[Colour] = [(r, g, b) for r, g, b in np.concatenate(shades).round().astype(int).tolist()]
    return list(dict.fromkeys([*fills, *mixed]))


def write_mp4(path: Path, pictures: Sequence[Callable[[], Pixels]], times: Sequence[int], fps: float) -> None:
    """Write an MP4 (H.264); `write_gif` describes the parameters."""
    try:
        from imageio_ffmpeg import write_frames  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise ImportError("out: MP4 files need imageio-ffmpeg: pip install imageio-ffmpeg") from error
    height, width, _ = pictures[0]().shape
    writer = write_frames(str(path), (width, height), fps=fps, macro_block_size=2, ffmpeg_log_level="error")
    writer.send(None)
    try:
        for picture, count in zip(pictures, times, strict=True):
            pixels = picture().tobytes()
            for _ in range(count):
                writer.send(pixels)
    finally:
        writer.close()


_Writer = Callable[[Path, Sequence[Callable[[], Pixels]], Sequence[int], float], None]

_WRITERS: Mapping[str, _Writer] = {".gif": write_gif, ".mp4": write_mp4}  # by suffix


def writer_for(path: Path) -> _Writer:
    """Return the writer for the suffix of a file; ``ValueError`` for another suffix or a missing folder."""
    check_name("out", path.suffix.lower(), _WRITERS)
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise ValueError(f"out: expected a file in a folder that exists, got {str(path)!r}")
    return _WRITERS[path.suffix.lower()]


def watch(config: EnvConfig, rounds: int, name: str, seed: int) -> Trace:
    """Play an episode of a contender and return its trace.

    ``rounds`` is the length of the episode, unless the environment has its own.
    """
    contender = config.contender(name)
    if "rounds" in config.arguments:
        config = config.replace(rounds=check_integer("rounds", rounds, 1))
    env = config.for_contender(contender).make_vec(1, render_mode="rgb_array")
    check_integer("seed", seed, 0)
    with contender_errors(name):
        play_episodes(env, contender, seed)
    return replace(native(env).view(), title=name)
