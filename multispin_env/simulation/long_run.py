"""Long runs by simulation: rates of a controller, and what requests get (ours; docs/evidence/serving.md)."""

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_instance, check_integer, check_real
from multispin_env.controllers.base import Controller
from multispin_env.physics.continuous.averages import LongRun, long_run_averages, seeded_core
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.physics.continuous.queues import MOST_REQUESTS
from multispin_env.physics.continuous.service_log import ServiceLog, ServiceRun
from multispin_env.physics.radio import GaussMarkov
from multispin_env.physics.types import SystemState, checked_state
from multispin_env.physics.workload import Workload


def long_run_rate(
    controller: Controller[Any, Any],
    state: SystemState,
    *,
    warm_up: float = 10.0,
    horizon: float = 45.0,
    channel: str = "static",
    seed: int = 0,
) -> FloatArray:
    """Expected tokens/s of all devices together under a controller, in the long run (ours).

    Tokens are counted from the end of a batch to the end of a batch, so that none is counted in part: the first that
    ends after ``warm_up``, and the first that ends ``horizon`` later. (n,) or (). ``ValueError`` for a bad state, a
    time that is not above zero, or a decision that a batch never starts under.

    Parameters
    ----------
    state
        Devices (n, K) or (K,); its channels hold for ever, or, with a fading ``channel``, are those of mean gains H̄.
    warm_up, horizon
        Simulated seconds.
    channel
        Law of gains, one of `CHANNELS`: ``"static"``, ``"independent"``, ``"gauss-markov"``.
    seed
        Of the fading; copy i of a batch has the same in every call, so that controllers can be compared.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=4)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0))
    >>> barrier, groups = (ms.make_controller(name, scenario) for name in ("optimal", "groups"))
    >>> bool(ms.long_run_rate(groups, state, horizon=5.0) > ms.long_run_rate(barrier, state, horizon=5.0))
    True
    """
    return long_run(controller, state, warm_up=warm_up, horizon=horizon, channel=channel, seed=seed).rate


def long_run(
    controller: Controller[Any, Any],
    state: SystemState,
    *,
    warm_up: float = 10.0,
    horizon: float = 45.0,
    channel: str = "static",
    seed: int = 0,
) -> LongRun:
    """As `long_run_rate`, with what everybody does meanwhile.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=4)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0))
    >>> found = ms.long_run(ms.make_controller("greedy", scenario), state, horizon=5.0)
    >>> bool(0.0 < found.uplink < 1.0)
    True
    """
    check_instance("controller", controller, Controller, "a Controller, as make_controller makes it")
    check_real("warm_up", warm_up, 0.0)
    check_real("horizon", horizon, 0.0, open_low=True)
    checked = checked_state(controller.scenario, state)
    system = ContinuousSystem.of(controller.scenario.replace(channel=channel), controller.discipline)
    return long_run_averages(controller, system, checked, warm_up, horizon, seed=seed)


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
    enough: Callable[[ServiceRun], bool] | None = None,
) -> ServiceRun:
    """What becomes of requests under a controller, in copies of its system.

    Steps count that begin at or after ``warm_up`` and before ``horizon`` seconds later, as wholes, and so does what
    happens to requests in them. A copy has the same devices, requests, channels and noise under every controller, so
    runs of one seed can be compared copy by copy. ``ValueError`` for a number out of range, a bad state, a decision
    that a batch never starts under, or more requests than can be kept.

    Parameters
    ----------
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
    enough
        Told the counts so far now and then; says whether the run may end before its time.

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
    check_instance("controller", controller, Controller, "a Controller, as make_controller makes it")
    check_instance("workload", workload, Workload)
    check_integer("copies", copies, 1)
    check_real("warm_up", warm_up, 0.0)
    check_real("horizon", horizon, 0.0, open_low=True)
    check_integer("seed", seed, 0)
    rate, most = workload.rates[1], MOST_REQUESTS / (copies * (warm_up + horizon))
    if rate > most and not workload.closed:  # devices of a closed one ask only when they have answers
        raise ValueError(
            f"rate: expected at most {most:.4g} requests/s, so that {copies} copies of {warm_up + horizon:g} s have at "
            f"most {MOST_REQUESTS:,} requests, got {rate:g}"
        )
    scenario = controller.scenario if channel is None else controller.scenario.replace(channel=channel)
    system = ContinuousSystem.of(scenario, controller.discipline, coherence_time, workload)
    if state is not None:
        state = checked_state(controller.scenario, state)
        expected = copies, controller.scenario.num_users
        if state.draft_time.shape != expected:
            raise ValueError(f"state: expected shape {expected}, copies and devices, got {state.draft_time.shape}")
    return simulate_service(system, controller, copies, warm_up, horizon, seed, state, enough)


def simulate_service(
    system: ContinuousSystem,
    controller: Controller[Any, Any],
    copies: int,
    warm_up: float,
    horizon: float,
    seed: int,
    state: SystemState | None = None,
    enough: Callable[[ServiceRun], bool] | None = None,
    passes: float = np.inf,
) -> ServiceRun:
    """As `serve`, in a system with a workload that is there; what it takes has been checked.

    After ``passes`` the run ends, and after a quarter of them all count, if its time is not over before.
    """
    core = seeded_core(system, copies, seed, drawn=True)
    if state is None:
        core.reset()
    else:
        core.hold(state)
    log = ServiceLog(copies, system.scenario.num_users, warm_up)
    playing = np.ones(copies, dtype=np.bool_)
    for step in count():
        begun = core.state.time if step < passes / 4 else np.full(copies, np.inf)
        log.add(core.step(controller(core.state)), begun, playing)
        ended = playing & ((core.state.time >= warm_up + horizon) | (step + 1 >= passes))
        if enough is not None and step % 64 == 0 and enough(log.counts()):
            ended = playing.copy()
        if ended.any():
            log.close(ended, core.overdue(core.state.time))
            playing &= ~ended
        if not playing.any():
            break
    return log.result()
