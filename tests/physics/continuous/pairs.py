"""The engine's core and the slow simulator, with the same devices and random numbers."""

import numpy as np

import multispin_env as ms
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from tests.physics.continuous.slow import Device, Slow

LAWS = ("independent", "gauss-markov", "static")
DISCIPLINES = ("serial", "reserved", "shared")


def numbers(rng, normal):
    """One variable after the other, for ever."""
    while True:
        yield rng.standard_normal() if normal else rng.standard_exponential()


class Pair:
    """One copy twice."""

    def __init__(self, scenario, discipline, law, seed=0, drawn=False, held=None):
        self.scenario, self.discipline = scenario, discipline
        self.core = ContinuousCore(ContinuousSystem.of(scenario, law, discipline), 1, drawn=drawn)
        self.core.seed(0, np.random.default_rng(seed))
        users = scenario.num_users
        _, fading, tokens, _ = np.random.default_rng(seed).spawn(4)
        fades = [numbers(rng, law == "gauss-markov") for rng in fading.spawn(users)]
        luck = [numbers(rng, False) if drawn else None for rng in tokens.spawn(users)]
        if held is None:
            self.core.reset()
        else:
            self.core.hold(held)
        mean = self.core.users.mean_gain[0].tolist()
        state = self.core.state[0]
        columns = (state.draft_time.tolist(), mean, state.acceptance_rate.tolist(), fades, luck)
        self.slow = Slow(scenario, discipline, law, [Device(*row) for row in zip(*columns, strict=True)])
        if held is None:
            self.slow.first_gains()
        for device, mean_gain in zip(self.slow.devices, mean, strict=True):
            device.gain = mean_gain if held is not None else device.gain

    def play(self, order):
        """Both play an order (K,), and are compared."""
        first = self.core.step(ms.Order(*(None if x is None else np.asarray(x)[None] for x in fields(order))))[0]
        second = self.slow.play({name: value for name, value in order.items() if value is not None})
        self._compare_passages(first, second)
        self._compare_states()
        return first

    def _compare_passages(self, first, second):
        assert np.flatnonzero(first.verified).tolist() == second.verified
        close(first.tokens, second.tokens)
        close([first.start_delay, first.duration], [second.start, second.duration])
        close(first.air_time, second.air)
        for name in ("drafted_at", "uploaded_at"):
            happened = getattr(second, name)
            close(getattr(first, name)[list(happened)], list(happened.values()))

    def _compare_states(self):
        state, devices, now = self.core.state[0], self.slow.devices, self.slow.now
        assert state.phase.tolist() == [device.phase for device in devices]
        assert state.draft_length.tolist() == [device.length for device in devices]
        close(state.time, now)
        close(state.age, [now - device.began for device in devices])
        busy = state.phase > 0
        close(state.air_left[busy], [device.left for device in devices if device.phase])
        drafting = [max(device.draft_ends - now, 0.0) if device.phase == 1 else 0.0 for device in devices]
        close(state.drafting_left, drafting)
        close(state.spectral_efficiency, [self.slow.efficiency(device) for device in devices])


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def fields(order):
    return [order.get(name) for name in ("draft_length", "join", "priority", "share", "patience", "least_batch", "aim")]


def random_order(scenario, discipline, rng, dyadic=False):
    """What a scheduler could say, and much that none would."""
    users = scenario.num_users
    low, high = scenario.min_draft_length, scenario.max_draft_length
    order = {
        "draft_length": rng.integers(low, rng.integers(low, high, endpoint=True), users, endpoint=True).tolist(),
        "join": rng.choice(3, users, p=rng.dirichlet(np.ones(3))).tolist(),
    }
    order["join"][rng.integers(users)] = int(rng.integers(1, 3))
    if discipline == "serial":
        order["priority"] = rng.integers(0, rng.integers(1, 5), users).astype(float).tolist()
    elif dyadic:
        order["share"] = [2.0 ** -int(np.ceil(np.log2(users)))] * users
    elif rng.random() < 0.8:
        order["share"] = rng.dirichlet(np.ones(users)).tolist()
    if rng.random() < 0.5:
        order["patience"] = rng.integers(8) / 32.0 if dyadic else float(rng.exponential(0.1))
    if rng.random() < 0.5:
        order["least_batch"] = int(rng.integers(1, users, endpoint=True))
    return order
