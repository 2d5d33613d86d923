import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.names import ContenderName, make_controller
from multispin_env.envs.base import MultiSpinVectorEnv
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.contenders import contenders_of, make_contender
from multispin_env.evaluation.episodes import EpisodeStats, make_episode_env, play_episodes
from multispin_env.registry import ENVIRONMENTS

HETEROGENEOUS = "MultiSpin/Heterogeneous-v0"
HIDDEN = "MultiSpin/HiddenAcceptance-v0"
WITHOUT = "MultiSpin/Continuous-v0"
SERVING = "MultiSpin/Serving-v0"
NO_RATE, LATE = {"acceptance_visible": False}, {"channel_report": "old"}

pytestmark = pytest.mark.usefixtures("quick_prices")


def vector(env_id=HETEROGENEOUS, copies=3, **arguments):
    given = {"num_users": 4, "max_episode_steps": 5} | arguments
    return gym.make_vec(env_id, num_envs=copies, vectorization_mode="vector_entry_point", **given)


def single_episodes(name, seeds, env_id, **arguments):
    """Rewards and infos of whole episodes that a controller plays in a single environment."""
    env = gym.make(env_id, **arguments)
    controller = make_controller(name, env.unwrapped.scenario)
    for seed in seeds:
        env.reset(seed=seed)
        rewards, infos, over = [], [], False
        while not over:
            _, reward, _, over, info = env.step(env.unwrapped.encode_action(controller(env.unwrapped.state)))
            rewards.append(reward)
            infos.append(info)
        yield rewards, infos


def test_episodes_are_those_of_single_environments():
    shown = []
    env = vector()
    found = play_episodes(env, "optimal", seed=7, progress=lambda *pair: shown.append(pair))
    assert shown == [(played, 5) for played in range(1, 6)]
    singles = single_episodes("optimal", (7, 8, 9), HETEROGENEOUS, num_users=4, max_episode_steps=5)
    for copy, (rewards, infos) in enumerate(singles):
        assert found.rounds[copy] == len(rewards) == 5
        tokens = sum(info["accepted_tokens"].sum() for info in infos)
        time = sum(info["round_latency"] for info in infos)
        assert found.goodput[copy] == pytest.approx(np.mean([info["goodput"] for info in infos]), rel=1e-12)
        assert found.throughput[copy] == pytest.approx(tokens / time, rel=1e-12)
        assert found.returns[copy] == pytest.approx(sum(rewards), rel=1e-12)
    np.testing.assert_allclose(found.user_throughput.sum(-1), found.throughput, rtol=1e-12)


def test_episodes_of_simulated_time_end_each_for_itself():
    arguments = {"num_users": 3, "horizon": 0.6, "action": "full", "rho": 90.0}
    env = gym.make_vec(WITHOUT, num_envs=4, **arguments)
    shown = []
    found = play_episodes(env, "groups", seed=7, progress=lambda *pair: shown.append(pair))
    for copy, (rewards, infos) in enumerate(single_episodes("groups", (7, 8, 9, 10), WITHOUT, **arguments)):
        info = infos[-1]
        assert found.rounds[copy] == len(rewards)
        assert found.throughput[copy] == pytest.approx(info["token_goodput"], rel=1e-12)
        assert found.goodput[copy] == found.throughput[copy]  # never a mean of ratios
        assert found.time[copy] == pytest.approx(info["time"], rel=1e-12)
        assert found.returns[copy] == pytest.approx(sum(rewards), rel=1e-12)
        assert 0.6 <= info["time"] == pytest.approx(sum(one["duration"] for one in infos), rel=1e-12)
        assert info["time"] - info["duration"] < 0.6
    assert len(set(found.rounds.tolist())) > 1
    assert len(shown) == found.rounds.max()
    assert shown[0] == (pytest.approx(0.6 / len(shown), rel=0.5), 0.6)  # so it is told of from the first step on
    assert [done for done, _ in shown] == sorted(done for done, _ in shown)
    assert shown[-1] == (pytest.approx(0.6, rel=1e-12), 0.6)


def test_what_is_told_of_episodes_is_that_of_their_last_step():
    arguments = {"num_users": 3, "horizon": 5.0, "warm_up": 1.0, "action": "full", "rho": 30.0, "mean_output": 9.0}
    env = gym.make_vec(SERVING, num_envs=3, **arguments)
    found = play_episodes(env, "greedy+deadlines", seed=7)
    for copy, (_, infos) in enumerate(single_episodes("greedy+deadlines", (7, 8, 9), SERVING, **arguments)):
        assert infos[-1]["e2el_p99"] > 0.0
        for name in env.unwrapped.variant.comparison.info.episode:
            assert found.episode_values(name)[copy] == infos[-1][name], name


@pytest.mark.parametrize(
    ("env_id", "hidden"), [(WITHOUT, NO_RATE), (WITHOUT, LATE), (WITHOUT, NO_RATE | LATE), (SERVING, NO_RATE | LATE)]
)
def test_estimates_play_where_something_is_hidden(env_id, hidden):
    short = {"num_users": 3, "horizon": 1.0, "rho": 30.0, **({"warm_up": 0.0} if env_id == SERVING else {})}
    cases = Episodes(EnvConfig.of(env_id, **short, **hidden), 2, seed=7)
    leader = {WITHOUT: "prices", SERVING: "prices+deadlines"}[env_id]
    assert cases.reference == cases.contenders[0] == f"{leader}+clairvoyant"
    assert all(ContenderName.parse(name).estimators for name in cases.contenders[1:])
    estimators = "mmse" if "channel_report" in hidden and len(hidden) == 1 else "beta+mmse"
    names = [*cases.contenders, *(f"{name}+{estimators}" for name in ("own-pace", "load-aware"))]
    rows = cases.table({name: name for name in names})
    truth = next(row for row in rows if row.name == cases.reference)
    assert any(row.mean != truth.mean for row in rows)


def test_one_environment_plays_again_and_again():
    env = vector()
    first = play_episodes(env, "optimal", seed=3)
    play_episodes(env, "fixed", seed=3)
    assert (play_episodes(env, "optimal+clairvoyant", seed=3).returns == first.returns).all()
    assert (play_episodes(env, "optimal", seed=4).returns[:-1] == first.returns[1:]).all()


def test_fairness_and_utility_by_hand():
    tokens, time = np.array([[2.0, 2.0], [4.0, 1e-9], [9.0, 3.0]]), np.array([2.0, 1.0, 3.0])
    found = EpisodeStats(2, tokens, 3.0 * tokens, time, np.array([2.0, 4.0, 6.0]), np.array([8.0, 6.0, 2.0]))
    np.testing.assert_allclose(found.user_throughput, [[1.0, 1.0], [4.0, 1e-9], [3.0, 1.0]])
    np.testing.assert_allclose(found.throughput, [2.0, 4.0, 4.0])
    np.testing.assert_allclose(found.goodput, [4.0, 3.0, 1.0])
    np.testing.assert_allclose(found.round_latency, [1.0, 0.5, 1.5])
    np.testing.assert_allclose(found.draft_length, [3.0, 3.0, 9.0])
    np.testing.assert_allclose(found.fairness, [1.0, 0.5, 16.0 / 20.0])
    np.testing.assert_allclose(found.utility, [0.0, np.log(4e-9), np.log(3.0)])
    np.testing.assert_allclose(found.mean_reward, [1.0, 2.0, 3.0])


class Counting:
    """An agent that counts its episodes."""

    resets = 0

    def __init__(self, env):
        self.env = env

    def reset(self):
        self.resets += 1

    def __call__(self, observation):
        assert set(observation) == set(self.env.single_observation_space.spaces)
        return np.zeros(self.env.action_space.shape)


@pytest.mark.parametrize(
    ("env_id", "truth", "options"), [(HIDDEN, "optimal", {}), (WITHOUT, "groups", {**NO_RATE, "rho": 90.0})]
)
def test_a_plug_in_and_an_agent_never_get_the_state(env_id, truth, options, monkeypatch):
    env = vector(env_id, **options)
    plug_in, agent = make_contender(f"{truth}+filter", env), Counting(env)
    expected = play_episodes(env, plug_in, seed=1)
    zeros = play_episodes(env, agent, seed=1)
    assert not (expected.returns == play_episodes(env, truth, seed=1).returns).all()
    monkeypatch.setattr(MultiSpinVectorEnv, "state", property(lambda self: pytest.fail("somebody saw the truth")))
    with pytest.raises(pytest.fail.Exception):
        play_episodes(env, truth, seed=1)
    assert (play_episodes(env, plug_in, seed=1).returns == expected.returns).all()  # and it has been reset
    assert (play_episodes(env, agent, seed=1).returns == zeros.returns).all()
    assert agent.resets == 2


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_what_is_decided_is_what_is_played(env_id):
    env = vector(env_id)
    name = contenders_of(env.unwrapped.config)[0]
    contender = make_contender(name, env)
    observation, _ = env.reset(seed=2)
    seen = env.decode_observation(observation) if isinstance(contender, ms.PlugIn) else env.state
    decision = contender(seen)
    info = env.step(env.encode_action(decision))[4]
    played = info["draft_length"] > 0  # of what was decided, in the batch
    assert played.any(-1).all()
    assert (info["draft_length"] == decision.draft_length)[played].all()
    if "bandwidth" in info:
        assert played.all()
        np.testing.assert_allclose(info["bandwidth"], decision.bandwidth, rtol=1e-4)


def test_contenders_meet_the_same_fading_and_tokens():
    env = vector(HIDDEN, reward="sampled")
    seen = []
    for name in ("fixed", "optimal"):
        contender, states = make_contender(name, env), []
        env.reset(seed=3)
        for _ in range(4):
            states.append((env.state.spectral_efficiency, env.state.acceptance_rate))
            env.step(env.encode_action(contender(env.state)))
        seen.append(states)
    np.testing.assert_array_equal(seen[0], seen[1])


def test_names_and_options():
    env = vector(HIDDEN)
    assert make_contender("optimal+filter", env, {"moment": 3.0}).estimators[0].moment == 3.0
    assert make_contender("optimal+filter", env).estimators[0].assumptions == env.assumptions
    assert isinstance(make_contender("fixed", env), ms.Controller)
    assert make_contender("optimal", env, {"certify": 1e-3}).certify == 1e-3
    assert ContenderName.parse("optimal") == ContenderName.parse("optimal+clairvoyant")
    assert ContenderName.parse("optimal") != ContenderName.parse("optimal+beta")
    parsed = ContenderName.parse("greedy+deadlines+filter+mmse")
    assert (parsed.controller, parsed.estimators) == ("greedy+deadlines", ("filter", "mmse"))
    assert parsed == ContenderName.parse("greedy+filter+deadlines+mmse")
    assert ContenderName.parse("greedy+deadlines+clairvoyant") == ContenderName.parse("greedy+deadlines")
    assert ContenderName.parse("greedy+deadlines").is_clairvoyant
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'moments'"):
        make_contender("optimal+filter", env, {"moments": 1.0})


def test_environments_of_episodes():
    env = make_episode_env(EnvConfig.of(HETEROGENEOUS, "qwen3.5", num_users=2), 3, max_episode_steps=4)
    assert (env.num_envs, env.unwrapped.scenario.name, env.unwrapped.scenario.num_users) == (3, "qwen3.5", 2)
    assert make_episode_env(EnvConfig.of(HETEROGENEOUS), 2).unwrapped.max_episode_steps == 64
    with pytest.raises(ValueError, match=r"env: expected one of .*; did you mean 'MultiSpin/Heterogeneous-v0'"):
        EnvConfig.of("MultiSpin/Heterogenous-v0")
    for episodes, options, words in (
        (1, {}, "episodes: expected an integer ≥ 2, got 1"),
        (2, {"max_episode_steps": -1}, "max_episode_steps: expected an integer ≥ 1, got -1"),
    ):
        with pytest.raises(ValueError, match=words):
            make_episode_env(EnvConfig.of(HETEROGENEOUS), episodes, **options)
    with pytest.raises(ValueError, match=r"env: expected a vector environment .*, got CartPoleVectorEnv"):
        play_episodes(gym.make_vec("CartPole-v1"), "optimal")
    with pytest.raises(ValueError, match=r"^autoreset_mode: expected 'NextStep', got 'SameStep'$"):
        play_episodes(vector(autoreset_mode="SameStep"), "optimal")
