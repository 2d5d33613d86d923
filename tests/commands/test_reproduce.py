"""``multispin reproduce`` as a user meets it."""

import contextlib
import io
import os
import re
import subprocess
import sys

import pytest

from multispin_env.commands.main import main
from multispin_env.registry import FIGURES

CHEAP = ("remark-2", "claims")
ARGUMENTS = ("--quick", "--only", *CHEAP, "--seed", "5", "--out")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder of some figures, written by this process with matplotlib as it comes, and what was printed."""
    matplotlib = pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("reproduced") / "new"
    printed = io.StringIO()
    with matplotlib.rc_context(), contextlib.redirect_stdout(printed):
        matplotlib.rcdefaults()
        assert main(["reproduce", *ARGUMENTS, str(folder)]) == 0
    return folder, printed.getvalue().splitlines()


def test_two_processes_write_the_same_bytes(written, tmp_path):
    folder, _ = written
    command = [sys.executable, "-m", "multispin_env.reproduce", *ARGUMENTS, str(tmp_path / "b")]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}  # this one's is random
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "b" / "index.html")
    assert "2 of 2, claims" in done.stderr
    names = {path.name for path in folder.iterdir()}
    expected = {f"{name}.{suffix}" for name in CHEAP for suffix in ("csv", "svg", "png")}
    assert names == {path.name for path in (tmp_path / "b").iterdir()} == {*expected, "index.html", "claims.md"}
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_page_shows_captions_commands_and_claims(written):
    text = (written[0] / "index.html").read_text(encoding="utf-8")
    for name in CHEAP:
        assert FIGURES.load(name).title.split("'")[0] in text
        assert f"multispin reproduce --only {name} --quick --seed 5" in text
        assert f'src="{name}.png"' in text
    assert "Uni-BW above Homo" in text
    assert "http" not in text


def test_the_table_of_claims_is_printed(written):
    folder, printed = written
    table = (folder / "claims.md").read_text(encoding="utf-8").splitlines()
    assert printed[-1] == str(folder / "index.html")
    for row in table[2:]:
        claim, paper, here, verdict, _ = row.strip("| ").split(" | ")
        (line,) = (line for line in printed if line.startswith(f"{claim}  "))
        assert re.split(" {2,}", line) == [claim, paper, here, verdict]


def test_list_names_every_figure(capsys):
    assert main(["reproduce", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(FIGURES.names())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "bandwith"], "did you mean 'bandwidth'"),
        (["--only", "users", "nothing"], f"figure: expected one of {list(FIGURES.names())}, got 'nothing'"),
        (["--seed", "-1"], "seed: expected an integer ≥ 0, got -1"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(arguments, message, tmp_path, refused):
    assert message in refused("reproduce", [*arguments, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_own_figure_joins(tmp_path):
    FIGURES.register("mine", FIGURES.load("verification"))
    try:
        assert main(["reproduce", "--quick", "--only", "mine", "--out", str(tmp_path)]) == 0
    finally:
        FIGURES.unregister("mine")
    assert (tmp_path / "mine.png").exists()
