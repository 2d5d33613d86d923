"""Renderers: they remember the steps of an environment with a render mode, and draw or show them.

A family hands in what it remembers of an episode, and what draws it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, IntArray
from multispin_env.envs.rendering.canvas import Canvas
from multispin_env.envs.rendering.picture import Sheet
from multispin_env.envs.rendering.views import Recorder
from multispin_env.envs.rendering.window import Window

RENDER_FPS = 4
"""Steps a second, in a window or a film."""

FIRST = np.zeros(1, dtype=np.int64)
"""The only copy of a single environment."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a film."""

    number: int  # of the step that it shows, or of the frame where steps differ
    views: tuple[Any, ...]
    clock: float | None  # seconds, as the family counts them; None for the end
    times: int  # frames of the film that show it


class Film(ABC):
    """Two episodes side by side."""

    _picture: Sheet

    @abstractmethod
    def frames(self) -> list[Frame]:
        """All that there is to draw."""

    def draw(self, frame: Frame) -> Canvas:
        """Draw a frame; the canvas is the same for all."""
        self._picture.draw(frame.views, frame.clock)
        return self._picture.canvas


class Renderer:
    """``render_mode="rgb_array"``: pictures when they are asked for."""

    def __init__(self, recorder: Recorder, drawing: Sheet) -> None:
        self._recorder = recorder
        self._drawing = drawing

    def begin(self, copies: IntArray = FIRST) -> None:
        """Take in that these copies were reset."""
        self._recorder.begin(copies)

    def add(self, step: Any, over: BoolArray | None = None) -> None:
        """Take in a step; copies that are ``over`` began anew."""
        self._recorder.add(step, over)

    def view(self, copy: int = 0) -> Any:
        """What there is to show of a copy."""
        return self._recorder.view(copy)

    def frame(self, copy: int = 0) -> NDArray[np.uint8] | None:
        """Picture of a copy's last step, (450, 800, 3)."""
        self._drawing.draw([self.view(copy)])
        return self._drawing.canvas.array()

    def close(self) -> None:
        """Close what is open."""


class WindowRenderer(Renderer):
    """``render_mode="human"``: every reset and every step is shown at once, and nothing when asked."""

    def __init__(self, recorder: Recorder, drawing: Sheet) -> None:
        super().__init__(recorder, drawing)
        self._window = Window("multispin_env", RENDER_FPS)

    def begin(self, copies: IntArray = FIRST) -> None:
        """Take in a reset, and show it."""
        super().begin(copies)
        self._show()

    def add(self, step: Any, over: BoolArray | None = None) -> None:
        """Take in a step, and show it."""
        super().add(step, over)
        self._show()

    def frame(self, copy: int = 0) -> NDArray[np.uint8] | None:
        """Nothing: it is in the window."""
        return None

    def close(self) -> None:
        """Close the window."""
        self._window.close()

    def _show(self) -> None:
        self._drawing.draw([self.view()])
        self._window.show(self._drawing.canvas)


RENDERERS: Mapping[str, type[Renderer]] = MappingProxyType({"rgb_array": Renderer, "human": WindowRenderer})
"""By render mode."""
