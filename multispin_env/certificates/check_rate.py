"""Checker of `rate_bound`: it computes the bound on every policy without the barrier that the prices of a file prove.

``python check_rate.py proof.json`` needs this file and Python only. In a cycle, device k waits for the round trip τ,
drafts l in low..high tokens in l T_k seconds, uploads them in w = l u_kb seconds of the whole band (channel state b is
drawn with probability p_kb) and is in a batch of n in fewest..K drafts, verified in V(n) seconds. It gains E(l) = 1 +
α_k + ... + α_k^l tokens. The rates z_n of batches and y_kn of cycles in them fulfil (docs/evidence/bound.md derives it)
Σ_n z_n V(n) ≤ 1; Σ w ≤ 1; Σ (τ + l T_k + w) + Σ_n y_kn V(n) ≤ 1 for each k; y_kn ≤ z_n and Σ_k y_kn = n z_n; and, for
any set A of devices, Σ (τ + l T_k + j w + y V) ≤ |A|, where place j in a batch is used at most Σ_{n ≥ j} z_n times.

For prices p, p_k, θ_A ≥ 0 of these seconds and π_Aj ≥ 0 of the places, a cycle of device k earns at most

    u_k = Σ_b p_kb max_l [E(l) − p w − p_k (τ + l T_k + w) − Σ_A (θ_A (τ + l T_k) + min_j (π_Aj + θ_A j w))]

beyond them, less q_k V(n) with q_k = p_k + Σ_A θ_A. A batch earns at most the n largest of these and π_A1..π_An of each
set, and so a second of the server at most P = max_n [...] / V(n). So the rate of every policy is at most p + Σ_k p_k +
Σ_A θ_A |A| + P, whatever the prices. Tokens are rounded up and times down, to multiples of 2^-128.
"""

import json
import sys
from fractions import Fraction
from itertools import accumulate
from math import ceil, floor
from pathlib import Path
from typing import Any

FORMAT, ONE, MOST = "multispin rate certificate 1", 1 << 128, 10_000  # tokens of a draft
FIELDS = {"num_users", "low", "high", "fewest", "fixed_time", "time_per_draft", "round_trip", "draft_time"}
FIELDS |= {"acceptance_rate", "token_time", "probability"}


def exact(item: Any) -> Any:
    """Return text such as 0x1.8p+1 as an exact number, also in lists and objects; integers are unchanged."""
    if isinstance(item, dict | list):
        return [exact(part) for part in item] if isinstance(item, list) else {n: exact(item[n]) for n in item}
    number = Fraction(float.fromhex(item)) if type(item) is str and item.startswith("0x") else item
    if type(number) not in (int, Fraction) or number < 0:
        raise ValueError(f"expected an integer >= 0 or text such as 0x1.8p+1, got {item!r:.40}")
    return number


def earned(k: int, system: dict[str, Any], prices: dict[str, Any], sets: list[dict[str, Any]]) -> Fraction:
    """Return u_k in tokens; ``sets`` are those with device k."""
    total, longest, alpha = 0, system["high"] + 1, system["acceptance_rate"][k]
    tokens = list(accumulate(accumulate(range(longest), lambda power, _: ceil(power * alpha), initial=ONE)))
    drafts = [system["round_trip"] + n * system["draft_time"][k] for n in range(longest)]
    waiting = prices["device"][k] + sum(group["time"] for group in sets)
    for probability, token_time in zip(system["probability"][k], system["token_time"][k], strict=True):
        profits = []
        for n in range(system["low"], longest):
            air = floor(n * token_time * ONE)
            charge = waiting * floor(drafts[n] * ONE) + (prices["uplink"] + prices["device"][k]) * air
            for group in sets:
                charge += min(price * ONE + group["time"] * j * air for j, price in enumerate(group["places"], 1))
            profits.append(tokens[n] - charge)
        total += probability * max(profits)
    return Fraction(total, ONE) / sum(system["probability"][k])


def bound(certificate: dict[str, Any]) -> Fraction:
    """Return the bound in tokens/s that a certificate proves; ``ValueError`` if it proves none."""
    system, prices = exact(certificate["system"]), exact(certificate["prices"])
    users, sets, server = range(system["num_users"]), prices["sets"], Fraction(0)
    good = set(system) == FIELDS and {len(part) for part in system.values() if type(part) is list} == {len(users)}
    good = good and 0 < system["fewest"] <= len(users) and max(system["acceptance_rate"]) <= 1
    good = good and system["high"] <= MOST and all(len(set(group["devices"])) == len(group["places"]) for group in sets)
    if not good or certificate["format"] != FORMAT:
        raise ValueError(f"expected the format {FORMAT!r}, its fields in range, and a place for each device of a set")
    inside = [[group for group in sets if k in group["devices"]] for k in users]
    earnings = [earned(k, system, prices, inside[k]) for k in users]
    owed = [prices["device"][k] + sum(group["time"] for group in inside[k]) for k in users]
    for n in range(system["fewest"], len(users) + 1):
        time = system["fixed_time"] + n * system["time_per_draft"]
        largest = sorted((earnings[k] - owed[k] * time for k in users), reverse=True)[:n]
        server = max(server, (sum(largest) + sum(sum(group["places"][:n]) for group in sets)) / time)
    return prices["uplink"] + sum(prices["device"]) + sum(g["time"] * len(g["places"]) for g in sets) + server


if __name__ == "__main__":
    print(f"proven: no policy exceeds {float(bound(json.loads(Path(sys.argv[1]).read_text('utf-8'))))!r} tokens/s")
