from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from gymnasium.wrappers import FilterObservation, FlattenObservation
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import VecNormalize

import multispin_agents
import multispin_env as ms
from multispin_agents import AGENTS
from multispin_agents.base import CosineRate, LinearRate, step_discount
from multispin_agents.policies import Codes, ConcatLinear, DevicePolicy, SumHead, UserEncoder, UserFeatures, UserHead
from multispin_agents.runs import supported_arguments
from multispin_agents.vec_env import NativeVecEnv
from multispin_env.envs.config import EnvConfig
from multispin_env.registry import ENVIRONMENTS

pytestmark = pytest.mark.usefixtures("quick_prices")

FULL = "MultiSpin/Heterogeneous-v0"
ENTRIES = {  # of two devices, with all entries of rounds
    "compute": [1.1, 0.9],
    "channel": [0.5, 2.0],
    "acceptance": [0.75, 1.0],
    "task": [1.0, 0.0, 0.0, 1.0],
    "drafted": [0.5, 0.25],
    "accepted": [0.5, 0.125],
    "age": [0.5, 0.0],
    "hits": [0.5, 0.0],
    "misses": [0.5, 0.2],
    "mean_channel": [1.5, 1.0],
    "planned_channel": [0.25, 1.0],
    "throughput": [0.5, 0.0],
    "shared": [0.25, 0.5, -0.5],
}


def space_of(entries=ENTRIES):
    return spaces.Dict({key: spaces.Box(-9.0, 9.0, (len(value),), np.float32) for key, value in entries.items()})


def tensors(entries=ENTRIES, batch=1):
    return {key: th.tensor([value] * batch) for key, value in entries.items()}


def test_every_feature_of_two_devices():
    def odds(tokens, accepted, refused):
        return np.log(accepted / (0.75 * tokens) + 1.0) - np.log(refused / (0.25 * tokens) + 1.0)

    hits = [odds(8.0, 64.0, 16.0), odds(32.0, 64.0, 16.0), 0.5 * np.log(81.0) - 1.0, np.log(17.0) - 0.5]
    none = [odds(8.0, 0.0, 4.0), odds(32.0, 0.0, 4.0), 0.5 * np.log(5.0) - 1.0, np.log(5.0) - 0.5]
    expected = [
        [
            *(0.5, -0.5, np.log(0.501), 0.0, np.log(4.0) - 1.5, 0.5, np.log(1.501), -0.75, np.log(0.251)),
            *(1.0, 0.0, 2.0, 2.0, 1.0, 0.0, *hits, 0.0, 0.25, 0.5, -0.5),
        ],
        [
            *(-0.5, 1.0, np.log(2.001), 1.0, -np.log(0.001) - 1.5, 0.0, np.log(1.001), 0.0, np.log(1.001)),
            *(0.0, 1.0, 0.0, 0.0, 0.0, -1.0, *none, np.log(1e-6), 0.25, 0.5, -0.5),
        ],
    ]
    network = UserFeatures(space_of())
    assert network.features_dim == 2 * 23
    assert network(tensors()).reshape(2, 23).numpy() == pytest.approx(np.array(expected), abs=1e-4)
    refused = {**ENTRIES, "accepted": [0.25, 0.125], "age": [0.5, 0.5]}
    features = network(tensors(refused)).reshape(2, 23)
    assert features[0, 11:15].tolist() == pytest.approx([2.0, 1.0, 0.0, 0.0])  # not all were accepted
    assert features[1, 11:15].tolist() == pytest.approx([1.0, 0.5, 0.0, 0.0])
    few = {key: ENTRIES[key] for key in ("compute", "drafted", "age", "hits", "shared")}
    assert UserFeatures(space_of(few)).features_dim == 2 * 4  # hits need misses, and drafts need accepted tokens
    assert UserFeatures(space_of(few))(tensors(few, 3)).shape == (3, 8)


def test_features_of_requests_of_two_devices():
    """The first needs 64 more tokens within 32 verifications; the second has no request."""
    shown = {
        "compute": [1.0, 1.0],
        "wanted": [0.5, 0.0],
        "answer": [0.75, 0.0],
        "prompt": [0.25, 0.0],
        "waited": [0.5, 0.0],
        "first_due": [-0.5, 1.0],
        "due": [2.0 / 3.0, 1.0],
        "queue": [0.5, 0.0],
        "shared": [0.1],
    }
    expected = [
        [0.0, 1.0, 0.5 * np.log(65.0) - 1.0, 1.5, 0.25, 0.5, -0.5, 2.0 / 3.0, 1.0 / 3.0, 2.0, 0.1],
        [0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.1],
    ]
    assert UserFeatures(space_of(shown))(tensors(shown)).reshape(2, 11).numpy() == pytest.approx(
        np.array(expected), abs=1e-4
    )


def test_codes_of_users_and_their_context():
    th.manual_seed(0)
    encoder, features = UserEncoder(4, 3), th.randn(2, 5 * 3)
    user = encoder.own(features.reshape(2, 5, 3))
    codes = encoder(features)
    assert codes.context.shape == (2, 1, 4)
    assert th.allclose(codes.user, user)
    joined = th.cat([user.mean(1), user.max(1).values], -1)
    assert th.allclose(codes.context[:, 0], encoder.context(joined), atol=1e-6)
    layer = ConcatLinear(8, 6)  # a layer of the concatenation
    joined = th.cat([codes.user, codes.context.expand(-1, 5, -1)], -1)
    assert th.allclose(layer(codes), joined @ layer.weight.T + layer.bias, atol=1e-6)


def test_heads_by_user_and_their_first_outputs():
    th.manual_seed(0)
    head, value = UserHead(64, 3, 0.25), SumHead(64)
    assert head.net[-1].bias.tolist() == [0.0, 0.25, 0.25]
    assert head.net[-1].weight.std().item() == pytest.approx(0.01, rel=0.3)
    codes = Codes(th.randn(2, 5, 64), th.randn(2, 1, 64))
    single = [Codes(codes.user[:, k : k + 1], codes.context) for k in range(5)]
    assert th.allclose(head(codes), th.cat([head(user) for user in single], -1), atol=1e-6)
    assert th.allclose(value(codes), sum(value(user) for user in single) / 5.0, atol=1e-6)
    scaled = UserHead(64, 2, 0.25, 0.0, th.tensor([1.0, 0.125]))  # the scales multiply changes after the first outputs
    assert th.allclose(scaled(codes).reshape(2, 5, 2), th.tensor([0.0, 0.25]))
    with th.no_grad():
        scaled.net[-1].bias.add_(1.0)
    assert th.allclose(scaled(codes).reshape(2, 5, 2), th.tensor([1.0, 0.375]))
    assert "scale" not in scaled.state_dict()


def policy_with(columns=2, **options):
    box = spaces.Box(-1.0, 1.0, (2, columns), np.float32)
    return DevicePolicy(space_of(), box, lambda _: 0.125, width=8, log_std_init=-1.0, **options)


def test_policy_of_stable_baselines():
    th.manual_seed(0)
    policy = policy_with(bandwidth_init=0.5)
    assert policy.log_std.tolist() == [-1.0, -1.0]
    assert policy.action_net.net[-1].bias.tolist() == pytest.approx([0.0, 0.1])  # of an output that is multiplied by 5
    assert policy.optimizer.param_groups[0]["lr"] == 0.125
    with th.no_grad():
        policy.log_std.copy_(th.tensor([-1.0, -2.0]))
    distribution = policy.get_distribution(tensors(batch=3)).distribution
    assert distribution.stddev[1].tolist() == pytest.approx(np.exp([-1.0, -2.0, -1.0, -2.0]))
    assert th.allclose(distribution.mean, policy.deterministic(tensors(batch=3)))
    assert th.allclose(policy(tensors())[1], policy.predict_values(tensors()))
    codes = policy.mlp_extractor.policy_net(policy.features_extractor(tensors()))
    assert th.allclose(policy.deterministic(tensors()), policy.action_net(codes))
    policy = policy_with(critic=False)
    assert not [name for name, _ in policy.named_parameters() if "value" in name]
    assert policy.predict_values(tensors(batch=3)).tolist() == [[0.0]] * 3
    assert policy.values(policy.features_extractor(tensors(batch=3))).tolist() == [0.0] * 3


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_algorithms_of_stable_baselines3_train_it(algorithm):
    env = multispin_agents.make_vec_env(FULL, n_envs=2, num_users=3)
    options = {"n_steps": 4, "device": "cpu", "seed": 0} | ({"batch_size": 8} if algorithm is PPO else {})
    model = algorithm(multispin_agents.DevicePolicy, env, **options)
    before = model.predict(env.reset(), deterministic=True)[0]
    after = model.learn(16).predict(env.reset(), deterministic=True)[0]
    assert before.shape == after.shape == (2, 3, 2)
    assert not np.allclose(before, after, atol=1e-4)


@pytest.mark.parametrize(
    ("env_id", "action"),
    [
        *[(FULL, action) for action in ("residual", "lengths", "shares")],
        ("MultiSpin/HiddenAcceptance-v0", "lengths"),
        ("MultiSpin/Continuous-v0", "plain"),
    ],
)
def test_a_model_plays_with_other_numbers_of_devices(env_id, action):
    model = ppo(env_id, action=action)
    with th.no_grad():
        model.policy.action_net.net[-1].weight.normal_(std=0.3)

    def direct(observation):
        entries = {name: th.tensor(values) for name, values in observation.items()}
        with th.no_grad():
            return model.policy.deterministic(entries).unflatten(-1, (5, -1)).clamp(-5.0, 5.0).numpy()

    length = {"horizon": 1.0} if "Continuous" in env_id else {"rounds": 3}
    options = {"num_users": 5, "action": action, "episodes": 2, **length}
    table = ms.compare(env_id, {"model": model, "direct": direct, "fixed": "fixed"}, **options)
    assert table["model"].mean == table["direct"].mean != table["fixed"].mean
    single = {name: values[0] for name, values in multispin_agents.make_vec_env(env_id, num_users=5).reset().items()}
    assert model.predict(single, deterministic=True)[0].shape == (5, model.policy.columns)


def ppo(env_id=FULL, wrapper=None, **arguments):
    env = multispin_agents.make_vec_env(env_id, num_users=3, **arguments)
    return PPO(
        multispin_agents.DevicePolicy, env if wrapper is None else wrapper(env), n_steps=64, seed=0, device="cpu"
    )


def test_a_model_goes_on_with_another_number_of_devices(tmp_path):
    ppo().learn(64).save(tmp_path / "model")
    env = multispin_agents.make_vec_env(FULL, num_users=5)
    shapes = {"observation_space": env.observation_space, "action_space": env.action_space}
    model = PPO.load(tmp_path / "model", env, custom_objects=shapes, device="cpu").learn(64)
    table = ms.compare(FULL, {"model": model, "first": PPO.load(tmp_path / "model"), "fixed": "fixed"}, num_users=5)
    assert min(table["model"].share, table["first"].share) > 1.2 * table["fixed"].share
    model = ppo(wrapper=VecNormalize)  # with statistics for one number of devices, which are not used for others
    assert 0.0 < ms.evaluate(model, FULL, num_users=3, episodes=2).share < 1.0
    with pytest.raises(ValueError, match=r"action_space: expected the shape \(5, 2\)"):
        ms.evaluate(model, FULL, num_users=5, episodes=2)


@pytest.mark.parametrize("hidden", ["compute", "shared"])
def test_any_entry_can_be_hidden(hidden):
    env = gym.make(FULL, num_users=3)
    env = FilterObservation(env, [name for name in env.observation_space.spaces if name != hidden])
    model = PPO(multispin_agents.DevicePolicy, env, n_steps=64, seed=0, device="cpu").learn(64)
    shown = {
        name: values
        for name, values in multispin_agents.make_vec_env(FULL, num_users=5).reset().items()
        if name != hidden
    }
    assert model.predict(shown)[0].shape == (1, 5, 2)


@pytest.mark.parametrize(
    ("wrapper", "got"), [(lambda env: FilterObservation(env, ["shared"]), "{'shared'"), (FlattenObservation, "Box")]
)
def test_a_policy_needs_an_entry_of_the_devices(wrapper, got):
    with pytest.raises(ValueError, match=rf"observation_space: expected a Dict .*, got {got}"):
        PPO(multispin_agents.DevicePolicy, wrapper(gym.make(FULL, num_users=3)), device="cpu")


@pytest.mark.parametrize(("columns", "expected"), [(3, [-1.0, -1.5, -1.0]), (1, [-1.0])])
def test_single_columns_are_explored_less(columns, expected):
    policy = policy_with(columns, column_log_std=(0.0, -0.5), last_std=0.0)
    assert policy.log_std.tolist() == expected
    assert not policy.deterministic(tensors(batch=3)).any()


def config_of(env_id=FULL, users=2, **arguments):
    return EnvConfig.of(env_id, **{**supported_arguments(ENVIRONMENTS.load(env_id)), "num_users": users, **arguments})


def built(agent, config, randomised=True):
    env = NativeVecEnv.of(config, agent.num_envs, 0)
    model = agent.build(env, lambda progress: progress, 0, "cpu")
    if randomised:  # untrained heads return almost 0
        with th.no_grad():
            for parameter in model.policy.parameters():
                parameter.add_(0.15 * th.randn_like(parameter))
    return model


RESIDUAL = {"batch_size": 512, "epochs": 1, "clip_range": 0.4, "column_log_std": (0.0, -2.5)}
CAREFUL = {"learning_rate": 2e-3, "clip_range": 0.2, "width": 32}
COMMON = {**CAREFUL, "rollout_rounds": 8, "batch_size": 512, "epochs": 2}
UPDATES = {"batch_size": 256, "clip_range": 0.4, "log_std": 0.5}
VERIFICATIONS = {
    **{"rollout_rounds": 16, "batch_size": 512, "learning_rate": 1e-3, "clip_range": 0.1, "width": 64},
    **{"trace": 0.1, "timed": True, "last_std": 0.0},
}
RESIDUALS = {**VERIFICATIONS, "column_log_std": (0.0, -1.0, -1.0)}


@pytest.mark.parametrize(
    ("agent", "name", "arguments", "changes"),
    [
        ("ppo", "Heterogeneous-v0", {}, RESIDUAL),
        ("ppo", "Heterogeneous-v0", {"action": "lengths"}, {}),
        ("ppo", "Homogeneous-v0", {}, {**RESIDUAL, **COMMON}),
        ("ppo", "DelayedChannel-v0", {"delay": 0}, {**RESIDUAL, "log_std": 0.1}),
        ("ppo", "DelayedChannel-v0", {"delay": 1}, {**CAREFUL, "log_std": 0.1, "bandwidth": 3.2}),
        ("ppo", "DraftAhead-v0", {}, {**RESIDUAL, **UPDATES, "epochs": 4, "gamma": 0.9}),
        ("ppo", "Energy-v0", {"action": "lengths"}, {**UPDATES, "timesteps": 50_000, "epochs": 8, "timed": True}),
        ("ppo", "Continuous-v0", {"action": "plain"}, {**VERIFICATIONS, "gamma": 0.5}),
        ("ppo", "Serving-v0", {"action": "residual"}, {**RESIDUALS, "gamma": 0.8}),
        ("apg", "DelayedChannel-v0", {}, {"bandwidth": 3.2}),
        ("evolution", "DraftAhead-v0", {}, {}),
        ("evolution", "Energy-v0", {"action": "lengths"}, {"warm_up": 40.0, "seconds": 40.0, "cases": 1}),
        ("evolution", "Continuous-v0", {}, {"last_std": 0.0}),
        ("evolution", "Serving-v0", {}, {"last_std": 0.0, "warm_up": 3.0, "seconds": 12.0}),
    ],
)
def test_settings_by_environment(agent, name, arguments, changes):
    settings, config = AGENTS.load(agent), EnvConfig.of(f"MultiSpin/{name}", num_users=2, **arguments)
    expected = replace(settings, **changes)
    assert settings.for_environment(config) == expected
    if agent != "ppo":
        return
    model = built(expected, config, randomised=False)  # they reach Stable-Baselines3 unchanged
    used = (model.n_steps, model.n_epochs, model.learning_rate(1.0), model.clip_range(1.0), model.gae_lambda)
    assert used == tuple(
        getattr(expected, field) for field in ("rollout_rounds", "epochs", "learning_rate", "clip_range", "trace")
    )
    assert (model.gamma, model.policy.width) == (expected.gamma, expected.width)
    log_std = expected.log_std + np.array([*expected.column_log_std, 0.0, 0.0, 0.0])[: model.policy.columns]
    assert model.policy.log_std.tolist() == pytest.approx(log_std.tolist())


def test_discounts_of_one_step():
    """Per second in steps of different length; a verification pass of 10 of 20 devices takes 0.15 s."""
    rounds = {"Heterogeneous": 0.0, "DelayedChannel": 0.0, "DraftAhead": 0.9, "Energy": 0.996}
    assert {name: step_discount(EnvConfig.of(f"MultiSpin/{name}-v0")) for name in rounds} == rounds
    continuous, serving = (step_discount(EnvConfig.of(f"MultiSpin/{name}-v0")) for name in ("Continuous", "Serving"))
    assert (continuous, serving) == pytest.approx((0.5**0.14988, 0.8**0.14988))


def observed(config, num_envs=10):
    env = NativeVecEnv.of(config, num_envs, seed=3)
    observation, rng = env.reset(), np.random.default_rng(0)
    for _ in range(5):
        action = rng.uniform(-5.0, 5.0, (num_envs, *env.action_space.shape))
        observation, *_ = env.step(action.astype(np.float32))
    return observation


def act(model, observation):
    return model.predict(observation, deterministic=True)[0]


def reordered(observation, order):
    return {
        key: array if key == "shared" else array.reshape(10, len(order), -1)[:, order].reshape(array.shape)
        for key, array in observation.items()
    }


@pytest.mark.parametrize("agent", ["ppo", "decentralised"])  # other agents have the policies of ppo
@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_users_can_be_exchanged_and_be_more_or_fewer(agent, env_id, rng):
    config, alone = config_of(env_id, 6), config_of(env_id, 1)
    settings = AGENTS.load(agent).for_environment(config)
    model, observation = built(settings, config), observed(config)
    order = rng.permutation(6)
    actions = act(model, observation)
    assert np.abs(actions).std() > 0.01
    assert act(model, reordered(observation, order)) == pytest.approx(actions[:, order], abs=1e-5)
    other = built(settings, alone)
    other.set_parameters(model.get_parameters(), exact_match=True)
    actions = act(other, observed(alone))
    assert actions.shape == (10, 1, alone.actions.columns)
    assert np.isfinite(actions).all()


@pytest.mark.parametrize("env_id", [FULL, "MultiSpin/Serving-v0"])
def test_a_decentralised_policy_sees_no_other_devices(env_id):
    config = config_of(env_id, 4)
    observation, others = observed(config), observed(config)
    for key, array in others.items():
        if key != "shared":
            rows = array.reshape(10, 4, -1)
            rows[:, 1:] = rows[::-1, 1:]
    for agent, expected in (("decentralised", [True, False]), ("ppo", [False, False])):
        model = built(AGENTS.load(agent).for_environment(config), config)
        first, second = act(model, observation), act(model, others)
        assert [(first[:, user] == second[:, user]).all() for user in (0, 1)] == expected


def test_rates_of_learning():
    linear, cosine = LinearRate(2.0, lambda x: x / 2.0), CosineRate(2.0, lambda x: x / 2.0)
    assert [linear(x) for x in (2.0, 1.0, 0.2, 0.05, 0.0)] == pytest.approx([2.0, 1.0, 0.2, 0.1, 0.1])
    assert [cosine(x) for x in (2.0, 2.0 / 3.0, 1.0, 0.0)] == pytest.approx([2.0, 0.5, 1.0, 0.0])


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_features_are_of_order_one(env_id):
    config = config_of(env_id, 4)
    entries = {key: th.as_tensor(array) for key, array in observed(config, 200).items()}
    features = UserFeatures(config.observations.space)(entries).unflatten(-1, (4, -1)).numpy()
    assert np.isfinite(features).all()
    assert np.abs(features).max() < 7.0
    assert (np.abs(features.mean((0, 1))) < 1.5).all()
