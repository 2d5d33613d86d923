"""Servers that need no drafts of devices, as controllers of the same engine (ours; docs/serving.md)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from multispin_env.controllers.base import ContinuousController
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join
from multispin_env.scenario import Scenario


@dataclass(frozen=True, eq=False)
class AtServer(ContinuousController):
    """One length for all, and every pass takes all requests that are there when it starts."""

    draft_length: int  # L, 0 for no drafts

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        shape = state.phase.shape
        return ContinuousDecision(
            np.full(shape, self.draft_length), np.full(shape, Join.WAIT), priority=np.zeros(shape)
        )


def autoregressive(scenario: Scenario) -> tuple[ContinuousController, ...]:
    """The server alone: a token for each request in every pass, as with continuous batching.

    A pass holds all requests that are there, T_ver(n, n), and the prompts of new ones. A device has one request at a
    time, as everywhere here; nothing is drafted, nothing uploaded and no round trip waited for.
    """
    return (_at_server(scenario, 0),)


def colocated(scenario: Scenario) -> tuple[ContinuousController, ...]:
    """A server that drafts for all requests that are there, in batches, and verifies them.

    One step takes L T_srv + T_ver(n, n (L + 1)), as in `colocated_goodput`: L T_srv is added to the fixed time of a
    pass, and drafts of devices take none. One for each L from 0, which is `autoregressive`.
    """
    return tuple(_at_server(scenario, length) for length in range(scenario.max_draft_length + 1))


def _at_server(scenario: Scenario, draft_length: int) -> ContinuousController:
    at_server = scenario.replace(
        verification_fixed_time=scenario.verification_fixed_time + draft_length * scenario.server_draft_time,
        mean_draft_time=1e-12,  # a scenario has to have some
        total_bandwidth=1e30,
        round_trip_time=0.0,
        min_draft_length=0,
    )
    return AtServer(at_server, draft_length)


SERVER_ONLY: Mapping[str, Callable[[Scenario], tuple[ContinuousController, ...]]] = {
    "autoregressive": autoregressive,
    "colocated": colocated,
}
"""By name; where there are several, in order, the best for a load is meant."""
