"""Episodes without the barrier, played as the environment plays them, the first of them kept whole."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from gymnasium.utils import seeding

from multispin_env.envs.continuous.rendering.traces import Trace, Traces
from multispin_env.envs.settings import Settings
from multispin_env.evaluation.contenders import with_uplink_of
from multispin_env.evaluation.episode_stats import EpisodeStats
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState


class PlayedEpisodes(NamedTuple):
    """What came of n episodes."""

    stats: EpisodeStats
    trace: Trace  # of the first


def opened(settings: Settings, episodes: int, seed: int) -> Any:
    """Engine of so many episodes, at their beginning."""
    engine = settings.engine(episodes)
    for copy in range(episodes):
        engine.seed(copy, seeding.np_random(seed + copy)[0])
    engine.reset()
    return engine


ContinuousRule = Callable[[ContinuousState], ContinuousDecision]
"""A controller, or a network that sees the whole state."""


def play(settings: Settings, rule: ContinuousRule, name: str, episodes: int, seed: int) -> PlayedEpisodes:
    """Play episodes with seeds from ``seed`` on, as `multispin_env.evaluation.episodes.play_episodes` does.

    Parameters
    ----------
    settings
        The environment; it gets the uplink that the decisions of a controller are for.
    rule
        What decides.
    name
        Of the rule.
    episodes
        n.
    seed
        Of the first.

    Raises
    ------
    ValueError
        For a bad decision.
    """
    suited = replace(settings, variant=with_uplink_of(rule, settings.variant))
    engine = opened(suited, episodes, seed)
    keys, traces = settings.variant.comparison.info, Traces(suited, 1)  # of the first copy alone
    stats = EpisodeStats.empty(episodes, settings.scenario.num_users, by_round=False)
    playing = np.ones(episodes, dtype=np.bool_)
    while playing.any():
        step = engine.step(engine.actions.encode(rule(engine.state), engine.planned))
        stats.add(step.reward, step.info, keys, playing)
        if playing[0]:
            traces.add(step)
        playing &= ~step.truncated
    return PlayedEpisodes(stats, replace(traces.view(), title=name))
