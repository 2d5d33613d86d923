"""Moves of one or two tokens that improve a decision, each priced by its exact equal-latency root (ours)."""

from dataclasses import dataclass

import numpy as np

from multispin_env.checks import FloatArray, IntArray
from multispin_env.controllers.equalization import equal_latency
from multispin_env.controllers.gains import token_gains
from multispin_env.physics.rounds import goodput

MOVERS = 6
"""Devices of each sign that take part in moves of two tokens."""

MAX_ROUNDS = 1000
"""Every round improves the goodput, so this only guards against a fault."""


@dataclass(frozen=True)
class Instances:
    """A flat batch of instances (n, K) as the solvers see it."""

    draft_time: FloatArray  # T (n, K) s/token
    token_time: FloatArray  # c (n, K) s/token
    cumulative: FloatArray  # Σ ω α^j for j ≤ l, (n, K, L_max + 1) tokens
    verification_time: float  # T_ver s
    min_draft_length: int

    @property
    def max_draft_length(self) -> int:
        """L_max."""
        return self.cumulative.shape[-1] - 1

    def tokens(self, lengths: IntArray) -> FloatArray:
        """Σ_k ω_k E[N_k | L_k] of candidates (n, m, K), as (n, m)."""
        total: FloatArray = np.take_along_axis(self.cumulative, lengths.swapaxes(-1, -2), -1).sum(-2)
        return total

    def value(self, lengths: IntArray) -> FloatArray:
        """Goodput with the best bandwidth of candidates (n, m, K), as (n, m)."""
        latency = equal_latency(lengths, self.draft_time[:, None], self.token_time[:, None]).latency
        return goodput(self.tokens(lengths), latency, self.verification_time)

    def rows(self, rows: IntArray) -> "Instances":
        """Some of the instances."""
        return Instances(
            self.draft_time[rows],
            self.token_time[rows],
            self.cumulative[rows],
            self.verification_time,
            self.min_draft_length,
        )


def make_instances(
    draft_time: FloatArray,
    token_time: FloatArray,
    acceptance_rate: FloatArray,
    weights: FloatArray | None,
    verification_time: float,
    length_range: tuple[int, int],
) -> Instances:
    """Tabulate the gains of every length once."""
    counts = np.arange(length_range[1] + 1)
    cumulative = token_gains(acceptance_rate, counts, weights).cumsum(-1)
    return Instances(draft_time, token_time, cumulative, verification_time, length_range[0])


def improve(instances: Instances, lengths: IntArray) -> IntArray:
    """Apply the best move of one or two tokens until none improves.

    Parameters
    ----------
    instances
        The batch, n instances.
    lengths
        Start (n, K).

    Returns
    -------
    IntArray
        Lengths (n, K) that no single token, and no pair among the best movers, improves.
    """
    lengths = lengths.copy()
    best = instances.value(lengths[:, None])[:, 0]
    active = np.arange(len(lengths))
    for _ in range(MAX_ROUNDS):
        if not len(active):
            break
        part = instances.rows(active)
        candidates = _neighbours(part, lengths[active], best[active])
        values = part.value(candidates)
        pick = values.argmax(-1)
        rows = np.arange(len(active))
        better = values[rows, pick] > best[active] * (1.0 + 1e-14)  # less is rounding
        active, rows, pick = active[better], rows[better], pick[better]
        lengths[active] = candidates[rows, pick]
        best[active] = values[rows, pick]
    return lengths


def _neighbours(instances: Instances, lengths: IntArray, value: FloatArray) -> IntArray:
    """All single-token moves, and all pairs among the movers of least Lagrangian loss, (n, m, K)."""
    num_users = lengths.shape[-1]
    loss = _move_losses(instances, lengths, value)  # (n, 2K): add a token to k, then drop one of k
    unit = np.eye(num_users, dtype=np.int64)
    moves = np.concatenate([unit, -unit])
    movers = min(MOVERS, num_users)
    best = np.concatenate(
        [
            np.argsort(loss[:, :num_users], -1, kind="stable")[:, :movers],
            num_users + np.argsort(loss[:, num_users:], -1, kind="stable")[:, :movers],
        ],
        -1,
    )  # (n, 2 movers)
    first, second = np.triu_indices(2 * movers, k=0)
    pairs = moves[best[:, first]] + moves[best[:, second]]
    singles = np.broadcast_to(moves, (len(lengths), *moves.shape))
    candidates = lengths[:, None] + np.concatenate([singles, pairs], 1)
    inside = (candidates >= instances.min_draft_length) & (candidates <= instances.max_draft_length)
    return np.where(inside.all(-1, keepdims=True), candidates, lengths[:, None])


def _move_losses(instances: Instances, lengths: IntArray, value: FloatArray) -> FloatArray:
    """What each move costs to first order: λ Δw − gain for adding, the reverse for dropping; (n, 2K)."""
    phi = equal_latency(lengths, instances.draft_time, instances.token_time).latency[:, None]
    room = np.maximum(phi - lengths * instances.draft_time, np.finfo(np.float64).tiny)
    share = instances.token_time * lengths / room
    # stationarity of φ: μ = λ Σ w / (φ − L T), μ = G
    slope = (share / room).sum(-1, keepdims=True)
    price = value[:, None] / np.where(slope > 0.0, slope, 1.0)
    losses = []
    for sign in (1, -1):
        moved = np.clip(lengths + sign, 0, instances.max_draft_length)
        gain = (
            np.take_along_axis(instances.cumulative, moved[..., None], -1)
            - np.take_along_axis(instances.cumulative, lengths[..., None], -1)
        )[..., 0]
        space = phi - moved * instances.draft_time
        cost = instances.token_time * moved / np.where(space > 0.0, space, 1.0) - share
        loss = np.where(space > 0.0, price * cost - gain, np.inf)
        losses.append(np.where(moved == lengths, np.inf, loss))
    return np.concatenate(losses, -1)
