"""What flows through the system without the barrier: state, decision, step. Batch axes lead, users K last."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray, constant
from multispin_env.physics.types import Batched, Observed, SystemState


class Phase(IntEnum):
    """What a device does at the end of a verification."""

    FREE = 0  # it starts a draft now
    DRAFTING = 1
    UPLOADING = 2
    READY = 3  # its draft waits at the server
    IDLE = 4  # it has no request; where requests are endless, never


class Join:
    """What the next batch does with a device."""

    LEAVE = 0  # it leaves the draft for a later batch
    TAKE = 1  # it takes the draft if it is there
    WAIT = 2  # it waits for the draft


ENDLESS = 2**53
"""Tokens of a request that never ends; no other has as many."""


@dataclass(frozen=True, slots=True, eq=False)
class Demand(Batched):
    """The request that each device serves, and how many wait behind it (ours; docs/serving.md).

    Where requests never end, it is `Demand.endless`.
    """

    # tokens still to come; 0 for a device without a request, `ENDLESS` of a request that never ends
    wanted: IntArray  # (..., K) tokens
    # tokens of the whole answer, 0 without a request
    output: IntArray  # (..., K) tokens
    # prompt tokens that the next verification holds besides; 0 once the first verification has ended
    prompt: IntArray  # (..., K) tokens
    # when it arrived at the device, on the clock of the state's time; 0 without a request
    arrived: FloatArray  # (..., K) s
    # when the first token is due; infinite without such a limit, and once that token has come
    first_due: FloatArray  # (..., K) s
    # when the last token is due, if all tokens so far were in time, else when that was over; infinite without a limit
    due: FloatArray  # (..., K) s
    # requests that wait behind it, first come, first served
    queue: IntArray  # (..., K)
    # tokens of its draft in the last verification, and of these, accepted; 0 if it was not in it, or never ends
    drafted: IntArray  # (..., K) tokens
    accepted: IntArray  # (..., K) tokens

    @classmethod
    @lru_cache(maxsize=64)
    def endless(cls, shape: tuple[int, ...]) -> "Demand":
        """Requests (..., K) that never end and are never due: the same arrays at each call, not to be written to.

        Examples
        --------
        >>> import multispin_env as ms
        >>> demand = ms.Demand.endless((2, 3))
        >>> bool(demand.never_ends.all()), demand.due[0].tolist(), demand is ms.Demand.endless((2, 3))
        (True, [inf, inf, inf], True)
        """
        tokens, none, never = constant(shape, ENDLESS), constant(shape, 0), constant(shape, np.inf)
        return cls(tokens, tokens, none, constant(shape, 0.0), never, never, none, none, none)

    @property
    def never_ends(self) -> BoolArray:
        """Requests (..., K) without end."""
        endless: BoolArray = self.wanted == ENDLESS
        return endless

    def mapped(self, function: Callable[[Any], Any]) -> "Demand":
        """As of any `Batched`; the arrays of `endless` stay those."""
        if self is Demand.endless(self.wanted.shape):
            return Demand.endless(function(self.wanted).shape)
        return Batched.mapped(self, function)  # `super` finds no class where it has slots


@dataclass(frozen=True, slots=True, eq=False)
class ContinuousState(Batched):
    """All that a decision may depend on, at the end of a verification (ours)."""

    # SLM time per drafted token T_k
    draft_time: FloatArray  # (..., K) s/token
    # uplink bits per second and hertz r_k of the cycle under way; of a free device, of the cycle that starts now
    spectral_efficiency: FloatArray  # (..., K) bit/s/Hz
    # probability α_k that a drafted token is accepted
    acceptance_rate: FloatArray  # (..., K)
    # what each device does, one of `Phase`
    phase: IntArray  # (..., K)
    # tokens of the draft under way, 0 for a free device
    draft_length: IntArray  # (..., K) tokens
    # time until its draft ends, 0 where it has
    drafting_left: FloatArray  # (..., K) s
    # time that its upload still takes with the whole band
    air_left: FloatArray  # (..., K) s
    # time since its cycle started; of a free device, since the one that ended did
    age: FloatArray  # (..., K) s
    # number of the batch that its draft aims at; for the controller alone, nothing here reads it
    aim: IntArray  # (..., K)
    # number of the next batch, from 0
    batch: IntArray  # (...)
    # time since the start
    time: FloatArray  # (...) s
    # what devices serve; `Demand.endless` where requests never end
    demand: Demand

    @property
    def system(self) -> SystemState:
        """Draft times, channels and acceptance, as the other family knows them."""
        return SystemState(self.draft_time, self.spectral_efficiency, self.acceptance_rate)

    @property
    def busy(self) -> BoolArray:
        """Devices (..., K) with a request; with endless requests, all."""
        has: BoolArray = self.phase != Phase.IDLE
        return has

    @property
    def starting(self) -> BoolArray:
        """Devices (..., K) whose next draft starts now, or as soon as a request arrives."""
        starts: BoolArray = (self.phase == Phase.FREE) | (self.phase == Phase.IDLE)
        return starts


@dataclass(frozen=True, slots=True, eq=False)
class ContinuousObserved(Batched):
    """What may be known of the system at the end of a verification, where parts of it are hidden (ours)."""

    # the state with what stands in for its hidden parts: old channels, and acceptance as counts let one believe
    state: ContinuousState
    # what was seen of the devices, hidden parts ``None``; rounds are verifications, and counts those of the last one
    system: Observed


@dataclass(frozen=True, slots=True, eq=False)
class ContinuousDecision(Batched):
    """A decision: it holds from the end of one verification to the end of the next (ours).

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> decision = ms.ContinuousDecision(np.array([4, 6]), join=np.array([2, 1]))  # waits for the first device alone
    >>> decision.patience is None, decision.join.tolist()
    (True, [2, 1])
    """

    # tokens L_k of a draft that starts now or, where a request arrives meanwhile, then; cut to what the request needs
    draft_length: IntArray  # (..., K) tokens
    # one of `Join`
    join: IntArray  # (..., K)
    # the smaller, the earlier on a serial uplink; ties go to the shorter upload. None: all alike
    priority: FloatArray | None = None  # (..., K)
    # share of the band on a reserved uplink (sum ≤ 1), weight on a shared one. None: all alike
    share: FloatArray | None = None  # (..., K)
    # time after which the batch starts with what is there. None: never
    patience: FloatArray | None = None  # (...) s
    # drafts that the batch waits for besides. None: 1
    least_batch: IntArray | None = None  # (...)
    # number of the batch that a draft that starts now aims at; kept in the state. None: the next
    aim: IntArray | None = None  # (..., K)
    # whether the device gives up its request, and its draft. None: nobody does
    drop: BoolArray | None = None  # (..., K)


@dataclass(frozen=True, slots=True, eq=False)
class Served(Batched):
    """What becomes of requests in a step; a token counts when it is delivered, at the end of the verification."""

    # requests that arrived at the device, on the clock of the state's time in (begin, end]
    arrivals: IntArray  # (..., K)
    # whether its request was dropped when the step began, and how long after it had arrived
    dropped: BoolArray  # (..., K)
    dropped_after: FloatArray  # (..., K) s, 0 without
    # whether the last token of its request came, and whether the request was within all limits
    finished: BoolArray  # (..., K)
    in_time: BoolArray  # (..., K)
    # of requests that finished, else 0: tokens, time to first token, time per token after it, time to the last token
    output: IntArray  # (..., K) tokens
    ttft: FloatArray  # (..., K) s
    tpot: FloatArray  # (..., K) s/token
    e2el: FloatArray  # (..., K) s
    # time since the tokens before of the same request; 0 where there are none or nothing came
    gap: FloatArray  # (..., K) s
    # time from the begin of the step for which it had no request
    idle_time: FloatArray  # (..., K) s

    @classmethod
    @lru_cache(maxsize=64)
    def nothing(cls, shape: tuple[int, ...]) -> "Served":
        """Of requests (..., K) that never end: the same arrays at each call, not to be written to."""
        count, no, time = (constant(shape, zero) for zero in (0, False, 0.0))
        return cls(count, no, time, no, no, count, *[time] * 5)


@dataclass(frozen=True, slots=True, eq=False)
class ContinuousOutcome(Batched):
    """What happens between two ends of verifications; all times are counted from the first."""

    # tokens N_k gained, expected or drawn; 0 for a device that was not in the batch
    tokens: FloatArray  # (..., K) tokens
    # tokens of its draft; 0 for a device that was not in the batch
    draft_length: IntArray  # (..., K) tokens
    # whether a device was in the batch
    verified: BoolArray  # (..., K)
    # time when its draft ends, or 0
    drafted_at: FloatArray  # (..., K) s
    # time when its upload ends, or 0; perhaps after the step
    uploaded_at: FloatArray  # (..., K) s
    # air time of the whole band that it got
    air_time: FloatArray  # (..., K) s
    # time when the batch starts: how long the server was idle
    start_delay: FloatArray  # (...) s
    # how long the server verifies
    verification_time: FloatArray  # (...) s
    # time of the whole step
    duration: FloatArray  # (...) s
    # what becomes of requests; `Served.nothing` where they never end
    served: Served

    @property
    def batch_size(self) -> IntArray:
        """Devices in the batch, (...)."""
        size: IntArray = self.verified.sum(-1)
        return size
