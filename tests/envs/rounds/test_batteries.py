"""Joules and batteries in rounds, compared with an independent slow simulator."""

from itertools import product

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.rounds import energy as room
from multispin_env.physics.energy import Batteries, BatteryBank
from multispin_env.registry import ENCODINGS
from multispin_env.solver.energy import energy_law
from tests.families import ROUNDS
from tests.reference import equal_latency, expected_tokens

ENERGY = "MultiSpin/Energy-v0"


def vector(num_envs=4, **options):
    return gym.make_vec(ENERGY, num_envs=num_envs, vectorization_mode="vector_entry_point", **options).unwrapped


def bits(scenario):
    return scenario.kept_probabilities * (16 + np.ceil(np.log2(scenario.vocabulary_size)))


@pytest.mark.parametrize("options", [{"battery_rounds": 3.0}, {"budget_time": 9.0}, {"battery_rounds": 1.5}])
def test_rounds_equal_a_slow_simulator(options):
    env = vector(1, action="lengths", scenario="qwen3.5", **options)
    env.reset(seed=1)
    users = env.scenario.num_users
    scenario, law, rng = env.scenario, energy_law(env.scenario), np.random.default_rng(0)
    horizon, time, cut, full = options.get("budget_time", 0.0), 0.0, 0, 0
    battery = (env.state.batteries.level * env.state.batteries.capacity)[0].tolist()
    assert env.state.batteries.level[0] == pytest.approx(1.0 if horizon else 0.5)
    for number in range(60):
        state = env.state[0]
        uploads = [bits(scenario) / (scenario.total_bandwidth * r) for r in state.spectral_efficiency]
        energy = [scenario.draft_energy + scenario.transmit_power * u for u in uploads]
        wanted = rng.integers(0, 26 if number < 30 else 2, users)
        most = [min(25, int(b / e + 1e-9)) for b, e in zip(battery, energy, strict=True)]
        assert state.batteries.affordable.tolist() == most
        action = env.encode_action(ms.Decision(wanted[None], np.full((1, users), scenario.total_bandwidth / users)))
        lengths = [min(n, m) for n, m in zip(wanted.tolist(), most, strict=True)]
        cut += lengths != wanted.tolist()
        _, reward, terminated, _, info = env.step(action)
        duration = equal_latency(lengths, state.draft_time, uploads) + scenario.verification_time
        tokens = [expected_tokens(n, a) for n, a in zip(lengths, state.acceptance_rate, strict=True)]
        joules = [n * e for n, e in zip(lengths, energy, strict=True)]
        left = [b - j + p * duration for b, j, p in zip(battery, joules, state.batteries.charge, strict=True)]
        after = [min(b, c) for b, c in zip(left, state.batteries.capacity, strict=True)]
        full += after != left
        time += duration
        over = bool(horizon) and time >= horizon
        if over:
            after = [0.0] * users
        stored = sum(after) - sum(battery)
        rate = law.rate - law.price * law.power if horizon else law.rate
        assert info["draft_length"][0].tolist() == lengths
        assert info["round_latency"][0] == pytest.approx(duration, rel=1e-12)
        assert info["joules"][0] == pytest.approx(joules, rel=1e-12)
        assert info["joules_per_token"][0] == pytest.approx(sum(joules) / sum(tokens), rel=1e-12)
        assert info["battery"][0] == pytest.approx(after, rel=1e-12, abs=1e-15)
        expected = (sum(tokens) - rate * duration + law.price * stored) / users
        assert reward[0] == pytest.approx(expected, rel=1e-12, abs=1e-15)
        assert terminated[0] == over
        if over:
            break
        battery = after
    assert cut
    assert over if horizon else full


@pytest.mark.parametrize("reward", ["expected", "sampled"])
@pytest.mark.parametrize("env_id", [name for name in ROUNDS if name != "MultiSpin/DraftAhead-v0"])
def test_joules_of_every_environment_of_rounds(env_id, reward):
    env = gym.make_vec(env_id, 3, "vector_entry_point", rounds=9, reward=reward, draft_energy=0.3).unwrapped
    env.reset(seed=0)
    uploads = bits(env.scenario) / (env.scenario.total_bandwidth * env.state.spectral_efficiency)
    *_, info = env.step(env.action_space.sample())
    joules = info["draft_length"] * (0.3 + 0.2 * uploads)
    assert info["joules"] == pytest.approx(joules, rel=1e-12)
    assert info["joules_per_token"] == pytest.approx(joules.sum(-1) / info["accepted_tokens"].sum(-1), rel=1e-12)


@pytest.mark.parametrize("encoding", ENCODINGS.names())
def test_an_empty_battery_drafts_nothing(encoding):
    env = vector(2, action=encoding, battery_rounds=0.1)
    env.reset(seed=0)
    longest = np.full(env.action_space.shape, 5.0, np.float32)
    for _ in range(8):
        *_, info = env.step(longest)
        assert (info["battery"] > -1e-9).all()
    assert (info["draft_length"] == 0).any()
    assert (info["accepted_tokens"][info["draft_length"] == 0] == 1.0).all()


def test_the_regret_is_the_gap_to_the_bound():
    """Regret and reward add up to a maximum that depends on the state alone."""
    env = vector(3, regret=True, action="lengths")
    best = []
    for name in ("drift", "fixed"):
        env.reset(seed=0)
        controller = ms.make_controller(name, env.scenario)
        _, reward, *_, info = env.step(env.encode_action(controller(env.state)))
        assert (info["regret"] > -1e-9).all()
        best.append(info["regret"] + 8.0 * reward)
    assert best[0] == pytest.approx(best[1], rel=1e-9)


@pytest.mark.usefixtures("quick_prices")
@pytest.mark.parametrize("budget", [0.0, 9.0])
def test_the_regret_is_relative_to_the_best_of_all_lengths(budget):
    """A budget counts as charged over its time."""
    env = vector(3, action="lengths", regret=True, num_users=2, max_draft_length=4, budget_time=budget)
    env.reset(seed=0)
    scenario, state, law = env.scenario, env.state, room.energy_law(env.scenario)
    before = state.batteries.level * state.batteries.capacity
    *_, info = env.step(env.action_space.sample())
    uploads = bits(scenario) / (scenario.total_bandwidth * state.spectral_efficiency)
    energy = scenario.draft_energy + scenario.transmit_power * uploads
    power = (state.batteries.capacity / budget if budget else state.batteries.charge).sum(-1)
    stored = (info["battery"] - before).sum(-1) + (budget > 0.0) * power * info["round_latency"]
    earned = info["accepted_tokens"].sum(-1) - law.rate * info["round_latency"] + law.price * stored
    for i, regret in enumerate(info["regret"]):
        values = []
        for lengths in product(range(5), repeat=2):
            time = equal_latency(lengths, state.draft_time[i], uploads[i]) + scenario.verification_time
            tokens = sum(expected_tokens(n, a) for n, a in zip(lengths, state.acceptance_rate[i], strict=True))
            values.append(tokens - law.rate * time + law.price * (power[i] * time - (energy[i] * lengths).sum()))
        assert regret == pytest.approx(max(values) - earned[i], rel=1e-9)
        assert np.ptp(values) > 0.1


def test_devices_that_hardly_draft_have_small_batteries():
    """Of 5 % of the mean energy of a round, or of a token if that is more."""
    scenario = ms.Scenario.preset("qwen3.5", num_users=2, battery_rounds=20, charge_share=0.5, min_draft_length=0)
    devices = np.full(2, scenario.mean_draft_time), np.full(2, 0.5 * (scenario.mean_gain_low + scenario.mean_gain_high))
    for mean, least in ((4.0, 0.05 * 2.0), (0.0, 0.05 * scenario.draft_energy)):
        batteries = Batteries(((mean, 0.0, 0.0), (0.0, 0.0, 0.0)), 0.25)
        capacity, charge = batteries.first(scenario, *devices, np.array([0, 1]))
        assert capacity == pytest.approx(20.0 * np.array([max(mean, least), least]))
        assert charge == pytest.approx(0.5 * capacity / 20.0 / 0.25)


def test_a_battery_that_lacks_only_a_rounding_error_pays_a_token():
    scenario = ms.Scenario.preset("qwen3.5", num_users=3, battery_rounds=20, min_draft_length=0)
    bank, energy = BatteryBank(scenario, Batteries(((1.0, 0.0, 0.0),), 1.0), 1), np.full((1, 3), 0.1)
    bank.joules = 0.1 * np.array([[3.0 * (1.0 - 1e-12), 3.0 * (1.0 - 1e-6), 3.0]])
    assert bank.state(energy).affordable.tolist() == [[3, 2, 3]]


def test_the_greedy_rule_exceeds_the_bound_in_short_episodes():
    """So episodes are long: half-full batteries pay for 64 rounds."""
    env = vector(16, scenario="qwen3.5", action="lengths")
    env.reset(seed=0)
    optimal, tokens, time = ms.make_controller("optimal", env.scenario), 0.0, 0.0
    rates = []
    for number in range(1, 193):
        *_, info = env.step(env.encode_action(optimal(env.state)))
        tokens, time = tokens + info["accepted_tokens"].sum(), time + info["round_latency"].sum()
        if number in (64, 192):
            rates.append(tokens / time / energy_law(env.scenario).rate)
    assert rates[0] > 1.02
    assert rates[1] < 0.99


def test_batteries_need_their_environment():
    with pytest.raises(ValueError, match=r"^battery_rounds: expected 0 in MultiSpin/Fair-v0, got 5; use"):
        EnvConfig.of("MultiSpin/Fair-v0", battery_rounds=5, min_draft_length=0)
    with pytest.raises(ValueError, match=r"^battery_rounds: expected a number > 0 in MultiSpin/Energy-v0, got 0;"):
        gym.make(ENERGY, battery_rounds=0)
    with pytest.raises(ValueError, match=r"^battery_rounds: expected 0, or min_draft_length=0"):
        gym.make(ENERGY, min_draft_length=1)
    controller = ms.make_controller("drift", EnvConfig.of(ENERGY).scenario)
    with pytest.raises(ValueError, match=r"^state: expected levels of batteries"):
        controller(ms.sample_state(controller.scenario, 0))
