import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from benchmarks.suite.freeze import bounds_of
from multispin_env.baselines.systems import SYSTEMS
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.cases import (
    Episodes,
    StateCases,
    cases_of,
    heading,
    held_out,
    listed_contenders,
    validation_cases,
)
from multispin_env.evaluation.episodes import play_episodes
from multispin_env.evaluation.policy import Policy
from multispin_env.evaluation.statistics import EPISODE_SEED
from multispin_env.registry import ENVIRONMENTS

FULL, COMMON, HIDDEN = "MultiSpin/Heterogeneous-v0", "MultiSpin/Homogeneous-v0", "MultiSpin/HiddenAcceptance-v0"
FAIR, RECORDED, WITHOUT = "MultiSpin/Fair-v0", "MultiSpin/RecordedAcceptance-v0", "MultiSpin/Continuous-v0"
pytestmark = pytest.mark.usefixtures("quick_prices")
SHORT = {"num_users": 3, "rounds": 5}
KINDS = dict.fromkeys((FULL, COMMON), StateCases) | dict.fromkeys((FAIR, HIDDEN, RECORDED, WITHOUT), Episodes)


def short(env_id, size, seed=EPISODE_SEED):
    return Episodes(EnvConfig.of(env_id, **SHORT), size, seed)


def config_of(env_id, **arguments):
    return EnvConfig.of(env_id, "llama2", num_users=3, **arguments)


def test_states_have_expected_outcomes():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    states = StateCases.draw(scenario, 6)
    decision = ms.make_controller("fixed", scenario)(states.state)
    outcome = ms.expected_outcome(scenario, states.state, decision)
    stats = states.play("fixed")
    assert states.size == 6
    for goodput in (states.values("fixed"), states.values(lambda state: decision), stats.goodput):
        assert (goodput == outcome.goodput).all()
    np.testing.assert_allclose(stats.throughput, outcome.goodput, rtol=1e-12)
    assert (stats.round_latency == outcome.round_latency).all()
    assert (stats.draft_length == decision.draft_length.mean(-1)).all()
    np.testing.assert_allclose(stats.returns, outcome.goodput / scenario.autoregressive_goodput, rtol=1e-12)
    assert states.make("optimal").certify == 1e-6  # in a table
    assert StateCases.draw(scenario, 4, certify=None).make("optimal").certify is None
    for name in SYSTEMS:
        assert (states.values(name) == SYSTEMS[name](scenario, states.state)).all()
    assert {"optimal", "fixed", *SYSTEMS} <= set(states.contenders)
    assert "algorithm1" not in states.contenders  # slow


def test_a_table_of_states_by_hand():
    states = StateCases.draw(ms.Scenario.preset("llama2", num_users=3), 40)
    rows = {row.name: row for row in states.table({"optimal": "optimal", "equal": "uniform-bandwidth"})}
    equal, optimal = states.values("uniform-bandwidth"), states.values("optimal")
    share = equal / optimal
    shares = {"share_mean": share.mean(), "share_quantile_5": np.quantile(share, 0.05), "share_lowest": share.min()}
    assert rows["equal"].details == {**rows["equal"].details, **shares}
    assert rows["equal"].details["draft_length"] == states.play("uniform-bandwidth").draft_length.mean()
    assert rows["equal"].share == pytest.approx(equal.mean() / optimal.mean())
    assert [rows["optimal"].details[name] for name in shares] == [1.0] * 3
    with pytest.raises(ValueError, match=r"reference: expected one of \['fixed'\], got 'optimal'"):
        states.table({"fixed": "fixed"})


def test_episodes_are_those_of_the_environment():
    episodes = short(HIDDEN, 4, seed=9)
    env = gym.make_vec(HIDDEN, num_envs=4, vectorization_mode="vector_entry_point", action="shares", **SHORT)
    for name in ("fixed", "optimal+filter"):
        assert (episodes.values(name) == play_episodes(env, name, 9).goodput).all()
    assert episodes.title == "4 episodes of 5 rounds"
    assert short(HIDDEN, 4).title == "4 held-out episodes of 5 rounds"
    assert episodes.about["arguments"] == {"rounds": "5"}
    assert (episodes.about["episodes"], episodes.about["rounds"], episodes.about["seed"]) == (4, 5, 9)
    assert episodes.about["scenario"] == ms.Scenario.preset("llama2", num_users=3).to_dict()


@pytest.mark.parametrize("action", ["lengths", "residual", "shares"])
def test_policies_play_with_their_own_actions(action):
    config = config_of(HIDDEN, action=action, rounds=5)
    env = gym.make_vec(HIDDEN, num_envs=4, scenario=config.scenario, action=action, rounds=5)

    def zeros(observation):
        return np.zeros(env.action_space.shape, np.float32)

    expected = play_episodes(env, zeros).goodput
    assert (short(HIDDEN, 4).values(Policy(config, zeros)) == expected).all()
    assert (Episodes(config, 4).values(zeros) == expected).all()


def test_a_table_of_episodes_is_by_the_metric():
    episodes = short(FAIR, 3)
    rows = {row.name: row for row in episodes.table(listed_contenders(episodes))}
    assert (episodes.metric, episodes.reference) == ("return", "optimal+gradient")
    assert rows.keys() == {episodes.reference, *episodes.contenders}
    assert rows["fixed"].mean == episodes.play("fixed").returns.mean()
    assert all(row.share is None and row.details["fairness"] <= 1.0 for row in rows.values())


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_cases_of_every_environment(env_id):
    config = config_of(env_id)
    kind = cases_of(config)
    assert kind is KINDS.get(env_id, kind)
    cases, validation = held_out(config, 3), validation_cases(config)
    assert (cases.size, validation.size) == (3, kind.validation_size)
    assert held_out(config).size == kind.default_size
    assert held_out(config, 3, offset=5).seed == cases.seed + 5
    assert validation.reference == cases.reference
    assert list(listed_contenders(cases)) == list(dict.fromkeys([cases.reference, *cases.contenders]))
    if env_id == COMMON:  # the best common length
        assert cases.reference == "homogeneous"
        assert "optimal" not in cases.contenders


def test_arguments_of_held_out_cases_and_headings():
    config = config_of(RECORDED, half=0, modelled=True)
    assert held_out(config, 2).config.chosen_arguments == {"half": 1}
    assert validation_cases(config).config.chosen_arguments == {"half": 0, "modelled": True}
    scenario = ms.Scenario.preset("qwen3.5", num_users=4, total_bandwidth=2.5e6)
    title = heading(EnvConfig.of(HIDDEN, scenario, spread=0.2), "9 cases")
    assert title == f"{HIDDEN}, spread=0.2, qwen3.5, K = 4, B = 2.5 MHz, 9 cases"


def test_systems_play_the_states_of_episodes():
    episodes = short(FULL, 3, seed=5)
    assert episodes.systems == tuple(SYSTEMS)
    env, expected = episodes.env().unwrapped, []
    env.reset(seed=5)
    for _ in range(5):
        expected.append(ms.baselines.colocated_goodput(env.scenario, env.state))
        env.step(env.action_space.sample())
    stats = episodes.play("colocated")
    assert stats.goodput == pytest.approx(np.mean(expected, 0), rel=1e-12)
    assert stats.throughput == pytest.approx(stats.goodput, rel=1e-12)
    assert stats.mean_reward == pytest.approx(stats.goodput / env.scenario.autoregressive_goodput, rel=1e-12)
    assert episodes.play("autoregressive").returns == pytest.approx(np.full(3, 5.0))
    assert (stats.drafted == 0.0).all()


@pytest.mark.parametrize("env_id", [HIDDEN, FAIR])
def test_systems_need_independent_rounds(env_id):
    episodes = short(env_id, 2)
    assert episodes.systems == ()
    with pytest.raises(ValueError, match="system: expected an environment with independent rounds for 'p2p', got"):
        episodes.play("p2p")


@pytest.mark.parametrize("channel", ["independent", "static"])
def test_bounds_of_episodes(channel):
    episodes = Episodes(EnvConfig.of(WITHOUT, "qwen3.5", num_users=3, horizon=8.0, channel=channel), 3)
    bounds = bounds_of(episodes)
    if channel == "static":
        env = episodes.env().unwrapped
        env.reset(seed=episodes.seed)
        np.testing.assert_allclose(bounds, ms.rate_bound(env.scenario, env.state.system).value, rtol=1e-12)
    for name in ("groups", "optimal"):
        assert episodes.values(name).mean() < bounds.mean()


def test_no_bound_is_known():
    partly = ((WITHOUT, {"channel": "gauss-markov"}), (WITHOUT, {"acceptance_visible": False}))
    for env_id, arguments in (*partly, ("MultiSpin/Serving-v0", {}), (FAIR, {})):
        assert bounds_of(Episodes(config_of(env_id, **arguments), 2)) is None


class Open(ms.RoundsConfig):
    env_id = "Mine/Open-v0"
    optimal = None
    independent = False


def test_without_an_optimum_and_contenders_all_controllers_of_rounds_play():
    ms.register_environment(Open)
    try:
        table = ms.compare("Mine/Open-v0", num_users=2, rounds=4, episodes=2)
    finally:
        ms.envs.unregister_environment("Mine/Open-v0")
    assert {"optimal", "fixed"} <= {row.name for row in table.rows}
    assert table.reference == "optimal"
