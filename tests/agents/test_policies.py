"""Networks and features by hand, and what policies of all agents have in common in all environments."""

from dataclasses import replace

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from agents import AGENTS
from agents.base import CosineRate, LinearRate
from agents.policies import Codes, ConcatLinear, EquivariantActorCritic, SumHead, UserEncoder, UserFeatures, UserHead
from agents.ppo import PPOSettings
from agents.runs import supported_arguments
from agents.sac import JointValue
from agents.vec_env import make_vec_env
from multispin_env.envs.config import EnvConfig
from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario

pytestmark = pytest.mark.usefixtures("quick_prices")

ENTRIES = {
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
"""An observation of two devices that shows everything."""


def space_of(entries=ENTRIES):
    return spaces.Dict({key: spaces.Box(-9.0, 9.0, (len(value),), np.float32) for key, value in entries.items()})


def tensors(entries=ENTRIES, copies=1):
    return {key: th.tensor([value] * copies) for key, value in entries.items()}


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
    found = network(tensors(refused)).reshape(2, 23)
    assert found[0, 11:15].tolist() == pytest.approx([2.0, 1.0, 0.0, 0.0])  # not all were accepted
    assert found[1, 11:15].tolist() == pytest.approx([1.0, 0.5, 0.0, 0.0])


def test_features_of_requests_of_two_devices():
    """The first has 64 tokens to come in 32 verifications' time; the second has no request."""
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


def test_features_without_what_is_hidden():
    shown = {key: ENTRIES[key] for key in ("compute", "drafted", "age", "hits", "shared")}
    network = UserFeatures(space_of(shown))
    assert network.features_dim == 2 * 4  # counts are nothing without their fellows
    assert network(tensors(shown, 3)).shape == (3, 8)


def test_users_know_themselves_and_their_context():
    th.manual_seed(0)
    encoder = UserEncoder(4, 3)
    features = th.randn(2, 5 * 3)
    own = encoder.own(features.reshape(2, 5, 3))
    mean = sum(own[:, user] for user in range(5)) / 5.0
    most = th.stack([own[:, user] for user in range(5)]).max(0).values
    context = encoder.context(th.cat([mean, most], -1))
    found = encoder(features)
    assert (found.user.shape, found.context.shape) == ((2, 5, 4), (2, 1, 4))
    assert th.allclose(found.user, own)
    assert th.allclose(found.context[:, 0], context, atol=1e-6)


def beside(codes, user):
    """A user's own code beside the context."""
    return th.cat([codes.user[:, user], codes.context[:, 0]], -1)


def test_layers_of_both_are_layers_of_one_beside_the_other():
    th.manual_seed(0)
    layer, codes = ConcatLinear(6, 4), Codes(th.randn(2, 5, 3), th.randn(2, 1, 3))
    wanted = [beside(codes, user) @ layer.weight.T + layer.bias for user in range(5)]
    assert th.allclose(layer(codes), th.stack(wanted, 1), atol=1e-6)


def test_heads_begin_with_what_they_are_told():
    th.manual_seed(0)
    head = UserHead(64, 3, 0.25)
    assert head.net[-1].bias.tolist() == [0.0, 0.25, 0.25]
    assert head.net[-1].weight.std().item() == pytest.approx(0.01, rel=0.3)
    codes = Codes(th.randn(2, 5, 64), th.randn(2, 1, 64))
    found = head(codes)
    assert found.shape == (2, 15)
    value, sums = SumHead(64), th.zeros(2, 1)
    for user in range(5):
        own = Codes(codes.user[:, user : user + 1], codes.context)
        assert th.allclose(found.reshape(2, 5, 3)[:, user], head(own), atol=1e-6)
        sums += value(own)
    assert th.allclose(value(codes), sums / 5.0, atol=1e-6)


def test_columns_can_have_scales():
    """The first outputs are what they are told whatever the scale, and what is learnt counts by it."""
    th.manual_seed(0)
    head, codes = UserHead(8, 2, 0.25, 0.0, th.tensor([1.0, 0.125])), Codes(th.randn(3, 4, 8), th.randn(3, 1, 8))
    assert th.allclose(head(codes).reshape(3, 4, 2), th.tensor([0.0, 0.25]))
    with th.no_grad():
        head.net[-1].bias.add_(1.0)
    assert th.allclose(head(codes).reshape(3, 4, 2), th.tensor([1.0, 0.375]))
    assert "scale" not in head.state_dict()


def test_policy_of_stable_baselines():
    th.manual_seed(0)
    box = spaces.Box(-1.0, 1.0, (2, 2), np.float32)
    policy = EquivariantActorCritic(space_of(), box, lambda _: 0.125, width=8, log_std_init=-1.0, bandwidth_init=0.5)
    assert policy.log_std.tolist() == [-1.0, -1.0]
    assert policy.action_net.net[-1].bias.tolist() == [0.0, 0.5]
    assert policy.optimizer.param_groups[0]["lr"] == 0.125
    with th.no_grad():
        policy.log_std.copy_(th.tensor([-1.0, -2.0]))
    chosen = policy.get_distribution(tensors(copies=3)).distribution
    assert chosen.stddev[1].tolist() == pytest.approx(np.exp([-1.0, -2.0, -1.0, -2.0]))
    assert th.allclose(chosen.mean, policy.deterministic(tensors(copies=3)))
    features = policy.features_extractor(tensors())
    codes = policy.mlp_extractor.policy_net(features)
    assert th.allclose(policy.deterministic(tensors()), policy.action_net(codes))


def test_a_policy_can_be_without_critic():
    box = spaces.Box(-1.0, 1.0, (2, 2), np.float32)
    policy = EquivariantActorCritic(space_of(), box, lambda _: 0.125, width=8, critic=False)
    assert not [name for name, _ in policy.named_parameters() if "value" in name]
    assert policy.predict_values(tensors(copies=3)).tolist() == [[0.0]] * 3
    features = policy.features_extractor(tensors(copies=3))
    assert policy.values(features).tolist() == [0.0] * 3
    assert th.equal(policy.means(features).flatten(1), policy.deterministic(tensors(copies=3)))


def test_single_columns_are_explored_less():
    for columns, wanted in ((3, [-1.0, -1.5, -1.0]), (1, [-1.0])):
        box = spaces.Box(-1.0, 1.0, (2, columns), np.float32)
        policy = EquivariantActorCritic(
            space_of(), box, lambda _: 0.1, width=8, log_std_init=-1.0, column_log_std=(0.0, -0.5), last_std=0.0
        )
        assert policy.log_std.tolist() == wanted
        assert not policy.deterministic(tensors(copies=3)).any()


def test_values_join_each_users_features_and_action():
    th.manual_seed(0)
    value = JointValue(8, 3, 2)
    features, actions = th.randn(4, 5, 3), th.randn(4, 5, 2)
    found = value(th.cat([features.flatten(1), actions.flatten(1)], -1))
    joined = th.cat([features, actions], -1)
    assert found.shape == (4, 1)
    assert th.allclose(found, value.head(value.encoder(joined.flatten(1))))


def test_rates_of_learning():
    linear, cosine = LinearRate(2.0, lambda x: x / 2.0), CosineRate(2.0, lambda x: x / 2.0)
    assert [linear(x) for x in (2.0, 1.0, 0.2, 0.05, 0.0)] == pytest.approx([2.0, 1.0, 0.2, 0.1, 0.1])
    assert [cosine(x) for x in (2.0, 1.0, 0.0)] == pytest.approx([2.0, 1.0, 0.0])
    assert cosine(2.0 / 3.0) == pytest.approx(0.5)


def settings(env_id="MultiSpin/Heterogeneous-v0", **arguments):
    return EnvConfig.of(env_id, Scenario.preset("llama2", num_users=2), **arguments)


KNOWN = PPOSettings()
RESIDUAL = replace(KNOWN, column_log_std=(0.0, -2.5))  # bandwidth, the second column, is best as it is
CAREFUL = {"rollout_rounds": 8, "epochs": 2, "learning_rate": 2e-3, "clip_range": 0.2, "width": 32}
VERIFICATIONS = {
    **{"rollout_rounds": 16, "epochs": 4, "learning_rate": 1e-3, "clip_range": 0.1, "width": 64},
    **{"trace": 0.1, "timed": True, "last_std": 0.0},
}
NUMBERS = [
    ("Heterogeneous-v0", {}, RESIDUAL),
    ("Heterogeneous-v0", {"action": "lengths"}, KNOWN),
    ("Homogeneous-v0", {}, replace(RESIDUAL, **CAREFUL)),
    ("DelayedChannel-v0", {"delay": 0}, replace(RESIDUAL, log_std=-1.5)),
    ("DelayedChannel-v0", {"delay": 1}, replace(KNOWN, **CAREFUL, log_std=-2.0, bandwidth=0.4)),
    ("DraftAhead-v0", {}, replace(RESIDUAL, log_std=-1.5, gamma=0.9)),
    ("Continuous-v0", {"action": "plain"}, replace(KNOWN, **VERIFICATIONS, gamma=0.5)),
    ("Serving-v0", {"action": "residual"}, replace(KNOWN, **VERIFICATIONS, gamma=0.8, column_log_std=(0, -1, -1))),
]


@pytest.mark.parametrize(("name", "arguments", "numbers"), NUMBERS)
def test_numbers_of_ppo_by_environment(name, arguments, numbers):
    """Those that Stable-Baselines3 gets: nothing is multiplied or added to them on the way."""
    config = settings(f"MultiSpin/{name}", **arguments)
    assert KNOWN.for_environment(config) == numbers
    model = numbers.build(make_vec_env(config, KNOWN.num_envs, 64, 0), lambda progress: progress, 0, "cpu")
    used = (model.n_steps, model.n_epochs, model.learning_rate(1.0), model.clip_range(1.0), model.gae_lambda)
    assert used == (numbers.rollout_rounds, numbers.epochs, numbers.learning_rate, numbers.clip_range, numbers.trace)
    assert (model.gamma, model.policy.width) == (numbers.gamma, numbers.width)
    wanted = numbers.log_std + np.array([*numbers.column_log_std, 0.0, 0.0, 0.0])[: model.policy.columns]
    assert model.policy.log_std.tolist() == pytest.approx(wanted.tolist())


@pytest.mark.parametrize(
    ("agent", "name", "changed"),
    [
        ("sac", "DelayedChannel-v0", {"log_std": -2.0, "bandwidth": 0.4}),
        ("sac", "DraftAhead-v0", {"gamma": 0.9}),
        ("apg", "DelayedChannel-v0", {"bandwidth": 0.4}),
        ("evolution", "DraftAhead-v0", {}),
        ("evolution", "Continuous-v0", {"last_std": 0.0}),
        ("evolution", "Serving-v0", {"last_std": 0.0, "warm_up": 3.0, "seconds": 12.0}),
    ],
)
def test_numbers_of_other_agents_by_environment(agent, name, changed):
    usual = AGENTS.load(agent)
    assert usual.for_environment(settings(f"MultiSpin/{name}")) == replace(usual, **changed)


FULL = "MultiSpin/Heterogeneous-v0"
ROUNDS = 5


def settings_of(env_id, users, **arguments):
    others = supported_arguments(ENVIRONMENTS.load(env_id))
    return EnvConfig.of(env_id, **{**others, "num_users": users, **arguments})


PAIRS = [
    (agent, env_id)
    for agent in ("ppo", "sac", "decentralised")  # the kinds of policies; others have that of ppo
    for env_id in ENVIRONMENTS.names()
]


def model(agent, settings, env_id):
    chosen = AGENTS.load(agent)
    env = make_vec_env(settings, chosen.num_envs, 64, 0)
    built = chosen.for_environment(settings).build(env, lambda progress: progress, 0, "cpu")
    with th.no_grad():  # untrained heads answer almost nothing: give them something to say
        for parameter in built.policy.parameters():
            parameter.add_(0.15 * th.randn_like(parameter))
    return built


def played(env_id, settings, copies=10):
    """Observations after some rounds of random actions."""
    env = make_vec_env(settings, copies, 64, seed=3)
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
def test_users_can_be_exchanged_and_be_more_or_fewer(agent, env_id, rng):
    """Permuting users permutes actions, and a model of one number of users runs on another."""
    settings, alone = settings_of(env_id, 6), settings_of(env_id, 1)
    built, observation = model(agent, settings, env_id), played(env_id, settings)
    order = rng.permutation(6)
    actions, permuted = (built.predict(o, deterministic=True)[0] for o in (observation, reordered(observation, order)))
    assert np.abs(actions).std() > 0.01
    assert permuted == pytest.approx(actions[:, order], abs=1e-5)
    other = model(agent, alone, env_id)
    other.set_parameters(built.get_parameters(), exact_match=True)
    actions, _ = other.predict(played(env_id, alone), deterministic=True)
    assert actions.shape == (10, 1, alone.actions.columns)
    assert np.isfinite(actions).all()


@pytest.mark.parametrize("env_id", [FULL, "MultiSpin/Serving-v0"])
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


@pytest.mark.parametrize("env_id", [FULL, "MultiSpin/Continuous-v0"])
def test_log_probability_agrees_with_its_own_actions(env_id):
    settings = settings_of(env_id, 3)
    built = model("ppo", settings, env_id)
    tensors, _ = built.policy.obs_to_tensor(played(env_id, settings, 4))
    actions, values, log_prob = built.policy(tensors)
    again, log_prob_again, _ = built.policy.evaluate_actions(tensors, actions.flatten(1))
    assert th.allclose(log_prob, log_prob_again, atol=1e-4)
    assert th.allclose(values, again)


@pytest.mark.parametrize("agent", ["ppo", "sac"])
def test_exploration_and_first_bandwidth_are_those_of_the_settings(agent):
    chosen, settings = AGENTS.load(agent), settings_of(FULL, 2)
    env = make_vec_env(settings, chosen.num_envs, 64, 0)
    changed = replace(chosen, gamma=0.25, log_std=-2.0, bandwidth=0.5)
    built = changed.build(env, lambda progress: progress, 0, "cpu")
    assert built.gamma == 0.25
    assert built.policy_kwargs["log_std_init"] == -2.0
    actions, _ = built.predict(played(FULL, settings), deterministic=True)
    assert np.abs(actions - [0.0, 0.5]).max() < 0.1


def features_of(settings, observation):
    tensors = {key: th.as_tensor(array) for key, array in observation.items()}
    users = settings.scenario.num_users
    return UserFeatures(settings.observations.space)(tensors).unflatten(-1, (users, -1)).numpy()


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_features_are_of_order_one(env_id):
    settings = settings_of(env_id, 4)
    features = features_of(settings, played(env_id, settings, 200))
    assert np.isfinite(features).all()
    assert np.abs(features).max() < 6.0
    assert (np.abs(features.mean((0, 1))) < 1.5).all()
