"""The bar of ``multispin_env.reproduce``, by a clock that the test moves."""

import sys

import pytest

from multispin_env.reproduce import progress
from multispin_env.reproduce.progress import Bar


@pytest.fixture
def clock(monkeypatch):
    """Seconds of the clock, in a list that the test writes into."""
    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    return now


def drawn(clock):
    """Two figures of 30 s each, the first of which says where it is."""
    bar = Bar(2)
    show = bar.begin(0, "devices")
    clock[0] += 15.0
    show(0.5)
    clock[0] += 15.0
    show(1.0)
    show = bar.begin(1, "claims")
    clock[0] += 30.4
    show(1.0)
    bar.end()


def test_a_log_has_a_line_at_both_ends_of_a_figure(clock, capsys):
    drawn(clock)
    assert capsys.readouterr().err.splitlines() == [
        "[------------------------]   0 %     0 s  1 of 2, devices",
        "[############------------]  50 %    30 s  1 of 2, devices",
        "[############------------]  50 %    30 s  2 of 2, claims",
        "[########################] 100 %    60 s  2 of 2, claims",
    ]


def test_a_terminal_has_one_line_that_is_written_over(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    drawn(clock)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.endswith("\n")
    lines = printed.rstrip("\n").split("\r")[1:]
    assert [len(line) for line in lines] == [79] * 5
    assert lines[1].rstrip() == "[######------------------]  25 %    15 s  1 of 2, devices"
