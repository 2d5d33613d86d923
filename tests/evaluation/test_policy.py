import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.contenders import contender_errors
from multispin_env.evaluation.policy import (
    ONNX,
    POLICY,
    Policy,
    _network,
    _session,
    config_of,
    describe,
    load_policy,
    read_about,
)

FULL, HIDDEN = "MultiSpin/Heterogeneous-v0", "MultiSpin/HiddenAcceptance-v0"
RECORDED = "MultiSpin/RecordedAcceptance-v0"
NESTED = "[" * 200_000


def policy_of(env_id, users=3, action="shares"):
    """Return a policy whose flat actions are multiples of the acceptance rates."""
    config = EnvConfig.of(env_id, ms.Scenario.preset("llama2", num_users=users), action=action)

    def network(entries):
        assert all(array.ndim == 2 for array in entries.values())
        assert all(array.dtype == np.float32 for array in entries.values())
        rate = entries["acceptance"] if "acceptance" in entries else entries["compute"]
        return np.stack([rate, 0.5 * rate], -1).reshape(len(rate), -1)

    return Policy(config, network)


def test_it_decides_as_its_codecs_say():
    policy = policy_of(FULL)
    state = ms.sample_state(policy.config.scenario, np.random.default_rng(0), 5)
    observation = policy.config.observations.encode(state)
    action = policy.act(observation)
    assert action.shape == (5, 3, 2)
    assert (action[..., 0] == observation["acceptance"]).all()
    expected, decision = policy.config.actions.decode(action, state), policy(state)
    assert (decision.draft_length == expected.draft_length).all()
    assert (decision.bandwidth == expected.bandwidth).all()


def test_any_leading_shape_and_number_of_users():
    policy = policy_of(FULL)
    scenario = ms.Scenario.preset("qwen3.5", num_users=5)
    state = ms.sample_state(scenario, np.random.default_rng(0), 6)
    batch = policy.on(scenario)(state)
    assert batch.draft_length.shape == (6, 5)
    assert (policy.on(scenario)(state[2]).draft_length == batch.draft_length[2]).all()
    fields = ("draft_time", "spectral_efficiency", "acceptance_rate")
    nested = ms.SystemState(*(getattr(state, name).reshape(2, 3, 5) for name in fields))
    assert (policy.on(scenario)(nested).bandwidth.reshape(6, 5) == batch.bandwidth).all()
    llama = ms.sample_state(policy.config.scenario.replace(num_users=5), np.random.default_rng(0), 6)
    more = policy.on(policy.config.scenario.replace(num_users=5))(llama)
    assert (policy(llama).bandwidth == more.bandwidth).all()


def test_arguments_make_its_environment():
    policy = policy_of(HIDDEN, action="lengths")
    assert policy.arguments == {"scenario": policy.config.scenario, "action": "lengths", **policy.config.arguments}
    assert EnvConfig.of(HIDDEN, **policy_of(HIDDEN, action="lengths").arguments) == policy.config
    other = policy.on(policy.config.scenario.replace(total_bandwidth=5e6))
    assert other.config == replace(policy.config, scenario=other.config.scenario)
    assert other.network is policy.network
    assert repr(policy_of(FULL)) == "<Policy for Heterogeneous, llama2, K = 3, shares actions>"


def test_bad_observations_states_and_scenarios():
    full, hidden = policy_of(FULL), policy_of(HIDDEN)
    names = r"\['acceptance', 'channel', 'compute', 'shared'\]"
    with pytest.raises(ValueError, match=rf"observation: expected the entries {names}, got \['shared'\]"):
        full.act({"shared": np.zeros((1, 3), np.float32)})
    state = ms.sample_state(hidden.config.scenario, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"state: .* by act\(\), for a policy of HiddenAcceptance, got a SystemState"):
        hidden(state)
    with pytest.raises(ValueError, match="draft_time"):
        full(ms.SystemState(-np.ones(3), np.ones(3), np.ones(3)))
    with pytest.raises(ValueError, match=r"server: .* whose time does not depend on tokens, .* 'a100-32b'"):
        full.on(full.config.scenario.replace(server="a100-32b"))
    three = full.config.scenario.replace(tasks=full.config.scenario.tasks[:3])
    assert full.on(three).config.scenario == three  # tasks are not observed
    with pytest.raises(ValueError, match="tasks: expected 4 tasks, as in training, got 3"):
        hidden.on(three)


@pytest.mark.parametrize("shape", [(1, 3, 2), (5, 3, 1), (10, 3, 2), (5, 3)])
def test_outputs_of_another_shape_are_refused(shape):
    config = policy_of(FULL).config
    state = ms.sample_state(config.scenario, 0, 5)
    policy = Policy(config, lambda entries: np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=r"^action: expected .* \(5, K, 2\) from the network, got shape \("):
        policy(state)


@pytest.fixture
def about(tmp_path):
    arguments = {"records": str(tmp_path / "elsewhere" / "mine.npz"), "half": 0}
    config = EnvConfig.of(RECORDED, ms.Scenario.preset("llama2"), **arguments)
    return json.loads(json.dumps(describe(config, {ONNX: b"network"})))


def test_a_policy_names_no_path(about, tmp_path):
    assert about["arguments"]["records"] == "records.npz"
    (tmp_path / "records.npz").write_bytes(b"")
    assert config_of(about, tmp_path / POLICY).records == str(tmp_path / "records.npz")


@pytest.mark.parametrize(
    ("table", "field", "value", "message"),
    [
        *(
            ("arguments", "records", name, rf"records: expected a file next to the configuration, got {name!r}\)")
            for name in ("/etc/passwd", "../outside.npz", "link.npz", "missing.npz", 3)
        ),
        *(("scenario", "num_users", number, "") for number in (10**400, 10**15, 100_001)),
        *(("scenario", "total_bandwidth", number, "") for number in (10**400, float("nan"))),
    ],
    ids=["absolute", "outside", "link", "missing", "number", "users", "memory", "more", "bandwidth", "nan"],
)
def test_bad_records_and_numbers(about, tmp_path, table, field, value, message):
    folder = tmp_path / "policy"
    folder.mkdir()
    (tmp_path / "outside.npz").write_bytes(b"")
    (folder / "link.npz").symlink_to(tmp_path / "outside.npz")
    about["arguments"]["records"] = None
    about[table][field] = value
    with pytest.raises(ValueError, match=rf"{POLICY}: can't be read as an exported policy \(.*{message}"):
        config_of(about, folder / POLICY)


@pytest.mark.parametrize(
    "content", [NESTED, '{"kind": ' + NESTED, "\0", b"\xff", "[]", "9" * 5000], ids=lambda text: repr(text)[:12]
)
def test_broken_descriptions_are_refused(tmp_path, content):
    (tmp_path / POLICY).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=rf"{POLICY}: can't be read as an exported policy \(") as caught:
        read_about(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_large_network_is_refused_unread(about, tmp_path, monkeypatch):
    (tmp_path / POLICY).write_text(json.dumps(about), encoding="utf-8")
    (tmp_path / ONNX).write_bytes(b"network")
    monkeypatch.setattr("multispin_env.evaluation.policy.LARGEST_ONNX", 6)
    with pytest.raises(ValueError, match=f"{ONNX}: can't be read as a network .size: expected at most 6 bytes"):
        load_policy(tmp_path)


def graph(body, constants="", outputs="float[] action", inputs="float[batch, users] compute", more="", opset=18):
    """Return the bytes of a network in the text format of onnx."""
    onnx = pytest.importorskip("onnx")
    head = f'<ir_version: 8, opset_import: ["": {opset}{more}]> g ({inputs}) => ({outputs})'
    return onnx.parser.parse_model(f"{head} <{constants}> {{ {body} }}").SerializeToString()


@pytest.mark.parametrize(("entry", "output"), [("shared", "other"), ("elsewhere", "action")])
def test_networks_with_other_names_are_refused(tmp_path, entry, output):
    pytest.importorskip("onnxruntime")
    content = graph(f"{output} = Identity({entry})", "", f"float[1, 3] {output}", f"float[1, 3] {entry}")
    config = EnvConfig.of(RECORDED, ms.Scenario.preset("llama2"))
    (tmp_path / ONNX).write_bytes(content)
    (tmp_path / POLICY).write_text(json.dumps(describe(config, {ONNX: content})), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"expected a network of .* to 'action', got one of \['{entry}'\]"):
        load_policy(tmp_path)


@pytest.mark.parametrize("kind", ["Unknown\x1b[2J", "Reshape"])
def test_names_in_a_network_are_printed_with_escapes(kind, capfd):
    pytest.importorskip("onnxruntime")
    body = "size = Constant<value_ints = [7]>() action = Reshape(shared, size)"
    model = pytest.importorskip("onnx").ModelProto.FromString(graph(body, inputs="float[n, 3] shared"))
    model.graph.node[1].op_type, model.graph.node[1].name = kind, "node\x1b[2J"

    def play():
        session = _session(model.SerializeToString(), ["shared"], Path(ONNX))
        _network(session, Path(ONNX))({"shared": np.zeros((2, 3), np.float32)})

    with pytest.raises(ValueError, match=r"\\x1b\[2J") as refused, contender_errors("mine"):
        play()
    assert str(refused.value).isprintable()
    assert capfd.readouterr() == ("", "")


def changed(change):
    """Return the bytes of a network whose weights ``change`` has changed."""
    onnx = pytest.importorskip("onnx")
    model = onnx.ModelProto.FromString(graph("action = MatMul(compute, w)", "float[2, 2] w = {1, 2, 3, 4}"))
    change(model.graph, model.graph.initializer[0])
    return model.SerializeToString()


def external(location):
    def change(_, weights):
        weights.ClearField("float_data")
        weights.data_location = 1
        for key, value in (("location", location), ("offset", "0"), ("length", "16")):
            weights.external_data.add(key=key, value=value)

    return partial(changed, change)


def sparse(graph, weights):
    tensor = graph.sparse_initializer.add()
    tensor.values.CopyFrom(weights)
    graph.ClearField("initializer")


def sparse_constant(graph, weights):
    constant = graph.node.add(op_type="Constant", output=["v"])
    constant.attribute.add(name="sparse_value", type=11).sparse_tensor.dims.append(1)


def foreign(domain, version, operator):
    return partial(graph, f"action = {domain}.{operator}(compute)", more=f', "{domain}": {version}')


def dims(*sizes):
    def change(_, weights):
        weights.dims[:] = sizes

    return partial(changed, change)


def strings(_, weights):
    weights.ClearField("float_data")
    weights.data_type = 8
    weights.string_data[:] = [b"text"] * 4


def deep(graph, _):
    for _ in range(200):
        graph = graph.node.add(op_type="Identity").attribute.add(name="then_branch", type=5).g


def nodes(graph, _):
    for _ in range(20_000):
        graph.node.add(op_type="Identity", input=["compute"], output=["same"])


def looping():
    body = "<body = b (int64 step, bool on) => (bool more) { more = Identity(go) }>"
    return graph(f"action = Identity(compute) all = Loop(times, go) {body}", "bool go = {1}, int64 times = {3}")


def branching():
    branch = "b () => (bool more) { more = Identity(go) }"
    body = f"action = Identity(compute) all = If(go) <then_branch = {branch}, else_branch = {branch}>"
    return graph(body, "bool go = {1}")


def with_function():
    model = pytest.importorskip("onnx").ModelProto.FromString(graph("action = Identity(compute)"))
    model.functions.add(name="f", domain="mine")
    return model.SerializeToString()


def hidden_loop():
    """Return a graph with a loop after a field number that onnxruntime cuts to 32 bits."""
    model = pytest.importorskip("onnx").ModelProto.FromString(looping())
    content = model.graph.SerializeToString()
    assert 128 <= len(content) < 128**2
    model.ClearField("graph")
    size = bytes([len(content) & 127 | 128, len(content) >> 7])
    return model.SerializeToString() + b"\xba\x80\x80\x80\x10" + size + content


ONCE = "expected nodes that run once"
LARGE = "numbers in tensors of constant shape"
OPERATOR = "expected operators of deterministic networks"
READ = "can't be read as a network"
ELSEWHERE = "data in another file"

CONSTANTS = " ".join(f"c{i} = ConstantOfShape(s)" for i in range(300))
SQUARE = "c = Transpose(b) action = MatMul(b, c)"

TOO_LARGE = {
    "a constant of 8 GB": ("action = ConstantOfShape(s)", "int64[1] s = {2000000000}"),
    "a shape that is computed": ("t = Mul(s, s) action = ConstantOfShape(t)", "int64[1] s = {50000}"),
    "a shape in a node": ("s = Constant<value_ints = [100000, 100000]>() action = ConstantOfShape(s)",),
    "a large Expand": ("action = Expand(compute, s)", "int64[4] s = {10000, 10000, 1, 1}"),
    "a large Tile": ("action = Tile(q, s)", "float[1, 1] q = {1}, int64[2] s = {100000, 10000}"),
    "a large Range": ("action = Range(z, e, d)", "float z = {0}, float e = {1e9}, float d = {1}"),
    "a large product": (f"b = Expand(q, s) {SQUARE}", "float[1] q = {1}, int64[2] s = {100000, 1}"),
    "many constants": (f"{CONSTANTS} action = Identity(compute)", "int64[1] s = {100000}"),
    "shapes that are not true": ("action = ConstantOfShape(s)", "int64[1] s = {2000000000}", "float[1] action"),
}
"""Body, constants and outputs of networks."""

OPERATORS = (
    *("RandomNormal<shape = [3, 8, 2]>()", "RandomNormalLike(compute)", "RandomUniform<shape = [3, 8, 2]>()"),
    *("RandomUniformLike(compute)", "Multinomial(compute)", "Bernoulli(compute)", "Dropout(compute)", "Scan(compute)"),
)

HOSTILE = {
    **{name: (partial(graph, *parts), LARGE) for name, parts in TOO_LARGE.items()},
    **{operator: (partial(graph, f"action = {operator}"), OPERATOR) for operator in OPERATORS},
    **{f"data in {path}": (external(path), ELSEWHERE) for path in ("weights.bin", "/etc/passwd", "../weights.bin")},
    "a loop": (looping, ONCE),
    "a loop in disguise": (hidden_loop, "can't be read as a network"),
    "a branch": (branching, ONCE),
    "a function": (with_function, ONCE),
    "a division that ends the process": (
        partial(
            graph,
            "q = Div(a, b) f = Cast<to = 1>(q) action = Add(compute, f)",
            "int64[1] a = {-9223372036854775808}, int64[1] b = {-1}",
        ),
        "expected Div of",
    ),
    "an operator of Microsoft": (foreign("com.microsoft", 1, "Gelu"), "got 'com.microsoft.Gelu'"),
    "an operator for training": (foreign("ai.onnx.preview.training", 1, "Adam"), OPERATOR),
    "trees": (foreign("ai.onnx.ml", 3, "Binarizer"), OPERATOR),
    "sparse weights": (partial(changed, sparse), "expected dense constants"),
    "sparse constants": (partial(changed, sparse_constant), "expected dense constants"),
    "negative sizes": (dims(-2, -2), READ),
    "negative sizes that cancel": (dims(-(2**31), 2**31), LARGE),
    "huge sizes": (dims(2**62, 2**62), LARGE),
    "a hundred thousand axes": (dims(*[2] * 100_000), READ),
    "weights of text": (partial(changed, strings), READ),
    "graphs in graphs": (partial(changed, deep), READ),
    "many nodes": (partial(changed, nodes), "expected at most 10000 nodes"),
    "a node that reads itself": (partial(graph, "a = Add(a, compute) action = Identity(a)"), READ),
    "an opset of the future": (partial(graph, "action = Identity(compute)", opset=10_000), READ),
    "an empty file": (bytes, READ),
    "zeros": (partial(bytes, 10**6), READ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_network_is_refused_before_it_runs(kind, capfd):
    pytest.importorskip("onnxruntime")
    make, words = HOSTILE[kind]
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        _session(make(), ["compute"], Path(ONNX))
    assert len(str(refused.value)) < 500
    assert capfd.readouterr() == ("", "")
