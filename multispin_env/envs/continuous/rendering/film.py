"""Two episodes without the barrier side by side, at the same simulated time."""

from collections.abc import Sequence

import numpy as np
from typing_extensions import override

from multispin_env.envs.continuous.rendering.panel import Axes
from multispin_env.envs.continuous.rendering.picture import TracePicture
from multispin_env.envs.continuous.rendering.traces import Trace
from multispin_env.envs.rendering.renderers import Film, Frame

STEP = 1.0 / 24.0
"""Simulated seconds between two frames."""

END = 24
"""Times that the last frame is shown."""


class TraceFilm(Film):
    """Two episodes in the same axes; it ends with the shorter of them."""

    def __init__(self, one: Sequence[Trace], other: Sequence[Trace]) -> None:
        self._views = one[-1], other[-1]
        self._picture = TracePicture(Axes.of(*self._views))

    @override
    def frames(self) -> list[Frame]:
        end = min(view.duration for view in self._views)
        clocks = [*np.arange(0.0, end, STEP).tolist(), end]
        last = len(clocks) - 1
        return [Frame(number, self._views, clock, END if number == last else 1) for number, clock in enumerate(clocks)]
