import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import HumanRendering, RecordVideo

import multispin_env as ms
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Canvas, load_pygame
from multispin_env.envs.rendering.renderers import Window, require_display
from multispin_env.envs.rounds.variants import HeterogeneousEnv
from tests.envs.continuous.played import ENDLESS, HIDDEN

pytestmark = pytest.mark.usefixtures("quick_prices")
FULL = "MultiSpin/Heterogeneous-v0"

pygame = load_pygame()


def make(env_id=FULL, **options):
    return gym.make(env_id, **{"num_users": 4, "render_mode": "rgb_array", **options})


def played(env, action, rounds=1, seed=0):
    """Frame after some rounds of one action."""
    env.reset(seed=seed)
    for _ in range(rounds):
        env.step(np.full(env.action_space.shape, action, np.float32))
    return env.render()


@pytest.mark.parametrize("env_id", ms.registry.ENVIRONMENTS.names())
def test_frames_follow_the_action_and_the_seed(env_id):
    env = make(env_id)
    env.reset(seed=0)
    empty = env.render()
    long, short = ([[length] + [0.0] * (env.action_space.shape[1] - 1)] for length in (0.5, -0.5))
    frame = played(env, long)
    assert empty.shape == frame.shape == (450, 800, 3)
    assert empty.dtype == frame.dtype == np.uint8
    assert (frame != empty).any()
    assert (frame != played(env, short)).any()
    assert (frame != played(env, long, seed=1)).any()
    assert (frame == played(env, long)).all()
    assert (frame == played(make(env_id), long)).all()


@pytest.mark.parametrize(
    ("env_id", "options", "drawn"),
    [
        *((FULL, {"reward": "sampled"}, True), (FULL, {}, False), ("MultiSpin/HiddenAcceptance-v0", {}, True)),
        *((ENDLESS, {"rho": 90.0}, False), (ENDLESS, {"rho": 90.0, **HIDDEN}, True)),
    ],
)
def test_tokens_are_drawn_where_the_environment_draws_them(env_id, options, drawn):
    envs = gym.make_vec(env_id, num_envs=2, num_users=3, render_mode="rgb_array", **options)
    assert envs.unwrapped.view(1).drawn == drawn


def test_running_goodput_beside_the_optimums():
    env = make(optimum=True)
    env.reset(seed=0)
    infos = [env.step(env.action_space.sample())[-1] for _ in range(20)]
    view = env.unwrapped._renderer.view()
    assert view.goodput[-1] == pytest.approx(np.mean([info["goodput"] for info in infos]))
    assert view.reference[-1] == pytest.approx(np.mean([info["optimal_goodput"] for info in infos]))
    assert view.scales.rounds == 32
    env.reset()
    assert env.unwrapped._renderer.view().goodput == ()


@pytest.mark.parametrize("num_users", [1, 64, 300])
def test_any_number_of_devices(num_users):
    for option in ({"reward": "sampled"}, {"min_draft_length": 0}):
        env = make(num_users=num_users, **option)
        assert (played(env, -1.0) != played(env, 1.0)).any()


def test_a_window_is_drawn_by_itself_and_survives_a_pickle():
    env = make(render_mode="human")
    env.reset(seed=0)
    env.step(np.zeros((4, 2), np.float32))
    assert env.render() is None
    twin = pickle.loads(pickle.dumps(env.unwrapped))
    twin.step(np.zeros((4, 2), np.float32))
    env.close()
    env.close()
    twin.close()


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_twins_draw_the_same(twin_of):
    env = make().unwrapped
    frame = played(env, 0.1, rounds=3)
    assert (twin_of(env).render() == frame).all()
    vector = gym.make_vec(FULL, num_envs=2, num_users=4, render_mode="rgb_array")
    vector.reset(seed=0)
    vector.step(vector.action_space.sample())
    assert all(map(np.array_equal, twin_of(vector.unwrapped).render(), vector.render()))


def test_gymnasiums_window_and_pictures_after_it():
    env = HumanRendering(make())
    env.reset(seed=0)
    env.step(np.zeros((4, 2), np.float32))
    other = make()
    before = played(other, 0.3)
    env.close()  # and with it all of pygame
    assert (played(make(), 0.3) == before).all()
    assert (played(other, 0.3, rounds=2) != before).any()


def test_gymnasiums_film(tmp_path):
    pytest.importorskip("moviepy")
    env = RecordVideo(make(), str(tmp_path / "films"), episode_trigger=lambda episode: True)
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.zeros((4, 2), np.float32))
    env.close()
    assert [file.suffix for file in (tmp_path / "films").iterdir()] == [".mp4"]


def test_copies_draw_what_single_environments_do():
    vector = gym.make_vec(FULL, num_envs=2, num_users=4, render_mode="rgb_array")
    vector.reset(seed=5)
    action = np.full((4, 2), 0.2, np.float32)
    for _ in range(3):
        vector.step(np.stack([action, action]))
    singles = [played(make(), 0.2, rounds=3, seed=seed) for seed in (5, 6)]
    assert all(map(np.array_equal, vector.render(), singles))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_new_episodes_begin_with_an_empty_picture(mode):
    env = gym.make_vec(FULL, num_envs=2, num_users=3, render_mode="rgb_array", max_episode_steps=2, autoreset_mode=mode)
    env.reset(seed=0)
    empty = env.render()[0]
    action = np.zeros((2, 3, 2), np.float32)
    env.step(action)
    assert (env.render()[0] != empty).any()
    env.step(action)
    if mode is AutoresetMode.NEXT_STEP:
        assert (env.render()[0] != empty).any()
        env.step(action)
    elif mode is AutoresetMode.DISABLED:
        env.reset(options={"reset_mask": np.array([True, False])})
        assert (env.render()[1] != empty).any()
    assert (env.render()[0] == empty).all()


def test_nothing_is_remembered_without_a_mode():
    env = gym.make(FULL, num_users=3)
    env.reset(seed=0)
    assert env.render() is None
    assert env.unwrapped._renderer is None
    vector = gym.make_vec(FULL, num_envs=2, num_users=3)
    assert vector.render() is None
    with pytest.raises(RuntimeError, match='view: expected render_mode "rgb_array", got None'):
        vector.unwrapped.view()


@pytest.fixture
def canvas(monkeypatch):
    """Of a machine whose driver shows nothing."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    found = Canvas(60, 40)
    found.fill(style.PAPER)
    found.rectangle(10, 5, 20, 10, style.DRAFTING)
    yield found
    pygame.display.quit()


def test_a_window_shows_the_picture_under_its_title(canvas):
    other, shown = Window("other", 60.0), Window("the title", 60.0)
    assert shown.show(canvas)
    screen = pygame.display.get_surface()
    assert np.array_equal(pygame.surfarray.array3d(screen).swapaxes(0, 1), canvas.array())
    assert pygame.display.get_caption()[0] == "the title"
    other.close()  # it never opened
    assert pygame.display.get_init()
    shown.close()
    assert not pygame.display.get_init()
    assert shown.show(canvas)  # opens another


@pytest.mark.parametrize(
    ("kind", "key", "goes_on"),
    [
        (pygame.QUIT, None, False),
        (pygame.KEYDOWN, pygame.K_ESCAPE, False),
        (pygame.KEYDOWN, pygame.K_q, False),
        (pygame.KEYDOWN, pygame.K_w, True),
        (pygame.KEYUP, pygame.K_q, True),
    ],
)
def test_events_that_close(kind, key, goes_on, canvas):
    shown = Window("test", 60.0)
    shown.show(canvas)
    pygame.event.post(pygame.event.Event(kind, **({} if key is None else {"key": key})))
    assert shown.show(canvas) == goes_on


def test_a_display_is_required_and_left_alone(canvas, monkeypatch):
    require_display()  # the dummy was asked for
    assert not pygame.display.get_init()
    monkeypatch.setattr(pygame.display, "init", lambda: None)
    monkeypatch.setattr(pygame.display, "get_driver", lambda: "dummy")
    monkeypatch.delenv("SDL_VIDEODRIVER")
    with pytest.raises(
        ValueError, match=r"^display: expected one to show the window on \(or use --out FILE\), got none$"
    ):
        require_display()

    def fail():
        raise pygame.error("no such device")

    monkeypatch.setattr(pygame.display, "init", fail)
    with pytest.raises(
        ValueError, match=r"^display: expected one to show the window on \(or use --out FILE\), got no such device"
    ):
        require_display()


def test_an_environment_shows_every_reset_and_round(monkeypatch):
    shown = []
    monkeypatch.setattr(Window, "show", lambda self, canvas: shown.append(canvas.array()))
    env = HeterogeneousEnv(num_users=2, render_mode="human")
    env.reset(seed=0)
    env.step(np.zeros((2, 2), np.float32))
    env.reset()
    assert len(shown) == 3
    assert (shown[0] != shown[1]).any()
    assert (shown[2] == shown[0]).all()  # nothing is left of the first episode


def test_few_texts_are_kept(canvas, monkeypatch):
    monkeypatch.setattr("multispin_env.envs.rendering.canvas.MAX_TEXTS", 2)
    for text in "abcac":
        canvas.text(text, 0.0, 0.0, 16, style.INK)
    assert len(canvas._texts) == 2
