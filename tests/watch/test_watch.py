import subprocess
import sys

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.rendering import style, window
from multispin_env.envs.rendering.canvas import load_pygame
from multispin_env.watch import cli, files
from multispin_env.watch.film import END, JUDGED, MOVES, Film, make_watched_env, watch

TINY = ["--num-users", "3", "--rounds", "2"]
FULL = "MultiSpin/Heterogeneous-v0"


def episodes(*names, rounds=3, **arguments):
    env = make_watched_env(FULL, rounds, "llama2", {"num_users": 3, **arguments})
    return [watch(env, name, 7) for name in names]


def test_both_meet_the_same_states():
    optimal, again, fixed = episodes("optimal", "optimal", "fixed", optimum=True)
    assert [view.goodput for view in optimal] == [view.goodput for view in again]
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


def test_frames_of_a_round():
    one, other = episodes("optimal", "fixed", rounds=2)
    assert [view.title for view in (*one, *other)] == ["optimal", "optimal", "fixed", "fixed"]
    assert [len(view.goodput) for view in one] == [1, 2]
    frames = Film(one, other).frames()
    assert [frame.times for frame in frames] == [*[1] * MOVES, JUDGED, *[1] * MOVES, END]
    assert [frame.number for frame in frames] == [0] * (MOVES + 1) + [1] * (MOVES + 1)
    assert {frame.views[0].scales.rounds for frame in frames} == {2}
    for index, frame in enumerate((frames[0], frames[-1])):
        assert [view.goodput for view in frame.views] == [one[index].goodput, other[index].goodput]
        scales = [view.scales for view in (one[index], other[index])]
        assert frame.views[0].scales.goodput == max(scale.goodput for scale in scales)
    again = watch(make_watched_env(FULL, 2, "llama2", {"num_users": 3}), "optimal", 8)
    assert again[0].goodput != one[0].goodput  # of another seed


def test_time_passes():
    film = Film(*episodes("optimal", "fixed", reward="sampled"))
    pictures = [film.draw(frame).array() for frame in film.frames()[: MOVES + 1]]
    coloured = [int((picture[48:236, :130] != style.PAPER).any(-1).sum()) for picture in pictures]
    assert coloured == sorted(coloured)
    judged = [int((picture[48:236, 220:390] == style.SERVERS).all(-1).sum()) for picture in pictures]
    assert judged[0] == 0
    assert judged[-1] > 0


def test_gif(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    file = tmp_path / "film.GIF"
    assert cli.main([*TINY, "--controller", "optimal", "--beside", "fixed", "--fps", "10", "--out", str(file)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        *("playing 2 rounds of optimal", "playing 2 rounds of fixed"),
        f"wrote {file}: {file.stat().st_size / 1e6:.2f} MB",
    ]
    with image.open(file) as film:
        assert film.size == (800, 450)
        assert film.n_frames == 2 * (MOVES + 1)
        colours = {colour for _, colour in film.convert("RGB").getcolors()}
        assert {style.DRAFTING, style.UPLOADING, style.VERIFYING, style.PAPER} <= colours
        film.seek(film.n_frames - 1)
        assert film.info["duration"] == 100 * END


def test_one_seed_one_film(tmp_path):
    pytest.importorskip("PIL.Image")
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        file = tmp_path / f"{name}.gif"
        assert cli.main([*TINY, "--seed", str(seed), "--out", str(file)]) == 0
        found.append(file.read_bytes())
    assert found[0] == found[1] != found[2]


def test_mp4(tmp_path):
    reader = pytest.importorskip("imageio_ffmpeg")
    file = tmp_path / "film.mp4"
    assert cli.main([*TINY, "--out", str(file)]) == 0
    assert reader.count_frames_and_secs(str(file))[0] == 2 * MOVES + JUDGED + END


@pytest.mark.parametrize("env_id", ms.ENVIRONMENTS.names())
def test_every_environment_has_defaults(env_id, tmp_path):
    assert cli.main(["--env", env_id, *TINY, "--out", str(tmp_path / "film.gif")]) == 0


def test_plug_ins_and_settings(tmp_path, capsys):
    names = ["--controller", "optimal+filter", "--beside", "optimal+task-mean"]
    arguments = ["--env", "MultiSpin/HiddenAcceptance-v0", "--set", "task_visible=False", "mean_rounds=4"]
    assert cli.main([*TINY, *arguments, *names, "--out", str(tmp_path / "film.gif")]) == 0
    assert "playing 2 rounds of optimal+filter" in capsys.readouterr().err


def test_window_ends_with_the_film(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    shown = []
    monkeypatch.setattr(window.Window, "show", lambda self, canvas: shown.append(canvas) or True)
    assert cli.main(TINY) == 0
    assert len(shown) == 2 * MOVES + JUDGED + END


def test_a_closed_window_ends_the_film(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    shown, closed = [], []
    monkeypatch.setattr(window.Window, "show", lambda self, canvas: shown.append(self.fps) or len(shown) < 4)
    monkeypatch.setattr(window.Window, "close", lambda self: closed.append(self))
    assert cli.main([*TINY, "--fps", "30"]) == 0
    assert shown == [30.0] * 4
    assert len(closed) == 1


def test_window_can_be_closed(monkeypatch):
    pygame = load_pygame()
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    film = Film(*episodes("optimal", "fixed"))
    screen = window.Window("test", 60.0)
    canvas = film.draw(film.frames()[0])
    assert screen.show(canvas)
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert not screen.show(canvas)
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_q))
    assert not screen.show(canvas)
    screen.close()


def test_no_display_is_one_sentence(monkeypatch, capsys):
    pygame = load_pygame()
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    monkeypatch.setattr(pygame.display, "init", lambda: None)
    monkeypatch.setattr(pygame.display, "get_driver", lambda: "offscreen")
    assert cli.main(TINY) == 2
    assert capsys.readouterr().err == (
        "python -m multispin_env.watch: display: got none, allowed is a machine with one, or --out FILE\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--env", "MultiSpin/Heterogenous-v0"], "did you mean 'MultiSpin/Heterogeneous-v0'"),
        (["--controller", "optimel"], "did you mean 'optimal'"),
        (["--beside", "optimal+bet"], "did you mean 'beta'"),
        (["--scenario", "llama"], "did you mean 'llama2'"),
        (["--num-users", "0"], "num_users: got 0"),
        (["--rounds", "0"], "rounds: got 0"),
        (["--seed", "-1"], "seed: got -1"),
        (["--fps", "0"], "fps: got 0.0, allowed is a finite number in [1, 60]"),
        (["--set", "num_users=4"], "set: got 'num_users'"),
        (["--set", "render_mode=human"], "set: got 'render_mode'"),
        (["--set", "rewards=1"], "did you mean 'reward'"),
        (["--out", "film.avi"], "out: got '.avi', allowed is one of ['.gif', '.mp4']"),
        (["--out", "nowhere/film.gif"], "out: got 'nowhere/film.gif'"),
        (["--env", "MultiSpin/Homogeneous-v0", "--num-users", "9", "--controller", "optimal"], "one common length"),
    ],
)
def test_mistakes_are_one_sentence(arguments, words, capsys, tmp_path):
    file = tmp_path / "film.gif"
    assert cli.main([*TINY, "--out", str(file), *arguments]) == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.strip().splitlines()[-1].startswith("python -m multispin_env.watch: ")
    assert not file.exists()


@pytest.mark.parametrize(
    ("module", "ending", "words"),
    [("PIL", ".gif", "a GIF needs Pillow"), ("imageio_ffmpeg", ".mp4", "an MP4 needs imageio-ffmpeg")],
)
def test_missing_writers_are_one_sentence(module, ending, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main([*TINY, "--out", str(tmp_path / f"film{ending}")]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_command_runs_as_a_module_and_needs_no_matplotlib(tmp_path):
    code = (
        "import sys; sys.modules |= {'matplotlib': None}\n"
        f"from multispin_env.watch.cli import main; sys.exit(main({[*TINY, '--out', str(tmp_path / 'f.gif')]!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    command = [sys.executable, "-m", "multispin_env.watch", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "python -m multispin_env.watch --controller optimal --beside fixed\n" in done.stdout


def test_writers_have_names():
    assert set(files.WRITERS) == {".gif", ".mp4"}
