"""Independent slow computations: scalar loops and scipy, no code of the package."""

import itertools

import numpy as np
from scipy.optimize import brentq


def equal_latency(lengths, draft_time, token_time):
    """φ by brentq on Σ c L / (φ − L T) − 1, bracketed by its own bounds."""
    drafting, uploading = lengths * draft_time, lengths * token_time
    slowest = drafting.max()

    def excess(delta):
        return (uploading / (delta + (slowest - drafting))).sum() - 1.0

    low = uploading[drafting == slowest].max() * 0.5
    return slowest + brentq(excess, low, uploading.sum() * 2.0, xtol=1e-300, rtol=1e-15, maxiter=1000)


def expected_tokens(length, alpha):
    return sum(alpha**i for i in range(length + 1))


def goodput(lengths, draft_time, token_time, alpha, verification_time):
    phi = equal_latency(np.asarray(lengths, float), draft_time, token_time)
    tokens = sum(expected_tokens(length, a) for length, a in zip(lengths, alpha, strict=True))
    return tokens / (phi + verification_time)


def best_goodput(draft_time, token_time, alpha, verification_time, max_length):
    """Best over every length vector, with a cheap bound first: G ≤ tokens / (max drafting + T_ver)."""
    best = 0.0
    for lengths in itertools.product(range(1, max_length + 1), repeat=len(alpha)):
        tokens = sum(expected_tokens(length, a) for length, a in zip(lengths, alpha, strict=True))
        if tokens / (max(np.array(lengths) * draft_time) + verification_time) > best:
            best = max(best, goodput(lengths, draft_time, token_time, alpha, verification_time))
    return best
