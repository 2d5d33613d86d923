"""Long simulations: rates of a controller, and service of requests (not in the paper; docs/evidence/serving.md)."""

from collections.abc import Callable

import numpy as np

from multispin_env.checks import check_instance, check_integer, check_real
from multispin_env.controllers.base import Controller
from multispin_env.physics.continuous.averages import LongRun, long_run_averages, play, seeded_core
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.physics.continuous.queues import MOST_REQUESTS
from multispin_env.physics.continuous.service_log import ServiceLog, ServiceRun
from multispin_env.physics.radio import GaussMarkov
from multispin_env.physics.types import SystemState, checked_state
from multispin_env.physics.workload import Workload


def long_run(
    controller: Controller,
    state: SystemState,
    *,
    warm_up: float = 10.0,
    horizon: float = 45.0,
    channel: str = "static",
    seed: int = 0,
) -> LongRun:
    """Return the long-run rate and utilisation of a controller: ``rate``, (n,) or (), is in expected tokens/s.

    Only whole batches count, from the end of the first batch that ends after ``warm_up`` to the end of the first batch
    that ends ``horizon`` later. ``ValueError`` for a bad state, a time out of range, or a decision under which a batch
    never starts.

    Parameters
    ----------
    state
        Devices (n, K) or (K,). Their channels are constant or, with a fading ``channel``, give the mean gains H̄.
    warm_up, horizon
        Simulated seconds.
    channel
        Law of gains, one of `CHANNELS`: ``"static"``, ``"independent"``, ``"gauss-markov"``.
    seed
        Seed of the fading. State i has the same fading in every call, so that controllers can be compared.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=4)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0))
    >>> barrier, groups = (ms.make_controller(name, scenario) for name in ("optimal", "groups"))
    >>> run = ms.long_run(groups, state, horizon=5.0)
    >>> bool(run.rate > ms.long_run(barrier, state, horizon=5.0).rate)
    True
    >>> bool(0.0 < run.uplink < 1.0)  # used share of the bandwidth
    True
    """
    check_instance("controller", controller, Controller, "a Controller, such as one from make_controller")
    check_real("warm_up", warm_up, 0.0)
    check_real("horizon", horizon, 0.0, open_low=True)
    checked = checked_state(controller.scenario, state)
    system = ContinuousSystem.of(controller.scenario.replace(channel=channel), controller.discipline)
    return long_run_averages(controller.decide_continuous, system, checked, warm_up, horizon, seed=seed)


def serve(
    controller: Controller,
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
    """Simulate the service of requests under a controller in independent copies of a system.

    Steps that begin in the ``horizon`` seconds after ``warm_up`` count completely. A copy has the same devices,
    requests, channels and random tokens under every controller, so that runs with equal seeds can be compared copy by
    copy. ``ValueError`` for a number out of range, a bad state, a decision under which a batch never starts, or too
    many requests for the memory.

    Parameters
    ----------
    copies
        Number n of copies.
    warm_up, horizon
        Simulated seconds.
    channel
        Law of gains, one of `CHANNELS`; ``None`` for that of the scenario.
    coherence_time
        Coherence time of ``"gauss-markov"`` in seconds, > 0.
    state
        Devices (n, K) with their first channels, which with a fading ``channel`` also give the mean gains. ``None``:
        each copy draws its devices.
    seed
        Seed of all random numbers.
    enough
        Function that is called from time to time with the counts so far, and returns whether the run may end early.

    Examples
    --------
    >>> import multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=8)
    >>> workload = ms.requests.Workload(
    ...     arrivals=ms.requests.make_arrivals("poisson"),
    ...     lengths=ms.requests.make_lengths("geometric", mean_output=60.0),
    ...     rate=2.0,
    ...     level=ms.requests.ServiceLevel(e2el=0.5, e2el_per_token=0.08),
    ... )
    >>> barrier, greedy = (ms.make_controller(name, scenario) for name in ("optimal", "greedy"))
    >>> slow, fast = (ms.serve(rule, workload, copies=4, horizon=20.0) for rule in (barrier, greedy))
    >>> bool(slow.share_missed.mean() > fast.share_missed.mean())
    True
    >>> bool(slow.pooled.ttft[0] > fast.pooled.ttft[0])  # the median
    True
    """
    check_instance("controller", controller, Controller, "a Controller, such as one from make_controller")
    check_instance("workload", workload, Workload)
    check_integer("copies", copies, 1)
    check_real("warm_up", warm_up, 0.0)
    check_real("horizon", horizon, 0.0, open_low=True)
    check_integer("seed", seed, 0)
    rate, most = workload.rates[1], MOST_REQUESTS / (copies * (warm_up + horizon))
    if rate > most and not workload.closed:  # in a closed loop, requests wait for answers
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
            raise ValueError(f"state: expected shape {expected} (copies, devices), got {state.draft_time.shape}")
    return simulate_service(system, controller, copies, warm_up, horizon, seed, state, enough)


def simulate_service(
    system: ContinuousSystem,
    controller: Controller,
    copies: int,
    warm_up: float,
    horizon: float,
    seed: int,
    state: SystemState | None = None,
    enough: Callable[[ServiceRun], bool] | None = None,
    passes: float = np.inf,
) -> ServiceRun:
    """Simulate service as in `serve`, in a prepared system with a workload; arguments are not checked again.

    The run also ends after ``passes`` batches, and the warm-up after a quarter of them.
    """
    core = seeded_core(system, copies, seed, drawn=True)
    if state is None:
        core.reset()
    else:
        core.hold(state)
    log = ServiceLog(copies, system.scenario.num_users, warm_up)
    playing = np.ones(copies, dtype=np.bool_)
    steps = play(core, controller.decide_continuous, passes)  # the state needs no check
    for step, (begun, outcome) in enumerate(steps):
        log.add(outcome, begun, playing)
        is_last = step + 1 >= passes or (enough is not None and step % 64 == 0 and enough(log.counts()))
        ended = playing & (is_last | (core.state.time >= warm_up + horizon))
        if ended.any():
            log.close(ended, core.overdue(core.state.time))
            playing &= ~ended
        if not playing.any():
            break
    return log.result()
