"""Best decision for equally likely channels (not in the paper): the mean goodput over draws of the channel.

For lengths L and shares b it is N(L) · mean_s 1 / (V(L) + max_k (L_k T_k + L_k c_ks / b_k)). For given lengths it is
concave in b, as the minimum over k of terms b / ((V + L T) b + L c), so `upper_bound` can prove its maximum. The search
over lengths has no proof. The unknowns are paces y_k = b_k / L_k: a token takes c_ks / y_k s to upload, for any L_k.

At the best paces the pulls p_k, the mean of f² c / y over draws in which k is last, are proportional to b_k. A
multiplicative step towards this needs no scale of its own. The price Σ p of the band then gives the first-order gain of
a longer draft at the same paces.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.solver.equalization import equal_latency
from multispin_env.solver.problem import TINY, Problem, in_chunks
from multispin_env.solver.rule import LONGEST_OFFSETS, fast_lengths

_STEP, _SHORTER = 0.1, 0.7  # First step of the logarithms of paces, and its factor after each loss
_TRIAL_STEPS, _LAST_STEPS = 9, 20  # Steps of the paces for lengths on trial, and for the best ones
_TRIALS, _MOVERS = 10, 12  # Moves that are tried from one decision, and single ones that form pairs
_ROUNDING = 1e-7  # Relative improvement that a move must exceed


class _Mean(NamedTuple):
    """Means over draws for one decision, with f = 1 / T_e2e."""

    value: float  # N(L) times the mean of f, tokens/s
    rate: float  # mean of f, 1/s
    pace: FloatArray  # y (K,)
    drafting: FloatArray  # (K,) mean of f² where the device is last
    pull: FloatArray  # p (K,) mean of f² c / y where the device is last


class SampleDecision(NamedTuple):
    """Decision for equally likely channels, or decisions of n states."""

    lengths: FloatArray  # (..., K)
    share: FloatArray  # (..., K)
    value: Any  # (...) mean goodput over these channels, tokens/s


@dataclass(frozen=True, eq=False)
class SampleProblem:
    """Maximisation of the mean goodput of one round over equally likely channels.

    ``problem`` has one instance, whose uploads only serve as a start.
    """

    problem: Problem
    token_time: FloatArray  # c (K, S) s/token with the whole band

    def _server(self, lengths: FloatArray) -> float:
        return float(self.problem.verification_time(lengths[None, None])[0, 0])

    def _mean(self, lengths: FloatArray, pace: FloatArray) -> _Mean:
        upload = self.token_time * ((lengths > 0.0) / pace)[:, None]
        finish = upload + (lengths * self.problem.draft_time[0])[:, None]
        last = np.maximum.reduce(finish, 0)
        rate = 1.0 / (self._server(lengths) + last)
        is_last, square = finish == last, rate * rate
        mean, draws = float(rate.mean()), self.token_time.shape[1]
        if np.count_nonzero(is_last) > draws:  # devices that finish together share the weight of a draw
            square /= np.add.reduce(is_last, 0)
        weight = np.multiply(is_last, square, out=finish)
        pull = np.einsum("ks,ks->k", weight, upload) / draws
        value = float(self.problem.expected(lengths).sum()) * mean
        return _Mean(value, mean, pace, np.add.reduce(weight, -1) / draws, pull)

    def _balance(self, at: _Mean, lengths: FloatArray) -> FloatArray:
        """Return factors (K,) of the paces towards pulls that are proportional to shares."""
        share = lengths * at.pace
        return np.where(share > 0.0, np.clip(at.pull / np.maximum(share * at.pull.sum(), TINY), 0.1, 10.0), 1.0)

    def _improved(self, lengths: FloatArray, pace: FloatArray, steps: int) -> _Mean:
        """Return the best means of some steps from paces (K,), which are scaled to the whole band."""
        best, step = self._mean(lengths, _scaled(lengths, pace)), _STEP
        at = best
        for _ in range(steps - 1):
            at = self._mean(lengths, _scaled(lengths, at.pace * self._balance(at, lengths) ** step))
            if at.value > best.value:
                best = at
            else:
                step *= _SHORTER
        return best

    def _untried(self, at: _Mean, lengths: FloatArray, tried: set[bytes]) -> list[FloatArray]:
        """Return the lengths of the most promising moves of one or two tokens that were not tried yet."""
        users = len(lengths)
        steps = np.concatenate([np.eye(users), -np.eye(users)])
        moved = lengths + steps
        allowed = ((moved >= self.problem.low[0]) & (moved <= self.problem.high[0])).all(-1)
        gain = self.problem.tokens(moved[None])[0] - at.value / at.rate
        delay = steps @ (self.problem.draft_time[0] * at.drafting + at.pull.sum() * at.pace)  # times f²
        delay += at.drafting.sum() * (self.problem.verification_time(moved[None])[0] - self._server(lengths))
        gain = np.where(allowed, gain - at.value / at.rate**2 * delay, -np.inf)
        movers = np.argsort(-gain)[:_MOVERS].tolist()
        pairs = [(i, j) for i, j in combinations(movers, 2) if i % users != j % users]
        moves = [(gain[i] + gain[j], steps[i] + steps[j]) for i, j in pairs]
        moves += list(zip(gain, steps, strict=True))
        moves.sort(key=lambda move: -move[0])
        new = ((lengths + step) for value, step in moves if value > -np.inf)
        return [each for each in new if each.tobytes() not in tried][:_TRIALS]

    def solve(self, lengths: FloatArray, share: FloatArray) -> SampleDecision:
        """Search by moves of one or two tokens from lengths and shares (K,)."""
        best, tried = self._improved(lengths, _pace(lengths, share), _LAST_STEPS), {lengths.tobytes()}
        improved = True
        while improved:
            improved = False
            for moved in self._untried(best, lengths, tried):
                tried.add(moved.tobytes())
                at = self._improved(moved, best.pace, _TRIAL_STEPS)
                if at.value > best.value * (1.0 + _ROUNDING):
                    best, lengths, improved = at, moved, True
                    break
        best = self._improved(lengths, best.pace, _LAST_STEPS)
        return SampleDecision(lengths, lengths * best.pace, best.value)

    def value(self, lengths: FloatArray, share: FloatArray) -> float:
        """Return the mean goodput of lengths and shares (K,), which sum to at most 1."""
        return self._mean(lengths, _pace(lengths, share)).value

    def upper_bound(self, decision: SampleDecision, steps: int = 400) -> float:
        """Return a bound on the mean goodput of all shares with these lengths, in tokens/s.

        It is the maximum over shares of the mean of the tangent planes at the shares of some steps.
        """
        lengths, height, slope, weight = decision.lengths, 0.0, np.zeros_like(decision.lengths), 0.0
        pace = _pace(lengths, decision.share)
        for index in range(steps):
            at = self._mean(lengths, _scaled(lengths, pace))
            tokens, share, step = at.value / at.rate, lengths * at.pace, 0.5 * _STEP / np.sqrt(1.0 + index)
            height += step * (at.value - tokens * at.pull.sum())
            slope += step * tokens * np.where(share > 0.0, at.pull / np.maximum(share, TINY), 0.0)
            weight += step
            pace = at.pace * self._balance(at, lengths) ** step
        return float((height + slope.max()) / weight)


def _scaled(lengths: FloatArray, pace: FloatArray) -> FloatArray:
    return pace / max(float(lengths @ pace), TINY)


def _pace(lengths: FloatArray, share: FloatArray) -> FloatArray:
    return np.where(lengths > 0.0, share, 1.0) / np.maximum(lengths, 1.0)


def sample_decisions(problem: Problem, token_time: FloatArray) -> SampleDecision:
    """Solve n instances whose channels are equally likely, with ``token_time`` c (n, S, K) in s/token.

    Searches start from the fast rule for the channels of ``problem``.
    """
    lengths = in_chunks(lambda chunk: (fast_lengths(chunk)[0],), problem, len(LONGEST_OFFSETS))[0]
    share = equal_latency(lengths, problem.draft_time, problem.token_time).share
    rows = range(len(problem))
    problems = (SampleProblem(problem[row : row + 1], token_time[row].T.copy()) for row in rows)
    solved = [each.solve(lengths[row], share[row]) for row, each in enumerate(problems)]
    return SampleDecision(*(np.array(column) for column in zip(*solved, strict=True)))
