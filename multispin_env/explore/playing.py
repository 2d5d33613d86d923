"""Episodes without the barrier, played as the environment plays them, the first of them kept whole."""

from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
from gymnasium.utils import seeding

from multispin_env.arrays import FloatArray
from multispin_env.controllers.continuous.base import Scheduler
from multispin_env.controllers.continuous.bound import rate_bound
from multispin_env.envs.continuous.rendering.traces import Trace, Traces
from multispin_env.envs.settings import Settings
from multispin_env.evaluation.ledger import Ledger


class Played(NamedTuple):
    """What came of n episodes."""

    ledger: Ledger
    trace: Trace  # of the first
    bound: FloatArray  # (n,) tokens/s, for the devices of each


def play(settings: Settings, name: str, episodes: int, seed: int, patience: float) -> Played:
    """Play episodes with seeds from ``seed`` on, as `multispin_env.evaluation.episodes.play_episodes` does.

    Parameters
    ----------
    settings
        The environment, with static channels; it gets the uplink that the scheduler's orders are for.
    name
        Of the scheduler.
    episodes
        n.
    seed
        Of the first.
    patience
        Seconds that this may take.

    Raises
    ------
    ValueError
        For an unknown name or a bad order, or if it takes longer.
    """
    scheduler = settings.variant.contender(settings.scenario, name)
    if not isinstance(scheduler, Scheduler):
        raise ValueError(f"scheduler: expected one that sees the true state, got {name!r}")
    suited = replace(settings, variant=settings.variant.suited(scheduler))
    engine: Any = suited.engine(episodes)
    for copy in range(episodes):
        engine.seed(copy, seeding.np_random(seed + copy)[0])
    engine.reset()
    told, traces = settings.variant.told, Traces(suited, 1)  # of the first copy alone
    bound = rate_bound(settings.scenario, engine.state.system)
    ledger = Ledger.empty(episodes, settings.scenario.num_users, by_round=False)
    playing = np.ones(episodes, dtype=np.bool_)
    check = _deadline(name, patience)
    while playing.any():
        check(float(engine.state.time[playing].min()))
        step = engine.step(engine.encode(scheduler(engine.state)))
        ledger.add(step.reward, step.info, told, playing)
        if playing[0]:
            traces.add(step)
        playing &= ~step.truncated
    return Played(ledger, traces.view().titled(name), bound)


def _deadline(name: str, patience: float) -> Callable[[float], None]:
    end = monotonic() + patience

    def check(played: float) -> None:
        if monotonic() > end:
            raise ValueError(
                f"seconds: expected fewer, or another scheduler, since {name!r} had only played {played:.1f} s of them "
                f"when {patience:g} s were over"
            )

    return check
