import numpy as np
import pytest

from multispin_env.envs.rendering import renderers, style
from multispin_env.envs.rendering.canvas import load_pygame
from multispin_env.envs.rendering.renderers import END, JUDGED, MOVES
from multispin_env.envs.rendering.renderers import RoundsFilm as Film
from multispin_env.watch import make_watched_env, watch

FULL = "MultiSpin/Heterogeneous-v0"


def episodes(*names, rounds=3, **arguments):
    env = make_watched_env(FULL, rounds, "llama2", {"num_users": 3, **arguments})
    return [watch(env, name, 7) for name in names]


def test_both_meet_the_same_states():
    optimal, again, fixed = episodes("optimal", "optimal", "fixed", optimum=True)
    assert [view.goodput for view in optimal] == [view.goodput for view in again]
    assert [view.title for view in (*optimal, *fixed)] == ["optimal"] * 3 + ["fixed"] * 3
    other = watch(make_watched_env(FULL, 3, "llama2", {"num_users": 3, "optimum": True}), "optimal", 8)
    assert other[0].goodput != optimal[0].goodput  # of another seed
    assert optimal[-1].reference == pytest.approx(fixed[-1].reference)  # what the optimum makes of the states
    assert optimal[-1].goodput == pytest.approx(optimal[-1].reference)
    assert fixed[-1].goodput[-1] < optimal[-1].goodput[-1]


def test_rounds_are_shown_in_the_same_time():
    one, other = episodes("optimal", "fixed")
    frames = Film(one, other).frames()
    assert len(frames) == 3 * (MOVES + 1)
    assert sum(frame.times for frame in frames) == 3 * MOVES + 2 * JUDGED + END
    slower = max(float(view.last.outcome.round_latency) for view in (one[0], other[0]))
    clocks = [frame.clock for frame in frames[: MOVES + 1]]
    assert clocks == pytest.approx(np.linspace(0.0, slower, MOVES + 1))
    left, right = frames[-1].views
    assert left.scales == right.scales
    assert (left.reference, left.reference_name) == (right.goodput, "fixed")
    assert (right.reference, right.reference_name) == (left.goodput, "optimal")


def test_time_passes():
    film = Film(*episodes("optimal", "fixed", reward="sampled"))
    pictures = [film.draw(frame).array() for frame in film.frames()[: MOVES + 1]]
    coloured = [int((picture[48:236, :130] != style.PAPER).any(-1).sum()) for picture in pictures]
    assert coloured == sorted(coloured)
    judged = [int((picture[48:236, 220:390] == style.SERVER_TOKEN).all(-1).sum()) for picture in pictures]
    assert judged[0] == 0
    assert judged[-1] > 0


def test_window_can_be_closed(monkeypatch):
    pygame = load_pygame()
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    film = Film(*episodes("optimal", "fixed"))
    screen = renderers.Window("test", 60.0)
    canvas = film.draw(film.frames()[0])
    assert screen.show(canvas)
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert not screen.show(canvas)
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_q))
    assert not screen.show(canvas)
    screen.close()
