"""The environment that a testbed plays: Gymnasium's contract, plug-ins and agents, and a device that leaves."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

pytest.importorskip("zmq")

import multispin_env as ms
from multispin_lab.testbed import server
from tests.lab.models.tiny import tiny_model
from tests.lab.testbed.devices import ACCESS, joined
from tests.lab.testbed.test_contender import CONDITIONS, PROMPTS, SCENARIO, USERS

ENV = "multispin_lab.testbed:MultiSpin/Testbed-v0"


@pytest.fixture
def testbed():
    settings = server.Settings(seed=3, tokens=12, port=0, emulate=True, grace=1.0)
    with server.Testbed(SCENARIO, tiny_model(0), PROMPTS, ACCESS, settings) as made:
        yield made


def test_it_is_an_environment_that_plug_ins_play(testbed):
    with joined(testbed, USERS):
        env = gym.make(ENV, testbed=testbed, rounds=4, history=True)
        check_env(env.unwrapped, skip_render_check=True)
        other = gym.make("MultiSpin/HiddenAcceptance-v0", scenario=SCENARIO, rounds=4, history=True)
        assert (env.observation_space, env.action_space) == (other.observation_space, other.action_space)
        plug_in = ms.make_controller("optimal+filter", SCENARIO, env.unwrapped.assumptions)
        env.reset(seed=1)
        for number in range(1, 5):
            before = [len(text) for text in testbed.verifiers[0].texts]
            decision = plug_in(env.unwrapped.observed)
            _, reward, terminated, truncated, info = env.step(env.unwrapped.encode_action(decision))
            assert not terminated
            assert truncated == (number == 4)
            goodput = info["accepted_tokens"].sum() / info["round_latency"]
            assert info["goodput"] == pytest.approx(goodput)
            assert reward == pytest.approx(goodput / SCENARIO.autoregressive_goodput)
            after = [len(text) for text in testbed.verifiers[0].texts]
            going_on = testbed.verifiers[0].age > 0
            assert (np.subtract(after, before) == info["accepted_tokens"])[going_on].all()
            observed = env.unwrapped.observed
            np.testing.assert_array_equal(observed.drafted, decision.draft_length)
            np.testing.assert_array_equal(observed.accepted[going_on], info["accepted_tokens"][going_on] - 1)
            np.testing.assert_array_equal(observed.age, testbed.verifiers[0].age)
            np.testing.assert_allclose(observed.draft_time, CONDITIONS.draft_time)


def test_the_seed_determines_requests(testbed):
    def texts(seed):
        env.reset(seed=seed)
        env.step(np.zeros(env.action_space.shape, dtype=np.float32))
        return [list(text) for text in testbed.verifiers[0].texts]

    with joined(testbed, USERS):
        env = gym.make(ENV, testbed=testbed)
        assert texts(5) == texts(5) != texts(6)


def test_a_device_that_leaves_counts_nothing(testbed):
    with joined(testbed, USERS) as threads:
        env = gym.make(ENV, testbed=testbed)
        env.reset(seed=0)
        env.step(np.zeros(env.action_space.shape, dtype=np.float32))
        age = env.unwrapped.observed.age.copy()
        threads[1].stop()
        for _ in range(2):
            *_, info = env.step(np.zeros(env.action_space.shape, dtype=np.float32))
        observed = env.unwrapped.observed
        assert (info["accepted_tokens"] > 0).tolist() == [True, False, True, True]
        assert (observed.drafted[1], observed.accepted[1], observed.age[1]) == (0, 0, age[1])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"optimum": True}, "optimum: expected False"),
        ({"privileged": True}, "privileged: expected False"),
        ({"reward": "expected"}, r"reward: expected one of \['sampled'\]"),
        ({"reward": "share"}, r"reward: expected one of \['sampled'\]"),
        ({"scenario": "qwen3.5"}, "scenario: expected that of the testbed"),
        ({"regret": True}, "regret"),
    ],
)
def test_what_needs_the_true_rates_is_refused(testbed, arguments, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        gym.make(ENV, testbed=testbed, **arguments)
    with pytest.raises(ValueError, match="testbed: expected a Testbed, got None"):
        gym.make(ENV, testbed=None)
    with pytest.raises(ValueError, match=r"num_envs: expected gym\.make"):
        gym.make_vec(ENV, num_envs=2, testbed=testbed)
