"""Exact optimum of rounds in which one or two devices draft ahead: a small, slow reference (not in the paper).

These rounds have a memory, the head starts A, so that maximising N / τ in each round is not optimal. The optimum is the
largest long-run ΣN / Στ of a semi-Markov decision process. Head starts are on a grid; a chain whose length is between
two grid points becomes one of them at random, with the same mean.

For any numbers W(A), let q = (E N + E W(A') − W(A)) / τ for head starts and lengths. No policy has a higher rate than
the largest q: it gains at most q τ − (E W(A') − W(A)) in each round, and the changes of W cancel in the long run.
Likewise no policy has a lower rate than the smallest q of its own lengths. Howard's policy iteration closes the gap
between the two. The bandwidth is that of equal latency, which gives the shortest round with these lengths;
docs/reference/derivations.md explains why a longer round is not better, although chains grow meanwhile.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_real, require
from multispin_env.physics.chains import chain_cycle, drafting_time
from multispin_env.physics.rounds import round_outcome
from multispin_env.physics.types import Batched, Decision, SystemState, checked_state
from multispin_env.scenario import Scenario, check_ahead_losses
from multispin_env.solver.equalization import equal_finish
from multispin_env.solver.problem import user_times

_MOST_OUTCOMES = 20_000_000
"""Largest number of head starts times lengths times outcomes of a round, which need about 1 GB of memory."""
_TOLERANCE = 5e-12  # Relative gap between rate and bound
_HIGHEST_ACCEPTANCE = 0.9999  # Values converge in about 1 / (1 − α) steps


@dataclass(frozen=True, slots=True, eq=False)
class RateOptimum:
    """Best policies for systems (...) of K devices that draft ahead in rounds, and reference rates in tokens/s.

    Parameters
    ----------
    rate
        Long-run rate of the policy, (...), a lower bound.
    bound
        Long-run rate that no policy exceeds on this grid, (...).
    myopic_rate
        Rate of the rule that maximises E N / τ of each round, given the head starts, (...).
    rate_without_ahead
        Best rate without drafting ahead, (...).
    head_start
        Grid of head starts, (n,) tokens from 0 to L_max.
    draft_length
        L_k of the policy for each combination of head starts, (..., n, ..., n, K): one axis per device, then devices.
    """

    rate: FloatArray
    bound: FloatArray
    myopic_rate: FloatArray
    rate_without_ahead: FloatArray
    head_start: FloatArray
    draft_length: IntArray

    def lengths(self, head_start: FloatArray) -> IntArray:
        """Return lengths (..., K) of the policy of a single system for head starts in tokens, rounded to the grid."""
        positions = np.rint(head_start / self.head_start[1]).astype(np.int64)
        return np.asarray(self.draft_length[tuple(np.moveaxis(positions, -1, 0))])


def rate_optimum(scenario: Scenario, state: SystemState, *, step: float = 0.5) -> RateOptimum:
    """Return the best long-run rate of barrier rounds in which devices draft ahead, by policy iteration with a proof.

    The rate is the largest ΣN / Στ over policies that choose lengths from head starts and history, with constant
    channels and acceptance rates. The proof is for the process on the grid; its relative gap is at most 5e-12.
    ``ValueError`` for a bad state, α above 0.9999, devices that do not draft ahead, upload losses, or too many devices
    for the grid.

    Parameters
    ----------
    scenario
        System of 1 or 2 devices that draft ahead; 3 with a coarse grid and a small ``max_draft_length``.
    state
        Devices (..., K); their head starts have no effect.
    step
        Grid spacing of head starts in tokens, in (0, 1]; adjusted to divide L_max.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=1, min_draft_length=0, draft_ahead=True)
    >>> state = ms.SystemState(np.full(1, 0.012), np.full(1, 6.0), np.full(1, 0.7))
    >>> best = ms.bounds.rate_optimum(scenario, state)
    >>> bool(best.rate_without_ahead < best.myopic_rate < best.rate <= best.bound < best.rate + 1e-9)
    True
    """
    state, users = checked_state(scenario, state), scenario.num_users
    shape = state.draft_time.shape[:-1]
    systems = state.mapped(lambda array: array.reshape(-1, users))
    menu = range(scenario.min_draft_length, scenario.max_draft_length + 1)
    grid = _grid(scenario, state, step, len(menu) ** users)
    lengths = np.array(list(product(menu, repeat=users)))
    results = [_optimum(scenario, systems[index], grid, lengths) for index in range(len(systems.draft_time))]
    rates = np.array([rates for rates, _ in results]).reshape(*shape, 4)
    policy = np.array([policy for _, policy in results], dtype=np.int64).reshape(*shape, *[len(grid)] * users, users)
    return RateOptimum(rates[..., 0], rates[..., 1], rates[..., 2], rates[..., 3], grid, policy)


def _optimum(
    scenario: Scenario, state: SystemState, grid: FloatArray, lengths: IntArray
) -> tuple[tuple[float, float, float, float], IntArray]:
    """Return the four rates of `RateOptimum`, and lengths (points, K), for devices (K,) that may draft ``lengths``."""
    begun, choices = _begun(state, grid), len(lengths)
    points = len(begun.draft_time)
    pairs = begun[np.repeat(np.arange(points), choices)]
    length = np.tile(lengths, (points, 1))
    draft_time, token_time = user_times(scenario, pairs)
    share = equal_finish(drafting_time(scenario, length, draft_time, pairs.head_start), length * token_time).share
    rounds = _Rounds.of(scenario, pairs, Decision(length, share * scenario.total_bandwidth), grid)
    values = np.zeros(points)
    rates: list[float] = []
    without_ahead = float(rounds.rates(values)[:choices].max())  # the first point of the grid is A = 0
    while True:
        candidates = rounds.rates(values).reshape(points, choices)
        best, bound = candidates.argmax(1), float(candidates.max())
        if rates and bound - rates[-1] <= _TOLERANCE * bound:
            break
        policy = lengths[best]
        values, rate = rounds[np.arange(points) * choices + best].long_run(values)
        rates.append(rate)
    return (rates[-1], bound, rates[0], without_ahead), policy


def ahead_rate(
    scenario: Scenario, state: SystemState, rule: Callable[[SystemState], Decision], *, step: float = 0.5
) -> float:
    """Return the long-run rate in tokens/s of a rule in the process of `rate_optimum`, to a relative 5e-12.

    ``rule`` is a controller of rounds or a function with the same signature; it is called once, with all head starts
    (n, K) of the grid. Other arguments and errors are those of `rate_optimum`.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> from multispin_env.bounds.ahead import ahead_rate
    >>> scenario = ms.Scenario.preset("llama2", num_users=1, min_draft_length=0, draft_ahead=True)
    >>> state = ms.SystemState(np.full(1, 0.012), np.full(1, 6.0), np.full(1, 0.7))
    >>> fixed = ms.make_controller("fixed", scenario, draft_length=4)
    >>> bool(ahead_rate(scenario, state, fixed) < ms.bounds.rate_optimum(scenario, state).rate)
    True
    """
    state, users = checked_state(scenario, state), scenario.num_users
    if state.draft_time.ndim != 1:
        raise ValueError(f"state: expected one system, of shape ({users},), got shape {state.draft_time.shape}")
    grid = _grid(scenario, state, step, 1)
    begun = _begun(state, grid)
    return _Rounds.of(scenario, begun, rule(begun), grid).long_run(np.zeros(len(begun.draft_time)))[1]


def _grid(scenario: Scenario, state: SystemState, step: float, choices: int) -> FloatArray:
    if not scenario.draft_ahead:
        raise ValueError("draft_ahead: expected True, got False")
    check_ahead_losses(scenario)
    check_real("step", step, 0.0, 1.0, open_low=True)
    alpha, users, longest = state.acceptance_rate, scenario.num_users, scenario.max_draft_length
    require("acceptance_rate", alpha, alpha <= _HIGHEST_ACCEPTANCE, f"numbers in [0, {_HIGHEST_ACCEPTANCE}]")
    points = round(longest / step) + 1
    outcomes = choices * (3 * points) ** users
    if outcomes > _MOST_OUTCOMES:
        raise ValueError(
            f"num_users: expected at most {_MOST_OUTCOMES:,} outcomes of a round, got {users} devices with "
            f"{outcomes:.3g}; use a step larger than {step:g} or a smaller max_draft_length"
        )
    return np.linspace(0.0, longest, points)


def _begun(state: SystemState, grid: FloatArray) -> SystemState:
    """Return the devices (K,) of a state with all combinations of head starts, (points, K)."""
    users = len(state.draft_time)
    chain = np.stack(np.meshgrid(*[grid] * users, indexing="ij"), -1).reshape(-1, users)
    return state.mapped(lambda array: np.broadcast_to(array, chain.shape)).changed(head_start=chain)


@dataclass(frozen=True, eq=False)
class _Rounds(Batched):
    begun: NDArray[np.int32]  # (m,) grid point at the start
    tokens: FloatArray  # (m,) expected
    duration: FloatArray  # (m,) s
    ended: NDArray[np.int32]  # (m, 3^K) grid points at the end
    chance: FloatArray  # (m, 3^K)

    @classmethod
    def of(cls, scenario: Scenario, begun: SystemState, decision: Decision, grid: FloatArray) -> Self:
        duration = round_outcome(scenario, begun, decision, np.zeros(1)).round_latency
        cycle = chain_cycle(
            scenario,
            decision.draft_length,
            begun.draft_time,
            begun.acceptance_rate,
            begun.head_start,
            duration[:, None],
        )
        begins = np.rint(begun.head_start / grid[1]).astype(np.int32)
        left = cycle.head_start / grid[1]
        below = np.minimum(left.astype(np.int32), len(grid) - 2)
        above = left - below
        start, ended = np.zeros(len(duration), np.int32), np.zeros((len(duration), 1), np.int32)
        chance = np.ones((len(duration), 1))
        for k, hit in enumerate(cycle.hit.T):  # a miss, or a hit with its chain rounded down or up
            start = start * len(grid) + begins[:, k]
            ends = np.stack([np.zeros_like(start), below[:, k], below[:, k] + 1], -1)
            odds = np.stack([1.0 - hit, hit * (1.0 - above[:, k]), hit * above[:, k]], -1)
            ended = (ended[:, :, None] * len(grid) + ends[:, None]).reshape(len(duration), -1)
            chance = (chance[:, :, None] * odds[:, None]).reshape(len(duration), -1)
        return cls(start, cycle.tokens.sum(-1), duration, ended, chance)

    def rates(self, values: FloatArray) -> FloatArray:
        """Return q (m,) in tokens/s of the rounds, for values W of the grid points in tokens."""
        later = np.einsum("ij,ij->i", self.chance, values[self.ended])
        return (self.tokens + later - values[self.begun]) / self.duration

    def long_run(self, values: FloatArray) -> tuple[FloatArray, float]:
        """Return values and rate of the policy with these rounds, one for each grid point, from initial values."""
        pace = 0.9 * self.duration.min()  # shorter than every round, so that the iteration does not oscillate
        while True:
            rates = self.rates(values)
            if np.ptp(rates) <= 0.1 * _TOLERANCE * rates[0]:
                return values, float(rates.min())
            values = values + pace * (rates - rates[0])
