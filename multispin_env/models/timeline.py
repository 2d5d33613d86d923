"""Picture of a run of real models: the first rounds as a timeline, and goodput predicted beside realised."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.envs.rendering.style import ACCEPTED, GREY, REFUSED, UPLOADING, VERIFYING, WAITING
from multispin_env.models.contender import LiveContender, LiveRound
from multispin_env.reproduce.drawing import BLUE, RED, save
from multispin_env.reproduce.figure import FigureSpec
from multispin_env.units import MS

SHOWN = 6
"""First rounds of the timeline, of the slower contender; the other's in the same time."""

MOST_SHOWN = 60
"""Rounds of a contender, lest a picture have more cells than anybody can see."""

BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "frameon": False, "fontsize": 8}
"""Place of a legend, where it covers no data."""

GOODPUT_HEIGHT = 2.6
"""Of the panel of goodput, in inches."""

ACCEPTED_TOKEN, REFUSED_TOKEN = "drafting, accepted", "drafting, refused"


def save_timeline(contenders: Sequence[LiveContender], stem: Path, title: str) -> None:
    """Draw the picture to ``stem.png``, which holds no date."""
    lines = max(2.0, 0.28 * contenders[0].scenario.num_users)
    spec = FigureSpec(
        title=title,
        caption="",
        compute=lambda _: [],
        draw=lambda rows, figure: _draw(rows, figure, lines, title),
        size=(11.0, 1.6 + (lines + 0.6) * len(contenders) + GOODPUT_HEIGHT),
    )
    save(spec, contenders, stem, (".png",))


def _draw(contenders: Sequence[LiveContender], figure: Any, lines: float, title: str) -> None:
    ratios = [*[lines] * len(contenders), GOODPUT_HEIGHT]
    *timelines, below = figure.subplots(len(contenders) + 1, 1, height_ratios=ratios)
    end = max(sum(one.measured_time for one in contender.rounds[:SHOWN]) for contender in contenders)
    for axes, contender in zip(timelines, contenders, strict=True):
        _draw_rounds(axes, _begun_before(end, contender.rounds))
        axes.set_xlim(0.0, end / MS)
        axes.set_title(f"{contender.name}, from the first round on", loc="left")
    timelines[-1].set_xlabel("time (ms)")
    timelines[-1].legend(*timelines[0].get_legend_handles_labels(), **BESIDE)
    _draw_goodput(below, contenders)
    figure.suptitle(title, fontsize=10)


def _begun_before(end: float, rounds: Sequence[LiveRound]) -> Sequence[LiveRound]:
    """Rounds that begin in the first seconds up to ``end``."""
    begun = np.cumsum([0.0, *(one.measured_time for one in rounds[:-1])])
    return rounds[: min(int((begun < end).sum()), MOST_SHOWN)]


def _colour(rgb: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(part / 255.0 for part in rgb)


def _draw_rounds(axes: Any, rounds: Sequence[LiveRound]) -> None:
    """Bars of each device: a cell for each drafted token, then upload, waiting and the server's pass."""
    users = len(rounds[0].draft_length)
    cells: dict[str, list[tuple[float, float, int]]] = {
        name: [] for name in (ACCEPTED_TOKEN, REFUSED_TOKEN, "uploading", "waiting", "verifying")
    }
    begin = 0.0
    for one in rounds:
        for device in range(users):
            length, accepted = int(one.draft_length[device]), int(one.accepted[device])
            each = one.drafting[device] / max(length, 1)
            for place in range(length):
                name = ACCEPTED_TOKEN if place < accepted else REFUSED_TOKEN
                cells[name].append((begin + place * each, each, device))
            drafted = begin + one.drafting[device]
            ready = drafted + one.uploading[device]
            cells["uploading"].append((drafted, one.uploading[device], device))
            cells["waiting"].append((ready, begin + one.access - ready, device))
            cells["verifying"].append((begin + one.access, one.measured_pass, device))
        begin += one.measured_time
        axes.axvline(begin / MS, color=_colour(GREY), linewidth=0.6)
    colours = (ACCEPTED, REFUSED, UPLOADING, WAITING, VERIFYING)
    for (name, found), colour in zip(cells.items(), colours, strict=True):
        left, width, line = (np.array(column, dtype=np.float64) for column in zip(*found or [(0, 0, 0)], strict=True))
        axes.barh(
            line,
            width / MS,
            0.8,
            left / MS,
            color=_colour(colour),
            edgecolor="white" if name in (ACCEPTED_TOKEN, REFUSED_TOKEN) else "none",
            linewidth=0.6,
            label=name,
        )
    axes.set_yticks(range(users), [f"device {device + 1}" for device in range(users)])
    axes.set_ylim(users - 0.5, -0.5)
    axes.grid(visible=False)


def _draw_goodput(axes: Any, contenders: Sequence[LiveContender]) -> None:
    """Tokens so far over time so far, behind each round."""
    for contender, colour in zip(contenders, (BLUE, RED), strict=False):
        rounds = contender.rounds
        number = np.arange(1, len(rounds) + 1)
        for label, line, tokens, times in (
            ("realised", "-", [one.gained.sum() for one in rounds], [one.measured_time for one in rounds]),
            ("predicted", "--", [one.predicted.sum() for one in rounds], [one.predicted_time for one in rounds]),
        ):
            running = np.cumsum(tokens) / np.cumsum(times)
            axes.plot(number, running, line, color=colour, linewidth=1.4, label=f"{contender.name}, {label}")
    axes.set_xlabel("rounds so far")
    axes.set_ylabel("goodput so far (tokens/s)")
    axes.set_ylim(bottom=0.0)
    axes.legend(**BESIDE)
