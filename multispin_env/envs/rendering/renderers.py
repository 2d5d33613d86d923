"""Renderers, windows and films, and pictures of rounds."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import BoolArray, IntArray
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Area, Canvas, Colour, Layout, load_pygame
from multispin_env.envs.rendering.charts import (
    History,
    Round,
    Scales,
    View,
    draw_bandwidth,
    draw_batteries,
    draw_goodput,
    draw_numbers,
    draw_refused,
    draw_time_axis,
    draw_titles,
    draw_tokens,
)
from multispin_env.envs.simulator import Step
from multispin_env.physics.chains import ChainRound

V = TypeVar("V")

MARGIN, _BETWEEN, LEGEND, LEGEND_LINE = 10.0, 24.0, 26.0, 18.0
"""Pixels at the sides of panels, between them and below them, and height of another line of the legend."""

_TIMES: tuple[tuple[str, Colour], ...] = (
    ("drafting", style.DRAFTING),
    ("uploading", style.UPLOADING),
    ("waiting", style.WAITING),
    ("server verifying", style.VERIFYING),
)


class Sheet(ABC):
    """Base of the pictures: 800 by 450 pixels with one or two panels above a legend."""

    def __init__(self) -> None:
        self.canvas = Canvas(800, 450)

    @abstractmethod
    def draw(self, views: Sequence[Any], clock: float | None = None) -> None:
        """Draw the views of one or two environments at time ``clock`` in s; ``None`` for the end."""

    def _panels(self, views: Sequence[V], legend: float = LEGEND) -> Iterator[tuple[Area, V]]:
        canvas = self.canvas
        canvas.fill(style.PAPER)
        width = (canvas.width - 2 * MARGIN - (len(views) - 1) * _BETWEEN) / len(views)
        for position, view in enumerate(views):
            x = MARGIN + position * (width + _BETWEEN)
            yield Area(x, 4.0, width, canvas.height - legend - 8.0), view
            if position:
                middle = x - 0.5 * _BETWEEN
                canvas.line([(middle, 6.0), (middle, canvas.height - legend - 6.0)], style.FAINT)

    def _draw_legend(self, drawn: bool, *, animated: bool, legend: float = LEGEND) -> None:
        canvas = self.canvas
        y = canvas.height - legend + 0.5 * LEGEND
        canvas.line([(0.0, y - 0.5 * LEGEND), (canvas.width, y - 0.5 * LEGEND)], style.FAINT)
        x = MARGIN
        for text, colour in _TIMES:
            x = self._entry(x, y, text, colour)
        x = self._entry(x + 14.0, y, "accepted token", style.ACCEPTED)
        draw_refused(canvas, _swatch(x, y), crossed=drawn)
        x = self._name(x, y, "rejected")
        x = self._entry(x, y, "server's token", style.SERVER_TOKEN)
        if animated:
            self._entry(x, y, "not yet verified", style.DRAFTED)

    def _draw_chain_legend(self, y: float) -> None:
        canvas, x = self.canvas, MARGIN
        canvas.rectangle(x, y + 1.0, 11.0, 4.0, style.DRAFTING)
        x = self._name(x, y, "drafting ahead")
        canvas.rectangle(x, y + 1.0, 11.0, 4.0, style.INK)
        x = self._name(x, y, "sent from the head start")
        x = self._entry(x, y, "drafted ahead: kept", style.DRAFTED)
        canvas.outline(*_swatch(x, y), style.GREY)
        self._name(x, y, "lost")

    def _entry(self, x: float, y: float, text: str, colour: Colour) -> float:
        self.canvas.rectangle(*_swatch(x, y), colour)
        return self._name(x, y, text)

    def _name(self, x: float, y: float, text: str) -> float:
        return x + 16.0 + self.canvas.text(text, x + 16.0, y, style.SMALL, style.INK) + 12.0


class Picture(Sheet):
    """Picture of one or two environments of rounds."""

    @override
    def draw(self, views: Sequence[View], clock: float | None = None) -> None:
        ahead = any(view.scenario.draft_ahead for view in views)
        legend = LEGEND + LEGEND_LINE * ahead
        for area, view in self._panels(views, legend):
            _draw_panel(self.canvas, area, view, clock)
        self._draw_legend(views[0].drawn, animated=clock is not None, legend=legend)
        if ahead:
            self._draw_chain_legend(self.canvas.height - 0.5 * LEGEND)


def _swatch(x: float, y: float) -> Area:
    return Area(x, y - 5.0, 11.0, 11.0)


def _draw_panel(canvas: Canvas, area: Area, view: View, clock: float | None = None) -> None:
    layout, last = Layout.of(area), view.last
    now = clock if last is None or clock is None or clock < float(last.outcome.round_latency) else None
    gained = "tokens gained" if view.drawn else "tokens, expected"
    draw_titles(canvas, area, layout, view, _status(view, now), "timeline of each device", gained)
    draw_time_axis(canvas, layout.times, view.scales.time)
    users = view.scenario.num_users
    draw_numbers(canvas, layout.times, users, layout.times.height / users)
    draw_goodput(canvas, layout.goodput, view, len(view.goodput) - (now is not None))
    if last is None:
        draw_bandwidth(canvas, layout.bandwidth, np.zeros(users), view.scenario.total_bandwidth)
        return
    _draw_timeline(canvas, layout.times, last, view, now)
    draw_tokens(canvas, layout.tokens, view, now)
    if last.level is None:
        draw_bandwidth(canvas, layout.bandwidth, last.decision.bandwidth, view.scales.bandwidth)
    else:
        draw_batteries(canvas, layout.bandwidth, last.level)


def _status(view: View, now: float | None) -> str:
    if view.last is None:
        return "before the first round"
    round_number = f"round {len(view.goodput)}"
    if now is not None:
        return round_number
    return f"{round_number}: {float(view.last.outcome.goodput):.0f} tokens/s"


def _draw_timeline(canvas: Canvas, times: Area, last: Round, view: View, now: float | None) -> None:
    outcome, scale = last.outcome, view.scales.time
    row = times.height / len(last.tokens)
    gap = min(2.0, 0.12 * row) if row >= 6.0 else 0.0
    ready = outcome.ready_time
    access = float(ready.max())
    end = access + outcome.verification_time
    reached = end if now is None else now
    parts = (
        (style.DRAFTING, np.zeros_like(ready), outcome.draft_time),
        (style.UPLOADING, outcome.draft_time, ready),
        (style.WAITING, ready, np.full_like(ready, access)),
        (style.VERIFYING, np.full_like(ready, access), np.full_like(ready, end)),
    )
    for colour, starts, ends in parts:
        left = times.x + np.minimum(starts, reached) / scale * times.width
        right = times.x + np.minimum(ends, reached) / scale * times.width
        for user, (x, x_end) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
            canvas.rectangle(x, times.y + user * row + gap, x_end - x, row - 2 * gap, colour)
    if view.scenario.draft_ahead:  # in the lower third of the row: the device continues to draft
        left = times.x + np.minimum(outcome.draft_time, reached) / scale * times.width
        x_end, high = times.x + float(min(end, reached)) / scale * times.width, (row - 2 * gap) / 3.0
        for user, x in enumerate(left.tolist()):
            canvas.rectangle(x, times.y + (user + 1) * row - gap - high, x_end - x, high, style.DRAFTING)
    if now is not None:
        x = times.x + now / scale * times.width
        canvas.line([(x, times.y - 2.0), (x, times.bottom + 2.0)], style.INK)


RENDER_FPS = 4
"""Steps per second in windows and films."""


class Renderer(ABC):
    """Base of the renderers, which record the episodes of a batch of environments and draw the last step on request.

    With a ``window``, every reset and every step is shown at once instead. Without a ``sheet`` there are only views.
    """

    def __init__(self, config: Any, num_envs: int, sheet: Sheet | None = None, window: "Window | None" = None) -> None:
        self._config, self._sheet, self._window = config, sheet, window
        self._episodes = [self._episode() for _ in range(num_envs)]

    def begin(self, envs: IntArray) -> None:
        """Start new records for these environments."""
        for env in envs.tolist():
            self._episodes[env] = self._episode()
        self._show()

    def add(self, step: Step, over: BoolArray | None = None) -> None:
        """Record a step; environments in the mask ``over`` start a new record instead."""
        for env, episode in enumerate(self._episodes):
            if over is not None and over[env]:
                self._episodes[env] = self._episode()
            else:
                self._record(episode, step, env)
        self._show()

    def frame(self, env: int = 0) -> NDArray[np.uint8] | None:
        """Return the picture of the last step of an environment, (450, 800, 3); ``None`` if it is in a window."""
        return None if self._window is not None else self._drawn(env).array()

    def close(self) -> None:
        """Close the window, if any."""
        if self._window is not None:
            self._window.close()

    def _show(self) -> None:
        if self._window is not None:
            self._window.show(self._drawn(0))

    def _drawn(self, env: int) -> Canvas:
        assert self._sheet is not None
        self._sheet.draw([self.view(env)])
        return self._sheet.canvas

    @abstractmethod
    def _episode(self) -> Any:
        """Make an empty record."""

    @abstractmethod
    def _record(self, episode: Any, step: Step, env: int) -> None:
        """Add a step of an environment to its record."""

    @abstractmethod
    def view(self, env: int = 0) -> Any:
        """Return the data for the picture of an environment; later steps do not change it."""


class Histories(Renderer):
    """Renderer of environments of rounds."""

    @override
    def _episode(self) -> History:
        return History(by_time=self._by_time)

    @property
    def _by_time(self) -> bool:
        return self._config.info_keys.goodput is None

    @override
    def _record(self, episode: History, step: Step, env: int) -> None:
        best, tokens = step.info.get("optimal_goodput"), step.info["accepted_tokens"]
        zeros = np.zeros_like(tokens)
        chain = ChainRound(*(step.info.get(name, zeros)[env].copy() for name in ChainRound._fields))
        level = step.info["battery"][env] / step.info["capacity"][env] if "battery" in step.info else None
        last = Round(step.decision[env].copy(), step.outcome[env], tokens[env].copy(), chain, level)
        episode.add(last, None if best is None else float(best[env]))

    @override
    def view(self, env: int = 0) -> View:
        history, drawn = self._episodes[env], self._config.drawn
        return View(
            self._config.scenario,
            drawn,
            history.last,
            tuple(history.goodput),
            tuple(history.optimum),
            "optimum (expected)" if drawn else "optimum",
            history.scales,
            goodput_name="tokens over time" if self._by_time else View.goodput_name,
        )


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


@dataclass(frozen=True, eq=False)
class Frame:
    """Picture of a film."""

    views: Sequence[Any]
    clock: float | None  # s, of the round or the episode; None for the end
    times: int  # repetitions


class Film(ABC):
    """Film of two episodes side by side."""

    _picture: Sheet

    @abstractmethod
    def __init__(self, left: Sequence[Any], right: Sequence[Any]) -> None:
        """Make the film from the views of two episodes, one view for each step."""

    @abstractmethod
    def frames(self) -> list[Frame]:
        """Return all frames."""

    def draw(self, frame: Frame) -> Canvas:
        """Draw a frame on the canvas of the film."""
        self._picture.draw(frame.views, frame.clock)
        return self._picture.canvas


MOVES = 8
"""Number of frames of a round before its last frame."""

JUDGED, END = 5, 24
"""Repetitions of the last frame of each round, and of the last frame of the film."""


class RoundsFilm(Film):
    """Film of two episodes of equal length with the same states; it starts at the end of the first round."""

    def __init__(self, left: Sequence[View], right: Sequence[View]) -> None:
        self._rounds = []
        for a, b in zip(left, right, strict=True):
            scales = Scales.common((a.scales, b.scales))._replace(rounds=len(left))
            pairs = (a, b, right[-1].title), (b, a, left[-1].title)
            self._rounds.append(
                [replace(x, reference=y.goodput, reference_name=name, scales=scales) for x, y, name in pairs]
            )
        self._picture = Picture()

    @override
    def frames(self) -> list[Frame]:
        frames: list[Frame] = []
        for number, views in enumerate(self._rounds):
            longest = max(float(view.last.outcome.round_latency) for view in views if view.last is not None)
            *moves, end = np.linspace(0.0, longest, MOVES + 2)[1:].tolist()  # without time 0, at which nothing is drawn
            frames += [Frame(views, clock, 1) for clock in moves if number]
            frames.append(Frame(views, end, JUDGED if number < len(self._rounds) - 1 else END))
        return frames
