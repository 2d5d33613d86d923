import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.names import ContenderName, make_controller
from multispin_env.envs.base import MultiSpinVectorEnv
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.contenders import contenders_of
from multispin_env.evaluation.episodes import EpisodeStats, play_episodes
from multispin_env.registry import ENVIRONMENTS

HETEROGENEOUS = "MultiSpin/Heterogeneous-v0"
HIDDEN = "MultiSpin/HiddenAcceptance-v0"
WITHOUT = "MultiSpin/Continuous-v0"
SERVING = "MultiSpin/Serving-v0"
NO_RATE, LATE = {"acceptance_visible": False}, {"channel_report": "old"}

pytestmark = pytest.mark.usefixtures("quick_prices")


def vector(env_id=HETEROGENEOUS, **arguments):
    arguments = {"num_users": 4, **({} if env_id in (WITHOUT, SERVING) else {"rounds": 5})} | arguments
    return gym.make_vec(env_id, num_envs=3, vectorization_mode="vector_entry_point", **arguments)


SECONDS = {"num_users": 3, "horizon": 1.1, "action": "full", "rho": 90.0}
REQUESTS = SECONDS | {"horizon": 5.0, "warm_up": 1.0, "mean_output": 9.0}


@pytest.mark.parametrize(
    ("env_id", "name", "arguments"),
    [
        (HETEROGENEOUS, "optimal", {"num_users": 4, "rounds": 5}),
        (WITHOUT, "groups", SECONDS),
        (SERVING, "greedy+deadlines", REQUESTS),
    ],
)
def test_episodes_are_those_of_single_environments(env_id, name, arguments):
    env, single, shown = vector(env_id, **arguments), gym.make(env_id, **arguments).unwrapped, []
    stats = play_episodes(env, name, seed=7, progress=lambda *pair: shown.append(pair))
    keys, length = env.unwrapped.config.info_keys, arguments.get("rounds", arguments.get("horizon"))
    controller = make_controller(name, single.scenario)
    for i in range(3):
        single.reset(seed=7 + i)
        returns, infos, over = 0.0, [], False
        while not over:
            _, reward, _, over, info = single.step(single.encode_action(controller(single.state)))
            returns += reward
            infos.append(info)
        tokens, time = (sum(np.sum(info[key]) for info in infos) for key in (keys.tokens, keys.time))
        goodput = np.mean([info["goodput"] for info in infos]) if keys.goodput else tokens / time
        played = [values[i] for values in (stats.time, stats.returns, stats.throughput, stats.goodput)]
        assert played == pytest.approx([time, returns, tokens / time, goodput], rel=1e-12)
        assert stats.rounds[i] == len(infos)
        assert keys.goodput or 0.0 <= time - length < infos[-1][keys.time]
        assert [stats.episode_values(key)[i] for key in keys.episode] == [infos[-1][key] for key in keys.episode]
    assert (len(set(stats.rounds.tolist())) == 1) == (env_id == HETEROGENEOUS)
    assert stats.user_throughput.sum(-1) == pytest.approx(stats.throughput, rel=1e-12)
    assert len(shown) == stats.rounds.max()
    assert shown == sorted(shown)
    assert 0.0 < shown[0][0] < 4.0 * length / len(shown)  # from the first step on
    assert shown[-1] == (pytest.approx(length, rel=1e-12), length)
    assert (play_episodes(env, f"{name}+clairvoyant", seed=7).returns == stats.returns).all()
    assert (play_episodes(env, name, seed=8).returns[:-1] == stats.returns[1:]).all()


@pytest.mark.parametrize(
    ("env_id", "hidden"), [(WITHOUT, NO_RATE), (WITHOUT, LATE), (WITHOUT, NO_RATE | LATE), (SERVING, NO_RATE | LATE)]
)
def test_estimates_play_where_something_is_hidden(env_id, hidden):
    short = {"num_users": 3, "horizon": 1.0, "rho": 30.0, **({"warm_up": 0.0} if env_id == SERVING else {})}
    cases = Episodes(EnvConfig.of(env_id, **short, **hidden), 2, seed=7)
    leader = {WITHOUT: "prices", SERVING: "prices+deadlines"}[env_id]
    assert cases.reference == cases.contenders[0] == f"{leader}+clairvoyant"
    assert all(ContenderName.parse(name).estimators for name in cases.contenders[1:])
    estimators = "mmse" if hidden == LATE else "beta+mmse"
    names = [*cases.contenders, *(f"{name}+{estimators}" for name in ("own-pace", "load-aware"))]
    assert any(row.difference for row in cases.table({name: name for name in names}))


def test_statistics_by_hand():
    tokens, time = np.array([[2.0, 2.0], [4.0, 1e-9], [9.0, 3.0]]), np.array([2.0, 1.0, 3.0])
    stats = EpisodeStats(2, tokens, 3.0 * tokens, time, np.array([2.0, 4.0, 6.0]), np.array([8.0, 6.0, 2.0]))
    for name, expected in {
        "user_throughput": [[1.0, 1.0], [4.0, 1e-9], [3.0, 1.0]],
        "throughput": [2.0, 4.0, 4.0],
        "goodput": [4.0, 3.0, 1.0],
        "round_latency": [1.0, 0.5, 1.5],
        "draft_length": [3.0, 3.0, 9.0],
        "fairness": [1.0, 0.5, 16.0 / 20.0],
        "utility": [0.0, np.log(4e-9), np.log(3.0)],
        "mean_reward": [1.0, 2.0, 3.0],
    }.items():
        np.testing.assert_allclose(getattr(stats, name), expected, err_msg=name)


@pytest.mark.parametrize(
    ("env_id", "truth", "options"),
    [(HIDDEN, "optimal", {}), (WITHOUT, "groups", {**NO_RATE, "rho": 90.0, "horizon": 2.0})],
)
def test_plug_ins_and_agents_do_not_read_the_state(env_id, truth, options, monkeypatch):
    env = vector(env_id, **options)
    resets = []

    def agent(observation):
        assert set(observation) == set(env.single_observation_space.spaces)
        return np.zeros(env.action_space.shape)

    agent.reset = lambda: resets.append(True)
    plug_in = env.unwrapped.config.contender(f"{truth}+filter")
    expected = play_episodes(env, plug_in, seed=1)
    zeros = play_episodes(env, agent, seed=1)
    assert not (expected.returns == play_episodes(env, truth, seed=1).returns).all()
    monkeypatch.setattr(MultiSpinVectorEnv, "state", property(lambda self: pytest.fail("the true state was read")))
    with pytest.raises(pytest.fail.Exception):
        play_episodes(env, truth, seed=1)
    assert (play_episodes(env, plug_in, seed=1).returns == expected.returns).all()  # after a reset
    assert (play_episodes(env, agent, seed=1).returns == zeros.returns).all()
    assert len(resets) == 2


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_decisions_are_played(env_id):
    env = vector(env_id, action=ENVIRONMENTS.load(env_id).universal_encoding)
    name = contenders_of(env.unwrapped.config)[0]
    contender = env.unwrapped.config.contender(name)
    observation, _ = env.reset(seed=2)
    decision = contender(env.decode_observation(observation) if isinstance(contender, ms.PlugIn) else env.state)
    info = env.step(env.encode_action(decision))[4]
    played = info["draft_length"] > 0  # in the batch
    assert played.any(-1).all()
    assert (info["draft_length"] == decision.draft_length)[played].all()
    if "bandwidth" in info:
        assert played.all()
        np.testing.assert_allclose(info["bandwidth"], decision.bandwidth, rtol=1e-4)


def test_fading_and_acceptance_do_not_depend_on_actions():
    env = vector(HIDDEN, reward="sampled", action="shares")
    seen = []
    for name in ("fixed", "optimal"):
        contender = env.unwrapped.config.contender(name)
        env.reset(seed=3)
        for _ in range(4):
            seen.append((env.state.spectral_efficiency, env.state.acceptance_rate))
            env.step(env.encode_action(contender(env.state)))
    np.testing.assert_array_equal(seen[:4], seen[4:])


def test_names_and_options():
    config, parse = EnvConfig.of(HIDDEN), ContenderName.parse
    assert config.contender("optimal+filter", moment=3.0).estimators[0].moment == 3.0
    assert config.contender("optimal+filter").estimators[0].assumptions == config.assumptions
    assert config.contender("optimal", certify=1e-3).certify == 1e-3
    assert parse("optimal") == parse("optimal+clairvoyant") != parse("optimal+beta")
    name = parse("greedy+deadlines+filter+mmse")
    assert (name.controller, name.estimators) == ("greedy+deadlines", ("filter", "mmse"))
    assert name == parse("greedy+filter+deadlines+mmse")
    assert parse("greedy+deadlines+clairvoyant") == parse("greedy+deadlines")
    assert parse("greedy+deadlines").is_clairvoyant
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'moments'"):
        config.contender("optimal+filter", moments=1.0)


def test_environments_of_episodes():
    assert play_episodes(vector(rounds=1), "optimal").rounds.tolist() == [1, 1, 1]  # they terminate
    with pytest.raises(ValueError, match="episodes: expected an integer ≥ 2, got 1"):
        Episodes(EnvConfig.of(HETEROGENEOUS), 1).play("optimal")
    foreign, same = gym.make_vec("CartPole-v1"), vector(autoreset_mode="SameStep")
    for env, words in (
        (foreign, "env: .* got CartPoleVectorEnv"),
        (same, "^autoreset_mode: .*, got 'SameStep'"),
    ):
        with pytest.raises(ValueError, match=words):
            play_episodes(env, "optimal")
