"""Tables on a terminal and elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from multispin_env.evaluation.table import aligned
from multispin_env.terminal.tables import check_outputs

HEADER = ("decided by", "goodput")
LINES = [("[bold]optimal[/]", "172.13"), ("fixed", "9.28")]
CODE = f"from multispin_env.terminal.tables import show_table; show_table({HEADER!r}, {LINES!r}, best=0)"
NO_RICH = "import sys; sys.modules['rich'] = None; "
GREEN, BOLD = "\x1b[1;32m", "\x1b[1m"


def on_terminal(code, **environment):
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    settings = {**clean, "TERM": "xterm-256color", "COLUMNS": "80", **environment}
    subprocess.run([sys.executable, "-c", code], stdout=follower, check=True, env=settings)
    os.close(follower)
    with open(leader, "rb", buffering=0) as file:
        return file.read(100_000).decode().replace("\r\n", "\n")


def test_piped_text_is_plain_to_the_byte():
    for environment in ({}, {"FORCE_COLOR": "1"}):
        done = subprocess.run(
            [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env={**os.environ, **environment}
        )
        assert done.stdout == aligned(HEADER, LINES) + "\n"


def test_best_row_is_highlighted_on_a_terminal():
    printed = on_terminal(CODE)
    best, other = printed.splitlines()[-2:]
    assert GREEN in best
    assert "[bold]optimal[/]" in best
    assert "\x1b" not in other


@pytest.mark.parametrize(("columns", "space", "rule"), [(26, 3, "─"), (25, 2, "-")], ids=["rich", "plain"])
def test_columns_are_aligned_where_they_fit(columns, space, rule):
    """16 columns for names, some between, 7 for numbers."""
    printed = re.sub(r"\x1b\[[\d;]*m", "", on_terminal(CODE, COLUMNS=str(columns)))
    title, line, *rows = printed.splitlines()
    between = " " * space
    assert title == f"decided by      {between}goodput"
    assert rows == [f"[bold]optimal[/]{between} 172.13", f"fixed           {between}   9.28"]
    assert line.startswith(rule)


def test_a_reader_that_has_gone_is_told_nothing():
    code = "import sys; from multispin_env.terminal.status import exit_status\n"
    code += "sys.exit(exit_status('p', lambda: print('x' * 10**6, flush=True)))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def test_no_color_is_honoured():
    printed = on_terminal(CODE, NO_COLOR="1")
    assert "32m" not in printed
    assert BOLD in printed


@pytest.mark.parametrize(("code", "columns"), [(NO_RICH + CODE, "80"), (CODE, "12")], ids=["no rich", "narrow"])
def test_otherwise_a_terminal_gets_the_plain_text(code, columns):
    assert on_terminal(code, COLUMNS=columns) == aligned(HEADER, LINES) + "\n"


def test_outputs_are_checked_before_work(tmp_path):
    check_outputs(None, Path("-"), tmp_path / "new.csv")
    for file in (tmp_path, tmp_path / "none" / "a.csv"):
        with pytest.raises(ValueError, match=f"file: expected a file in a folder that exists, got {str(file)!r}"):
            check_outputs(file)
    with pytest.raises(ValueError, match=r"file: expected standard output \('-'\) once, got it twice"):
        check_outputs(Path("-"), Path("-"))
