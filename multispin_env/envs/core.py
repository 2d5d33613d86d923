"""The one core that steps a batch of copies; a single environment is a batch of one."""

from functools import partial

import numpy as np

from multispin_env.checks import FloatArray, IntArray
from multispin_env.physics.dynamics import UNIFORMS_PER_USER, channel_of, system_state, users_from_uniforms
from multispin_env.physics.rounds import price
from multispin_env.physics.streams import CopyStreams, rows_ahead
from multispin_env.physics.tokens import expected_tokens, tokens_from_exponential
from multispin_env.physics.types import Decision, Outcome, SystemState
from multispin_env.physics.uplink import spectral_efficiency
from multispin_env.scenario import Scenario


def _user_rows(rng: np.random.Generator, rows: int, num_users: int) -> FloatArray:
    return rng.random((rows, UNIFORMS_PER_USER, num_users))


def _token_rows(rng: np.random.Generator, rows: int, num_users: int) -> FloatArray:
    return rng.standard_exponential((rows, num_users))


class Core:
    """Copies of one system, stepped together.

    Every copy has three random streams of its own, spawned from its generator: devices (read at a reset), fading
    (read every round) and tokens (read every round if they are drawn). So what one copy sees depends on nothing
    but its seed, and the fading does not depend on whether tokens are drawn.

    Parameters
    ----------
    scenario
        The system.
    num_copies
        n, size of the batch.
    sampled
        Whether tokens are drawn or expected.
    """

    def __init__(self, scenario: Scenario, num_copies: int, sampled: bool) -> None:
        self.scenario = scenario
        self.num_copies = num_copies
        self.sampled = sampled
        self._channel = channel_of(scenario)
        num_users = scenario.num_users
        block = rows_ahead(num_copies * num_users)
        self._users = CopyStreams(partial(_user_rows, num_users=num_users), num_copies, block=1)
        self._fading = CopyStreams(partial(self._channel.draw, num_users=num_users), num_copies, block)
        self._tokens = CopyStreams(partial(_token_rows, num_users=num_users), num_copies, block)
        shape = (num_copies, num_users)
        self._mean_gain = np.ones(shape)
        self._gain = np.ones(shape)
        self._state = SystemState(np.ones(shape), np.ones(shape), np.ones(shape))

    @property
    def state(self) -> SystemState:
        """What prices the next decision, arrays (n, K); valid until the next `step` or `reset`."""
        return self._state

    def seed(self, copy: int, generator: np.random.Generator) -> None:
        """Give a copy fresh streams, spawned from ``generator``."""
        streams = (self._users, self._fading, self._tokens)
        for stream, child in zip(streams, generator.spawn(len(streams)), strict=True):
            stream.seed(copy, child)

    def reset(self, copies: IntArray | None = None) -> None:
        """New devices and a first round of fading for these copies (default all)."""
        rows = slice(None) if copies is None else copies
        users = users_from_uniforms(self.scenario, self._users.read(copies))
        gain = self._channel.next_gain(users.mean_gain, users.mean_gain, self._fading.read(copies))
        fresh = system_state(self.scenario, users, gain)
        self._mean_gain[rows] = users.mean_gain
        self._gain[rows] = gain
        self._state.draft_time[rows] = fresh.draft_time
        self._state.spectral_efficiency[rows] = fresh.spectral_efficiency
        self._state.acceptance_rate[rows] = fresh.acceptance_rate

    def step(self, decision: Decision, copies: IntArray | None = None) -> Outcome:
        """Price a decision (n, K) with the current state, then draw the next round's fading of these copies.

        Copies that are not among them (default all are) stay where they are; what is priced for them is void.
        """
        outcome = price(self.scenario, self._state, decision, self._gained(decision.draft_length, copies))
        rows = slice(None) if copies is None else copies
        gain = self._channel.next_gain(self._gain[rows], self._mean_gain[rows], self._fading.read(copies))
        self._gain[rows] = gain
        self._state.spectral_efficiency[rows] = spectral_efficiency(self.scenario, gain)
        return outcome

    def _gained(self, draft_length: IntArray, copies: IntArray | None) -> FloatArray:
        rate = self._state.acceptance_rate
        if not self.sampled:
            return expected_tokens(draft_length, rate)
        if copies is None:
            return tokens_from_exponential(draft_length, rate, self._tokens.read())
        variable = np.zeros(draft_length.shape)
        variable[copies] = self._tokens.read(copies)
        return tokens_from_exponential(draft_length, rate, variable)
