import re
from pathlib import Path

import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_lab.models import rounds
from multispin_lab.models.passes import DRAFT, VERIFY
from tests.lab.models.tiny import save_tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return save_tiny(folder / "large", 1), save_tiny(folder / "small", 2, hidden=8)


class Fake:
    def __init__(self):
        self.calls, self.error = 0, None

    def __call__(self, cell):
        if self.error is not None and self.calls == 30:
            raise self.error
        self.calls += 1
        if cell.what == VERIFY:
            return 0.001 * cell.batch + 0.02 + 0.0005 * cell.tokens
        return (0.008 if cell.what == DRAFT else 0.008376) * cell.length


@pytest.fixture
def fake(monkeypatch):
    fake = Fake()
    monkeypatch.setattr(rounds, "Stopwatch", lambda *_: fake)
    return fake


def run(models, out, *more):
    return main(["profile", "--target", models[0], "--draft", models[1], "--out", str(out), *more])


def test_a_profile_from_start_to_use(models, fake, tmp_path, capsys):
    stem = tmp_path / "mine-server"
    assert run(models, stem) == 0
    printed = capsys.readouterr().out
    assert "A pass of K drafts takes 1 ms K + 20 ms + 0.5 ms n.\n" in printed
    assert "A drafted token takes 8 ms (median of 5 passes of 8 tokens).\n" in printed
    assert "Each token of context beyond 128 adds 1000 ns.\n" in printed  # to 504, with 8 more the most of the model
    assert printed.splitlines()[2].split() == ["1", "0", "1", "21.50", "21.50", "to", "21.50", "21.50", "+0.0%"]
    assert fake.calls == 22 * 6
    server = ms.Server.load(f"{stem}.toml")
    assert (server.name, server.draft_time, server.time_per_draft) == ("mine-server", 0.008, 0.001)
    assert (server.draft_context, server.draft_context_time) == (128, 1e-6)
    assert (tmp_path / "mine-server.png").stat().st_size > 10_000
    assert main(["schedule", "--server", f"{stem}.toml", "--max-batch", "4"]) == 0
    assert "draft time 8.896 to 11.58 ms" in capsys.readouterr().out
    files = [Path(f"{stem}{suffix}") for suffix in (".csv", ".png", ".toml")]
    assert sorted(tmp_path.iterdir()) == files

    first = [file.read_bytes() for file in files]
    assert run(models, stem) == 0
    assert capsys.readouterr() == (printed, "")
    assert fake.calls == 22 * 6
    assert [file.read_bytes() for file in files] == first

    old = re.sub("long-draft,.*\n", "", files[0].read_text(encoding="utf-8"))  # of a version with one context
    files[0].write_text(old, encoding="utf-8", newline="\n")
    assert run(models, stem) == 0
    assert capsys.readouterr().out == printed
    assert fake.calls == 22 * 6 + 6


def test_a_killed_run_goes_on(models, fake, tmp_path):
    fake.error = KeyboardInterrupt
    small = ("--batches", "1", "3", "--lengths", "0", "5", "--repeats", "9")
    assert run(models, tmp_path / "mine", *small) == 130
    assert not (tmp_path / "mine.toml").exists()
    saved = (tmp_path / "mine.csv").read_text(encoding="utf-8")
    assert saved.count("\n") == 2 + 24
    fake.error = None
    assert run(models, tmp_path / "mine", *small) == 0
    assert fake.calls == 30 + 6 * 9 - 24 + 6
    assert (tmp_path / "mine.csv").read_text(encoding="utf-8").startswith(saved)
    assert ms.Server.load(tmp_path / "mine.toml").time_per_draft == pytest.approx(0.001)


def test_too_little_memory_is_one_sentence(models, fake, tmp_path, capsys):
    fake.error = MemoryError("a batch of 3")
    assert run(models, tmp_path / "mine") == 2
    words = "multispin profile: memory: .*batch . with draft length .*: a batch of .; leave out such cells .*"
    assert re.fullmatch(words, capsys.readouterr().err.splitlines()[-1])


def test_real_passes_of_a_rounded_draft(models, tmp_path, capsys):
    stem = tmp_path / "mine"
    small = ("--batches", "1", "3", "--lengths", "0", "2", "--repeats", "2", "--context", "8")
    assert main(["profile", "--target", models[0], "--draft-bits", "4", "--out", str(stem), *small]) == 0
    lines = (tmp_path / "mine.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 + 6 * 2
    assert f"{models[0]} at 4 bits" in lines[0]
    server = ms.Server.load(f"{stem}.toml")
    assert server.draft_time > 0.0
    assert server.model == f"{models[0]} in float32, drafts by {models[0]} at 4 bits"


WRONG = [
    (["--lengths", "-1", "1"], "lengths: expected an integer ≥ 0, got -1"),
    (["--batches", "2"], "cells: expected at least two batch sizes and two lengths"),
    (
        ["--context", "500"],
        "context: expected at most 512 tokens with the longest draft, the maximum of the models, got",
    ),
    (["--out", "{}/nowhere/mine"], "file: expected a file in a folder that exists, got"),
    (["--out", "{}/locked"], "out: expected files that can be written, got .*locked.csv"),
    (["--out", "{}/folder"], "file: expected a file in a folder that exists, got .*folder.toml"),
    (["--out", "{}/scenario"], "out: expected a new file or an existing server profile, got .*scenario.toml"),
    (["--out", "x" * 101], "out: expected a text of one line"),
    (["--out", "."], "out: expected a name for the files to write, got '.'"),
    (["--out", "{}/foreign"], "foreign.csv: expected a new file or a file of this command, got a file that begins"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=range(len(WRONG)))
def test_wrong_options_are_refused_before_a_pass(words, sentence, models, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rounds, "Stopwatch", None)
    monkeypatch.setattr("os.access", lambda path, mode: not str(path).endswith("locked.csv"))
    (tmp_path / "locked.csv").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "foreign.csv").write_text("mine\n", encoding="utf-8")
    ms.Scenario.preset("llama2").save(tmp_path / "scenario.toml")
    before = {file: file.is_file() and file.read_bytes() for file in tmp_path.rglob("*")}
    assert run(models, tmp_path / "mine", *(word.format(tmp_path) for word in words)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.search(rf"^multispin profile: .*{sentence}", printed.err, re.MULTILINE), printed.err
    assert {file: file.is_file() and file.read_bytes() for file in tmp_path.rglob("*")} == before
