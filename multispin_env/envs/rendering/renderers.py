"""What an environment with a render mode has beside its batch: it remembers rounds, and draws or shows them."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, IntArray
from multispin_env.envs.rendering.picture import Picture
from multispin_env.envs.rendering.views import Histories, View
from multispin_env.envs.rendering.window import Window
from multispin_env.envs.rounds.engine import RoundStep
from multispin_env.envs.settings import Settings
from multispin_env.envs.shells import RENDER_FPS

FIRST = np.zeros(1, dtype=np.int64)
"""The only copy of a single environment."""


class Renderer:
    """``render_mode="rgb_array"``: pictures when they are asked for.

    Parameters
    ----------
    settings
        The environment.
    num_copies
        Of it.
    """

    def __init__(self, settings: Settings, num_copies: int) -> None:
        drawn = settings.variant.draws_tokens or settings.reward == "sampled"
        self._histories = Histories(settings.scenario, drawn, num_copies)
        self._picture = Picture()

    def begin(self, copies: IntArray = FIRST) -> None:
        """Take in that these copies were reset."""
        self._histories.begin(copies)

    def add(self, step: RoundStep, over: BoolArray | None = None) -> None:
        """Take in a round; copies that are ``over`` began anew."""
        self._histories.add(step, over)

    def view(self, copy: int = 0) -> View:
        """What there is to show of a copy."""
        return self._histories.view(copy)

    def frame(self, copy: int = 0) -> NDArray[np.uint8] | None:
        """Picture of a copy's last round, (450, 800, 3)."""
        self._picture.draw([self.view(copy)])
        return self._picture.array()

    def close(self) -> None:
        """Close what is open."""


class WindowRenderer(Renderer):
    """``render_mode="human"``: every reset and every round is shown at once, and nothing when asked."""

    def __init__(self, settings: Settings, num_copies: int) -> None:
        super().__init__(settings, num_copies)
        self._window = Window("multispin_env", RENDER_FPS)

    def begin(self, copies: IntArray = FIRST) -> None:
        """Take in a reset, and show it."""
        super().begin(copies)
        self._show()

    def add(self, step: RoundStep, over: BoolArray | None = None) -> None:
        """Take in a round, and show it."""
        super().add(step, over)
        self._show()

    def frame(self, copy: int = 0) -> NDArray[np.uint8] | None:
        """Nothing: it is in the window."""
        return None

    def close(self) -> None:
        """Close the window."""
        self._window.close()

    def _show(self) -> None:
        self._picture.draw([self.view()])
        self._window.show(self._picture.canvas)


FRAMES: Mapping[str, type[Renderer]] = {"rgb_array": Renderer}
FRAMES_OR_WINDOW: Mapping[str, type[Renderer]] = {**FRAMES, "human": WindowRenderer}
