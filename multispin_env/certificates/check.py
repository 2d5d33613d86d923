"""Checker of certificates: no decision of a round has a higher goodput than the file claims.

``python check.py proof.json`` needs this file and Python only. It prints the system of the file, which must be yours
(in seconds, Hz and bits), and the claim about it:

1. the lengths ``draft_length``, with the best shares of the band, reach at least ``value`` tokens/s;
2. no integer lengths in low..high, with any shares, exceed ``bound`` tokens/s.

**Model.** Device k drafts L_k tokens in d = T_k (L_k − A_k)^+ seconds (A_k: head start) and would upload them over the
whole band in u = L_k Q / (B r_k) seconds. With the share w it is ready at d + u / w, so all can be ready at φ if and
only if Σ w_k(φ) ≤ 1, w_k(φ) = u / (φ − d); φ(L) is the earliest such time. The pass of the server then takes
T(x) = T_fix + K T_lin + T_rtt + max_j (a_j + b_j n), n = x + K, x = Σ L_k; or n = K (x + 1), x = max L_k if padded.
Device k gains e_k(L_k) = ω_k E_k(L_k) − price_k L_k tokens, E_k(l) = 1 + α_k + ... + α_k^l. The goodput of L is
Σ e_k / (φ(L) + T(x)). With a TPOT, decisions also fulfil φ(L) + T(x) ≤ TPOT · E_k(L_k) for all k.

**Proof.** Multiply all times by the goodput to exclude: times are now tokens, and the claim is Σ e_k(L_k) ≤ φ(L) + T(x)
for every L. A *part* holds the decisions with φ(L) in first..last, L_k in low_k..high_k and x in fewest..most; at first
all with φ(L) ≤ max Σ e − min T, since the others fulfil the claim. Take any price p ≥ 0 and any slope s (0 if padded).
In the part T(x) ≥ start + s x with start = min (T(x) − s x). Also Σ w_k ≤ 1 at φ(L), and the convex w_k lies above its
tangent at b = last. So Σ e_k − T(x) − φ is at most

    p − start − φ + Σ_k max_l [e_k(l) − s l − p (w_k(l; b) + (b − φ) u / (b − d)²)],

which is convex in φ. If it is ≤ 0 at both ends, the claim holds in the part. A length of device k with which, in place
of the maximum, it is ≤ 0 at both ends is removed; so are latencies where the chord of both ends is ≤ 0, lengths that
cannot be ready at b, and those whose longest round in time is shorter than first + min T. The ``proof`` is a tree of
parts in preorder. Its entry [price, slope, *split] narrows the next part; if decisions are left, the split divides it:
[k, cut] into L_k ≤ cut and L_k > cut, [-1, cut] at a latency, [-2, cut] into x ≤ cut and x > cut, and [-3] into single
decisions, which are tried. Nothing in a proof is trusted: wrong numbers leave decisions, and it is refused.

**Numbers** are integers: tokens and times in units of Σ ω_k (high_k + 1) / 2^128, shares in units of 2^-128; prices,
slopes and latencies of a proof are multiples of 2^80 units. Roundings only make the claim harder to prove. The work is
counted before it begins, so that no file takes more than some minutes.
"""

import json
import re
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import accumulate, product
from math import ceil, floor, prod
from pathlib import Path
from typing import Any, NamedTuple

FORMAT, BITS, GRID = "multispin certificate 1", 128, 80
MOST_LISTED, MOST_STEPS = 32, 2 * 10**7  # decisions of [-3]; lengths that are looked at, each in 1 to 3 microseconds
REALS = "draft_time", "spectral_efficiency", "acceptance_rate", "weights", "token_price", "head_start"  # of each device
TIMES, INTEGERS = ("fixed_time", "time_per_draft", "round_trip"), ("low", "high", "draft_length")  # of the server
OTHERS = "num_users", "high", "padded", "tpot", "bandwidth", "bits_per_token"
SYSTEM = {*OTHERS, *REALS, *TIMES, "low", "pieces"}
FIELDS = {"format", "value", "bound", "draft_length", "system", "proof"}
Round = Callable[[Fraction], int]


class Part(NamedTuple):
    """Decisions that are left: ranges of φ, lengths and x."""

    first: int
    last: int
    low: tuple[int, ...]
    high: tuple[int, ...]
    fewest: int
    most: int


class Table(NamedTuple):
    """Integers of a system: those of device k and length l at [k][l], and T(x) at server[x]."""

    tokens: list[list[int]]  # e
    draft: list[list[int]]  # d
    upload: list[list[int]]  # u
    limit: list[list[int]]  # longest round in time; empty without a TPOT
    server: list[int]
    size: Callable[[tuple[int, ...]], int]  # x of lengths


def tabulate(fields: dict[str, Any], goodput: Fraction, gains: Round, costs: Round) -> tuple[Table, Part]:
    """Return the table for a goodput, with tokens rounded by ``gains`` and times by ``costs``, and the first part."""
    users, high, padded, tpot, bandwidth, bits = (fields[name] for name in OTHERS)
    unit = sum(w * (h + 1) for w, h in zip(fields["weights"], high, strict=True)) / 2**BITS
    require(unit > 0 and max(fields["acceptance_rate"]) <= 1, "weights: all are 0, or an acceptance rate is above 1")
    scale, one, table = goodput / unit, 1 << 192, Table([], [], [], [], [], max if padded else sum)
    columns = [fields[name] for name in ("high", *REALS)]
    for longest, draft_time, efficiency, alpha, weight, price, start in zip(*columns, strict=True):
        upload, lengths, powers = scale * bits / (bandwidth * efficiency), range(longest + 1), [one]
        for _ in range(longest):
            powers.append(gains(powers[-1] * alpha))
        expected = list(accumulate(powers))
        table.tokens.append([gains((weight * expected[n] / one - price * n) / unit) for n in lengths])
        table.draft.append([costs(scale * draft_time * max(0, n - start)) for n in lengths])
        table.upload.append([costs(upload * n) for n in lengths])
        if tpot is not None:
            table.limit.append([gains(scale * tpot * expected[n] / one) for n in lengths])
    constant = fields["fixed_time"] + users * fields["time_per_draft"] + fields["round_trip"]
    for x in range(table.size(high) + 1):
        n = users * (x + 1) if padded else users + x
        table.server.append(costs(scale * (constant + max(a + b * n for a, b in fields["pieces"]))))
    last = sum(max(row[n:]) for row, n in zip(table.tokens, fields["low"], strict=True)) - min(table.server)
    return table, Part(0, last, tuple(fields["low"]), tuple(high), 0, len(table.server) - 1)


def timely(table: Table, part: Part) -> tuple[int, list[list[int]]]:
    """Return the last latency of a part and the lengths of each device that x and the TPOT allow."""
    windows, last = [list(range(a, min(b, part.most) + 1)) for a, b in zip(part.low, part.high, strict=True)], part.last
    if table.limit:
        soonest = min(table.server[part.fewest : part.most + 1], default=0)
        pairs = list(zip(windows, table.limit, strict=True))
        windows = [[n for n in window if limit[n] >= part.first + soonest] for window, limit in pairs]
        last = min([last, *(max(limit[n] for n in window) - soonest for window, limit in pairs if window)])
    return last, windows


def narrowed(table: Table, part: Part, price: int, slope: int) -> Part | None:
    """Return the decisions of a part that may contradict the claim; ``None`` if there are none."""
    fewest, most = max(part.fewest, table.size(part.low)), min(part.most, table.size(part.high))
    first, (last, windows) = part.first, timely(table, part._replace(fewest=fewest, most=most))
    if first > last or fewest > most:
        return None
    price, slope, width, rows = price << GRID, slope << GRID, last - first, []
    for window, tokens, draft, upload in zip(windows, table.tokens, table.draft, table.upload, strict=True):
        row = []
        for n in window:
            room, net, charge = last - draft[n], tokens[n] - slope * n, price * upload[n]
            if upload[n] <= room:
                late, early = (charge // room, charge * (room + width) // room**2) if charge else (0, 0)
                row.append((n, net - early, net - late))
        if not row:
            return None
        rows.append((row, max(early for _, early, _ in row), max(late for _, _, late in row)))
    start = min(table.server[x] - slope * x for x in range(fewest, most + 1))
    left = price - start - first + sum(early for _, early, _ in rows)
    right = price - start - last + sum(late for _, _, late in rows)
    if left <= 0 and right <= 0:
        return None
    kept = [[n for n, early, late in row if left - a + early > 0 or right - b + late > 0] for row, a, b in rows]
    if right <= 0:
        last = first + ceil(Fraction(width * left, left - right))
    elif left <= 0:
        first = last - ceil(Fraction(width * right, right - left))
    return Part(first, last, tuple(n[0] for n in kept), tuple(n[-1] for n in kept), fewest, most)


def divided(table: Table, part: Part, kind: int, cut: int = 0) -> list[Part]:
    """Return the halves of a part, or nothing after a list of decisions that all fulfil the claim."""
    if kind == -1 and part.first < cut << GRID < part.last:
        return [part._replace(last=cut << GRID), part._replace(first=cut << GRID)]
    if kind == -2 and part.fewest <= cut < part.most:
        return [part._replace(most=cut), part._replace(fewest=cut + 1)]
    if kind == -3:
        windows = [range(a, b + 1) for a, b in zip(part.low, part.high, strict=True)]
        require(prod(map(len, windows)) <= MOST_LISTED, "proof: too many decisions are listed at once")
        for lengths in product(*windows):
            require(not reaches(table, lengths, floor), f"bound: draft lengths {list(lengths)} may exceed it")
        return []
    low, high = [*part.low], [*part.high]
    require(0 <= kind < len(low) and low[kind] <= cut < high[kind], "proof: a cut is not inside its part")
    low[kind], high[kind] = cut + 1, cut
    return [part._replace(high=tuple(high)), part._replace(low=tuple(low))]


def reaches(table: Table, lengths: tuple[int, ...], share: Round) -> bool:
    """Return whether lengths have the goodput of a table in time; shares are rounded by ``share``."""
    server, devices = table.server[table.size(lengths)], list(enumerate(lengths))
    latency = sum(table.tokens[k][n] for k, n in devices) - server
    if table.limit:
        latency = min(latency, *(table.limit[k][n] - server for k, n in devices))
    uploads = [(table.upload[k][n], latency - table.draft[k][n]) for k, n in devices]
    ready = all(room > 0 or (room == 0 and not upload) for upload, room in uploads)
    return ready and sum(share(Fraction(upload << BITS, room)) for upload, room in uploads if upload) <= 1 << BITS


def check(certificate: Any) -> dict[str, Any]:
    """Return the fields of a valid certificate with exact numbers; ``ValueError`` says why another one is refused."""
    fields = read(certificate)
    table, _ = tabulate(fields, fields["value"], floor, ceil)
    require(reaches(table, tuple(fields["draft_length"]), ceil), "value: the draft lengths do not reach it")
    table, *parts = tabulate(fields, fields["bound"], ceil, floor)
    for price, slope, *split in fields["proof"]:
        require(parts, "proof: entries are left over")
        require(price >= 0 and not (fields["padded"] and slope), "proof: a price < 0, or a slope of a padded pass")
        part = narrowed(table, parts.pop(), price, slope)
        require((part is None) == (not split), "proof: an entry has decisions and no split, or the reverse")
        parts += reversed(divided(table, part, *split)) if part else []
    require(not parts, "proof: parts are left over")
    return fields


def read(certificate: Any) -> dict[str, Any]:
    """Return the fields of a certificate and of its system, with exact numbers; ``ValueError`` for other objects."""
    good = type(certificate) is dict and set(certificate) == FIELDS and type(certificate["system"]) is dict
    require(good, f"certificate: the fields are not {sorted(FIELDS)}")
    require(set(certificate["system"]) == SYSTEM, f"system: the fields are not {sorted(SYSTEM)}")
    fields = certificate["system"] | certificate
    require(fields["format"] == FORMAT and type(fields["padded"]) is bool, f"format: it is not {FORMAT!r}")
    for entry in fields["proof"] if type(fields["proof"]) is list else [fields["proof"]]:
        good = type(entry) is list and all(type(n) is int and n.bit_length() < 1024 for n in entry)
        require(good and (len(entry) in (2, 4) or entry[2:] == [-3]), "proof: an entry is not [price, slope, *split]")
    for name in (SYSTEM | FIELDS) - {"format", "system", "proof", "padded", "tpot" if fields["tpot"] is None else ""}:
        fields[name] = exact(name, fields[name], {"pieces": 2}.get(name, int(name in (*REALS, *INTEGERS))))
    sizes = {len(fields[name]) for name in (*REALS, *INTEGERS)}
    require(sizes == {fields["num_users"]} != {0}, "num_users: it is 0, or a list has more or fewer numbers")
    require({*map(len, fields["pieces"])} == {2}, "pieces: they are not pairs")
    lengths = zip(fields["low"], fields["draft_length"], fields["high"], strict=True)
    require(all(low <= n <= high for low, n, high in lengths), "draft_length: a length is not in low..high")
    users, turns = fields["num_users"], len(fields["proof"]) + 8 * len(fields["pieces"]) + 200  # 200 for the tables
    steps = turns * (sum(fields["high"]) + users + users * MOST_LISTED)
    require(steps <= MOST_STEPS, f"proof: it would take more than {MOST_STEPS} steps to check")
    divisors = *fields["spectral_efficiency"], fields["bandwidth"], fields["value"]  # value 0 would hide the TPOT
    require(min(divisors) > 0, "bandwidth: it, an efficiency or the value is 0")
    return fields


def exact(name: str, item: Any, depth: int) -> Any:
    """Return an integer >= 0 or text such as 0x1.8p+1 as an exact number; lists at the given depth."""
    if depth and type(item) is list:
        return [exact(name, part, depth - 1) for part in item]
    text, whole = type(item) is str and re.fullmatch(r"0x[01](\.[0-9a-f]{1,13})?p[+-]\d{1,3}", item), type(item) is int
    good = whole and item >= 0 if name in (*INTEGERS, "num_users") else text
    require(good and not depth, f"{name}: {item!r:.40} is not a list, an integer >= 0, or text like 0x1.8p+1")
    return item if whole else Fraction(float.fromhex(item))


def require(condition: Any, message: str) -> None:
    """Raise ``ValueError`` with the message where the condition is false."""
    if not condition:
        raise ValueError(message)


def claim(certificate: Any) -> str:
    """Return what a certificate proves; ``ValueError`` if it proves nothing."""
    fields = check(certificate)
    value, bound = float(fields["value"]), float(fields["bound"])
    return f"{fields['draft_length']} reach {value!r} tokens/s, and no draft lengths exceed {bound!r}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected one file: python check.py proof.json")
    try:
        proof = json.loads(Path(sys.argv[1]).read_text("utf-8"))
        proven = claim(proof)
    except (OSError, ValueError, RecursionError) as error:
        sys.exit(f"refused: {error}")
    for name, item in proof["system"].items():
        print(f"{name}:", re.sub('"(.*?)"', lambda text: repr(float.fromhex(text[1])), json.dumps(item)))
    print(f"proven for this system, which must be yours: {proven}")
