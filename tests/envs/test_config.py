"""EnvConfig: one value that makes, stores, compares and changes an environment."""

import json

import gymnasium as gym
import pytest

import multispin_env as ms

SERVING = "MultiSpin/Serving-v0"


@pytest.mark.parametrize("env_id", ms.registry.ENVIRONMENTS.names())
def test_it_goes_to_json_and_to_gymnasium_and_back(env_id):
    config = ms.EnvConfig.of(env_id, "qwen3.5", num_users=3, reward="sampled")
    again = ms.EnvConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config == ms.EnvConfig.from_spec(config.to_spec())
    assert hash(again) == hash(config)
    assert config.make_vec(2).unwrapped.config == config
    assert gym.make(config.to_spec()).unwrapped.config == config


def test_changes_go_to_the_scenario_or_to_the_arguments():
    config = ms.EnvConfig.of(SERVING, num_users=4, load=0.8)
    changed = config.replace(num_users=8, load=0.9, action="plain", scenario="qwen3.5")
    assert (changed.scenario.name, changed.scenario.num_users, changed.variant.load) == ("qwen3.5", 8, 0.9)
    assert changed.changes == {"load": 0.9}
    assert config.replace() == config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"env_id": "MultiSpin/Continuous-v0"}, "variant: expected arguments of MultiSpin/Continuous-v0, got Serving"),
        ({"env_id": "MultiSpin/Servin-v0"}, "env: expected one of .*; did you mean 'MultiSpin/Serving-v0'"),
        ({"scenario": None}, "scenario: expected .*, got None"),
        ({"variant": None}, "variant: expected arguments of MultiSpin/Serving-v0, got None"),
        ({"action": "shares"}, "action: expected one of .*, got 'shares'"),
        ({"num_user": 3}, "did you mean 'num_users'"),
    ],
)
def test_what_is_no_environment_is_refused(changes, words):
    with pytest.raises((ValueError, TypeError), match=words):
        ms.EnvConfig.of(SERVING, num_users=2).replace(**changes)


def test_a_server_of_ones_own_is_said_once(tmp_path):
    file = tmp_path / "mine.toml"
    ms.registry.SERVERS.load("a100-8b").save(file)
    assert ms.EnvConfig.of(SERVING, server=str(file), num_users=2, context=2048).changes == {"context": 2048}
