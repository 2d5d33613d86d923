"""Optimisation problem of one round as arrays, and functions that solve large batches in chunks.

Bandwidths are shares of the total. A pass of K drafts holds Σ L_k + K tokens, or K max L + K if drafts are padded. With
x = Σ L_k, or x = K max L, the line a + b n of the verification law is (a + b K) + b x.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import broadcast, check_real, require
from multispin_env.draft import expected_tokens
from multispin_env.physics.links import RateCurves
from multispin_env.physics.rounds import goodput
from multispin_env.physics.types import Batched, SystemState, checked_weights
from multispin_env.scenario import Scenario, check_ahead_losses
from multispin_env.server import line_time
from multispin_env.solver.equalization import (
    MAX_TIME,
    MIN_TIME,
    EqualLatency,
    equal_finish,
    equal_finish_on,
    equal_latency,
)


def kinks(lines: FloatArray) -> FloatArray:
    """Return the x (J − 1,) at which adjacent lines meet."""
    start, slope = lines.T
    return (start[:-1] - start[1:]) / (slope[1:] - slope[:-1])


def support_start(lines: FloatArray, slope: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the largest start (...) of a line with ``slope`` (...) that is nowhere above the law in [low, high]."""
    start: FloatArray = np.minimum(line_time(lines, low) - slope * low, line_time(lines, high) - slope * high)
    for kink in kinks(lines):
        x = np.clip(kink, low, high)
        start = np.minimum(start, line_time(lines, x) - slope * x)
    return start


TINY = 1e-300  # Replaces zero in denominators and logarithms
_MIN_WEIGHT, MAX_WEIGHT = 1e-150, 1e100  # Range of weights; smaller ones count as zero
ROUNDING = 1e-12  # Relative tolerance in comparisons with a TPOT


@dataclass(frozen=True, eq=False)
class Problem(Batched):
    """Maximisation of Σ_k ω_k E[N_k | L_k] / (φ(L) + T_ver(L)) over low ≤ L ≤ high, for n instances of K users.

    T_ver(L) is a constant plus the maximum of a few lines in Σ L, or in K max L (`verification_time`); the paper's law
    has one flat line. With a TPOT, only rounds in which every device gets its tokens in time are feasible (`pace`).
    """

    unbatched: ClassVar[tuple[str, ...]] = ("lines", "padded", "tpot", "band_time", "access_delays", "repeat_delay")

    draft_time: FloatArray  # T (n, K) s/token
    token_time: FloatArray  # c (n, K) s/token with the whole budget
    acceptance_rate: FloatArray  # α (n, K)
    weights: FloatArray  # ω (n, K) ≥ 0
    low: IntArray  # (n, K) tokens
    high: IntArray  # (n, K) tokens
    constant_time: FloatArray  # (n,) s, part of a round that no length changes: T_fix + K T_lin + T_rtt
    lines: FloatArray = field(default_factory=lambda: np.zeros((1, 2)))  # (J, 2) s and s/token, by rising slope
    padded: bool = False  # lines are functions of K max L
    tpot: float = np.inf  # s, longest round per token of each device
    token_price: FloatArray | None = None  # (n, K) tokens that each drafted token costs
    price_rise: FloatArray | None = None  # (n, K) difference of the prices of successive tokens
    token_table: FloatArray | None = None  # (n, K, L_max + 1) E[N | L] in place of the formula for α
    curves: RateCurves | None = None  # (n, K) rates of a link other than `Density`
    band_time: float = 0.0  # Q / B in s bit/s/Hz
    access_delays: FloatArray | None = None  # δ (K,) s for each device that drafts
    repeat_delay: float = 0.0  # s, part of `constant_time` that a round without drafts does not take

    def __len__(self) -> int:
        return len(self.draft_time)

    @property
    def flat(self) -> bool:
        """Whether the time of a pass is the same for all lengths."""
        return bool(self.lines[-1, 1] == 0.0)

    def with_longest(self, longest: FloatArray | IntArray) -> "Problem":
        """Return the problem with passes padded to ``longest`` (n,) tokens, so that T_ver is constant."""
        time = self.constant_time + line_time(self.lines, self.low.shape[-1] * longest)
        high = np.minimum(self.high, longest[:, None])
        return replace(self, high=high, constant_time=time, lines=np.zeros((1, 2)), padded=False)

    def gain(self, lengths: FloatArray | IntArray) -> FloatArray:
        """Return ω α^l (..., n, K) for integer lengths l, the expected gain of the l-th token of a draft."""
        if self.token_table is not None:
            return np.asarray(np.subtract(self.expected(lengths), self.expected(np.subtract(lengths, 1))))
        with np.errstate(divide="ignore", invalid="ignore"):  # α = 0
            power = np.where(lengths > 0, np.exp(lengths * np.log(self.acceptance_rate)), 1.0)
        return self.weights * power

    def expected(self, lengths: FloatArray | IntArray) -> FloatArray:
        """Return ω E[N | L] for lengths (..., n, K)."""
        if self.token_table is None:
            tokens = self.weights * expected_tokens(lengths, self.acceptance_rate)
        else:
            n, users, size = self.token_table.shape
            column = np.clip(lengths, 0, size - 1).astype(np.int64)  # moves out of range are evaluated, but not allowed
            tokens = self.weights * self.token_table[np.arange(n)[:, None], np.arange(users), column]
        return tokens if self.token_price is None else tokens - self.cost(lengths)

    def cost(self, lengths: FloatArray | IntArray) -> FloatArray:
        """Return the price of all tokens of drafts with lengths (..., n, K), in tokens."""
        price: Any = self.token_price
        if self.price_rise is not None:
            price = price + 0.5 * self.price_rise * lengths
        return np.asarray(price * lengths)

    def tokens(self, lengths: FloatArray | IntArray) -> FloatArray:
        """Return Σ_k ω_k E[N_k | L_k] (n, m) of candidates (n, m, K)."""
        if self.token_table is not None:
            return np.add.reduce(self.expected(lengths.swapaxes(0, 1)), -1).T
        tokens = np.add.reduce(self.weights[:, None] * expected_tokens(lengths, self.acceptance_rate[:, None]), -1)
        if self.token_price is not None:
            tokens -= np.add.reduce(self.cost(lengths.swapaxes(0, 1)), -1).T
        return tokens

    @property
    def simple(self) -> bool:
        """Whether shares are c L / (φ − L T), as in the paper: with its link and without delays."""
        return self.curves is None and self.access_delays is None

    @property
    def delay(self) -> FloatArray | float:
        """δ (K,) in s of devices that draft, 0 without delays."""
        return 0.0 if self.access_delays is None else self.access_delays

    def drafting(self, lengths: FloatArray | IntArray) -> FloatArray:
        """Return the times of drafting and access (..., n, K) in s of lengths (..., n, K)."""
        drafting = lengths * self.draft_time
        return drafting if self.access_delays is None else drafting + self.access_delays * (lengths > 0)

    def allocate(self, lengths: FloatArray | IntArray, room: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the shares w that send drafts in ``room`` seconds, and −room ∂w/∂room, not too large.

        Lengths are (..., n, K), and ``room`` is > 0. With the paper's link, both are c L / room.
        """
        if self.curves is None:
            share = self.token_time * lengths / room
            return share, share
        return self.curves.allocate(self.band_time * lengths / room)

    def fits(self, lengths: FloatArray | IntArray, room: FloatArray, slack: float) -> BoolArray:
        """Return whether drafts (..., n, K) can be sent in ``slack`` times ``room`` seconds with the whole band."""
        if self.curves is None:
            return np.asarray(self.token_time * lengths <= room * slack)
        return np.asarray(self.band_time * lengths <= self.curves.whole * room * slack)

    def latency(self, lengths: FloatArray | IntArray) -> FloatArray:
        """Return φ (n, m) in s of candidates (n, m, K)."""
        if not self.simple:
            return self.finish_together(lengths.swapaxes(0, 1)).latency.T
        if lengths.shape[1] == 1:
            return equal_latency(lengths[:, 0], self.draft_time, self.token_time).latency[:, None]
        return equal_latency(lengths, self.draft_time[:, None], self.token_time[:, None]).latency

    def finish_together(self, lengths: FloatArray | IntArray) -> EqualLatency:
        """Return latencies (..., n) and shares (..., n, K) of lengths (..., n, K)."""
        drafting = self.drafting(lengths)
        if self.curves is None:
            return equal_finish(drafting, np.ascontiguousarray(lengths * self.token_time))
        return equal_finish_on(self.curves, drafting, np.asarray(self.band_time * lengths))

    def token_times_at(self, lengths: FloatArray | IntArray) -> FloatArray:
        """Return Q b / (B R(b)) (n, K) in s with the best shares b of lengths (n, K); c for constant power density."""
        assert self.curves is not None
        share = np.maximum(self.finish_together(lengths).share, 0.1 / lengths.shape[-1])
        return self.band_time * share / self.curves.link.rate(share, self.curves.snr)

    def latency_slopes(self, length: FloatArray) -> FloatArray:
        """Return ∂φ/∂L_k (n, K) in s at real lengths (n, K); φ = Σ L_k ∂φ/∂L_k, as φ is homogeneous."""
        latency, share = equal_latency(length, self.draft_time, self.token_time)
        uploading = self.token_time * length
        # where drafting takes nearly all of φ, φ − L T loses digits that the shares keep
        room = np.where(share > 0.0, uploading / np.where(share > 0.0, share, 1.0), np.maximum(latency, TINY)[:, None])
        pull = np.maximum((share / room).sum(-1, keepdims=True), TINY)
        slopes = self.token_time / room / pull * (latency[:, None] / room)
        return np.where(np.isfinite(slopes), slopes, 0.0)

    def value(self, lengths: FloatArray | IntArray) -> FloatArray:
        """Return the weighted goodput (n, m) in tokens/s of candidates (n, m, K) with the best bandwidths."""
        return goodput(self.tokens(lengths), self.latency(lengths), self.verification_time(lengths))

    def verification_time(self, lengths: FloatArray | IntArray) -> FloatArray:
        """Return T_ver + T_rtt (n, m) in s of candidates (n, m, K)."""
        x = lengths.shape[-1] * lengths.max(-1) if self.padded else lengths.sum(-1)
        time = self.constant_time[:, None] + line_time(self.lines, x)
        return time - self.repeat_delay * ~lengths.any(-1) if self.repeat_delay else time

    def round_time(self, length: FloatArray) -> FloatArray:
        """Return T_e2e (n,) in s of one decision (n, K) for each instance."""
        return (self.latency(length[:, None]) + self.verification_time(length[:, None]))[:, 0]

    def longest_round(self, lengths: FloatArray | IntArray) -> FloatArray:
        """Return the longest round times (n, m) in s with which candidates (n, m, K) meet the TPOT of every device."""
        tokens = expected_tokens(lengths, self.acceptance_rate[:, None])
        return self.tpot * (1.0 + ROUNDING) * tokens.min(-1)


def user_times(scenario: Scenario, state: SystemState) -> tuple[FloatArray, FloatArray]:
    """Return T and c (..., K) of a checked state, clipped to `MIN_TIME` and `MAX_TIME`."""
    with np.errstate(over="ignore", divide="ignore", under="ignore"):
        token_time = scenario.uplink.token_time(state.spectral_efficiency)
    return np.clip(state.draft_time, MIN_TIME, MAX_TIME), np.clip(token_time, MIN_TIME, MAX_TIME)


def make_problem(
    scenario: Scenario,
    state: SystemState,
    weights: FloatArray | None = None,
    fixed_length: IntArray | None = None,
    tpot: float | None = None,
) -> Problem:
    """Return a checked state (..., K) as a problem with instances (n, K).

    Weights ω ≥ 0 (``None``: 1) and fixed lengths (negative or ``None``: free) have the shape of the state; ``tpot`` is
    in s (``None``: no limit).
    """
    flat = (-1, state.draft_time.shape[-1])
    draft_time, token_time = (time.reshape(flat) for time in user_times(scenario, state))
    check_ahead_losses(scenario)
    free = np.full(draft_time.shape, -1) if fixed_length is None else fixed_length.reshape(flat)
    constant = float(scenario.law.time_of_drafts(scenario.num_users)) + scenario.uplink.round_wait
    curves = RateCurves.of(scenario, state.spectral_efficiency)
    lines = scenario.law.lines_of_drafts(scenario.num_users, MIN_TIME, MAX_TIME)
    if weights is None:
        weights = np.ones_like(draft_time)
    longest: Any = scenario.max_draft_length
    if state.batteries is not None:
        longest = np.minimum(longest, state.batteries.affordable.reshape(flat)).astype(np.int64)
    return Problem(
        draft_time=draft_time,
        token_time=token_time,
        acceptance_rate=state.acceptance_rate.reshape(flat),
        weights=np.where(weights < _MIN_WEIGHT, 0.0, np.minimum(weights, MAX_WEIGHT)).reshape(flat),
        low=np.maximum(free, scenario.min_draft_length),
        high=np.where(free < 0, longest, free),
        constant_time=np.full(len(draft_time), constant),
        lines=lines,
        padded=scenario.law.padded and lines[-1, 1] > 0.0,
        tpot=np.inf if tpot is None else min(max(tpot, MIN_TIME), MAX_TIME),
        curves=None if curves is None else curves.mapped(lambda array: array.reshape(flat)),
        band_time=scenario.uplink.band_time,
        access_delays=scenario.uplink.access_delays,
        repeat_delay=scenario.uplink.repeat_delay,
    )


def checked_problem(
    scenario: Scenario,
    state: SystemState,
    weights: FloatArray | None = None,
    fixed_length: IntArray | None = None,
    tpot: float | None = None,
) -> Problem:
    """Check weights, fixed lengths and TPOT, and return `make_problem`; ``ValueError`` for bad ones.

    Head starts other than zero are an error, since bounds, certificates and sensitivities of a round ignore them.
    """
    shape = state.draft_time.shape
    expected = "zeros for certify, tpot, fixed_length, bounds and sensitivities"
    require("head_start", state.head_start, state.head_start == 0.0, expected)
    if tpot is not None:
        check_real("tpot", tpot, 0.0, open_low=True)
    lengths = _checked_fixed_length(scenario, fixed_length, shape)
    return make_problem(scenario, state, checked_weights(weights, shape), lengths, tpot)


def _checked_fixed_length(scenario: Scenario, fixed_length: object, shape: tuple[int, ...]) -> IntArray | None:
    if fixed_length is None:
        return None
    array = np.asarray(fixed_length)
    whole = np.issubdtype(array.dtype, np.integer)
    low, high = scenario.min_draft_length, scenario.max_draft_length
    good = np.full(array.shape, whole) & ((array < 0) | ((array >= low) & (array <= high)))
    require("fixed_length", array, good, f"integers in {low}..{high}, or -1 for a free length")
    return np.ascontiguousarray(broadcast("fixed_length", array, shape), dtype=np.int64)


CHUNK_ENTRIES = 2_000_000  # Largest number of float64 entries in a working array (16 MB)

SOLVER_ENTRIES = 20_000
"""Instances times users that are solved together: working arrays, 10 to 100 times as large, stay in the cache."""


def lengths_in_chunks(solve: Callable[[SystemState], IntArray], state: SystemState, entries_per_state: int) -> IntArray:
    """Apply ``solve`` to chunks (n, K) of a state (..., K), with at most `CHUNK_ENTRIES` array entries in a chunk."""
    shape = state.draft_time.shape
    num_users = shape[-1]
    flat = state.mapped(lambda array: array.reshape(-1, num_users))
    rows = max(1, CHUNK_ENTRIES // entries_per_state)
    lengths = [solve(flat[start : start + rows]) for start in range(0, len(flat.draft_time), rows)]
    return np.concatenate([np.empty((0, num_users), dtype=np.int64), *lengths]).reshape(shape)


def in_chunks(solve: Callable[[Problem], tuple[FloatArray, ...]], problem: Problem) -> tuple[FloatArray, ...]:
    """Apply ``solve`` to chunks of a problem, and join the returned arrays (n, ...) along the instances."""
    num_users = problem.draft_time.shape[-1]
    if not len(problem):  # solve one instance for the shapes of the result
        ones, lengths = np.ones((1, num_users)), np.ones((1, num_users), dtype=np.int64)
        arrays = ones, ones, ones, ones, lengths, lengths, ones[:, 0]
        example = Problem(*arrays, problem.lines, problem.padded, problem.tpot)
        return tuple(array[:0] for array in solve(example))
    num_parts = int(problem.high.max()) + 1 if problem.padded else 1  # parts of an instance with padded passes
    rows = max(1, SOLVER_ENTRIES // (num_users * num_parts))
    return in_blocks(solve, rows, problem)


def in_blocks(solve: Callable[..., tuple[Any, ...]], rows: int, *parts: Any) -> tuple[Any, ...]:
    """Apply ``solve`` to blocks of at most ``rows`` rows of its arguments, and join the returned arrays."""
    count = len(parts[0])
    if count <= rows:
        return tuple(solve(*parts))
    blocks = [slice(start, start + rows) for start in range(0, count, rows)]
    solved = [solve(*(part[block] for part in parts)) for block in blocks]
    return tuple(np.concatenate(arrays) for arrays in zip(*solved, strict=True))
