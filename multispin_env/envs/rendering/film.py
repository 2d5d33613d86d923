"""Rounds of two episodes side by side, each in the same time."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from typing_extensions import override

from multispin_env.envs.rendering.picture import Picture
from multispin_env.envs.rendering.renderers import Film, Frame
from multispin_env.envs.rendering.views import Scales, View

MOVES = 8
"""Frames of a round while it goes on."""

JUDGED, END = 5, 24
"""Times that its last frame is shown: with what was accepted; and that of the last round."""


class RoundsFilm(Film):
    """Two episodes on the same states, equally long; each round is a few frames, in the same time for both."""

    def __init__(self, one: Sequence[View], other: Sequence[View]) -> None:
        names = one[-1].title, other[-1].title
        pairs = [(_beside(a, b, names[1]), _beside(b, a, names[0])) for a, b in zip(one, other, strict=True)]
        self._rounds = [_in_common_scales(pair, len(pairs)) for pair in pairs]
        self._picture = Picture()

    @override
    def frames(self) -> list[Frame]:
        last = len(self._rounds) - 1
        return [
            frame for number in range(last + 1) for frame in self._of_round(number, END if number == last else JUDGED)
        ]

    def _of_round(self, number: int, judged: int) -> Iterator[Frame]:
        views = self._rounds[number]
        longest = max(float(view.last.outcome.round_latency) for view in views if view.last is not None)
        for clock in np.linspace(0.0, longest, MOVES, endpoint=False).tolist():
            yield Frame(number, views, clock, 1)
        yield Frame(number, views, longest, judged)


def _beside(view: View, other: View, name: str) -> View:
    return replace(view, reference=other.goodput, reference_name=name)


def _in_common_scales(pair: tuple[View, View], rounds: int) -> tuple[View, ...]:
    scales = Scales.common(view.scales for view in pair)._replace(rounds=rounds)
    return tuple(replace(view, scales=scales) for view in pair)
