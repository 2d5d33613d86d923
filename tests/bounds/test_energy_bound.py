"""The bound with batteries, compared with brute force, and rules below it."""

from itertools import combinations, product

import numpy as np
import pytest
from scipy.optimize import brentq

import multispin_env as ms
from multispin_env.solver import energy
from multispin_env.solver.energy import DEFAULTS, EnergySample, energy_law

SMALL = {**DEFAULTS, "num_users": 2, "max_draft_length": 4}


SERVERS = {
    "constant": {},
    "tokens": {"server": "a100-32b", "payload": "ids"},
    "padded": {"server": "a100-32b", "padded_verification": True},
    "roofline": {"verification_pieces": ((0.05, 0.0), (0.0, 0.01))},
}


@pytest.mark.parametrize(("price", "server"), [(0.0, "constant"), *product([3.0], SERVERS), (7.0, "tokens")])
def test_the_bound_is_that_of_all_decisions(price, server):
    scenario = ms.Scenario.preset("qwen3.5", **SMALL, **SERVERS[server])
    state = ms.sample_state(scenario, 0, 30)
    sample = EnergySample(scenario, state, np.full(30, 2.0))
    every = [sample.played(np.broadcast_to(lengths, (30, 2))) for lengths in product(range(5), repeat=2)]
    tokens, joules, time = (np.stack([getattr(each, name) for each in every]) for name in ("tokens", "joules", "time"))

    def mean_of_largest(rate):
        return (tokens - price * joules + (2.0 * price - rate) * time).max(0).mean()

    bound = sample.bound(price, 50.0, proven=True)
    assert bound.rate == pytest.approx(brentq(mean_of_largest, 1.0, 1e3, xtol=1e-12), rel=1e-6)
    step = 1e-4
    slope = (sample.bound(price + step, 50.0, proven=True).rate - bound.rate) / step
    assert slope == pytest.approx(bound.slope, rel=0.02, abs=0.02)


def test_the_stored_price_is_about_the_best():
    scenario = ms.Scenario.preset("qwen3.5", **DEFAULTS)
    law = energy_law(scenario)
    best, *others = (ms.energy_bound(scenario, factor * law.price, size=100) for factor in (1.0, 0.8, 1.2))
    assert best.rate == pytest.approx(law.rate, abs=4.0 * best.error)
    assert all(other.rate > best.rate for other in others)
    assert law.rate < 0.75 * ms.energy_bound(scenario, 0.0, size=100).rate


@pytest.mark.parametrize("system", [("qwen3.5", 1, 0.8, 0.5), ("llama2", 2, 0.9, 0.3)])
def test_no_rule_exceeds_the_bound_and_one_reaches_it(system):
    """With equal devices and one acceptance rate only channels are random, so that 0.3 % is more than the noise."""
    preset, users, acceptance_rate, charge_share = system
    task = ms.Task(name="task", acceptance_rate=acceptance_rate)
    same = {"draft_time_spread": 0.0, "mean_gain_low": 0.4, "mean_gain_high": 0.4, "tasks": (task,)}
    options = {
        "num_users": users,
        "max_draft_length": 12,
        "acceptance": "by-task",
        "charge_share": charge_share,
        **same,
    }
    config = ms.EnvConfig.of("MultiSpin/Energy-v0", preset, action="lengths", **options)
    bound = ms.energy_bound(config.scenario, size=400, rng=1)
    shares = {}
    for name in ("drift", "energy-prices"):
        env = config.make_vec(16).unwrapped
        env.reset(seed=0)
        controller, battery = config.contender(name), env.state.batteries.level * env.state.batteries.capacity
        tokens = time = 0.0
        for _ in range(40):
            *_, info = env.step(env.encode_action(controller(env.state)))
            tokens, time = tokens + info["accepted_tokens"].sum(), time + info["round_latency"].sum()
        saved = (info["battery"] - battery).sum()
        shares[name] = (tokens + bound.price * saved) / time / bound.rate
    assert max(shares.values()) < 1.003
    assert shares["energy-prices"] > 0.997
    assert bound.error < 0.001 * bound.rate


def test_a_proof_does_not_rely_on_the_fast_rule(monkeypatch):
    scenario = ms.Scenario.preset("qwen3.5", **SMALL)
    sample = EnergySample(scenario, ms.sample_state(scenario, 0, 30), np.full(30, 2.0))
    bound, public = sample.bound(3.0, 50.0, proven=True), ms.energy_bound(scenario, 3.0, size=30)
    monkeypatch.setattr(energy, "priced_lengths", lambda scenario, priced, time_price: priced.low)
    assert sample.bound(3.0, 50.0).rate < 0.9 * bound.rate
    assert sample.bound(3.0, 50.0, proven=True).rate == pytest.approx(bound.rate, rel=1e-6)
    assert ms.energy_bound(scenario, 3.0, size=30).rate == pytest.approx(public.rate, rel=1e-6)


HORIZON = 60.0


def one_device():
    """A device whose draft time differs by a factor of 39 from set to set, with a budget; nothing changes over time."""
    task = ms.Task(name="task", acceptance_rate=0.9)
    options = {"num_users": 1, "channel": "static", "acceptance": "by-task", "max_draft_length": 4, "tasks": (task,)}
    times = {"mean_draft_time": 0.02, "draft_time_spread": 0.95, "budget_time": HORIZON, "charge_share": 1.0}
    return ms.EnvConfig.of("MultiSpin/Energy-v0", "qwen3.5", action="lengths", rounds=10**5, **options, **times)


def exact_mixes(sample):
    """Rate (n,) of the best policy of each set with one device, and the two lengths and the part of the first in it."""
    rounds = [sample.played(np.full((len(sample.charge), 1), length)) for length in range(5)]
    tokens, joules, time = (np.stack([getattr(each, name) for each in rounds]) for name in ("tokens", "joules", "time"))
    lack = joules - sample.charge * time
    best, mix = np.zeros(len(sample.charge)), np.zeros((3, len(sample.charge)))
    for first, second in [*((length, length) for length in range(5)), *combinations(range(5), 2)]:
        apart = lack[first] - lack[second]
        part = np.where(apart != 0.0, -lack[second] / np.where(apart != 0.0, apart, 1.0), 1.0)
        part = np.clip(part, 0.0, 1.0)
        (n, j, t) = (part * each[first] + (1.0 - part) * each[second] for each in (tokens, joules, time))
        better = (j - sample.charge * t <= 1e-9) & (n / t > best)
        best, mix = (
            np.where(better, n / t, best),
            np.where(better, np.array([first + 0.0 * t, second + 0.0 * t, part]), mix),
        )
    return best, mix


def test_with_a_budget_the_bound_is_the_mean_over_sets_of_devices():
    config = one_device()
    sample = EnergySample.draw(config.scenario, energy_law(config.scenario).batteries, np.random.default_rng(0), 300)
    best, _ = exact_mixes(sample)
    bound = ms.energy_bound(config.scenario, size=300, rng=0)
    joint = EnergySample(config.scenario, sample.state, sample.charge).bound(bound.price, bound.rate, proven=True)
    assert joint.rate < 0.995 * best.mean() < best.mean() <= bound.rate < 1.05 * best.mean()
    assert bound.error == pytest.approx(best.std() / 300**0.5, rel=0.2)


def test_a_set_of_devices_that_changes_has_many_states():
    scenario = ms.Scenario.preset("qwen3.5", **SMALL, budget_time=100.0)
    law, rng = energy_law(scenario), np.random.default_rng(0)
    sample = EnergySample.draw(scenario, law.batteries, rng, 1 + 2 * 64)
    assert sample.sets == 3
    for constant in (sample.state.draft_time, sample.charge):
        assert (np.ptp(constant.reshape(3, 64, -1), axis=1) == 0.0).all()
        assert len(np.unique(constant)) == 3 * np.size(constant[0])
    for random in (sample.state.spectral_efficiency, sample.state.acceptance_rate):
        assert len(np.unique(random)) == 3 * 64 * 2
    each = [EnergySample(scenario, sample.state[i : i + 64], sample.charge[i : i + 64]) for i in (0, 64, 128)]
    rates = [part.bound(3.0, law.rate).rate for part in each]
    assert sample.bound(3.0, law.rate).rate == pytest.approx(np.mean(rates), rel=1e-6)


def test_a_budget_is_played_below_the_bound():
    config, sets = one_device(), 256
    env = config.make_vec(sets).unwrapped
    env.reset(seed=0)
    state = ms.SystemState(env.state.draft_time, env.state.spectral_efficiency, env.state.acceptance_rate)
    sample = EnergySample(config.scenario, state, (env.state.batteries.capacity / HORIZON).sum(-1), sets)
    best, (first, second, part) = exact_mixes(sample)
    bound = sample.bound(energy_law(config.scenario).price, 20.0, proven=True).rate
    tokens, debt, playing = np.zeros(sets), np.zeros(sets), np.ones(sets, dtype=bool)
    while playing.any():
        debt += part  # rounds of the first length that are due
        length = np.where(debt >= 1.0, first, second).astype(np.int64)
        debt -= debt >= 1.0
        length = np.minimum(length[:, None], env.state.batteries.affordable)
        decision = ms.Decision(length, np.full((sets, 1), config.scenario.total_bandwidth))
        *_, ended, _, info = env.step(env.encode_action(decision))
        tokens += playing * info["accepted_tokens"].sum(-1)
        playing &= ~ended
    played = (tokens / HORIZON).mean()
    assert played == pytest.approx(best.mean(), rel=0.01)
    assert played < bound


def test_bad_arguments():
    scenario = ms.Scenario.preset("qwen3.5", **DEFAULTS)
    with pytest.raises(ValueError, match=r"^battery_rounds: expected a number > 0, got 0; use battery_rounds=20"):
        ms.energy_bound(scenario.replace(battery_rounds=0.0))
    with pytest.raises(ValueError, match=r"^size: expected an integer .*2.*, got 1$"):
        ms.energy_bound(scenario, size=1)
    for price in (-1.0, 20.0):  # with 20 tokens/J a longer round, which charges more, would pay for itself
        with pytest.raises(ValueError, match=r"^price: expected a finite number in \[0, 10\.\d+\), got"):
            ms.energy_bound(scenario, price, size=50)


def test_a_price_at_which_long_rounds_pay_for_themselves_is_lowered():
    scenario = ms.Scenario.preset("qwen3.5", **DEFAULTS).replace(num_users=1, draft_time_spread=0.9, charge_share=0.3)
    price = energy_law(scenario).price
    with pytest.raises(ValueError, match=r"^price: expected a finite number"):
        ms.energy_bound(scenario, price, size=500)
    free, bound = (ms.energy_bound(scenario, price, size=500) for price in (0.0, None))
    assert 0.8 * price < bound.price < price
    assert bound.rate < 0.9 * free.rate
