"""Verify what is there."""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_integer, check_real
from multispin_env.controllers.continuous.base import Scheduler
from multispin_env.controllers.continuous.launch import in_order, longest_paying
from multispin_env.physics.continuous.types import ContinuousState, Join, Order
from multispin_env.physics.tokens import TokenLaw
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.scenario import Scenario

MOST_LOAD = 0.97
"""Of an uplink, beyond which a queue does not grow here."""

LEAST_CHANCE = 0.1
"""With which the last token of a draft is accepted."""

ROUNDS = 30
"""Steps towards the size of a batch."""


@dataclass(frozen=True, eq=False)
class Greedy(Scheduler):
    """The server takes whatever is there as soon as it is free (ours).

    Parameters
    ----------
    draft_length
        L of all drafts. ``None``: with endless requests the one with the greatest estimated rate (`estimated_rates`),
        from each state; with requests that end, what fits into the budget.
    budget
        Seconds > 0 that a draft may take, as a part of the time of a pass of all devices: the longest L with
        L (T_k + 2 u_k) within it, of which the last token is accepted with a probability of `LEAST_CHANCE` at least.
    """

    draft_length: int | None = None
    budget: float = 0.6

    def __post_init__(self) -> None:
        if self.draft_length is not None:
            low, high = self.scenario.min_draft_length, self.scenario.max_draft_length
            check_integer("draft_length", self.draft_length, low, high)
        check_real("budget", self.budget, 0.0, open_low=True)

    def decide(self, state: ContinuousState) -> Order:
        """All drafts taken, the shortest upload first."""
        shape = state.phase.shape
        if self.draft_length is not None:
            length = np.full(shape, self.draft_length)
        else:
            length = self._best(state) if state.demand is None else self._within_budget(state)
        return Order(length, np.full(shape, Join.TAKE), priority=np.zeros(shape))

    def _best(self, state: ContinuousState) -> IntArray:
        lengths = np.arange(self.scenario.min_draft_length, self.scenario.max_draft_length + 1)
        best = lengths[estimated_rates(self.scenario, state, lengths).argmax(-1)]
        return np.repeat(best[:, None], state.phase.shape[-1], -1)

    def _within_budget(self, state: ContinuousState) -> IntArray:
        scenario = self.scenario
        pace = state.draft_time + 2.0 * full_share_token_time(scenario, state.spectral_efficiency)
        most = np.floor(self.budget * scenario.verification_time / pace).astype(np.int64)
        likely = longest_paying(scenario, state.acceptance_rate, np.full(pace.shape, LEAST_CHANCE))
        return np.clip(most, scenario.min_draft_length, likely)


def estimated_rates(scenario: Scenario, state: ContinuousState, lengths: IntArray) -> FloatArray:
    """Tokens/s (n, C) if all drafts have one of these lengths (C,), without simulation (ours).

    A device drafts, uploads, waits for half a batch, and is verified; the server is always busy, so that a batch holds
    the devices that come back while the last one is verified, K at most. The size is found by repetition. An upload
    takes as long as one of a queue in which the shorter ones go first, w / (1 − load of these).
    """
    users = scenario.num_users
    token_air = full_share_token_time(scenario, state.spectral_efficiency)
    order = np.argsort(token_air, -1, kind="stable")
    pace, air, alpha = (
        np.take_along_axis(array, order, -1)[:, None] for array in (state.draft_time, token_air, state.acceptance_rate)
    )
    each = lengths[:, None]
    tokens = TokenLaw.of(alpha).expected(each)
    draft, need = scenario.round_trip_time + each * pace, each * air
    size, upload = np.full((len(air), len(lengths)), users / 2), need
    for _ in range(ROUNDS):
        server = np.asarray(scenario.pass_time(size, size * (lengths + 1)))
        cycle = draft + upload + 1.5 * server[..., None]
        load = np.add.accumulate(need / cycle, -1)
        shorter = np.concatenate([np.zeros_like(load[..., :1]), load[..., :-1]], -1)
        upload = 0.5 * (upload + need / (1.0 - np.minimum(shorter, MOST_LOAD)))
        size = 0.5 * (size + np.clip(server * in_order(1.0 / cycle), 1.0, users))
    return in_order(tokens / cycle)
