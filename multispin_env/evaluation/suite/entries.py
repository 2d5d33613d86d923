"""Entries of the suite: folders of strangers with a policy for each task and seed, and the scores that they claim.

Nothing in an entry is executed but its networks. It names no file outside its folder, and imports nothing.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_complete, check_integer, check_label, check_name, check_real, cut, reason, shown
from multispin_env.evaluation.policy import ONNX, POLICY, Policy, load_policy, onnx_runtime
from multispin_env.evaluation.suite.frozen import VERSION
from multispin_env.evaluation.suite.statistics import Performance
from multispin_env.evaluation.suite.tasks import SuiteTask
from multispin_env.evaluation.suite.version import task, tasks
from multispin_env.files import read_json, sibling_file, write_atomically
from multispin_env.registry import import_project_module, is_outside

ENTRY, SCORES, CURVES = "entry.json", "scores.json", "curves.json"

CURVE = (0.01, 0.1, 1.0)
"""Parts of the environment steps of a training after which a learning curve has a score."""

CONFIG, NETWORK = "config.json", "model.safetensors"  # of a run of our agents

KIND = "multispin_env suite entry"

_BY_HAND = ("method", "authors", "link")
"""Fields of an entry that its author may rewrite."""

REFERENCE = "reference"
"""Name of the rule that is the reference of each task."""

_ROUNDING = 1e-9
"""Largest difference, relative to the largest value, that the arithmetic of another processor explains."""

_MOST_SEEDS = 100

Played = dict[str, FloatArray]
"""Values (seeds, parts, n) of each task."""


@dataclass(frozen=True, kw_only=True)
class SuiteEntry:
    """What ``entry.json`` says of a method; every field is needed."""

    kind: str  # `KIND`
    version: str  # of the suite
    method: str
    authors: str  # who made it
    link: str  # where its code is
    steps: int  # environment steps of each training
    seconds: float  # of a training, mean over tasks and seeds
    cpu_seconds: float
    seeds: tuple[int, ...]  # of the trainings
    # by task, of each seed {"folder": NAME} in the entry (`load_policy`, or a run of ours) or {"rule": NAME}
    policies: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_name("kind", self.kind, [KIND])
        check_name("version", self.version, [VERSION])
        for name in _BY_HAND:
            check_label(name, getattr(self, name))
        check_integer("steps", self.steps, 0, min(one.budget for one in tasks()))
        check_real("seconds", self.seconds, 0.0)
        check_real("cpu_seconds", self.cpu_seconds, 0.0)
        if not isinstance(self.seeds, list | tuple) or not 1 <= len(self.seeds) <= _MOST_SEEDS:
            raise ValueError(f"seeds: expected a list of 1 to {_MOST_SEEDS} numbers, got {shown(self.seeds)}")
        for seed in self.seeds:
            check_integer("seeds", seed, 0)
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: expected each once, got {shown(self.seeds)}")
        if not isinstance(self.policies, dict):
            raise ValueError(f"policies: expected a table of tasks, got {shown(self.policies)}")
        check_complete("policies", self.policies, [one.name for one in tasks()])
        for name, own in self.policies.items():
            if not isinstance(own, list) or len(own) != len(self.seeds):
                raise ValueError(f"policies of {name}: expected a list with one for each seed, got {shown(own)}")
            for policy in own:
                _check_policy(name, policy)


def read_entry(folder: Path) -> SuiteEntry:
    """Read ``entry.json`` of a folder; ``ValueError`` says what is missing, unknown or bad."""
    path = sibling_file(folder, ENTRY)
    if path is None:
        raise ValueError(f"entry: expected a folder with a file {ENTRY}, got {str(folder)!r}")
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError(f"expected a table of fields, got {shown(content)}")
        check_complete("entry", content, [one.name for one in fields(SuiteEntry)])
        return SuiteEntry(**content)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: {cut(str(error))}") from None


def check_replaced(folder: Path, policies: Mapping[str, Any]) -> None:
    """``ValueError`` for a folder with an entry of another method, which the policies to be saved would replace."""
    if not (folder / ENTRY).exists():
        return
    before = read_entry(folder).policies
    if any(before[name][0] != own[0] for name, own in policies.items()):  # there may be more seeds now
        raise ValueError(f"out: expected a new folder, or one with an entry of this method, got {str(folder)!r}")


def save_entry(folder: Path, entry: SuiteEntry) -> None:
    """Write ``entry.json``; what its author has put in by hand is kept."""
    path = folder / ENTRY
    before = read_json(path) if path.is_file() else {}
    entry = replace(entry, **{name: before[name] for name in _BY_HAND if name in before})
    write_atomically(path, f"{json.dumps(asdict(entry), indent=2, ensure_ascii=False)}\n".encode())


def rule_entry(name: str) -> SuiteEntry:
    """Entry of a rule of the package, `RANDOM_ACTIONS` or `REFERENCE`, which takes no training."""
    policies = rule_policies(name, tasks())
    about = {"kind": KIND, "version": VERSION, "method": name, "authors": "", "link": ""}
    return SuiteEntry(**about, steps=0, seconds=0.0, cpu_seconds=0.0, seeds=(0,), policies=policies)


def rule_policies(name: str, wanted: Sequence[SuiteTask]) -> dict[str, Any]:
    """Policies of a rule, of a class or a function of the user's own, `RANDOM_ACTIONS` or `REFERENCE`."""
    return {one.name: [{"rule": one.reference if name == REFERENCE else name}] for one in wanted}


def values_of(folder: Path, cell: tuple[str, int, Mapping[str, str]]) -> FloatArray | Exception | str:
    """What a policy of a task earns, or why it can't: exceptions of onnxruntime have no base of their own."""
    name, _, policy = cell
    try:
        one = task(name)
        path = None if "rule" in policy else _inside(folder, policy["folder"])
        values = one.values(policy["rule"] if path is None else _loaded(path, one.config.env_id))
        return values if np.isfinite(values).all() else ValueError("policy: expected finite values, got others")
    except SystemExit as error:  # in a worker, too, it would end more than this policy
        return reason(error)
    except Exception as error:
        return error


def check_packages(folder: Path, policies: Mapping[str, Any]) -> None:
    """``ModuleNotFoundError`` where policies need onnxruntime or onnx and it is missing: before anything is played."""
    for policy in (policy for own in policies.values() for policy in own if "folder" in policy):
        with suppress(ValueError):  # which is said of its task when it is played
            if sibling_file(_inside(folder, policy["folder"]), ONNX) is not None:
                onnx_runtime()
                return


def _check_policy(task_name: str, policy: Any) -> None:
    if not isinstance(policy, dict) or len(policy) != 1 or not isinstance(next(iter(policy.values())), str):
        expected = '{"folder": NAME} or {"rule": NAME}'
        raise ValueError(f"policies of {task_name}: policy: expected {expected}, got {shown(policy)}")
    ((kind, name),) = policy.items()
    check_name("policy", kind, ("folder", "rule"))
    if kind == "rule" and is_outside(name):
        raise ValueError(f"rule: expected the name of one of the package, got {shown(name)}")


def _inside(folder: Path, name: str) -> Path:
    try:
        path = (folder / name).resolve()
        if path.is_dir() and path != folder.resolve() and path.is_relative_to(folder.resolve()):
            return path
    except (OSError, ValueError, RuntimeError):  # names that no file can have, and links in a circle
        pass
    raise ValueError(f"folder: expected one within the entry, got {shown(name)}")


def _loaded(path: Path, wanted: str) -> Policy:
    if sibling_file(path, POLICY) is not None and sibling_file(path, ONNX) is not None:
        policy = load_policy(path)  # which refuses a file that names no environment
    elif sibling_file(path, CONFIG) is not None and sibling_file(path, NETWORK) is not None:
        policy = import_project_module("agents.models").read_policy(path)  # which needs torch
    else:
        expected = f"the files {POLICY} and {ONNX}, or {CONFIG} and {NETWORK}"
        raise ValueError(f"folder: expected {expected} in it, got {path.name!r}")
    if policy.config.env_id != wanted:
        raise ValueError(f"env: expected a policy for {wanted}, got one for {policy.config.env_id!r}")
    return policy


def save_scores(folder: Path, played: Played) -> None:
    """Write ``scores.json``: numbers are exact, and a line has those of a task."""
    _save(folder / SCORES, played)


def save_curves(folder: Path, curves: Played) -> None:
    """Write ``curves.json``: scores (points, seeds) of each task, at each of `CURVE`."""
    _save(folder / CURVES, curves)


def _save(path: Path, by_task: Played) -> None:
    lines = [f"{json.dumps(name)}: {json.dumps(values.tolist())}" for name, values in by_task.items()]
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def read_scores(folder: Path, entry: SuiteEntry) -> Played:
    """Read ``scores.json`` of an entry; ``ValueError`` for one that is missing, or not of its tasks and seeds."""
    path = sibling_file(folder, SCORES)
    if path is None:
        raise ValueError(
            f"scores: expected a file {SCORES}, from multispin suite evaluate, got none in {str(folder)!r}"
        )
    return _read(path, "scores", {one.name: (len(entry.seeds), len(one.held_out), one.size) for one in tasks()})


def read_curves(folder: Path, entry: SuiteEntry) -> Played | None:
    """Read ``curves.json`` of an entry, which nobody checks; ``None`` if there is none, errors as of `read_scores`."""
    path = sibling_file(folder, CURVES)
    shape = (len(CURVE), len(entry.seeds))
    return None if path is None else _read(path, "curves", dict.fromkeys((one.name for one in tasks()), shape))


def _read(path: Path, what: str, shapes: Mapping[str, tuple[int, ...]]) -> Played:
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError(f"{what}: expected a table of tasks, got {shown(content)}")
        check_complete(what, content, list(shapes))
        return {name: _checked(content[name], f"{what} of {name}", shape) for name, shape in shapes.items()}
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: {cut(str(error))}") from None


def _checked(content: Any, what: str, shape: tuple[int, ...]) -> FloatArray:
    values = np.asarray(content, dtype=np.float64)
    if values.shape != shape or not np.isfinite(values).all():
        raise ValueError(f"{what}: expected finite numbers of shape {shape}, got others {values.shape}")
    return values


def check_scores(claimed: Played, played: Played) -> float:
    """Return the largest difference of a case, relative to the largest value of its task: 0 to the last bit.

    ``ValueError`` names the first task in which it is above `_ROUNDING`, which is far above what processors round (some
    1e-15 for rules). Where a network's action lies between two lengths, a processor may decide otherwise.
    """
    largest = 0.0
    for name, values in played.items():
        far = float(np.abs(claimed[name] - values).max() / np.abs(values).max())
        if far > _ROUNDING:
            one = task(name)
            said, found = (one.performance(each).mean_scores.mean() for each in (claimed[name], values))
            raise ValueError(
                f"scores of {name}: expected those that were played, {found:.6g}, got {said:.6g}; "
                f"the largest difference of a case is {far:.1e} of the largest value"
            )
        largest = max(largest, far)
    return largest


def performances(played: Played) -> dict[str, Performance]:
    """What was played in each task beside what is frozen."""
    return {name: task(name).performance(values) for name, values in played.items()}
