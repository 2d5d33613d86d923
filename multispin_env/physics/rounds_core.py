"""Batched simulation of rounds: parallel environments with one system, stepped together."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray, Rows, replace_rows
from multispin_env.physics.acceptance import Requests
from multispin_env.physics.chains import ChainRound, chain_left, draw_hits, hit_probability
from multispin_env.physics.energy import affordable_tokens, token_energy
from multispin_env.physics.radio import spectral_efficiency
from multispin_env.physics.rounds import UNIFORMS_PER_USER, Dynamics, Users, round_outcome, users_from_uniforms
from multispin_env.physics.streams import (
    EPISODES,
    MOST_ROWS,
    Draw,
    EnvStreams,
    rows_ahead,
    user_exponentials,
    user_uniforms,
)
from multispin_env.physics.types import Decision, Outcome, SystemState
from multispin_env.scenario import Scenario

ALL = slice(None)


def _make_stream(draw: Draw, num_envs: int, most_rows: int = MOST_ROWS) -> EnvStreams:
    numbers = draw(np.random.default_rng(0), 1).size  # of a row
    return EnvStreams(draw, num_envs, min(most_rows, rows_ahead(num_envs * max(numbers, 1))), apart=True)


class RoundsCore:
    """Parallel environments with one system, stepped together.

    Every environment has four random streams, spawned from its generator: devices (read at a reset), fading and
    requests (read at a reset and in every round) and tokens (read in every round if they are drawn). So the states of
    an environment depend on its seed only, and the fading does not depend on whether tokens are drawn. Arrays are
    replaced, never modified, so that callers may keep them. With ``sampled``, outcomes have drawn tokens; with
    ``drawn``, tokens are drawn even if outcomes have expected tokens.
    """

    def __init__(self, scenario: Scenario, dynamics: Dynamics, num_envs: int, *, sampled: bool, drawn: bool) -> None:
        dynamics.acceptance.prior(scenario)  # raises for an unsuitable scenario
        if scenario.battery_rounds and dynamics.batteries is None:
            raise ValueError(f"battery_rounds: expected 0 without batteries, got {scenario.battery_rounds:g}")
        self.scenario = scenario
        self.dynamics = dynamics
        self.num_envs = num_envs
        self._sampled = sampled
        self._drawn = sampled or drawn
        self._chains = np.zeros((num_envs, scenario.num_users))
        self.chain_round = ChainRound(self._chains, self._chains, self._chains > 0.0)  # zeros without drafting ahead
        num_users = scenario.num_users
        uniform_rows = partial(user_uniforms, columns=dynamics.acceptance.columns, num_users=num_users)
        device_rows = partial(user_uniforms, columns=UNIFORMS_PER_USER, num_users=num_users)
        self._devices = _make_stream(device_rows, num_envs, EPISODES)
        self._fading = _make_stream(partial(dynamics.channel.draw, num_users=num_users), num_envs)
        self._tokens = _make_stream(partial(user_exponentials, num_users=num_users), num_envs)
        self._renewals = _make_stream(uniform_rows, num_envs)
        ones, zeros = np.ones((num_envs, num_users)), np.zeros((num_envs, num_users), dtype=np.int64)
        self.mean_gain = ones
        self.requests = Requests(zeros, ones, zeros, zeros)
        self._expectation: Callable[[IntArray], FloatArray] | None = None  # for the current requests, made on demand
        self._draft_time = ones
        self._gain = ones
        self.joules = self.capacity = self._charge = ones  # J, J and W of the batteries, if there are any
        self._time_left = ones  # part of `budget_time`
        self.energy = ones  # (n, K) J of the last round, also of tokens that were drafted and not sent
        self._reports = [ones] * (dynamics.delay + 1)  # spectral efficiencies, from the oldest to the current one
        self._set_states()

    def seed(self, env: int, generator: np.random.Generator) -> None:
        """Give one environment new random streams, spawned from ``generator``."""
        streams = (self._devices, self._fading, self._tokens, self._renewals)
        for stream, child in zip(streams, generator.spawn(len(streams)), strict=True):
            stream.seed(env, child)

    def reset(self, envs: IntArray | None = None) -> None:
        """Draw new devices with their first gains and requests in these environments (default all)."""
        rows: Rows = ALL if envs is None else envs
        users = self._new_users(rows, envs)
        self._renew(rows, self.dynamics.acceptance.first(self.scenario, users.task, self._renewals.read(envs)))
        self._report(rows, self.dynamics.channel.first_gain(users.mean_gain, self._fading.read(envs)))
        self._skip_delay(rows, envs)
        self._chains = replace_rows(self._chains, rows, np.zeros_like(self._chains[rows]))
        self._set_states()

    def step(self, decision: Decision, over: BoolArray | None = None) -> tuple[Outcome, FloatArray]:
        """Play a decision (n, K) and advance to the next round.

        Environments with ``over`` (n,), by default none, are reset instead; their outcome has no meaning. Returns the
        outcome and the tokens (n, K) of the draft: drawn tokens if any are drawn, else expected tokens.
        """
        noise = self._read_noise(over) if self._drawn or self.scenario.draft_ahead else None
        drawn = None
        if noise is not None and self._drawn:
            drawn = self.dynamics.acceptance.sampled_tokens(self.requests, decision.draft_length, noise)
        if drawn is None or not self._sampled:
            outcome = self.expected(decision)
        else:
            outcome = round_outcome(self.scenario, self.state, decision, drawn)
        tokens = outcome.tokens if drawn is None else drawn
        length, duration = decision.draft_length, outcome.round_latency[:, None]
        self.energy = length * self._token_energy
        if noise is not None and self.scenario.draft_ahead:
            ahead = chain_left(self.scenario, length, self._draft_time, self._chains, duration)
            hit = draw_hits(hit_probability(self.scenario, length, self.requests.rate), noise)
            self.chain_round = ChainRound(self._chains, ahead, hit)
            most = length + (self.scenario.max_draft_length + 1 - self._chains)
            drafted = np.minimum((duration - self.scenario.round_trip_time) / self._draft_time, most)
            self.energy = self.energy + self.scenario.draft_energy * (drafted - length)
        if self.dynamics.batteries is not None:
            outcome = outcome.changed(stored=self._drain(duration))
        self._advance(tokens, None if over is None else np.flatnonzero(over))
        if self.scenario.draft_ahead:
            valid = self.chain_round.hit & ~self.renewed
            self._chains = self.chain_round.drafted_ahead * (valid if over is None else valid & ~over[:, None])
        self._set_states()
        return outcome, tokens

    def _drain(self, duration: FloatArray) -> FloatArray:
        """Update the batteries and return the change of their charge; what is left after ``budget_time`` is lost."""
        before, horizon = self.joules, self.scenario.budget_time
        self.joules = np.minimum(np.maximum(before - self.energy, 0.0) + self._charge * duration, self.capacity)
        if horizon:
            self._time_left = np.maximum(self._time_left - duration / horizon, 0.0)
            self.joules *= self._time_left > 0.0
        return self.joules - before

    @property
    def renewed(self) -> BoolArray:
        """Devices (n, K) whose request differs from that of the previous round."""
        changes = self.dynamics.acceptance.changes
        return self.requests.age == 0 if changes else np.zeros(self.requests.age.shape, dtype=np.bool_)

    def expected(self, decision: Decision) -> Outcome:
        """Return the outcome of a decision (n, K) with expected tokens in the current state."""
        return round_outcome(self.scenario, self.state, decision, self.expected_tokens(decision.draft_length))

    def expected_tokens(self, draft_length: IntArray) -> FloatArray:
        """Return the expected tokens (n, K) of draft lengths for the current requests."""
        if self._expectation is None:
            self._expectation = self.dynamics.acceptance.expectation(self.scenario, self.requests)
        return self._expectation(draft_length)

    def _read_noise(self, over: BoolArray | None) -> FloatArray:
        if over is None:
            return self._tokens.read()
        playing = np.flatnonzero(~over)
        noise = np.zeros((self.num_envs, self.scenario.num_users))
        noise[playing] = self._tokens.read(playing)
        return noise

    def _advance(self, tokens: FloatArray, ended: IntArray | None) -> None:
        acceptance, channel = self.dynamics.acceptance, self.dynamics.channel
        fresh = self._renewals.read() if acceptance.changes else None
        if fresh is not None:
            self._renew(ALL, acceptance.next(self.scenario, self.requests, tokens, fresh))
        fading = self._fading.read()
        gain = channel.next_gain(self._gain, self.mean_gain, fading)
        if ended is None:
            self._report(ALL, gain)
            return
        users = self._new_users(ended, ended)
        fresh = self._renewals.read(ended) if fresh is None else fresh[ended]
        self._renew(ended, acceptance.first(self.scenario, users.task, fresh))
        self._report(ALL, replace_rows(gain, ended, channel.first_gain(users.mean_gain, fading[ended])))
        self._skip_delay(ended, ended)

    def _new_users(self, rows: Rows, envs: IntArray | None) -> Users:
        users = users_from_uniforms(self.scenario, self._devices.read(envs))
        self._draft_time = replace_rows(self._draft_time, rows, users.draft_time)
        self.mean_gain = replace_rows(self.mean_gain, rows, users.mean_gain)
        if self.dynamics.batteries is not None:
            capacity, charge = self.dynamics.batteries.first(self.scenario, *users)
            start = 1.0 if self.scenario.budget_time else 0.5
            self.capacity = replace_rows(self.capacity, rows, capacity)
            self._charge = replace_rows(self._charge, rows, charge)
            self.joules = replace_rows(self.joules, rows, start * capacity)
            self._time_left = replace_rows(self._time_left, rows, np.ones_like(capacity))
        return users

    def _skip_delay(self, rows: Rows, envs: IntArray | None) -> None:
        for _ in range(self.dynamics.delay):
            fading = self._fading.read(envs)
            self._report(rows, self.dynamics.channel.next_gain(self._gain[rows], self.mean_gain[rows], fading))

    def _renew(self, rows: Rows, requests: Requests) -> None:
        self.requests = Requests._make(
            replace_rows(old, rows, new) for old, new in zip(self.requests, requests, strict=True)
        )
        self._expectation = None

    def _report(self, rows: Rows, gain: FloatArray) -> None:
        self._gain = replace_rows(self._gain, rows, gain)
        efficiency = spectral_efficiency(self.scenario, gain)
        later = [report[rows] for report in self._reports[1:]] + [efficiency]
        self._reports = [replace_rows(old, rows, new) for old, new in zip(self._reports, later, strict=True)]

    def _set_states(self) -> None:
        efficiency, batteries = self._reports[-1], dict[str, Any]()
        self._token_energy = token_energy(self.scenario, efficiency)
        if self.dynamics.batteries is not None:
            batteries = {
                "affordable": affordable_tokens(self.scenario, self.joules, self._token_energy),
                "level": self.joules / self.capacity,
                "capacity": self.capacity,
                "charge": self._charge,
                "time_left": self._time_left if self.scenario.budget_time else None,
            }
        self.state = SystemState(self._draft_time, efficiency, self.requests.rate, self._chains, **batteries)
        self.reported = self.state  # with the spectral efficiency of the last report
        if self.dynamics.delay:
            self.reported = self.state.changed(spectral_efficiency=self._reports[0])
