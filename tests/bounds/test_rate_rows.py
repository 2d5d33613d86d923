"""Rows and variables of the bound against a second program, written one number after the other."""

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from multispin_env.bounds.rate import _add_uploads, add_chains, add_idle, add_skips, add_token_times, make_kinds
from multispin_env.bounds.rate_program import System, add_set, add_times, make_rates

USERS, SIZES, DELAY, REPEATS = range(3), (1, 2, 3), (0.3, 0.42, 0.35), 0.07
LENGTHS, MISS = (1, 2, 4), {1: 0.4, 2: 0.7, 4: 0.9}
PACE, ALPHA = (0.2, 0.5, 0.35), (0.6, 0.8, 0.9)
AIR = ((0.1, 0.4), (0.3, 0.05), (0.2, 30.0))  # the last one is beyond the last knot
SHARE = ((0.25, 0.75), (0.5, 0.5), (0.9, 0.1))
PASS = {1: 1.0, 2: 1.3, 3: 1.9}  # of drafts of the least length
TOKEN = {1: 0.03, 2: 0.01, 3: 0.02}  # for each token more
LINES = {n: ((0.8 * n, 0.02), (0.2 * n, 0.05)) for n in SIZES}
JOBS = [(k, length) for k in USERS for length in LENGTHS]


def system(states=2, hit=False, lines=False, barrier=False):
    air, share = np.array(AIR)[:, :states], np.array(SHARE)
    return System(
        delay=np.repeat(np.array(DELAY)[:, None], len(LENGTHS), 1),
        repeats=np.full(len(LENGTHS), REPEATS),
        draft_time=np.array(PACE),
        token_time=air,
        probability=share if states == 2 else np.ones((3, 1)),
        acceptance_rate=np.array(ALPHA),
        lengths=np.array(LENGTHS),
        tokens=np.array([[gained(k, length) for length in LENGTHS] for k in USERS]),
        verification_time=np.array([[PASS[n] + TOKEN[n] * (length - 1) for length in LENGTHS] for n in SIZES]),
        token_lines=np.array([LINES[n] for n in SIZES]) if lines else np.empty((3, 0, 2)),
        hit=1.0 - np.array([[*MISS.values()]] * 3) if hit else None,
        barrier=barrier,
    )


def gained(k, length):
    return sum(ALPHA[k] ** power for power in range(length + 1))


def upload(k, state, length):
    return AIR[k][state] * length


@dataclass
class Written:
    """Rows Σ amount · variable ≤ or = limit, and bound, gain and group of variables, by name."""

    numbers: dict = field(default_factory=dict)
    known: dict = field(default_factory=dict)
    rows: list = field(default_factory=list)

    def name(self, names, first):
        self.numbers |= {name: first + i for i, name in enumerate(names)}

    def row(self, terms, limit=0.0, equal=False):
        amounts = Counter()
        for name, amount in terms:
            amounts[name] += amount
        self.rows.append((amounts, limit, equal))

    def check(self, program):
        most, gain, group = (np.concatenate(part) for part in (program.most, program.gain, program.group))
        limits, free = np.concatenate(program.limits), np.concatenate(program.free)
        assert sorted(self.numbers.values()) == [*range(len(most))]
        there = np.zeros((len(limits), len(most)))
        for row, variable, value in program.entries:
            np.add.at(there, (row, variable), value)
        there = np.column_stack([there, limits, free])
        for amounts, limit, equal in self.rows:
            line = np.zeros(len(most) + 2)
            line[[self.numbers[name] for name in amounts]] = [*amounts.values()]
            line[-2:] = limit, equal
            same = np.isclose(there, line, rtol=1e-12, atol=1e-12).all(-1)
            assert same.sum() == 1, (amounts, limit, equal)
            there = there[~same]
        assert not len(there)
        groups = {}
        for name, (largest, gains, together) in self.known.items():
            number = self.numbers[name]
            assert (most[number], gain[number]) == pytest.approx((largest, gains), rel=1e-12), name
            groups.setdefault(together, set()).add(group[number])
        assert len(self.known) == len(most)
        assert all(len(numbers) == 1 for numbers in groups.values())
        assert len(groups) == len(set(group.tolist()))


def drafting(k, kind, length):
    return DELAY[k] if kind == "head start" else DELAY[k] + length * PACE[k]


def plain(rates, kinds=("plain",), states=2, barrier=False):
    program = Written()
    cycles = [("x", k, b, kind, length) for k in USERS for b in range(states) for kind in kinds for length in LENGTHS]
    program.name([("z", n) for n in SIZES], rates.batches[0])
    program.name([("y", k, n) for k in USERS for n in SIZES], rates.members[0, 0])
    program.name(cycles, rates.cycles[0, 0, 0, 0])
    for n in SIZES:
        program.known["z", n] = (0.0 if barrier and n < 3 else 1.0 / PASS[n], 0.0, "z")
        program.known |= {("y", k, n): (1.0 / PASS[n], 0.0, ("y", k)) for k in USERS}
        program.row([(("y", k, n), 1.0) for k in USERS] + [(("z", n), -n)], equal=True)
        for k in USERS:
            program.row([(("y", k, n), 1.0), (("z", n), -1.0)])
    seconds = {
        (_, k, b, kind, length): drafting(k, kind, length) + upload(k, b, length) for _, k, b, kind, length in cycles
    }
    for name, time in seconds.items():
        program.known[name] = (1.0 / (time + PASS[1]), gained(name[1], name[-1]), ("x", name[1]))
    program.row([(name, upload(name[1], name[2], name[-1])) for name in cycles], 1.0)
    for k in USERS:
        for b in range(states):
            here = [(name, 1.0) for name in cycles if name[1:3] == (k, b)]
            share = SHARE[k][b] if states == 2 else 1.0
            program.row(here + [(("y", k, n), -share) for n in SIZES], equal=True)
    busy = {k: [(name, time + REPEATS) for name, time in seconds.items() if name[1] == k] for k in USERS}
    return program, cycles, busy


def with_passes(program, busy, server="z", device="y"):
    program.row([((server, n), PASS[n] if server == "z" else 1.0) for n in SIZES], 1.0)
    for k in USERS:
        program.row(busy[k] + [((device, k, n), PASS[n] if device == "y" else 1.0) for n in SIZES], 1.0)


def size_of(rates):
    return sum(map(len, rates.program.most))


def positions(program, cycles, inside, first, wait, wait_time):
    longest = max(upload(k, b, max(LENGTHS)) for k in USERS for b in (0, 1))
    last = min(longest, 2.0 * (PASS[3] + max(DELAY[k] + max(LENGTHS) * PACE[k] for k in USERS)))
    knots = np.array([0.0, *(last * 10.0 ** (-3.0 * (46 - i) / 46) for i in range(47))])
    size, members = len(inside), [name for name in cycles if name[1] in inside]
    uploads = [("v", r, j) for r in range(48) for j in range(1, size + 1)]
    program.name(uploads, first)
    for _, r, j in uploads:
        program.known["v", r, j] = (2.0 / (PASS[1] + knots[r] * j / size), 0.0, ("v", j))
    for j in range(1, size + 1):
        program.row([(("v", r, j), 1.0) for r in range(48)] + [(("z", n), -1.0) for n in SIZES if n >= j])
    for r in range(48):
        shares = [(name, np.interp(upload(name[1], name[2], name[-1]), knots, np.eye(48)[r])) for name in members]
        program.row([*shares, *((("v", r, j), -1.0) for j in range(1, size + 1))])
    terms = [(name, drafting(name[1], name[3], name[-1])) for name in members]
    terms += [(("v", r, j), knots[r] * j) for _, r, j in uploads]
    program.row(terms + [((wait, k, n), wait_time(n)) for k in inside for n in SIZES], float(size))


@pytest.mark.parametrize("barrier", [False, True])
@pytest.mark.parametrize("inside", [(0, 2), (0, 1, 2), (1,)])
def test_server_uplink_devices_batches_and_sets(inside, barrier):
    rates = make_rates(system(barrier=barrier))
    first = size_of(rates)
    add_times(rates)
    row, *_ = add_set(rates, system(), np.isin(USERS, inside))
    assert np.concatenate(rates.program.limits)[row] == len(inside)
    program, cycles, busy = plain(rates, barrier=barrier)
    with_passes(program, busy)
    positions(program, cycles, inside, first, "y", PASS.get)
    program.check(rates.program)


def test_passes_that_take_longer_for_every_token():
    before = make_rates(system(lines=True))
    first = size_of(before)
    rates = add_token_times(before, system(lines=True))
    sets = size_of(rates)
    add_times(rates)
    add_set(rates, system(lines=True), np.array([True, True, False]))
    program, cycles, busy = plain(rates)
    pairs = [(k, n) for k in USERS for n in SIZES]
    names = [("t", n) for n in SIZES] + [(name, *pair) for name in ("s", "q", "Q") for pair in pairs]
    program.name(names, first)
    short, long = min(LENGTHS), max(LENGTHS)
    with_passes(program, busy, "t", "s")
    for n in SIZES:
        program.known["t", n] = (1.0, 0.0, "t")
        for start, slope in LINES[n]:
            program.row([(("z", n), start), (("t", n), -1.0), *((("q", k, n), slope) for k in USERS)])
        program.row([(("q", k, n), float(n)) for k in USERS] + [(("Q", k, n), -1.0) for k in USERS])
    for k, n in pairs:
        program.known["s", k, n] = (1.0, 0.0, ("s", k))
        program.known["q", k, n] = (long / PASS[n], 0.0, ("q", k, n))
        program.known["Q", k, n] = (n * long / PASS[n], 0.0, ("Q", k, n))
        for start, slope in LINES[n]:
            program.row([(("y", k, n), start), (("Q", k, n), slope), (("s", k, n), -1.0)])
        program.row([(("q", k, n), -1.0), (("y", k, n), short)])
        program.row([(("q", k, n), 1.0), (("y", k, n), -long)])
        program.row([(("q", k, n), 1.0), (("y", k, n), (n - 1) * short), (("Q", k, n), -1.0)])
        whole = [(("q", i, n), 1.0) for i in USERS] + [(("z", n), -n * long), (("y", k, n), n * long)]
        program.row([*whole, (("Q", k, n), -1.0)])
    for k in USERS:
        drafted = [(name, name[-1]) for name in cycles if name[1] == k]
        program.row(drafted + [(("q", k, n), -1.0) for n in SIZES])
    positions(program, cycles, (0, 1), sets, "s", lambda _: 1.0)
    program.check(rates.program)


def test_devices_that_draft_ahead():
    ahead = system(hit=True)
    rates = make_rates(ahead, 2)
    first = size_of(rates)
    rows = add_chains(rates, ahead, ahead.hit)
    assert (np.concatenate(rates.program.limits)[rows] == 1.0).all()
    program, cycles, busy = plain(rates, ("none", "head start"))
    program.row([], 1.0)  # of the server
    program.name([("m", k, n) for k in USERS for n in SIZES], first)
    for k in USERS:
        program.row(busy[k], 1.0)
        here = [(name, name[3] == "head start", MISS[name[-1]]) for name in cycles if name[1] == k]
        program.row([(name, begun - (1.0 - miss)) for name, begun, miss in here])
        program.row([(name, miss) for name, _, miss in here] + [(("m", k, n), -1.0) for n in SIZES])
        chain = []
        for name, begun, miss in here:
            token_time = min(TOKEN.values()) * (name[-1] - 1)
            seconds = DELAY[k] + (name[-1] + begun) * PACE[k] + miss * (upload(k, name[2], name[-1]) + token_time)
            chain.append((name, seconds + ((1.0 - miss) - begun) * PASS[1]))
        program.row(chain + [(("m", k, n), PASS[n]) for n in SIZES], 1.0)
        for n in SIZES:
            program.known["m", k, n] = (1.0 / PASS[n], 0.0, ("m", k))
            program.row([(("m", k, n), 1.0), (("y", k, n), -max(MISS.values()))])
            program.row([(("m", k, n), -1.0), (("y", k, n), min(MISS.values()))])
    program.check(rates.program)


KINDS = [((), n) for n in SIZES] + [((n,), n) for n in SIZES] + [((a, b), b) for a in SIZES for b in SIZES] + ["long"]
"""Sizes of the skipped batches, and of the last one before that of the cycle."""


def test_batches_that_devices_skip():
    static = system(states=1)
    kinds = make_kinds(static)
    assert len(kinds.skips) == len(KINDS)
    rates = make_rates(static, len(kinds.skips))
    add_skips(rates, kinds)
    first = size_of(rates)
    slack = add_idle(rates, static, kinds)
    spare = np.maximum(kinds.skipped_time[:, None] - static.drafting[:, 0], 0.0)
    _add_uploads(rates, static, kinds, slack, spare, 1, 0.9)
    program, cycles, busy = plain(rates, KINDS, 1)
    program.row([], 1.0)  # of the server
    program.name([("J", n) for n in SIZES], first)
    program.known |= {("J", n): (3.0, 0.0, ("J", n)) for n in SIZES}
    passes = [(("z", n), PASS[n]) for n in SIZES]
    for k in USERS:
        program.row(busy[k], 1.0)
        here = [(name, name[3], name[-1]) for name in cycles if name[1] == k]
        known = [(name, sizes[0], length) for name, sizes, length in here if sizes != "long"]
        others = [(("z", n), -1.0) for n in SIZES] + [(("y", k, n), 1.0) for n in SIZES]
        program.row([(name, 3.0 if sizes == "long" else len(sizes[0])) for name, sizes, _ in here] + others)
        for n in SIZES:
            program.row([(name, sizes.count(n)) for name, sizes, _ in known] + [(("z", n), -1.0), (("y", k, n), 1.0)])
            program.row([(name, 1.0) for name, sizes, _ in here if sizes == ((), n)] + [(("y", k, n), -1.0)])
        idle = []
        for name, sizes, length in known:
            window = sum(PASS[n] for n in sizes)
            idle.append((name, max(drafting(k, "", length) + upload(k, 0, length) - window, 0.0)))
        program.row(idle + passes, 1.0)
    program.row([(("J", n), 1.0) for n in SIZES] + [(name, 3.0 * time) for name, time in passes], 3.0)
    late = []
    for name in cycles:
        _, k, _, sizes, length = name
        if sizes != "long" and sizes[1] == 2 and sum(PASS[n] for n in sizes[0]) - drafting(k, "", length) <= 0.9:
            late.append((name, upload(k, 0, length)))
    program.row([*late, (("z", 2), -0.9), (("J", 2), -1.0)])
    program.check(rates.program)


def test_many_sizes_are_grouped_into_classes():
    times = np.linspace(1.0, 3.0, 25)
    kinds = make_kinds(replace(system(), draft_time=np.ones(25), verification_time=times[:, None]))
    classes = [np.flatnonzero(sizes).tolist() for sizes in kinds.sizes]
    assert [*itertools.chain(*classes)] == [*range(25)]
    assert {len(group) for group in classes} == {1, 2}
    assert len(classes) == 20
    longest = np.array([times[group[-1]] for group in classes])
    np.testing.assert_array_equal(kinds.skipped_time[20:40], longest)
    for number in (40, 57, 211, 439):
        time = kinds.counts[:, number] @ longest
        assert kinds.skipped_time[number] == pytest.approx(time)
