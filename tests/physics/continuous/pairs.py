"""The core and the slow simulator, with the same devices and random numbers."""

import itertools
import math
import pickle
from dataclasses import astuple, dataclass, fields

import numpy as np

import multispin_env as ms
from multispin_env.physics.arrivals import Arriving
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.workload import ServiceLevel
from multispin_env.registry import ACCEPTANCES
from tests.alike import equal
from tests.physics.continuous.slow import DRAFTING, FREE, IDLE, READY, REPEATING, UPLOADING, Device, Slow

LAWS = ("independent", "gauss-markov", "static")
DISCIPLINES = ("serial", "reserved", "shared")


def numbers(rng, normal):
    while True:
        yield rng.standard_normal() if normal else rng.standard_exponential()


def seconds_of_repetitions(scenario, rng):
    while True:  # one uniform variable for each cycle: G is the largest j with 1 − u ≤ p^j
        missing, count = 1.0 - rng.random(), 0
        while missing <= scenario.upload_loss ** (count + 1):
            count += 1
        yield count * scenario.repeat_time


NEVER = (1e9, 0, 1)  # The row after the last row of a list


@dataclass(frozen=True)
class Fixed:
    rows: list
    closed: bool
    level: ServiceLevel

    def open(self, rng, num_users):
        assert len(self.rows) == num_users
        position = 0

        def source(count):
            nonlocal position
            rows = [[(device[position:] + [NEVER] * count)[i] for device in self.rows] for i in range(count)]
            position += count
            gap, prompt, output = (np.array(rows)[..., column] for column in range(3))
            return Arriving(gap, prompt.astype(np.int64), output.astype(np.int64))

        return source


class Pair:
    """One system simulated twice; ``requests`` are a `Fixed`, or None for endless requests."""

    def __init__(self, scenario, discipline, law, seed=0, drawn=False, held=None, requests=None):
        self.scenario, self.discipline, self.requests = scenario, discipline, requests
        system = ContinuousSystem.of(scenario.replace(channel=law), discipline, workload=requests)
        self.core = ContinuousCore(system, 1, drawn=drawn)
        self.core.seed(0, np.random.default_rng(seed))
        users = scenario.num_users
        _, fading, tokens, renewals, _, losses = np.random.default_rng(seed).spawn(6)
        fades = [numbers(rng, law == "gauss-markov") for rng in fading.spawn(users)]
        draws = drawn or scenario.draft_ahead
        noise = [numbers(rng, False) if draws else None for rng in tokens.spawn(users)]
        _ = self.core.reset() if held is None else self.core.hold(held)
        mean = self.core.users.mean_gain[0].tolist()
        state = self.core.state[0]
        columns = (state.draft_time.tolist(), mean, state.acceptance_rate.tolist(), fades, noise, [not drawn] * users)
        self.slow = Slow(scenario, discipline, law, [Device(*row) for row in zip(*columns, strict=True)])
        for device, delay, rng in zip(
            self.slow.devices, np.broadcast_to(scenario.access_delay or 0.0, users), losses.spawn(users), strict=True
        ):
            device.delay = float(delay)
            if scenario.upload_loss:
                device.repeats = seconds_of_repetitions(scenario, rng)
                device.repeated = next(device.repeats)
            device.gain = self.slow.fresh_gain(device) if held is None else device.mean_gain
        self._grow()
        if requests is not None:
            for device, task, rng in zip(
                self.slow.devices, self.core.users.task[0], renewals.spawn(users), strict=True
            ):
                device.rates = acceptance_rates(scenario, task, rng)
                assert not device.rates or next(device.rates) == device.acceptance  # drawn by the reset
            self.slow.serve([[*rows, NEVER] for rows in requests.rows], requests.closed, astuple(requests.level))
        self._numbers = []  # pairs of arrays that are to be close
        if held is None:
            self._compare_states()
            self._check_close()

    def _grow(self):
        """Take draft times, their growth and rates of reading from the fields of the scenario."""
        scenario, rows = self.scenario, self.core.users.fleet_row
        for k, device in enumerate(self.slow.devices):
            rate = 0.0
            if scenario.fleet:
                row = scenario.fleet[int(rows[0, k])]
                _, _, device.measured, _, _, added, most, rate = row + (0.0,) * (8 - len(row))
            else:  # all grow by the same share
                share, most = scenario.draft_context_time / scenario.mean_draft_time, scenario.draft_context
                device.measured = device.draft_time / (1.0 + share * max(scenario.context - most, 0))
                added = share * device.measured
            device.growth, device.reads = (added, most), rate or scenario.prompt_rate or math.inf

    def play(self, decision):
        second = self.slow.play({name: value for name, value in decision.items() if value is not None})
        assert self.slow.now < NEVER[0]
        before, stored = self.core.state, pickle.dumps(self.core.state)
        first = self.core.step(joined([decision]))[0]
        assert pickle.dumps(before) == stored  # old states do not change
        assert (first.uploaded_at >= first.drafted_at).all()
        self._compare_passages(first, second)
        self._compare_states()
        self._check_close()
        return first

    def _by_device(self, values):
        return [values.get(k, 0) for k in range(self.scenario.num_users)]

    def _close(self, ours, theirs):
        ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
        assert ours.shape == theirs.shape
        self._numbers.append((ours, theirs))

    def _check_close(self):
        # to 1e-12, relative to the clock for times, which are differences; all at once, as each check takes 20 us
        ours, theirs = (
            np.concatenate([array.ravel() for array in arrays]) for arrays in zip(*self._numbers, strict=True)
        )
        self._numbers.clear()
        with np.errstate(invalid="ignore"):  # inf − inf
            near = np.abs(ours - theirs) <= 1e-12 * (np.abs(theirs) + max(1.0, self.slow.now))
        wrong = ~((ours == theirs) | near)
        assert not wrong.any(), f"{ours[wrong]} against {theirs[wrong]}"

    def _compare_passages(self, first, second):
        close = self._close
        assert (np.flatnonzero(first.verified).tolist(), first.batch_size) == (second.verified, len(second.verified))
        assert first.draft_length.tolist() == self._by_device(second.lengths)
        close(first.tokens, second.tokens)
        close([first.start_delay, first.duration], [second.start, second.duration])
        close(first.verification_time, second.duration - second.start)
        close(first.air_time, second.air)
        if self.scenario.draft_ahead:
            close(first.head_start, self._by_device(second.head_start))
            close(first.drafted_ahead, self._by_device(second.chain))
            going_on = {k: hit and k not in second.served.finished for k, hit in second.hit.items()}
            assert first.hit.tolist() == self._by_device(going_on)
        without_draft = [k for k, device in enumerate(self.slow.devices) if device.phase in (FREE, IDLE)]
        absent = [k for k in without_draft if k not in second.verified]
        for name in ("drafted_at", "uploaded_at"):
            happened = getattr(second, name)
            close(getattr(first, name)[list(happened)], list(happened.values()))
            assert not getattr(first, name)[absent].any(), name
        if self.requests is None:
            same(first.served, ms.physics.Served.nothing((1, self.scenario.num_users))[0])
        else:
            self._compare_served(first.served, second.served)

    def _compare_served(self, first, second):
        of, finished = self._by_device, second.finished
        assert first.arrivals.tolist() == of(second.arrivals)
        assert np.flatnonzero(first.dropped).tolist() == sorted(second.dropped)
        assert np.flatnonzero(first.finished).tolist() == sorted(finished)
        assert first.in_time.tolist() == of({k: self.slow.level.met(request) for k, request in finished.items()})
        self._close(first.dropped_after, of(second.dropped))
        self._close(first.gap, of(second.gaps))
        for name in ("output", "ttft", "tpot", "e2el"):
            self._close(getattr(first, name), of({k: getattr(request, name) for k, request in finished.items()}))

    def _compare_states(self):
        state, devices, now, close = self.core.state[0], self.slow.devices, self.slow.now, self._close
        at_work = [device.phase in (DRAFTING, UPLOADING, REPEATING, READY) for device in devices]
        phases = [UPLOADING if device.phase == REPEATING else device.phase for device in devices]
        assert state.phase.tolist() == phases
        assert state.draft_length.tolist() == [device.length for device in devices]
        assert state.batch == self.slow.batch
        assert state.aim[at_work].tolist() == [device.aim for device in devices if device.phase not in (FREE, IDLE)]
        close(state.time, now)
        close(state.age, [now - device.began if device.phase != IDLE else 0.0 for device in devices])
        close(state.air_left[state.phase != FREE], [device.left for device in devices if device.phase != FREE])
        drafting = [max(device.draft_ends - now, 0.0) if device.phase == DRAFTING else 0.0 for device in devices]
        close(state.drafting_left, drafting)
        close(state.draft_time, [self.slow.draft_time(device) for device in devices])
        close(state.spectral_efficiency, [self.slow.efficiency(device) for device in devices])
        close(state.acceptance_rate, [device.acceptance for device in devices])
        close(state.head_start, [device.head_start for device in devices])
        if state.reading_left is not None:
            reading = [max(device.read_ends - now, 0.0) if device.request else 0.0 for device in devices]
            close(state.reading_left, reading)
        if self.requests is None:
            same(state.demand, ms.physics.Demand.endless((1, self.scenario.num_users))[0])
        else:
            self._compare_demands(state.demand)

    def _compare_demands(self, demand):
        requests, level = [device.request for device in self.slow.devices], self.slow.level
        drafts = self.slow.outcome.served.drafts
        counts = [(r.wanted, r.output, r.prompt if r.first is None else 0) if r else (0, 0, 0) for r in requests]
        assert np.stack([demand.wanted, demand.output, demand.prompt], -1).tolist() == list(map(list, counts))
        assert demand.queue.tolist() == [len(device.line.waiting) for device in self.slow.devices]
        assert demand.drafted.tolist() == self._by_device({k: length for k, (length, _) in drafts.items()})
        assert demand.accepted.tolist() == self._by_device({k: accepted for k, (_, accepted) in drafts.items()})
        self._close(demand.arrived, [r.arrived if r else 0.0 for r in requests])
        self._close(demand.first_due, [level.first_due(r) if r else math.inf for r in requests])
        self._close(demand.due, [level.due(r) if r else math.inf for r in requests])


def same(first, second):
    assert all(equal(getattr(first, field.name), getattr(second, field.name)) for field in fields(first))


def acceptance_rates(scenario, task, rng):
    acceptance = ACCEPTANCES.load(scenario.acceptance)
    if not acceptance.columns:
        return None
    draws = (rng.random((acceptance.columns, 1)) for _ in itertools.count())
    return (float(acceptance.first(scenario, np.array([task]), fresh).rate[0]) for fresh in draws)


def joined(dictionaries):
    """Decision (n, K) of several as `random_order` returns, with the fields that all of them have."""
    rows = {field.name: [d.get(field.name) for d in dictionaries] for field in fields(ms.ContinuousDecision)}
    return ms.ContinuousDecision(**{name: None if None in row else np.asarray(row) for name, row in rows.items()})


def random_order(scenario, discipline, rng, dyadic=False):
    users = scenario.num_users
    low, high = scenario.min_draft_length, scenario.max_draft_length
    decision = {
        "draft_length": rng.integers(low, rng.integers(low, high, endpoint=True), users, endpoint=True).tolist(),
        "join": rng.choice(3, users, p=rng.dirichlet(np.ones(3))).tolist(),
    }
    decision["join"][rng.integers(users)] = int(rng.integers(1, 3))
    if discipline == "serial":
        decision["priority"] = rng.integers(0, rng.integers(1, 5), users).astype(float).tolist()
    elif dyadic:
        decision["share"] = [2.0 ** -int(np.ceil(np.log2(users)))] * users
    elif rng.random() < 0.8:
        decision["share"] = rng.dirichlet(np.ones(users)).tolist()
    if rng.random() < 0.5:
        decision["timeout"] = rng.integers(8) / 32.0 if dyadic else float(rng.exponential(0.1))
    if rng.random() < 0.2:
        decision["aim"] = rng.integers(0, 100, users).tolist()
    if rng.random() < 0.5:
        decision["least_batch"] = int(rng.integers(1, users, endpoint=True))
    return decision
