"""Progress of commands, by a clock that the test moves."""

import contextlib
import sys

import pytest

from multispin_env.terminal import output
from multispin_env.terminal.output import PATIENCE, Progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds of the clock, in a list that the test writes into."""
    now = [100.0]
    monkeypatch.setattr(output, "monotonic", lambda: now[0])
    return now


def drawn(clock):
    """Two figures of 30 s each, the first of which says where it is."""
    with Progress(2) as bar:
        show = bar.begin("devices")
        clock[0] += 15.0
        show(0.5)
        clock[0] += 15.0
        show(1.0)
        show = bar.begin("claims")
        clock[0] += 30.4


def test_a_log_has_a_line_at_the_beginning_of_a_part_and_now_and_then(clock, capsys):
    drawn(clock)
    assert capsys.readouterr().err.splitlines() == [
        "[------------------------]   0 %     0 s  1 of 2, devices",
        "[######------------------]  25 %    15 s  1 of 2, devices",
        "[############------------]  50 %    30 s  1 of 2, devices",
        "[############------------]  50 %    30 s  2 of 2, claims",
        "[########################] 100 %    60 s  2 of 2, claims",
    ]


def test_a_log_is_not_filled_with_lines(clock, capsys):
    with Progress(1) as bar:
        show = bar.begin("states")
        for done in range(100):
            clock[0] += PATIENCE / 50
            show(done, 100)
    assert len(capsys.readouterr().err.splitlines()) == 3  # the first, one in between, the last


def test_what_fails_is_not_said_to_be_done(capsys):
    with contextlib.suppress(ValueError), Progress(1) as bar:
        bar.begin("states")
        raise ValueError("it fails")
    assert "100 %" not in capsys.readouterr().err


def test_a_terminal_has_one_line_that_is_written_over(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    drawn(clock)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.endswith("\n")
    lines = printed.rstrip("\n").split("\r")[1:]
    assert [len(line) for line in lines] == [79] * 5
    assert lines[1].rstrip() == "[######------------------]  25 %    15 s  1 of 2, devices"


def test_a_result_takes_the_place_of_the_bar(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(2) as bar:
        bar.begin("first")
        bar.say("first: 3")
        printed = capsys.readouterr()
    assert printed.out == "first: 3\n"
    assert printed.err.split("\r")[2:] == [" " * 79, ""]


def test_a_long_name_does_not_wrap(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(1) as bar:
        bar.begin("x" * 200)
    lines = capsys.readouterr().err.rstrip("\n").split("\r")[1:]
    assert [len(line) for line in lines] == [79] * 2


def test_the_time_left_is_said_where_it_is_wanted(clock, capsys):
    with Progress(2, time_left=True) as bar:
        show = bar.begin("first")
        clock[0] += 15.0
        show(0.5)
        clock[0] += 15.0
    assert capsys.readouterr().err.splitlines() == [
        "[------------------------]   0 %     0 s  1 of 2, first",
        "[######------------------]  25 %    15 s, 45 s left  1 of 2, first",
        "[############------------]  50 %    30 s, 30 s left  1 of 2, first",
    ]
