"""What an engine adds up over an episode, and tells in ``info`` beside what happened in a step."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.continuous.core import ContinuousCore
from multispin_env.physics.continuous.service_log import ServiceLog
from multispin_env.physics.continuous.types import ContinuousOutcome, Served

Told = dict[str, NDArray[Any]]
"""Entries of ``info``, arrays (n,) and (n, K)."""

LATENCIES = ("ttft", "tpot", "e2el")
"""Of which ``info`` has p50, p95 and p99."""

PERCENTS = (50, 95, 99)

LATENCY_NAMES = (*(f"{name}_p{percent}" for name in LATENCIES for percent in PERCENTS), f"gap_p{PERCENTS[-1]}")

RATES = ("tokens_in_time", "request_goodput", "share_missed", "least_served")
"""Of `ServiceRun`, of the episode so far."""

OF_SERVICE = (*RATES, *LATENCY_NAMES)
"""Entries of ``info`` that tell what became of requests in an episode, (n,)."""


class Account(Protocol):
    """Sums of the episodes of n copies."""

    def begin(self, copies: IntArray | BoolArray | slice) -> None:
        """Forget the episodes of these copies."""
        ...

    def add(self, outcome: ContinuousOutcome, begun: FloatArray, last: BoolArray, over: BoolArray | None) -> Told:
        """Take in a step, and tell what there is to tell.

        Parameters
        ----------
        step
            Of all copies.
        begun
            (n,) s, the state's time when it began.
        last
            Copies (n,) whose episode ends with it.
        over
            Copies (n,) whose step is void, by default none; what is told of them is void too.
        """
        ...


OpenAccount = Callable[[ContinuousCore], Account]
"""Account of the copies that a core steps."""


class TokenAccount:
    """Tokens, and tokens over time.

    Parameters
    ----------
    core
        What steps the copies.
    """

    def __init__(self, core: ContinuousCore) -> None:
        self._tokens = np.zeros(core.num_copies)

    def begin(self, copies: IntArray | BoolArray | slice) -> None:
        """Forget the episodes of these copies."""
        self._tokens[copies] = 0.0

    def add(self, outcome: ContinuousOutcome, begun: FloatArray, last: BoolArray, over: BoolArray | None) -> Told:
        """Take in a step; see `Account`."""
        self._tokens += np.add.reduce(outcome.tokens, -1)
        return {"episode_tokens": self._tokens.copy(), "token_goodput": self._tokens / (begun + outcome.duration)}


class ServiceAccount(TokenAccount):
    """Besides, what becomes of requests: of the steps that begin after the warm-up.

    Parameters
    ----------
    core
        What steps the copies; its requests end.
    warm_up
        Seconds of an episode that do not count.
    """

    def __init__(self, core: ContinuousCore, warm_up: float) -> None:
        super().__init__(core)
        self._core = core
        self._users = core.system.scenario.num_users
        self._log = ServiceLog(core.num_copies, self._users, warm_up)
        self._closed = np.zeros(core.num_copies, dtype=np.bool_)

    def begin(self, copies: IntArray | BoolArray | slice) -> None:
        """Forget the episodes of these copies."""
        super().begin(copies)
        self._log.reset(np.arange(len(self._closed))[copies])
        self._closed[copies] = False

    def add(self, outcome: ContinuousOutcome, begun: FloatArray, last: BoolArray, over: BoolArray | None) -> Told:
        """Take in a step; see `Account`."""
        told = super().add(outcome, begun, last, over)
        playing = None if over is None else ~over
        self._log.add(outcome, begun, playing)
        ended = np.flatnonzero(last if playing is None else last & playing)
        if ended.size:
            self._close(ended, begun + outcome.duration)
        run = self._log.counts()
        rates = {name: getattr(run, name) for name in RATES}
        return {**told, **_of_step(outcome.served), **rates, **self._latencies(ended)}

    def _close(self, ended: IntArray, now: FloatArray) -> None:
        """What is overdue is missed; once, also where somebody plays on."""
        ending = ended[~self._closed[ended]]
        late = np.zeros((len(now), self._users), dtype=np.int64)
        late[ending] = self._core.overdue(now[ending], ending)
        self._log.close(ending, late)
        self._closed[ending] = True

    def _latencies(self, ended: IntArray) -> Told:
        """Quantiles of the copies that end, and 0 of the others."""
        told = {name: np.zeros(len(self._closed)) for name in LATENCY_NAMES}
        if ended.size:
            latency = self._log.result(ended).latency
            quantiles = [getattr(latency, name)[:, place] for name in LATENCIES for place in range(len(PERCENTS))]
            for array, values in zip(told.values(), [*quantiles, latency.gap[:, -1]], strict=True):
                array[ended] = values
        return told


def _of_step(served: Served) -> Told:
    return {
        "timely_tokens": (served.output * served.in_time).astype(np.float64),
        "finished": served.finished,
        "dropped": served.dropped,
    }
