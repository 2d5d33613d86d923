"""What ``policy.json`` of a stranger may say."""

import json

import pytest

import multispin_env as ms
from multispin_env.envs.rounds.hidden import RecordedAcceptance
from multispin_env.envs.settings import Settings
from multispin_env.evaluation import policy
from multispin_env.evaluation.policy import ONNX, POLICY, describe, load_policy, read_about, settings_of

RECORDED = "MultiSpin/RecordedAcceptance-v0"
NESTED = "[" * 200_000


@pytest.fixture
def about(tmp_path):
    """Contents of ``policy.json`` for a policy that was trained with a record of the user's own."""
    arguments = {"records": str(tmp_path / "elsewhere" / "mine.npz"), "half": 0}
    settings = Settings(ms.Scenario.preset("llama2"), RecordedAcceptance(**arguments))
    return json.loads(json.dumps(describe(settings, RECORDED, arguments, {ONNX: b"network"})))


def test_a_policy_names_no_path(about, tmp_path):
    assert about["arguments"]["records"] == "records.npz"
    (tmp_path / "records.npz").write_bytes(b"")
    assert settings_of(about, tmp_path / POLICY).variant.records == str(tmp_path / "records.npz")


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside.npz", "link.npz", "missing.npz", 3])
def test_a_policy_names_no_record_outside_its_folder(about, tmp_path, name):
    folder = tmp_path / "policy"
    folder.mkdir()
    (tmp_path / "outside.npz").write_bytes(b"")
    (folder / "link.npz").symlink_to(tmp_path / "outside.npz")
    about["arguments"]["records"] = name
    with pytest.raises(ValueError, match=rf"records: expected a file beside the configuration, got {name!r}\)"):
        settings_of(about, folder / POLICY)


@pytest.mark.parametrize(
    "content", [NESTED, '{"kind": ' + NESTED, "\0", b"\xff", "[]", "9" * 5000], ids=lambda text: repr(text)[:12]
)
def test_broken_descriptions_are_refused(tmp_path, content):
    (tmp_path / POLICY).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=rf"{POLICY}: can't be read as an exported policy \(") as caught:
        read_about(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_users", 10**400), ("num_users", 10**15), ("total_bandwidth", 10**400), ("total_bandwidth", float("nan"))],
    ids=["users", "memory", "bandwidth", "nan"],
)
def test_numbers_without_bounds_are_refused(about, tmp_path, field, value):
    about["arguments"]["records"] = None
    about["scenario"][field] = value
    with pytest.raises(ValueError, match=rf"{POLICY}: can't be read as an exported policy \("):
        settings_of(about, tmp_path / POLICY)


def test_a_large_network_is_refused_unread(about, tmp_path, monkeypatch):
    (tmp_path / POLICY).write_text(json.dumps(about), encoding="utf-8")
    (tmp_path / ONNX).write_bytes(b"network")
    monkeypatch.setattr(policy, "LARGEST_ONNX", 6)
    with pytest.raises(
        ValueError, match=f"{ONNX}: can't be read as a network .size: expected at most 6 bytes, got more"
    ):
        load_policy(tmp_path)


@pytest.mark.parametrize(("entry", "output"), [("shared", "other"), ("elsewhere", "action")])
def test_networks_of_other_names_are_refused(tmp_path, entry, output):
    """One of the names alone does not make a policy of a network."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    info = onnx.helper.make_tensor_value_info
    shape, kind = [1, 3], onnx.TensorProto.FLOAT
    node = onnx.helper.make_node("Identity", [entry], [output])
    graph = onnx.helper.make_graph([node], "network", [info(entry, kind, shape)], [info(output, kind, shape)])
    model = onnx.helper.make_model(graph, ir_version=9, opset_imports=[onnx.helper.make_opsetid("", 17)])
    content = model.SerializeToString()
    settings = Settings(ms.Scenario.preset("llama2"), RecordedAcceptance())
    (tmp_path / ONNX).write_bytes(content)
    (tmp_path / POLICY).write_text(json.dumps(describe(settings, RECORDED, {}, {ONNX: content})), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"expected a network of .* to 'action', got one of \['{entry}'\]"):
        load_policy(tmp_path)
