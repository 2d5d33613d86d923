import numpy as np
import pytest
import torch as th

from agents import AGENTS
from agents.base import Tuning, tuning_for
from agents.policies import UserFeatures
from agents.runs import TRAINING_DEFAULTS
from agents.vec_env import make_vec_env
from multispin_env.envs.settings import Settings
from multispin_env.registry import ENVIRONMENTS

FULL = "MultiSpin/Heterogeneous-v0"
ROUNDS = 5


def settings_of(env_id, users, **arguments):
    cls = ENVIRONMENTS.load(env_id)
    chosen = {"action": "residual", "reward": None, "optimum": False}
    others = {name: value for name, value in TRAINING_DEFAULTS.items() if hasattr(cls(), name)}
    return Settings.make(env_id, cls, "llama2", chosen, {**others, "num_users": users, **arguments})


def learns(agent, env_id):
    try:
        AGENTS.load(agent).check(settings_of(env_id, 3))
    except ValueError:
        return False
    return True


PAIRS = [(agent, env_id) for agent in AGENTS.names() for env_id in ENVIRONMENTS.names() if learns(agent, env_id)]


def model(agent, settings, env_id):
    chosen = AGENTS.load(agent)
    env = make_vec_env(env_id, settings, chosen.num_envs, 64, 0)
    built = chosen.build(env, lambda progress: progress, 0, "cpu", tuning_for(settings))
    with th.no_grad():  # untrained heads answer almost nothing: give them something to say
        for parameter in built.policy.parameters():
            parameter.add_(0.15 * th.randn_like(parameter))
    return built


def played(env_id, settings, copies=10):
    """Observations after some rounds of random actions."""
    env = make_vec_env(env_id, settings, copies, 64, seed=3)
    observation, rng = env.reset(), np.random.default_rng(0)
    for _ in range(ROUNDS):
        action = rng.uniform(-1, 1, (copies, *env.action_space.shape))
        observation, *_ = env.step(action.astype(np.float32))
    return observation


def reordered(observation, order):
    def one(key, array):
        return array if key == "shared" else array.reshape(len(array), len(order), -1)[:, order].reshape(array.shape)

    return {key: one(key, array) for key, array in observation.items()}


@pytest.mark.parametrize(("agent", "env_id"), PAIRS)
def test_permuting_users_permutes_actions(agent, env_id, rng):
    settings = settings_of(env_id, 6)
    built, observation = model(agent, settings, env_id), played(env_id, settings)
    order = rng.permutation(6)
    actions, permuted = (built.predict(o, deterministic=True)[0] for o in (observation, reordered(observation, order)))
    assert np.abs(actions).std() > 0.01
    assert permuted == pytest.approx(actions[:, order], abs=1e-5)


@pytest.mark.parametrize(("agent", "env_id"), PAIRS)
@pytest.mark.parametrize("users", [1, 11])
def test_a_model_of_one_size_runs_on_another(agent, env_id, users):
    small, other = settings_of(env_id, 3), settings_of(env_id, users)
    built = model(agent, other, env_id)
    built.set_parameters(model(agent, small, env_id).get_parameters(), exact_match=True)
    actions, _ = built.predict(played(env_id, other), deterministic=True)
    assert actions.shape == (10, users, other.actions.columns)
    assert np.isfinite(actions).all()


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_a_decentralised_policy_knows_nothing_of_other_devices(env_id):
    """Whatever becomes of the others, its action is the same to the bit; the usual one changes."""
    settings = settings_of(env_id, 4)
    observation, others = played(env_id, settings), played(env_id, settings)
    for key, array in others.items():
        if key != "shared":
            rows = array.reshape(10, 4, -1)
            rows[:, 1:] = rows[::-1, 1:]
    found = {}
    for agent in ("decentralised", "ppo"):
        built = model(agent, settings, env_id)
        first, second = (built.predict(one, deterministic=True)[0] for one in (observation, others))
        found[agent] = [(first[:, user] == second[:, user]).all() for user in (0, 1)]
    assert found == {"decentralised": [True, False], "ppo": [False, False]}


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_log_probability_agrees_with_its_own_actions(env_id):
    settings = settings_of(env_id, 3)
    built = model("ppo", settings, env_id)
    tensors, _ = built.policy.obs_to_tensor(played(env_id, settings, 4))
    actions, values, log_prob = built.policy(tensors)
    again, log_prob_again, _ = built.policy.evaluate_actions(tensors, actions.flatten(1))
    assert th.allclose(log_prob, log_prob_again, atol=1e-4)
    assert th.allclose(values, again)


def features_of(settings, observation):
    tensors = {key: th.as_tensor(array) for key, array in observation.items()}
    users = settings.scenario.num_users
    return UserFeatures(settings.observations.space)(tensors).unflatten(-1, (users, -1)).numpy()


def test_what_is_known_gives_eight_features():
    settings = settings_of(FULL, 4)
    observation = played(FULL, settings)
    compute, channel, acceptance = (observation[key] for key in ("compute", "channel", "acceptance"))
    shared = np.broadcast_to(observation["shared"][:, None, :], (10, 4, 3))
    own = [
        5.0 * (compute - 1.0),
        channel - 1.0,
        np.log(channel + 1e-3),
        4.0 * (acceptance - 0.75),
        -np.log1p(-acceptance) - 1.5,
    ]
    expected = np.concatenate([np.stack(own, -1), shared], -1)
    assert features_of(settings, observation) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_features_are_of_order_one(env_id):
    settings = settings_of(env_id, 4)
    features = features_of(settings, played(env_id, settings, 200))
    assert np.isfinite(features).all()
    assert np.abs(features).max() < 6.0
    assert (np.abs(features.mean((0, 1))) < 1.5).all()


@pytest.mark.parametrize("arguments", [{"history": False}, {"task_visible": False}, {"mean_rounds": float("inf")}])
def test_hidden_entries_are_left_out(arguments):
    env_id = "MultiSpin/HiddenAcceptance-v0"
    settings = settings_of(env_id, 3, **arguments)
    assert model("ppo", settings, env_id).predict(played(env_id, settings))[0].shape == (10, 3, 2)


def test_more_accepted_tokens_raise_the_odds():
    settings = settings_of("MultiSpin/HiddenAcceptance-v0", 2, task_visible=False)
    spaces = settings.observations.space.spaces
    nothing = {key: np.zeros((1, *box.shape), np.float32) for key, box in spaces.items()}
    fresh = features_of(settings, nothing)
    lucky = features_of(settings, {**nothing, "hits": np.array([[0.5, 0.0]], np.float32)}) - fresh
    unlucky = features_of(settings, {**nothing, "misses": np.array([[0.0, 0.5]], np.float32)}) - fresh
    odds = np.flatnonzero((lucky[0, 0] > 0.5) & (unlucky[0, 1] < -0.5))
    assert len(odds) == 2
    assert not lucky[0, 1].any()
    assert not unlucky[0, 0].any()


@pytest.mark.parametrize("agent", [agent for agent, env_id in PAIRS if env_id == "MultiSpin/DelayedChannel-v0"])
def test_bandwidth_leans_on_the_weak_from_the_start_where_reports_are_late(agent):
    for delay, wanted in ((1, 0.4), (0, 0.0)):
        env_id = "MultiSpin/DelayedChannel-v0"
        settings = settings_of(env_id, 3, delay=delay)
        chosen = AGENTS.load(agent)
        env = make_vec_env(env_id, settings, chosen.num_envs, 64, 0)
        built = chosen.build(env, lambda progress: progress, 0, "cpu", tuning_for(settings))
        actions, _ = built.predict(played(env_id, settings), deterministic=True)
        assert np.abs(actions - [0.0, wanted]).max() < 0.1


@pytest.mark.parametrize("agent", ["ppo", "sac"])
def test_exploration_is_the_agents_own_and_what_the_environment_adds(agent):
    chosen, settings = AGENTS.load(agent), settings_of(FULL, 2)
    env = make_vec_env(FULL, settings, chosen.num_envs, 64, 0)
    built = chosen.build(env, lambda progress: progress, 0, "cpu", Tuning(gamma=0.25, log_std=0.5, bandwidth=0.125))
    assert built.gamma == 0.25
    assert built.policy_kwargs["log_std_init"] == chosen.log_std + 0.5
    assert built.policy_kwargs["bandwidth_init"] == 0.125
