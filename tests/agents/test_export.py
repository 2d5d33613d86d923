"""Exports answer as their originals do, and exported policies decide without torch."""

import io
import json
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch as th

import multispin_env as ms
from agents import AGENTS, tracing, train
from agents.cards import CARD, exported_card, is_foreign
from agents.checkpoints import CHECKPOINT, MODEL, Checkpoint, load_checkpoint, save_checkpoint
from agents.models import load_run_model
from agents.policies import policy_of
from agents.runs import Limits, config_from, load_config, save_config
from agents.tracing import TracedNetwork, largest_difference, random_observations
from agents.vec_env import make_vec_env
from multispin_env.apps.commands.main import main
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.episodes import make_episode_env, play_episodes
from multispin_env.evaluation.policy import load_policy
from tests.cards import card_of, check_card

FULL, HIDDEN = "MultiSpin/Heterogeneous-v0", "MultiSpin/HiddenAcceptance-v0"
KNOWN, HIDING = ("apg", FULL, "lengths"), ("decentralised", HIDDEN, "residual")
CASES = [KNOWN, HIDING, ("sac", FULL, "lengths")]
STATE = ("draft_time", "spectral_efficiency", "acceptance_rate")

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # torch's exporters warn of themselves
    pytest.mark.usefixtures("quick_prices"),
]


@pytest.fixture(scope="module")
def runs(quick_prices, tmp_path_factory):
    """Folder of a run of each case, whose weights are random rather than trained."""

    @cache
    def run(agent, env_id, action):
        folder = tmp_path_factory.mktemp("runs") / "tiny"
        options = ["--agent", agent, "--env", env_id, "--action", action, "--num-users", "3", "--seed", "1"]
        config = config_from(train.COMMAND.parser("train").parse_args(options))
        folder.mkdir()
        save_config(folder, config, Limits())
        settings = AGENTS.load(agent)
        env = make_vec_env(config.env, settings.num_envs, 4, 0)
        model = settings.for_environment(config.env).build(env, lambda progress: progress, 0, "cpu")
        with th.no_grad():
            for parameter in model.policy.parameters():
                parameter.add_(0.2 * th.randn_like(parameter))
        for name in (MODEL, CHECKPOINT):
            save_checkpoint(folder / name, Checkpoint.of(model, 1.0, 0.5))
        return folder

    return run


@pytest.fixture(scope="module")
def exports(runs, tmp_path_factory):
    """Folder of the export of each case to ONNX, and what the command printed."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    @cache
    def export_of(*case):
        folder, printed = tmp_path_factory.mktemp("exported"), io.StringIO()
        with redirect_stdout(printed):
            assert main(["export", str(runs(*case)), "--out", str(folder)]) == 0
        return folder, printed.getvalue()

    return export_of


@pytest.fixture
def exported(exports):
    return exports(*KNOWN)[0]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=["-".join(case).replace("/", "-") for case in CASES])
def test_onnx_equals_the_original(case, runs, exports):
    folder, (out, printed) = runs(*case), exports(*case)
    assert "policy.onnx: largest difference of an action from the original" in printed
    assert pytest.importorskip("onnx").load(out / "policy.onnx").ir_version <= 9  # which old readers know
    content, weights = (out / "policy.onnx").read_bytes(), (folder / MODEL).stat().st_size
    assert b'.py"' not in content  # a path of this machine
    assert len(content) < weights + 10_000
    policy = load_policy(out)
    config, _ = load_config(folder)
    assert policy.config == config.env
    network = tracing.network_of(folder, config)
    entries = random_observations(config.env, 3, 50)
    found = policy.act({key: one.numpy() for key, one in zip(network.entries, entries, strict=True)})
    assert np.abs(found - network(*entries).numpy()).max() < 1e-5
    assert network(*entries).std() > 0.01


@pytest.mark.slow
def test_torch_export_equals_the_original(runs, tmp_path, capsys):
    assert main(["export", str(runs(*HIDING)), "--torch-export", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "policy.pt2: largest difference of an action from the original 0.0e+00" in said.out
    assert "1 of 1, writing policy.pt2" in said.err
    assert {path.name for path in tmp_path.iterdir()} == {"policy.pt2", "policy.json", CARD}
    assert b".py" not in (tmp_path / "policy.pt2").read_bytes()
    assert "network" in check_card((tmp_path / CARD).read_text(encoding="utf-8"), tmp_path)


def test_the_card_of_an_export_says_what_was_measured(runs, exports, tmp_path, capsys):
    text = (exports(*KNOWN)[0] / CARD).read_text(encoding="utf-8")
    assert "reward" in check_card(text, exports(*KNOWN)[0])
    assert "metrics" not in card_of(text)
    assert "Not measured" in text
    folder = tmp_path / "run"
    shutil.copytree(runs(*KNOWN), folder)
    assert main(["evaluate", str(folder), "--out", str(folder)]) == 0
    row = json.loads((folder / "table.json").read_text(encoding="utf-8"))["rows"]
    own = next(one for one in row if one["name"] == "apg (lengths)")
    measured = exported_card(folder, True)
    assert f"| apg (lengths) | {own['mean']:.2f} | {own['low']:.2f} | {own['high']:.2f} |" in measured
    assert card_of(measured)["metrics"] == ["goodput"]
    pytest.importorskip("huggingface_hub").ModelCard(measured)  # refuses a header that it can't read


@pytest.mark.parametrize("change", ["other-system", "trained-on", "damaged"])
def test_a_table_of_something_else_is_no_measurement(change, runs, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(runs(*KNOWN), folder)
    others = ["--num-users", "4"] if change == "other-system" else []
    assert main(["evaluate", str(folder), "--out", str(folder), *others]) == 0
    if change == "trained-on":
        found = load_checkpoint(folder, MODEL)
        save_checkpoint(folder / MODEL, replace(found, num_timesteps=found.num_timesteps + 1))
    if change == "damaged":
        (folder / "table.json").write_text('{"about": {}}', encoding="utf-8")
    assert "Not measured" in exported_card(folder, True)


def test_a_readme_that_is_no_card_stays(exported, runs, tmp_path):
    assert not is_foreign(exported / CARD)
    (tmp_path / CARD).write_text("# Mine\n", encoding="utf-8")
    assert main(["export", str(runs(*KNOWN)), "--torch-export", "--out", str(tmp_path)]) == 0
    assert (tmp_path / CARD).read_text(encoding="utf-8") == "# Mine\n"


def test_an_export_that_differs_is_refused_and_leaves_an_earlier_one(runs, tmp_path, refused, monkeypatch):
    """Both files pass or none is replaced, and nothing else is left behind."""
    earlier = {"policy.onnx": b"good", "policy.pt2": b"good too", "policy.json": b"{}"}
    for name, content in earlier.items():
        (tmp_path / name).write_bytes(content)
    written = tracing.FORMATS[tracing.PROGRAM]
    monkeypatch.setitem(tracing.FORMATS, tracing.ONNX, written._replace(read=lambda folder, network: None))
    differences = iter([0.0, 0.1])
    monkeypatch.setattr(tracing, "largest_difference", lambda *_: next(differences))
    message = refused("export", [str(runs(*KNOWN)), "--onnx", "--torch-export", "--out", str(tmp_path)])
    assert "policy.pt2: expected a difference from the original of at most 0.0001, got 1.0e-01" in message
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == earlier


def test_a_policy_for_one_number_of_users_is_refused(runs, refused, monkeypatch):
    """As the usual ones of Stable-Baselines3 are."""
    monkeypatch.setattr(tracing, "load_run_model", lambda *given: SimpleNamespace(policy=th.nn.Identity()))
    message = refused("export", [str(runs(*KNOWN)), "--onnx"])
    assert "agent: expected an agent whose policy has deterministic(observations)" in message


def test_a_missing_package_is_said(runs, tmp_path, refused, monkeypatch):
    monkeypatch.setattr(tracing, "find_spec", lambda name: None)
    message = refused("export", [str(runs(*KNOWN)), "--out", str(tmp_path)])
    assert message.endswith("the package 'onnx' is missing; install it with: pip install \"multispin_env[export]\"")


def test_it_decides_as_the_model_for_any_number_of_users(exported, runs):
    policy = load_policy(exported)
    for users, preset in ((3, "llama2"), (20, "qwen3.5"), (1, "llama2")):
        scenario = ms.Scenario.preset(preset, num_users=users)
        settings = EnvConfig.of(FULL, scenario, action="lengths")
        decide = policy_of(load_run_model(runs(*KNOWN), settings), settings)
        state = ms.sample_state(scenario, np.random.default_rng(0), 40)
        expected, found = decide(state), policy.on(scenario)(state)
        assert (found.draft_length == expected.draft_length).mean() > 0.99  # a length may be a rounding from the next
        one = policy.on(scenario)(state[0])
        assert one.draft_length.shape == (users,)
        assert (one.draft_length == found.draft_length[0]).all()
        many = policy.on(scenario)(ms.SystemState(*(getattr(state, name).reshape(4, 10, users) for name in STATE)))
        assert (many.draft_length.reshape(40, users) == found.draft_length).all()


def test_where_something_is_hidden_it_answers_observations(runs, exports):
    policy = load_policy(exports(*HIDING)[0])
    scenario = ms.Scenario.preset("llama2", num_users=5)
    settings = replace(load_config(runs(*HIDING))[0].env, scenario=scenario)
    agent = policy_of(load_run_model(runs(*HIDING), settings), settings)
    env = make_episode_env(EnvConfig.of(HIDDEN, scenario, history=True), 3)
    found, wanted = (play_episodes(env, one).goodput for one in (policy, agent))
    assert found == pytest.approx(wanted, rel=1e-3)  # a length may be a rounding from the next


def test_torch_is_not_needed(exported):
    code = (
        "import sys; sys.modules['torch'] = None; import numpy as np, multispin_env as ms; "
        "from multispin_env.evaluation.policy import load_policy; "
        f"p = load_policy({str(exported)!r}); s = ms.sample_state(p.config.scenario, np.random.default_rng(0)); "
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
        ("policy.onnx", None, "policy.onnx: expected the file that policy.json was written with, got another"),
        ("policy.json", None, "can't be read as an exported policy"),
        ("policy.json", ('"schema": 1', '"schema": 9'), "schema: expected 1, got 9; export the run"),
        (
            "policy.json",
            ('"sha256": {', '"sha256": 3, "other": {'),
            "sha256: expected a table of files, got a JSON int",
        ),
        ("policy.json", ("compute", "commute"), "inputs: expected ['acceptance', 'channel', 'compute', "),
        ("policy.json", ("Heterogeneous", "Hetero"), "did you mean"),
    ],
)
def test_foreign_exports_are_refused(exported, tmp_path, name, change, message):
    folder = tmp_path / "copy"
    shutil.copytree(exported, folder)
    content = "{}" if change is None else (folder / name).read_text(encoding="utf-8").replace(*change)
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="policy") as caught:
        load_policy(folder)
    assert message in str(caught.value)


def test_nothing_there(tmp_path):
    with pytest.raises(
        ValueError, match=r"policy: expected a folder with a policy\.json, from python -m agents\.export, got "
    ):
        load_policy(tmp_path)


def test_the_best_is_exported(runs, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(runs(*KNOWN), folder)
    found = load_checkpoint(folder)
    zeros = {key: th.zeros_like(value) for key, value in found.parameters["policy"].items()}
    save_checkpoint(folder / MODEL, Checkpoint({**found.parameters, "policy": zeros}, 1, 1, 1.0))
    config, _ = load_config(folder)
    network = tracing.network_of(folder, config)
    assert not network(*random_observations(config.env, 3, 5)).any()


SETTINGS = EnvConfig.of(HIDDEN, ms.Scenario.preset("llama2", num_users=2))
SPACE = SETTINGS.observations.space


class Shifted:
    """A policy that answers with what it sees of its device, and minus twice as much."""

    def deterministic(self, observations):
        assert list(observations) == list(SPACE.spaces)
        own = observations["compute"]
        return th.stack([own, -2.0 * own], -1).flatten(1)


def test_actions_stay_inside_their_bounds():
    network = TracedNetwork(Shifted(), SPACE, 2)
    entries = [th.zeros(1, *box.shape) for box in SPACE.spaces.values()]
    entries[network.entries.index("compute")] = th.tensor([[0.25, 3.0]])
    assert network(*entries).tolist() == [[[0.25, -0.5], [1.0, -1.0]]]


def test_random_observations_are_inside_the_space_and_of_order_one():
    found = random_observations(SETTINGS, 5, 200)
    boxes = SETTINGS.replace(num_users=5).observations.space.spaces
    assert [tuple(one.shape) for one in found] == [(200, *box.shape) for box in boxes.values()]
    for one, (key, box) in zip(found, boxes.items(), strict=True):
        low, high = max(box.low[0], -2.0), min(box.high[0], 2.0)
        assert low <= one.min() < low + 0.1 * (high - low), key
        assert high - 0.1 * (high - low) < one.max() <= high, key
        assert one.dtype == th.float32


@pytest.mark.parametrize(("users", "found"), [(1, 0.25), (8, 0.25), (33, 0.25), (4, 0.0)])
def test_the_largest_difference_over_numbers_of_users(users, found):
    network = TracedNetwork(Shifted(), SPACE, 2)
    seen = []

    def exported(entries):
        answer = network(*entries).numpy().copy()
        seen.append(answer.shape)
        if answer.shape[1] == users:
            answer[7, 0, 1] += 0.25
            answer[9, 0, 0] -= 0.125
        return answer

    assert largest_difference(network, SETTINGS, exported) == pytest.approx(found)
    assert seen == [(128, 1, 2), (128, 8, 2), (128, 33, 2)]
