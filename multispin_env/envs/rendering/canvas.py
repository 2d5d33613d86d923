"""Canvas on a pygame surface; the first canvas imports pygame."""

import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multispin_env.checks import missing_package

Colour = tuple[int, int, int]

MAX_TEXTS = 2_000
"""Size of the cache of rendered texts."""

_TEXT_SCALE = 4
"""Texts are drawn larger by this factor and scaled down, for even gaps between letters."""


def load_pygame() -> ModuleType:
    """Import pygame without its greeting; ``ImportError`` with installation instructions if it is missing."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import pygame
    except ImportError as error:
        raise missing_package("pygame", "render") from error
    return pygame


class Canvas:
    """Surface with coordinates in pixels; edges are rounded, so that adjacent rectangles have no gap."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._open()

    def _open(self) -> None:
        self._pygame = load_pygame()
        self._pygame.font.init()
        self.surface = self._pygame.Surface((self.width, self.height))
        self._fonts: dict[int, Any] = {}
        self._texts: dict[tuple[str, int, Colour], Any] = {}

    def __getstate__(self) -> dict[str, int]:
        """Return the size only: surfaces and fonts cannot be pickled."""
        return {"width": self.width, "height": self.height}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__dict__.update(state)
        self._open()

    def fill(self, colour: Colour) -> None:
        """Begin a new picture."""
        self._pygame.font.init()
        self._fonts.clear()  # other code, such as HumanRendering, may have closed pygame
        self.surface.fill(colour)

    def rectangle(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """Fill a rectangle."""
        self.surface.fill(colour, self._box(x, y, width, height))

    def outline(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """Draw the border of a rectangle, one pixel wide."""
        self._pygame.draw.rect(self.surface, colour, self._box(x, y, width, height), 1)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, thickness: int = 1) -> None:
        """Draw lines between points."""
        if len(points) > 1:
            self._pygame.draw.lines(self.surface, colour, False, points, thickness)

    def disc(self, x: float, y: float, radius: int, colour: Colour) -> None:
        """Fill a circle."""
        self._pygame.draw.circle(self.surface, colour, (round(x), round(y)), radius)

    def text(self, text: str, x: float, y: float, size: int, colour: Colour, align: str = "left") -> int:
        """Draw a line of text, vertically centred at ``y``; return its width."""
        key = (text, size, colour)
        if key not in self._texts:
            if len(self._texts) >= MAX_TEXTS:
                self._texts.clear()
            if size not in self._fonts:
                self._fonts[size] = self._pygame.font.Font(None, _TEXT_SCALE * size)
            large = self._fonts[size].render(text, True, colour)
            self._texts[key] = self._pygame.transform.smoothscale_by(large, 1.0 / _TEXT_SCALE)
        image = self._texts[key]
        width: int = image.get_width()
        left = round(x - {"left": 0.0, "centre": 0.5, "right": 1.0}[align] * width)
        self.surface.blit(image, (left, round(y - image.get_height() / 2)))
        return width

    def array(self) -> NDArray[np.uint8]:
        """Return a copy of the picture, (height, width, 3)."""
        pixels = self._pygame.surfarray.pixels3d(self.surface)
        picture = np.empty((self.height, self.width, 3), dtype=np.uint8)
        for channel in range(3):  # one by one, which is much faster than a copy of all, or than `image.tobytes`
            picture[..., channel] = pixels[..., channel].T
        return picture

    def _box(self, x: float, y: float, width: float, height: float) -> tuple[int, int, int, int]:
        left, top = round(x), round(y)
        return left, top, round(x + width) - left, round(y + height) - top


class Area(NamedTuple):
    """Rectangle in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Coordinate of the right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """Coordinate of the lower edge."""
        return self.y + self.height
