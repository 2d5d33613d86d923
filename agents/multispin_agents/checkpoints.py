"""Checkpoints: networks, optimisers and counters in a safetensors file, which is read without executing code.

A run has two checkpoints: training resumes from ``checkpoint.safetensors``; the result of the run is
``model.safetensors``, the best model on the validation cases.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch as th
from safetensors import safe_open
from safetensors.torch import save
from stable_baselines3.common.base_class import BaseAlgorithm

from multispin_agents.runs import DIGEST, SCHEMA, check_unchanged, digest
from multispin_env.checks import check_integer, check_real, cut, reason
from multispin_env.files import MIB, checksum, parse_json, write_atomically

CHECKPOINT, MODEL = "checkpoint.safetensors", "model.safetensors"

LARGEST_FILE = 1024 * MIB
"""Maximum size of a checkpoint in bytes, thousands of times the usual size."""

KIND = "multispin_env checkpoint"
_ABOUT = "about"
"""Entry of the header with everything that is not a tensor, as JSON."""

_Tensors = dict[str, th.Tensor]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """State of a model during training."""

    parameters: dict[str, Any]  # states of networks and optimisers, as from Stable-Baselines3's get_parameters
    num_timesteps: int
    updates: int  # number of updates of the networks
    seconds: float  # duration of the training
    score: float | None = None  # headline number of the last validation, if any

    @classmethod
    def of(cls, model: BaseAlgorithm, seconds: float, score: float | None = None) -> "Checkpoint":
        """Return the current state of a model."""
        updates = getattr(model, "_n_updates", 0)
        return cls(model.get_parameters(), model.num_timesteps, updates, seconds, score)

    def restore(self, model: BaseAlgorithm, *, only_policy: bool = False) -> None:
        """Copy the state, or what the policy needs to play, into an untrained model.

        Raises ``ValueError`` if its networks differ.
        """
        try:
            if only_policy:
                model.policy.load_state_dict(self.parameters["policy"])
            else:
                model.set_parameters(self.parameters, exact_match=True, device=model.device)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f"checkpoint: expected networks of this agent and environment, got others ({cut(reason(error))})"
            ) from None
        model.num_timesteps = self.num_timesteps
        model._n_updates = self.updates  # type: ignore[attr-defined]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically."""
    tensors, groups = _flat(checkpoint.parameters)
    about = {
        "kind": KIND,
        "schema": SCHEMA,
        "num_timesteps": checkpoint.num_timesteps,
        "updates": checkpoint.updates,
        "seconds": checkpoint.seconds,
        "score": checkpoint.score,
        "param_groups": groups,
    }
    stamp = digest({**about, "tensors": _checksum(tensors)})
    write_atomically(path, save(tensors, {_ABOUT: json.dumps({**about, DIGEST: stamp})}))


def load_checkpoint(folder: Path, name: str = CHECKPOINT) -> Checkpoint:
    """Read a checkpoint of a run without executing code.

    Raises ``ValueError`` if the file is missing, damaged, of another version, or not a checkpoint of this project.
    """
    path = folder / name
    if not path.is_file():
        raise ValueError(f"run: expected a folder with a {name}, got {str(folder)!r}")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"size: expected at most {LARGEST_FILE} bytes, got {path.stat().st_size}")
        with safe_open(path, framework="pt", device="cpu") as file:
            about = _about(file.metadata())
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        check_unchanged({**about, "tensors": _checksum(tensors)})
        return Checkpoint(
            _nested(tensors, about["param_groups"]),
            check_integer("num_timesteps", about["num_timesteps"], 0, 10**15),
            check_integer("updates", about["updates"], 0, 10**15),
            check_real("seconds", about["seconds"], 0.0),
            None if about["score"] is None else check_real("score", about["score"]),
        )
    except Exception as error:  # a file of others may have anything
        raise ValueError(
            f"{path}: can't be read safely as a checkpoint of this project ({cut(reason(error))})"
        ) from None


def _about(metadata: Mapping[str, str] | None) -> dict[str, Any]:
    about: Any = parse_json(metadata[_ABOUT]) if metadata is not None and list(metadata) == [_ABOUT] else None
    if not isinstance(about, dict) or about.get("kind") != KIND:
        raise ValueError("expected a checkpoint, got another file")
    return about


def _flat(parameters: Mapping[str, Mapping[Any, Any]]) -> tuple[_Tensors, dict[str, object]]:
    tensors: _Tensors = {}  # by policy/NAME and policy.optimizer/INDEX/NAME
    groups: dict[str, object] = {}  # settings of the optimisers
    for owner, state in parameters.items():
        if owner.endswith("optimizer"):
            groups[owner] = state["param_groups"]
            for index, values in state["state"].items():
                tensors |= {f"{owner}/{index}/{key}": th.as_tensor(value) for key, value in values.items()}
        else:
            tensors |= {f"{owner}/{key}": value for key, value in state.items()}
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, groups


def _nested(tensors: _Tensors, groups: Mapping[str, Any]) -> dict[str, dict[Any, Any]]:
    states: dict[str, dict[Any, Any]] = {owner: {"state": {}, "param_groups": list(groups[owner])} for owner in groups}
    for name, tensor in tensors.items():
        owner, _, key = name.partition("/")
        if owner in groups:
            index, _, key = key.partition("/")
            states[owner]["state"].setdefault(int(index), {})[key] = tensor
        else:
            states.setdefault(owner, {})[key] = tensor
    return states


def _checksum(tensors: _Tensors) -> str:
    content = [
        part
        for name, tensor in sorted(tensors.items())
        for part in (json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode(), tensor.numpy().tobytes())
    ]
    return checksum(b"".join(content))
