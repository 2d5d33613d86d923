import re
import sys

import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.apps.terminal import output
from multispin_env.envs.rendering import renderers, style
from multispin_env.envs.rendering.canvas import load_pygame
from multispin_env.envs.rendering.renderers import Film
from multispin_env.envs.rendering.traces import END, JUDGED, MOVES
from multispin_env.evaluation.statistics import EPISODE_SEED

TINY = ["--num-users", "3", "--rounds", "2"]
SHORT = {
    "MultiSpin/Continuous-v0": ["--set", "horizon=1"],
    "MultiSpin/Serving-v0": ["--set", "horizon=1", "warm_up=0"],
}


def test_gif(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    file = tmp_path / "film.GIF"
    command = ["watch", *TINY, "--controller", "optimal", "--versus", "fixed", "--fps", "10", "--out", str(file)]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "1 of 2, playing 2 rounds of optimal" in printed.err
    assert "2 of 2, playing 2 rounds of fixed" in printed.err
    with image.open(file) as film:
        assert film.size == (800, 450)
        assert film.n_frames == MOVES + 2
        colours = {colour for _, colour in film.convert("RGB").getcolors()}
        assert {style.DRAFTING, style.UPLOADING, style.VERIFYING, style.PAPER} <= colours
        film.seek(film.n_frames - 1)
        assert film.info["duration"] == 100 * END
    content = file.read_bytes()
    for seed in (EPISODE_SEED, 2):
        assert main([*command, "--seed", str(seed)]) == 0
        assert (file.read_bytes() == content) == (seed != 2)


def test_mp4(tmp_path):
    reader = pytest.importorskip("imageio_ffmpeg")
    file = tmp_path / "film.mp4"
    assert main(["watch", *TINY, "--out", str(file)]) == 0
    assert reader.count_frames_and_secs(str(file))[0] == MOVES + JUDGED + END


def test_the_right_side_may_have_other_arguments(tmp_path, monkeypatch):
    films = []
    monkeypatch.setattr(Film, "__init__", lambda self, *sides: films.append(sides))
    monkeypatch.setattr(Film, "frames", lambda self: [])
    monkeypatch.setattr("multispin_env.apps.commands.watch.writer_for", lambda path: lambda file, *_: file.touch())
    names = ["--controller", "optimal", "--versus", "optimal", "--versus-set", "draft_ahead=False"]
    env = ["--env", "MultiSpin/DraftAhead-v0", "--set", "rho=100"]
    assert main(["watch", *env, *TINY, *names, "--out", str(tmp_path / "film.gif")]) == 0
    ((left, right),) = films
    assert [trace.title for trace in (left, right)] == ["optimal", "draft_ahead=False"]
    assert left.outcomes[-1].drafted_ahead.any()
    assert not right.outcomes[-1].drafted_ahead.any()
    assert left.outcomes[0].uploaded_at == pytest.approx(right.outcomes[0].uploaded_at)  # no head start yet


@pytest.mark.usefixtures("quick_prices")
@pytest.mark.parametrize("env_id", ms.registry.ENVIRONMENTS.names())
def test_every_environment_has_defaults(env_id, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(output, "LOG_INTERVAL", -1.0)
    assert main(["watch", "--env", env_id, *TINY, *SHORT.get(env_id, ()), "--out", str(tmp_path / "film.gif")]) == 0
    printed = capsys.readouterr().err
    for work, steps in (("playing", 3), ("drawing", 5)):
        parts = [float(part) for part in re.findall(rf"(\d+) %.*{work}", printed)]
        assert parts == sorted(parts)
        assert parts[-1] == 100.0
        assert len(set(parts)) >= steps  # each player, and each of some pictures


@pytest.mark.parametrize("shows", [4, 10**6])
def test_a_window_ends_with_the_film_or_where_it_is_closed(shows, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    shown, closed = [], []
    monkeypatch.setattr(renderers.Window, "show", lambda self, canvas: shown.append(self.fps) or len(shown) < shows)
    monkeypatch.setattr(renderers.Window, "close", lambda self: closed.append(self))
    assert main(["watch", *TINY, "--fps", "30"]) == 0
    assert shown == [30.0] * min(shows, MOVES + JUDGED + END)
    assert len(closed) == 1


def test_no_display_is_one_sentence(monkeypatch, refused):
    pygame = load_pygame()
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.setattr(pygame.display, "init", lambda: None)
    monkeypatch.setattr(pygame.display, "get_driver", lambda: "offscreen")
    assert "display: expected a display for the window (or use --out FILE), got none" in refused("watch", TINY)


def test_missing_writers_are_one_sentence(monkeypatch, refused):
    for module in ("PIL", "imageio_ffmpeg"):
        monkeypatch.setitem(sys.modules, module, None)
    words = "the package 'Pillow' is missing; install it with: pip install \"multispin_env[render]\""
    assert words in refused("watch", [*TINY, "--out", "film.gif"])
    assert "MP4 files need imageio-ffmpeg" in refused("watch", [*TINY, "--out", "film.mp4"])
