"""Policies: trained networks as agents and controllers, and exported policies, which need onnxruntime but not torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multispin_env.checks import check_integer, cut, missing_package, shown
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.observations import SHARED, Observation
from multispin_env.files import MIB, checksum, read_bytes, read_json
from multispin_env.scenario import Scenario

Entries = dict[str, NDArray[np.float32]]
"""Input of a network by name, each (n, size)."""

Network = Callable[[Entries], NDArray[np.float32]]
"""Function from the entries of n observations to actions in [-5, 5], (n, K, columns) or (n, K · columns)."""


@dataclass(frozen=True, eq=False, repr=False)
class Policy:
    """Deterministic policy of a network, with the observation and action codecs of its environment.

    `act` maps observations to actions, for any number of users. If the observations show the whole state, the policy
    can also be called with a state, like a controller.
    """

    config: EnvConfig  # of its environment
    network: Network  # with a method ``reset`` if it has memory, like `Recurrent`

    def __repr__(self) -> str:
        scenario, kind = self.config.scenario, type(self.config).__name__
        system = f"{scenario.label}, K = {scenario.num_users}"
        return f"<{type(self).__name__} for {kind}, {system}, {self.config.action} actions>"

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``gymnasium.make`` for the policy's system, with its observations and actions."""
        return {"scenario": self.config.scenario, "action": self.config.action, **self.config.arguments}

    def on(self, scenario: Scenario) -> Self:
        """Return the same policy for another scenario; ``ValueError`` if the observations would have other entries."""
        config = replace(self.config, scenario=scenario)
        check_entries(self.config, config)
        return replace(self, config=config)

    def reset(self) -> None:
        """Start new episodes: reset the memory of the network, if it has one."""
        reset = getattr(self.network, "reset", None)
        if reset is not None:
            reset()

    def act(self, observation: Observation) -> NDArray[np.float32]:
        """Return actions (..., K, columns) for observations (..., size); ``ValueError`` if entries are missing."""
        names = self._entries
        if not set(names) <= set(observation):
            raise ValueError(f"observation: expected the entries {names}, got {sorted(observation)}")
        batch = np.shape(observation[SHARED])[:-1]
        arrays = {name: np.asarray(observation[name], np.float32) for name in names}
        action = self.network({name: array.reshape(-1, array.shape[-1]) for name, array in arrays.items()})
        columns = self.config.actions.columns
        if len(action) != math.prod(batch) or action[:1].size % columns:
            expected = f"shape ({math.prod(batch)}, K, {columns})"
            raise ValueError(f"{OUTPUT}: expected numbers of {expected} from the network, got shape {action.shape}")
        return action.reshape(*batch, -1, columns)

    def __call__(self, state: Any) -> Any:
        """Decide for one state (K,) or a batch (..., K); K may differ from that of the scenario.

        ``ValueError`` for an invalid state, or if the environment does not show the whole state.
        """
        if not self.config.sees_state:
            kind = type(self.config).__name__
            raise ValueError(f"state: expected observations, by act(), for a policy of {kind}, got a SystemState")
        config, users = self.config, np.shape(state.draft_time)[-1]
        if users != config.scenario.num_users:
            config = replace(config, scenario=config.scenario.replace(num_users=users))
        actions = config.actions
        checked = actions.checked_state(state)
        return actions.decode(self.act(config.observations.encode(checked)), checked)

    @cached_property
    def _entries(self) -> list[str]:  # cached: the space takes longer to make than a decision
        return list(self.config.observations.space.spaces)


def check_entries(trained: EnvConfig, other: EnvConfig) -> None:
    """Raise ``ValueError`` unless a network of one environment can read the observations of another."""
    entries, other_entries = (list(config.observations.space.spaces) for config in (trained, other))
    if entries != other_entries:
        expected = f"an environment with the observation entries of the run, {entries}"
        raise ValueError(f"env: expected {expected}, got {other.env_id!r} with {other_entries}")
    before, now = trained.scenario, other.scenario
    if bool(before.verification_pieces) != bool(now.verification_pieces):  # observations then have more numbers
        law = "depends" if before.verification_pieces else "does not depend"
        got = now.server or "another law"
        raise ValueError(f"server: expected a server whose time {law} on tokens, as in training, got {got!r}")
    if len(before.tasks) != len(now.tasks) and "task" in entries:
        raise ValueError(f"tasks: expected {len(before.tasks)} tasks, as in training, got {len(now.tasks)}")


MEMORY, NEXT_MEMORY = "memory", "next_memory"
"""Names of the input and output (n, size) for the memory of a network; it is 0 at the start of episodes."""

_LARGEST_MEMORY = 65_536  # a hundred times the usual size


@dataclass(eq=False)
class Recurrent:
    """Network of a `Policy` that keeps memory from step to step of n environments, until `reset`."""

    # from entries, including `MEMORY`, to actions and the next memory
    step: Callable[[Entries], tuple[NDArray[np.float32], NDArray[np.float32]]]
    size: int  # of the memory of one environment
    _memory: NDArray[np.float32] | None = None

    def reset(self) -> None:
        """Reset the memory."""
        self._memory = None

    def __call__(self, entries: Entries) -> NDArray[np.float32]:
        """Return actions for entries, each (n, size); a change of n resets the memory.

        ``ValueError`` if the network returns memory of a different shape.
        """
        shape = (len(next(iter(entries.values()))), self.size)
        if self._memory is None or self._memory.shape != shape:
            self._memory = np.zeros(shape, np.float32)
        action, self._memory = self.step({**entries, MEMORY: self._memory})
        if self._memory.shape != shape:
            raise ValueError(f"{NEXT_MEMORY}: expected numbers of shape {shape}, got shape {self._memory.shape}")
        return action


POLICY, ONNX = "policy.json", "policy.onnx"
KIND = "multispin_env policy"
_MOST_USERS = 100_000  # of the scenario in ``policy.json``; the policy may play with more
_SCHEMA = 2  # version of ``policy.json``; other versions are refused
LARGEST_ONNX = 64 * MIB  # hundreds of times the size of the agents of this project
OUTPUT = "action"  # of the network; its inputs have the names of observation entries, or `MEMORY`


def load_policy(folder: Path | str) -> Policy:
    """Load an exported policy from ``policy.json`` and ``policy.onnx`` in a folder; only the network is executed.

    ``ValueError`` if a file is missing, damaged, of another version or of another project; ``ModuleNotFoundError``
    without onnxruntime or onnx.
    """
    folder = Path(folder)
    about = read_about(folder)
    try:
        content = read_bytes(folder / ONNX, LARGEST_ONNX) if (folder / ONNX).is_file() else b""
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / ONNX}: can't be read as a network ({error})") from None
    if checksum(content) != about["sha256"].get(ONNX):
        raise ValueError(f"{folder / ONNX}: expected the file described in {POLICY}, got another file")
    config = config_of(about, folder / POLICY)
    return Policy(config, _network(_session(content, list(about["inputs"]), folder / ONNX), folder / ONNX))


def _network(session: Any, path: Path) -> Network:
    options = onnx_runtime().RunOptions()
    options.log_severity_level = _SILENT
    shapes = {entry.name: entry.shape for entry in session.get_inputs()}
    outputs = (OUTPUT, NEXT_MEMORY) if MEMORY in shapes else (OUTPUT,)

    def step(entries: Entries) -> Any:
        return session.run(outputs, {name: entries[name] for name in shapes}, options)

    if MEMORY not in shapes:
        return lambda entries: step(entries)[0]
    size = shapes[MEMORY][-1] if len(shapes[MEMORY]) == 2 else None
    if not isinstance(size, int) or not 1 <= size <= _LARGEST_MEMORY:
        raise ValueError(
            f"{path}: {MEMORY}: expected (n, size) with a size of 1 to {_LARGEST_MEMORY}, got {shapes[MEMORY]}"
        )
    return Recurrent(step, size)


def describe(config: EnvConfig, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the content of ``policy.json`` for a policy with these files, given by name."""
    return {
        "kind": KIND,
        "schema": _SCHEMA,
        **config.to_dict(),
        "inputs": list(config.observations.space.spaces),
        "sha256": {name: checksum(content) for name, content in files.items()},
    }


def read_about(folder: Path) -> dict[str, Any]:
    """Read ``policy.json``; ``ValueError`` if it is missing or invalid."""
    path = folder / POLICY
    if not path.is_file():
        raise ValueError(
            f"policy: expected a folder with a {POLICY}, from python -m multispin_agents.export, got {str(folder)!r}"
        )
    try:
        about: dict[str, Any] = read_json(path)
        if about["kind"] != KIND:
            raise ValueError(f"kind: expected {KIND!r}, got {about['kind']!r}")
        if about["schema"] != _SCHEMA:
            raise ValueError(f"schema: expected {_SCHEMA}, got {about['schema']!r}; export the run again")
        if not isinstance(about["sha256"], dict):
            raise ValueError(f"sha256: expected a table of files, got a JSON {type(about['sha256']).__name__}")
        return about
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: can't be read as an exported policy ({error})") from None


def config_of(about: Mapping[str, Any], path: Path) -> EnvConfig:
    """Return the environment in the content of ``policy.json``; ``ValueError`` if it is invalid."""
    try:
        config = EnvConfig.from_dict(about, path.parent)
        check_integer("num_users", config.scenario.num_users, 1, _MOST_USERS)
        expected = list(config.observations.space.spaces)
        if expected != about["inputs"]:
            raise ValueError(f"inputs: expected {expected}, got {about['inputs']}")
        return config
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path}: can't be read as an exported policy ({error})") from None


def onnx_runtime() -> Any:
    """Import onnxruntime; ``ModuleNotFoundError`` shows how to install onnx and onnxruntime."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ModuleNotFoundError as error:
        raise missing_package(str(error.name), "onnx") from None
    return onnxruntime


_MOST_AXES = 16  # of a shape
_SILENT = 4  # log severity: onnxruntime also raises its errors, and its log would print names unescaped


def _session(content: bytes, inputs: list[str], path: Path) -> Any:
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # more threads are not faster for small networks
    options.log_severity_level = _SILENT
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it would run the network
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        session = onnxruntime.InferenceSession(_flat(content), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the exceptions of onnxruntime have no other common base
        raise ValueError(f"{path}: can't be read as a network ({cut(str(error) or type(error).__name__)})") from None
    names, outputs = [node.name for node in session.get_inputs()], [node.name for node in session.get_outputs()]
    required = {OUTPUT, NEXT_MEMORY} if MEMORY in names else {OUTPUT}
    if not set(names) <= {*inputs, MEMORY} or not required <= set(outputs):
        raise ValueError(f"{path}: expected a network of {inputs} to {OUTPUT!r}, got one of {names} to {outputs}")
    return session


_OPERATORS = """
Abs Add And ArgMax ArgMin Atan BatchNormalization Cast Ceil Celu Clip Concat Constant ConstantOfShape Cos CumSum Div
Einsum Elu Equal Erf Exp Expand Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm Greater GreaterOrEqual
HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log
LogSoftmax MatMul Max Mean Min Mish Mod Mul Neg Not OneHot Or PRelu Pad Pow RNN Range Reciprocal ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round
ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum
Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
OPERATORS = frozenset(_OPERATORS.split())
"""Operators of ONNX's default domain that networks may use: deterministic, and each runs once."""

_MOST_NODES = 10_000  # of a network; those of this project have fewer than 300
_LARGEST_SHAPES = LARGEST_ONNX // 4  # numbers in all tensors of constant shape


def _flat(content: bytes) -> bytes:
    """Read and rewrite the model with the package onnx, so that the checked model is the one that runs.

    ``ValueError`` if it has loops, branches or functions, which could run without limit, operators other than
    `OPERATORS`, divisions of integers (the smallest by -1 ends the process), data in other files, or tensors of a large
    constant shape.
    """
    from onnx import ModelProto, TensorProto
    from onnx.shape_inference import infer_shapes

    model = ModelProto.FromString(content)
    graph = model.graph
    if len(graph.node) > _MOST_NODES:
        raise ValueError(f"expected at most {_MOST_NODES} nodes, got {len(graph.node)}")
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    if model.functions or any(attribute.HasField("g") or attribute.graphs for attribute in attributes):
        raise ValueError("expected nodes that run once, got loops, branches or functions")
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            operator = ".".join(filter(None, (node.domain, node.op_type)))
            raise ValueError(f"expected operators of deterministic networks, got {shown(operator)}")
    if graph.sparse_initializer or any(item.HasField("sparse_tensor") or item.sparse_tensors for item in attributes):
        raise ValueError("expected dense constants, got sparse ones")
    constants = [*graph.initializer, *(tensor for item in attributes for tensor in (item.t, *item.tensors))]
    if any(tensor.external_data or tensor.data_location for tensor in constants):
        raise ValueError("expected all constants in the file, got data in another file")
    model.DiscardUnknownFields()
    del graph.value_info[:]  # claims, like the shapes of outputs
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = infer_shapes(model, data_prop=True).graph
    values = [*inferred.value_info, *inferred.output]
    types = [value.type.tensor_type for value in values]
    real = {x.name for x in values if x.type.tensor_type.elem_type in (TensorProto.FLOAT, TensorProto.DOUBLE)}
    if any(node.op_type == "Div" and not real.issuperset(node.output) for node in graph.node):
        raise ValueError("expected Div of 32 or 64-bit floating-point numbers, got others")
    shapes = [*([size.dim_value or 1 for size in item.shape.dim] for item in types), *(item.dims for item in constants)]
    numbers = sum(abs(math.prod(shape[:_MOST_AXES])) for shape in shapes)
    if numbers > _LARGEST_SHAPES:
        raise ValueError(f"expected at most {_LARGEST_SHAPES} numbers in tensors of constant shape, got {numbers}")
    return bytes(model.SerializeToString())
