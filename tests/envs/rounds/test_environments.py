from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.rounds.known import Heterogeneous
from multispin_env.evaluation.cases import Episodes, StateCases, cases_of
from tests.alike import equal

HIDDEN, RECORDED = "MultiSpin/HiddenAcceptance-v0", "MultiSpin/RecordedAcceptance-v0"
DELAYED, FAIR, PLAIN = "MultiSpin/DelayedChannel-v0", "MultiSpin/Fair-v0", "MultiSpin/Heterogeneous-v0"
TASKS = tuple(ms.Task(name=str(number), acceptance_rate=0.6 + 0.1 * number) for number in range(4))

with_hidden_rates = pytest.mark.parametrize("env_id", [HIDDEN, RECORDED])


def make(env_id=HIDDEN, num_envs=20, **options):
    env = gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", num_users=5, **options)
    return env.unwrapped


def play(env, controller, rounds=64, seed=0):
    """Mean goodput of each environment under a controller that knows the state."""
    env.reset(seed=seed)
    goodput = [env.step(env.encode_action(controller(env.state)))[-1]["goodput"] for _ in range(rounds)]
    return np.mean(goodput, axis=0)


@pytest.mark.parametrize("mean_rounds", [4.0, np.inf])
@with_hidden_rates
def test_counts_are_those_of_an_independent_count(env_id, mean_rounds):
    env = make(env_id, history=True, privileged=True, mean_rounds=mean_rounds)
    shown = env.decode_observation(env.reset(seed=0)[0])
    assert not any(getattr(shown, name).any() for name in ("drafted", "accepted", "age", "hits", "misses"))
    assert shown.acceptance_rate is None
    counts = {name: np.zeros((20, 5), int) for name in ("age", "hits", "misses")}
    rng, ended = np.random.default_rng(0), 0
    for _ in range(60):
        rate = env.state.acceptance_rate
        observation, _, _, truncated, info = env.step(rng.uniform(-5.0, 5.0, (20, 5, 2)).astype(np.float32))
        assert not truncated.any()
        shown = env.decode_observation(observation)
        assert (info["acceptance_rate"] == rate).all()
        assert (shown.drafted == info["draft_length"]).all()
        assert (shown.accepted == info["accepted_tokens"] - 1).all()
        new = shown.age == 0
        ended += new.sum()
        gains = 1, shown.accepted, shown.accepted < shown.drafted
        for (name, count), gain in zip(counts.items(), gains, strict=True):
            count[...] = np.where(new, 0, count + gain)
            assert (getattr(shown, name) == count).all()
        assert (env.state.acceptance_rate[~new] == rate[~new]).all()
    assert ended / (60 * 100) == pytest.approx(1 / mean_rounds, abs=0.03)


@pytest.mark.parametrize(("env_id", "pair"), [(HIDDEN, ({}, {"tasks": TASKS})), (RECORDED, ({"half": 0}, {"half": 1}))])
def test_rates_are_hidden(env_id, pair):
    """Environments with other rates have the same observations, until they accept other tokens."""
    envs = [make(env_id, **options) for options in pair]
    (before, info), (other_before, _) = (env.reset(seed=0) for env in envs)
    assert equal(before, other_before)
    assert not any(array.any() for name, array in info.items() if not name.startswith("_"))
    assert (envs[0].state.acceptance_rate != envs[1].state.acceptance_rate).mean() > 0.5
    (after, *_, info), (other_after, *_, other_info) = (env.step(np.zeros((20, 5, 2), np.float32)) for env in envs)
    assert "acceptance_rate" not in info
    assert (info["accepted_tokens"] == np.round(info["accepted_tokens"])).all()  # expectations would reveal the rate
    same = info["accepted_tokens"] == other_info["accepted_tokens"]
    assert 0.0 < same.mean() < 1.0
    for key in ("drafted", "accepted"):
        assert (after[key][same] == other_after[key][same]).all()


def test_without_spread_and_end_it_is_the_plain_environment():
    """The same seeds give the same devices, fading and tasks."""
    hidden, plain = make(spread=0.0, mean_rounds=float("inf"), num_envs=6), make(PLAIN, num_envs=6, rounds=64)
    controller = ms.make_controller("homogeneous", plain.scenario)
    assert (play(hidden, controller) == play(plain, controller)).all()
    assert (hidden.state.acceptance_rate == plain.state.acceptance_rate).all()
    known = make(spread=0.1).assumptions
    assert known.acceptance_spread == pytest.approx([0.1] * 4)
    assert known.acceptance_mean == pytest.approx([task.acceptance_rate for task in plain.scenario.tasks])
    assert make(RECORDED).assumptions.acceptance_mean[0] == pytest.approx(0.92, abs=0.02)


def test_models_of_records_and_held_out_texts():
    config = ms.EnvConfig.of(RECORDED)
    assert config.replace(half=0, modelled=True, history=True).held_out == config.replace(half=1, history=True)
    assert config.replace(half=1).held_out == config.replace(half=0)
    assert config.held_out == config
    assert ms.EnvConfig.of(HIDDEN).held_out == ms.EnvConfig.of(HIDDEN)
    for half in (None, 0, 1):
        configs = (config.replace(half=half, modelled=flag) for flag in (False, True))
        priors = (config.dynamics.acceptance.prior(config.scenario) for config in configs)
        for value, expected in zip(*priors, strict=True):
            assert value == pytest.approx(expected)
    envs = [make(RECORDED, 200, modelled=flag) for flag in (False, True)]
    replayed, modelled = (play(env, ms.make_controller("homogeneous", env.scenario)).mean() for env in envs)
    assert modelled == pytest.approx(replayed, rel=0.02)  # measured: 0.016, as a text has no constant rate


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_reports_have_the_delay(delay):
    env = make(DELAYED, delay=delay)
    env.reset(seed=0)
    true, shown = [], []
    for t in range(30):
        if t == 12:  # new episodes of some environments
            env.reset(options={"reset_mask": np.arange(20) < 10})
        true.append(env.state.spectral_efficiency)
        observation = env.step(np.zeros((20, 5, 2), np.float32))[0]
        shown.append(env.decode_observation(observation).spectral_efficiency)
    true.append(env.state.spectral_efficiency)
    for envs, first in ((slice(10, 20), max(delay, 1)), (slice(10), 12 + delay)):
        for t in range(first, 30):
            assert shown[t][envs] == pytest.approx(true[t + 1 - delay][envs], rel=1e-6)


def test_actions_are_decoded_with_the_report():
    env = make(DELAYED, action="lengths", delay=2)
    shown = env.decode_observation(env.reset(seed=0)[0])
    decision = env.decode_action(np.zeros((20, 5, 1), np.float32))
    length = decision.draft_length
    uploading = length * env.scenario.bits_per_token / (decision.bandwidth * shown.spectral_efficiency)
    latency = shown.draft_time * length + uploading
    assert latency == pytest.approx(np.broadcast_to(latency[:, :1], latency.shape), rel=1e-5)


def test_plan_quantile_is_that_of_the_plug_in():
    """Action 0 has the bandwidth of optimal+quantile."""
    env = make(DELAYED, plan_quantile=0.2)
    observation, _ = env.reset(seed=0)
    controller = ms.make_controller("optimal+quantile", env.scenario, assumptions=env.assumptions, quantile=0.2)
    for _ in range(3):
        action = env.encode_action(controller(env.decode_observation(observation)))
        assert action[..., 1] == pytest.approx(0.0, abs=1e-5)  # measured: 9e-7
        observation = env.step(action)[0]
        assert (observation["planned_channel"] < observation["channel"]).mean() > 0.9  # measured: 0.95
        assert env.observation_space.contains(observation)


@pytest.mark.parametrize("reward", ["expected", "sampled"])
@pytest.mark.parametrize("window", [1.0, 32.0])
def test_sum_of_fair_rewards_is_the_growth_of_the_utility(window, reward):
    env = make(FAIR, 8, window=window, reward=reward)
    shown = env.decode_observation(env.reset(seed=0)[0])
    throughput = np.full((8, 5), 1.0 / env.scenario.verification_time)
    assert shown.throughput == pytest.approx(throughput, rel=1e-5)
    start, total = np.log(throughput).sum(-1), np.zeros(8)
    rng = np.random.default_rng(0)
    for _ in range(40):
        observation, growth, _, _, info = env.step(rng.uniform(-5.0, 5.0, (8, 5, 2)).astype(np.float32))
        total += growth
        throughput += (info["accepted_tokens"] / info["round_latency"][:, None] - throughput) / window
        assert info["throughput"] == pytest.approx(throughput)
        assert env.decode_observation(observation).throughput == pytest.approx(throughput, rel=1e-4)
    assert total == pytest.approx(np.log(throughput).sum(-1) - start)


def test_devices_differ_widely_in_fair_by_default():
    env = make(FAIR, 200)
    env.reset(seed=0)
    assert env.state.draft_time.max() / env.state.draft_time.min() > 6
    assert env.state.acceptance_rate.std() > 0.1
    assert make(FAIR, 8, draft_time_spread=0.1).scenario.draft_time_spread == 0.1
    assert make(FAIR, 8, scenario=ms.Scenario.preset("llama2")).scenario.draft_time_spread == 0.15


class LossyRounds(ms.RoundsSimulator):
    """A share of the tokens is lost."""

    def round_outcome(self, decision, tokens):
        return super().round_outcome(decision, (1.0 - self.config.lost) * tokens)


class CountedRounds(ms.RoundsSimulator):
    """A round is played, and its outcome changed, in `step`."""

    def step(self, action, over=None):
        return super().step(action, over)


@dataclass(frozen=True, kw_only=True)
class Lossy(Heterogeneous):
    env_id = "Mine/Lossy-v0"
    simulator_class: ClassVar = LossyRounds
    lost: float = 0.5


@pytest.fixture
def lossy():
    ms.register_environment(Lossy)
    yield "Mine/Lossy-v0"
    ms.envs.unregister_environment("Mine/Lossy-v0")


def test_own_physics_uses_arguments_of_its_environment(lossy):
    rewards = []
    for env_id, arguments in (("MultiSpin/Heterogeneous-v0", {}), (lossy, {}), (lossy, {"lost": 0.75})):
        env = gym.make(env_id, num_users=3, **arguments)
        env.reset(seed=0)
        rewards.append(env.step(np.zeros(env.action_space.shape, np.float32))[1])
    assert rewards == pytest.approx([rewards[0], rewards[0] / 2, rewards[0] / 4])


def test_optimum_of_other_physics_is_refused(lossy, monkeypatch):
    """The package's optimum is not that of rounds that a user's class plays in another way."""
    for arguments in ({"optimum": True}, {"reward": "share"}):
        with pytest.raises(ValueError, match=rf"^{next(iter(arguments))}: .*LossyRounds.round_outcome.*optimum_holds"):
            gym.make(lossy, num_users=2, **arguments)
    assert cases_of(ms.EnvConfig.of(lossy)) is Episodes  # states would be priced by the package's rounds
    env = gym.make_vec(lossy, 2, "vector_entry_point", num_users=2).unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"^reward_slopes: expected"):
        env.reward_slopes(np.zeros((2, 2, 2)))
    monkeypatch.setattr(Lossy, "simulator_class", CountedRounds)
    with pytest.raises(ValueError, match=r"^optimum: .*CountedRounds.step"):
        gym.make(lossy, num_users=2, optimum=True)
    monkeypatch.setattr(Lossy, "simulator_class", LossyRounds)
    monkeypatch.setattr(LossyRounds, "optimum_holds", True, raising=False)
    gym.make(lossy, num_users=2, optimum=True)
    assert cases_of(ms.EnvConfig.of(lossy)) is StateCases


@dataclass(frozen=True, kw_only=True)
class Unknown(ms.RoundsConfig):
    env_id = "Mine/Unknown-v0"
    optimal = None
    independent = False


def test_an_own_environment_without_contenders_is_compared_and_entries_are_checked(monkeypatch):
    ms.register_environment(Unknown)
    try:
        table = ms.compare("Mine/Unknown-v0", ["fixed"], num_users=2, episodes=2, rounds=3)
        assert {row.name for row in table.rows} == {"fixed", table.reference}
        monkeypatch.setattr(Unknown, "entries", ("compute", "chanel"))
        with pytest.raises(ValueError, match=r"^entries: .*mean 'channel'"):
            gym.make("Mine/Unknown-v0")
    finally:
        ms.envs.unregister_environment("Mine/Unknown-v0")
