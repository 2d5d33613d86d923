"""Best decision for equally likely channels (not in the paper): the mean goodput over draws of the channel.

For lengths L and shares b it is N(L) · mean_s 1 / (V(L) + max_k (L_k T_k + δ_k + u_ks)) with uploads of u = L_k c_ks /
b_k s, or L_k Q / (B R(b_k)) on another link. For given lengths it is concave in b, as the minimum over k of terms R /
((V + L T + δ) R + L Q / B). The search over lengths has no proof. The unknowns are paces y_k = b_k / L_k. At the best
paces the pulls p_k, means of f² u b R' / R over draws in which k is last, are proportional to b_k, and multiplicative
steps towards this need no scale. The price Σ p of the band gives the first-order gain of a longer draft.
"""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.links import RateCurves
from multispin_env.solver.certify import certified_lengths
from multispin_env.solver.problem import TINY, Problem

_STEP, _SHORTER = 0.1, 0.7  # First step of the logarithms of paces, and its factor after each loss
_TRIAL_STEPS, _LAST_STEPS = 6, 20  # Steps of the paces for lengths on trial, and for the best ones
_TRIALS, _MOVERS = 10, 12  # Moves that are tried from one decision, and single ones that form pairs
_STARTS = 2  # Starts of the search, the best after the steps of a trial
_START_TOLERANCE = 1e-6  # Relative gap of the starts
_ROUNDING = 1e-7  # Relative improvement that a move must exceed


class _Mean(NamedTuple):
    """Means over draws for one decision, with f = 1 / T_e2e."""

    value: float  # N(L) times the mean of f, tokens/s
    rate: float  # mean of f, 1/s
    pace: FloatArray  # y (K,)
    drafting: FloatArray  # (K,) mean of f² where the device is last
    pull: FloatArray  # p (K,) mean of f² u b R' / R where the device is last
    elasticity: FloatArray | float  # (K,) mean of b R' / R with the weights of p; 1 for the paper's link


class SampleDecision(NamedTuple):
    """Decisions for equally likely channels."""

    lengths: FloatArray  # (..., K)
    share: FloatArray  # (..., K)
    value: Any  # (...) mean goodput over these channels, tokens/s


class Paces(NamedTuple):
    """Maximisation over paces (K,), which are scaled to the whole band, for given lengths."""

    lengths: FloatArray  # (K,)
    tokens: float  # N(L)
    start: FloatArray  # V + L T + δ (K, 1) s
    token_time: FloatArray  # (K, S)
    curves: RateCurves | None  # (K, S)
    payload: FloatArray  # L Q / B (K, 1) s bit/s/Hz

    def mean(self, pace: FloatArray) -> _Mean:
        """Return the means for these paces."""
        pace, drafts = pace / (float(self.lengths @ pace) or 1.0), self.lengths > 0.0
        if self.curves is None:
            upload = self.token_time * (drafts / pace)[:, None]
        else:
            share = np.where(drafts, self.lengths * pace, 1.0)[:, None]
            rates = self.curves.link.rate(share, self.curves.snr)
            upload = self.payload / rates
        finish = upload + self.start
        last = np.maximum.reduce(finish, 0)
        is_last, rate = finish == last, 1.0 / last
        square, draws = rate * rate / len(rate), len(rate)
        if np.count_nonzero(is_last) > draws:  # devices that finish together share the weight of a draw
            square /= np.add.reduce(is_last, 0)
        weight = np.multiply(is_last, square, out=finish)
        pull, mean = np.einsum("ks,ks->k", weight, upload), float(rate.mean())
        elasticity: FloatArray | float = 1.0
        if self.curves is not None:
            slopes = np.zeros_like(rates)
            shares = np.broadcast_to(share, rates.shape)[is_last]
            slopes[is_last] = self.curves.link.slope(shares, self.curves.snr[is_last])
            sending, pull = pull, np.einsum("ks,ks->k", weight, upload * share * slopes / rates)
            elasticity = np.where(pull > 0.0, pull / np.maximum(sending, TINY), 1.0)
        return _Mean(self.tokens * mean, mean, pace, np.add.reduce(weight, -1), pull, elasticity)

    def stepped(self, at: _Mean, size: float) -> FloatArray:
        """Return paces after a step towards pulls that are proportional to shares."""
        share = self.lengths * at.pace
        ratio = np.clip(at.pull / np.maximum(share * at.pull.sum(), TINY), 0.1, 10.0)
        return at.pace * np.where(share > 0.0, ratio, 1.0) ** size

    def improved(self, pace: FloatArray, steps: int) -> _Mean:
        """Return the best means of some steps."""
        at = best = self.mean(pace)
        size = _STEP
        for _ in range(steps - 1):
            at = self.mean(self.stepped(at, size))
            if at.value > best.value:
                best = at
            else:
                size *= _SHORTER
        return best


@dataclass(frozen=True, eq=False)
class SampleProblem:
    """Maximisation of the mean goodput of one round over equally likely channels."""

    problem: Problem  # one instance, whose uploads are not used
    token_time: FloatArray  # c (K, S) s/token with the whole band
    curves: RateCurves | None = None  # (K, S) rates of a link other than `Density`

    def value(self, lengths: FloatArray, share: FloatArray) -> float:
        """Return the mean goodput of lengths and shares (K,), which sum to 1."""
        return self.fixed(lengths).mean(paces_of(lengths, share)).value

    def solve(self, lengths: FloatArray, share: FloatArray) -> SampleDecision:
        """Search by moves of one or two tokens from lengths and shares (K,)."""
        best, tried = self.fixed(lengths).improved(paces_of(lengths, share), _LAST_STEPS), {lengths.tobytes()}
        improved = True
        while improved:
            improved = False
            for moved in self._untried(best, lengths, tried):
                tried.add(moved.tobytes())
                at = self.fixed(moved).improved(best.pace, _TRIAL_STEPS)
                if at.value > best.value * (1.0 + _ROUNDING):
                    best, lengths, improved = at, moved, True
                    break
        best = self.fixed(lengths).improved(best.pace, _LAST_STEPS)
        if not self.problem.low.any():
            none = np.zeros_like(lengths)
            if (value := self.fixed(none).mean(best.pace).value) >= best.value:
                return SampleDecision(none, none, value)
        return SampleDecision(lengths, lengths * best.pace, best.value)

    def solve_best(self, starts: list[tuple[FloatArray, FloatArray]]) -> SampleDecision:
        """Search from the best of some starts, lengths and shares (K,)."""
        if len(starts) > _STARTS:
            starts = sorted(starts, key=lambda at: -self.fixed(at[0]).improved(paces_of(*at), _TRIAL_STEPS).value)
        return max((self.solve(*start) for start in starts[:_STARTS]), key=lambda solved: solved.value)

    def fixed(self, lengths: FloatArray) -> Paces:
        """Return the problem of the paces for given lengths (K,)."""
        problem = self.problem
        start = problem.verification_time(lengths[None, None])[0] + problem.drafting(lengths[None])[0]
        tokens, payload = float(problem.expected(lengths).sum()), problem.band_time * lengths
        return Paces(lengths, tokens, start[:, None], self.token_time, self.curves, payload[:, None])

    def _untried(self, at: _Mean, lengths: FloatArray, tried: set[bytes]) -> list[FloatArray]:
        """Return lengths not tried yet: the best moves of one or two tokens, then one device less that drafts."""
        problem, users = self.problem, len(lengths)
        steps = np.concatenate([np.zeros((1, users)), np.eye(users), -np.eye(users)])
        moved = lengths + steps
        tokens, server = problem.tokens(moved[None])[0], problem.verification_time(moved[None])[0]
        delay = steps @ (problem.draft_time[0] * at.drafting + at.pull.sum() * at.pace / at.elasticity)  # s, times f²
        delay += at.drafting.sum() * (server - server[0])
        allowed = ((moved >= problem.low[0]) & (moved <= problem.high[0])).all(-1)
        gain = np.where(allowed, tokens - tokens[0] - tokens[0] / at.rate * delay, -np.inf)
        movers = [i for i in np.argsort(-gain)[: _MOVERS + 1].tolist() if i and allowed[i]]
        moves = [(gain[i], i, 0) for i in movers]
        moves += [(gain[i] + gain[j], i, j) for i, j in combinations(movers, 2) if abs(i - j) != users]
        new = (lengths + steps[i] + steps[j] for _, i, j in sorted(moves, reverse=True))
        dropped = (lengths - lengths * steps[k + 1] for k in np.flatnonzero((problem.low[0] == 0) & (lengths > 1.0)))
        untried = [[each for each in group if each.tobytes() not in tried] for group in (new, dropped)]
        return untried[0][:_TRIALS] + untried[1]


def paces_of(lengths: FloatArray, share: FloatArray) -> FloatArray:
    """Return the paces of shares (K,)."""
    return np.where(lengths > 0.0, share, 1.0) / np.maximum(lengths, 1.0)


def sample_decisions(problem: Problem, token_time: FloatArray, curves: RateCurves | None = None) -> SampleDecision:
    """Solve n instances with equally likely channels, from the best lengths of ``problem``.

    ``token_time`` has c in s/token with the whole band, ``curves`` the rates of a link other than `Density`, (n, S, K).
    """
    starts = []
    for high in _limits(problem):
        # repeats are a constant unless no device drafts, which is compared at the end
        lengths = certified_lengths(replace(problem, repeat_delay=0.0, high=high), _START_TOLERANCE).lengths
        starts.append((lengths, problem.finish_together(lengths).share))
    solved = []
    for i, uploads in enumerate(token_time):
        rates = None if curves is None else curves[i].mapped(np.transpose)
        sampled = SampleProblem(problem[i : i + 1], uploads.T.copy(), rates)
        solved.append(sampled.solve_best([(lengths[i], share[i]) for lengths, share in starts]))
    return SampleDecision(*(np.array(column) for column in zip(*solved, strict=True)))


def _limits(problem: Problem) -> list[IntArray]:
    """Return the maximum lengths (n, K) of each start: devices with long access delays may be better left out."""
    if problem.access_delays is None or problem.low.any():
        return [problem.high]
    return [
        problem.high,
        *(np.where(problem.access_delays < d, problem.high, 0) for d in np.unique(problem.access_delays)[1:]),
    ]
