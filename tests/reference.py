"""Slow, independent computations with scalar loops and scipy, without code of the package."""

from itertools import product

import numpy as np
from scipy.optimize import brentq


def equal_latency(lengths, draft_time, token_time):
    """φ with Σ c L / (φ − L T) = 1, by bracketing, in δ = φ − max L T."""
    work = [(c * n, n * t) for n, t, c in zip(lengths, draft_time, token_time, strict=True) if n > 0]
    if not work:
        return 0.0
    slowest = max(t for _, t in work)
    upload = sum(u for u, _ in work)

    def excess(delta):
        return sum(u / (delta + slowest - t) for u, t in work) - 1.0

    return slowest + brentq(excess, 1e-9 * upload / len(work), upload * 1.001, xtol=1e-300, rtol=1e-14)


def expected_tokens(length, alpha):
    return sum(float(alpha) ** i for i in range(length + 1))


def server_time(scenario, lengths):
    users = len(lengths)
    tokens = users * (max(lengths) + 1) if scenario.padded_verification else sum(lengths) + users
    slowest = max((a + b * tokens for a, b in scenario.verification_pieces), default=0.0)
    constant = scenario.verification_fixed_time + users * scenario.verification_time_per_draft
    return constant + users * scenario.context * scenario.context_time + scenario.round_trip_time + slowest


def best_goodput(scenario, state, weights=None, fixed=None):
    """Optimum by trying every decision but those that are worse even with free bandwidth."""
    users = scenario.num_users
    token_time = scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency)
    fixed = [-1] * users if fixed is None else fixed
    weights = [1.0] * users if weights is None else weights
    ranges = [range(scenario.min_draft_length, scenario.max_draft_length + 1) if f < 0 else [int(f)] for f in fixed]
    tokens = [
        {n: w * expected_tokens(n, a) for n in r}
        for r, a, w in zip(ranges, state.acceptance_rate, weights, strict=True)
    ]
    best = 0.0
    for lengths in product(*ranges):
        won = sum(t[n] for t, n in zip(tokens, lengths, strict=True))
        drafting = max(n * t for n, t in zip(lengths, state.draft_time, strict=True))
        server = server_time(scenario, lengths)
        if won > best * (drafting + server):
            latency = equal_latency(lengths, state.draft_time, token_time)
            best = max(best, won / (latency + server))
    return best


def every_round(scenario, state, fixed=None):
    """Tokens (n, K) and time (n,) of every decision, with φ by bisection of all of them together."""
    users = scenario.num_users
    fixed = [-1] * users if fixed is None else fixed
    ranges = [range(scenario.min_draft_length, scenario.max_draft_length + 1) if f < 0 else [int(f)] for f in fixed]
    lengths = np.array(list(product(*ranges)))
    tokens = [[expected_tokens(n, a) for n in range(lengths.max() + 1)] for a in state.acceptance_rate]
    upload = lengths * scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency)
    drafting = np.where(lengths > 0, lengths * state.draft_time, 0.0)
    slowest = drafting.max(-1, keepdims=True)
    low, high = (factor * upload.sum(-1, keepdims=True) for factor in (1e-9 / users, 1.001))
    for _ in range(90):
        delta = np.sqrt(low) * np.sqrt(high)
        late = (upload / np.where(upload > 0.0, delta + slowest - drafting, 1.0)).sum(-1, keepdims=True) > 1.0
        low, high = np.where(late, delta, low), np.where(late, high, delta)
    server = np.array([server_time(scenario, row) for row in lengths.tolist()])
    return np.array(tokens)[np.arange(users), lengths], (slowest + high)[:, 0] + server
