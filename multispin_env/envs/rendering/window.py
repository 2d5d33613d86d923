"""A window that shows a canvas."""

import os
from typing import Any

from multispin_env.envs.rendering.canvas import Canvas, load_pygame

EXPECTED = "display: expected a machine with one, or --out FILE"


def require_display() -> None:
    """``ValueError`` where a window could not be seen, unless ``SDL_VIDEODRIVER`` asks for that."""
    pygame = load_pygame()
    try:
        pygame.display.init()
    except pygame.error as error:
        raise ValueError(f"{EXPECTED}, got {error!s}") from None
    driver = pygame.display.get_driver()
    pygame.display.quit()
    if driver in ("offscreen", "dummy") and not os.environ.get("SDL_VIDEODRIVER"):
        raise ValueError(f"{EXPECTED}, got none")


class Window:
    """Opens with the first picture; where there is no display, nothing is seen and nothing fails.

    It shows at most ``fps`` pictures a second: `show` waits.
    """

    def __init__(self, title: str, fps: float) -> None:
        self.title = title
        self.fps = fps
        self._screen: Any = None
        self._clock: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what opens another window: this one stays where it is."""
        return {"title": self.title, "fps": self.fps, "_screen": None, "_clock": None}

    def show(self, canvas: Canvas) -> bool:
        """Show a picture and wait for its time to pass; returns whether the user wants to go on."""
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
        """Close it; the next picture opens another."""
        if self._screen is not None:
            load_pygame().display.quit()
            self._screen = None
