"""Certificates of the bound without the barrier: its prices, for a small program that computes what they prove."""

from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.bounds.rate import make_systems, solved
from multispin_env.bounds.rate_program import System
from multispin_env.certificates import check_rate
from multispin_env.certificates.write import texts
from multispin_env.physics.types import SystemState, checked_state
from multispin_env.scenario import Scenario


def rate_certificate(
    scenario: Scenario,
    state: SystemState,
    *,
    channel: str = "static",
    mean_gain: FloatArray | None = None,
    barrier: bool = False,
) -> dict[str, Any]:
    """Return the system and the prices of `rate_bound` as an object for ``json.dump``.

    `multispin_env.certificates.check_rate` and ``multispin check`` compute the bound that the prices prove, without the
    linear program. In a channel with fading, the states that stand for it are part of the file. Not in the paper;
    docs/evidence/certificates.md. ``ValueError`` as in `rate_bound`, and for drafting ahead, a pass that takes longer
    for each of its tokens, access delays or repeated uploads.

    Parameters
    ----------
    state
        State (K,) of one system.
    channel, mean_gain, barrier
        As in `rate_bound`.

    Examples
    --------
    >>> import multispin_env as ms
    >>> from multispin_env.certificates.check_rate import bound
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, 0)
    >>> proof = ms.rate_certificate(scenario, state)
    >>> abs(float(bound(proof)) / float(ms.rate_bound(scenario, state).value) - 1.0) < 1e-9
    True
    """
    state = checked_state(scenario, state)
    record, system, unit = rate_system(scenario, state, channel, mean_gain, barrier)
    rates, sets, solution = solved(system)
    prices = np.maximum(solution.prices, 0.0)
    groups = np.concatenate(rates.program.group)  # those of a device have no more than its own time
    left = np.maximum(*(solution.profits[groups[rows[:, 0]]] for rows in (rates.members, rates.cycles[:, 0, 0])))
    device = prices[rates.device] + left
    return {
        "format": check_rate.FORMAT,
        "system": record,
        "prices": {
            "uplink": texts(prices[rates.uplink] / unit),
            "device": texts(device / unit),
            "sets": [
                {
                    "devices": np.flatnonzero(member).tolist(),
                    "time": texts(prices[rows[0]] / unit),
                    "places": texts(prices[rows[1:]]),
                }
                for member, rows in sets
            ],
        },
    }


def rate_system(
    scenario: Scenario,
    state: SystemState,
    channel: str = "static",
    mean_gain: FloatArray | None = None,
    barrier: bool = False,
) -> tuple[dict[str, Any], System, float]:
    """Return the system of a certificate for a checked state, the same for the program, and its unit of time in s.

    Options and errors are those of `rate_certificate`.
    """
    scenario.uplink.require_paper("for certificates")
    if state.draft_time.ndim != 1:
        raise ValueError(f"state: expected the state of one system, shape (K,), got shape {state.draft_time.shape}")
    if scenario.draft_ahead or not scenario.law.flat:
        raise ValueError("scenario: expected passes of constant time and no drafting ahead, which certificates cover")
    (system,), unit = make_systems(scenario, state, channel, mean_gain, False, barrier)
    record = {
        "num_users": scenario.num_users,
        "low": scenario.min_draft_length,
        "high": scenario.max_draft_length,
        "fewest": scenario.num_users if barrier else 1,
        "fixed_time": texts(scenario.law.fixed_time + scenario.law.start),
        "time_per_draft": texts(scenario.law.time_per_draft),
        "round_trip": texts(scenario.uplink.fixed_wait),
        "draft_time": texts(state.draft_time),
        "acceptance_rate": texts(state.acceptance_rate),
        "token_time": texts(system.token_time * unit),
        "probability": texts(system.probability),
    }
    return record, system, unit
