"""Exports return the actions of their originals, and exported policies decide without torch."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch as th

import multispin_env as ms
from multispin_agents import AGENTS, tracing, train
from multispin_agents.cards import CARD, exported_card, is_foreign
from multispin_agents.checkpoints import CHECKPOINT, MODEL, Checkpoint, load_checkpoint, save_checkpoint
from multispin_agents.models import build_model, load_run_model
from multispin_agents.policies import policy_of
from multispin_agents.runs import Limits, config_from, load_config, save_config
from multispin_agents.tracing import TracedNetwork, largest_difference, random_observations
from multispin_env.apps.commands.main import main
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.policy import load_policy
from tests.cards import card_of, check_card

FULL, HIDDEN = "MultiSpin/Heterogeneous-v0", "MultiSpin/HiddenAcceptance-v0"
KNOWN, HIDING = ("apg", FULL, "lengths"), ("decentralised", HIDDEN, "residual")
CASES = [KNOWN, HIDING]
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # torch's exporters warn of themselves
    pytest.mark.usefixtures("quick_prices"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    @cache
    def run(agent, env_id, action):
        folder = tmp_path_factory.mktemp("runs") / "tiny"
        options = ["--agent", agent, "--env", env_id, "--action", action, "--num-users", "3", "--seed", "1"]
        config = config_from(train.COMMAND.parser("train").parse_args(options))
        folder.mkdir()
        save_config(folder, config, Limits())
        model = build_model(AGENTS.load(agent).for_environment(config.env), config.env)
        with th.no_grad():
            for parameter in model.policy.parameters():
                parameter.add_(0.2 * th.randn_like(parameter))
        for name in (MODEL, CHECKPOINT):
            save_checkpoint(folder / name, Checkpoint.of(model, 1.0, 0.5))
        return folder

    return run


@pytest.fixture(scope="module")
def exports(runs, tmp_path_factory):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    @cache
    def export_of(*case):
        folder = tmp_path_factory.mktemp("exported")
        assert main(["export", str(runs(*case)), "--out", str(folder)]) == 0
        return folder

    return export_of


@pytest.fixture
def exported(exports):
    return exports(*KNOWN)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=["-".join(case).replace("/", "-") for case in CASES])
def test_onnx_equals_the_original(case, runs, exports):
    folder, out = runs(*case), exports(*case)  # the command compares their actions
    assert pytest.importorskip("onnx").load(out / "policy.onnx").ir_version <= 9  # for old readers
    content = (out / "policy.onnx").read_bytes()
    assert b'.py"' not in content  # no paths of this machine
    assert len(content) < (folder / MODEL).stat().st_size + 10_000
    config, _ = load_config(folder)
    assert load_policy(out).config == config.env
    assert tracing.network_of(folder, config)(*random_observations(config.env, 3, 50)).std() > 0.01


def test_the_card_of_an_export_shows_the_measurement(exported, runs, tmp_path):
    """Of this model and this system: a table of something else is none."""
    copied = shutil.copytree(runs(*KNOWN), tmp_path / "copy")
    text = (exported / CARD).read_text(encoding="utf-8")
    assert "reward" in check_card(text, exported)
    assert "metrics" not in card_of(text)
    assert "Not measured" in text
    assert main(["evaluate", str(copied), "--out", str(copied)]) == 0
    rows = json.loads((copied / "table.json").read_text(encoding="utf-8"))["rows"]
    row = next(row for row in rows if row["name"] == "apg (lengths)")
    measured = exported_card(copied)
    assert f"| apg (lengths) | {row['mean']:.2f} | {row['low']:.2f} | {row['high']:.2f} |" in measured
    assert card_of(measured)["metrics"] == ["goodput"]
    pytest.importorskip("huggingface_hub").ModelCard(measured)  # raises for an invalid header
    model = load_checkpoint(copied, MODEL)
    save_checkpoint(copied / MODEL, replace(model, num_timesteps=model.num_timesteps + 1))
    assert "Not measured" in exported_card(copied)
    save_checkpoint(copied / MODEL, model)
    assert "Not measured" not in exported_card(copied)
    (copied / "table.json").write_text('{"about": {}}', encoding="utf-8")
    assert "Not measured" in exported_card(copied)
    assert main(["evaluate", str(copied), "--out", str(copied), "--num-users", "4", "--states", "4"]) == 0
    assert "Not measured" in exported_card(copied)


@pytest.fixture
def quick_export(exported, monkeypatch):
    """Export the network that `exported` has, which takes seconds to make."""
    monkeypatch.setattr(tracing, "onnx_of", lambda *_: (exported / "policy.onnx").read_bytes())


@pytest.mark.usefixtures("quick_export")
def test_a_readme_that_is_no_card_stays(exported, runs, tmp_path):
    assert not is_foreign(exported / CARD)
    (tmp_path / CARD).write_text("# Mine\n", encoding="utf-8")
    assert main(["export", str(runs(*KNOWN)), "--out", str(tmp_path)]) == 0
    assert (tmp_path / CARD).read_text(encoding="utf-8") == "# Mine\n"


@pytest.mark.usefixtures("quick_export")
def test_an_export_that_differs_is_refused_and_leaves_an_earlier_one(runs, tmp_path, refused, monkeypatch):
    earlier = {"policy.onnx": b"good", "policy.json": b"{}"}
    for name, content in earlier.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(tracing, "largest_difference", lambda *_: 0.1)
    message = refused("export", [str(runs(*KNOWN)), "--out", str(tmp_path)])
    assert "policy.onnx: expected a difference from the original of at most 0.0005, got 1.0e-01" in message
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == earlier


def test_foreign_policies_and_missing_packages_are_refused(runs, exported, tmp_path, refused, monkeypatch):
    with pytest.MonkeyPatch.context() as patch:  # a policy for one number of users
        patch.setattr(tracing, "load_run_model", lambda *_: SimpleNamespace(policy=th.nn.Identity()))
        message = refused("export", [str(runs(*KNOWN))])
    assert "agent: expected an agent whose policy has deterministic(observations)" in message
    monkeypatch.setattr(tracing, "find_spec", lambda name: None)
    message = refused("export", [str(runs(*KNOWN)), "--out", str(tmp_path)])
    assert message.endswith("the package 'onnx' is missing; install it with: pip install \"multispin_env[export]\"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "multispin_env\[onnx\]"'):
        load_policy(exported)


def test_it_decides_as_the_model_for_any_number_of_users(exported, runs):
    policy = load_policy(exported)
    for users, preset in ((3, "llama2"), (20, "qwen3.5"), (1, "llama2")):
        scenario = ms.Scenario.preset(preset, num_users=users)
        config = EnvConfig.of(FULL, scenario, action="lengths")
        decide = policy_of(load_run_model(runs(*KNOWN), config), config)
        state = ms.sample_state(scenario, np.random.default_rng(0), 40)
        expected, lengths = decide(state).draft_length, policy.on(scenario)(state).draft_length
        assert (lengths == expected).mean() > 0.99  # rounding may differ
        assert np.array_equal(policy.on(scenario)(state[0]).draft_length, lengths[0])


def test_torch_is_not_needed(exported):
    code = f"""
import sys; sys.modules["torch"] = None
import multispin_env as ms
from multispin_env.evaluation.policy import load_policy
policy = load_policy({str(exported)!r})
print(policy(ms.sample_state(policy.config.scenario, 0)).draft_length)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("policy.onnx", None, "policy.onnx: expected the file described in policy.json, got another file"),
        ("policy.json", ('"schema": 2', '"schema": 1'), "schema: expected 2, got 1; export the run"),
        ("policy.json", ('"sha256": {', '"sha256": 3, "x": {'), "sha256: expected a table of files, got a JSON int"),
        ("policy.json", ("compute", "commute"), "inputs: expected ['acceptance', 'channel', 'compute', "),
        ("policy.json", ("Heterogeneous", "Hetero"), "did you mean"),
    ],
)
def test_foreign_exports_are_refused(exported, tmp_path, name, change, message):
    folder = shutil.copytree(exported, tmp_path / "copy")
    content = "{}" if change is None else (folder / name).read_text(encoding="utf-8").replace(*change)
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)):
        load_policy(folder)
    with pytest.raises(ValueError, match=r"policy: expected a folder with a policy\.json, .*, got "):
        load_policy(tmp_path)


CONFIG = EnvConfig.of(HIDDEN, num_users=2)
SPACE = CONFIG.observations.space


class Shifted:
    def deterministic(self, observations):
        assert list(observations) == list(SPACE.spaces)
        compute = observations["compute"]
        return th.stack([compute, -2.0 * compute], -1).flatten(1)


def test_actions_stay_inside_their_bounds():
    network = TracedNetwork(Shifted(), SPACE, 2)
    entries = [th.zeros(1, *box.shape) for box in SPACE.spaces.values()]
    entries[network.entries.index("compute")] = th.tensor([[0.25, 7.0]])
    assert network(*entries).tolist() == [[[0.25, -0.5], [5.0, -5.0]]]


def test_random_observations_are_inside_the_space_and_of_order_one():
    boxes = CONFIG.replace(num_users=5).observations.space.spaces.values()
    for entry, box in zip(random_observations(CONFIG, 5, 200), boxes, strict=True):
        low, high = max(box.low[0], -2.0), min(box.high[0], 2.0)
        assert tuple(entry.shape) == (200, *box.shape)
        assert entry.dtype == th.float32
        assert low <= entry.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < entry.max() <= high


@pytest.mark.parametrize(("users", "expected"), [(1, 0.25), (8, 0.25), (33, 0.25), (4, 0.0)])
def test_the_largest_difference_over_numbers_of_users(users, expected):
    network, shapes = TracedNetwork(Shifted(), SPACE, 2), []

    def exported(entries):
        actions = network(*entries).numpy().copy()
        shapes.append(actions.shape)
        if actions.shape[1] == users:
            actions[7, 0, 1] += 0.25
            actions[9, 0, 0] -= 0.125
        return actions

    assert largest_difference(network, CONFIG, exported) == pytest.approx(expected)
    assert shapes == [(128, 1, 2), (128, 8, 2), (128, 33, 2)]
