import json
import re
from functools import partial

import gymnasium as gym
import pytest

import multispin_env as ms
from tests.refusals import refusals

SERVING, RECORDED = "MultiSpin/Serving-v0", "MultiSpin/RecordedAcceptance-v0"


@pytest.mark.usefixtures("quick_prices")
@pytest.mark.parametrize("env_id", ms.registry.ENVIRONMENTS.names())
def test_conversion_to_json_and_gymnasium(env_id):
    arguments = {"load": (0.3, 0.9), "arrivals": "gamma", "server": "a100-32b"} if env_id == SERVING else {}
    config = ms.EnvConfig.of(env_id, "qwen3.5", num_users=3, reward="sampled", **arguments)
    again = ms.EnvConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert hash(again) == hash(config)
    assert config.make_vec(2).unwrapped.config == config
    spec = gym.envs.registration.EnvSpec.from_json(config.make().spec.to_json())
    assert gym.make(spec).unwrapped.config == config


def test_changes_of_scenario_and_arguments(tmp_path):
    config = ms.EnvConfig.of(SERVING, num_users=4, load=0.8)
    changed = config.replace(num_users=8, load=0.9, action="plain", scenario="qwen3.5")
    assert (changed.scenario.name, changed.scenario.num_users, changed.load) == ("qwen3.5", 8, 0.9)
    assert changed.non_defaults == {"load": 0.9}
    assert config.replace() == config
    file = tmp_path / "mine.toml"
    ms.registry.SERVERS.load("a100-8b").save(file)  # titles name a server from a file
    assert ms.EnvConfig.of(SERVING, server=str(file), num_users=2, context=2048).non_defaults == {"context": 2048}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "records.npz").write_bytes(b"")
    return tmp_path


def read(folder, trusted=None, **arguments):
    content = ms.EnvConfig.of(RECORDED, num_users=2).to_dict() | {"arguments": arguments}
    return ms.EnvConfig.from_dict(content, folder, trusted).arguments


def test_file_in_the_folder_comes_first(folder):
    for trusted in (None, {}, {"half": 1}, {"records": "elsewhere.npz"}):
        arguments = read(folder, trusted, records="records.npz", half=0)
        assert (arguments["records"], arguments["half"]) == (str(folder / "records.npz"), 0)
    assert read(folder, records=None)["records"] is None


def test_other_files_only_from_the_user(folder):
    for name in ("missing.npz", "/etc/passwd"):
        for trusted in (None, {}, {"half": 1}):
            with pytest.raises(ValueError, match=f"records: expected a file next to the configuration.*, got {name!r}"):
                read(folder, trusted, records=name)
        assert read(folder, {"records": "mine.npz"}, records=name)["records"] == "mine.npz"
    config = ms.EnvConfig.of(RECORDED, records=folder / "other.npz", half=0)
    stored = config.to_dict()["arguments"]
    assert (stored["records"], stored["half"]) == ("records.npz", 0)
    assert config.files == {"records.npz": folder / "other.npz"}
    assert ms.EnvConfig.of(RECORDED).files == {}


STORED, CONFIG = ms.EnvConfig.of(RECORDED).to_dict(), ms.EnvConfig.of(SERVING, num_users=2)
CHANGES = [
    ({"env_id": "MultiSpin/Continuous-v0"}, "unexpected keyword argument 'env_id'"),
    ({"scenario": None}, "scenario: expected .*, got None"),
    ({"action": "shares"}, "action: expected one of .*, got 'shares'"),
    ({"num_user": 3}, "did you mean 'num_users'"),
]
CONTENTS = [
    *((content, "^config: expected ") for content in ([], {}, {"env": SERVING}, {"arguments": {}, "env": SERVING})),
    (STORED | {"arguments": []}, r"arguments: expected a table of names and values, got \[\]"),
]
test_refusals = refusals(
    *((partial(CONFIG.replace, **changes), pattern) for changes, pattern in CHANGES),
    *((partial(ms.EnvConfig.from_dict, content), pattern) for content, pattern in CONTENTS),
    errors=(ValueError, TypeError),
)


def test_a_scenario_of_your_own_for_batteries(tmp_path):
    """The error names all that is missing, and with it the environment is made."""
    ms.Scenario.preset("qwen3.5", num_users=2).save(tmp_path / "mine.toml")
    for scenario in (ms.Scenario.preset("qwen3.5", num_users=2), str(tmp_path / "mine.toml")):
        with pytest.raises(ValueError, match=r"^battery_rounds: expected a number > 0") as refused:
            ms.EnvConfig.of("MultiSpin/Energy-v0", scenario)
        needed = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", str(refused.value))}
        assert ms.EnvConfig.of("MultiSpin/Energy-v0", scenario, **needed).scenario.battery_rounds == 20


@pytest.mark.parametrize(
    ("name", "other", "same"),
    [
        ("a", "same", True),
        ("a", "different", False),  # of equal length
        *((("a", "missing", False), ("missing", "a", False), ("a", None, False), (None, "a", False))),
    ],
)
def test_paths_of_equal_files(name, other, same, tmp_path):
    for file, content in (("a", b"12"), ("same", b"12"), ("different", b"34")):
        (tmp_path / file).write_bytes(content)
    path, other_path = (None if file is None else str(tmp_path / file) for file in (name, other))
    config = ms.EnvConfig.of(RECORDED, records=path, half=1)
    changed = config.with_same_files(ms.EnvConfig.of(RECORDED, records=other_path, half=0))
    assert (changed.records, changed.half) == (other_path if same else path, 1)
    assert config.with_same_files(ms.EnvConfig.of("MultiSpin/Heterogeneous-v0")).records == path
