"""What ``--set`` and the options of the system become."""

import argparse

import pytest

from multispin_env.terminal.arguments import TAKEN, add_system_options, chosen_arguments, parse_settings


def test_values_are_literals_or_words():
    found = parse_settings(["a=1", "b=0.5", "c=True", "d=None", "e=word", "f='quoted'", "g=(1, 2)", "h=", "i=x=y"])
    assert found == {
        "a": 1, "b": 0.5, "c": True, "d": None, "e": "word", "f": "quoted", "g": (1, 2), "h": "", "i": "x=y",
    }  # fmt: skip


@pytest.fixture
def parse():
    parser = argparse.ArgumentParser()
    add_system_options(parser, "anything else")
    return lambda *arguments: parser.parse_args(arguments)


def test_what_is_not_given_is_none(parse):
    options = parse()
    assert (options.env, options.scenario, options.num_users, options.total_bandwidth) == (None,) * 4
    assert chosen_arguments(options) == {}


def test_options_and_settings_come_together(parse):
    options = parse("--num-users", "3", "--set", "a=1", "b=x", "--set", "total_bandwidth=5e6")
    assert chosen_arguments(options) == {"a": 1, "b": "x", "total_bandwidth": 5e6, "num_users": 3}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--num-users", "3", "--set", "num_users=3"], "set: expected 'num_users' once, got --num-users too"),
        (
            ["--total-bandwidth", "1", "--set", "total_bandwidth=1"],
            "set: expected 'total_bandwidth' once, got --total-bandwidth too",
        ),
        (["--set", "scenario=llama2"], f"set: expected an argument other than {[*TAKEN, 'own']}, got 'scenario'"),
        (["--set", "own=1"], f"set: expected an argument other than {[*TAKEN, 'own']}, got 'own'"),
        (["--set", "a=1", "a=2"], "set: expected 'a' once, got it twice"),
        (["--set", "a"], "set: expected NAME=VALUE, got 'a'"),
    ],
)
def test_what_is_said_twice_or_taken_is_refused(arguments, words, parse):
    with pytest.raises(ValueError, match="set: ") as caught:
        chosen_arguments(parse(*arguments), ["own"])
    assert words in str(caught.value)
