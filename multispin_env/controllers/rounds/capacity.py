"""Capacity: the most devices that a system serves at a time per output token (ours)."""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray
from multispin_env.checks import check_integer, check_name, check_real
from multispin_env.controllers.rounds.systems import colocated_round_time
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario
from multispin_env.solver.gains import token_gains
from multispin_env.solver.pace import least_pace
from multispin_env.solver.problem import ROUNDING, make_problem

FRACTION = 0.95
"""Part of random states in which every device must get its tokens in time."""

MOST = 4096
"""Devices beyond which no capacity is looked for."""

Feasible = Callable[[Scenario, SystemState, float], BoolArray]
"""Whether every device gets its tokens at a TPOT in seconds, (n,), in states (n, K)."""


def capacity(scenario: Scenario, tpot: float, system: str = "multi-spin", states: int = 200, seed: int = 0) -> int:
    """Most devices K for which every device gets a token each ``tpot`` seconds, in 95 % of random states (ours).

    A round of T seconds is in time if T ≤ TPOT E[N_k | L_k] for each device k (`pace`). The states of fewer devices are
    those of more with some left out, so that K counts more or less, not luck.

    Parameters
    ----------
    scenario
        The system; its number of users does not matter.
    tpot
        Time per output token in seconds, > 0.
    system
        ``"multi-spin"``, ``"autoregressive"`` (the server alone) or ``"colocated"`` (the server drafts for all).
    states
        Random states.
    seed
        Of the states.

    Returns
    -------
    int
        K; 0 if not even one device can be served, and `MOST` at most.

    Raises
    ------
    ValueError
        For an unknown system or a number out of range.

    Examples
    --------
    >>> import multispin_env as ms
    >>> scenario = ms.Scenario.preset("qwen3.5", server="a100-32b", min_draft_length=0, payload="ids")
    >>> ms.capacity(scenario, tpot=0.04, system="autoregressive")
    82
    >>> ms.capacity(scenario, tpot=0.02, system="autoregressive")
    0
    """
    check_real("tpot", tpot, 0.0, open_low=True)
    check_name("system", system, FEASIBLE)
    check_integer("states", states, 1)
    check_integer("seed", seed, 0)

    devices = _Devices(scenario, states, seed)

    def serves(users: int) -> bool:
        served = FEASIBLE[system](scenario.replace(num_users=users), devices.first(users), tpot)
        return bool(served.mean() >= FRACTION)

    low, high = 0, 1
    while high <= MOST and serves(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if serves(middle) else (low, middle)
    return min(low, MOST)


class _Devices:
    """Random states of devices, each with a generator of its own, so that fewer are the first of more."""

    def __init__(self, scenario: Scenario, states: int, seed: int) -> None:
        self.scenario = scenario.replace(num_users=1)
        self.states, self.seed = states, seed
        self._columns: list[tuple[FloatArray, ...]] = []

    def first(self, users: int) -> SystemState:
        """States of so many devices, arrays (n, K)."""
        while len(self._columns) < users:
            one = sample_state(self.scenario, np.random.default_rng([self.seed, len(self._columns)]), self.states)
            self._columns.append((one.draft_time, one.spectral_efficiency, one.acceptance_rate))
        return SystemState(*(np.concatenate(parts, -1) for parts in zip(*self._columns[:users], strict=True)))


def _multi_spin(scenario: Scenario, state: SystemState, tpot: float) -> BoolArray:
    served: BoolArray = least_pace(make_problem(scenario, state), tpot).tpot <= tpot * (1.0 + ROUNDING)
    return served


def _autoregressive(scenario: Scenario, state: SystemState, tpot: float) -> BoolArray:
    return np.full(len(state.draft_time), scenario.verification_time <= tpot)


def _colocated(scenario: Scenario, state: SystemState, tpot: float) -> BoolArray:
    lengths = np.arange(scenario.max_draft_length + 1)
    slowest = token_gains(state.acceptance_rate, lengths).cumsum(-1).min(-2)  # (n, l)
    rounds = colocated_round_time(scenario, scenario.num_users, lengths)
    served: BoolArray = (rounds <= tpot * slowest).any(-1)
    return served


FEASIBLE = MappingProxyType({"multi-spin": _multi_spin, "autoregressive": _autoregressive, "colocated": _colocated})
"""By the names of the systems."""
