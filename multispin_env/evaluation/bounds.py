"""Bounds that no policy exceeds in the systems of episodes."""

from dataclasses import replace
from typing import Any

from multispin_env.arrays import FloatArray
from multispin_env.controllers.continuous.bound import BOUNDED_CHANNELS, rate_bound
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.contenders import native


def bounds_of(episodes: Episodes) -> FloatArray | None:
    """`rate_bound` of the system of each episode, (n,) tokens/s; ``None`` for environments that it does not bound.

    An episode is short and lucky or not, so single episodes may exceed it; means over many do not.
    """
    played: Any = native(episodes.env())
    channel, variant = played.scenario.channel, played.variant
    if channel not in BOUNDED_CHANNELS or not variant.comparison.has_bound:
        return None
    old = replace(variant, channel_report="old")  # shows the mean gains, and draws the same devices
    env = episodes.env(variant=old)
    env.reset(seed=episodes.seed)
    here = native(env)
    gain = here.observed.system.mean_gain if channel == "independent" else None
    return rate_bound(here.scenario, here.state.system, channel=channel, mean_gain=gain)
