"""Environments are frozen: docs/versions.md has a hash of each version of each id.

A change that is meant gets a new version there. ``python -m tests.envs.test_frozen`` prints the rows that are missing.
"""

import re
from collections import defaultdict
from pathlib import Path

import gymnasium as gym
import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.envs.rounds.variants import Heterogeneous
from multispin_env.registry import ENVIRONMENTS
from tools.hashes import steps_hash

PAGE = Path(__file__).parents[2] / "docs" / "versions.md"
IDS = ENVIRONMENTS.names()
ROW = re.compile(r"^\| `(MultiSpin/\w+-v\d+)` \| .*\w.* \| `([0-9a-f]{12})` \|$", re.MULTILINE)


def rows():
    """Id and hash of each row, in their order."""
    return ROW.findall(PAGE.read_text(encoding="utf-8"))


def hash_of(env_id):
    """Hash of today."""
    return steps_hash(gym.make_vec(env_id, 2, "vector_entry_point"), 0)[:12]


@pytest.mark.parametrize("env_id", IDS)
def test_nothing_has_changed(env_id):
    """If this fails, the id needs a new version, whose row says what has changed."""
    assert hash_of(env_id) == dict(rows())[env_id]


def test_every_version_of_an_id_has_a_row_and_a_hash_of_its_own():
    versions = defaultdict(list)
    for env_id, _ in rows():
        name, version = env_id.rsplit("-v", 1)
        versions[name].append(int(version))
    assert {f"{name}-v{of_name[-1]}" for name, of_name in versions.items()} == set(IDS)
    assert all(of_name == list(range(len(of_name))) for of_name in versions.values())
    assert len({stored for _, stored in rows()}) == len(rows())


@pytest.mark.filterwarnings("ignore:.*out of date")
@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_an_old_id_names_the_new_one(make, capsys):
    ms.register_environment("Mine/Renewed-v1", Heterogeneous)
    try:
        with pytest.raises(gym.error.DeprecatedEnv, match="use `Mine/Renewed-v1` instead"):
            make("Mine/Renewed-v0")
        assert main(["compare", "--env", "Mine/Renewed-v0"]) == 2
    finally:
        ms.unregister_environment("Mine/Renewed-v1")
    assert "did you mean 'Mine/Renewed-v1'" in capsys.readouterr().err


@pytest.mark.parametrize("env_id", IDS)
def test_an_unknown_version_names_those_that_there_are(env_id):
    name, version = env_id.rsplit("-", 1)
    with pytest.raises(gym.error.VersionNotFound, match=f"`{name}`.*`{version}`"):
        gym.make(f"{name}-v7")
    with pytest.raises(ValueError, match=f"did you mean '{env_id}'"):
        ENVIRONMENTS.load(f"{name}-v7")


if __name__ == "__main__":
    known = dict(rows())
    for env_id in IDS:
        if known.get(env_id) != (found := hash_of(env_id)):
            print(f"| `{env_id}` | | `{found}` |")
