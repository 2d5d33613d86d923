"""Hidden and recorded acceptance: what is seen, what is not, and the limits in which nothing is hidden."""

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.records import Records
from multispin_env.registry import ENVIRONMENTS

HIDDEN, RECORDED = "MultiSpin/HiddenAcceptance-v0", "MultiSpin/RecordedAcceptance-v0"
PLAIN = "MultiSpin/Heterogeneous-v0"


def make(env_id=HIDDEN, num_envs=20, **options):
    env = gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", num_users=5, **options)
    return env.unwrapped


def play(env, controller, rounds=64, seed=0):
    """Mean goodput of each copy under a controller that knows the state."""
    env.reset(seed=seed)
    goodput = [env.step(env.encode_action(controller(env.state)))[-1]["goodput"] for _ in range(rounds)]
    return np.mean(goodput, axis=0)


@pytest.mark.parametrize("env_id", [HIDDEN, RECORDED])
def test_what_is_seen_follows_what_was_played(env_id):
    env = make(env_id, history=True, privileged=True, mean_rounds=4)
    seen = env.decode_observation(env.reset(seed=0)[0])
    for name in ("drafted", "accepted", "age", "hits", "misses"):
        assert not getattr(seen, name).any()
    assert seen.acceptance_rate is None
    hits, misses, age = (np.zeros((20, 5), int) for _ in range(3))
    rng = np.random.default_rng(0)
    ended = 0
    for _ in range(60):
        rate = env.state.acceptance_rate
        observation, _, _, truncated, info = env.step(rng.uniform(-1, 1, (20, 5, 2)).astype(np.float32))
        assert not truncated.any()
        seen = env.decode_observation(observation)
        assert (info["acceptance_rate"] == rate).all()
        assert (seen.drafted == info["draft_length"]).all()
        assert (seen.accepted == info["accepted_tokens"] - 1).all()
        new = seen.age == 0
        ended += new.sum()
        age = np.where(new, 0, age + 1)
        hits = np.where(new, 0, hits + seen.accepted)
        misses = np.where(new, 0, misses + (seen.accepted < seen.drafted))
        assert (seen.age == age).all()
        assert (seen.hits == hits).all()
        assert (seen.misses == misses).all()
        assert (env.state.acceptance_rate[~new] == rate[~new]).all()
    assert ended / (60 * 100) == pytest.approx(1 / 4, abs=0.03)


def test_counts_of_a_request_that_never_ends_go_on():
    env = make(history=True, mean_rounds=float("inf"))
    env.reset(seed=0)
    accepted = np.zeros((20, 5), dtype=np.int64)
    for played in range(1, 9):
        observation, *_, info = env.step(np.zeros(env.action_space.shape, np.float32))
        accepted += info["accepted_tokens"].astype(np.int64) - 1
        seen = env.unwrapped.decode_observation(observation)
        assert (seen.age == played).all()
        assert (seen.hits == accepted).all()


@pytest.mark.parametrize("env_id", [HIDDEN, RECORDED])
def test_nothing_but_the_task_tells_the_rate_before_a_round(env_id):
    """Regression from the first observation to the rate finds the task mean and nothing more."""
    env = make(env_id, num_envs=2000)
    observation, info = env.reset(seed=0)
    assert not any(array.any() for name, array in info.items() if not name.startswith("_"))
    rate = env.state.acceptance_rate.ravel()
    task = observation["task"].reshape(2000, 5, 4)
    mean = np.array(env.assumptions.acceptance_mean)
    others = [observation[key] for key in ("compute", "channel", "drafted", "accepted", "age")]
    features = np.concatenate([task, *(array[..., None] for array in others)], axis=-1).reshape(10_000, -1)
    train, test = slice(0, 5000), slice(5000, None)
    weights = np.linalg.lstsq(features[train], rate[train], rcond=None)[0]
    error = rate[test] - features[test] @ weights
    error_of_mean = rate[test] - task.reshape(10_000, 4)[test] @ mean
    assert (error**2).mean() > 0.99 * (error_of_mean**2).mean()
    assert (error_of_mean**2).mean() > 0.001  # there is something to find


@pytest.mark.parametrize("env_id", [HIDDEN, RECORDED])
def test_info_holds_the_rate_only_on_request(env_id):
    for options, expected in (({}, False), ({"privileged": True}, True)):
        env = make(env_id, **options)
        env.reset(seed=0)
        info = env.step(np.zeros((20, 5, 2), np.float32))[-1]
        assert ("acceptance_rate" in info) is expected
        # whole numbers: expectations would tell the rate
        assert (info["accepted_tokens"] == np.round(info["accepted_tokens"])).all()


@pytest.mark.parametrize("env_id", [HIDDEN, RECORDED, "MultiSpin/DelayedChannel-v0"])
def test_observed_is_what_the_observation_shows(env_id):
    env = make(env_id)
    env.reset(seed=0)
    observation = env.step(np.zeros((20, 5, 2), np.float32))[0]
    shown, known = env.decode_observation(observation), env.observed
    for name in ms.Observed.__slots__:
        one, other = getattr(shown, name), getattr(known, name)
        assert (one is None) == (other is None), name
        assert one is None or other == pytest.approx(one, rel=1e-5), name


def test_without_spread_and_end_it_is_the_plain_environment():
    """The same seeds give the same devices, fading and tasks: equal, not only in the mean."""
    hidden, plain = make(spread=0.0, mean_rounds=float("inf"), num_envs=6), make(PLAIN, num_envs=6)
    controller = ms.make_controller("homogeneous", plain.scenario)
    assert (play(hidden, controller) == play(plain, controller)).all()
    assert (hidden.state.acceptance_rate == plain.state.acceptance_rate).all()


def test_tasks_that_change_leave_the_mean_as_it_is():
    hidden, plain = make(spread=0.0, num_envs=200), make(PLAIN, num_envs=200)
    controller = ms.make_controller("homogeneous", plain.scenario)
    difference = play(hidden, controller, 32) - play(plain, controller, 32, seed=1000)
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(200)


def test_record_of_independent_draws_is_the_formula():
    rng = np.random.default_rng(0)
    rates = np.array([0.7, 0.8])
    probability = np.repeat(rates, 20_000)
    records = Records(np.arange(2), np.array([20_000, 20_000]), probability, rng.random(40_000) < probability)
    scenario = ms.Scenario.preset(
        "llama2", tasks=tuple(ms.Task(name=str(rate), acceptance_rate=rate) for rate in rates)
    )
    recorded, plain = (
        make(RECORDED, 100, scenario=scenario, records=records, reward="sampled"),
        make(PLAIN, 100, scenario=scenario, reward="sampled"),
    )
    controller = ms.make_controller("homogeneous", plain.scenario)
    difference = play(recorded, controller, 40) - play(plain, controller, 40, seed=1000)
    assert abs(difference.mean()) < 4 * difference.std() / 10
    assert abs(difference.mean()) < 0.02 * play(plain, controller, 10).mean()


@pytest.mark.parametrize("env_id", [HIDDEN, RECORDED])
def test_expected_and_drawn_rewards_have_one_mean(env_id):
    """Copies of one seed see the same devices, channels and requests, whatever is priced."""
    means, states = [], []
    for chosen in ("expected", "sampled"):
        env = make(env_id, 300, reward=chosen)
        controller = ms.make_controller("fixed", env.scenario)
        means.append(play(env, controller, 30))
        states.append(env.state)
    assert (states[0].spectral_efficiency == states[1].spectral_efficiency).all()
    assert (states[0].acceptance_rate == states[1].acceptance_rate).all()
    difference = means[1] - means[0]
    assert difference.std() > 0.02 * means[0].mean()  # one is drawn, the other not
    assert abs(difference.mean()) <= 4 * difference.std() / np.sqrt(300)  # 1.3 and .3 are measured


def test_assumptions():
    env = make(spread=0.1)
    assert env.assumptions.acceptance_spread == pytest.approx([0.1] * 4)
    assert env.assumptions.acceptance_mean == pytest.approx([task.acceptance_rate for task in env.scenario.tasks])
    assert make(RECORDED).assumptions.acceptance_mean[0] == pytest.approx(0.92, abs=0.02)


def test_agents_are_measured_on_texts_they_did_not_learn_from():
    variant = ENVIRONMENTS.load(RECORDED)
    learnt = variant(half=0, modelled=True, history=True)
    assert learnt.learning.held_out == variant(half=1, history=True)
    assert variant(half=1).learning.held_out == variant(half=0)
    assert variant().learning.held_out == variant()
    assert ms.registry.ENVIRONMENTS.load(HIDDEN)().learning.held_out is None


def test_a_model_of_the_record_has_its_means_and_spreads():
    variant, scenario = ENVIRONMENTS.load(RECORDED), ms.Scenario.preset("llama2")
    for half in (None, 0, 1):
        replayed, modelled = (variant(half=half, modelled=flag).dynamics(scenario).acceptance for flag in (False, True))
        for own, other in zip(replayed.prior(scenario), modelled.prior(scenario), strict=True):
            assert own == pytest.approx(other)
    envs = [make(RECORDED, 200, modelled=flag) for flag in (False, True)]
    replayed, modelled = (play(env, ms.make_controller("homogeneous", env.scenario)).mean() for env in envs)
    assert modelled == pytest.approx(replayed, rel=0.02)  # as near as one rate for a text is: .016 is measured
