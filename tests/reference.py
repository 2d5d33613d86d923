"""Slow, independent computations with scalar loops and scipy, without code of the package."""

import math
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


def power_rate(scenario):
    """R(b) in bit/s/Hz of the link "power" for a share b and the spectral efficiency r of a device."""
    limit = scenario.efficiency_limit or math.inf

    def rate(share, efficiency):
        snr = math.expm1(efficiency * math.log(2.0)) * scenario.power_bandwidth / scenario.total_bandwidth
        return share * min(limit, math.log1p(snr / share) / math.log(2.0))

    return rate


def density_rate(scenario):
    return lambda share, efficiency: share * efficiency


def share_of_rate(rate, need, efficiency):
    """Share b ≤ 1 with R(b) = need by bracketing of ln b; infinite if there is none."""
    if need > rate(1.0, efficiency):
        return math.inf
    low = -1.0
    while rate(math.exp(low), efficiency) > need:
        low *= 2.0
    return math.exp(brentq(lambda x: rate(math.exp(x), efficiency) / need - 1.0, low, 0.0, xtol=1e-15, rtol=1e-15))


def linked_latency(scenario, state, rate, lengths, most=math.inf):
    """φ in s at which all drafts are sent, for devices with any rate curve and access delays; infinite above ``most``.

    One sum of shares tells whether φ is at most ``most``; finding it takes about 25 of them.
    """
    users, band = scenario.num_users, scenario.bits_per_token / scenario.total_bandwidth
    delays = (scenario.access_delay or (0.0,)) * (users if len(scenario.access_delay) < 2 else 1)
    devices = zip(lengths, state.draft_time.tolist(), delays, state.spectral_efficiency.tolist(), strict=True)
    jobs = [(n * t + d, n * band, r) for n, t, d, r in devices if n > 0]
    if not jobs:
        return 0.0

    def excess(phi):
        return sum(min(share_of_rate(rate, bits / (phi - start), r), 1e9) for start, bits, r in jobs) - 1.0

    low = max(start + bits / rate(1.0, r) for start, bits, r in jobs) * (1.0 + 1e-15)
    if low > most or (most < math.inf and excess(most) > 0.0):
        return math.inf
    if excess(low) <= 0.0:
        return low
    step = 1e-6
    while excess(low * (1.0 + step)) > 0.0:
        step *= 3.0
    return brentq(excess, low, low * (1.0 + step), xtol=1e-300, rtol=1e-14)


def mean_repetitions(loss, users):
    """E max_k G_k by adding P(max ≥ j), P(G ≥ j) = p^j."""
    terms, j = [1.0], 1
    while terms[-1] > 1e-18:
        terms.append(-math.expm1(users * math.log1p(-(loss**j))))
        j += 1
    return math.fsum(terms[1:])


def linked_rounds(scenario, state, rate, fixed=None, most=lambda tokens: math.inf):
    """Yield lengths, tokens of each device, and time of a round of every decision that takes at most ``most`` s."""
    fixed = [-1] * scenario.num_users if fixed is None else fixed
    ranges = [range(scenario.min_draft_length, scenario.max_draft_length + 1) if f < 0 else [int(f)] for f in fixed]
    repeats = 0.0
    if scenario.upload_loss:
        repeats = scenario.repeat_time * mean_repetitions(scenario.upload_loss, scenario.num_users)
    for lengths in product(*ranges):
        tokens = np.array([expected_tokens(n, a) for n, a in zip(lengths, state.acceptance_rate, strict=True)])
        server = server_time(scenario, lengths) + (repeats if any(lengths) else 0.0)
        latency = linked_latency(scenario, state, rate, lengths, most(tokens) - server)
        if latency < math.inf:
            yield lengths, tokens, latency + server
