"""Simulator without the barrier, with totals of episodes and estimates of hidden parts of the state."""

from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import Array, BoolArray, FloatArray, IntArray, Rows, replace_rows
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.knowledge import Knowledge
from multispin_env.envs.objectives import Objective
from multispin_env.envs.observations import Observation, ObservationCodec, ObservationEncoder, fields_of
from multispin_env.envs.simulator import Counts, Step, blank_ended
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

_Info = dict[str, Array]
_Config = EnvConfig[ContinuousState, ContinuousDecision]

_LATENCIES = ("ttft", "tpot", "e2el")
_PERCENTS = (50, 95, 99)

_LATENCY_NAMES = (*(f"{name}_p{percent}" for name in _LATENCIES for percent in _PERCENTS), f"gap_p{_PERCENTS[-1]}")

RATES = ("tokens_in_time", "request_goodput", "share_missed", "least_served")
"""Fields of `ServiceRun` in ``info``, of the episode so far."""

SERVICE_KEYS = (*RATES, *_LATENCY_NAMES)
"""Keys of ``info`` with service statistics of an episode, (n,)."""


class TokenAccount:
    """Totals of episodes for ``info``: tokens, and tokens per second."""

    def __init__(self, core: ContinuousCore) -> None:
        self._tokens = np.zeros(core.num_envs)

    def reset(self, rows: Rows) -> None:
        """Start new episodes."""
        self._tokens[rows] = 0.0

    def add(self, outcome: ContinuousOutcome, begun: FloatArray, last: BoolArray, over: BoolArray | None) -> _Info:
        """Record a step that began at times ``begun`` in seconds, and return entries of ``info``.

        For the episodes in the mask ``last`` (n,) it is the last step; for those in ``over`` it does not count.
        """
        self._tokens += outcome.total_tokens
        return {"episode_tokens": self._tokens.copy(), "token_goodput": self._tokens / (begun + outcome.duration)}


class ServiceAccount(TokenAccount):
    """`TokenAccount` with service statistics of the steps that begin after ``warm_up`` seconds."""

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
        totals = super().add(outcome, begun, last, over)
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
        return {**totals, **of_step, **rates, **self._latencies(ended)}

    def _close(self, ended: IntArray, now: FloatArray) -> None:
        """Count overdue requests as missed, once, even if the user continues after the end."""
        ending = ended[~self._closed[ended]]
        late = np.zeros((len(now), self._users), dtype=np.int64)
        late[ending] = self._core.overdue(now[ending], ending)
        self._log.close(ending, late)
        self._closed[ending] = True

    def _latencies(self, ended: IntArray) -> _Info:
        info = {name: np.zeros(len(self._closed)) for name in _LATENCY_NAMES}
        if ended.size:
            latency = self._log.result(ended).latency
            quantiles = [
                getattr(latency, name)[:, position] for name in _LATENCIES for position in range(len(_PERCENTS))
            ]
            for array, values in zip(info.values(), [*quantiles, latency.gap[:, -1]], strict=True):
                array[ended] = values
        return info


class BeliefTracker:
    """Observable part of the state of n environments with hidden acceptance rates or outdated channel reports."""

    def __init__(self, core: ContinuousCore, observations: ObservationCodec, knowledge: Knowledge) -> None:
        self._core = core
        self._observations = observations
        self._knowledge = knowledge
        self._counts = Counts(core.num_envs, core.system.scenario.num_users)
        self._report = core.state.spectral_efficiency

    def add(self, before: ContinuousState, outcome: ContinuousOutcome) -> None:
        """Record a step from the state ``before`` (n, K).

        If a request is dropped and a draft for the next one is verified in the same step, that draft does not count.
        """
        accepted = np.where(outcome.verified, outcome.tokens - 1.0, 0.0).astype(np.int64)
        self._counts.advance(outcome.draft_length.copy(), accepted, self._core.renewed(outcome), outcome.verified)
        ended = np.where(outcome.verified, before.spectral_efficiency, self._report)
        self._report = np.where(self._core.state.starting, ended, self._core.state.spectral_efficiency)

    def reset(self, rows: Rows) -> None:
        """Start new episodes; first channel reports are those of the mean gain."""
        self._counts.reset(rows)
        mean = spectral_efficiency(self._core.system.scenario, self._core.users.mean_gain[rows])
        self._report = replace_rows(self._report, rows, mean)

    def look(self) -> ContinuousObserved:
        """Return the observed and estimated state, arrays (n, K)."""
        state, known = self._core.state, self._knowledge
        channel = self._report if known.delay else state.spectral_efficiency
        counts: dict[str, Any] = {} if known.acceptance else dict(self._counts.fields)
        observed = state.system.into(
            Observed,
            spectral_efficiency=channel,
            acceptance_rate=state.acceptance_rate if known.acceptance else None,
            task=self._core.requests.task if known.task and not known.acceptance else None,
            mean_gain=self._core.users.mean_gain if known.mean_gain else None,
            **counts,
        )
        estimate = self._observations.acceptance_estimate(observed)
        return ContinuousObserved(state.changed(spectral_efficiency=channel, acceptance_rate=estimate), observed)


class ContinuousSimulator:
    """Simulator of n environments without the barrier; the core plays the steps, up to the end of a verification.

    Episodes end at ``horizon`` seconds.
    """

    own_physics: ClassVar[str] = ""  # there is no optimum which it could change

    def __init__(
        self, config: _Config, objective: Objective, core: ContinuousCore, account: TokenAccount, horizon: float
    ) -> None:
        self.scenario, self._core, self._horizon = config.scenario, core, horizon
        self.actions, self.observations, self.objective = config.actions, config.observations, objective
        self._prices_expected = config.drawn and not config.sampled
        self._tracker = BeliefTracker(core, self.observations, config.knowledge) if self.observations.hides else None
        self._account = account
        self._never = np.zeros(core.num_envs, dtype=np.bool_)
        self._encoder = ObservationEncoder(self.observations)
        self.planned = core.state  # used to decode actions
        self._observed: ContinuousObserved | None = None

    @property
    def state(self) -> ContinuousState:
        """True state used to price the next action, arrays (n, K)."""
        return self._core.state

    @property
    def observed(self) -> ContinuousObserved:
        """Input of plug-ins, arrays (n, K)."""
        if self._observed is not None:
            return self._observed
        state = self.state
        return ContinuousObserved(state, state.system.into(Observed))

    def seed(self, env: int, generator: np.random.Generator) -> None:
        """Give environment ``env`` new random streams, spawned from ``generator``."""
        self._core.seed(env, generator)

    def reset(self, envs: IntArray | None = None) -> Observation:
        """Start new episodes in some environments (default all); return read-only observations of all."""
        self._core.reset(envs)
        self._start_episodes(slice(None) if envs is None else envs)
        return self._observe()

    def step(self, action: Array, over: BoolArray | None = None) -> Step[ContinuousDecision, ContinuousOutcome]:
        """Play actions (n, K, columns) within ±`LIMIT`; ``ValueError`` for an invalid entry, before anything changes.

        Environments in the mask ``over`` (n,) start a new episode instead: their action is ignored, and their reward
        and info are 0.
        """
        # decode the action
        action, over = blank_ended(action, over)
        decision = self.actions.decode(action, self.planned)

        # play until the end of the next verification
        before, requests = self._core.state, self._core.requests
        outcome = self._core.advance(decision, over)
        time = before.time + outcome.duration
        truncated = time >= self._horizon

        # reward it, and count
        rewarded = outcome
        if self._prices_expected:
            expectation = self._core.system.acceptance.expectation(self.scenario, requests)
            rewarded = outcome.changed(tokens=expectation(outcome.draft_length) * outcome.verified)
        reward = self.objective.reward(rewarded)
        info: _Info = {
            "tokens": outcome.tokens,
            "draft_length": outcome.draft_length,
            "duration": outcome.duration.copy(),
            "batch_size": outcome.batch_size,
            "start_delay": outcome.start_delay.copy(),
            "time": time,
            **self._account.add(outcome, before.time, truncated, over),
            **self.objective.info(before, rewarded),
        }
        if self.scenario.draft_ahead:
            info |= {name: getattr(outcome, name) for name in ChainRound._fields}
        if self._tracker is not None:
            self._tracker.add(before, outcome)

        # observe the new state, and end episodes
        if over is not None:
            self._start_episodes(np.flatnonzero(over))
            truncated &= ~over
        step = Step(self._observe(), reward, self._never, truncated, outcome.duration, info, decision, outcome)
        return step.without(over)

    def _start_episodes(self, rows: Rows) -> None:
        self._account.reset(rows)
        self.objective.reset(rows)
        if self._tracker is not None:
            self._tracker.reset(rows)

    def _observe(self) -> Observation:
        self.planned = self._core.state
        if self._tracker is None:
            return self._encoder.encode(fields_of(self.planned, self._core.queues is not None), self.planned)
        self._observed = self._tracker.look()
        self.planned = self._observed.state
        return self._encoder.encode(fields_of(self._observed, self._core.queues is not None), self.planned)
