import argparse
import re

import pytest

from multispin_env.apps.terminal.arguments import (
    add_system_options,
    check_settings,
    collect_arguments,
    parse_settings,
    resolve_scenario,
    separate_settings,
)
from multispin_env.registry import ENVIRONMENTS


def test_values_are_literals_or_words():
    values = {"1": 1, "0.5": 0.5, "True": True, "None": None, "word": "word", "'quoted'": "quoted", "(1, 2)": (1, 2)}
    for text, value in (values | {"": "", "x=y": "x=y"}).items():
        assert parse_settings([f"a={text}"]) == {"a": value}


@pytest.fixture
def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?")
    add_system_options(parser, "anything else")
    return lambda *arguments: parser.parse_args(separate_settings(arguments))


def test_options_and_settings_come_together(parse):
    assert collect_arguments(parse()) == {}
    options = parse("--num-users", "3", "--set", "a=1", "b=x", "--set", "total_bandwidth=5e6")
    assert collect_arguments(options) == {"a": 1, "b": "x", "total_bandwidth": 5e6, "num_users": 3}
    more = "--set a=1 --set b=2 FILE", "FILE --set a=1 b=2", "--set a=1 b=2 --env x FILE"
    for line in ("--set a=1 b=2 FILE", *more):  # an argument after settings
        options = parse(*line.split())
        assert (options.file, options.set) == ("FILE", ["a=1", "b=2"])


HIDDEN, SERVING = "MultiSpin/HiddenAcceptance-v0", "MultiSpin/Serving-v0"


def refused(options, name, *expected):
    with pytest.raises(ValueError, match=f"set: .* got '{name}'") as caught:
        check_settings(options, [name], *expected)
    return str(caught.value).partition(f"got '{name}'")[2]


@pytest.mark.parametrize("env_ids", [[], [HIDDEN], [HIDDEN, "MultiSpin/Fair-v0"]], ids=len)
def test_a_setting_that_belongs_elsewhere_says_where(env_ids, parse):
    options = parse()
    assert refused(options, "env", env_ids).endswith("--env")
    known = {name for env_id in env_ids for name in ENVIRONMENTS.load(env_id).own_fields()}
    (name, *_) = set(ENVIRONMENTS.load(SERVING).own_fields()) - known
    message = refused(options, name, env_ids)
    owners = [env_id for env_id in ENVIRONMENTS.names() if name in ENVIRONMENTS.load(env_id).own_fields()]
    assert [env_id for env_id in ENVIRONMENTS.names() if env_id in message] == owners
    assert "did you mean 'max_draft_length'" in refused(options, "max_draft_lenght", env_ids)
    for name in ("zzz", "learning_rate"):  # which is not mean_draft_time
        assert re.fullmatch(
            r"; the names are \[('\w+', ){5}\.\.\. \d+ more \.\.\.(, '\w+'){5}\]", refused(options, name, env_ids)
        )
    check_settings(options, ["spread", "payload", "copy"], [HIDDEN], ["copy"])
    assert refused(options, "copy", [HIDDEN])
    assert resolve_scenario(parse("--scenario", "llama2", "--set", "payload=ids"), num_users=3).payload == "ids"


UNITS = [
    (setting, rf"^{setting.split('=')[0]}.*: expected .*; did you mean 0\.")
    for setting in ("tpot=65.0", "load=(0.5, 85)", "draft_pieces=[[2.0, 0.0]]")
]


@pytest.mark.parametrize(("setting", "words"), UNITS)
def test_settings_in_another_unit_are_refused(setting, words):
    with pytest.raises(ValueError, match=words):
        parse_settings([setting])
