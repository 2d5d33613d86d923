import json
import re
from dataclasses import dataclass
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import FilterObservation, FlattenObservation, RescaleAction
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.evaluation.cases import held_out, validation_cases
from multispin_env.evaluation.statistics import EPISODE_SEED
from tests.evaluation.test_policy import policy_of

FULL, HIDDEN, WITHOUT = "MultiSpin/Heterogeneous-v0", "MultiSpin/HiddenAcceptance-v0", "MultiSpin/Continuous-v0"
TINY = {"num_users": 3, "episodes": 4, "rounds": 3}


@dataclass(frozen=True, eq=False)
class Same(ms.RoundsController):
    length: int = 3

    def decide(self, state):
        return self.with_equal_latency(np.full(state.draft_time.shape, self.length), state)


class Hurry(ms.Objective):
    def reward(self, outcome):
        return outcome.total_tokens - 100.0 * outcome.round_latency


@dataclass(frozen=True, kw_only=True)
class Hurried(ms.RoundsConfig):
    env_id = "Mine/Hurried-v0"

    def objective(self, num_envs):
        return Hurry()


@dataclass(frozen=True, eq=False)
class Pairs(ms.ContinuousController):
    def decide(self, state):
        return ms.make_controller("groups", self.scenario, groups=2).decide(state)


def zero(observation):
    return np.zeros((len(observation["shared"]), 3, 2))


class Zero:
    def __init__(self):
        self.begun, self.asked = 0, 0

    def predict(self, observation, state=None, deterministic=False):
        assert deterministic
        self.begun += state is None
        self.asked += 1
        return zero(observation), 1 if state is None else state + 1


class Bare:
    predict = staticmethod(zero)


def command(capsys, *arguments):
    assert main(["compare", "--num-users", "3", "--episodes", "4", *arguments]) == 0
    return capsys.readouterr().out


def test_numbers_and_table_are_those_of_the_command(capsys):
    settings = ["--set", "rounds=3"]
    named = f"{__name__}:Zero"
    options = ["--controllers", named, "optimal", "p2p", "--seed", "9", "--scenario", "qwen3.5", *settings]
    rows = json.loads(command(capsys, *options, "--json", "-"))["rows"]
    printed = command(capsys, *options)
    table = ms.compare(FULL, {named: Zero(), "optimal": "optimal", "p2p": "p2p"}, scenario="qwen3.5", seed=9, **TINY)
    assert [row.to_dict() for row in table.rows] == rows
    assert f"{table}\n" == printed
    assert (table.metric, table.reference) == ("goodput", "optimal")
    printed = command(capsys, "--env", "MultiSpin/Fair-v0", *settings)
    assert f"{ms.compare('MultiSpin/Fair-v0', **TINY)}\n" == printed
    assert printed.count("decided by") == 2  # with a second table of users


def test_an_own_reward_is_not_mixed_with_goodput():
    ms.register_environment(Hurried)
    try:
        table = ms.compare("Mine/Hurried-v0", **TINY)
        assert table.metric == "return"
        assert all(row.decides for row in table.rows)
        by_goodput = ms.compare("Mine/Hurried-v0", ["fixed", "p2p"], metric="goodput", **TINY)
        assert not by_goodput["p2p"].decides
        assert "p2p" not in [line[0] for line in by_goodput.tables[1][1]]  # throughputs of users are unknown
        for options in ({"contenders": ["p2p"]}, {"contenders": ["fixed"], "against": "p2p"}):
            with pytest.raises(ValueError, match=r"^metric: expected one of .* with the system 'p2p', got 'return'$"):
                ms.compare("Mine/Hurried-v0", **options, **TINY)
        config = ms.EnvConfig.of("Mine/Hurried-v0", num_users=3)
        assert held_out(config, 2).metric == validation_cases(config).metric == "return"
        with pytest.raises(ValueError, match=r"^reward: expected 'expected' or 'sampled' with your own Hurry, got 'sh"):
            ms.EnvConfig.of("Mine/Hurried-v0", reward="share").make()
    finally:
        ms.envs.unregister_environment("Mine/Hurried-v0")


def test_shares_and_joules_are_not_mixed_with_goodput_of_other_systems():
    for metric, reward in (("return", "share"), ("tokens_per_joule", None), ("tokens_per_second", None)):
        assert all(row.decides for row in ms.compare(FULL, metric=metric, reward=reward, **TINY).rows)
        with pytest.raises(ValueError, match=r"^metric: expected one of .* with the system 'p2p'"):
            ms.compare(FULL, ["p2p"], metric=metric, reward=reward, **TINY)
    assert not all(row.decides for row in ms.compare(FULL, metric="return", **TINY).rows)


def test_all_kinds_of_contenders_play():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    named, fixed = f"{__name__}:Zero", ms.make_controller("fixed", scenario)
    table = ms.compare(FULL, [Same, zero, Zero(), Bare(), named, policy_of(FULL), fixed, "optimal"], **TINY)
    assert {row.name for row in table.rows} == {"Same", "zero", "Zero", "Bare", named, "Policy", "Fixed", "optimal"}
    assert table["zero"].mean == table["Zero"].mean == table["Bare"].mean == table[named].mean
    assert table["Fixed"].mean == ms.evaluate("fixed", FULL, **TINY).mean
    assert table["optimal"].mean >= max(row.mean for row in table.rows)


def test_a_model_with_memory_is_reset():
    model = Zero()
    first, again = (ms.evaluate(model, FULL, **TINY) for _ in range(2))
    assert first == again
    assert (model.begun, model.asked) == (2, 2 * TINY["rounds"])


def test_a_model_of_stable_baselines3_plays_with_its_encoding():
    env = gym.make(FULL, num_users=3, action="lengths")
    row = ms.evaluate(PPO("MultiInputPolicy", env, device="cpu", seed=0), FULL, action="lengths", **TINY)
    assert row.name == "PPO"
    assert 0.0 < row.share < 1.0


def trained(*wrappers, normalized=False):
    """Model trained for a few rounds behind wrappers of Gymnasium and, if ``normalized``, ``VecNormalize``."""

    def make():
        env = gym.make(FULL, num_users=3)
        for wrapper, *options in wrappers:
            env = wrapper(env, *options)
        return env

    env = DummyVecEnv([make])
    env = VecNormalize(env, clip_obs=1.0) if normalized else env
    policy = "MlpPolicy" if FLAT in wrappers else "MultiInputPolicy"
    return PPO(policy, env, n_steps=16, batch_size=16, learning_rate=0.1, seed=0, device="cpu").learn(16)


def mean_goodput(model, episodes):
    """Mean goodput in single rounds behind the model's own wrappers."""
    env, goodput = model.get_env(), []
    env.training = False  # VecNormalize keeps its statistics
    for seed in range(EPISODE_SEED, EPISODE_SEED + episodes):
        env.seed(seed)
        action, _ = model.predict(env.reset(), deterministic=True)
        goodput.append(env.step(action)[3][0]["goodput"])
    return np.mean(goodput)


FLAT = (FlattenObservation,)


@pytest.mark.parametrize(
    ("wrappers", "normalized"),
    [
        ([(RescaleAction, np.float32(-0.5), np.float32(1.5))], False),
        ([FLAT], False),
        ([], True),
        ([FLAT, (RescaleAction, np.float32(0.0), np.float32(1.0))], True),
    ],
)
def test_a_model_plays_as_behind_its_wrappers(wrappers, normalized):
    model = trained(*wrappers, normalized=normalized)
    row = ms.evaluate(model, FULL, num_users=3, episodes=6)
    assert row.mean == pytest.approx(mean_goodput(model, 6), rel=1e-5)
    assert row.mean != pytest.approx(ms.evaluate(zero, FULL, num_users=3, episodes=6).mean, rel=1e-3)


def test_rules_without_barrier_and_plug_ins():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    made = ms.make_controller("groups", scenario, groups=2)
    table = ms.compare(WITHOUT, {"own": Pairs, "made": made, "groups": "groups"}, num_users=3, episodes=2, horizon=1.0)
    assert table.reference == "groups"
    assert table["own"].mean == table["made"].mean
    plug_in = ms.make_controller("optimal+task-mean", scenario)
    hidden = ms.compare(HIDDEN, {"mine": plug_in, "named": "optimal+task-mean"}, **TINY)
    assert hidden["mine"].mean == hidden["named"].mean < hidden["optimal+clairvoyant"].mean


def test_the_reference_can_be_selected():
    table = ms.compare(FULL, {"mine": Same, "other": "fixed"}, against="mine", metric="return", **TINY)
    assert (table.reference, table.metric, table["mine"].difference) == ("mine", "return", 0.0)
    with pytest.raises(ValueError, match=r"name: expected one of .* did you mean 'other'"):
        table["othr"]
    assert ms.compare(FULL, [Same], against="fixed", **TINY)["fixed"].difference == 0.0


def optimal(observation):
    return zero(observation)


@pytest.mark.parametrize(
    ("contenders", "more", "words"),
    [
        (["optimel"], {}, "did you mean 'optimal'"),
        ([3], {}, "policy, model or function, got 3"),
        ([dict], {}, "policy, model or function, got <class 'dict'>"),
        ([Zero(), Zero()], {}, "expected distinct names, got 'Zero' twice; pass a dict of names"),
        ([Pairs], {}, "state: expected a ContinuousState for Pairs"),
        ([optimal], {"against": "optimal+clairvoyant", "metric": "god"}, "metric: expected one of"),
        ({"optimal+clairvoyant": optimal}, {}, "expected a name other than that of the reference, got 'optimal+clair"),
        (["fixed"], {"against": "fixd"}, "did you mean 'fixed'"),
        (["fixed"], {"seed": -1}, "seed: expected an integer ≥ 0, got -1"),
        (["fixed"], {"episodes": 1}, "episodes: expected an integer ≥ 2, got 1"),
        (["fixed"], {"num_user": 3}, "did you mean 'num_users'"),
        (trained, {"num_users": 4}, "action_space: expected the shape (4, 2) of the environment, got Box"),
        (trained, {"action": "lengths"}, "action_space: expected the shape (3, 1)"),
        (partial(trained, (FilterObservation, ["compute", "channel"])), {}, "observation_space: expected"),
        (partial(trained, (FilterObservation, ["shared"]), FLAT), {}, "got shapes"),
    ],
)
def test_mistakes_are_one_sentence(contenders, more, words):
    with pytest.raises((ValueError, TypeError), match=rf"^.*{re.escape(words)}.*\Z"):
        ms.compare(FULL, [contenders()] if callable(contenders) else contenders, **(TINY | more))
