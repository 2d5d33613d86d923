"""Exports answer as their originals do, and exported policies decide without torch."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch as th

import multispin_env as ms
from agents import AGENTS, export
from agents import training as train_command
from agents.checkpoints import MODEL, Checkpoint, load_checkpoint, save_checkpoint
from agents.models import load_run_model
from agents.policies import policy_of
from agents.runs import load_config
from multispin_env.commands.main import main
from multispin_env.evaluation.episodes import make_episode_env, play_episodes
from multispin_env.evaluation.exported import checksum, load_policy
from multispin_env.registry import ENVIRONMENTS

FULL, HIDDEN = "MultiSpin/Heterogeneous-v0", "MultiSpin/HiddenAcceptance-v0"
CASES = [
    ("ppo", FULL, "residual"),
    ("sac", FULL, "lengths"),
    ("apg", FULL, "lengths"),
    ("ppo", HIDDEN, "residual"),
    ("apg", "MultiSpin/Fair-v0", "lengths"),  # has a network beside the policy
    ("evolution", "MultiSpin/Continuous-v0", "tuned"),
    ("ppo", "MultiSpin/Serving-v0", "residual"),
]

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # torch's exporters warn of themselves
    pytest.mark.usefixtures("quick_prices"),
]


@pytest.fixture(scope="module")
def runs(quick_prices, tmp_path_factory):
    """Folder of a run of each case, whose network says something."""
    made = {}

    def run(agent, env_id, action):
        if (agent, env_id, action) not in made:
            folder = tmp_path_factory.mktemp("runs") / "tiny"
            options = ["--agent", agent, "--env", env_id, "--action", action, "--num-users", "3", "--seed", "1"]
            make_run(folder, options)
            made[agent, env_id, action] = folder
        return made[agent, env_id, action]

    return run


def make_run(folder, options):
    """A run whose weights are random rather than trained."""
    from agents.base import tuning_for
    from agents.runs import Limits, config_from, save_config
    from agents.vec_env import make_vec_env
    from multispin_env.files import make_folder

    parsed = train_command.COMMAND.parser("train").parse_args(options)
    config = config_from(parsed)
    make_folder(folder)
    save_config(folder, config, Limits())
    agent = AGENTS.load(config.agent)
    env = make_vec_env(config.env, config.settings, agent.num_envs, 4, 0)
    model = agent.build(env, lambda progress: progress, 0, "cpu", tuning_for(config.settings))
    with th.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.2 * th.randn_like(parameter))
    for name in (MODEL, "checkpoint.safetensors"):
        save_checkpoint(folder / name, Checkpoint.of(model, 1.0, 0.5))


@pytest.mark.parametrize("case", CASES, ids=["-".join(case).replace("/", "-") for case in CASES])
def test_onnx_equals_the_original(case, runs, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = runs(*case)
    assert main(["export", str(folder), "--out", str(tmp_path)]) == 0
    assert "policy.onnx: largest difference of an action from the original" in capsys.readouterr().out
    policy = load_policy(tmp_path)
    config, _ = load_config(folder)
    assert policy.settings == config.settings
    network = export.network_of(folder, config)
    difference = export.largest_difference(
        network,
        config.settings,
        lambda entries: policy.act({k: one.numpy() for k, one in zip(network.entries, entries, strict=True)}),
    )
    assert difference < 1e-5
    assert network(*export.random_observations(config.settings, 3, 50)).std() > 0.01


@pytest.mark.parametrize("case", [CASES[0], CASES[3]], ids=["known", "hidden"])
def test_torch_export_equals_the_original(case, runs, tmp_path, capsys):
    assert main(["export", str(runs(*case)), "--torch-export", "--out", str(tmp_path)]) == 0
    assert "policy.pt2: largest difference of an action from the original 0.0e+00" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"policy.pt2", "policy.json"}


def test_an_export_that_differs_is_refused_and_leaves_an_earlier_one(runs, tmp_path, refused, monkeypatch):
    """Both files pass or none is replaced, and nothing else is left behind."""
    earlier = {"policy.onnx": b"good", "policy.pt2": b"good too", "policy.json": b"{}"}
    for name, content in earlier.items():
        (tmp_path / name).write_bytes(content)
    written = export.FORMATS[export.PROGRAM]
    monkeypatch.setitem(export.FORMATS, export.ONNX, written._replace(read=lambda folder, network: None))
    differences = iter([0.0, 0.1])
    monkeypatch.setattr(export, "largest_difference", lambda *_: next(differences))
    message = refused("export", [str(runs(*CASES[0])), "--onnx", "--torch-export", "--out", str(tmp_path)])
    assert "policy.pt2: expected a difference from the original of at most 0.0001, got 1.0e-01" in message
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == earlier


def test_a_missing_package_is_said(runs, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    message = refused("export", [str(runs(*CASES[0])), "--out", str(tmp_path)])
    assert message.endswith("the package 'onnx' is missing; install it with: pip install \"multispin_env[export]\"")


def test_foreign_runs_are_refused(tmp_path, refused):
    folder = str(tmp_path / "nothing")
    assert f"run: expected the folder of a run, with its config.json, got {folder!r}" in refused("export", [folder])


@pytest.fixture(scope="module")
def exported(runs, tmp_path_factory):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("exported")
    assert main(["export", str(runs(*CASES[2])), "--out", str(folder)]) == 0
    return folder


def test_it_decides_as_the_model_for_any_number_of_users(exported, runs):
    policy = load_policy(exported)
    for users, preset in ((3, "llama2"), (20, "qwen3.5"), (1, "llama2")):
        scenario = ms.Scenario.preset(preset, num_users=users)
        settings = ms_settings(scenario)
        decide = policy_of(load_run_model(runs(*CASES[2]), FULL, settings), settings)
        state = ms.sample_state(scenario, np.random.default_rng(0), 40)
        expected, found = decide(state), policy.on(scenario)(state)
        assert (found.draft_length == expected.draft_length).mean() > 0.99  # a length may be a rounding from the next
        one = policy.on(scenario)(state[0])
        assert one.draft_length.shape == (users,)
        assert (one.draft_length == found.draft_length[0]).all()
        many = policy.on(scenario)(ms.SystemState(*(a.reshape(4, 10, users) for a in arrays(state))))
        assert (many.draft_length.reshape(40, users) == found.draft_length).all()


def ms_settings(scenario):
    from multispin_env.envs.settings import Settings

    return Settings(scenario, ENVIRONMENTS.load(FULL)(), "lengths")


def arrays(state):
    return state.draft_time, state.spectral_efficiency, state.acceptance_rate


def test_a_bad_state_is_refused(exported):
    policy = load_policy(exported)
    with pytest.raises(ValueError, match="draft_time"):
        policy(ms.SystemState(-np.ones(4), np.ones(4), np.ones(4)))
    with pytest.raises(
        ValueError,
        match=r"observation: expected the entries \['acceptance', 'channel', 'compute', 'shared'\], got \['shared'\]",
    ):
        policy.act({"shared": np.zeros((1, 3), np.float32)})


def test_where_something_is_hidden_it_answers_observations(runs, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert main(["export", str(runs(*CASES[3])), "--out", str(tmp_path)]) == 0
    policy = load_policy(tmp_path)
    scenario = ms.Scenario.preset("llama2", num_users=5)
    settings = replace(load_config(runs(*CASES[3]))[0].settings, scenario=scenario)
    agent = policy_of(load_run_model(runs(*CASES[3]), HIDDEN, settings), settings)
    env = make_episode_env(HIDDEN, 3, scenario, {"history": True})
    found, wanted = (play_episodes(env, one).goodput for one in (policy, agent))
    assert found == pytest.approx(wanted, rel=1e-3)  # a length may be a rounding from the next
    with pytest.raises(
        ValueError,
        match=r"state: expected observations, by act\(\), for a policy of HiddenAcceptance, got a SystemState",
    ):
        policy(ms.sample_state(ms.Scenario.preset("llama2", num_users=3), np.random.default_rng(0)))


def test_torch_is_not_needed(exported):
    code = (
        "import sys; sys.modules['torch'] = None; import numpy as np, multispin_env as ms; "
        "from multispin_env.evaluation.exported import load_policy; "
        f"p = load_policy({str(exported)!r}); s = ms.sample_state(p.settings.scenario, np.random.default_rng(0)); "
        "print(p(s).draft_length)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_onnxruntime_the_command_is_said(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "multispin_env\[onnx\]"'):
        load_policy(exported)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "policy.onnx",
            lambda text: b"",
            "policy.onnx: expected the file that policy.json was written with, got another",
        ),
        (
            "policy.json",
            lambda text: text.replace(b'"schema": 1', b'"schema": 9'),
            "schema: expected 1, got 9; export the run",
        ),
        (
            "policy.json",
            lambda text: text.replace(b'"sha256": {', b'"sha256": 3, "other": {'),
            "sha256: expected a table of files, got a JSON int",
        ),
        (
            "policy.json",
            lambda text: text.replace(b'"scenario": {', b'"scenario": 3, "other": {'),
            "can't be read as an",
        ),
        ("policy.json", lambda text: b"{}", "can't be read as an exported policy"),
        ("policy.json", lambda text: b"\xff", "can't be read as an exported policy"),
        (
            "policy.json",
            lambda text: text.replace(b"compute", b"commute"),
            "inputs: expected ['acceptance', 'channel', 'compute', ",
        ),
        ("policy.json", lambda text: text.replace(b"Heterogeneous", b"Hetero"), "did you mean"),
    ],
)
def test_foreign_exports_are_refused(exported, tmp_path, name, change, message):
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    with pytest.raises(ValueError, match="policy") as caught:
        load_policy(folder)
    assert message in str(caught.value)


def test_a_foreign_network_is_refused(exported, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    about = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
    (folder / "policy.onnx").write_bytes(b"nonsense")
    about["sha256"]["policy.onnx"] = checksum(b"nonsense")
    (folder / "policy.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(ValueError, match="can't be read as a network"):
        load_policy(folder)


def test_nothing_there(tmp_path):
    with pytest.raises(
        ValueError, match=r"policy: expected a folder with a policy\.json, from python -m agents\.export, got "
    ):
        load_policy(tmp_path)


def test_the_best_is_exported(runs, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(runs(*CASES[0]), folder)
    found = load_checkpoint(folder)
    zeros = {key: th.zeros_like(value) for key, value in found.parameters["policy"].items()}
    save_checkpoint(folder / MODEL, Checkpoint({**found.parameters, "policy": zeros}, 1, 1, 1.0))
    config, _ = load_config(folder)
    network = export.network_of(folder, config)
    assert not network(*export.random_observations(config.settings, 3, 5)).any()
