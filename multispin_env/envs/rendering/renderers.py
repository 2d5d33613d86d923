"""Renderers, windows and films."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, IntArray
from multispin_env.envs.rendering.canvas import Canvas, load_pygame
from multispin_env.envs.rendering.picture import Picture
from multispin_env.envs.rendering.traces import Frame, Trace
from multispin_env.envs.simulator import Step

RENDER_FPS = 4
"""Steps per second in windows and films."""


class Renderer:
    """Record of the episodes of a batch of environments, whose last step is drawn on request.

    With a ``window``, every reset and every step is shown at once instead.
    """

    def __init__(self, config: Any, num_envs: int, window: "Window | None" = None) -> None:
        self._config, self._picture, self._window = config, Picture(), window
        self._episodes: list[list[Any]] = [[] for _ in range(num_envs)]

    def begin(self, envs: IntArray) -> None:
        """Start new records for these environments."""
        for env in envs.tolist():
            self._episodes[env] = []
        self._show()

    def add(self, step: Step, over: BoolArray | None = None) -> None:
        """Record a step; environments in the mask ``over`` start a new record instead."""
        for env, episode in enumerate(self._episodes):
            if over is not None and over[env]:
                self._episodes[env] = []
            else:
                episode.append(self._config.timeline.record(step, env))
        self._show()

    def frame(self, env: int = 0) -> NDArray[np.uint8] | None:
        """Return the picture of the last step of an environment, (450, 800, 3); ``None`` if it is in a window."""
        return None if self._window is not None else self._drawn(env).array()

    def view(self, env: int = 0) -> Trace:
        """Return the data for the picture of an environment; later steps do not change it."""
        trace: Trace = self._config.timeline.of(self._config, self._episodes[env])
        return trace

    def close(self) -> None:
        """Close the window, if any."""
        if self._window is not None:
            self._window.close()

    def _show(self) -> None:
        if self._window is not None:
            self._window.show(self._drawn(0))

    def _drawn(self, env: int) -> Canvas:
        trace = self.view(env)
        return self._picture.draw([trace], [trace.duration])


class Window:
    """Window that opens with the first picture; without a display, nothing is shown and no error is raised.

    It shows at most ``fps`` pictures per second, so `show` may wait.
    """

    def __init__(self, title: str, fps: float) -> None:
        self.title = title
        self.fps = fps
        self._screen: Any = None
        self._clock: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the title and rate: an unpickled window opens again with its next picture."""
        return {"title": self.title, "fps": self.fps, "_screen": None, "_clock": None}

    def show(self, canvas: Canvas) -> bool:
        """Show a picture for 1 / fps seconds; return False if the user has closed the window."""
        pygame = load_pygame()
        if self._screen is None:
            pygame.display.init()
            self._screen = pygame.display.set_mode((canvas.width, canvas.height))
            self._clock = pygame.time.Clock()
            pygame.display.set_caption(self.title)
        self._screen.blit(canvas.surface, (0, 0))
        pygame.display.flip()
        closed = any(
            event.type == pygame.QUIT or (event.type == pygame.KEYDOWN and event.key in (pygame.K_ESCAPE, pygame.K_q))
            for event in pygame.event.get()
        )
        self._clock.tick(self.fps)
        return not closed

    def close(self) -> None:
        """Close the window; the next picture opens a new one."""
        if self._screen is not None:
            load_pygame().display.quit()
            self._screen = None


_EXPECTED = "display: expected a display for the window (or use --out FILE)"


def require_display() -> None:
    """Check that a window can be shown, unless ``SDL_VIDEODRIVER`` is set; ``ValueError`` otherwise."""
    pygame = load_pygame()
    try:
        pygame.display.init()
    except pygame.error as error:
        raise ValueError(f"{_EXPECTED}, got {error!s}") from None
    driver = pygame.display.get_driver()
    pygame.display.quit()
    if driver in ("offscreen", "dummy") and not os.environ.get("SDL_VIDEODRIVER"):
        raise ValueError(f"{_EXPECTED}, got none")


class Film:
    """Film of two episodes side by side, each with its clock; `Trace.film` has the frames."""

    def __init__(self, left: Trace, right: Trace) -> None:
        self._sides, self._picture = (left, right), Picture()

    def frames(self) -> list[Frame]:
        """Return all frames."""
        left, right = self._sides
        return left.film(right)

    def draw(self, frame: Frame) -> Canvas:
        """Draw a frame on the canvas of the film."""
        return self._picture.draw(self._sides, frame.clocks)
