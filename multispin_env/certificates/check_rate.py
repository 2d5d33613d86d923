"""Checker of `rate_bound`: it computes the bound on every policy without the barrier that the prices of a file prove.

``python check_rate.py proof.json`` needs this file and Python only. It prints the system of the file, which must be
yours, with times in seconds, and the bound. It holds for all policies if ``fewest`` is 1, and if it is K (the barrier)
only for those whose batches hold all K drafts.

In a cycle, device k waits for the round trip τ, drafts l in low..high tokens in l T_k seconds, uploads them in w =
l u_kb seconds of the whole band (channel state b is drawn with probability p_kb) and is in a batch of n in fewest..K
drafts, verified in V(n) seconds. It gains E(l) = 1 + α_k + ... + α_k^l tokens. The rates z_n of batches and y_kn of
cycles in them fulfil (docs/evidence/bound.md derives it)

Σ_n z_n V(n) ≤ 1; Σ w ≤ 1; Σ (τ + l T_k + w) + Σ_n y_kn V(n) ≤ 1 for each k; y_kn ≤ z_n and Σ_k y_kn = n z_n; and, for
any set A of devices, Σ (τ + l T_k + j w + y V) ≤ |A|, where place j in a batch is used at most Σ_{n ≥ j} z_n times.

For prices p, p_k, θ_A ≥ 0 of these seconds and π_Aj ≥ 0 of the places, a cycle of device k earns at most

    u_k = Σ_b p_kb max_l [E(l) − p w − p_k (τ + l T_k + w) − Σ_A (θ_A (τ + l T_k) + min_j (π_Aj + θ_A j w))]

beyond them, less q_k V(n) with q_k = p_k + Σ_A θ_A. A batch earns at most the n largest of these and π_A1..π_An of each
set, and so a second of the server at most P = max_n [...] / V(n). So the rate of every policy is at most p + Σ_k p_k +
Σ_A θ_A |A| + P, whatever the prices. Tokens are rounded up, times and prices down, to multiples of 2^-128. The work is
counted before it begins, so that no file takes more than some minutes.
"""

import json
import re
import sys
from fractions import Fraction
from itertools import accumulate
from math import ceil, floor, inf, nextafter
from pathlib import Path
from typing import Any

FORMAT, ONE, MOST_STEPS = "multispin rate certificate 1", 1 << 128, 5 * 10**7  # steps of 0.3 to 2 microseconds
SYSTEM = {"num_users": 0, "low": 0, "high": 0, "fewest": 0, "fixed_time": 0, "time_per_draft": 0, "round_trip": 0}
SYSTEM |= {"draft_time": 1, "acceptance_rate": 1, "token_time": 2, "probability": 2}  # 1: of each device, 2: and state
PRICES, GROUP = {"uplink": 0, "device": 1}, {"devices": 1, "time": 0, "places": 1}
INTEGERS = "num_users", "low", "high", "fewest", "devices"
ROUNDED: dict[str, Any] = {"acceptance_rate": ceil, "probability": Fraction}  # the others by floor


def bound(certificate: Any) -> Fraction:
    """Return the bound in tokens/s that a certificate proves; ``ValueError`` if it proves none."""
    system, prices, sets = read(certificate)
    users, device, server = range(system["num_users"]), prices["device"], Fraction(0)
    inside = [[group for group in sets if k in group["devices"]] for k in users]
    owed = [device[k] + sum(group["time"] for group in inside[k]) for k in users]
    earnings = [earned(k, system, prices["uplink"] + device[k], owed[k], inside[k]) for k in users]
    for n in range(system["fewest"], len(users) + 1):
        time = system["fixed_time"] + n * system["time_per_draft"]
        largest = sorted((earnings[k] - owed[k] * time for k in users), reverse=True)[:n]
        places = sum(sum(group["places"][:n]) for group in sets)
        server = max(server, Fraction(sum(largest) + places * ONE, time))
    seconds = sum(group["time"] * len(group["places"]) for group in sets)
    return (prices["uplink"] + sum(device) + seconds + server) / ONE


def earned(k: int, system: dict[str, Any], air_price: int, time_price: int, sets: list[dict[str, Any]]) -> int:
    """Return u_k in units of 2^-256 tokens; ``sets`` are those with device k."""
    total, lengths, alpha = Fraction(0), range(system["high"] + 1), system["acceptance_rate"][k]
    tokens = list(accumulate(accumulate(lengths[1:], lambda power, _: -(-power * alpha // ONE), initial=ONE)))
    for probability, token_time in zip(system["probability"][k], system["token_time"][k], strict=True):
        profits = []
        for n in lengths[system["low"] :]:
            air = n * token_time
            charge = time_price * (system["round_trip"] + n * system["draft_time"][k]) + air_price * air
            for group in sets:
                charge += min(price * ONE + group["time"] * j * air for j, price in enumerate(group["places"], 1))
            profits.append(tokens[n] * ONE - charge)
        total += probability * max(profits)
    return ceil(total / sum(system["probability"][k]))


def read(certificate: Any) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Return system, prices and sets in units of 2^-128; ``ValueError`` for other objects."""
    top = record("certificate", certificate, {"format", "system", "prices"})
    require(top["format"] == FORMAT, f"format: it is not {FORMAT!r}")
    system, prices = record("system", top["system"], {*SYSTEM}), record("prices", top["prices"], {*PRICES, "sets"})
    system = {name: exact(name, system[name], depth) for name, depth in SYSTEM.items()}
    require(type(prices["sets"]) is list, "sets: they are not a list")
    sets = [record("sets", group, {*GROUP}) for group in prices["sets"]]
    sets = [{name: exact(name, group[name], depth) for name, depth in GROUP.items()} for group in sets]
    prices = {name: exact(name, prices[name], depth) for name, depth in PRICES.items()}
    users, lists = system["num_users"], [prices["device"], *(system[name] for name in SYSTEM if SYSTEM[name])]
    require({*map(len, lists)} == {users} != {0}, "num_users: it is 0, or a list has more or fewer numbers")
    states = list(map(len, system["token_time"]))
    require(states == list(map(len, system["probability"])), "probability: there is not one for each token_time")
    require(all(map(sum, system["probability"])), "probability: all are 0")
    require(system["low"] <= system["high"], "low: it is above high")
    require(system["fewest"] in (1, users), "fewest: it is neither 1 nor num_users")
    require(system["fixed_time"] + system["time_per_draft"] > 0, "fixed_time: a pass takes no time")
    require(max(system["acceptance_rate"]) <= ONE, "acceptance_rate: it is above 1")
    places = [0] * users
    for group in sets:
        devices = {k for k in group["devices"] if k < users}
        require(len(devices) == len(group["devices"]) == len(group["places"]), "sets: not a place for each device")
        for k in devices:
            places[k] += len(devices)
    lengths = sum(100 + n * (1 + most) for n, most in zip(states, places, strict=True))  # 100 for the tokens
    steps = (system["high"] + 1) * lengths + users * (users + sum(len(group["places"]) for group in sets))
    require(steps <= MOST_STEPS, f"high: it would take more than {MOST_STEPS} steps to check")
    return system, prices, sets


def record(name: str, item: Any, names: set[str]) -> dict[str, Any]:
    """Return an object with exactly these names."""
    require(type(item) is dict and set(item) == names, f"{name}: the fields are not {sorted(names)}")
    return item


def exact(name: str, item: Any, depth: int) -> Any:
    """Return an integer >= 0, or text such as 0x1.8p+1 in units of 2^-128; lists at the given depth."""
    if depth and type(item) is list:
        return [exact(name, part, depth - 1) for part in item]
    text, whole = type(item) is str and re.fullmatch(r"0x[01](\.[0-9a-f]{1,13})?p[+-]\d{1,3}", item), type(item) is int
    good = whole and item >= 0 if name in INTEGERS else text
    require(good and not depth, f"{name}: {item!r:.40} is not a list, an integer >= 0, or text like 0x1.8p+1")
    return item if whole else ROUNDED.get(name, floor)(Fraction(float.fromhex(item)) * ONE)


def require(condition: Any, message: str) -> None:
    """Raise ``ValueError`` with the message where the condition is false."""
    if not condition:
        raise ValueError(message)


def claim(certificate: Any) -> str:
    """Return what a certificate proves, with the bound rounded up; ``ValueError`` if it proves nothing."""
    rate, fewest = nextafter(float(bound(certificate)), inf), certificate["system"]["fewest"]
    policy = "policy" if fewest == 1 else f"policy whose batches hold at least {fewest} drafts"
    return f"no {policy} exceeds {rate!r} tokens/s in the long run"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected one file: python check_rate.py proof.json")
    try:
        proof = json.loads(Path(sys.argv[1]).read_text("utf-8"))
        proven = claim(proof)
    except (OSError, ValueError, RecursionError) as error:
        sys.exit(f"refused: {error}")
    for name, item in proof["system"].items():
        print(f"{name}:", re.sub('"(.*?)"', lambda text: repr(float.fromhex(text[1])), json.dumps(item)))
    print(f"proven for this system, which must be yours: {proven}")
