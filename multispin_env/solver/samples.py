"""Best decision for equally likely channels (not in the paper): the mean goodput over draws of the channel.

For lengths L and shares b it is N(L) · mean_s 1 / (V(L) + max_k (L_k T_k + L_k c_ks / b_k)), for given lengths concave
in b, as the minimum over k of terms b / ((V + L T) b + L c). The search over lengths has no proof. The unknowns are
paces y_k = b_k / L_k: a token takes c_ks / y_k s to upload. At the best paces the pulls p_k, means of f² c / y over
draws in which k is last, are proportional to b_k, and multiplicative steps towards this need no scale. The price Σ p of
the band gives the first-order gain of a longer draft at the same paces.
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
_TRIAL_STEPS, _LAST_STEPS = 6, 20  # Steps of the paces for lengths on trial, and for the best ones
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
    """Decisions for equally likely channels."""

    lengths: FloatArray  # (..., K)
    share: FloatArray  # (..., K)
    value: Any  # (...) mean goodput over these channels, tokens/s


class Paces(NamedTuple):
    """Maximisation over paces (K,), which are scaled to the whole band, for given lengths."""

    lengths: FloatArray  # (K,)
    tokens: float  # N(L)
    start: FloatArray  # V + L T (K, 1) s
    token_time: FloatArray  # (K, S)

    def mean(self, pace: FloatArray) -> _Mean:
        """Return the means for these paces."""
        pace = pace / max(float(self.lengths @ pace), TINY)
        upload = self.token_time * ((self.lengths > 0.0) / pace)[:, None]
        finish = upload + self.start
        last = np.maximum.reduce(finish, 0)
        is_last, rate = finish == last, 1.0 / last
        square, draws = rate * rate / len(rate), len(rate)
        if np.count_nonzero(is_last) > draws:  # devices that finish together share the weight of a draw
            square /= np.add.reduce(is_last, 0)
        weight = np.multiply(is_last, square, out=finish)
        pull, mean = np.einsum("ks,ks->k", weight, upload), float(rate.mean())
        return _Mean(self.tokens * mean, mean, pace, np.add.reduce(weight, -1), pull)

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
        return SampleDecision(lengths, lengths * best.pace, best.value)

    def fixed(self, lengths: FloatArray) -> Paces:
        """Return the problem of the paces for given lengths (K,)."""
        server, drafting = self.problem.verification_time(lengths[None, None])[0], lengths * self.problem.draft_time[0]
        return Paces(
            lengths, float(self.problem.expected(lengths).sum()), (server + drafting)[:, None], self.token_time
        )

    def _untried(self, at: _Mean, lengths: FloatArray, tried: set[bytes]) -> list[FloatArray]:
        """Return the lengths of the most promising moves of one or two tokens that were not tried yet."""
        problem, users = self.problem, len(lengths)
        steps = np.concatenate([np.zeros((1, users)), np.eye(users), -np.eye(users)])
        moved = lengths + steps
        tokens, server = problem.tokens(moved[None])[0], problem.verification_time(moved[None])[0]
        delay = steps @ (problem.draft_time[0] * at.drafting + at.pull.sum() * at.pace)  # s, times f²
        delay += at.drafting.sum() * (server - server[0])
        allowed = ((moved >= problem.low[0]) & (moved <= problem.high[0])).all(-1)
        gain = np.where(allowed, tokens - tokens[0] - tokens[0] / at.rate * delay, -np.inf)
        movers = [i for i in np.argsort(-gain)[: _MOVERS + 1].tolist() if i and allowed[i]]
        moves = [(gain[i], i, 0) for i in movers]
        moves += [(gain[i] + gain[j], i, j) for i, j in combinations(movers, 2) if abs(i - j) != users]
        new = (lengths + steps[i] + steps[j] for _, i, j in sorted(moves, reverse=True))
        return [each for each in new if each.tobytes() not in tried][:_TRIALS]


def paces_of(lengths: FloatArray, share: FloatArray) -> FloatArray:
    """Return the paces of shares (K,)."""
    return np.where(lengths > 0.0, share, 1.0) / np.maximum(lengths, 1.0)


def sample_decisions(problem: Problem, token_time: FloatArray) -> SampleDecision:
    """Solve n instances with equally likely channels, c (n, S, K) in s/token, from the fast rule for ``problem``."""
    lengths = in_chunks(lambda chunk: (fast_lengths(chunk)[0],), problem, len(LONGEST_OFFSETS))[0]
    share = equal_latency(lengths, problem.draft_time, problem.token_time).share
    problems = (SampleProblem(problem[i : i + 1], uploads.T.copy()) for i, uploads in enumerate(token_time))
    solved = [each.solve(*start) for each, *start in zip(problems, lengths, share, strict=True)]
    return SampleDecision(*(np.array(column) for column in zip(*solved, strict=True)))
