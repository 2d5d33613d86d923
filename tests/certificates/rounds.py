"""Goodput of every decision of a certificate, from its text alone: no code of the checker or of the package."""

from itertools import product

import numpy as np


@np.errstate(over="ignore", invalid="ignore", under="ignore")  # of numbers far from any network
def every_goodput(record):
    """Lengths (n, K), goodput (n,) and the time per token of the slowest device (n,) of all decisions of a system."""
    system = record["system"]
    number = {name: np.array(_numbers(value)) for name, value in system.items() if name not in ("padded", "tpot")}
    users = int(number["num_users"])
    ranges = [range(a, b + 1) for a, b in zip(system["low"], system["high"], strict=True)]
    lengths = np.array(list(product(*ranges)))
    powers = number["acceptance_rate"] ** np.arange(lengths.max() + 1)[:, None]
    expected = np.cumsum(powers, 0)[lengths, np.arange(users)]
    gains = (number["weights"] * expected - number["token_price"] * lengths).sum(-1)
    drafting = number["draft_time"] * np.maximum(lengths - number["head_start"], 0.0)
    upload = lengths * number["bits_per_token"] / (number["bandwidth"] * number["spectral_efficiency"])
    # the latency exceeds that of the slowest device by delta, found by bisection on a log scale
    slowest = drafting.max(-1, keepdims=True)
    low, high = (factor * upload.sum(-1, keepdims=True) for factor in (1e-12, 1.001))
    for _ in range(100):
        delta = np.sqrt(low) * np.sqrt(high)
        used = np.where(upload > 0.0, upload / np.where(upload > 0.0, delta + (slowest - drafting), 1.0), 0.0)
        late = used.sum(-1, keepdims=True) > 1.0
        low, high = np.where(late, delta, low), np.where(late, high, delta)
    tokens = users * (lengths.max(-1) + 1) if system["padded"] else lengths.sum(-1) + users
    server = number["fixed_time"] + users * number["time_per_draft"] + number["round_trip"]
    server = server + (number["pieces"][:, :1] + number["pieces"][:, 1:] * tokens).max(0)
    time = (slowest + high)[:, 0] + server
    return lengths, gains / time, (time[:, None] / expected).max(-1)


def is_true(record, margin=1e-11):
    """Whether the claim of a certificate holds, up to a relative margin."""
    lengths, goodput, waits = every_goodput(record)
    tpot = record["system"]["tpot"]
    timely = waits <= (np.inf if tpot is None else float.fromhex(tpot) * (1.0 + margin))
    chosen = (lengths == record["draft_length"]).all(-1)
    reaches = (goodput[chosen & timely] >= _numbers(record["value"]) * (1.0 - margin)).any()
    return bool(reaches) and not (goodput[timely] > _numbers(record["bound"]) * (1.0 + margin)).any()


def _numbers(value):
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return float.fromhex(value) if isinstance(value, str) else value
