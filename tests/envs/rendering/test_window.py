"""Windows, by a driver that shows nothing."""

import numpy as np
import pytest

from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Canvas, load_pygame
from multispin_env.envs.rendering.window import Window, require_display
from multispin_env.envs.single import make_single
from multispin_env.envs.vector import make_vector

pygame = load_pygame()


@pytest.fixture(autouse=True)
def no_display(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    yield
    pygame.display.quit()


@pytest.fixture
def canvas():
    found = Canvas(60, 40)
    found.fill(style.PAPER)
    found.rectangle(10, 5, 20, 10, style.DRAFTING)
    return found


class Clock:
    """Writes down how fast pictures may be."""

    def __init__(self):
        self.ticks = []

    def tick(self, fps):
        self.ticks.append(fps)


def test_a_window_shows_the_picture_under_its_title(canvas, monkeypatch):
    clock, flips = Clock(), []
    monkeypatch.setattr(pygame.time, "Clock", lambda: clock)
    monkeypatch.setattr(pygame.display, "flip", lambda: flips.append(True))
    shown = Window("the title", 12.0)
    for number in (1, 2):
        assert shown.show(canvas)
        assert len(flips) == number
    screen = pygame.display.get_surface()
    assert screen.get_size() == (60, 40)
    assert np.array_equal(pygame.surfarray.array3d(screen).swapaxes(0, 1), canvas.array())
    assert pygame.display.get_caption()[0] == "the title"
    assert clock.ticks == [12.0, 12.0]
    shown.close()
    assert not pygame.display.get_init()
    assert shown.show(canvas)  # opens another
    assert pygame.display.get_init()


def test_a_window_that_never_opened_closes_no_other(canvas):
    other = Window("other", 60.0)
    other.show(canvas)
    Window("never", 60.0).close()
    assert pygame.display.get_init()


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


def test_a_display_is_required_and_left_alone(monkeypatch):
    require_display()  # the dummy was asked for
    assert not pygame.display.get_init()
    monkeypatch.setattr(pygame.display, "init", lambda: None)
    monkeypatch.setattr(pygame.display, "get_driver", lambda: "x11")
    monkeypatch.delenv("SDL_VIDEODRIVER")
    require_display()
    monkeypatch.setattr(pygame.display, "get_driver", lambda: "dummy")
    with pytest.raises(ValueError, match=r"^display: expected a machine with one, or --out FILE, got none$"):
        require_display()


def test_a_display_that_fails_is_one_sentence(monkeypatch):
    def fail():
        raise pygame.error("no such device")

    monkeypatch.setattr(pygame.display, "init", fail)
    with pytest.raises(ValueError, match=r"^display: expected a machine with one, or --out FILE, got no such device"):
        require_display()


def test_an_environment_shows_every_reset_and_round(monkeypatch):
    shown, closed = [], []
    monkeypatch.setattr(Window, "show", lambda self, canvas: shown.append((self.title, self.fps, canvas.array())))
    monkeypatch.setattr(Window, "close", lambda self: closed.append(self))
    env = make_single("MultiSpin/Heterogeneous-v0", num_users=2, render_mode="human")
    env.reset(seed=0)
    assert [one[:2] for one in shown] == [("multispin_env", 4)]
    env.step(np.zeros((2, 2), np.float32))
    assert len(shown) == 2
    assert (shown[0][2] != shown[1][2]).any()
    assert env.render() is None
    env.reset()
    assert (shown[2][2] == shown[0][2]).all()  # nothing is left of the first episode
    env.close()
    assert len(closed) == 1


def test_modes_are_told_to_gymnasium():
    single, vector = (make(env_id="MultiSpin/Fair-v0", num_users=2).metadata for make in (make_single, make_vector))
    assert single == {"render_modes": ["rgb_array", "human"], "render_fps": 4}
    assert (vector["render_modes"], vector["render_fps"]) == (["rgb_array"], 4)


@pytest.mark.parametrize(
    ("env_id", "reward", "drawn"),
    [
        ("MultiSpin/HiddenAcceptance-v0", "expected", True),
        ("MultiSpin/Heterogeneous-v0", "sampled", True),
        ("MultiSpin/Heterogeneous-v0", "expected", False),
    ],
)
def test_tokens_are_drawn_where_the_environment_draws_them(env_id, reward, drawn):
    assert make_single(env_id, reward=reward, render_mode="rgb_array")._renderer.view().drawn == drawn
