import copy
import pickle
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import HumanRendering

import multispin_env as ms
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Canvas, load_pygame
from multispin_env.envs.rendering.renderers import Window, require_display
from multispin_env.envs.rendering.traces import _num_cells
from multispin_env.envs.rounds.known import HeterogeneousEnv
from tests.envs.continuous.played import ENDLESS, HIDDEN

pytestmark = pytest.mark.usefixtures("quick_prices")
FULL = "MultiSpin/Heterogeneous-v0"

pygame = load_pygame()


def test_a_partial_token_drafted_ahead_has_a_cell():
    outcome = SimpleNamespace(draft_length=np.array([12, 0]), drafted_ahead=np.array([0.4, 0.0]))
    assert _num_cells([outcome]) == 14


def make(env_id=FULL, **options):
    return gym.make(env_id, **{"num_users": 4, "render_mode": "rgb_array", **options})


def make_vector(num_envs=2, **options):
    return gym.make_vec(FULL, num_envs, **{"num_users": 4, "render_mode": "rgb_array", **options})


def zero(env):
    return np.zeros(env.action_space.shape, np.float32)


def played(env, action, rounds=1, seed=0):
    env.reset(seed=seed)
    for _ in range(rounds):
        env.step(np.full(env.action_space.shape, action, np.float32))
    return env.render()


@pytest.mark.parametrize("env_id", ms.registry.ENVIRONMENTS.names())
def test_frames_depend_on_the_action_and_the_seed(env_id):
    env = make(env_id)
    env.reset(seed=0)
    empty = env.render()
    long, short = ([[length] + [0.0] * (env.action_space.shape[1] - 1)] for length in (4.0, -4.0))
    frame = played(env, long)
    assert empty.shape == frame.shape == (450, 800, 3)
    assert empty.dtype == frame.dtype == np.uint8
    assert all((frame != other).any() for other in (empty, played(env, short), played(env, long, seed=1)))
    assert all((frame == other).all() for other in (played(env, long), played(make(env_id), long)))


@pytest.mark.parametrize(
    ("env_id", "options", "drawn"),
    [
        *((FULL, {"reward": "sampled"}, True), (FULL, {}, False), ("MultiSpin/HiddenAcceptance-v0", {}, True)),
        *((ENDLESS, {"rho": 90.0}, False), (ENDLESS, {"rho": 90.0, **HIDDEN}, True)),
    ],
)
def test_pictures_show_drawn_tokens_if_the_environment_draws_them(env_id, options, drawn):
    envs = gym.make_vec(env_id, num_envs=2, num_users=3, render_mode="rgb_array", **options)
    assert envs.unwrapped.view(1).drawn == drawn


@pytest.mark.parametrize("num_users", [1, 64, 300])
def test_any_number_of_devices(num_users):
    for option in ({"reward": "sampled"}, {"min_draft_length": 0}):
        env = make(num_users=num_users, **option)
        assert (played(env, -1.0) != played(env, 1.0)).any()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_draw_the_same(copied):
    env = make().unwrapped
    frame = played(env, 0.1, rounds=3)
    assert (copied(env).render() == frame).all()
    vector = make_vector()
    vector.reset(seed=0)
    vector.step(vector.action_space.sample())
    assert all(map(np.array_equal, copied(vector.unwrapped).render(), vector.render()))
    window = make(render_mode="human")
    window.reset(seed=0)
    window.step(zero(window))
    assert window.render() is None
    other = copied(window.unwrapped)
    other.step(zero(window))
    for closed in (window, window, other):
        closed.close()


def test_window_of_gymnasium():
    env = HumanRendering(make())
    env.reset(seed=0)
    env.step(zero(env))
    other = make()
    before = played(other, 0.3)
    env.close()  # also closes pygame
    assert (played(make(), 0.3) == before).all()
    assert (played(other, 0.3, rounds=2) != before).any()


def test_vectors_draw_the_pictures_of_single_environments():
    vector = make_vector(rounds=4)
    frames = played(vector, 0.2, rounds=3, seed=5)
    singles = [played(make(), 0.2, rounds=3, seed=seed) for seed in (5, 6)]
    assert all(map(np.array_equal, frames, singles))


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_new_episodes_begin_with_an_empty_picture(mode):
    env = make_vector(rounds=2, autoreset_mode=mode)
    env.reset(seed=0)
    empty = env.render()[0]
    env.step(zero(env))
    assert (env.render()[0] != empty).any()
    env.step(zero(env))
    if mode is AutoresetMode.NEXT_STEP:
        assert (env.render()[0] != empty).any()
        env.step(zero(env))
    elif mode is AutoresetMode.DISABLED:
        env.reset(options={"reset_mask": np.array([True, False])})
        assert (env.render()[1] != empty).any()
    assert (env.render()[0] == empty).all()


def test_without_render_mode_nothing_is_recorded():
    env = make(render_mode=None)
    env.reset(seed=0)
    assert env.render() is None
    assert env.unwrapped._renderer is None
    vector = make_vector(render_mode=None)
    assert vector.render() is None
    with pytest.raises(RuntimeError, match='view: expected render_mode "rgb_array", got None'):
        vector.unwrapped.view()


@pytest.fixture
def canvas(monkeypatch):
    """Canvas with a rectangle, on a machine without a display."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    canvas = Canvas(60, 40)
    canvas.fill(style.PAPER)
    canvas.rectangle(10, 5, 20, 10, style.DRAFTING)
    yield canvas
    pygame.display.quit()


def test_windows_show_the_picture_and_the_title(canvas):
    other, window = Window("other", 60.0), Window("the title", 60.0)
    assert window.show(canvas)
    screen = pygame.display.get_surface()
    assert np.array_equal(pygame.surfarray.array3d(screen).swapaxes(0, 1), canvas.array())
    assert pygame.display.get_caption()[0] == "the title"
    other.close()  # it never opened
    assert pygame.display.get_init()
    window.close()
    assert not pygame.display.get_init()
    assert window.show(canvas)  # opens another


def test_events_that_close_a_window(canvas):
    window = Window("test", 60.0)
    window.show(canvas)
    for key in (pygame.K_ESCAPE, pygame.K_q, pygame.K_w):
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
        assert window.show(canvas) == (key == pygame.K_w)
    pygame.event.post(pygame.event.Event(pygame.KEYUP, key=pygame.K_q))
    assert window.show(canvas)
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert not window.show(canvas)


def test_displays_are_required_unless_a_driver_is_set(canvas, monkeypatch):
    require_display()
    assert not pygame.display.get_init()
    monkeypatch.setattr(pygame.display, "init", lambda: None)
    monkeypatch.setattr(pygame.display, "get_driver", lambda: "dummy")
    monkeypatch.delenv("SDL_VIDEODRIVER")
    expected = r"^display: expected a display for the window \(or use --out FILE\), got "
    with pytest.raises(ValueError, match=expected + "none$"):
        require_display()

    def fail():
        raise pygame.error("no such device")

    monkeypatch.setattr(pygame.display, "init", fail)
    with pytest.raises(ValueError, match=expected + "no such device"):
        require_display()


def test_human_mode_shows_every_reset_and_step(monkeypatch):
    shown = []
    monkeypatch.setattr(Window, "show", lambda self, canvas: shown.append(canvas.array()))
    env = HeterogeneousEnv(num_users=2, render_mode="human")
    env.reset(seed=0)
    env.step(np.zeros((2, 2), np.float32))
    env.reset()
    assert len(shown) == 3
    assert (shown[0] != shown[1]).any()
    assert (shown[2] == shown[0]).all()
