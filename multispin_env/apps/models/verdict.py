"""Verdict of ``multispin live``: what was predicted beside what was realised, as a table and as a timeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.apps.models.contender import LiveContender, LiveRound
from multispin_env.apps.models.counts import exact_interval
from multispin_env.apps.reproduce.drawing import BLUE, RED, save
from multispin_env.arrays import FloatArray
from multispin_env.envs.rendering.style import ACCEPTED, GREY, REFUSED, UPLOADING, VERIFYING, WAITING
from multispin_env.evaluation.statistics import Cells, Interval, block_intervals
from multispin_env.units import MS

TOKENS, PASS, ROUND, GOODPUT = "tokens a round", "verification (ms)", "round (ms)", "goodput (tokens/s)"
"""Quantities: tokens of a device, the server's pass, the whole round, and tokens of all devices over time."""

_COLUMNS = 7  # numbers of a round, see `_numbers`

_DIGITS = {TOKENS: 3, PASS: 1, ROUND: 1, GOODPUT: 2}


@dataclass(frozen=True)
class _Line:
    """A quantity of a contender, means over rounds; intervals are of 95 %."""

    contender: str  # for a ratio of two, both with a slash between
    quantity: str  # with its unit
    predicted: Interval
    realised: Interval
    difference: Interval  # realised − predicted, paired
    ratio: Interval  # realised / predicted, paired

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"contender": self.contender, "quantity": self.quantity}
        return found | {
            name: getattr(self, name)._asdict() for name in ("predicted", "realised", "difference", "ratio")
        }


def block_length(contenders: Sequence[LiveContender]) -> int:
    """Rounds of a block: as many as a request lasts on average, but so few that there are five blocks."""
    rounds = len(contenders[0].rounds)
    users = contenders[0].scenario.num_users
    begun = sum(int((one.rounds[-1].request + 1).sum()) for one in contenders)
    lasting = len(contenders) * rounds * users / begun
    return int(np.clip(round(lasting), 1, max(1, rounds // 5)))


def verdict_lines(contenders: Sequence[LiveContender]) -> list[_Line]:
    """Lines of each contender, then of the first one's goodput over each other's; at least two rounds of each."""
    block, users = block_length(contenders), contenders[0].scenario.num_users
    numbers = np.concatenate([_numbers(one.rounds) for one in contenders], axis=1)
    parts = [slice(_COLUMNS * index, _COLUMNS * (index + 1)) for index in range(len(contenders))]

    def statistic(sums: FloatArray) -> FloatArray:
        means = [_quantities(sums[..., part], users) for part in parts]  # (..., quantity, 2)
        leads = [means[0][..., -1:, :] / other[..., -1:, :] for other in means[1:]]
        both = np.concatenate([*means, *leads], axis=-2)
        predicted, realised = both[..., 0], both[..., 1]
        return np.concatenate([predicted, realised, realised - predicted, realised / predicted], axis=-1)

    found = block_intervals(numbers, statistic, block)
    titles = [(one.name, quantity) for one in contenders for quantity in _DIGITS]
    titles += [(f"{contenders[0].name} / {other.name}", "goodput") for other in contenders[1:]]
    size = len(titles)
    return [_Line(*title, *(found[index + size * kind] for kind in range(4))) for index, title in enumerate(titles)]


def _numbers(rounds: Sequence[LiveRound]) -> FloatArray:
    """Numbers (n, `_COLUMNS`) of rounds, whose sums the quantities are made of."""
    return np.array(
        [
            (
                1.0,
                one.predicted.sum(),
                one.played.gained.sum(),
                one.predicted_pass,
                one.played.pass_time,
                one.predicted_time,
                one.measured_time,
            )
            for one in rounds
        ]
    )


def _quantities(sums: FloatArray, users: int) -> FloatArray:
    """Predicted and realised quantities (..., 4, 2) of sums over rounds (..., `_COLUMNS`)."""
    rounds, tokens, passes, times = sums[..., :1], sums[..., 1:3], sums[..., 3:5], sums[..., 5:7]
    return np.stack([tokens / (users * rounds), passes / rounds / MS, times / rounds / MS, tokens / times], axis=-2)


def verdict_cells(lines: Sequence[_Line]) -> tuple[Cells, list[Cells]]:
    """Header and rows of the table."""
    header = ("contender", "quantity", "predicted", "realised", "realised − predicted", "ratio")
    return header, [
        (
            line.contender,
            line.quantity,
            f"{line.predicted.mean:.{digits}f}",
            f"{line.realised.mean:.{digits}f} ({line.realised.low:.{digits}f} to {line.realised.high:.{digits}f})",
            f"{line.difference.mean:+.{digits}f} "
            f"({line.difference.low:+.{digits}f} to {line.difference.high:+.{digits}f})",
            f"{line.ratio.mean:.3f}",
        )
        for line in lines
        for digits in (_DIGITS.get(line.quantity, 3),)
    ]


@dataclass(frozen=True)
class _HitLine:
    """How often a draft of some length was accepted whole and the chain's next token was the server's."""

    contender: str
    draft_length: int
    drafts: int
    predicted: float  # by the mean acceptance of the tasks, mean over the drafts
    hits: int
    low: float  # ends of the 95 % interval of the share of hits if all drafts are independent (Clopper and Pearson)
    high: float


def hit_lines(contenders: Sequence[LiveContender]) -> list[_HitLine]:
    """Lines of each contender and each length that it drafted; none where nobody drafts ahead."""
    found = []
    for one in contenders:
        played = [(row.draft_length, row.chains.hit, row.chains.predicted) for row in one.rounds if row.chains]
        if played:
            length, hit, predicted = (np.concatenate(part) for part in zip(*played, strict=True))
            for size in np.unique(length).tolist():
                those = length == size
                drafts, hits = int(those.sum()), int(hit[those].sum())
                ends = exact_interval(hits, drafts - hits)
                found.append(_HitLine(one.name, size, drafts, float(predicted[those].mean()), hits, *ends))
    return found


def hit_cells(lines: Sequence[_HitLine]) -> tuple[Cells, list[Cells]]:
    """Header and rows of the table of hits."""
    header = ("contender", "L", "drafts", "predicted", "hits")
    return header, [
        (
            line.contender,
            str(line.draft_length),
            str(line.drafts),
            f"{line.predicted:.3f}",
            f"{line.hits / line.drafts:.3f} ({line.low:.3f} to {line.high:.3f})",
        )
        for line in lines
    ]


_SHOWN = 6  # first rounds of the timeline, of the slower contender; the other's in the same time
_MOST_SHOWN = 60  # rounds of a contender, lest a picture have more cells than anybody can see

_BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5), "frameon": False, "fontsize": 8}
"""Place of a legend, where it covers no data."""

_GOODPUT_HEIGHT = 2.6  # of the panel of goodput, in inches

_ACCEPTED_TOKEN, _REFUSED_TOKEN = "drafting, accepted", "drafting, refused"


def save_timeline(contenders: Sequence[LiveContender], stem: Path, title: str) -> None:
    """Draw the picture to ``stem.png``, which holds no date."""
    lines = max(2.0, 0.28 * contenders[0].scenario.num_users)
    size = 11.0, 1.6 + (lines + 0.6) * len(contenders) + _GOODPUT_HEIGHT
    save(lambda figure: _draw(contenders, figure, lines, title), size, stem, (".png",))


def _draw(contenders: Sequence[LiveContender], figure: Any, lines: float, title: str) -> None:
    ratios = [*[lines] * len(contenders), _GOODPUT_HEIGHT]
    *timelines, below = figure.subplots(len(contenders) + 1, 1, height_ratios=ratios)
    end = max(sum(one.measured_time for one in contender.rounds[:_SHOWN]) for contender in contenders)
    for axes, contender in zip(timelines, contenders, strict=True):
        _draw_rounds(axes, _begun_before(end, contender.rounds))
        axes.set_xlim(0.0, end / MS)
        axes.set_title(f"{contender.name}, from the first round on", loc="left")
    timelines[-1].set_xlabel("time (ms)")
    timelines[-1].legend(*timelines[0].get_legend_handles_labels(), **_BESIDE)
    _draw_goodput(below, contenders)
    figure.suptitle(title, fontsize=10)


def _begun_before(end: float, rounds: Sequence[LiveRound]) -> Sequence[LiveRound]:
    begun = np.cumsum([0.0, *(one.measured_time for one in rounds[:-1])])
    return rounds[: min(int((begun < end).sum()), _MOST_SHOWN)]


def _colour(rgb: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(part / 255.0 for part in rgb)


def _draw_rounds(axes: Any, rounds: Sequence[LiveRound]) -> None:
    users = len(rounds[0].draft_length)
    cells: dict[str, list[tuple[float, float, int]]] = {
        name: [] for name in (_ACCEPTED_TOKEN, _REFUSED_TOKEN, "uploading", "waiting", "verifying")
    }
    begin = 0.0
    for one in rounds:
        for device in range(users):
            length, accepted = int(one.draft_length[device]), int(one.played.accepted[device])
            each = one.drafting[device] / max(length, 1)
            for position in range(length):
                name = _ACCEPTED_TOKEN if position < accepted else _REFUSED_TOKEN
                cells[name].append((begin + position * each, each, device))
            drafted = begin + one.drafting[device]
            ready = drafted + one.uploading[device]
            cells["uploading"].append((drafted, one.uploading[device], device))
            cells["waiting"].append((ready, begin + one.access - ready, device))
            cells["verifying"].append((begin + one.access, one.played.pass_time, device))
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
            edgecolor="white" if name in (_ACCEPTED_TOKEN, _REFUSED_TOKEN) else "none",
            linewidth=0.6,
            label=name,
        )
    axes.set_yticks(range(users), [f"device {device + 1}" for device in range(users)])
    axes.set_ylim(users - 0.5, -0.5)
    axes.grid(visible=False)


def _draw_goodput(axes: Any, contenders: Sequence[LiveContender]) -> None:
    for contender, colour in zip(contenders, (BLUE, RED), strict=False):
        rounds = contender.rounds
        number = np.arange(1, len(rounds) + 1)
        for label, line, tokens, times in (
            ("realised", "-", [one.played.gained.sum() for one in rounds], [one.measured_time for one in rounds]),
            ("predicted", "--", [one.predicted.sum() for one in rounds], [one.predicted_time for one in rounds]),
        ):
            running = np.cumsum(tokens) / np.cumsum(times)
            axes.plot(number, running, line, color=colour, linewidth=1.4, label=f"{contender.name}, {label}")
    axes.set_xlabel("rounds so far")
    axes.set_ylabel("goodput so far (tokens/s)")
    axes.set_ylim(bottom=0.0)
    axes.legend(**_BESIDE)
