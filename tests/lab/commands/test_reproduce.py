import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from multispin_env.apps.commands.main import main
from multispin_lab.reproduce import FIGURES

CHEAP = ("remark-2", "claims")
ARGUMENTS = ("--quick", "--only", *CHEAP, "--seed", "5", "--out")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder of some figures, written with the defaults of matplotlib, and the printed lines."""
    matplotlib = pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("reproduced") / "new"
    printed = io.StringIO()
    with matplotlib.rc_context(), contextlib.redirect_stdout(printed):
        matplotlib.rcdefaults()
        assert main(["reproduce", *ARGUMENTS, str(folder)]) == 0
    return folder, printed.getvalue().splitlines()


@pytest.mark.slow
def test_worker_processes_write_the_same_bytes(written, tmp_path):
    folder, _ = written
    command = [sys.executable, "-m", "multispin_env", "reproduce", "--workers", "2", *ARGUMENTS, str(tmp_path / "b")]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}  # this one's is random
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "b" / "index.html")
    assert re.search(r"100 % .* 2 figures", done.stderr)
    names = {path.name for path in folder.iterdir()}
    expected = {f"{name}.{suffix}" for name in CHEAP for suffix in ("csv", "svg", "png")}
    assert names == {path.name for path in (tmp_path / "b").iterdir()} == {*expected, "index.html", "claims.md"}
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


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


@pytest.fixture
def begun():
    """Names of the figures "first" and "second", without a picture, as parts are computed; the third is interrupted."""
    begun = []

    def rows_of(name):
        def rows(scale, preset):
            begun.append(name)
            if begun == ["first", "first", "second"]:
                raise KeyboardInterrupt
            return verification.rows(scale, preset)

        return rows

    verification = replace(FIGURES.load("verification"), draw=lambda rows, figure: None, size=(1.0, 1.0))
    for name in ("first", "second"):
        FIGURES.register(name, replace(verification, rows=rows_of(name)))
    yield begun
    for name in ("first", "second"):
        FIGURES.unregister(name)


BOTH = ("reproduce", "--quick", "--only", "first", "second", "--out")


def test_a_stopped_run_keeps_its_figures_and_goes_on(begun, tmp_path):
    """A run with another seed, or after a complete one, starts from the beginning."""
    folder, other = tmp_path / "stopped", tmp_path / "other"
    assert main([*BOTH, str(folder)]) == 130
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "first.png" in page
    assert "second.png" not in page
    assert (folder / "first.csv").exists()
    shutil.copytree(folder, other)
    for target, more, parts in (
        (folder, [], ["second"] * 2),
        (other, ["--seed", "5"], ["first", "first", "second", "second"]),
        (folder, [], ["first", "first", "second", "second"]),
    ):
        begun[:] = [""]
        assert main([*BOTH, str(target), *more]) == 0
        assert begun[1:] == parts
        if target == folder and len(parts) == 2:
            resumed = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert resumed == {path.name: path.read_bytes() for path in folder.iterdir()}
