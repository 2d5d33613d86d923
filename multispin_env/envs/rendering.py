"""One picture of a round: what each device's time went into, and its share of the bandwidth."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.physics.types import Decision, Outcome
from multispin_env.units import MHZ

# Okabe-Ito: told apart by colour-blind readers
COLOURS = {"drafting": "#0072B2", "uploading": "#E69F00", "waiting": "#DDDDDD", "verifying": "#009E73"}
SIZE = (8.0, 4.5)
DPI = 100


class RoundPicture:
    """Draws rounds into an array of shape (450, 800, 3); the figure is made once."""

    def __init__(self) -> None:
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError(
                'render_mode="rgb_array" needs matplotlib: pip install "multispin_env[render]"'
            ) from error
        self._figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
        self._canvas = FigureCanvasAgg(self._figure)
        self._time, self._band = self._figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))

    def draw(self, title: str, decision: Decision | None, outcome: Outcome | None) -> NDArray[np.uint8]:
        """Picture of one round (K,), or of none yet."""
        self._time.clear()
        self._band.clear()
        if decision is not None and outcome is not None:
            self._timeline(outcome)
            self._bandwidth(decision)
        self._figure.suptitle(title)
        self._canvas.draw()
        return np.array(self._canvas.buffer_rgba(), dtype=np.uint8)[..., :3]

    def _timeline(self, outcome: Outcome) -> None:
        users = np.arange(len(outcome.tokens))
        ready = outcome.draft_time + outcome.upload_time
        parts: dict[str, tuple[Any, Any]] = {
            "drafting": (outcome.draft_time, 0.0),
            "uploading": (outcome.upload_time, outcome.draft_time),
            "waiting": (ready.max() - ready, ready),
            "verifying": (np.full(len(users), outcome.verification_time), ready.max()),
        }
        for name, (width, left) in parts.items():
            self._time.barh(users, width, left=left, color=COLOURS[name], label=name)
        self._time.set_xlabel("time in the round (s)")
        self._time.set_ylabel("device")
        self._time.set_xlim(0.0, float(outcome.round_latency) * 1.02)
        self._time.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)

    def _bandwidth(self, decision: Decision) -> None:
        users = np.arange(len(decision.bandwidth))
        self._band.barh(users, decision.bandwidth / MHZ, color="#56B4E9")
        for user, length in enumerate(decision.draft_length):
            self._band.text(0.0, user, f" {length} tokens", va="center", fontsize="x-small")
        self._band.set_xlabel("bandwidth (MHz)")
