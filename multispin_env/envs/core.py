"""The one core that steps a batch of copies; a single environment is a batch of one."""

from functools import partial
from typing import Any

import numpy as np

from multispin_env.checks import FloatArray, IntArray
from multispin_env.physics.acceptance import Requests
from multispin_env.physics.dynamics import UNIFORMS_PER_USER, Dynamics, users_from_uniforms
from multispin_env.physics.rounds import price
from multispin_env.physics.streams import CopyStreams, rows_ahead
from multispin_env.physics.types import Decision, Outcome, SystemState
from multispin_env.physics.uplink import spectral_efficiency
from multispin_env.scenario import Scenario

Rows = IntArray | slice
ALL = slice(None)


def _uniform_rows(rng: np.random.Generator, rows: int, columns: int, num_users: int) -> FloatArray:
    return rng.random((rows, columns, num_users))


def _token_rows(rng: np.random.Generator, rows: int, num_users: int) -> FloatArray:
    return rng.standard_exponential((rows, num_users))


class Core:
    """Copies of one system, stepped together.

    Every copy has four random streams of its own, spawned from its generator: devices (read at a reset), fading and
    requests (read at a reset and in every round) and tokens (read in every round if they are drawn). So what one
    copy sees depends on nothing but its seed, and the fading does not depend on whether tokens are drawn. Arrays
    that change are replaced, never written into: one that was handed out keeps its numbers.

    Parameters
    ----------
    scenario
        The system.
    dynamics
        What changes between rounds.
    num_copies
        n, size of the batch.
    priced
        Whether the tokens that are priced are drawn or expected.
    counted
        Whether tokens are drawn although they are not priced.
    """

    def __init__(
        self, scenario: Scenario, dynamics: Dynamics, num_copies: int, *, priced: bool, counted: bool = False
    ) -> None:
        dynamics.acceptance.prior(scenario)  # refuses a scenario that it can't serve
        self.scenario = scenario
        self.dynamics = dynamics
        self.num_copies = num_copies
        self._priced = priced
        self._drawn = priced or counted
        num_users = scenario.num_users
        ahead = partial(CopyStreams, num_copies=num_copies, block=rows_ahead(num_copies * num_users))
        uniform_rows = partial(_uniform_rows, columns=dynamics.acceptance.columns, num_users=num_users)
        device_rows = partial(_uniform_rows, columns=UNIFORMS_PER_USER, num_users=num_users)
        self._devices = CopyStreams(device_rows, num_copies, block=1)
        self._fading = ahead(partial(dynamics.channel.draw, num_users=num_users))
        self._tokens = ahead(partial(_token_rows, num_users=num_users))
        self._renewals = ahead(uniform_rows)
        ones, zeros = np.ones((num_copies, num_users)), np.zeros((num_copies, num_users), dtype=np.int64)
        self.mean_gain = ones
        self.requests = Requests(zeros, ones, zeros, zeros)
        self._draft_time = ones
        self._gain = ones
        self._reports = [ones] * (dynamics.delay + 1)  # spectral efficiency, the oldest first, the present one last

    @property
    def state(self) -> SystemState:
        """What prices the next decision, arrays (n, K)."""
        return SystemState(self._draft_time, self._reports[-1], self.requests.rate)

    @property
    def reported(self) -> SystemState:
        """`state` with the spectral efficiency of the last report, arrays (n, K)."""
        return SystemState(self._draft_time, self._reports[0], self.requests.rate)

    def seed(self, copy: int, generator: np.random.Generator) -> None:
        """Give a copy fresh streams, spawned from ``generator``."""
        streams = (self._devices, self._fading, self._tokens, self._renewals)
        for stream, child in zip(streams, generator.spawn(len(streams)), strict=True):
            stream.seed(copy, child)

    def reset(self, copies: IntArray | None = None) -> None:
        """New devices, a first round of fading and first requests for these copies (default all)."""
        rows: Rows = ALL if copies is None else copies
        users = users_from_uniforms(self.scenario, self._devices.read(copies))
        self._draft_time = replaced(self._draft_time, rows, users.draft_time)
        self.mean_gain = replaced(self.mean_gain, rows, users.mean_gain)
        fresh = self._renewals.read(copies)
        self._renew(rows, self.dynamics.acceptance.first(self.scenario, users.task, fresh))
        gain = self.dynamics.channel.first_gain(users.mean_gain, self._fading.read(copies))
        self._report(rows, gain)
        for _ in range(self.dynamics.delay):  # what the first reports will be about
            gain = self.dynamics.channel.next_gain(gain, users.mean_gain, self._fading.read(copies))
            self._report(rows, gain)

    def step(self, decision: Decision, copies: IntArray | None = None) -> tuple[Outcome, FloatArray]:
        """Price a decision (n, K) with the current state, then let these copies go on to the next round.

        Copies that are not among them (default all are) stay where they are; what is priced for them is void.

        Returns
        -------
        tuple of Outcome and FloatArray
            The outcome, and the tokens (n, K) that the draft gained: drawn, if any are.
        """
        rows: Rows = ALL if copies is None else copies
        drawn = self._drawn_tokens(decision.draft_length, copies) if self._drawn else None
        outcome = self._outcome(decision, drawn) if self._priced else self.expected(decision)
        tokens = outcome.tokens if drawn is None else drawn
        if self.dynamics.acceptance.changes:
            requests = Requests._make(array[rows] for array in self.requests)
            fresh = self._renewals.read(copies)
            self._renew(rows, self.dynamics.acceptance.next(self.scenario, requests, tokens[rows], fresh))
        fading = self._fading.read(copies)
        self._report(rows, self.dynamics.channel.next_gain(self._gain[rows], self.mean_gain[rows], fading))
        return outcome, tokens

    def expected(self, decision: Decision) -> Outcome:
        """Price a decision (n, K) with expected tokens in the current state."""
        return self._outcome(decision, self.dynamics.acceptance.expected_tokens(self.requests, decision.draft_length))

    def _outcome(self, decision: Decision, tokens: FloatArray | None) -> Outcome:
        assert tokens is not None
        return price(self.scenario, self.state, decision, tokens)

    def _drawn_tokens(self, draft_length: IntArray, copies: IntArray | None) -> FloatArray:
        if copies is None:
            variable = self._tokens.read()
        else:
            variable = np.zeros(draft_length.shape)
            variable[copies] = self._tokens.read(copies)
        return self.dynamics.acceptance.sampled_tokens(self.requests, draft_length, variable)

    def _renew(self, rows: Rows, requests: Requests) -> None:
        self.requests = Requests._make(
            replaced(old, rows, new) for old, new in zip(self.requests, requests, strict=True)
        )

    def _report(self, rows: Rows, gain: FloatArray) -> None:
        """Let a round pass: ``gain`` is the present one, and every report is a round older."""
        self._gain = replaced(self._gain, rows, gain)
        efficiency = spectral_efficiency(self.scenario, gain)
        later = [report[rows] for report in self._reports[1:]] + [efficiency]
        self._reports = [replaced(old, rows, new) for old, new in zip(self._reports, later, strict=True)]


def replaced(array: Any, rows: Rows, values: Any) -> Any:
    """Array with new rows, in memory of its own."""
    if isinstance(rows, slice):
        return values
    array = array.copy()
    array[rows] = values
    return array
