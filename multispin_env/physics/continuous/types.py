"""State, decision and outcome without the barrier (ours). Batch axes lead, users K last."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray, constant
from multispin_env.physics.types import Batched, Observed, SystemState, fill_head_start


class Phase:
    """What a device does at the end of a verification.

    Plain numbers: NumPy asks an ``Enum`` for attributes that it lacks, and drops a Ctrl-C that comes meanwhile.

    Attributes
    ----------
    FREE
        It starts a draft now.
    DRAFTING
        It drafts.
    UPLOADING
        It uploads its draft.
    READY
        Its draft waits at the server.
    IDLE
        It has no request; where requests are endless, no device is ever idle.
    """

    FREE = 0
    DRAFTING = 1
    UPLOADING = 2
    READY = 3
    IDLE = 4


class Join:
    """What the next batch does with a device.

    Attributes
    ----------
    LEAVE
        It leaves the draft for a later batch.
    TAKE
        It takes the draft if it is there.
    WAIT
        It waits for the draft.
    """

    LEAVE = 0
    TAKE = 1
    WAIT = 2


ENDLESS = 2**53  # Tokens of a request that never ends; no other has as many


@dataclass(frozen=True, slots=True, eq=False)
class Demand(Batched):
    """The request that each device serves, and how many wait behind it.

    Where requests never end, it is `Demand.endless`.

    Parameters
    ----------
    wanted
        Tokens still to come, (..., K); 0 for a device without a request, `ENDLESS` of a request that never ends.
    output
        Tokens of the whole answer, (..., K); 0 without a request.
    prompt
        Prompt tokens that the next verification holds besides, (..., K); 0 once the first verification has ended.
    arrived
        When it arrived at the device, on the clock of the state's time, (..., K) s; 0 without a request.
    first_due
        When the first token is due, (..., K) s; infinite without such a limit, and once that token has come.
    due
        When the last token is due, (..., K) s; if the first came too late, when that was due. Infinite without a limit.
    queue
        Requests that wait behind it, first come, first served, (..., K).
    drafted, accepted
        Tokens of its draft in the last verification, and of these, accepted, (..., K); 0 if it was not in it,
        or the request never ends.
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
        """Requests (..., K) that never end and are never due: the same arrays at each call, not to be written to."""
        tokens, none, never = constant(shape, ENDLESS), constant(shape, 0), constant(shape, np.inf)
        return cls(tokens, tokens, none, constant(shape, 0.0), never, never, none, none, none)

    @property
    def never_ends(self) -> BoolArray:
        """Requests (..., K) without end."""
        return self.wanted == ENDLESS

    def mapped(self, function: Callable[[Any], Any]) -> "Demand":
        """As of any `Batched`; the arrays of `endless` stay those."""
        if self is Demand.endless(self.wanted.shape):
            return Demand.endless(function(self.wanted).shape)
        return Batched.mapped(self, function)  # `super` finds no class where it has slots


@dataclass(frozen=True, slots=True, eq=False)
class ContinuousState(Batched):
    """All that a decision may depend on, at the end of a verification.

    Parameters
    ----------
    draft_time
        SLM time per drafted token T_k, (..., K) s/token.
    spectral_efficiency
        Uplink bits per second and hertz r_k of the cycle under way, (..., K) bit/s/Hz; of a free device, of the cycle
        that starts now.
    acceptance_rate
        Probability α_k that a drafted token is accepted, (..., K).
    phase
        What each device does, one of `Phase`, (..., K).
    draft_length
        Tokens of the draft under way, (..., K); 0 for a free device.
    drafting_left
        Time until its draft ends, (..., K) s; 0 where it has ended.
    air_left
        Time that its upload still takes with the whole band, (..., K) s.
    age
        Time since its cycle started, (..., K) s; of a free device, since the one that ended did.
    aim
        Number of the batch that its draft aims at, (..., K); for the controller alone, nothing else reads it.
    batch
        Number of the next batch, from 0, (...).
    time
        Time since the start, (...) s.
    demand
        What devices serve, `Demand.endless` where requests never end.
    head_start
        Tokens A_k that its chain held when its cycle started, (..., K), of a free device, holds now; by default zeros.
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
    head_start: FloatArray = None  # type: ignore[assignment]  # zeros

    def __post_init__(self) -> None:
        fill_head_start(self)

    @property
    def system(self) -> SystemState:
        """Draft times, channels, acceptance and head starts, as the other family knows them."""
        return SystemState(self.draft_time, self.spectral_efficiency, self.acceptance_rate, self.head_start)

    @property
    def busy(self) -> BoolArray:
        """Devices (..., K) with a request; with endless requests, all."""
        return self.phase != Phase.IDLE

    @property
    def starting(self) -> BoolArray:
        """Devices (..., K) whose next draft starts now, or as soon as a request arrives."""
        return (self.phase == Phase.FREE) | (self.phase == Phase.IDLE)


@dataclass(frozen=True, slots=True, eq=False)
class ContinuousObserved(Batched):
    """What may be known of the system at the end of a verification, where parts of it are hidden.

    Parameters
    ----------
    state
        The state with what stands in for its hidden parts: old channels, and acceptance as counts let one believe.
    system
        What was seen of the devices, hidden parts ``None``; rounds are verifications, and counts those of the last one.
    """

    state: ContinuousState
    system: Observed


@dataclass(frozen=True, slots=True, eq=False)
class ContinuousDecision(Batched):
    """A decision: it holds from the end of one verification to the end of the next.

    Parameters
    ----------
    draft_length
        Tokens L_k of a draft that starts now, or when a request arrives, (..., K); cut to what the request needs.
    join
        What the next batch does with the device, one of `Join`, (..., K).
    priority
        Place on a serial uplink, (..., K): the smaller, the earlier; ties go to the shorter upload. None: all alike.
    share
        Share of the band on a reserved uplink (sum ≤ 1), weight on a shared one, (..., K). None: all alike.
    timeout
        Time after which the batch starts with what is there, (...) s. None: never.
    least_batch
        Drafts that the batch waits for besides, (...). None: 1.
    aim
        Number of the batch that a draft that starts now aims at, (..., K); kept in the state. None: the next.
    drop
        Whether the device gives up its request, and its draft, (..., K). None: nobody does.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> decision = ms.ContinuousDecision(np.array([4, 6]), join=np.array([2, 1]))  # waits for the first device alone
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
    """What becomes of requests in a step; a token counts when it is delivered, at the end of the verification.

    Parameters
    ----------
    arrivals
        Requests that arrived at the device, on the clock of the state's time in (begin, end], (..., K).
    dropped
        Whether its request was dropped when the step began, (..., K).
    dropped_after
        How long after its arrival that was, (..., K) s; 0 where none was dropped.
    finished, in_time
        Whether the last token of its request came, and whether the request was within all limits, (..., K).
    output
        Tokens of a request that finished, (..., K); else 0.
    ttft, e2el
        Its time to the first token and to the last one, (..., K) s; else 0.
    tpot
        Its time per token after the first, (..., K) s/token; else 0.
    gap
        Time since the same request's tokens before, (..., K) s; 0 where there are none or nothing came.
    idle_time
        Time from the beginning of the step for which it had no request, (..., K) s.
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
        """Of requests (..., K) that never end: the same arrays at each call, not to be written to."""
        count, no, time = (constant(shape, zero) for zero in (0, False, 0.0))
        return cls(count, no, time, no, no, count, *[time] * 5)


@dataclass(frozen=True, slots=True, eq=False)
class ContinuousOutcome(Batched):
    """What happens between two ends of verifications; all times are counted from the first.

    Parameters
    ----------
    tokens
        Tokens N_k gained, expected or drawn, (..., K); 0 for a device that was not in the batch.
    draft_length
        Tokens of its draft, (..., K); 0 for a device that was not in the batch.
    verified
        Whether a device was in the batch, (..., K).
    drafted_at
        Time when its draft ends, or 0, (..., K) s.
    uploaded_at
        Time when its upload ends, or 0, (..., K) s; perhaps after the step.
    air_time
        Air time of the whole band that it got, (..., K) s.
    start_delay
        Time when the batch starts, (...) s: how long the server was idle.
    verification_time
        How long the server verifies, (...) s.
    duration
        Time of the whole step, (...) s.
    served
        What becomes of requests, `Served.nothing` where they never end.
    head_start, drafted_ahead
        Tokens of its chain when its cycle began, and at the end behind the server's token, (..., K); 0 for a device
        that was not in the batch or does not draft ahead.
    hit
        Whether the latter are kept, (..., K).
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
    def batch_size(self) -> IntArray:
        """Devices in the batch, (...)."""
        return self.verified.sum(-1)
