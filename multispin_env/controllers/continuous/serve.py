"""Runs of requests under a controller, by simulation (ours; docs/serving.md)."""

from typing import Any

import numpy as np

from multispin_env.checks import check_integer, check_real
from multispin_env.controllers.base import Controller
from multispin_env.controllers.continuous.rates import seeded_core
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.physics.continuous.queues import MOST_REQUESTS
from multispin_env.physics.continuous.service_log import ServiceLog, ServiceRun
from multispin_env.physics.radio import GaussMarkov
from multispin_env.physics.types import SystemState, checked_state
from multispin_env.physics.workload import Workload


def serve(
    controller: Controller[Any, Any],
    workload: Workload,
    *,
    copies: int = 24,
    warm_up: float = 10.0,
    horizon: float = 45.0,
    channel: str | None = None,
    coherence_time: float = GaussMarkov.coherence_time,
    state: SystemState | None = None,
    seed: int = 0,
) -> ServiceRun:
    """What becomes of requests under a controller, in copies of its system.

    Steps count that begin at or after ``warm_up`` and before ``horizon`` seconds later, as wholes, and so does what
    happens to requests in them. A copy has the same devices, requests, channels and luck under every controller, so
    runs of the same seed can be compared copy by copy.

    Parameters
    ----------
    controller
        Any `Controller`; its scenario is the system.
    workload
        A `Workload`.
    copies
        n.
    warm_up, horizon
        Simulated seconds.
    channel
        Law of gains, one of `CHANNELS`; ``None`` means that of the scenario.
    coherence_time
        Seconds > 0, of ``"gauss-markov"``.
    state
        Devices (n, K), with their first channels; with a fading ``channel``, these are the mean gains too. By default
        each copy draws its own.
    seed
        Of everything that is drawn.

    Returns
    -------
    ServiceRun
        Arrays (n,) and (n, K).

    Raises
    ------
    ValueError
        For a number out of range, a bad state, a decision that a batch never starts under, or more requests than can be
        kept.

    Examples
    --------
    >>> import multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=8)
    >>> workload = ms.Workload(
    ...     arrivals=ms.make_arrivals("poisson"),
    ...     lengths=ms.make_lengths("geometric", mean_output=60.0),
    ...     rate=2.0,
    ...     level=ms.ServiceLevel(e2el=0.5, e2el_per_token=0.08),
    ... )
    >>> barrier, greedy = (ms.make_controller(name, scenario) for name in ("optimal", "greedy"))
    >>> slow, fast = (ms.serve(each, workload, copies=4, horizon=20.0) for each in (barrier, greedy))
    >>> bool(slow.share_missed.mean() > fast.share_missed.mean())
    True
    >>> bool(slow.pooled.ttft[0] > fast.pooled.ttft[0])  # the median
    True
    """
    check_integer("copies", copies, 1)
    check_real("warm_up", warm_up, 0.0)
    check_real("horizon", horizon, 0.0, open_low=True)
    check_integer("seed", seed, 0)
    _check_requests(workload, copies, warm_up + horizon)
    scenario = controller.scenario if channel is None else controller.scenario.replace(channel=channel)
    system = ContinuousSystem.of(scenario, controller.discipline, coherence_time, workload)
    if state is not None:
        state = checked_state(controller.scenario, state)
        expected = copies, controller.scenario.num_users
        if state.draft_time.shape != expected:
            raise ValueError(f"state: expected shape {expected}, copies and devices, got {state.draft_time.shape}")
    return serve_in(system, controller, copies, warm_up, horizon, seed, state)


def serve_in(
    system: ContinuousSystem,
    controller: Controller[Any, Any],
    copies: int,
    warm_up: float,
    horizon: float,
    seed: int,
    state: SystemState | None = None,
) -> ServiceRun:
    """As `serve`, in a system with a workload that is there; what it takes has been checked."""
    core = seeded_core(system, copies, seed, drawn=True)
    if state is None:
        core.reset()
    else:
        core.hold(state)
    log = ServiceLog(copies, system.scenario.num_users, warm_up)
    playing = np.ones(copies, dtype=np.bool_)
    while playing.any():
        begun = core.state.time
        log.add(core.step(controller(core.state)), begun, playing)
        ended = playing & (core.state.time >= warm_up + horizon)
        if ended.any():
            log.close(ended, core.overdue(core.state.time))
            playing &= ~ended
    return log.result()


def _check_requests(workload: Workload, copies: int, seconds: float) -> None:
    """``ValueError`` for too many requests, unless devices ask only when they have answers."""
    rate, most = workload.rates[1], MOST_REQUESTS / (copies * seconds)
    if rate > most and not workload.closed:
        raise ValueError(
            f"rate: expected at most {most:.4g} requests/s, so that {copies} copies of {seconds:g} s have at most "
            f"{MOST_REQUESTS:,} requests, got {rate:g}"
        )
