"""Each comparison of the two checkers has a case here that is judged otherwise without it."""

from copy import deepcopy
from fractions import Fraction
from functools import reduce
from itertools import product
from math import ceil, floor

import numpy as np
import pytest

from multispin_env.certificates import check, check_rate
from multispin_env.certificates.check import Part, Table
from tests.certificates.rounds import every_goodput

SMALL, NONE, HUGE, RATE = (1e-9).hex(), (0.0).hex(), 10**4000, check_rate.FORMAT


def texts(item):
    """Floats of a list, also in lists, as texts."""
    return [texts(part) for part in item] if isinstance(item, list) else float(item).hex()


def changed(record, changes):
    """A copy of a file with other values at paths such as ``system.low.0``."""
    record = deepcopy(record)
    for path, value in changes.items():
        *names, last = [int(name) if name.isdigit() else name for name in path.split(".")]
        reduce(lambda item, name: item[name], names, record)[last] = value
    return record


def rounds(proof=((0, 0, -3),), value=None, bound=None, **system):
    """Certificate of two devices, whose decisions are listed; by default of the optimum by brute force."""
    numbers = {"draft_time": [0.25, 0.125], "spectral_efficiency": [2.0, 1.0], "acceptance_rate": [0.5, 0.75]}
    numbers |= {"weights": [1.0, 2.0], "token_price": [0.0, 0.125], "head_start": [0.0, 1.5], "tpot": None}
    numbers |= {"fixed_time": 0.25, "time_per_draft": 0.125, "round_trip": 0.25, "pieces": [[0.0, 0.125], [0.5, 0.0]]}
    numbers |= {"bandwidth": 8.0, "bits_per_token": 2.0} | system
    whole = {name: numbers.pop(name, own) for name, own in (("low", [0, 0]), ("high", [2, 2]), ("padded", False))}
    numbers = {name: None if item is None else texts(item) for name, item in numbers.items()}
    record = {
        "format": check.FORMAT,
        "system": {"num_users": 2, **numbers, **whole},
        "proof": list(map(list, proof)),
        "draft_length": [0, 0],
    }
    lengths, goodput, waits = every_goodput(record)
    in_time = np.where(waits <= (system.get("tpot") or np.inf), goodput, -np.inf)
    record["draft_length"], best = lengths[in_time.argmax()].tolist(), in_time.max()
    record["value"] = float(best * (1.0 - 1e-9) if value is None else value).hex()
    return record | {"bound": float(best * (1.0 + 1e-9) if bound is None else bound).hex()}


def is_accepted(record):
    """Whether a certificate is accepted; any error but ``ValueError`` is one of the checker."""
    try:
        check.check(record)
    except ValueError:
        return False
    return True


SYSTEMS = {
    "plain": {},
    "padded": {"padded": True},
    "one rate is 1": {"acceptance_rate": [1.0, 0.0]},
    "tight TPOT": {"tpot": 1.2},
    "TPOT": {"tpot": 1.45, "weights": [0.0, 1.0]},
    "TPOT, padded": {"tpot": 1.35, "padded": True},
    "slow upload": {"bandwidth": 2.0},
    "fast": {"draft_time": [0.0, 0.0], "bits_per_token": 0.0},
    "head starts": {"head_start": [3.0, 0.5], "draft_time": [1.0, 1.0]},
    "one length": {"low": [1, 2], "high": [1, 2]},
    "dear tokens": {"token_price": [0.5, 1.0]},
    "steep": {"pieces": [[0.0, 1.0], [0.5, 0.0]]},
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_listed_decisions_equal_brute_force(name):
    system = SYSTEMS[name]
    record = rounds(**system)
    best = float.fromhex(record["value"]) / (1.0 - 1e-9)
    assert is_accepted(record)
    assert not is_accepted({**record, "value": (best * (1.0 + 1e-9)).hex()})
    assert not is_accepted({**record, "bound": (best * (1.0 - 1e-9)).hex()})


def proofs(padded, rng):
    """Many short proofs."""
    numbers = [[0, 0], [-(2**40), 0], [2**40, 0], [2**44, 0], [2**46, 0], [-(2**46), 0], [2**50, 0]]
    numbers += [] if padded else [[2**44, 2**43], [0, -(2**43)], [2**45, 2**45]]
    splits = [[k, cut] for k in (0, 1) for cut in (0, 1)] + [[-1, 2**n] for n in (40, 43, 45, 46)] + [[-2, 1]]
    yield from ([entry] for entry in numbers)
    for _ in range(150):
        first, *halves = (numbers[i] for i in rng.integers(len(numbers), size=3))
        yield [first + splits[rng.integers(len(splits))], *halves]


@pytest.mark.parametrize("name", SYSTEMS)
def test_no_short_proof_of_a_false_claim_is_accepted(name):
    record = rounds(value=1e-9, **SYSTEMS[name])
    best, padded = float.fromhex(record["bound"]) / (1.0 + 1e-9), record["system"]["padded"]
    for share in (1.0 - 1e-9, 0.97, 0.8):
        claim = {**record, "bound": (best * share).hex()}
        for proof in proofs(padded, np.random.default_rng(0)):
            assert not is_accepted({**claim, "proof": proof}), proof


def table_of(rng, users):
    """A table of small integers, where ties are common, and one of its parts, which may be empty."""
    size, high = (max if rng.random() < 0.3 else sum), rng.integers(0, 3, users)

    def columns(most):
        return [rng.integers(0, most, longest + 1).cumsum().tolist() for longest in high]

    tokens, limit = [rng.integers(a, b, (users, 3)).tolist() for a, b in ((-2, 10), (4, 20))]
    tokens, limit = [[row[: n + 1] for row, n in zip(rows, high, strict=True)] for rows in (tokens, limit)]
    upload = [(rng.integers(0, 3) * np.arange(n + 1)).tolist() for n in high]
    server = rng.integers(0, 4, size(high.tolist()) + 1).cumsum().tolist()
    table = Table(tokens, columns(4), upload, limit if rng.random() < 0.4 else [], server, size)
    low = rng.integers(0, high + 1) * (rng.random() < 0.4)
    first, fewest = int(rng.integers(0, 5)), int(rng.integers(0, len(server)))
    last, most = first + int(rng.integers(-1, 9)), min(fewest + int(rng.integers(-1, 7)), len(server) - 1)
    return table, Part(first, last, tuple(low.tolist()), tuple(rng.integers(low, high + 1).tolist()), fewest, most)


def used(table, lengths, time):
    """Share of the band in use where all are ready at a time; infinite where drafts take longer."""
    pairs = [(table.upload[k][n], time - table.draft[k][n]) for k, n in enumerate(lengths)]
    if any(room < 0 or (room == 0 and upload) for upload, room in pairs):
        return np.inf
    return sum(Fraction(upload, room) for upload, room in pairs if upload)


def soonest_is_below(table, lengths, time):
    """Whether lengths are ready at an earlier time."""
    return used(table, lengths, time) < 1 and all(time > table.draft[k][n] for k, n in enumerate(lengths))


def contradicts(table, part, lengths):
    """Whether lengths are in a part, in time, and have more tokens than duration."""
    x = table.size(lengths)
    inside = all(a <= n <= b for a, n, b in zip(part.low, lengths, part.high, strict=True))
    if not (inside and part.fewest <= x <= part.most and used(table, lengths, part.last) <= 1):
        return False
    server = table.server[x]
    limits = [table.limit[k][n] - server for k, n in enumerate(lengths)] if table.limit else []
    in_time = all(used(table, lengths, limit) <= 1 for limit in limits)
    late = not soonest_is_below(table, lengths, part.first)
    tokens = sum(table.tokens[k][n] for k, n in enumerate(lengths))
    return in_time and late and soonest_is_below(table, lengths, tokens - server)


def formula(table, part, price, slope):  # noqa: C901
    """What the head of the checker says is left of a part, written as there."""
    fewest, most = max(part.fewest, table.size(part.low)), min(part.most, table.size(part.high))
    first, last, users = part.first, part.last, range(len(part.low))
    if first > last or fewest > most:
        return None
    left = [{n for n in range(part.low[k], part.high[k] + 1) if n <= most} for k in users]
    if table.limit:
        server = min(table.server[fewest : most + 1])
        left = [{n for n in left[k] if first + server <= table.limit[k][n]} for k in users]
        last = min([last] + [max(table.limit[k][n] for n in left[k]) - server for k in users if left[k]])
    left = [{n for n in left[k] if table.upload[k][n] <= last - table.draft[k][n]} for k in users]
    if not all(left):
        return None

    def most_tokens(time, fixed=None):
        total = price - min(table.server[x] - slope * x for x in range(fewest, most + 1)) - time
        for k in users:
            gains = []
            for n in [fixed[1]] if fixed and fixed[0] == k else left[k]:
                share = room = Fraction(0)
                if table.upload[k][n] and price:
                    room = Fraction(last - table.draft[k][n])
                    share = table.upload[k][n] / room + (last - time) * table.upload[k][n] / room**2
                gains.append(table.tokens[k][n] - slope * n - floor(price * share))
            total += max(gains)
        return total

    ends = most_tokens(first), most_tokens(last)
    if max(ends) <= 0:
        return None
    kept = [[n for n in left[k] if max(most_tokens(first, (k, n)), most_tokens(last, (k, n))) > 0] for k in users]
    width = last - first
    if ends[1] <= 0:
        last = first + ceil(Fraction(width * ends[0], ends[0] - ends[1]))
    elif ends[0] <= 0:
        first = last - ceil(Fraction(width * ends[1], ends[1] - ends[0]))
    return Part(first, last, tuple(map(min, kept)), tuple(map(max, kept)), fewest, most)


def test_an_entry_leaves_what_the_formula_says_and_all_that_contradicts(monkeypatch):
    monkeypatch.setattr(check, "GRID", 0)
    rng, contradictions = np.random.default_rng(0), 0
    for _ in range(1500):
        table, part = table_of(rng, int(rng.integers(1, 4)))
        price, slope = int(rng.choice([0, 1, 2, 5, 20])), int(rng.integers(-2, 4)) * (table.size is sum)
        left = check.narrowed(table, part, price, slope)
        assert left == formula(table, part, price, slope), (table, part, price, slope)
        for lengths in product(*(range(len(row)) for row in table.tokens)):
            if contradicts(table, part, lengths):
                contradictions += 1
                assert contradicts(table, left, lengths), (table, part, price, slope, lengths)
    assert contradictions > 200


def small():
    """A table of two devices that draft 0 to 2 tokens, and a part of it with latencies of 1 to 5 steps."""
    table = Table([[0] * 3] * 2, [[0] * 3] * 2, [[0] * 3] * 2, [], [0] * 5, sum)
    return table, Part(1 << check.GRID, 5 << check.GRID, (0, 0), (2, 2), 1, 3)


CUTS = {
    (-1, 1): None,
    (-1, 2): ({"last": 2 << check.GRID}, {"first": 2 << check.GRID}),
    (-1, 4): ({"last": 4 << check.GRID}, {"first": 4 << check.GRID}),
    (-1, 5): None,
    (-2, 0): None,
    (-2, 1): ({"most": 1}, {"fewest": 2}),
    (-2, 2): ({"most": 2}, {"fewest": 3}),
    (-2, 3): None,
    (-4, 0): None,
    (0, -1): None,
    (0, 0): ({"high": (0, 2)}, {"low": (1, 0)}),
    (1, 1): ({"high": (2, 1)}, {"low": (0, 2)}),
    (1, 2): None,
    (2, 0): None,
}


@pytest.mark.parametrize("split", CUTS, ids=str)
def test_a_cut_is_inside_its_part(split):
    table, part = small()
    if CUTS[split] is None:
        with pytest.raises(ValueError, match="proof: a cut is not inside its part"):
            check.divided(table, part, *split)
    else:
        assert check.divided(table, part, *split) == [part._replace(**half) for half in CUTS[split]]


def test_at_most_32_decisions_are_listed():
    table, part = small()
    table = table._replace(tokens=[[0] * 17] * 2, draft=[[0] * 17] * 2, upload=[[0] * 17] * 2, server=[1] * 33)
    assert check.divided(table, part._replace(high=(15, 1)), -3) == []
    with pytest.raises(ValueError, match="proof: too many decisions are listed at once"):
        check.divided(table, part._replace(high=(10, 2)), -3)


@pytest.mark.parametrize("upload", [False, True])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_claim_that_is_false_by_less_than_the_unit_is_refused(sign, upload):
    """One decision, whose duration is 2^-190 s from its tokens; the goodput to reach or to exclude is 1 token/s."""
    alpha, times = 1 - Fraction(1, 2**53), []
    rest = sum(alpha**n for n in range(5)) + sign * Fraction(1, 2**190)
    for bits in (48, 100, 152, 204):
        times.append(float(floor(rest * 2**bits) / Fraction(2**bits)))
        rest -= Fraction(times[-1])
    names = ("fixed_time", "round_trip", "draft_time", "bits_per_token") if upload else ("fixed_time", "round_trip")
    system = {"draft_time": 0.0, "bits_per_token": 0.0} | dict(zip(names, times, strict=False))
    system |= {"draft_time": [system["draft_time"] / 4.0], "bits_per_token": system["bits_per_token"] / 4.0}
    numbers = {"spectral_efficiency": [1.0], "acceptance_rate": [float(alpha)], "weights": [1.0], "token_price": [0.0]}
    numbers |= {"head_start": [0.0], "bandwidth": 1.0, "time_per_draft": 0.0, "pieces": [[0.0, 0.0]], **system}
    if not upload:
        numbers["time_per_draft"], numbers["pieces"] = times[2], [[times[3], 0.0]]
    whole = {"num_users": 1, "low": [4], "high": [4], "padded": False, "tpot": None}
    record = {"format": check.FORMAT, "system": {name: texts(item) for name, item in numbers.items()} | whole}
    record |= {"draft_length": [4], "value": texts(1.0 if sign > 0 else 0.5), "bound": texts(1.0 if sign < 0 else 2.0)}
    for proof in ([[0, 0]], [[0, 0, -3]]):
        assert not is_accepted({**record, "proof": proof})


def test_shares_of_listed_decisions_are_rounded_down():
    table = Table([[0, 2], [0, 2]], [[0, 0], [0, 0]], [[0, 1], [0, 2]], [], [1] * 3, sum)
    with pytest.raises(ValueError, match=r"bound: draft lengths \[1, 1\] may exceed it"):
        check.divided(table, Part(0, 9, (1, 1), (1, 1), 0, 2), -3)  # a third and two thirds of the band


def test_a_decision_that_is_ready_in_the_last_moment_counts():
    table = Table([[5, 6]], [[0, 1]], [[0, 2]], [], [5, 3], sum)
    for tokens, reached in ((6, True), (5, False), (4, False)):  # 3, 2 and 1 of latency, 1 of which is for drafting
        assert check.reaches(table._replace(tokens=[[5, tokens]]), (1,), floor) is reached
    assert check.reaches(table, (0,), floor)  # nothing is drafted in no time
    assert not check.reaches(table._replace(tokens=[[4, 6]]), (0,), floor)
    for limit, reached in ((6, True), (5, False)):
        assert check.reaches(table._replace(tokens=[[5, 9]], limit=[[9, limit]]), (1,), floor) is reached


def rates(**changes):
    """Certificate of the rate of three devices, with two states of the channel."""
    system = {"fixed_time": 0.125, "time_per_draft": 0.0625, "round_trip": 0.1, "draft_time": [0.01, 0.3, 0.05]}
    system |= {"acceptance_rate": [0.9, 0.5, 1.0], "token_time": [[0.01, 0.3], [0.02, 0.2], [0.0, 0.1]]}
    system |= {"probability": [[0.5, 0.25], [0.1, 0.9], [0.0, 1.0]]}
    system = {name: texts(value) for name, value in system.items()} | {"num_users": 3, "low": 1, "high": 6, "fewest": 1}
    sets = [{"devices": [0, 1, 2], "time": texts(1.5), "places": texts([0.5, 0.25, 0.01])}]
    sets += [{"devices": [2], "time": texts(0.3), "places": texts([2.0])}]
    prices = {"uplink": texts(3.0), "device": texts([0.7, 0.1, 2.0]), "sets": sets}
    return changed({"format": RATE, "system": system, "prices": prices}, changes)


END, LISTED = [0, 0], [0, 0, -3]
EMPTY = {f"system.{name}": [] for name in (*check.REALS, "low", "high")} | {"draft_length": []}
NO_DEVICES = {f"system.{name}": [] for name, depth in check_rate.SYSTEM.items() if depth}
NO_DEVICES |= {"prices.device": [], "prices.sets": [], "system.num_users": 0}
NO_NUMBERS = 0, 0.5, None, "0.5", "0x1", "-0x1p+0", "0x1p+1000", [NONE], [], HUGE
REFUSED = [
    ("weights", rounds(), {"system.weights": [NONE, NONE]}),
    ("weights", rounds(acceptance_rate=[0.5, 1.5]), {}),
    ("proof: a price < 0", rounds(), {"proof": [[-1, 0, -3]]}),
    ("proof: .* a slope of a padded pass", rounds(padded=True), {"proof": [[0, 1, -3]]}),
    ("proof: entries are left over", rounds(), {"proof": [LISTED, END]}),
    ("proof: parts are left over", rounds(), {"proof": [[0, 0, 0, 1], LISTED]}),
    ("proof: an entry has decisions and no split", rounds(), {"proof": [END]}),
    ("proof: an entry has decisions and no split", rounds(bound=1e6), {"proof": [LISTED]}),
    ("certificate: the fields", rounds() | {"more": 1}, {}),
    ("certificate: the fields", {"format": check.FORMAT}, {}),
    ("certificate: the fields", [], {}),
    ("certificate: the fields", rounds(), {"system": []}),
    ("certificate: the fields", None, {}),
    ("system: the fields", rounds(), {"system.more": 1}),
    ("system: the fields", rounds(), {"system": {}}),
    ("format: ", rounds(), {"format": RATE}),
    ("format: ", rounds(), {"system.padded": 0}),
    *(("proof: an entry is not", rounds(), {"proof": proof}) for proof in (None, {}, [{}], [""], [None], [[0]])),
    *(("proof: an entry is not", rounds(), {"proof": [entry]}) for entry in ([0.0, 0, -3], [False, 0, -3])),
    ("proof: an entry is not", rounds(), {"proof": [[0, 0, 0], LISTED, LISTED]}),
    ("proof: an entry is not", rounds(), {"proof": [[0, 0, 0, 1, 0], LISTED, LISTED]}),
    ("proof: an entry is not", rounds(), {"proof": [[1 << 1023, 0, -3]]}),
    ("num_users: ", rounds(), {"system.weights": [SMALL] * 3}),
    ("num_users: ", rounds(), {"system.num_users": 1}),
    ("num_users: ", rounds(), {"system.num_users": 0, **EMPTY}),
    *(("pieces: ", rounds(), {"system.pieces": pieces}) for pieces in ([], [[NONE]], [[NONE] * 3])),
    ("draft_length: ", rounds(), {"draft_length": [0, 3]}),
    ("draft_length: ", rounds(value=1e-9), {"system.low": [1, 0]}),
    ("bandwidth: ", rounds(), {"system.bandwidth": NONE}),
    ("bandwidth: ", rounds(), {"system.spectral_efficiency.1": NONE}),
    ("bandwidth: ", rounds(), {"value": NONE}),
    *(("low: ", rounds(), {"system.low": low}) for low in (0, [-1, 0], [False, 0], [0.0, 0], [NONE, 0], [[0], 0])),
    *(("round_trip: ", rounds(), {"system.round_trip": item}) for item in NO_NUMBERS),
    ("draft_time: ", rounds(), {"system.draft_time": NONE}),
    ("pieces: ", rounds(), {"system.pieces": [NONE, NONE]}),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_refusals_of_rounds(case):
    message, record, changes = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{message}"):
        check.check(changed(record, changes))


ACCEPTED = [
    rounds(),
    rounds(bound=1e6, proof=[END]),
    rounds(acceptance_rate=[1.0, 0.5]),
    rounds(proof=[[(1 << 1023) - 1, 0, -3]]),
    rounds(proof=[[0, 1, -3]]),
    rounds(proof=[[0, 0, 1, 1], LISTED, LISTED]),
    rounds(proof=[[0, 0, -2, 1], LISTED, LISTED]),
    rounds(low=[0, 1], high=[0, 1], proof=[END]),
]


@pytest.mark.parametrize("case", range(len(ACCEPTED)))
def test_true_claims_are_accepted(case):
    assert is_accepted(ACCEPTED[case])


def test_the_work_is_counted_before_it_begins(monkeypatch):
    def never(*_):
        raise AssertionError

    steps = (1 + 8 * 2 + 200) * (2 * 3 + 2 * 32)
    monkeypatch.setattr(check, "MOST_STEPS", steps)
    assert is_accepted(rounds())
    monkeypatch.setattr(check, "tabulate", never)
    monkeypatch.setattr(check, "MOST_STEPS", steps - 1)
    with pytest.raises(ValueError, match="proof: it would take"):
        check.check(rounds())
    monkeypatch.undo()
    monkeypatch.setattr(check, "tabulate", never)
    for changes in (
        {"proof": [LISTED] * 300_000},
        {"system.pieces": [[NONE, NONE]] * 40_000},
        {"system.high": [199_999, 2]},
        {"system.high": [HUGE, 2]},
    ):
        with pytest.raises(ValueError, match="proof: it would take"):
            check.check(changed(rounds(), changes))


def slow_bound(record):
    """Bound of the docstring in exact numbers."""

    def exact(item):
        if isinstance(item, list):
            return [exact(part) for part in item]
        return Fraction(float.fromhex(item)) if isinstance(item, str) else item

    system, prices = ({name: exact(part) for name, part in record[name].items()} for name in ("system", "prices"))
    sets = [{name: exact(part) for name, part in group.items()} for group in prices["sets"]]
    users = range(system["num_users"])
    inside = [[group for group in sets if k in group["devices"]] for k in users]
    charge = [prices["device"][k] + sum(group["time"] for group in inside[k]) for k in users]

    def profit(k, n, token_time):
        time, w = system["round_trip"] + n * system["draft_time"][k], n * token_time
        tokens = sum(system["acceptance_rate"][k] ** i for i in range(n + 1))
        tokens -= prices["uplink"] * w + prices["device"][k] * (time + w)
        for group in inside[k]:
            ways = [place + group["time"] * j * w for j, place in enumerate(group["places"], 1)]
            tokens -= group["time"] * time + min(ways)
        return tokens

    u = []
    for k in users:
        states = list(zip(system["probability"][k], system["token_time"][k], strict=True))
        lengths = range(system["low"], system["high"] + 1)
        mean = sum(p * max(profit(k, n, time) for n in lengths) for p, time in states)
        u.append(mean / sum(system["probability"][k]))
    server = Fraction(0)
    for n in range(system["fewest"], len(users) + 1):
        time = system["fixed_time"] + n * system["time_per_draft"]
        gains = sorted(u[k] - charge[k] * time for k in users)[len(users) - n :]
        server = max(server, (sum(gains) + sum(sum(group["places"][:n]) for group in sets)) / time)
    return prices["uplink"] + sum(prices["device"]) + sum(g["time"] * len(g["devices"]) for g in sets) + server


@pytest.mark.parametrize("fewest", [1, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prices.sets": []},
        {"prices.uplink": NONE, "prices.device": [NONE] * 3, "prices.sets": []},
        {"prices.device": texts([90.0, 90.0, 90.0])},
        {"system.low": 0},
        {"system.low": 6},
        {"prices.sets.0.places": texts([0.01, 5.0, 0.3])},
        {"system.fixed_time": NONE},
        {"prices.sets": [], "system.acceptance_rate": ["0x1p-200", NONE, NONE]},  # rounded up, as is the mean below
        {
            "prices": {"uplink": texts(1.0), "device": [NONE] * 3, "sets": []},
            "system.acceptance_rate": texts([0.5, 0.5, 1.0]),
            "system.token_time": texts([[0.25, 0.0625]] * 3),
        },
    ],
    ids=str,
)
def test_the_bound_of_rates_is_the_formula_rounded_up(changes, fewest):
    record = rates(**{"system.fewest": fewest, **changes})
    assert 0 <= check_rate.bound(record) - slow_bound(record) < 2.0**-100


RATES_REFUSED = [
    ("certificate: ", {"more": 1}),
    ("certificate: ", None),
    ("format: ", {"format": check.FORMAT}),
    ("system: ", {"system.more": 1}),
    ("system: ", {"system": []}),
    ("prices: ", {"prices": None}),
    ("prices: ", {"prices.more": 1}),
    ("sets: they are not", {"prices.sets": {}}),
    ("sets: the fields", {"prices.sets": [1]}),
    ("sets: the fields", {"prices.sets": [{}]}),
    ("num_users: ", {"system.num_users": 2}),
    ("num_users: ", {"prices.device": [NONE] * 4}),
    ("num_users: ", {"system.draft_time": [NONE] * 2}),
    ("num_users: ", {"system.probability": []}),
    ("num_users: ", NO_DEVICES),
    ("probability: there", {"system.probability.0": [SMALL]}),
    ("probability: all", {"system.probability.0": [NONE, NONE]}),
    ("low: it", {"system.low": 7}),
    ("fewest: ", {"system.fewest": 2}),
    ("fewest: ", {"system.fewest": 0}),
    ("fewest: ", {"system.fewest": 4}),
    ("fixed_time: ", {"system.fixed_time": NONE, "system.time_per_draft": NONE}),
    ("acceptance_rate: ", {"system.acceptance_rate.1": "0x1.0000000000001p+0"}),
    ("sets: not", {"prices.sets.1.devices": [3]}),
    ("sets: not", {"prices.sets.0.devices": [0, 0, 1]}),
    ("sets: not", {"prices.sets.1.places": [NONE, NONE]}),
    ("sets: not", {"prices.sets.1.places": []}),
    *(("low: .* is not", {"system.low": low}) for low in (-1, False, 0.0, NONE, [0])),
    *(("uplink: ", {"prices.uplink": item}) for item in NO_NUMBERS),
    ("device: ", {"prices.device": NONE}),
    ("device: ", {"prices.device": 1}),
    ("token_time: ", {"system.token_time": [NONE] * 3}),
]


@pytest.mark.parametrize("case", range(len(RATES_REFUSED)))
def test_refusals_of_rates(case):
    message, changes = RATES_REFUSED[case]
    with pytest.raises(ValueError, match=f"^{message}"):
        check_rate.bound(None if changes is None else rates(**changes))


def test_the_work_of_rates_is_counted_before_it_begins(monkeypatch):
    steps = 7 * (300 + 2 * (1 + 3) + 2 * (1 + 3) + 2 * (1 + 4)) + 3 * (3 + 4)
    monkeypatch.setattr(check_rate, "MOST_STEPS", steps)
    assert check_rate.bound(rates()) > 0
    monkeypatch.setattr(check_rate, "MOST_STEPS", steps - 1)
    monkeypatch.setattr(check_rate, "earned", None)
    with pytest.raises(ValueError, match="high: it would take"):
        check_rate.bound(rates())
    monkeypatch.undo()
    monkeypatch.setattr(check_rate, "earned", None)
    for changes in ({"system.high": 200_000}, {"system.high": HUGE}):
        with pytest.raises(ValueError, match="high: it would take"):
            check_rate.bound(rates(**changes))


def test_a_claim_on_rounds_names_them():
    """The file of three devices, two of them slow, that named a bound far below the rate of the first alone."""
    system = {"draft_time": texts([0.001, 1.0, 1.0]), "acceptance_rate": texts([0.9, 0.5, 0.5]), "low": 1, "high": 25}
    system |= {"token_time": texts([[0.0001]] * 3), "probability": texts([[1.0]] * 3), "round_trip": NONE}
    system |= {"num_users": 3, "fixed_time": texts(0.01), "time_per_draft": texts(0.001)}
    prices = {"uplink": texts(0.000417), "device": texts([0.0003909, 10.7241141, 10.7241137]), "sets": []}
    claims = [
        check_rate.claim({"format": RATE, "system": system | {"fewest": fewest}, "prices": prices}) for fewest in (1, 3)
    ]
    assert claims[0].startswith("no policy exceeds ")
    assert float(claims[0].split()[3]) > 311.9
    assert claims[1].startswith("no policy whose batches hold at least 3 drafts exceeds ")
