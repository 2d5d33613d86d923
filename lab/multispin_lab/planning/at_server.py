"""Baselines in which the server alone serves all requests, with or without drafts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from typing_extensions import override

from multispin_env.controllers.base import ContinuousController
from multispin_env.controllers.continuous.greedy import take_all
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join
from multispin_env.scenario import Scenario
from multispin_env.server import VerificationLaw

_IDEAL_UPLINK: Mapping[str, Any] = MappingProxyType(
    {"total_bandwidth": 1e30, "round_trip_time": 0.0, "access_delay": (), "upload_loss": 0.0}
)
"""Fields with which tokens arrive at once: requests are at the server."""


@dataclass(frozen=True, eq=False)
class AtServer(ContinuousController):
    """Server that drafts the same length for all requests, and takes all waiting requests into every pass."""

    draft_length: int  # L, 0 for no drafts

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        length = np.full(state.phase.shape, self.draft_length)
        return take_all(length).changed(join=np.full(length.shape, Join.WAIT))


def autoregressive(scenario: Scenario) -> tuple[ContinuousController, ...]:
    """Return the controller of a server without drafts: each pass gives every request a token (continuous batching).

    A pass holds all n current requests and the prompts of new ones, and takes T_ver(n, n) without prompts.
    """
    return (_at_server(scenario, 0),)


def colocated(scenario: Scenario) -> tuple[ContinuousController, ...]:
    """Return controllers of a server that drafts for all current requests in batches and verifies, one for each L ≥ 0.

    A step with n requests takes L T_srv(n) + T_ver(n, n (L + 1)), as in `colocated_goodput`.
    """
    return tuple(_at_server(scenario, length) for length in range(scenario.max_draft_length + 1))


@dataclass(frozen=True, kw_only=True)
class _DraftingServer(Scenario):
    drafted: int

    @cached_property
    @override
    def law(self) -> VerificationLaw:
        law, constant = super().law, self.server_draft_round_time * (self.drafted > 0)
        if self.server_draft_lines == ((self.server_draft_time, 0.0),):  # for any number of requests
            return replace(law, fixed_time=law.fixed_time + self.drafted * self.server_draft_time + constant)
        lines = tuple(
            (self.drafted * start + constant, self.drafted * slope) for start, slope in self.server_draft_lines
        )
        return replace(law, drafting=lines)


def _at_server(scenario: Scenario, draft_length: int) -> ContinuousController:
    at_server = scenario.replace(
        mean_draft_time=1e-12,  # a scenario requires a positive value
        draft_context_time=0.0,
        prompt_rate=0.0,
        fleet=(),
        device_load="cold",
        min_draft_length=0,
        draft_ahead=False,  # only devices draft ahead
        **_IDEAL_UPLINK,
    )
    same = {field.name: getattr(at_server, field.name) for field in fields(Scenario)}
    return AtServer(_DraftingServer(**same, drafted=draft_length), draft_length)


SERVER_ONLY: Mapping[str, Callable[[Scenario], tuple[ContinuousController, ...]]] = {
    "autoregressive": autoregressive,
    "colocated": colocated,
}
"""Functions by name that return the controllers of a server; of several controllers, the best one at a load counts."""
