"""Servers that need no drafts of devices, as schedulers of the same engine (ours; docs/serving.md)."""

from collections.abc import Callable
from types import MappingProxyType

from multispin_env.controllers.continuous.base import Scheduler
from multispin_env.controllers.continuous.greedy import Greedy
from multispin_env.controllers.rounds.schedule import draft_schedule
from multispin_env.scenario import Scenario

NO_TIME = 1e-12
"""Seconds a token; a scenario has to have some."""

NO_LIMIT = 1e30
"""Hz of an uplink on which nothing takes any time."""


def autoregressive(scenario: Scenario) -> tuple[Scheduler, ...]:
    """The server alone: a token for each request in every pass, as with continuous batching.

    A pass holds all requests that are there, T_ver(n, n), and the prompts of new ones. A device has one request at a
    time, as everywhere here; nothing is drafted, nothing uploaded and no round trip waited for.
    """
    return (_greedy(scenario, 0),)


def colocated(scenario: Scenario) -> tuple[Scheduler, ...]:
    """A server that drafts for all requests that are there, in batches, and verifies them.

    One step takes L T_srv + T_ver(n, n (L + 1)), as in `colocated_goodput`: L T_srv is added to the fixed time of a
    pass, and drafts of devices take none. Lengths: every one that `draft_schedule` has for a batch of up to K.
    """
    spans = draft_schedule(scenario, scenario.num_users)
    return tuple(_greedy(scenario, length) for length in sorted({span.draft_length for span in spans}))


def _greedy(scenario: Scenario, draft_length: int) -> Scheduler:
    at_server = scenario.replace(
        verification_fixed_time=scenario.verification_fixed_time + draft_length * scenario.server_draft_time,
        mean_draft_time=NO_TIME,
        total_bandwidth=NO_LIMIT,
        round_trip_time=0.0,
        min_draft_length=0,
    )
    return Greedy(at_server, draft_length)


SERVER_ONLY: MappingProxyType[str, Callable[[Scenario], tuple[Scheduler, ...]]] = MappingProxyType(
    {"autoregressive": autoregressive, "colocated": colocated}
)
"""By name; where there are several, the best for a load is meant."""
