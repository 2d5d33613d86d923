"""``multispin`` as a user meets it: help, wrong use, missing parts, pipes."""

import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest

from multispin_env.commands import main as entry
from multispin_env.reproduce.drawing import MISSING

ROOT = Path(__file__).parent.parent.parent


def run(*arguments, text=True, **options):
    command = [sys.executable, "-m", "multispin_env", *arguments]
    return subprocess.run(command, capture_output=True, text=text, check=False, cwd=ROOT, **options)


def without(package, *arguments):
    """Run where a package is not installed."""
    code = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == {package!r} or name.startswith({package!r} + "."):
            raise ModuleNotFoundError(name, name={package!r})

sys.meta_path.insert(0, Missing())
from multispin_env.commands.main import main
sys.exit(main({list(arguments)!r}))
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_console_script_is_this_function():
    with (ROOT / "pyproject.toml").open("rb") as file:
        module, _, name = tomllib.load(file)["project"]["scripts"]["multispin"].partition(":")
    assert getattr(import_module(module), name) is entry.main


def test_help_names_every_command_and_shows_examples():
    done = run("--help")
    assert done.returncode == 0
    for name, command in entry.COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert command.summary in done.stdout
    assert "examples:\n  multispin solve --scenario llama2 examples/devices.csv\n" in done.stdout


def test_names_in_the_page_are_those_of_the_table():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert all(f"| `multispin {name}" in page for name in entry.COMMANDS)


def test_the_page_names_the_extra_of_each_command():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    needs = re.findall(r"^\| `multispin (\w+)[^|]*\|[^|]*\| (?:`\[(\w+)\]` )?\|", page, re.MULTILINE)
    assert dict(needs) == {name: command.extra for name, command in entry.COMMANDS.items()}
    assert f"'multispin_env[{entry.COMMANDS['reproduce'].extra}]'" in MISSING  # what the command says without it


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_every_command_has_help_with_examples(name, capsys):
    with pytest.raises(SystemExit) as ended:
        entry.main([name, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    shown_as = f"multispin {name}" if "program" in inspect.signature(entry.load(name)).parameters else "python -m"
    assert f"usage: {shown_as}" in printed.out
    assert "examples:\n" in printed.out
    assert shown_as in printed.out.split("examples:\n")[1]


@pytest.mark.parametrize("name", entry.COMMANDS)
def test_unknown_options_have_status_2_on_stderr(name, capsys):
    with pytest.raises(SystemExit) as ended:
        entry.main([name, "--no-such-option"])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "error: " in printed.err


def test_nothing_asked_is_wrong_use():
    done = run()
    assert done.returncode == 2
    assert done.stdout == ""
    assert "usage: multispin" in done.stderr


def test_version():
    assert run("--version").stdout == f"multispin_env {metadata.version('multispin_env')}\n"


def test_unknown_command_suggests_the_nearest(capsys):
    assert entry.main(["slove"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("multispin: command: got 'slove'")
    assert "did you mean 'solve'" in printed.err


@pytest.mark.parametrize(
    ("package", "command", "words"),
    [
        ("multispin_env.watch", "watch", "multispin: watch: the module 'multispin_env.watch' is missing"),
        ("agents", "train", "multispin: train: the module 'agents' is missing"),
        ("tensorboard", "train", "multispin: train: the package 'tensorboard' is missing"),
        ("torch", "evaluate", "multispin_env[train]"),
    ],
)
def test_what_is_missing_is_one_sentence(package, command, words):
    done = without(package, command, "--help")
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_compare_is_told_its_name_and_prints_json_alone():
    done = run("compare", "--num-users", "3", "--episodes", "2", "--set", "max_episode_steps=2", "--json", "-")
    assert done.returncode == 0
    assert json.loads(done.stdout)["about"]["command"].startswith("multispin compare --num-users 3")
    assert "1 of " in done.stderr


def test_mistakes_of_a_command_keep_its_status(capsys):
    assert entry.main(["compare", "--episodes", "1"]) == 2
    assert capsys.readouterr().err.startswith("multispin compare: episodes: got 1")
    assert entry.main(["reproduce", "--only", "nothing"]) == 2
    assert capsys.readouterr().err.startswith("multispin reproduce: figure: got 'nothing'")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes of POSIX")
def test_a_reader_that_has_gone_is_no_traceback(tmp_path):
    rows = "\n".join("12,15,0.8" for _ in range(3000))  # more than a pipe holds
    (tmp_path / "many.csv").write_text(f"draft_time_ms,snr_db,acceptance_rate\n{rows}\n")
    command = f"{sys.executable} -m multispin_env solve --json {tmp_path / 'many.csv'}"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 141
    assert done.stdout == "{\n"
    assert done.stderr == ""
