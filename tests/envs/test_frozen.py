"""Environments are frozen: docs/versions.md has a hash of each version of each id.

An intended change gets a new version there. ``python -m tests.envs.test_frozen`` prints the missing rows.
"""

import re
from collections import defaultdict
from pathlib import Path

import gymnasium as gym
import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.envs.rounds.known import Heterogeneous
from multispin_env.registry import ENVIRONMENTS
from tools.hashes import steps_hash

PAGE = Path(__file__).parents[2] / "docs" / "versions.md"
IDS = ENVIRONMENTS.names()
ROW = re.compile(r"^\| `(MultiSpin/\w+-v\d+)` \| .*\w.* \| `([0-9a-f]{12})` \|$", re.MULTILINE)
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))


def hash_of(env_id):
    return steps_hash(gym.make_vec(env_id, 2, "vector_entry_point"), 0)[:12]


@pytest.mark.parametrize("env_id", IDS)
def test_hash(env_id):
    stored = dict(ROWS).get(env_id)
    assert stored, f"{env_id}: expected a row in docs/versions.md, which `python -m tests.envs.test_frozen` prints"
    assert hash_of(env_id) == stored, f"{env_id}: expected the same steps, or a new version, as docs/versions.md says"


def test_versions_have_rows_and_different_hashes():
    versions = defaultdict(list)
    for env_id, _ in ROWS:
        name, version = env_id.rsplit("-v", 1)
        versions[name].append(int(version))
    current = {f"{name}-v{numbers[-1]}" for name, numbers in versions.items()}
    assert current == set(IDS), "docs/versions.md: expected a row of each id and of no other; CONTRIBUTING.md says how"
    assert all(numbers == list(range(len(numbers))) for numbers in versions.values())
    assert len({stored for _, stored in ROWS}) == len(ROWS)


class Renewed(Heterogeneous):
    env_id = "Mine/Renewed-v1"


@pytest.mark.filterwarnings("ignore:.*out of date")
@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_error_of_an_old_id_names_the_new_one(make, capsys):
    ms.register_environment(Renewed)
    try:
        with pytest.raises(gym.error.DeprecatedEnv, match="use `Mine/Renewed-v1` instead"):
            make("Mine/Renewed-v0")
        assert main(["compare", "--env", "Mine/Renewed-v0"]) == 2
    finally:
        ms.envs.unregister_environment("Mine/Renewed-v1")
    assert "did you mean 'Mine/Renewed-v1'" in capsys.readouterr().err


if __name__ == "__main__":
    for env_id in IDS:
        if dict(ROWS).get(env_id) != (current := hash_of(env_id)):
            print(f"| `{env_id}` | | `{current}` |")
