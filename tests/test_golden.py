"""Runs, policies, suite entries and shipped agents written by an earlier version, before modules moved, play as then.

``python -m tests.test_golden`` writes ``expected.json`` anew; ``golden/README.md`` says how the other files were made.
"""

import json
import re
import shutil
from pathlib import Path

import gymnasium as gym
import pytest

import multispin_agents
import multispin_env as ms
from multispin_agents import training
from multispin_agents.checkpoints import load_checkpoint
from multispin_agents.models import read_policy
from multispin_agents.runs import CONFIG, load_config, save_config
from multispin_env.apps.commands.main import main
from multispin_env.evaluation.policy import load_policy
from multispin_lab.suite.entries import check_files, policy_values, read_entry
from tests.repository import ROOT
from tools.hashes import steps_hash

pytest.importorskip("onnxruntime")

FOLDER = Path(__file__).parent / "golden"
EXPECTED = FOLDER / "expected.json"

EXACT, ROUNDED = 1e-9, 1e-6  # relative differences of another processor: without and with a network of 32 bits
NAMES = ("continuous", "delayed")  # of the runs, and of the policies exported from them
PRICED = ("MultiSpin/DraftAhead-v0", "MultiSpin/Continuous-v0", "MultiSpin/Serving-v0")
"""Ids of shipped agents left to ``tests/agents/test_pretrained.py``: a price of time would be measured first."""

MADE = {
    "MultiSpin/Homogeneous-v0": {"scenario": "qwen3.5", "action": "shares", "optimum": True},
    "MultiSpin/Heterogeneous-v0": {"scenario": "r1", "action": "lengths", "reward": "sampled", "server": "h100-32b"},
    "MultiSpin/HiddenAcceptance-v0": {"spread": 0.2, "history": True, "task_visible": False},
    "MultiSpin/DelayedChannel-v0": {"delay": 2, "plan_quantile": 0.05, "rounds": 8},
    "MultiSpin/RecordedAcceptance-v0": {"half": 1, "action": "lengths"},
    "MultiSpin/Fair-v0": {"window": 8.0, "reward": "sampled"},
    "MultiSpin/DraftAhead-v0": {"rho": 50.0, "total_bandwidth": 5e6},
    "MultiSpin/Continuous-v0": {"rho": 50.0, "action": "tuned", "reference": "prices", "horizon": 5.0},
    "MultiSpin/Serving-v0": {"rho": 50.0, "full_rate": 2.0, "action": "plain", "load": 0.8, "e2el": 1.0},
}


def environment(config):
    scenario = config.scenario.to_dict()
    preset = ms.Scenario.preset(scenario["name"]).to_dict()
    return {
        "env": config.env_id,
        "preset": scenario["name"],
        "scenario": {name: value for name, value in scenario.items() if value != preset[name]},
        "action": config.action,
        "reward": config.reward,
        "arguments": config.chosen_arguments,
    }


def played(policy):
    arguments = {"scenario": policy.config.scenario, **policy.arguments}
    row = ms.compare(policy.config.env_id, {"policy": policy}, against="policy", episodes=2, **arguments)["policy"]
    return {**environment(policy.config), "mean": row.mean, "goodput": row.details["goodput"]}


def entry(name):
    about = read_entry(FOLDER / "entry")
    check_files(FOLDER / "entry", about)
    (policy,) = about.policies[name]
    config = load_policy(FOLDER / "entry" / policy["folder"]).config
    values = policy_values(FOLDER / "entry", name, 0, "folder", policy["folder"])
    assert not isinstance(values, Exception), values
    return {**environment(config), "mean": float(values.mean())}


def resumed(name):
    checkpoint = load_checkpoint(FOLDER / "runs" / name)
    return {field: getattr(checkpoint, field) for field in ("num_timesteps", "updates", "score")}


def made(env_id):
    env = gym.make_vec(env_id, 2, "vector_entry_point", **{"num_users": 3, **MADE[env_id]})
    return {**environment(env.unwrapped.config), "steps": steps_hash(env, 0)}


KINDS = {
    "run": (lambda name: played(read_policy(FOLDER / "runs" / name)), NAMES),
    "exported": (lambda name: played(load_policy(FOLDER / "policies" / name)), NAMES),
    "shipped": (
        lambda env_id: played(multispin_agents.load(env_id)),
        tuple(name for name in multispin_agents.PRETRAINED if name not in PRICED),
    ),
    "entry": (entry, ("hidden",)),
    "resumed": (resumed, ("continuous",)),
    "made": (made, tuple(MADE)),
}


def evaluated(folder):
    assert main(["evaluate", str(FOLDER / "runs" / "delayed"), "--episodes", "2", "--out", str(folder)]) == 0
    rows = json.loads((folder / "table.json").read_text(encoding="utf-8"))["rows"]
    return {row["name"]: row["mean"] for row in rows}


@pytest.fixture(scope="module")
def expected():
    return json.loads(EXPECTED.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, (_, names) in KINDS.items() for name in names])
def test_what_was_written_means_what_it_did(kind, name, expected):
    then = expected[kind].get(name)
    assert then, f"{name}: expected an entry in tests/golden/expected.json, which `python -m tests.test_golden` adds"
    now = json.loads(json.dumps(KINDS[kind][0](name)))
    numbers = {field: value for field, value in then.items() if field in ("mean", "goodput")}
    assert now == {**then, **{field: pytest.approx(value, rel=ROUNDED) for field, value in numbers.items()}}


def test_a_run_is_evaluated_with_every_rule(expected, tmp_path):
    now, then = evaluated(tmp_path), expected["evaluated"]
    assert now.pop("ppo (residual)") == pytest.approx(then.pop("ppo (residual)"), rel=ROUNDED)
    assert now == pytest.approx(then, rel=EXACT)


def test_a_run_is_loaded_for_another_number_of_devices():
    policy = read_policy(FOLDER / "runs" / "delayed").on(ms.Scenario.preset("llama2", num_users=5))
    env = gym.make("MultiSpin/DelayedChannel-v0", num_users=5, **policy.arguments)
    assert env.action_space.contains(policy.act(env.reset(seed=0)[0]))


def test_a_training_goes_on(monkeypatch, tmp_path, capsys):
    """Its budget is used up: it is restored and takes no step."""
    folder = tmp_path / "continuous"
    shutil.copytree(FOLDER / "runs" / "continuous", folder)
    monkeypatch.setattr(training, "_finish", lambda *_: None)
    assert main(["train", "--resume", str(folder), "--set", "horizon=10"]) == 0
    assert "evolution on MultiSpin/Continuous-v0, horizon=10, tuned actions" in capsys.readouterr().err
    assert main(["train", "--resume", str(folder), "--set", "horizon=9"]) == 2


MODULE = re.compile(rb"multispin_(env|agents|lab)[.:]\w|\b(agents|apps)\.\w")
STORED = FOLDER, Path(multispin_agents.__file__).parent / "pretrained", ROOT / "docs" / "results" / "suite" / "entries"


@pytest.mark.parametrize("folder", STORED, ids=lambda folder: folder.name)
def test_stored_files_name_parts_and_no_modules_which_may_move(folder):
    files = [path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors", ".onnx")]
    assert len(files) > 10
    assert [path for path in files if MODULE.search(path.read_bytes())] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_stored_without_modules(name, tmp_path):
    config, limits = load_config(FOLDER / "runs" / name)
    save_config(tmp_path, config, limits)
    assert load_config(tmp_path) == (config, limits)
    assert not MODULE.search((tmp_path / CONFIG).read_bytes())
    assert MODULE.search(b'{"agent": "multispin_agents.ppo:PPOSettings"}')


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    content = json.loads(EXPECTED.read_text(encoding="utf-8")) if EXPECTED.exists() else {}
    for kind, (of, names) in KINDS.items():
        known = content.setdefault(kind, {})
        known |= {name: of(name) for name in names if name not in known}
    if "evaluated" not in content:
        with TemporaryDirectory() as folder:
            content["evaluated"] = evaluated(Path(folder))
    EXPECTED.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
