"""What is played, and the frames that show it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from multispin_env.checks import check_integer, check_name
from multispin_env.envs.rendering.canvas import Canvas
from multispin_env.envs.rendering.picture import Picture
from multispin_env.envs.rendering.views import Scales, View
from multispin_env.envs.settings import ENVIRONMENTS
from multispin_env.evaluation.contenders import deciding, make_contender, native, start

MOVES = 8
"""Frames of a round while it goes on."""

JUDGED, END = 5, 24
"""Times that its last frame is shown: with what was accepted; and that of the last round."""


def make_watched_env(env_id: str, rounds: int, scenario: str, arguments: Mapping[str, Any]) -> VectorEnv[Any, Any, Any]:
    """Make a vector environment of one copy that remembers what pictures need.

    Raises
    ------
    ValueError, TypeError
        For an unknown id or argument (the nearest is suggested) or a bad value.
    ImportError
        Without pygame.
    """
    check_name("env", env_id, ENVIRONMENTS.names())
    return gym.make_vec(
        env_id,
        num_envs=1,
        vectorization_mode="vector_entry_point",
        scenario=scenario,
        max_episode_steps=check_integer("rounds", rounds, 1),
        render_mode="rgb_array",
        **arguments,
    )


def watch(env: VectorEnv[Any, Any, Any], name: str, seed: int) -> list[View]:
    """Play one episode; returns what there was to see after each round.

    Parameters
    ----------
    env
        Of `make_watched_env`.
    name
        A contender, for `multispin_env.evaluation.contenders.make_contender`.
    seed
        Of the episode: with the same one, contenders meet the same states.
    """
    base = native(env)
    contender = make_contender(name, env)
    decide = deciding(contender, base)
    start(contender)
    observation, _ = env.reset(seed=check_integer("seed", seed, 0))
    views = []
    for _ in range(base.max_episode_steps):
        observation, *_ = env.step(decide(observation))
        views.append(replace(base.view(), title=name))
    return views


@dataclass(frozen=True)
class Frame:
    """One picture of a film."""

    number: int  # of the round, from 0
    views: tuple[View, ...]
    clock: float | None  # seconds since the round began; None once it is over everywhere
    times: int  # frames of the film that show it


class Film:
    """Two episodes on the same states; each round is a few frames, in the same time for both.

    Parameters
    ----------
    one, other
        Of `watch`, equally long.
    """

    def __init__(self, one: Sequence[View], other: Sequence[View]) -> None:
        names = one[-1].title, other[-1].title
        pairs = [(a.beside(b, names[1]), b.beside(a, names[0])) for a, b in zip(one, other, strict=True)]
        self._rounds = [_in_common_scales(pair, len(pairs)) for pair in pairs]
        self._picture = Picture()

    def frames(self) -> list[Frame]:
        """All that there is to draw."""
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

    def draw(self, frame: Frame) -> Canvas:
        """Draw a frame; the canvas is the same for all."""
        self._picture.draw(frame.views, frame.clock)
        return self._picture.canvas


def _in_common_scales(pair: tuple[View, View], rounds: int) -> tuple[View, ...]:
    scales = Scales.common(view.scales for view in pair)._replace(rounds=rounds)
    return tuple(replace(view, scales=scales) for view in pair)
