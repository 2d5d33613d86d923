"""The core, which simulates no events, against an event simulator; no request is lost."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.workload import ServiceLevel
from multispin_env.scenario import GUESSES
from tests.physics.continuous.pairs import DISCIPLINES, LAWS, Fixed, Pair, random_order

SERVERS = {
    "paper": {},
    "tokens": {"server": "a100-32b"},
    "padded": {"server": "a100-7b-gemm", "padded_verification": True},
    "ids": {"payload": "ids", "round_trip_time": 0.007},
    "delays": {"access_delay": (0.0, 0.04, 0.01, 0.0, 0.1, 0.02)},
    "losses": {"access_delay": 0.01, "upload_loss": 0.4, "repeat_time": 0.02, "round_trip_time": 0.007},
    "context": {"context_time": 3e-5, "context": 700},
    "context and tokens": {"server": "h100-8b", "context_time": 2e-6, "context": 3},
    "context of drafts": {"draft_context_time": 1e-4, "draft_context": 90, "context": 200},
    "fleet": {
        "fleet": (
            ("a", 0.5, 0.01, 0.02, 0.0, 2e-4, 30),
            ("b", 0.3, 0.02, 0.02, 0.0, 5e-5, 0),
            ("c", 0.2, 0.03, 0.04, 1.0),
        )
    },
}


def scenario_of(users, **fields):
    return ms.Scenario.preset("qwen3.5", num_users=users, total_bandwidth=5e6, min_draft_length=0, **fields)


def dyadic(users, rng, round_trip):
    """A scenario and a state whose times are multiples of 2^-20 s, so that their sums are exact."""
    law = {"verification_fixed_time": 1.0 / 32, "verification_time_per_draft": 1.0 / 64, "round_trip_time": round_trip}
    scenario = ms.Scenario.preset("llama2", num_users=users, min_draft_length=0, **law)
    scenario = scenario.replace(total_bandwidth=scenario.bits_per_token * 128.0)
    efficiency = 2.0 ** rng.integers(-1, 3, users)
    return scenario, ms.SystemState(2.0 ** -rng.integers(5, 8, users), efficiency, np.full(users, 0.5))


LEVELS = (
    ServiceLevel(),
    ServiceLevel(ttft=0.4),
    ServiceLevel(ttft=0.6, tpot=0.05),
    ServiceLevel(tpot=0.08),
    ServiceLevel(e2el=0.5, e2el_per_token=0.08),
    ServiceLevel(ttft=1e-9, e2el=1e-9),
)


def gaps(rng, kind, count):
    if kind == "dyadic":
        return rng.integers(0, 2 ** rng.integers(1, 7), count) / 32.0
    if kind == "bursts":
        return rng.exponential(1.0, count) * (rng.random(count) < 0.3)
    if kind == "extreme":
        return rng.exponential(1e4, count) * (rng.random(count) < 0.1)
    return rng.exponential({"dense": 0.03, "sparse": 1.5, "long": 60.0}[kind], count)


def requests_of(rng, users, kind, closed, level, most=40):
    rows = []
    for _ in range(users):
        count = int(rng.integers(0, most))
        output = rng.geometric(1.0 / rng.integers(1, 30), count)
        prompt = rng.integers(0, 400, count) * rng.integers(0, 2, count)
        if kind == "extreme":
            output, prompt = 10 ** rng.integers(0, 7, count), 100_000 * rng.integers(0, 2, count)
        rows.append(list(zip(gaps(rng, kind, count).tolist(), prompt.tolist(), output.tolist(), strict=True)))
    return Fixed(rows, closed, level)


def order_with_drops(pair, rng, dyadic=False):
    """`random_order` with drops that does not wait for requests that never arrive; None if none is left."""
    decision, devices = random_order(pair.scenario, pair.discipline, rng, dyadic), pair.slow.devices
    low, high = pair.scenario.min_draft_length, pair.scenario.max_draft_length
    if dyadic and rng.random() < 0.7:  # coarser times, for more simultaneous events
        decision["draft_length"] = np.maximum(4 * rng.integers(0, 3, len(devices)), low).tolist()
    elif rng.random() < 0.5:  # short drafts, so that many end at one time
        decision["draft_length"] = rng.integers(low, min(low + 3, high), len(devices), endpoint=True).tolist()
    serving = np.array([device.request is not None for device in devices])
    drop = serving & (rng.random(len(devices)) < rng.random()) & (rng.random() < 0.3)
    if drop.any():
        decision["drop"] = drop.tolist()
    more = [len(device.line.waiting) > 0 or len(device.line.rows) > 1 for device in devices]
    active = np.flatnonzero((serving & ~drop) | more)
    if active.size < len(devices):
        decision.setdefault("timeout", 0.0625)
    if active.size == 0:
        return None
    decision["join"][rng.choice(active)] = int(rng.integers(1, 3))
    return decision


def check_accounts(pair, outcomes):
    slow, state = pair.slow, pair.core.state[0]
    if not outcomes:  # no request ever comes
        return 0, 0
    names = ("arrivals", "finished", "dropped")
    arrivals, finished, dropped = (sum(getattr(outcome.served, name) for outcome in outcomes) for name in names)
    assert (arrivals == finished + dropped + (state.demand.output > 0) + state.demand.queue).all()
    requests = [device.line.arrived for device in slow.devices]
    for fate, count in (("finished", finished), ("dropped", dropped)):
        assert count.tolist() == [sum(request.fate == fate for request in device) for device in requests]
    due = [[min(slow.level.first_due(r), slow.level.due(r)) for r in rs if r.fate == "unfinished"] for rs in requests]
    assert pair.core.overdue(state.time[None])[0].tolist() == [sum(time < slow.now for time in times) for times in due]
    tokens = sum(outcome.tokens for outcome in outcomes)
    assert tokens.tolist() == [sum(request.output - request.wanted for request in device) for device in requests]
    air = sum(outcome.air_time.sum() for outcome in outcomes)
    assert air == pytest.approx(slow.air_of_drafts - slow.air_dropped - state.air_left.sum(), rel=1e-9, abs=1e-9)
    busy = sum(outcome.verification_time for outcome in outcomes)
    assert state.time == pytest.approx(busy + sum(outcome.start_delay for outcome in outcomes), rel=1e-12)
    return int(finished.sum()), int(dropped.sum())


def played(pair, rng, steps, dyadic=False, changed=None):
    outcomes = []
    for _ in range(steps):
        if pair.requests is None:
            decision = random_order(pair.scenario, pair.discipline, rng, dyadic) | (changed() if changed else {})
        else:
            decision = order_with_drops(pair, rng, dyadic)
        if decision is None:
            break
        outcomes.append(pair.play(decision))
    return outcomes


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_random_orders(discipline, law):
    rng = np.random.default_rng(1)
    for seed, users in enumerate((1, 5, 20)):
        played(Pair(scenario_of(users), discipline, law, seed, drawn=seed % 2 == 1), rng, 20)
    ended = np.zeros(2, dtype=int)
    kinds = ("dense", "sparse", "bursts", "long", "extreme")
    for seed, users in enumerate((1, 2, 3, 5, 8)):
        for closed in (False, True):
            requests = requests_of(rng, users, kinds[(seed + closed) % 5], closed, LEVELS[seed % 6])
            acceptance = ("by-task", "by-request")[seed // 2 % 2]
            scenario = scenario_of(users, acceptance=acceptance).replace(min_draft_length=seed % 2)
            pair = Pair(scenario, discipline, law, seed, True, requests=requests)
            ended += check_accounts(pair, played(pair, rng, 20))
    assert (ended > 5).all()


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_laws_of_the_server(discipline, server):
    rng = np.random.default_rng(12)
    scenario = scenario_of(6, **SERVERS[server])
    played(Pair(scenario, discipline, "independent", 3), rng, 30)
    for closed in (False, True):
        requests = requests_of(rng, 6, "dense", closed, LEVELS[2], most=120)
        pair = Pair(scenario, discipline, "independent", 3, True, requests=requests)
        finished, dropped = check_accounts(pair, played(pair, rng, 40))
        assert finished > 10
        assert dropped > 3


@pytest.mark.parametrize("guess", GUESSES)
@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_drafting_ahead(discipline, guess):
    rng, seed = np.random.default_rng(7), GUESSES.index(guess)
    hits = misses = 0
    for users in (1, 5, 13):
        seed += 1
        scenario = scenario_of(users, draft_ahead=True, guess=guess, round_trip_time=(seed % 3) * 0.004)
        scenario = scenario.replace(upload_loss=(0.0, 0.3)[seed % 2], repeat_time=0.01)
        for requests in (None, requests_of(rng, users, ("dense", "bursts")[seed % 2], seed % 4 < 2, LEVELS[seed % 5])):
            acceptance = "by-task" if requests is None else "by-request"
            drawn = requests is not None or seed % 2 == 0
            served = scenario.replace(acceptance=acceptance)
            pair = Pair(served, discipline, LAWS[seed % 3], seed, drawn, requests=requests)
            for _ in range(20):
                short = {"draft_length": rng.integers(0, 5, users).tolist()}  # many are accepted whole
                if not (outcome := played(pair, rng, 1, changed=lambda short=short: short)):
                    break
                head_start = pair.core.state.head_start[0]
                hits += (head_start > 0.0).sum()
                misses += (outcome[0].verified & (head_start == 0.0)).sum()
    assert min(hits, misses) > 20


def exact_pair(discipline, scenario, held, requests=None):
    """Pair with exactly the channels of ``held``; a logarithm would round them."""
    pair = Pair(scenario, discipline, "static", 0, requests is not None, held[None], requests)
    for device, efficiency in zip(pair.slow.devices, held.spectral_efficiency.tolist(), strict=True):
        device.gain = efficiency
    pair.slow.efficiency = lambda device: device.gain
    return pair


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_simultaneous_events(discipline, equal):
    """All times are multiples of a short time, so that many events happen at one instant."""
    rng = np.random.default_rng(4)
    most = 2 if discipline == "shared" else 9  # thirds of a band are not exact
    for seed in range(6):
        scenario, held = dyadic(1 + seed % most, rng, (seed % 3) / 64.0)
        held = held[np.zeros(scenario.num_users, dtype=int)] if equal else held
        scenario = scenario.replace(upload_loss=(0.0, 0.5)[seed % 2], repeat_time=1.0 / 32)
        alike = {"draft_length": [4] * scenario.num_users}
        pair = exact_pair(discipline, scenario, held)
        played(pair, rng, 30, True, lambda alike=alike: alike if equal and rng.random() < 0.7 else {})
    single = ms.sample_state(scenario_of(7), rng, 1)  # equal devices, and times that are not exact
    pair = Pair(scenario_of(7), discipline, "static", held=single[:, np.zeros(7, dtype=int)])
    for _ in range(20):
        pair.play({"draft_length": [6] * 7, "join": [2] * 7})


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_requests_at_one_instant(discipline, closed):
    rng = np.random.default_rng(13)
    most = 2 if discipline == "shared" else 9
    at_ends = from_idle = read = 0
    for seed in range(9):
        scenario, held = dyadic(1 + seed % most, rng, (seed % 3) / 64.0)
        scenario = scenario.replace(access_delay=1.0 / 64, upload_loss=(0.0, 0.5)[seed % 3 // 2], repeat_time=1.0 / 32)
        if seed % 2:
            scenario = scenario.replace(verification_pieces=((0.0, 2.0**-12), (2.0**-6, 2.0**-14)))
        scenario = scenario.replace(prompt_rate=128.0 * (seed % 4), min_draft_length=seed // 4 % 2)
        level = ServiceLevel(ttft=0.25, tpot=1.0 / 16) if seed % 4 < 2 else ServiceLevel(e2el=0.5, e2el_per_token=1 / 8)
        pair = exact_pair(discipline, scenario, held, requests_of(rng, scenario.num_users, "dyadic", closed, level))
        outcomes = []
        for _ in range(40):
            idle = pair.core.state.phase == ms.physics.Phase.IDLE
            outcomes += played(pair, rng, 1, dyadic=True)
            arrived = [request.arrived for device in pair.slow.devices for request in device.line.arrived]
            at_ends += arrived.count(pair.slow.now)
            from_idle += (idle & (pair.core.state.phase == ms.physics.Phase.FREE)).sum()
            for device in pair.slow.devices:
                read += device.request is not None and device.request.prompt > 0 and device.read_ends == pair.slow.now
        check_accounts(pair, outcomes)
    assert min(at_ends, from_idle, read) > 1
