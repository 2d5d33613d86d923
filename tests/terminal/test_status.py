"""How a command ends."""

import io
import sys

import pytest

from multispin_env.checks import missing_package
from multispin_env.executors import Stopped
from multispin_env.terminal.output import exit_status


def failing(error):
    def run():
        raise error

    return run


def test_a_command_says_its_status_or_nothing():
    assert exit_status("x", lambda: None) == 0
    assert exit_status("x", lambda: 143) == 143


def test_a_signal_is_said(capsys):
    assert exit_status("x", failing(Stopped(15))) == 128 + 15
    assert capsys.readouterr().err == "x: stopped by SIGTERM\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("seed: got -1"), "seed: got -1"),
        (TypeError("got an unexpected keyword argument"), "got an unexpected keyword argument"),
        (FileNotFoundError(2, "No such file", "a.csv"), "[Errno 2] No such file: 'a.csv'"),
        (ImportError("an MP4 needs imageio-ffmpeg"), "an MP4 needs imageio-ffmpeg"),
        (MemoryError(), "memory: expected sizes that fit, as of users or episodes, got too large ones (for Python)"),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            "the package 'torch' is missing; install it with: pip install \"multispin_env[train]\"",
        ),
        (
            missing_package("torch", "another"),
            "the package 'torch' is missing; install it with: pip install \"multispin_env[train]\"",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_done_is_one_sentence_and_status_2(error, words, capsys):
    assert exit_status("multispin x", failing(error), "train") == 2
    assert capsys.readouterr().err == f"multispin x: {words}\n"


def test_without_an_extra_the_package_is_named(capsys):
    assert exit_status("x", failing(ModuleNotFoundError("no", name="numpy"))) == 2
    assert capsys.readouterr().err == "x: the package 'numpy' is missing; install it with: pip install numpy\n"


def test_ctrl_c_has_the_status_of_shells(capsys):
    assert exit_status("x", failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "x: interrupted\n"


def test_a_letter_that_standard_output_lacks_is_an_escape(monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "cp1252"))
    assert exit_status("x", lambda: print("a Σ")) == 0
    assert out.getvalue().split() == [b"a", rb"\u03a3"]


def test_mistakes_of_the_program_are_not_hidden():
    with pytest.raises(AttributeError):
        exit_status("x", failing(AttributeError("a bug")))
