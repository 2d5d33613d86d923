"""The pieces of an export, without a run and without the packages that translate."""

import logging
from types import SimpleNamespace

import pytest
import torch as th

from agents import export
from agents import export as command
from agents.export import TracedNetwork, largest_difference, onnx_of, random_observations
from multispin_env.commands.main import main
from multispin_env.envs.settings import Settings
from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario

SETTINGS = Settings(Scenario.preset("llama2", num_users=2), ENVIRONMENTS.load("MultiSpin/HiddenAcceptance-v0")())
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
    boxes = Settings(SETTINGS.scenario.replace(num_users=5), SETTINGS.variant).observations.space.spaces
    assert [tuple(one.shape) for one in found] == [(200, *box.shape) for box in boxes.values()]
    for one, (key, box) in zip(found, boxes.items(), strict=True):
        low, high = max(box.low[0], -2.0), min(box.high[0], 2.0)
        assert low <= one.min() < low + 0.1 * (high - low), key
        assert high - 0.1 * (high - low) < one.max() <= high, key
        assert one.dtype == th.float32
    again = random_observations(SETTINGS, 5, 200)
    assert all(map(th.equal, found, again))


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


@pytest.mark.parametrize(("newest", "written"), [(12, 9), (8, 8)])
def test_files_are_of_a_version_that_old_readers_know(newest, written, monkeypatch):
    model = SimpleNamespace(ir_version=newest, SerializeToString=lambda: b"content")
    given = {}

    def translated(program, **options):
        given.update(options, logs=logging.root.manager.disable)
        return SimpleNamespace(model_proto=model)

    monkeypatch.setattr(export, "find_spec", lambda name: name)
    monkeypatch.setattr(export, "program_of", lambda network, settings: "program")
    monkeypatch.setattr(th.onnx, "export", translated)
    network = TracedNetwork(Shifted(), SPACE, 2)
    assert onnx_of(network, SETTINGS) == b"content"
    assert model.ir_version == written
    assert given["input_names"] == list(SPACE.spaces)
    assert given["output_names"] == ["action"]
    assert (given["logs"], logging.root.manager.disable) == (logging.WARNING, logging.NOTSET)


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_every_package_is_looked_for(missing, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(ModuleNotFoundError, match=f"the package '{missing}' is missing; install it with: pip install"):
        onnx_of(TracedNetwork(Shifted(), SPACE, 2), SETTINGS)


def test_what_is_written_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "run_folder", lambda name: tmp_path)
    monkeypatch.setattr(command, "load_config", lambda folder: None)
    asked = []
    monkeypatch.setattr(command, "export", lambda *given: asked.append(given) or dict.fromkeys(given[2], 2e-7))
    for options, names in (([], ["policy.onnx"]), (["--torch-export", "--onnx"], ["policy.onnx", "policy.pt2"])):
        assert main(["export", "run", *options]) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"wrote {tmp_path / name}: largest difference of an action from the original 2.0e-07 "
            "on 384 random observations"
            for name in names
        ]
        assert asked[-1] == (tmp_path, tmp_path, names)
    assert main(["export", "run", "--out", str(tmp_path / "new")]) == 0
    assert asked[-1] == (tmp_path, tmp_path / "new", ["policy.onnx"])
    assert (tmp_path / "new").is_dir()
