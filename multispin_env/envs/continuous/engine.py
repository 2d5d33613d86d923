"""Engine without the barrier: observation, action and reward around the core, what is told, and what may be known."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray, Rows, replace_rows
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.engine import Counts, Engine, Step
from multispin_env.envs.objectives import Objective
from multispin_env.envs.observations import ObservationCodec, fields_of
from multispin_env.physics.acceptance import Requests
from multispin_env.physics.chains import ChainRound
from multispin_env.physics.continuous.core import ContinuousCore
from multispin_env.physics.continuous.service_log import ServiceLog
from multispin_env.physics.continuous.types import (
    ContinuousDecision,
    ContinuousObserved,
    ContinuousOutcome,
    ContinuousState,
)
from multispin_env.physics.radio import spectral_efficiency
from multispin_env.physics.types import Observed

_Info = dict[str, NDArray[Any]]

_LATENCIES = ("ttft", "tpot", "e2el")
"""Of which ``info`` has p50, p95 and p99."""

_PERCENTS = (50, 95, 99)

_LATENCY_NAMES = (*(f"{name}_p{percent}" for name in _LATENCIES for percent in _PERCENTS), f"gap_p{_PERCENTS[-1]}")

RATES = ("tokens_in_time", "request_goodput", "share_missed", "least_served")
"""Of `ServiceRun`, of the episode so far."""

OF_SERVICE = (*RATES, *_LATENCY_NAMES)
"""Entries of ``info`` that tell what became of requests in an episode, (n,)."""


class TokenAccount:
    """Sums of the episodes of n copies, told in ``info``: tokens, and tokens over time."""

    def __init__(self, core: ContinuousCore) -> None:
        self._tokens = np.zeros(core.num_envs)

    def reset(self, rows: Rows) -> None:
        """Forget the episodes of these copies."""
        self._tokens[rows] = 0.0

    def add(self, outcome: ContinuousOutcome, begun: FloatArray, last: BoolArray, over: BoolArray | None) -> _Info:
        """Take in a step that began at these times in seconds, and tell what there is to tell.

        It is the last one of some copies (n,), and void for those that are ``over``.
        """
        self._tokens += np.add.reduce(outcome.tokens, -1)
        return {"episode_tokens": self._tokens.copy(), "token_goodput": self._tokens / (begun + outcome.duration)}


class ServiceAccount(TokenAccount):
    """Besides, what becomes of requests: of the steps that begin after the warm-up, in seconds."""

    def __init__(self, core: ContinuousCore, warm_up: float) -> None:
        super().__init__(core)
        self._core = core
        self._users = core.system.scenario.num_users
        self._log = ServiceLog(core.num_envs, self._users, warm_up)
        self._closed = np.zeros(core.num_envs, dtype=np.bool_)

    @override
    def reset(self, rows: Rows) -> None:
        super().reset(rows)
        self._log.reset(np.arange(len(self._closed))[rows])
        self._closed[rows] = False

    @override
    def add(self, outcome: ContinuousOutcome, begun: FloatArray, last: BoolArray, over: BoolArray | None) -> _Info:
        told = super().add(outcome, begun, last, over)
        playing = None if over is None else ~over
        self._log.add(outcome, begun, playing)
        ended = np.flatnonzero(last if playing is None else last & playing)
        if ended.size:
            self._close(ended, begun + outcome.duration)
        run = self._log.counts()
        rates = {name: getattr(run, name) for name in RATES}
        served = outcome.served
        of_step: _Info = {
            "timely_tokens": (served.output * served.in_time).astype(np.float64),
            "finished": served.finished,
            "dropped": served.dropped,
        }
        return {**told, **of_step, **rates, **self._latencies(ended)}

    def _close(self, ended: IntArray, now: FloatArray) -> None:
        """What is overdue is missed; once, also where somebody plays on."""
        ending = ended[~self._closed[ended]]
        late = np.zeros((len(now), self._users), dtype=np.int64)
        late[ending] = self._core.overdue(now[ending], ending)
        self._log.close(ending, late)
        self._closed[ending] = True

    def _latencies(self, ended: IntArray) -> _Info:
        told = {name: np.zeros(len(self._closed)) for name in _LATENCY_NAMES}
        if ended.size:
            latency = self._log.result(ended).latency
            quantiles = [
                getattr(latency, name)[:, position] for name in _LATENCIES for position in range(len(_PERCENTS))
            ]
            for array, values in zip(told.values(), [*quantiles, latency.gap[:, -1]], strict=True):
                array[ended] = values
        return told


class BeliefTracker:
    """Follows n copies, and knows of them what may be known."""

    def __init__(self, core: ContinuousCore, observations: ObservationCodec) -> None:
        self._core = core
        self._observations = observations
        shown = observations.shown
        self._knows_task, self._late = "task" in shown, "mean_channel" in shown
        self._counts = Counts(core.num_envs, core.system.scenario.num_users)
        self._report = core.state.spectral_efficiency

    def add(self, before: ContinuousState, outcome: ContinuousOutcome) -> None:
        """Take in a step: where it began, and what happened, (n, K).

        If a request was dropped and the draft of the next one was verified at once, that draft does not count.
        """
        accepted = np.where(outcome.verified, outcome.tokens - 1.0, 0.0).astype(np.int64)
        self._counts.advance(outcome.draft_length, accepted, self._core.renewed(outcome), outcome.verified)
        ended = np.where(outcome.verified, before.spectral_efficiency, self._report)
        self._report = np.where(self._core.state.starting, ended, self._core.state.spectral_efficiency)

    def reset(self, rows: Rows) -> None:
        """Take in that these copies have begun anew; of a channel without any report, the mean gain is known."""
        self._counts.reset(rows)
        mean = spectral_efficiency(self._core.system.scenario, self._core.users.mean_gain[rows])
        self._report = replace_rows(self._report, rows, mean)

    def look(self) -> ContinuousObserved:
        """What may be known now, arrays (n, K)."""
        state = self._core.state
        channel = self._report if self._late else state.spectral_efficiency
        observed = self._observed(state, channel)
        believed = self._observations.believed(observed)
        return ContinuousObserved(state.changed(spectral_efficiency=channel, acceptance_rate=believed), observed)

    def _observed(self, state: ContinuousState, channel: FloatArray) -> Observed:
        known_rate = self._observations.shows_acceptance
        counts: dict[str, Any] = {} if known_rate else dict(self._counts.fields)
        task: IntArray | None = self._core.requests.task if self._knows_task else None
        return Observed(
            state.draft_time,
            channel,
            state.acceptance_rate if known_rate else None,
            task,
            mean_gain=self._core.users.mean_gain if self._late else None,
            head_start=state.head_start,
            **counts,
        )


class ContinuousEngine(Engine[ContinuousState, ContinuousDecision]):
    """n copies of one environment without the barrier; an episode ends at the horizon, in seconds."""

    _core: ContinuousCore

    def __init__(
        self, config: EnvConfig, objective: Objective, core: ContinuousCore, account: TokenAccount, horizon: float
    ) -> None:
        super().__init__(config.actions, config.observations, objective, core.num_envs)
        self._core, self._horizon = core, horizon
        self._prices_expected = config.drawn and not config.sampled
        self._tracker = BeliefTracker(self._core, self.observations) if self.observations.hides else None
        self._account = account
        self.planned = core.state
        self._observed: ContinuousObserved | None = None

    @property
    def observed(self) -> ContinuousObserved:
        """What plug-ins may know before the next decision, arrays (n, K)."""
        state = self.state
        known = Observed(
            state.draft_time, state.spectral_efficiency, state.acceptance_rate, head_start=state.head_start
        )
        return ContinuousObserved(state, known) if self._observed is None else self._observed

    def _forget(self, rows: Rows) -> None:
        self._account.reset(rows)
        self.objective.reset(rows)
        if self._tracker is not None:
            self._tracker.reset(rows)

    def _play(self, decision: ContinuousDecision, over: BoolArray | None) -> Step:
        before, requests = self._core.state, self._core.requests
        outcome, begun = self._core.advance(decision, over), before.time
        reward = self.objective.reward(self._expected(outcome, requests) if self._prices_expected else outcome)
        if self._tracker is not None:
            self._tracker.add(before, outcome)
        time = begun + outcome.duration
        truncated = time >= self._horizon
        info: _Info = {
            "tokens": outcome.tokens,
            "draft_length": outcome.draft_length,
            "duration": outcome.duration.copy(),
            "batch_size": outcome.batch_size,
            "start_delay": outcome.start_delay.copy(),
            "time": time,
            **self._account.add(outcome, begun, truncated, over),
            **self.objective.info(),
        }
        if self.scenario.draft_ahead:
            info |= {name: getattr(outcome, name) for name in ChainRound._fields}
        if over is not None:
            self._forget(np.flatnonzero(over))
            truncated &= ~over
        duration = outcome.duration
        return Step(self._observe(), reward, self._never, truncated, duration, info, decision, outcome)

    def _expected(self, outcome: ContinuousOutcome, requests: Requests) -> ContinuousOutcome:
        """The same with expected tokens, for the requests that were there; they are endless."""
        system = self._core.system
        tokens = system.acceptance.expectation(system.scenario, requests)(outcome.draft_length)
        return outcome.changed(tokens=tokens * outcome.verified)

    def _look(self) -> dict[str, NDArray[Any]]:
        if self._tracker is None:
            self.planned = self._core.state
            return fields_of(self.planned)
        self._observed = self._tracker.look()
        self.planned = self._observed.state
        return fields_of(self._observed)
