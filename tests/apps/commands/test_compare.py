import csv
import json
import re
from types import SimpleNamespace

import pytest

from multispin_env.apps.commands import compare
from multispin_env.apps.commands.main import main
from multispin_env.apps.executors import TaskResult
from multispin_env.registry import ENVIRONMENTS

FEW = ["--num-users", "3", "--episodes", "4"]
TINY = [*FEW, "--set", "rounds=3"]
pytestmark = pytest.mark.usefixtures("quick_prices")
SECONDS = {
    "MultiSpin/Continuous-v0": [*FEW, "--set", "horizon=0.2"],
    "MultiSpin/Serving-v0": [*FEW, "--set", "horizon=0.2", "warm_up=0"],
}


def test_files_hold_the_table_and_how_it_was_made(tmp_path, capsys):
    names = ["fixed", "optimal"]
    files = ["--json", str(tmp_path / "t.json"), "--csv", str(tmp_path / "t.csv")]
    assert main(["compare", *TINY, "--controllers", *names, *files, "--set", "action=shares", "--seed", "9"]) == 0
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["name"] for row in content["rows"]] == [row["name"] for row in rows] == ["optimal", "fixed"]
    assert f"{content['rows'][1]['mean']:.2f}" in printed
    about = content["about"]
    assert [about[name] for name in ("arguments", "action", "seed", "rounds")] == [{"rounds": "3"}, "shares", 9, 3]
    assert about["command"].startswith("multispin compare --num-users 3")
    assert set(about["versions"]) == {"multispin_env", "gymnasium", "numpy", "scipy"}


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_every_environment_has_defaults(env_id, capsys):
    assert main(["compare", "--env", env_id, *SECONDS.get(env_id, TINY)]) == 0
    assert " +0.00" in capsys.readouterr().out


def test_contenders_under_which_no_device_drafts_are_named(capsys):
    fast = ["--server", "h100-32b", "--set", "min_draft_length=0", "--controllers", "optimal", "fixed", "colocated"]
    assert main(["compare", *TINY, *fast]) == 0
    assert capsys.readouterr().out.endswith("\n\nno device drafts: optimal\n")
    assert main(["compare", *TINY, *fast, "--set", "payload=ids", "--server", "a100-32b"]) == 0
    assert "no device drafts" not in capsys.readouterr().out


def test_an_error_of_a_worker_is_one_sentence(capsys, monkeypatch):
    results = [TaskResult(1, error="Traceback\nValueError: it fails\n"), TaskResult(0, error="it was killed\n")]
    monkeypatch.setattr(compare, "executor_of", lambda options: SimpleNamespace(width=1, results=lambda *_: results))
    assert main(["compare", *TINY, "--controllers", "optimal", "fixed", "--workers", "2"]) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "multispin compare: optimal: it was killed",
        "multispin compare: fixed: ValueError: it fails",
    ]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rounds=-1", "rounds: expected an integer ≥ 1, got -1"),
        ("max_episode_steps=9", "set: expected .*, got 'max_episode_steps'; use rounds for the length of an episode"),
        ("reward=" + "-" * 100_000, "set: expected at most 4096 characters, got 100007 in 'reward=---"),
        ("reward=" + "(" * 1000, r"reward: expected one of \['expected', 'sampled', 'share'\], got '\(\("),
        ("num_users=0x" + "f" * 4000, r"num_users: expected an integer in 1\.\.1000000, got a very large"),
        ("total_bandwidth=" + "9" * 400, r"total_bandwidth: expected a finite number in \(0, inf\), got 999"),
    ],
    ids=lambda text: text[:24],
)
def test_bad_values_are_one_short_sentence(setting, message, refused):
    error = refused("compare", ["--episodes", "2", "--set", setting])
    assert re.search(f"^multispin compare: {message}", error)
    assert len(error) < 600
