"""The long-run rate of a scheduler, by simulation."""

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_real
from multispin_env.controllers.continuous.base import Scheduler
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.types import SystemState
from multispin_env.physics.validation import checked_state


def long_run_rate(
    scheduler: Scheduler,
    state: SystemState,
    *,
    warm_up: float = 10.0,
    horizon: float = 45.0,
    channel: str = "static",
    seed: int = 0,
) -> FloatArray:
    """Expected tokens/s of all devices together under a scheduler, in the long run (ours).

    Tokens are counted from the end of a batch to the end of a batch: the first that ends after ``warm_up``, and the
    first that ends ``horizon`` later, so that no batch is counted in part.

    Parameters
    ----------
    scheduler
        Any `Scheduler`.
    state
        Devices (n, K) or (K,); its channels hold for ever, or, with a fading ``channel``, are those of the mean gains
        H̄, which the first cycle has too.
    warm_up, horizon
        Simulated seconds.
    channel
        Law of gains by cycle, one of `CHANNEL_LAWS`: ``"static"``, ``"independent"``, ``"gauss-markov"``.
    seed
        Of the fading; copy i of a batch has the same in every call, so that schedulers can be compared.

    Returns
    -------
    FloatArray
        (n,) tokens/s, or ().

    Raises
    ------
    ValueError
        For a bad state, a time that is not above zero, or an order that a batch never starts under.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=4)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0))
    >>> barrier, groups = (ms.make_scheduler(name, scenario) for name in ("barrier", "groups"))
    >>> bool(ms.long_run_rate(groups, state, horizon=5.0) > ms.long_run_rate(barrier, state, horizon=5.0))
    True
    """
    check_real("warm_up", warm_up, 0.0)
    check_real("horizon", horizon, 0.0, open_low=True)
    checked = checked_state(scheduler.scenario, state)
    shape = checked.draft_time.shape
    core = _held(scheduler, SystemState(*(_rows(array, shape) for array in _arrays(checked))), channel, seed)
    tokens, counted = np.zeros(core.num_copies), np.zeros(core.num_copies)
    begun, ended = core.state.time >= warm_up, np.zeros(core.num_copies, dtype=np.bool_)
    while not ended.all():
        passage = core.step(scheduler(core.state))
        running = begun & ~ended
        tokens += np.where(running, passage.tokens.sum(-1), 0.0)
        counted += np.where(running, passage.duration, 0.0)
        begun |= core.state.time >= warm_up
        ended = counted >= horizon
    return (tokens / counted).reshape(shape[:-1])[()]


def _held(scheduler: Scheduler, state: SystemState, channel: str, seed: int) -> ContinuousCore:
    system = ContinuousSystem.of(scheduler.scenario, channel, scheduler.discipline)
    core = ContinuousCore(system, len(state.draft_time), drawn=False)
    for copy, generator in enumerate(np.random.default_rng(seed).spawn(core.num_copies)):
        core.seed(copy, generator)
    core.hold(state)
    return core


def _arrays(state: SystemState) -> tuple[FloatArray, FloatArray, FloatArray]:
    return state.draft_time, state.spectral_efficiency, state.acceptance_rate


def _rows(array: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    return array.reshape(-1, shape[-1])
