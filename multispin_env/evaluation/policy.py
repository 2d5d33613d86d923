"""Policies: a trained network as an agent and as a controller, whatever runs it, and policies that were exported.

onnxruntime runs an exported one, without torch.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multispin_env.checks import cut, missing_package
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.observations import SHARED, Observation
from multispin_env.files import MIB, read_bytes, read_json
from multispin_env.scenario import Scenario

Entries = dict[str, NDArray[np.float32]]
"""The entries that a network reads, each (n, size)."""

Network = Callable[[Entries], NDArray[np.float32]]
"""Entries of n observations to n actions within [-1, 1], (n, K, columns) or flat, (n, K · columns)."""


@dataclass(frozen=True, eq=False, repr=False)
class Policy:
    """Deterministic decisions of a network, through the observation and action codecs of its environment.

    `act` answers observations of any environment of this project. Called with a state, the policy is a controller; this
    needs an environment that shows the whole state. Any number of users will do.
    """

    config: EnvConfig  # of the environment that it decides for
    network: Network  # one that remembers has ``reset()``, as `Recurrent`

    def __repr__(self) -> str:
        scenario, variant = self.config.scenario, type(self.config.variant).__name__
        system = f"{scenario.label}, K = {scenario.num_users}"
        return f"<{type(self).__name__} for {variant}, {system}, {self.config.action} actions>"

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``gymnasium.make`` for an environment whose observations and actions are the policy's."""
        return {"action": self.config.action, **self.config.arguments}

    def on(self, scenario: Scenario) -> Self:
        """Return the same policy for another scenario; ``ValueError`` for one in which other numbers are observed."""
        own = self.config.scenario
        if bool(own.verification_pieces) != bool(scenario.verification_pieces):
            law = "depends" if own.verification_pieces else "does not depend"
            got = scenario.server or "another law"
            raise ValueError(f"server: expected one whose time {law} on tokens, as the agent's own, got {got!r}")
        if len(own.tasks) != len(scenario.tasks) and "task" in self._wanted:
            raise ValueError(
                f"tasks: expected {len(own.tasks)}, as in the agent's own scenario, got {len(scenario.tasks)}"
            )
        return replace(self, config=replace(self.config, scenario=scenario))

    def reset(self) -> None:
        """Begin new episodes, for which a network that remembers forgets."""
        forget = getattr(self.network, "reset", None)
        if forget is not None:
            forget()

    def act(self, observation: Observation) -> NDArray[np.float32]:
        """Actions (..., K, columns) for observations (..., entries); ``ValueError`` if entries are missing."""
        wanted = self._wanted
        if not set(wanted) <= set(observation):
            raise ValueError(f"observation: expected the entries {wanted}, got {sorted(observation)}")
        batch = np.shape(observation[SHARED])[:-1]
        arrays = {name: np.asarray(observation[name], np.float32) for name in wanted}
        action = self.network({name: array.reshape(-1, array.shape[-1]) for name, array in arrays.items()})
        return action.reshape(*batch, -1, self.config.actions.columns)

    def __call__(self, state: Any) -> Any:
        """Decide for one state (K,) or a batch (..., K); K may differ from the scenario's.

        ``ValueError`` for a bad state, or where the environment does not show the whole state.
        """
        if not self.config.variant.learning.sees_state:
            raise ValueError(
                f"state: expected observations, by act(), for a policy of {type(self.config.variant).__name__}, "
                "got a SystemState"
            )
        config = self._for_users(np.shape(state.draft_time)[-1])
        actions = config.actions
        checked = actions.checked_state(state)
        return actions.decode(self.act(config.observations.encode(checked)), checked)

    @cached_property
    def _wanted(self) -> list[str]:
        """Names of the entries that it reads; the space, which knows them, takes longer to make than a decision."""
        return list(self.config.observations.space.spaces)

    def _for_users(self, users: int) -> EnvConfig:
        scenario = self.config.scenario
        if users == scenario.num_users:
            return self.config
        return replace(self.config, scenario=scenario.replace(num_users=users))


MEMORY, NEXT_MEMORY = "memory", "next_memory"
"""Input and output (n, size) of a network that remembers; zeros where episodes begin."""

_LARGEST_MEMORY = 65_536
"""Numbers that a network may remember of a copy: a hundred times what usual ones do."""


@dataclass(eq=False)
class Recurrent:
    """Network of a `Policy` that remembers from one step of n copies to the next, until `reset`."""

    # entries, `MEMORY` among them, to actions and the next memory
    step: Callable[[Entries], tuple[NDArray[np.float32], NDArray[np.float32]]]
    size: int  # numbers that are remembered of a copy
    _memory: NDArray[np.float32] | None = None

    def reset(self) -> None:
        """Forget everything."""
        self._memory = None

    def __call__(self, entries: Entries) -> NDArray[np.float32]:
        """Actions for entries, each (n, size); another n begins anew; ``ValueError`` for memory of another shape."""
        shape = (len(next(iter(entries.values()))), self.size)
        if self._memory is None or self._memory.shape != shape:
            self._memory = np.zeros(shape, np.float32)
        action, self._memory = self.step({**entries, MEMORY: self._memory})
        if self._memory.shape != shape:
            raise ValueError(f"{NEXT_MEMORY}: expected numbers of shape {shape}, got others {self._memory.shape}")
        return action


POLICY, ONNX = "policy.json", "policy.onnx"

KIND = "multispin_env policy"

_SCHEMA = 1
"""Version of ``policy.json``; a reader refuses another."""

LARGEST_ONNX = 64 * MIB
"""Bytes of a network: hundreds of times ours."""

OUTPUT = "action"
"""Name of the network's output; its inputs are called as the entries of the observation, or `MEMORY`."""


def load_policy(folder: Path | str) -> Policy:
    """Read ``policy.json`` and ``policy.onnx`` of a folder; nothing in them is executed but the network.

    ``ValueError`` if a file is missing, damaged, of another version, or not one of this project;
    ``ModuleNotFoundError`` without onnxruntime or onnx.
    """
    folder = Path(folder)
    about = read_about(folder)
    try:
        content = read_bytes(folder / ONNX, LARGEST_ONNX) if (folder / ONNX).is_file() else b""
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / ONNX}: can't be read as a network ({error})") from None
    if checksum(content) != about["sha256"].get(ONNX):
        raise ValueError(f"{folder / ONNX}: expected the file that {POLICY} was written with, got another")
    config = config_of(about, folder / POLICY)
    return Policy(config, _network(_session(content, list(about["inputs"]), folder / ONNX), folder / ONNX))


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """Network of a `Policy`, or the step of a `Recurrent` one, that onnxruntime runs."""

    session: Any
    outputs: tuple[str, ...]
    options: Any  # of its runs

    def __call__(self, entries: Entries) -> Any:
        """Outputs for entries (n, size), of which those that the network does not read are left out."""
        read = {entry.name: entries[entry.name] for entry in self.session.get_inputs()}
        found = self.session.run(self.outputs, read, self.options)
        return found if len(found) > 1 else found[0]


def _network(session: Any, path: Path) -> Network:
    options = onnx_runtime().RunOptions()
    options.log_severity_level = _SILENT
    shapes = {entry.name: entry.shape for entry in session.get_inputs()}
    if MEMORY not in shapes:
        return OnnxNetwork(session, (OUTPUT,), options)
    size = shapes[MEMORY][-1] if len(shapes[MEMORY]) == 2 else None
    if not isinstance(size, int) or not 1 <= size <= _LARGEST_MEMORY:
        raise ValueError(
            f"{path}: {MEMORY}: expected (n, size) with a size of 1 to {_LARGEST_MEMORY}, got {shapes[MEMORY]}"
        )
    return Recurrent(OnnxNetwork(session, (OUTPUT, NEXT_MEMORY), options), size)


def describe(config: EnvConfig, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the content of ``policy.json`` for a policy of this environment with these files, by name."""
    return {
        "kind": KIND,
        "schema": _SCHEMA,
        **config.to_dict(),
        "inputs": list(config.observations.space.spaces),
        "sha256": {name: checksum(content) for name, content in files.items()},
    }


def checksum(content: bytes) -> str:
    """SHA-256 of a file, by which ``policy.json`` knows it."""
    return hashlib.sha256(content).hexdigest()


def read_about(folder: Path) -> dict[str, Any]:
    """Read ``policy.json``; ``ValueError`` if it is missing or not one of ours."""
    path = folder / POLICY
    if not path.is_file():
        raise ValueError(
            f"policy: expected a folder with a {POLICY}, from python -m agents.export, got {str(folder)!r}"
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
    """Read the environment that ``policy.json`` describes; ``ValueError`` if there is none like it."""
    try:
        config = EnvConfig.from_dict(about, path.parent)
        expected = list(config.observations.space.spaces)
        if expected != about["inputs"]:
            raise ValueError(f"inputs: expected {expected}, got {about['inputs']}")
        return config
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path}: can't be read as an exported policy ({error})") from None


def onnx_runtime() -> Any:
    """Import onnxruntime; ``ModuleNotFoundError`` says how to install it, or onnx, which reads networks first."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ModuleNotFoundError as error:
        raise missing_package(str(error.name), "onnx") from None
    return onnxruntime


_SILENT = 4
"""Severity of onnxruntime's log above which it prints: its errors are raised too, and print names as they are."""


def _session(content: bytes, inputs: list[str], path: Path) -> Any:
    """The network, on one core: it is small, and more threads only wait for each other."""
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        session = onnxruntime.InferenceSession(_flat(content), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base but this one
        raise ValueError(f"{path}: can't be read as a network ({cut(str(error) or type(error).__name__)})") from None
    names, outputs = ([one.name for one in ends] for ends in (session.get_inputs(), session.get_outputs()))
    wanted = {OUTPUT, NEXT_MEMORY} if MEMORY in names else {OUTPUT}
    if not set(names) <= {*inputs, MEMORY} or not wanted <= set(outputs):
        raise ValueError(f"{path}: expected a network of {inputs} to {OUTPUT!r}, got one of {names} to {outputs}")
    return session


def _flat(content: bytes) -> bytes:
    """A model as the package onnx reads and writes it, so that what was looked through is what runs.

    ``ValueError`` if it has graphs besides its own, bodies of loops, branches or functions, which could run for ever.
    """
    from onnx import ModelProto

    model = ModelProto.FromString(content)
    attributes = (attribute for node in model.graph.node for attribute in node.attribute)
    if model.functions or any(attribute.HasField("g") or attribute.graphs for attribute in attributes):
        raise ValueError("expected nodes that run once, got loops, branches or functions")
    model.DiscardUnknownFields()
    flat: bytes = model.SerializeToString()
    return flat
