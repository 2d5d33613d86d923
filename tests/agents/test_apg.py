"""Analytic policy gradient: that it learns everywhere, in what it plays, and that runs repeat."""

import csv
import itertools
from types import MappingProxyType

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.logger import configure

import multispin_env as ms
from agents.apg import WIDE, WINDOW, APGSettings, Play
from agents.base import scenarios_like
from agents.vec_env import make_vec_env
from multispin_env.apps.commands.main import main
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.cases import Episodes
from multispin_env.registry import ENVIRONMENTS, SCENARIOS, SERVERS
from tests.families import SLOPING

FULL, DELAYED = "MultiSpin/Heterogeneous-v0", "MultiSpin/DelayedChannel-v0"
TINY = ["--agent", "apg", "--num-users", "6", "--seed", "3"]


def vector(env_id=FULL, action="lengths", copies=8, users=5):
    scenario = ms.Scenario.preset("llama2", num_users=users)
    settings = EnvConfig.of(env_id, scenario, action=action)
    return make_vec_env(settings, copies, max_episode_steps=64, seed=0)


def test_it_learns_in_its_own_system_and_in_others():
    env = vector(copies=40, users=4)
    model = APGSettings(users=(2, 10), presets=True).build(env, lambda progress: progress, seed=1, device="cpu")
    model.loss()
    plays = model._plays
    systems = [(play.env.num_envs, play.env.env.scenario.num_users, play.env.env.scenario.name) for play in plays]
    other = [(copies, users, name) for copies, users in ((80, 2), (16, 10)) for name in SCENARIOS.names()]
    assert systems == [(40, 4, "llama2"), *other]
    turns = []
    for updates in range(12):
        model._n_updates = updates
        turns.append(model.loss()[1])
    assert turns == [40, 80] * 4 + [40, 16] * 2
    first = [play.env.env.state.draft_time.ravel()[0] for play in plays]
    assert len(set(first)) == 9  # episodes of their own
    plain = APGSettings(users=(2, 10)).build(env, lambda progress: progress, seed=1, device="cpu")
    assert [one.num_users for one in plain.others] == [2, 10]
    assert {one.name for one in plain.others} == {"llama2"}


def test_derivatives_that_lead_outside_count_as_nothing():
    play = Play(vector())
    inside, outside = th.zeros(8, 5), th.full((8, 5), -1.5)  # lengths of 1 are far too short here
    wanted = play.env.env.reward_slopes(inside.numpy().reshape(8, 5, 1)).reshape(8, 5)
    before = play.observation["channel"]
    assert play.slopes(inside).numpy() == pytest.approx(wanted, rel=1e-6)
    assert (play.observation["channel"] != before).any()  # it was played
    assert (play.slopes(outside) >= 0.0).all()
    assert (play.slopes(-outside) <= 0.0).all()


class Known:
    """A play whose derivatives are given."""

    observation = MappingProxyType({})

    def __init__(self, env, slopes):
        self.env = env
        self.given = th.tensor(slopes)

    def slopes(self, action, rounded=0.0, window=0.2):
        return self.given


def test_the_loss_of_a_known_action_by_hand(monkeypatch):
    """Gains 0.5 · 3 + 1 · (−1) = 0.5 and 2 · (−2) + 0.25 · 4 = −3: minus their mean is 1.25."""
    env = vector(copies=2, users=2)
    model = APGSettings(users=()).build(env, lambda progress: progress, seed=1, device="cpu")
    action = th.tensor([[3.0, -1.0], [-2.0, 4.0]], requires_grad=True)
    monkeypatch.setattr(model.policy, "deterministic", lambda observation: action)
    model._plays = [Known(env, [[0.5, 1.0], [2.0, 0.25]])]
    loss, cases = model.loss()
    loss.backward()
    assert (loss.item(), cases) == (1.25, 2)
    assert action.grad.tolist() == [[-0.25, -0.5], [-1.0, -0.125]]  # minus half the derivatives: up, per case


def test_lengths_are_real_at_first_and_then_rounded():
    model = APGSettings(users=()).build(vector(), lambda progress: progress, seed=1, device="cpu")
    parts = []
    for left in (1.0, 0.95, 0.85, 0.8, 0.0):
        model._current_progress_remaining = left
        parts.append(model._stage)
    assert [part for part, _ in parts] == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])
    assert [window for _, window in parts] == [WIDE, WIDE, WIDE, WIDE, WINDOW]
    (play,) = model._plays
    action = th.full((8, 5), -0.3)
    real, whole = (play.env.env.reward_slopes(action.numpy()[..., None], window=window) for window in (0.0, WINDOW))
    found = play.slopes(action, 0.25).numpy()
    assert found == pytest.approx((0.75 * real + 0.25 * whole)[..., 0], rel=1e-5, abs=1e-7)


@pytest.fixture
def model():
    found = APGSettings(users=(), width=8).build(vector(copies=2, users=2), lambda progress: progress, 1, "cpu")
    found.set_logger(configure(None, []))
    return found


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


def test_learning_ends_with_its_cases_or_when_it_is_told(model, monkeypatch):
    rates = []
    monkeypatch.setattr(model, "_improve", lambda: rates.append(model._current_progress_remaining) or 10)
    model.learn(40)
    assert model.num_timesteps == 40
    assert rates == pytest.approx([1.0, 0.75, 0.5, 0.25])
    rates.clear()
    model.learn(40, callback=lambda found, _: len(rates) < 2)
    assert (len(rates), model.num_timesteps) == (2, 20)
    model.learn(30, reset_num_timesteps=False)
    assert model.num_timesteps == 50


def like(scenario, env_id=FULL):
    return scenarios_like(EnvConfig.of(env_id, scenario, action="lengths"))


def test_presets_of_the_same_lengths_and_tasks_are_like_it():
    own = ms.Scenario.preset("llama2", draft_time_spread=0.3)
    assert like(own) == (own, *(ms.Scenario.preset(name) for name in SCENARIOS.names()))
    assert like(ms.Scenario.preset("llama2")) == like(own)[1:]
    for other in ({"max_draft_length": 9}, {"tasks": own.tasks[:2]}):
        alone = ms.Scenario.preset("llama2", **other)
        assert like(alone) == (alone,)
    fair = own.replace(**ENVIRONMENTS.load("MultiSpin/Fair-v0").scenario_defaults)
    assert {one.draft_time_spread for one in like(fair, "MultiSpin/Fair-v0")} == {0.8}  # the environment's own range


def test_presets_are_learnt_on_all_servers_whose_time_depends_on_tokens():
    found = [(one.name, one.server, one.payload) for one in like(ms.Scenario.preset("r1", server="a100-70b"))]
    assert sorted(found) == sorted(itertools.product(SCENARIOS.names(), SERVERS.names(), ("distributions", "ids")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "apg"
    assert main(["train", "--name", str(folder), "--action", "lengths", *TINY, "--timesteps", "30000"]) == 0
    return folder


@pytest.mark.slow
def test_it_learns(trained):
    with (trained / "curve.csv").open(encoding="utf-8") as file:
        points = [float(point["share_of_reference"]) for point in csv.DictReader(file)]
    assert points[-1] > 0.98 > points[0]
    assert "apg (lengths)" in (trained / "table.csv").read_text(encoding="utf-8")


@pytest.mark.slow
def test_it_learns_on_top_of_the_plug_in_where_channels_are_late(tmp_path, monkeypatch):
    monkeypatch.setattr(Episodes, "default_size", 8)
    monkeypatch.setattr(Episodes, "watched_size", 8)
    folder = tmp_path / "late"
    assert main(["train", "--env", DELAYED, "--name", str(folder), *TINY, "--timesteps", "15000"]) == 0
    with (folder / "curve.csv").open(encoding="utf-8") as file:
        points = [float(point["share_of_reference"]) for point in csv.DictReader(file)]
    assert points[-1] > points[0] + 0.01
    with (folder / "table.csv").open(encoding="utf-8") as file:
        means = {row["name"]: float(row["mean"]) for row in csv.DictReader(file)}
    assert means["optimal+last-report"] < means["apg (residual)"] < means["optimal+clairvoyant"]


@pytest.mark.parametrize("env_id", SLOPING)
def test_every_environment_gives_it_finite_gradients(env_id):
    env = vector(env_id, "residual", copies=4, users=3)
    model = APGSettings(users=(2,)).build(env, lambda progress: progress, seed=1, device="cpu")
    for _ in range(4):
        model.policy.optimizer.zero_grad()
        loss, _ = model.loss()
        loss.backward()
        model.policy.optimizer.step()
        model._n_updates += 1
    assert all(th.isfinite(value).all() for value in model.policy.state_dict().values())
    assert np.isfinite(model.predict(env.reset(), deterministic=True)[0]).all()
