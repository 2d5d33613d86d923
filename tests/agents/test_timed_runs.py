"""Where training starts and ends where steps take different times, and that other environments do not notice."""

import csv
import io

import numpy as np
import pytest
import torch as th
from rich.console import Console

from agents.base import tuning_for
from agents.checkpoints import MODEL, load_checkpoint
from agents.measures import Measure
from agents.models import load_run_model
from agents.policies import policy_of
from agents.ppo import SETTINGS, PPOSettings, Proximal
from agents.runs import Limits, RunConfig
from agents.training import train
from agents.vec_env import make_vec_env
from multispin_env.envs.settings import Settings
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.policy import Policy
from multispin_env.registry import ENVIRONMENTS

FULL = "MultiSpin/Heterogeneous-v0"
SHORT = {
    "MultiSpin/Continuous-v0": {"horizon": 2.0, "reference": "own-pace"},
    "MultiSpin/Serving-v0": {"horizon": 6.0, "warm_up": 1.0, "load": 1.5},
}


def settings_of(env_id, action="residual", users=4):
    chosen = {"action": action, "reward": None, "optimum": False}
    given = {**SHORT.get(env_id, {}), "num_users": users}
    return Settings.make(env_id, ENVIRONMENTS.load(env_id), "llama2", chosen, given)


def untrained(env_id, settings, seed=0):
    env = make_vec_env(env_id, settings, SETTINGS.num_envs, None, seed)
    return SETTINGS.build(env, lambda progress: progress, seed, "cpu", tuning_for(settings))


def zero(settings):
    """The policy that always answers 0."""
    columns = settings.actions.columns * settings.scenario.num_users
    return Policy(settings, lambda entries: np.zeros((len(entries["shared"]), columns), np.float32))


@pytest.mark.parametrize("env_id", SHORT)
def test_untrained_it_is_the_scheduler_that_actions_start_from(env_id):
    settings = settings_of(env_id)
    model = untrained(env_id, settings)
    rule = settings.contender(settings.actions.reference)
    env, rng = make_vec_env(env_id, settings, 6, None, seed=5), np.random.default_rng(0)
    env.reset()
    policy = policy_of(model, settings)
    for _ in range(25):
        state = env.env.state
        own, wanted = policy(state), settings.actions.checked_decision(rule(state), state.phase.shape)
        assert np.array_equal(own.draft_length, wanted.draft_length)
        assert np.array_equal(own.join, wanted.join)
        assert np.array_equal(
            np.argsort(own.priority, -1, kind="stable"), np.argsort(wanted.priority, -1, kind="stable")
        )
        env.step(rng.uniform(-1, 1, (6, *env.action_space.shape)).astype(np.float32))
    with th.no_grad():
        assert not policy.network(env.reset()).any()


@pytest.mark.parametrize("env_id", SHORT)
def test_a_run_never_ends_below_the_scheduler_that_it_starts_from(env_id, tmp_path, monkeypatch):
    """On what it validates itself on; that comes before the first update, and the best is kept."""
    monkeypatch.setattr(Episodes, "watched_size", 4)
    settings = settings_of(env_id)
    config = RunConfig(env_id, settings.scenario, "ppo", settings.action, 0, settings.chosen_arguments)
    assert train(config, tmp_path, Limits(timesteps=400), False, "cpu", Console(file=io.StringIO())) is None
    measure = Measure(env_id, settings)
    cases, key = measure._watched, measure.headline.key
    wanted = cases.values(zero(settings)).mean()
    assert cases.values(policy_of(load_run_model(tmp_path, env_id, settings), settings)).mean() >= wanted
    with (tmp_path / "curve.csv").open(encoding="utf-8") as file:
        scores = [float(row[key]) for row in csv.DictReader(file)]
    assert scores[0] == pytest.approx(wanted / cases.values(cases.reference).mean())
    assert load_checkpoint(tmp_path, MODEL).score == max(scores)


def test_discounts_are_of_seconds_there():
    for env_id in SHORT:
        settings = settings_of(env_id)
        tuning = tuning_for(settings)
        assert tuning.timing.gamma == settings.variant.learning.discount < 0.9
        assert 0.9 < tuning.gamma < 1.0  # of a step, for agents that know no time
    assert tuning_for(settings_of(FULL)).timing is None


def test_batches_and_uplink_are_explored_less_where_they_are_those_of_a_rule():
    env_id = "MultiSpin/Continuous-v0"
    residual, plain = (tuning_for(settings_of(env_id, action)).column_log_std for action in ("residual", "plain"))
    assert residual[0] == 0.0 > max(residual[1:])
    assert plain == ()


def test_rounds_are_learnt_without_times_and_without_critic():
    settings = settings_of(FULL)
    model = PPOSettings(4, 100, 4, 8).build(
        make_vec_env(FULL, settings, 4, 6, 0), lambda x: x, 0, "cpu", tuning_for(settings)
    )
    assert type(model) is Proximal
    assert model.gamma == 0.0
    assert not model.policy.critic
