"""Export of saved policies to ONNX."""

import argparse
import json
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_agents.cards import CARD, exported_card, is_foreign
from multispin_agents.models import load_run_model
from multispin_agents.policies import TracedNetwork
from multispin_agents.registry import admit
from multispin_agents.runs import RunConfig, load_config, run_folder
from multispin_env.apps.terminal.output import Progress
from multispin_env.checks import missing_package
from multispin_env.envs.actions import LIMIT
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.policy import ONNX, POLICY, describe, load_policy
from multispin_env.files import make_folder, name_file_in_errors

_CHECKED, _CHECKED_USERS = 128, (1, 8, 33)
"""Number of random observations, and numbers of users, for which an export is compared with the original."""

_TOLERANCE = 1e-4 * LIMIT
"""Maximum difference of an action from the original."""

_Exported = Callable[[list[th.Tensor]], NDArray[np.float32]]


def network_of(folder: Path, config: RunConfig) -> TracedNetwork:
    """Return the best policy of a run as a network; raise ``ValueError`` unless it supports any number of users."""
    policy = load_run_model(folder, config.env).policy
    if not hasattr(policy, "deterministic"):
        expected = "an agent whose policy has deterministic(observations), for any number of users"
        raise ValueError(f"agent: expected {expected}, got {config.agent!r} with {type(policy).__name__}")
    return TracedNetwork.of(policy, config.env).requires_grad_(False)


def random_observations(config: EnvConfig, users: int, size: int) -> list[th.Tensor]:
    """Draw uniform observations (size, numbers) for ``users`` users, one tensor for each entry."""
    rng = np.random.default_rng(0)
    observations = []
    for box in _boxes(config, users):
        low, high = max(float(box.low[0]), -2.0), min(float(box.high[0]), 2.0)
        observations.append(th.as_tensor(rng.uniform(low, high, (size, *box.shape)), dtype=th.float32))
    return observations


def _boxes(config: EnvConfig, users: int) -> list[spaces.Box]:
    resized = config.replace(num_users=users)
    return [cast(spaces.Box, box) for box in resized.observations.space.spaces.values()]


def _program_of(network: TracedNetwork, config: EnvConfig) -> th.export.ExportedProgram:
    batch, users = th.export.Dim("batch", min=1), th.export.Dim("users", min=1)
    sizes = zip(_boxes(config, 1), _boxes(config, 2), strict=True)
    per_user = [two.shape[0] - one.shape[0] if network.users is None else 0 for one, two in sizes]
    shapes = [{0: batch, 1: count * users if count > 1 else users} if count else {0: batch} for count in per_user]
    example = random_observations(config, network.users or 5, 3)
    if network.memory:
        example, shapes = [*example, th.zeros(3, network.memory)], [*shapes, {0: batch}]
    program = th.export.export(network, tuple(example), dynamic_shapes=(tuple(shapes),))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # contains paths of this machine
    return program


def onnx_of(network: TracedNetwork, config: EnvConfig) -> bytes:
    """Return a network as ONNX; raise ``ModuleNotFoundError`` if a package is missing."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise missing_package(package, "export")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # messages of libraries about optional packages
    try:
        with warnings.catch_warnings(action="ignore"):  # the exporter warns about itself
            onnx_program = th.onnx.export(
                _program_of(network, config),
                input_names=network.entries,
                output_names=network.outputs,
                dynamo=True,
                verbose=False,
            )
    finally:
        logging.disable(before)
    assert onnx_program is not None
    model = onnx_program.model_proto
    model.ir_version = min(model.ir_version, 9)  # the newest that onnxruntime 1.17 reads; newer features are not used
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]  # notes of the exporter, larger than small networks
    del graph.value_info[:]
    return model.SerializeToString()


def policy_files(networks: Mapping[str, bytes], config: EnvConfig) -> dict[str, bytes]:
    """Return the files of an exported policy by name: its networks, and ``policy.json``, which describes them."""
    return {**networks, POLICY: json.dumps(describe(config, networks), indent=2, ensure_ascii=False).encode()}


def largest_difference(network: TracedNetwork, config: EnvConfig, exported: _Exported) -> float:
    """Return the largest difference between actions of a network and its export on random observations."""
    largest = 0.0
    for users in _CHECKED_USERS:
        entries = random_observations(config, users, _CHECKED)
        expected = network(*entries).numpy()
        largest = max(largest, float(np.abs(expected - exported(entries)).max()))
    return largest


def _read_onnx(folder: Path, network: TracedNetwork) -> _Exported:
    policy = load_policy(folder)
    return lambda tensors: policy.act({key: x.numpy() for key, x in zip(network.entries, tensors, strict=True)})


def export(folder: Path, out: Path) -> float:
    """Write the best policy of a run into the folder ``out``; existing files are replaced once all checks have passed.

    The card is written to README.md, unless the folder has a README that is not a card. Returns the largest difference
    of an action from the original. Raises ``ValueError`` for an unreadable run or an export that differs from the
    original.
    """
    config, _ = load_config(folder)
    network = network_of(folder, config)
    with Progress(1) as progress:
        progress.begin(f"writing {ONNX}")
        written = onnx_of(network, config.env)
    contents = {name: path.read_bytes() for name, path in config.env.files.items()}
    if not is_foreign(out / CARD):
        contents[CARD] = exported_card(folder).encode()
    contents |= policy_files({ONNX: written}, config.env)  # the last is policy.json, which describes the others
    with TemporaryDirectory(dir=out, prefix="export-") as drafts_folder:
        drafts = Path(drafts_folder)
        for name, content in contents.items():
            with name_file_in_errors(out / name):
                (drafts / name).write_bytes(content)
        difference = largest_difference(network, config.env, _read_onnx(drafts, network))
        if not difference <= _TOLERANCE:
            expected = f"a difference from the original of at most {_TOLERANCE:g}"
            raise ValueError(f"{ONNX}: expected {expected}, got {difference:.1e}")
        for name in contents:
            os.replace(drafts / name, out / name)
    return difference


def run(options: argparse.Namespace) -> None:
    """Write the files and print the difference of their actions from the original."""
    folder = run_folder(options.run)
    out = folder if options.out is None else options.out
    if options.agent is not None:
        admit(options.agent)
    load_config(folder)
    make_folder(out)
    difference, cases = export(folder, out), f"{len(_CHECKED_USERS) * _CHECKED} random observations"
    print(f"wrote {out / ONNX}: largest difference of an action from the original {difference:.1e} on {cases}")
