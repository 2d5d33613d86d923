"""What imitation and foresight learn from a round or a lesson, by hand."""

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.logger import configure

from agents.base import CosineRate
from agents.foresight import Foresight
from agents.imitation import SCALE, Imitation, ImitationSettings
from agents.teacher import Lesson, Systems, Teacher
from agents.vec_env import make_vec_env
from multispin_env.envs.settings import Settings
from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario

FULL, COMMON, FAIR = "MultiSpin/Heterogeneous-v0", "MultiSpin/Homogeneous-v0", "MultiSpin/Fair-v0"


def settings_of(env_id=FULL, users=2, action="residual"):
    return Settings(Scenario.preset("llama2", num_users=users), ENVIRONMENTS.load(env_id)(), action)


@pytest.fixture
def model():
    env = make_vec_env(FULL, settings_of(), 1, 64, 0)
    found = ImitationSettings(width=8, batch_size=3).build(env, lambda progress: progress, seed=1, device="cpu")
    found.set_logger(configure(None, []))
    return found


def test_loss_of_a_known_lesson(model, monkeypatch):
    """Errors 1, 2, 0, 1 with costs 1, 0.5, 3, 2 in one state, none in the other: (1 + 2 + 0 + 2) / 2."""
    wanted = np.array([[[0.5, -1.0], [2.0, 0.0]], [[0.25, 0.25], [0.25, 0.25]]], np.float32)
    cost = np.array([[[1.0, 0.5], [3.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]]], np.float32)
    asked = []
    monkeypatch.setattr(model.teacher, "lesson", lambda size: asked.append(size) or Lesson({}, wanted, cost))
    action = th.tensor([[1.5, 1.0, 2.0, -1.0], [0.25] * 4])
    monkeypatch.setattr(model, "actions_for", lambda observation: action)
    loss, cases = model.loss()
    assert (loss.item(), cases, asked) == (SCALE * 2.5, 3, [3])


def test_a_step_counts_cases_and_keeps_gradients_short(model, monkeypatch):
    weights = model.policy.action_net.net[-1].bias
    monkeypatch.setattr(model, "loss", lambda: (1e6 * (weights**2).sum() + 1e6 * weights.sum(), 7))
    norms = []
    monkeypatch.setattr(model.policy.optimizer, "step", lambda: norms.append(weights.grad.norm().item()))
    for _ in range(2):  # gradients do not add up
        assert model._improve() == 7
    assert norms == [pytest.approx(1.0, rel=1e-4)] * 2
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


def test_bandwidth_costs_as_much_as_a_length_does():
    scenarios = (Scenario.preset("llama2"),)
    teacher = Teacher(settings_of(), Systems(scenarios, 3, 3), np.random.default_rng(0))
    lesson = teacher.lesson(5)
    assert lesson.cost.shape == lesson.action.shape == (5, 3, 2)
    for state in range(5):
        assert lesson.cost[state, :, 1] == pytest.approx([lesson.cost[state, :, 0].mean()] * 3)
    assert np.ptp(lesson.cost[:, 0, 1]) > 0.0


def test_costs_of_actions_are_those_of_lengths_by_the_slope_squared():
    """The encodings "shares" and "residual" tell the same lengths, with slopes 12 and ln(25) L / 2."""
    found = {}
    for action in ("shares", "residual"):
        settings = settings_of(action=action)
        lesson = Teacher(settings, Systems((settings.scenario,), 4, 4), np.random.default_rng(0)).lesson(20)
        found[action] = lesson.cost[..., 0], settings.actions.real_length(lesson.action[..., 0].astype(float))
    (linear, length), (logarithmic, same) = found.values()
    assert same == pytest.approx(length, rel=1e-4)
    assert logarithmic / (0.5 * np.log(25.0) * length) ** 2 == pytest.approx(linear / 144.0, rel=1e-3)


def test_common_lengths_are_whole():
    teacher = Teacher(
        settings_of(COMMON, action="lengths"), Systems((Scenario.preset("llama2"),), 4, 4), np.random.default_rng(0)
    )
    lesson = teacher.lesson(20)
    codec = settings_of(COMMON, action="lengths").actions
    lengths = codec.real_length(lesson.action[..., 0].astype(float))
    assert lengths == pytest.approx(np.rint(lengths), abs=1e-4)
    assert (np.ptp(lengths, axis=-1) < 1e-4).all()


def test_systems_without_choice():
    scenario = Scenario.preset("qwen3.5")
    systems = Systems((scenario,), 3, 3, largest=3, budget_low=2.0, budget_high=2.0)
    found, size = systems.draw(np.random.default_rng(0))
    assert size == 3
    assert found.total_bandwidth == pytest.approx(2.0 * scenario.total_bandwidth)
    assert found == scenario.replace(num_users=3, total_bandwidth=found.total_bandwidth)
    sizes = Systems((scenario,), 3, 3, largest=30, budget_low=0.5, budget_high=8.0)
    rng = np.random.default_rng(1)
    for found, size in (sizes.draw(rng) for _ in range(50)):
        per_user = found.total_bandwidth * size / 3 / scenario.total_bandwidth
        assert 0.5 <= per_user <= 8.0
        assert found.verification_time == pytest.approx(scenario.replace(num_users=size).verification_time)


def test_a_seed_of_its_own_and_no_larger_users_in_its_context(model):
    assert not model.policy.largest
    assert model.lr_schedule(1.0) == pytest.approx(3e-3)
    again = Imitation(
        model.get_env(),
        model.teacher.systems,
        3,
        learning_rate=CosineRate(1.0, lambda x: x),
        max_grad_norm=1.0,
        policy_kwargs={"width": 8},
        seed=1,
        device="cpu",
    )
    assert (again.teacher.lesson(2).action == model.teacher.lesson(2).action).all()


def test_foresight_learns_nothing_where_all_episodes_ended():
    env = make_vec_env(FAIR, settings_of(FAIR), 4, 64, 0)
    codec = env.env.settings.observations
    one = Foresight(env.observation_space, 8, 32.0)
    before = {key: value.clone() for key, value in one.state_dict().items()}
    first = env.reset()
    second = env.step(np.zeros((4, *env.action_space.shape), np.float32))[0]
    one.learn(first, second, np.zeros(4, dtype=bool), codec)
    assert all(th.equal(value, before[key]) for key, value in one.state_dict().items())


def test_foresight_learns_by_the_mean_error(monkeypatch):
    """The loss is the same of two copies as of four alike, and its gradient is kept short."""
    found = []
    for copies in (2, 4):
        env = make_vec_env(FAIR, settings_of(FAIR), 1, 64, 0)
        codec = env.env.settings.observations
        th.manual_seed(0)
        one = Foresight(env.observation_space, 8, 32.0)
        rounds = [env.reset(), env.step(np.zeros((1, *env.action_space.shape), np.float32))[0]]
        many = [{key: np.repeat(array, copies, 0) for key, array in each.items()} for each in rounds]
        monkeypatch.setattr(one.optimizer, "step", lambda: None)
        for _ in range(2):  # gradients do not add up
            one.learn(*many, np.ones(copies, dtype=bool), codec)
            found.append(th.cat([p.grad.flatten() for p in one.parameters()]))
    assert all(th.allclose(found[0], other, atol=1e-6) for other in found[1:])
    assert 0.0 < found[0].norm() <= 1.0 + 1e-5
