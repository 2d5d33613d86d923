"""State, decision and outcome without the barrier (not in the paper); arrays have batch axes first and users K last."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray, constant
from multispin_env.physics.types import Batched, Observed, SystemState


class Phase:
    """Phases of a device at the end of a verification.

    They are plain integers: NumPy looks up missing attributes of an ``Enum`` and loses a Ctrl-C that arrives meanwhile.

    Attributes
    ----------
    FREE
        The device starts a draft now.
    DRAFTING
        The device drafts.
    UPLOADING
        The device uploads its draft, or repeats the upload.
    READY
        The draft waits at the server.
    IDLE
        The device has no request; with endless requests no device is idle.
    """

    FREE = 0
    DRAFTING = 1
    UPLOADING = 2
    READY = 3
    IDLE = 4


class Join:
    """Membership of a device in the next batch.

    Attributes
    ----------
    LEAVE
        The draft is left for a later batch.
    TAKE
        The batch takes the draft if it has arrived.
    WAIT
        The batch waits for the draft.
    """

    LEAVE = 0
    TAKE = 1
    WAIT = 2


ENDLESS = 2**53  # Tokens of a request that never ends; other requests have fewer


@dataclass(frozen=True, slots=True, eq=False)
class Demand(Batched):
    """Current request of each device and the length of its queue; `Demand.endless` if requests never end.

    Parameters
    ----------
    wanted, output
        Tokens to be delivered and tokens of the whole answer, (..., K); 0 without a request, `ENDLESS` without end.
    prompt
        Prompt tokens in the next verification, (..., K); 0 after the first verification.
    arrived
        Arrival time at the device on the clock of the state's time, (..., K) s; 0 without a request.
    first_due, due
        Due times of the first and the last token, (..., K) s; infinite without a limit. Once the first token has
        arrived, ``first_due`` is infinite; if that token was late, ``due`` is its due time.
    queue
        Further requests in the queue, first come, first served, (..., K).
    drafted, accepted
        Tokens drafted and accepted in the last verification, (..., K); 0 if the device was not in it, or if the request
        never ends.
    """

    wanted: IntArray
    output: IntArray
    prompt: IntArray
    arrived: FloatArray
    first_due: FloatArray
    due: FloatArray
    queue: IntArray
    drafted: IntArray
    accepted: IntArray

    @classmethod
    @lru_cache(maxsize=64)
    def endless(cls, shape: tuple[int, ...]) -> "Demand":
        """Return requests (..., K) that never end and are never due; shared read-only arrays."""
        tokens, none, never = constant(shape, ENDLESS), constant(shape, 0), constant(shape, np.inf)
        return cls(tokens, tokens, none, constant(shape, 0.0), never, never, none, none, none)

    @property
    def never_ends(self) -> BoolArray:
        """Mask (..., K) of requests that never end."""
        return np.asarray(self.wanted) == ENDLESS


@dataclass(frozen=True, slots=True, eq=False)
class ContinuousState(Batched):
    """State of the system at the end of a verification.

    Parameters
    ----------
    draft_time
        SLM time per drafted token T_k, (..., K) s/token, after the prompt and answer so far of requests that end.
    spectral_efficiency
        Uplink spectral efficiency r_k in the current cycle of the device, (..., K) bit/s/Hz; the cycle of a free device
        starts now.
    acceptance_rate
        Probability α_k that a drafted token is accepted, (..., K).
    phase
        Phase of each device, one of `Phase`, (..., K).
    draft_length
        Tokens of the current draft, (..., K); 0 for a free device.
    drafting_left, air_left
        Time until the draft is complete, and remaining upload time with the whole band, (..., K) s.
    age
        Time since the start of the current cycle, (..., K) s; for a free device, duration of the last cycle.
    aim
        Index of the batch at which the draft aims, (..., K); used by controllers only.
    batch, time
        Index of the next batch, from 0, and time since the start in s, (...).
    demand
        Requests of the devices, `Demand.endless` if requests never end.
    head_start
        Tokens A_k in the chain at the start of the current cycle (for a free device, now), (..., K).
    draft_energy
        Energy to draft a token, (..., K) J; ``None`` for that of the scenario.
    fleet_row
        As in `SystemState`.
    reading_left
        Time for which the device reads its prompt and cannot draft, (..., K) s; 0 for an idle device. ``None`` if
        reading takes no time.
    """

    draft_time: FloatArray
    spectral_efficiency: FloatArray
    acceptance_rate: FloatArray
    phase: IntArray
    draft_length: IntArray
    drafting_left: FloatArray
    air_left: FloatArray
    age: FloatArray
    aim: IntArray
    batch: IntArray
    time: FloatArray
    demand: Demand
    head_start: FloatArray
    draft_energy: FloatArray | None = None
    fleet_row: IntArray | None = None
    reading_left: FloatArray | None = None

    @property
    def system(self) -> SystemState:
        """State of the devices as a `SystemState` of rounds."""
        return self.into(SystemState)

    @property
    def busy(self) -> BoolArray:
        """Mask (..., K) of devices with a request."""
        return self.phase != Phase.IDLE

    @property
    def reading(self) -> BoolArray:
        """Mask (..., K) of devices that read their prompts."""
        left = self.reading_left
        return constant(np.shape(self.phase), False) if left is None else left > 0.0

    @property
    def starting(self) -> BoolArray:
        """Mask (..., K) of devices whose next draft starts now or at the next arrival."""
        return (self.phase == Phase.FREE) | (self.phase == Phase.IDLE)


@dataclass(frozen=True, slots=True, eq=False)
class ContinuousObserved(Batched):
    """Observation at the end of a verification, if parts of the state are hidden.

    Parameters
    ----------
    state
        State with substitutes for hidden parts: old channels, and acceptance rates estimated from counts.
    system
        Observed values of the devices, ``None`` if hidden; a round in the sense of `Observed` is a verification.
    """

    state: ContinuousState
    system: Observed


@dataclass(frozen=True, slots=True, eq=False)
class ContinuousDecision(Batched):
    """Decision for the time from the end of one verification to the end of the next.

    Parameters
    ----------
    draft_length
        Tokens L_k of drafts that start now or at the next arrival, (..., K); cut to what the request still needs.
    join
        Membership in the next batch, one of `Join`, (..., K).
    priority
        Priority on a serial uplink, (..., K): the smallest value is served first, ties by shorter upload. None: equal.
    share
        Share of the band on a reserved uplink (sum ≤ 1), or weight on a shared uplink, (..., K). None: equal.
    timeout
        Time after which the batch starts with the drafts that have arrived, (...) s. None: no timeout.
    least_batch
        Smallest number of drafts with which the batch starts before the timeout, (...). None: 1.
    aim
        Index of the batch at which drafts that start now aim, (..., K); stored in the state. None: the next batch.
    drop
        Whether the device drops its request and its draft, (..., K). None: no drops.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> decision = ms.ContinuousDecision(np.array([4, 6]), join=np.array([2, 1]))  # waits for the first device
    >>> decision.timeout is None, decision.join.tolist()
    (True, [2, 1])
    """

    draft_length: IntArray
    join: IntArray
    priority: FloatArray | None = None
    share: FloatArray | None = None
    timeout: FloatArray | None = None
    least_batch: IntArray | None = None
    aim: IntArray | None = None
    drop: BoolArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Served(Batched):
    """Service of requests in a step; tokens are delivered at the end of the verification.

    Parameters
    ----------
    arrivals
        Requests that arrived at the device after the beginning of the step and no later than its end, (..., K).
    dropped, dropped_after
        Whether the request was dropped at the beginning of the step, and its time from arrival to drop in s (0 if it
        was not dropped), (..., K).
    finished, in_time
        Whether the request finished, and whether it was within all limits, (..., K).
    output
        Tokens of the finished request, (..., K); 0 if none finished.
    ttft, tpot, e2el
        Time to the first token, time per token after it, and time to the last token of the finished request, (..., K)
        s; 0 if none finished.
    gap
        Time since the previous tokens of the same request, (..., K) s; 0 without previous or new tokens.
    idle_time
        Time without a request from the beginning of the step, (..., K) s.
    """

    arrivals: IntArray
    dropped: BoolArray
    dropped_after: FloatArray
    finished: BoolArray
    in_time: BoolArray
    output: IntArray
    ttft: FloatArray
    tpot: FloatArray
    e2el: FloatArray
    gap: FloatArray
    idle_time: FloatArray

    @classmethod
    @lru_cache(maxsize=64)
    def nothing(cls, shape: tuple[int, ...]) -> "Served":
        """Return the service (..., K) of requests that never end; shared read-only arrays."""
        count, no, time = (constant(shape, zero) for zero in (0, False, 0.0))
        return cls(count, no, time, no, no, count, *[time] * 5)


@dataclass(frozen=True, slots=True, eq=False)
class ContinuousOutcome(Batched):
    """Outcome of one step from the end of one verification to the end of the next; times count from its beginning.

    Parameters
    ----------
    tokens
        Tokens N_k, expected or drawn, (..., K); 0 for a device outside the batch.
    draft_length
        Tokens of the draft, (..., K); 0 for a device outside the batch.
    verified
        Whether the device was in the batch, (..., K).
    drafted_at, uploaded_at
        Times when the draft, and the upload with repetitions, end, possibly after the step, (..., K) s; 0 if they ended
        before it.
    air_time
        Time for which the device used the band, as seconds of the whole band, (..., K) s.
    start_delay, verification_time, duration
        Idle time of the server before the batch starts, time T_ver of the batch, and time of the step, (...) s.
    served
        Service of requests, `Served.nothing` if they never end.
    head_start, drafted_ahead
        Tokens of the chain at the start of the cycle, and beyond the server's token at its end, (..., K); 0 for a
        device outside the batch or without drafting ahead.
    hit
        Whether the tokens drafted ahead remain useful, (..., K).
    """

    tokens: FloatArray
    draft_length: IntArray
    verified: BoolArray
    drafted_at: FloatArray
    uploaded_at: FloatArray
    air_time: FloatArray
    start_delay: FloatArray
    verification_time: FloatArray
    duration: FloatArray
    served: Served
    head_start: FloatArray
    drafted_ahead: FloatArray
    hit: BoolArray

    @property
    def total_tokens(self) -> FloatArray:
        """Tokens Σ N_k of the batch, (...)."""
        return np.asarray(np.add.reduce(self.tokens, -1))

    @property
    def batch_size(self) -> IntArray:
        """Number of devices in the batch, (...)."""
        return self.verified.sum(-1)
