"""Capacity: the most devices that a system serves at a time per output token (ours)."""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_integer, check_name, check_real
from multispin_env.controllers.rounds.systems import colocated_round_time
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.tokens import expected_tokens
from multispin_env.physics.types import SystemState
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.physics.verification import verification_time
from multispin_env.scenario import Scenario
from multispin_env.solver.gains import token_gains

FRACTION = 0.95
"""Part of random states in which every device must get its tokens in time."""

MOST = 4096
"""Devices beyond which no capacity is looked for."""

ENTRIES = 4_000_000
"""Numbers of an array that are worked on at once."""

BLOCKS = 64
"""Pieces of the possible lengths of a round, of which most are ruled out at once."""

ROUNDING = 1e-12
"""Part of the tokens by which a length may fall short."""

Feasible = Callable[[Scenario, SystemState, float], BoolArray]
"""Whether every device gets its tokens at a TPOT in seconds, (n,), in states (n, K)."""


def capacity(scenario: Scenario, tpot: float, system: str = "multi-spin", states: int = 200, seed: int = 0) -> int:
    """Most devices K for which every device gets a token each ``tpot`` seconds, in 95 % of random states (ours).

    In a round of T seconds device k gains E[N_k | L_k] tokens, so it needs T ≤ TPOT E[N_k | L_k]: the least length is
    L_k(T) = min {l : E[N_k | l] ≥ T / TPOT}. T is possible if φ(L) + T_ver(L) + T_rtt ≤ T, that is, if the shares of
    the uplink with which all are ready at T − T_ver(L) − T_rtt sum to at most one. A longer round only asks for more
    until a length changes, so the ends of the intervals with the same lengths, TPOT E[N_k | l], are all that need be
    tried. The states of fewer devices are those of more with some left out, so that K counts more or less, not luck.

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
    lengths = np.arange(scenario.min_draft_length, scenario.max_draft_length + 1)
    tokens = expected_tokens(lengths, state.acceptance_rate[..., None])  # (n, K, l)
    wanted = np.sort(tokens.reshape(len(tokens), -1))
    edges = np.linspace(0, wanted.shape[-1] - 1, BLOCKS + 1).astype(np.int64)
    state_of, block = np.indices((len(wanted), BLOCKS)).reshape(2, -1)
    # no T of a block is possible if the lengths of its shortest round do not fit into its longest
    shortest, longest = wanted[state_of, edges[block]], wanted[state_of, edges[block + 1]]
    open_blocks = np.flatnonzero(_fits(scenario, state, tokens, tpot, state_of, shortest, longest))
    served = np.zeros(len(wanted), dtype=bool)
    width = int(np.diff(edges).max()) + 1
    for part in np.array_split(open_blocks, max(1, len(open_blocks) * width * scenario.num_users // ENTRIES)):
        places = edges[block[part]][:, None] + np.arange(width)
        places = np.minimum(places, edges[block[part] + 1][:, None]).ravel()
        rows = np.repeat(state_of[part], width)
        rounds = wanted[rows, places]
        served[rows[_fits(scenario, state, tokens, tpot, rows, rounds, rounds)]] = True
    return served


def _fits(
    scenario: Scenario,
    state: SystemState,
    tokens: FloatArray,
    tpot: float,
    rows: IntArray,
    needs: FloatArray,
    lasts: FloatArray,
) -> BoolArray:
    """Whether the least lengths for ``needs`` (m,) tokens fit into rounds of ``lasts`` (m,) times TPOT, (m,).

    ``rows`` (m,) are the states, ``tokens`` (n, K, l) what each length gives.
    """
    part = state[rows]
    needed = scenario.min_draft_length + least_length(tokens, rows, needs)
    possible = (needed <= scenario.max_draft_length).all(-1)
    drafted = np.minimum(needed, scenario.max_draft_length)
    left = tpot * lasts - verification_time(scenario, drafted) - scenario.round_trip_time
    room = left[:, None] - drafted * part.draft_time
    busy = drafted > 0
    timely = np.where(busy, room > 0.0, left[:, None] >= 0.0).all(-1)
    upload = full_share_token_time(scenario, part.spectral_efficiency) * drafted
    share = np.where(busy, upload / np.where(room > 0.0, room, 1.0), 0.0).sum(-1)
    fits: BoolArray = possible & timely & (share <= 1.0)
    return fits


def least_length(tokens: FloatArray, rows: IntArray, needs: FloatArray) -> IntArray:
    """How many of a device's lengths give fewer tokens than it needs, (m, K), for ``tokens`` (n, K, l) rising in l."""
    bar = (needs * (1.0 - ROUNDING))[:, None]
    short = np.zeros((len(rows), tokens.shape[1]), dtype=np.int64)
    for column in np.moveaxis(tokens, -1, 0):  # over lengths
        short += column[rows] < bar
    return short


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
