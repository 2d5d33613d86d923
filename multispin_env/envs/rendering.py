"""One picture of a round: what each device's time went into, and its share of the bandwidth."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.checks import check_name
from multispin_env.envs.batch import Step
from multispin_env.physics.types import Decision, Outcome
from multispin_env.scenario import Scenario
from multispin_env.units import MHZ, MS

# Okabe-Ito: told apart by colour-blind readers
COLOURS = {"drafting": "#0072B2", "uploading": "#E69F00", "waiting": "#DDDDDD", "verifying": "#009E73"}
SIZE = (8.0, 4.5)
RENDER_MODES = ["rgb_array"]
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

    @classmethod
    def for_mode(cls, render_mode: str | None) -> "RoundPicture | None":
        """Picture for a render mode, ``None`` if nothing is to be drawn; ``ValueError`` for an unknown mode."""
        if render_mode is None:
            return None
        check_name("render_mode", render_mode, RENDER_MODES)
        return cls()

    def draw(self, scenario: Scenario, step: Step | None, copy: int = 0) -> NDArray[np.uint8]:
        """Picture of one copy's round, or of none yet."""
        title = f"{scenario.name}, K = {scenario.num_users}"
        self._time.clear()
        self._band.clear()
        if step is not None:
            outcome = step.outcome[copy]
            title += f": {outcome.goodput:.1f} tokens/s, round of {outcome.round_latency / MS:.0f} ms"
            self._timeline(outcome)
            self._bandwidth(step.decision[copy])
        self._figure.suptitle(title)
        self._canvas.draw()
        return np.array(self._canvas.buffer_rgba(), dtype=np.uint8)[..., :3]

    def _timeline(self, outcome: Outcome) -> None:
        draft, upload = outcome.draft_time, outcome.upload_time
        users = np.arange(len(draft))
        ready = draft + upload
        parts: dict[str, tuple[Any, Any]] = {
            "drafting": (draft, 0.0),
            "uploading": (upload, draft),
            "waiting": (ready.max() - ready, ready),
            "verifying": (np.full(len(users), outcome.verification_time), ready.max()),
        }
        for name, (width, left) in parts.items():
            self._time.barh(users, width, left=left, color=COLOURS[name], label=name)
        self._time.set_xlabel("time in the round (s)")
        self._time.set_ylabel("device")
        self._time.set_xlim(0.0, outcome.round_latency * 1.02)
        self._time.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)

    def _bandwidth(self, decision: Decision) -> None:
        users = np.arange(len(decision.bandwidth))
        self._band.barh(users, decision.bandwidth / MHZ, color="#56B4E9")
        for user, length in enumerate(decision.draft_length):
            self._band.text(0.0, user, f" {length} tokens", va="center", fontsize="x-small")
        self._band.set_xlabel("bandwidth (MHz)")
