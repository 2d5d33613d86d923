import csv
import itertools

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.logger import configure

import multispin_env as ms
from multispin_agents.apg import WIDE, WINDOW, APGSettings, Play
from multispin_agents.base import scenarios_like
from multispin_agents.measures import CURVE, read_curve
from multispin_agents.vec_env import make_vec_env
from multispin_env.apps.commands.main import main
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.cases import Episodes
from multispin_env.registry import ENVIRONMENTS, SCENARIOS, SERVERS
from tests.families import SLOPING

FULL, DELAYED = "MultiSpin/Heterogeneous-v0", "MultiSpin/DelayedChannel-v0"


def vector(env_id=FULL, action="lengths", num_envs=8, users=5):
    return make_vec_env(env_id, num_envs, action=action, num_users=users)


def built(env, **settings):
    return APGSettings(**settings).build(env, lambda progress: progress, seed=1, device="cpu")


@pytest.fixture
def model():
    model = built(vector(num_envs=2, users=2), users=(), width=8)
    model.set_logger(configure(None, []))
    return model


def test_it_learns_in_its_own_system_and_in_others():
    model = built(vector(num_envs=40, users=4), users=(2, 10), presets=True)
    model.loss()
    plays = model._plays
    systems = [(play.env.num_envs, play.env.env.scenario.num_users, play.env.env.scenario.name) for play in plays]
    other = [(num_envs, users, name) for num_envs, users in ((80, 2), (16, 10)) for name in SCENARIOS.names()]
    assert systems == [(40, 4, "llama2"), *other]
    turns = []
    for updates in range(12):
        model._n_updates = updates
        turns.append(model.loss()[1])
    assert turns == [40, 80] * 4 + [40, 16] * 2
    first = [play.env.env.state.draft_time.ravel()[0] for play in plays]
    assert len(set(first)) == 9  # all play different episodes
    plain = built(vector(), users=(2, 10))
    assert [(other.num_users, other.name) for other in plain.others] == [(2, "llama2"), (10, "llama2")]


def test_derivatives_that_lead_outside_count_as_nothing():
    play = Play(vector())
    inside, outside = th.zeros(8, 5), th.full((8, 5), -5.5)  # lengths of 1 are far too short here
    expected = play.env.env.reward_slopes(inside.numpy().reshape(8, 5, 1)).reshape(8, 5)
    before = play.observation["channel"]
    assert play.slopes(inside).numpy() == pytest.approx(expected, rel=1e-6)
    assert (play.observation["channel"] != before).any()  # it was played
    assert (play.slopes(outside) >= 0.0).all()
    assert (play.slopes(-outside) <= 0.0).all()


def test_the_loss_of_a_known_action_by_hand(model, monkeypatch):
    """Gains 0.5 · 3 + 1 · (−1) = 0.5 and 2 · (−2) + 0.25 · 4 = −3: minus their mean is 1.25."""
    action = th.tensor([[3.0, -1.0], [-2.0, 4.0]], requires_grad=True)
    monkeypatch.setattr(model.policy, "deterministic", lambda observation: action)
    monkeypatch.setattr(Play, "slopes", lambda *_: th.tensor([[0.5, 1.0], [2.0, 0.25]]))
    loss, steps = model.loss()
    loss.backward()
    assert (loss.item(), steps) == (1.25, 2)
    assert action.grad.tolist() == [[-0.25, -0.5], [-1.0, -0.125]]  # minus half the derivatives: up, per case


def test_lengths_are_real_at_first_and_then_rounded():
    model = built(vector(), users=())
    for left, part in ((1.0, 0.0), (0.95, 0.0), (0.85, 0.5), (0.8, 1.0), (0.0, 1.0)):
        model._current_progress_remaining = left
        assert model._stage == (pytest.approx(part), WIDE if left else WINDOW)
    (play,) = model._plays
    action = th.full((8, 5), -0.3)
    real, whole = (play.env.env.reward_slopes(action.numpy()[..., None], window=window) for window in (0.0, WINDOW))
    mixed = (0.75 * real + 0.25 * whole)[..., 0]
    assert play.slopes(action, 0.25).numpy() == pytest.approx(mixed, rel=1e-5, abs=1e-7)


def test_a_step_counts_cases_and_keeps_gradients_short(model, monkeypatch):
    weights = model.policy.action_net.net[-1].bias
    monkeypatch.setattr(model, "loss", lambda: (1e6 * (weights**2).sum() + 1e6 * weights.sum(), 7))
    norms = []
    monkeypatch.setattr(model.policy.optimizer, "step", lambda: norms.append(weights.grad.norm().item()))
    for _ in range(2):  # gradients do not add up
        assert model._improve() == 7
    assert norms == [pytest.approx(0.3, rel=1e-4)] * 2
    assert model._n_updates == 2
    assert model._get_torch_save_params() == (["policy", "policy.optimizer"], [])


def test_learning_ends_with_its_steps_or_by_its_callback(model, monkeypatch):
    rates = []
    monkeypatch.setattr(model, "_improve", lambda: rates.append(model._current_progress_remaining) or 10)
    model.learn(40)
    assert model.num_timesteps == 40
    assert rates == pytest.approx([1.0, 0.75, 0.5, 0.25])
    rates.clear()
    model.learn(40, callback=lambda *_: len(rates) < 2)
    assert (len(rates), model.num_timesteps) == (2, 20)
    model.learn(30, reset_num_timesteps=False)
    assert model.num_timesteps == 50


def test_presets_of_the_same_lengths_and_tasks_are_like_it():
    def like(scenario, env_id=FULL):
        return scenarios_like(EnvConfig.of(env_id, scenario, action="lengths"))

    scenario = ms.Scenario.preset("llama2", draft_time_spread=0.3)
    assert like(scenario) == (scenario, *(ms.Scenario.preset(name) for name in SCENARIOS.names()))
    assert like(ms.Scenario.preset("llama2")) == like(scenario)[1:]
    for other in ({"max_draft_length": 9}, {"tasks": scenario.tasks[:2]}):
        alone = ms.Scenario.preset("llama2", **other)
        assert like(alone) == (alone,)
    fair = scenario.replace(**ENVIRONMENTS.load("MultiSpin/Fair-v0").scenario_defaults)
    assert {other.draft_time_spread for other in like(fair, "MultiSpin/Fair-v0")} == {0.8}  # of the environment
    similar = like(ms.Scenario.preset("r1", server="a100-70b"))  # whose time depends on tokens
    systems = itertools.product(SCENARIOS.names(), SERVERS.names(), ("distributions", "ids"))
    assert sorted((other.name, other.server, other.payload) for other in similar) == sorted(systems)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "between"),
    [
        (["--action", "lengths", "--timesteps", "30000"], 0.98),
        (["--env", DELAYED, "--timesteps", "15000"], None),  # on top of the plug-in
    ],
)
def test_it_learns(tmp_path, monkeypatch, options, between):
    monkeypatch.setattr(Episodes, "default_size", 8)
    monkeypatch.setattr(Episodes, "validation_size", 8)
    tiny = ["--agent", "apg", "--num-users", "6", "--seed", "3"]
    assert main(["train", "--name", str(tmp_path / "run"), *tiny, *options]) == 0
    _, shares = read_curve(tmp_path / "run" / CURVE, "share_of_reference")
    if between:
        assert shares[-1] > between > shares[0]
        return
    assert shares[-1] > shares[0] + 0.01
    with (tmp_path / "run" / "table.csv").open(encoding="utf-8") as file:
        means = {row["name"]: float(row["mean"]) for row in csv.DictReader(file)}
    assert means["optimal+last-report"] < means["apg (residual)"] < means["optimal+clairvoyant"]


@pytest.mark.parametrize("env_id", SLOPING)
def test_every_environment_gives_it_finite_gradients(env_id):
    env = vector(env_id, "residual", num_envs=4, users=3)
    model = built(env, users=(2,))
    for _ in range(4):
        model.policy.optimizer.zero_grad()
        loss, _ = model.loss()
        loss.backward()
        model.policy.optimizer.step()
        model._n_updates += 1
    assert all(th.isfinite(value).all() for value in model.policy.state_dict().values())
    assert np.isfinite(model.predict(env.reset(), deterministic=True)[0]).all()
