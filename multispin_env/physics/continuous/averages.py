"""Long-run averages of a system without the barrier."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousOutcome, ContinuousState
from multispin_env.physics.types import Batched, SystemState
from multispin_env.scenario import Scenario

PASSES = 900  # Maximum number of verifications of a copy in a short measurement
LARGE = 32  # Up to this K, the number of passes falls as 1 / K²; above it as 1 / K, and copies fall too


def measurement_size(scenario: Scenario, copies: int) -> tuple[int, int]:
    """Return the numbers of copies (at most ``copies``) and verifications that take about a second to simulate."""
    users = scenario.num_users
    passes = 800 * PASSES // (users * min(users, LARGE))
    return max(1, copies * LARGE // max(users, LARGE)), min(max(passes, 16), PASSES)


@dataclass(frozen=True, slots=True, eq=False)
class LongRun(Batched):
    """Long-run rates and utilisation of a system under a controller; shares are fractions of time.

    Parameters
    ----------
    device_rate
        Expected goodput of each device, (..., K) tokens/s.
    server
        Share of time in which the server verifies, (...).
    uplink
        Mean used share of the bandwidth, (...).
    drafting, uploading, ready, verifying
        Shares of time in which devices draft, upload, wait for the server and are verified, mean over devices, (...).
    """

    device_rate: FloatArray
    server: FloatArray
    uplink: FloatArray
    drafting: FloatArray
    uploading: FloatArray
    ready: FloatArray
    verifying: FloatArray

    @property
    def rate(self) -> FloatArray:
        """Expected tokens/s of all devices together, (...)."""
        return np.asarray(self.device_rate.sum(-1))[()]


def seeded_core(system: ContinuousSystem, copies: int, seed: int, *, drawn: bool) -> ContinuousCore:
    """Make a core whose copy i reads the same random numbers in every call with this seed."""
    core = ContinuousCore(system, copies, drawn=drawn)
    for copy, generator in enumerate(np.random.default_rng(seed).spawn(copies)):
        core.seed(copy, generator)
    return core


def play(
    core: ContinuousCore, decide: Callable[[ContinuousState], ContinuousDecision], passes: float = np.inf
) -> Iterator[tuple[FloatArray, ContinuousOutcome]]:
    """Play steps in a core; yield the time (n,) at which each began and its outcome, for at most ``passes`` batches.

    The time is infinite after a quarter of the batches, so that no warm-up takes longer.
    """
    for step in count():
        if step >= passes:
            break
        begun = core.state.time if step < passes / 4 else np.full(core.num_envs, np.inf)
        yield begun, core.step(decide(core.state))


def _times(outcome: ContinuousOutcome) -> FloatArray:
    """Return the seconds (6, n) of the server, the uplink and the four phases of all devices together."""
    span = outcome.duration[:, None]
    drafted = np.minimum(outcome.drafted_at, span)
    uploaded = np.minimum(outcome.uploaded_at, span) - drafted
    verifying = outcome.verification_time[:, None] * outcome.verified
    phases = outcome.air_time, drafted, uploaded, span - drafted - uploaded - verifying, verifying
    return np.stack([outcome.verification_time, *(times.sum(-1) for times in phases)])


def long_run_averages(
    decide: Callable[[ContinuousState], ContinuousDecision],
    system: ContinuousSystem,
    state: SystemState,
    warm_up: float,
    horizon: float,
    passes: float = np.inf,
    seed: int = 0,
) -> LongRun:
    """Simulate devices (..., K) under decisions and return averages with expected tokens; arguments are not checked.

    Averages begin at the end of the first batch that ends after ``warm_up`` seconds, and stop at the end of the first
    batch that ends ``horizon`` seconds later, or after ``passes`` batches; the warm-up has at most a quarter of those.
    """
    shape = state.draft_time.shape
    flat = state.mapped(lambda array: array.reshape(-1, shape[-1]))
    core = seeded_core(system, len(flat.draft_time), seed, drawn=False)
    core.hold(flat)
    seconds, tokens, times = np.zeros(core.num_envs), np.zeros(flat.draft_time.shape), np.zeros((6, core.num_envs))
    for begun, outcome in play(core, decide, passes):
        counted = (begun >= warm_up) & (seconds < horizon)
        seconds += counted * outcome.duration
        tokens += counted[:, None] * outcome.tokens
        times += counted * _times(outcome)
        if (seconds >= horizon).all():
            break
    server, uplink, *phases = (share.reshape(shape[:-1])[()] for share in times / seconds)
    rate = (tokens / seconds[:, None]).reshape(shape)
    return LongRun(rate, server, uplink, *(phase / shape[-1] for phase in phases))
