"""Verdict of ``multispin live``: what was predicted beside what was realised, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.evaluation.statistics import Cells, Interval, block_intervals
from multispin_env.models.contender import LiveContender, LiveRound
from multispin_env.units import MS

TOKENS, PASS, ROUND, GOODPUT = "tokens a round", "verification (ms)", "round (ms)", "goodput (tokens/s)"
"""Quantities: tokens of a device, the server's pass, the whole round, and tokens of all devices over time."""

COLUMNS = 7
"""Numbers of a round, see `_numbers`."""

DIGITS = {TOKENS: 3, PASS: 1, ROUND: 1, GOODPUT: 2}


@dataclass(frozen=True)
class Line:
    """A quantity of a contender, means over rounds; intervals are of 95 %."""

    contender: str  # for a ratio of two, both with a slash between
    quantity: str  # with its unit
    predicted: Interval
    realised: Interval
    difference: Interval  # realised − predicted, paired
    ratio: Interval  # realised / predicted, paired

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        found: dict[str, Any] = {"contender": self.contender, "quantity": self.quantity}
        return found | {
            name: getattr(self, name)._asdict() for name in ("predicted", "realised", "difference", "ratio")
        }


def block_of(contenders: Sequence[LiveContender]) -> int:
    """Rounds of a block: as many as a request lasts on average, but so few that there are five blocks."""
    rounds = len(contenders[0].rounds)
    users = contenders[0].scenario.num_users
    begun = sum(int((one.rounds[-1].request + 1).sum()) for one in contenders)
    lasting = len(contenders) * rounds * users / begun
    return int(np.clip(round(lasting), 1, max(1, rounds // 5)))


def verdict_lines(contenders: Sequence[LiveContender]) -> list[Line]:
    """Lines of each contender, then of the first one's goodput over each other's; at least two rounds of each."""
    block, users = block_of(contenders), contenders[0].scenario.num_users
    numbers = np.concatenate([_numbers(one.rounds) for one in contenders], axis=1)
    parts = [slice(COLUMNS * index, COLUMNS * (index + 1)) for index in range(len(contenders))]

    def statistic(sums: FloatArray) -> FloatArray:
        means = [_quantities(sums[..., part], users) for part in parts]  # (..., quantity, 2)
        leads = [means[0][..., -1:, :] / other[..., -1:, :] for other in means[1:]]
        both = np.concatenate([*means, *leads], axis=-2)
        predicted, realised = both[..., 0], both[..., 1]
        return np.concatenate([predicted, realised, realised - predicted, realised / predicted], axis=-1)

    found = block_intervals(numbers, statistic, block)
    titles = [(one.name, quantity) for one in contenders for quantity in DIGITS]
    titles += [(f"{contenders[0].name} / {other.name}", "goodput") for other in contenders[1:]]
    size = len(titles)
    return [Line(*title, *(found[index + size * kind] for kind in range(4))) for index, title in enumerate(titles)]


def _numbers(rounds: Sequence[LiveRound]) -> FloatArray:
    """Numbers (n, `COLUMNS`) of rounds, whose sums the quantities are made of."""
    return np.array(
        [
            (
                1.0,
                one.predicted.sum(),
                one.gained.sum(),
                one.predicted_pass,
                one.measured_pass,
                one.predicted_time,
                one.measured_time,
            )
            for one in rounds
        ]
    )


def _quantities(sums: FloatArray, users: int) -> FloatArray:
    """Predicted and realised quantities (..., 4, 2) of sums over rounds (..., `COLUMNS`)."""
    rounds, tokens, passes, times = sums[..., :1], sums[..., 1:3], sums[..., 3:5], sums[..., 5:7]
    return np.stack([tokens / (users * rounds), passes / rounds / MS, times / rounds / MS, tokens / times], axis=-2)


def verdict_cells(lines: Sequence[Line]) -> tuple[Cells, list[Cells]]:
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
        for digits in (DIGITS.get(line.quantity, 3),)
    ]
