"""Results of ``multispin live``: predicted and realised quantities, as a table and as a timeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.envs.rendering.style import ACCEPTED, GREY, REFUSED, UPLOADING, VERIFYING, WAITING
from multispin_env.evaluation.drawing import BLUE, RED, save
from multispin_env.evaluation.statistics import Cells, Interval, block_intervals, table
from multispin_env.units import MS
from multispin_lab.drawing import COLOURS
from multispin_lab.models.contender import LiveContender, LiveRound
from multispin_lab.models.counts import exact_interval

TOKENS, PASS, ROUND, GOODPUT = "tokens a round", "verification (ms)", "round (ms)", "goodput (tokens/s)"
"""Quantities: tokens of a device, the server's pass, the whole round, and tokens of all devices over time."""

MIN_ROUNDS = 6  # for intervals, and so the fewest blocks

_COLUMNS = 7  # of `_numbers`

_INTERVALS = ("predicted", "realised", "difference", "ratio")

_DIGITS = {TOKENS: 3, PASS: 1, ROUND: 1, GOODPUT: 2}


@dataclass(frozen=True)
class _Line:
    """Quantity of a contender: means over rounds with 95 % intervals."""

    contender: str  # "A / B" for a ratio
    quantity: str  # with its unit
    predicted: Interval
    realised: Interval
    difference: Interval  # realised − predicted, paired
    ratio: Interval  # realised / predicted, paired

    @property
    def digits(self) -> int:
        return _DIGITS.get(self.quantity, 3)

    def to_dict(self) -> dict[str, Any]:
        return {name: value._asdict() if name in _INTERVALS else value for name, value in vars(self).items()}


def block_length(contenders: Sequence[LiveContender]) -> int:
    """Return the rounds of a block: the mean duration of a request, but at most a sixth of all rounds."""
    rounds = len(contenders[0].rounds)
    users = contenders[0].scenario.num_users
    requests = sum(int((contender.rounds[-1].request + 1).sum()) for contender in contenders)
    mean_rounds = len(contenders) * rounds * users / requests
    return int(np.clip(round(mean_rounds), 1, max(1, rounds // MIN_ROUNDS)))


def verdict_lines(contenders: Sequence[LiveContender]) -> list[_Line]:
    """Return the lines of each contender, then the ratios of the first contender's goodput to each other's.

    Each contender has at least `MIN_ROUNDS` rounds.
    """
    block, users = block_length(contenders), contenders[0].scenario.num_users
    numbers = np.concatenate([_numbers(contender.rounds) for contender in contenders], axis=1)
    parts = [slice(_COLUMNS * index, _COLUMNS * (index + 1)) for index in range(len(contenders))]

    def statistic(sums: FloatArray) -> FloatArray:
        means = [_quantities(sums[..., part], users) for part in parts]  # (..., quantity, 2)
        ratios = [means[0][..., -1:, :] / other[..., -1:, :] for other in means[1:]]
        values = np.concatenate([*means, *ratios], axis=-2)
        predicted, realised = values[..., 0], values[..., 1]
        return np.concatenate([predicted, realised, realised - predicted, realised / predicted], axis=-1)

    intervals = block_intervals(numbers, statistic, block)
    titles = [(contender.name, quantity) for contender in contenders for quantity in _DIGITS]
    titles += [(f"{contenders[0].name} / {other.name}", "goodput") for other in contenders[1:]]
    size = len(titles)
    return [_Line(*title, *intervals[index::size]) for index, title in enumerate(titles)]


def _numbers(rounds: Sequence[LiveRound]) -> FloatArray:
    """Return numbers (n, `_COLUMNS`) of rounds, from whose sums the quantities are computed."""
    return np.array(
        [
            (
                1.0,
                entry.predicted.sum(),
                entry.played.gained.sum(),
                entry.predicted_pass,
                entry.played.verification_time,
                entry.predicted_time,
                entry.measured_time,
            )
            for entry in rounds
        ]
    )


def _quantities(sums: FloatArray, users: int) -> FloatArray:
    """Return predicted and realised quantities (..., 4, 2) from sums over rounds (..., `_COLUMNS`)."""
    rounds, tokens, passes, times = sums[..., :1], sums[..., 1:3], sums[..., 3:5], sums[..., 5:7]
    return np.stack([tokens / (users * rounds), passes / rounds / MS, times / rounds / MS, tokens / times], axis=-2)


def verdict_cells(lines: Sequence[_Line]) -> tuple[Cells, list[Cells]]:
    """Return header and rows of the table of quantities."""
    return table(
        lines,
        {
            "contender": lambda line: line.contender,
            "quantity": lambda line: line.quantity,
            "predicted": lambda line: f"{line.predicted.mean:.{line.digits}f}",
            "realised": lambda line: _with_ends(line.realised, f".{line.digits}f"),
            "realised − predicted": lambda line: _with_ends(line.difference, f"+.{line.digits}f"),
            "ratio": lambda line: f"{line.ratio.mean:.3f}",
        },
    )


def _with_ends(interval: Interval, form: str) -> str:
    mean, low, high = (format(number, form) for number in interval)
    return f"{mean} ({low} to {high})"


@dataclass(frozen=True)
class _HitLine:
    """Hits of drafts of one length: the whole draft was accepted and the server's token was the chain's next."""

    contender: str
    draft_length: int
    drafts: int
    predicted: float  # mean probability by the mean acceptance of the tasks
    hits: int
    low: float  # ends of the 95 % interval of the share of hits for independent drafts (Clopper and Pearson)
    high: float


def hit_lines(contenders: Sequence[LiveContender]) -> list[_HitLine]:
    """Return the hits of each contender and each draft length; none if devices do not draft ahead."""
    lines = []
    for contender in contenders:
        played = [(row.draft_length, row.chains.hit, row.chains.predicted) for row in contender.rounds if row.chains]
        if played:
            length, hit, predicted = (np.concatenate(part) for part in zip(*played, strict=True))
            for size in np.unique(length).tolist():
                mask = length == size
                drafts, hits = int(mask.sum()), int(hit[mask].sum())
                ends = exact_interval(hits, drafts - hits)
                lines.append(_HitLine(contender.name, size, drafts, float(predicted[mask].mean()), hits, *ends))
    return lines


def hit_cells(lines: Sequence[_HitLine]) -> tuple[Cells, list[Cells]]:
    """Return header and rows of the table of hits."""
    return table(
        lines,
        {
            "contender": lambda line: line.contender,
            "L": lambda line: str(line.draft_length),
            "drafts": lambda line: str(line.drafts),
            "predicted": lambda line: f"{line.predicted:.3f}",
            "hits": lambda line: _with_ends(Interval(line.hits / line.drafts, line.low, line.high), ".3f"),
        },
    )


_SLOWER_ROUNDS = 6  # first rounds of the slower contender in the timeline; the other's are shown up to the same time
_MAX_ROUNDS = 60  # of a contender, so that cells stay visible

_RIGHT_LEGEND: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "frameon": False, "fontsize": 8}
"""Options of a legend to the right of the data."""

_GOODPUT_HEIGHT = 2.6  # inches

_ACCEPTED_TOKEN, _REFUSED_TOKEN = "drafting, accepted", "drafting, refused"


def save_timeline(contenders: Sequence[LiveContender], stem: Path, title: str) -> None:
    """Draw the timeline to ``stem.png``, without a date."""
    lines = max(2.0, 0.28 * contenders[0].scenario.num_users)
    size = 11.0, 1.6 + (lines + 0.6) * len(contenders) + _GOODPUT_HEIGHT
    save(lambda figure: _draw(contenders, figure, lines, title), size, stem, (".png",))


def _draw(contenders: Sequence[LiveContender], figure: Any, lines: float, title: str) -> None:
    ratios = [*[lines] * len(contenders), _GOODPUT_HEIGHT]
    *timelines, below = figure.subplots(len(contenders) + 1, 1, height_ratios=ratios)
    end = max(sum(entry.measured_time for entry in contender.rounds[:_SLOWER_ROUNDS]) for contender in contenders)
    for axes, contender in zip(timelines, contenders, strict=True):
        _draw_rounds(axes, _rounds_before(end, contender.rounds))
        axes.set_xlim(0.0, end / MS)
        axes.set_title(f"{contender.name}, first rounds", loc="left")
    timelines[-1].set_xlabel("time (ms)")
    timelines[-1].legend(*timelines[0].get_legend_handles_labels(), **_RIGHT_LEGEND)
    _draw_goodput(below, contenders)
    figure.suptitle(title, fontsize=10)


def _rounds_before(end: float, rounds: Sequence[LiveRound]) -> Sequence[LiveRound]:
    begin = np.cumsum([0.0, *(entry.measured_time for entry in rounds[:-1])])
    return rounds[: min(int((begin < end).sum()), _MAX_ROUNDS)]


def _colour(rgb: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(part / 255.0 for part in rgb)


def _draw_rounds(axes: Any, rounds: Sequence[LiveRound]) -> None:
    users = len(rounds[0].draft_length)
    cells: dict[str, list[tuple[float, float, int]]] = {
        name: [] for name in (_ACCEPTED_TOKEN, _REFUSED_TOKEN, "uploading", "waiting", "verifying")
    }
    begin = 0.0
    for entry in (played.as_measured() for played in rounds):
        for device in range(users):
            length, accepted = int(entry.draft_length[device]), int(entry.played.accepted[device])
            token_time = entry.drafting[device] / max(length, 1)
            for position in range(length):
                name = _ACCEPTED_TOKEN if position < accepted else _REFUSED_TOKEN
                cells[name].append((begin + position * token_time, token_time, device))
            drafted = begin + entry.drafting[device]
            ready = drafted + entry.uploading[device]
            cells["uploading"].append((drafted, entry.uploading[device], device))
            cells["waiting"].append((ready, begin + entry.access - ready, device))
            server_time = entry.played.verification_time + entry.played.accepting_time
            cells["verifying"].append((begin + entry.access, server_time, device))
        begin += entry.measured_time
        axes.axvline(begin / MS, color=_colour(GREY), linewidth=0.6)
    colours = (ACCEPTED, REFUSED, UPLOADING, WAITING, VERIFYING)
    for (name, bars), colour in zip(cells.items(), colours, strict=True):
        left, width, line = (np.array(column, dtype=np.float64) for column in zip(*bars or [(0, 0, 0)], strict=True))
        edge = "white" if name in (_ACCEPTED_TOKEN, _REFUSED_TOKEN) else "none"
        options = {"color": _colour(colour), "edgecolor": edge, "linewidth": 0.6, "label": name}
        axes.barh(line, width / MS, 0.8, left / MS, **options)
    axes.set_yticks(range(users), [f"device {device + 1}" for device in range(users)])
    axes.set_ylim(users - 0.5, -0.5)
    axes.grid(visible=False)


def _draw_goodput(axes: Any, contenders: Sequence[LiveContender]) -> None:
    for contender, colour in zip(contenders, cycle((BLUE, RED, *COLOURS[1:3])), strict=False):
        rounds = contender.rounds
        number = np.arange(1, len(rounds) + 1)
        for label, line, tokens, times in (
            ("realised", "-", [entry.played.gained.sum() for entry in rounds], [r.measured_time for r in rounds]),
            ("predicted", "--", [entry.predicted.sum() for entry in rounds], [r.predicted_time for r in rounds]),
        ):
            goodput = np.cumsum(tokens) / np.cumsum(times)
            axes.plot(number, goodput, line, color=colour, linewidth=1.4, label=f"{contender.name}, {label}")
    axes.set(xlabel="rounds", ylabel="goodput up to this round (tokens/s)")
    axes.set_ylim(bottom=0.0)
    axes.legend(**_RIGHT_LEGEND)
