"""Entries of the suite: folders with a policy for each task and seed, and the scores that their authors claim.

Entries are not trusted. Only their networks are executed; they cannot name files outside their folder or import code.
"""

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_complete, check_integer, check_label, check_name, check_real, cut, reason, shown
from multispin_env.evaluation.policy import LARGEST_ONNX, ONNX, POLICY, Policy, load_policy
from multispin_env.files import checksum, read_bytes, read_json, read_table, sibling_file, write_atomically
from multispin_env.registry import import_project_module, is_outside
from multispin_lab.suite.frozen import VERSION, own_content
from multispin_lab.suite.statistics import Performance
from multispin_lab.suite.tasks import BLIND, OWN, PUBLIC, RANDOM_ACTIONS, SuiteTask
from multispin_lab.suite.version import task, tasks

ENTRY, SCORES, CURVES = "entry.json", "scores.json", "curves.json"

CURVE = (0.01, 0.1, 1.0)  # fractions of the training steps at which a learning curve has a score

CONFIG, NETWORK = "config.json", "model.safetensors"  # of a run of `agents`

KIND = "multispin_env suite entry"
_RANDOM = {"rule": RANDOM_ACTIONS}
_BY_HAND = ("method", "authors", "link", "repository", "revision")  # fields that authors may edit by hand
REFERENCE = "reference"  # rule name of the reference of each task
_ROUNDING = 1e-9  # largest relative difference that can be due to the arithmetic of another processor
_MAX_SEEDS = 100
_SHA256 = re.compile(r"[0-9a-f]{64}")

AROUND = "around a rule"

KINDS = {
    **dict.fromkeys(("shares", "plain", "full"), "own"),  # the policy decides on all
    "lengths": "closed form",  # of bandwidths
    **dict.fromkeys(("residual", "tuned"), AROUND),  # a policy changes the decisions of a rule
}
"""Kinds of actions by their encoding; encodings of users count as `AROUND`."""

Policies = Mapping[str, Sequence[Mapping[str, str]]]  # of an entry, by task and for each seed

TaskValues = dict[str, FloatArray]  # values (seeds, parts, n) of each task that has policies


@dataclass(frozen=True, kw_only=True)
class SuiteEntry:
    """Content of ``entry.json``, in which every field but ``starts`` is required."""

    kind: str = KIND
    version: str = VERSION  # of the suite
    method: str
    authors: str = ""
    link: str = ""  # to the code
    steps: int  # environment steps of each training
    seconds: float  # of a training, mean over tasks and seeds
    cpu_seconds: float
    seeds: tuple[int, ...]  # of training
    # by task, for each seed: {"folder": NAME} of an exported policy or a run in the entry, or {"rule": NAME}; tasks may
    # be missing, and so may the last seeds of a task
    policies: Policies
    repository: str = ""  # from which the policies can be made again, and its revision
    revision: str = ""
    files: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of each file of the policies, by its path
    starts: int = 0  # first points of the learning curves that precede all updates; not in older entries

    def __post_init__(self) -> None:
        check_name("kind", self.kind, [KIND])
        check_name("version", self.version, [VERSION])
        for name in _BY_HAND:
            check_label(name, getattr(self, name))
        check_integer("steps", self.steps, 0, min(task.budget for task in tasks()))
        check_integer("starts", self.starts, 0, len(CURVE))
        check_real("seconds", self.seconds, 0.0)
        check_real("cpu_seconds", self.cpu_seconds, 0.0)
        if not isinstance(self.seeds, list | tuple) or not 1 <= len(self.seeds) <= _MAX_SEEDS:
            raise ValueError(f"seeds: expected a list of 1 to {_MAX_SEEDS} numbers, got {shown(self.seeds)}")
        for seed in self.seeds:
            check_integer("seeds", seed, 0)
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: expected distinct numbers, got {shown(self.seeds)}")
        if not isinstance(self.policies, dict):
            raise ValueError(f"policies: expected a table of tasks, got {shown(self.policies)}")
        for name, policies in self.policies.items():
            check_name("policies: field", name, [task.name for task in tasks()])
            if not isinstance(policies, list) or not 1 <= len(policies) <= len(self.seeds):
                raise ValueError(f"policies of {name}: expected a list with one for each seed, got {shown(policies)}")
            for policy in policies:
                _check_policy(name, policy)
        if not isinstance(self.files, dict) or not all(_SHA256.fullmatch(str(value)) for value in self.files.values()):
            raise ValueError(f"files: expected a table of paths with their SHA-256, got {shown(self.files)}")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape (seeds, parts, n) of the values of each task that has policies."""
        return {name: (len(self.policies[name]), *task(name).shape) for name in self.policies}

    @property
    def rules(self) -> list[str]:
        """Tasks that a rule plays, except random actions in tasks without a policy."""
        is_blind = all(policy == _RANDOM for policies in self.policies.values() for policy in policies)
        return [
            name
            for name, policies in self.policies.items()
            if any("rule" in policy and (is_blind or policy != _RANDOM) for policy in policies)
        ]

    @property
    def played(self) -> list[str]:
        """Tasks with a policy; random actions may stand in place of one."""
        found = {name for name, policies in self.policies.items() if any(policy != _RANDOM for policy in policies)}
        return [task.name for task in tasks() if task.name in (found or self.policies)]

    @property
    def gaps(self) -> list[str]:
        """Tasks without a policy."""
        return [task.name for task in tasks() if task.name not in self.played]

    def distinct(self, name: str) -> list[int]:
        """Return the positions of the policies of a task, of equal ones the first."""
        keys = [
            policy.get("rule") or tuple(self.files.get(f"{policy['folder']}/{file}") for file in (ONNX, NETWORK))
            for policy in self.policies[name]
        ]
        return [index for index, key in enumerate(keys) if key not in keys[:index]]


def read_entry(folder: Path) -> SuiteEntry:
    """Read ``entry.json`` of a folder; ``ValueError`` names the missing, unknown or invalid field."""
    path = sibling_file(folder, ENTRY)
    if path is None:
        raise ValueError(f"entry: expected a folder with a file {ENTRY}, got {str(folder)!r}")
    try:
        content = {"starts": 0, **read_table(path)}
        check_complete("entry", content, [field.name for field in fields(SuiteEntry)])
        if content["policies"] == {}:
            raise ValueError("policies: expected at least one task, got none")
        return SuiteEntry(**content)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: {cut(str(error))}") from None


def playable(folder: Path, entry: SuiteEntry) -> Policies:
    """Return the policies, empty ones in place of those without a network.

    An entry may lack networks, ``policy.onnx``, whose checksums it records: it then only states their scores.
    """
    return {
        name: [{} if _lacks_network(folder, entry, policy.get("folder")) else policy for policy in by_seed]
        for name, by_seed in entry.policies.items()
    }


def not_played(entry: SuiteEntry, policies: Policies) -> str:
    """Return a sentence that names the empty policies by task and seed, or an empty text."""
    names = []
    for name, by_seed in policies.items():
        seeds = [str(seed) for seed, policy in zip(entry.seeds, by_seed, strict=False) if not policy]
        names += [f"{name} (seed {', '.join(seeds)})"] if seeds else []
    return f"not played, since the entry has their scores but not their networks: {', '.join(names)}" if names else ""


def files_of(folder: Path, entry: SuiteEntry) -> dict[str, str]:
    """Return the SHA-256 of each file of the policies of an entry by its path; recorded ones of missing networks."""
    files = {}
    for name in sorted(
        {policy["folder"] for items in entry.policies.values() for policy in items if "folder" in policy}
    ):
        path = _inside(folder, name)
        for file in filter(None, (sibling_file(path, kind) for kind in (POLICY, ONNX, CONFIG, NETWORK))):
            files[f"{name}/{file.name}"] = checksum(read_bytes(file, LARGEST_ONNX))
        if _lacks_network(folder, entry, name):
            files[f"{name}/{ONNX}"] = entry.files[f"{name}/{ONNX}"]
    return files


def check_files(folder: Path, entry: SuiteEntry, names: Collection[str] | None = None) -> None:
    """Raise ``ValueError`` unless the files of the policies, or of some, are those that the entry records."""
    files = files_of(folder, entry)
    for name in sorted({*files, *entry.files}):
        if files.get(name) != entry.files.get(name) and (names is None or name.partition("/")[0] in names):
            expected = "the recorded file" if name in entry.files else f"no file that {ENTRY} doesn't record"
            raise ValueError(
                f"files: expected {expected}, got another {shown(name)}; multispin suite evaluate records it"
            )


def check_replaced(folder: Path, policies: Policies) -> None:
    """Raise ``ValueError`` if ``folder`` has an entry of another method, which these policies would replace."""
    if not (folder / ENTRY).exists():
        return
    before = read_entry(folder).policies
    # the numbers of tasks and seeds may differ
    if any(name in before and before[name][0] != new[0] for name, new in policies.items()):
        raise ValueError(f"out: expected a new folder, or one with an entry of this method, got {str(folder)!r}")


def save_entry(folder: Path, entry: SuiteEntry) -> None:
    """Write ``entry.json`` with the SHA-256 of files; an existing one keeps the fields that authors edit by hand.

    Scores of other policies or files are deleted.
    """
    path = folder / ENTRY
    before = read_json(path) if path.is_file() else {}
    kept = {name: before[name] for name in _BY_HAND if name in before}
    entry = replace(entry, **kept, files=before.get("files", {}))
    entry = replace(entry, files=files_of(folder, entry))
    if (before.get("policies"), before.get("files")) != (entry.policies, entry.files):
        for scores in folder.glob("scores*.json"):
            scores.unlink()
    write_atomically(path, f"{json.dumps(asdict(entry), indent=2, ensure_ascii=False)}\n".encode())


def rule_entry(name: str, tasks: Sequence[SuiteTask]) -> SuiteEntry:
    """Return the entry of a rule of the package, `RANDOM_ACTIONS` or `REFERENCE` in these tasks."""
    policies = rule_policies(name, tasks)
    return SuiteEntry(method=name, steps=0, seconds=0.0, cpu_seconds=0.0, seeds=(0,), policies=policies)


def rule_policies(name: str, tasks: Sequence[SuiteTask]) -> dict[str, list[dict[str, str]]]:
    """Return the policies of a rule, a custom class or function, `RANDOM_ACTIONS` or `REFERENCE` for these tasks."""
    return {task.name: [{"rule": task.reference if name == REFERENCE else name}] for task in tasks}


def policy_values(folder: Path, name: str, eval_seed: int, kind: str, policy: str) -> FloatArray | Exception | str:
    """Return the values of a policy, a "rule" or a "folder", in a task, or the exception that it raises."""
    try:
        suite_task = task(name)
        contender = policy if kind == "rule" else _loaded(_inside(folder, policy), suite_task.config.env_id)
        values = suite_task.values(contender, eval_seed)
        return values if np.isfinite(values).all() else ValueError("policy: expected finite values, got others")
    except SystemExit as error:  # would also end the evaluation of other policies
        return reason(error)
    except Exception as error:  # the exceptions of onnxruntime have no other common base
        return error


def _check_policy(task_name: str, policy: object) -> None:
    if not isinstance(policy, dict) or len(policy) != 1 or not isinstance(next(iter(policy.values())), str):
        expected = '{"folder": NAME} or {"rule": NAME}'
        raise ValueError(f"policies of {task_name}: policy: expected {expected}, got {shown(policy)}")
    ((kind, name),) = policy.items()
    check_name("policy", kind, ("folder", "rule"))
    if kind == "rule" and is_outside(name):
        raise ValueError(f"rule: expected the name of a rule of the package, got {shown(name)}")
    if kind == "rule" and task(task_name).hides_from(name):
        raise ValueError(f"rule: expected one that sees only what {task_name} shows, got {shown(name)}")


def _inside(folder: Path, name: str) -> Path:
    try:
        path = (folder / name).resolve()
        if path.is_dir() and path != folder.resolve() and path.is_relative_to(folder.resolve()):
            return path
    except (OSError, ValueError, RuntimeError):  # invalid file names, circular links
        pass
    raise ValueError(f"folder: expected a folder within the entry, got {shown(name)}")


def _lacks_network(folder: Path, entry: SuiteEntry, name: str | None) -> bool:
    return f"{name}/{ONNX}" in entry.files and name is not None and not os.path.lexists(_inside(folder, name) / ONNX)


def _loaded(path: Path, env_id: str) -> Policy:
    if sibling_file(path, POLICY) is not None and sibling_file(path, ONNX) is not None:
        policy = load_policy(path)
    elif sibling_file(path, CONFIG) is not None and sibling_file(path, NETWORK) is not None:
        policy = import_project_module("multispin_agents.models").read_policy(path)  # needs torch
    else:
        expected = f"the files {POLICY} and {ONNX}, or {CONFIG} and {NETWORK}"
        raise ValueError(f"folder: expected a folder with {expected}, got {path.name!r}")
    if policy.config.env_id != env_id:
        raise ValueError(f"env: expected a policy for {env_id}, got one for {policy.config.env_id!r}")
    return policy


def scores_name(eval_seed: int) -> str:
    """Return the name of the file with the scores for an evaluation seed."""
    return SCORES if eval_seed == PUBLIC else f"scores-{eval_seed}.json"


def save_values(path: Path, by_task: TaskValues) -> None:
    """Write a file of scores, or of curves (points of `CURVE`, seeds), with exact numbers and a line for each task."""
    lines = [f"{json.dumps(name)}: {json.dumps(values.tolist())}" for name, values in by_task.items()]
    write_atomically(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def read_scores(folder: Path, entry: SuiteEntry, eval_seed: int = PUBLIC) -> TaskValues:
    """Read the scores for an evaluation seed.

    Public ones are of all policies, others of those that are `playable`. ``ValueError`` if the file is missing, has
    other tasks or seeds, or a public score exceeds `SuiteTask.limit`.
    """
    path = sibling_file(folder, scores_name(eval_seed))
    if path is None:
        expected = f"a file {scores_name(eval_seed)}, from multispin suite evaluate"
        raise ValueError(f"scores: expected {expected}, got none in {str(folder)!r}")
    shapes = entry.shapes
    if eval_seed != PUBLIC:
        counts = {name: sum(map(bool, by_seed)) for name, by_seed in playable(folder, entry).items()}
        shapes = {name: (count, *shapes[name][1:]) for name, count in counts.items() if count}
    scores = _read(path, "scores", shapes)
    for name, claimed in performances(scores).items() if eval_seed == PUBLIC else ():
        limit, best = task(name).limit, claimed.mean_scores.max()
        if best > limit:
            raise ValueError(f"{path}: scores of {name}: expected at most {limit:.6g}, by its bound, got {best:.6g}")
    return scores


def read_curves(folder: Path, entry: SuiteEntry) -> TaskValues | None:
    """Read ``curves.json`` of an entry, or ``None`` if there is none; errors as for `read_scores`.

    The curves are not verified.
    """
    path = sibling_file(folder, CURVES)
    shapes = {name: (len(CURVE), shape[0]) for name, shape in entry.shapes.items()}
    return None if path is None else _read(path, "curves", shapes)


def _read(path: Path, field: str, shapes: Mapping[str, tuple[int, ...]]) -> TaskValues:
    try:
        content = read_table(path)
        check_complete(field, content, list(shapes))
        return {name: check_values(content[name], f"{field} of {name}", shape) for name, shape in shapes.items()}
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: {cut(str(error))}") from None


def check_values(content: ArrayLike, field: str, shape: tuple[int, ...]) -> FloatArray:
    """Return an array of finite numbers of this shape; ``ValueError`` for other content."""
    values = np.asarray(content, dtype=np.float64)
    if values.shape != shape or not np.isfinite(values).all():
        raise ValueError(f"{field}: expected finite numbers of shape {shape}, got others of shape {values.shape}")
    return values


def check_scores(claimed: TaskValues, played: TaskValues, eval_seed: int = PUBLIC) -> float:
    """Return the largest difference of a case, relative to the largest value of its task; 0 means identical bits.

    ``ValueError`` names the first task with a difference above `_ROUNDING`, which is far above rounding errors (about
    1e-15 for rules). If a network's action lies between two lengths, another processor may round it differently.
    """
    largest = 0.0
    for name, values in played.items():
        difference = float(np.abs(claimed[name] - values).max() / np.abs(values).max())
        if difference > _ROUNDING:
            got, expected = (task(name).performance(x, eval_seed).mean_scores.mean() for x in (claimed[name], values))
            raise ValueError(
                f"scores of {name}: expected the scores of the policies, {expected:.6g}, got {got:.6g}; "
                f"the largest difference of a case is {difference:.1e} of the largest value"
            )
        largest = max(largest, difference)
    return largest


def select(values: TaskValues, policies: Policies) -> TaskValues:
    """Return the values of the policies that are not empty."""
    masks = {name: list(map(bool, by_seed)) for name, by_seed in policies.items()}
    return {name: values[name][mask] for name, mask in masks.items() if any(mask)}


def performances(played: TaskValues, eval_seed: int = PUBLIC) -> dict[str, Performance]:
    """Return the performance in each task."""
    return {name: task(name).performance(values, eval_seed) for name, values in played.items()}


def entry_performances(entry: SuiteEntry, played: TaskValues, eval_seed: int = PUBLIC) -> dict[str, Performance]:
    """Return the performance in each task with a policy, where equal policies count once."""
    return performances({name: played[name][entry.distinct(name)] for name in entry.played}, eval_seed)


def kinds_of(folder: Path, entry: SuiteEntry) -> dict[str, tuple[str, float | None]]:
    """Return by task the kind of the policies' actions, and the score of action 0 with them, if it is known."""
    kinds = {}
    for name in entry.played:
        found = {_kind_of(folder, task(name), policy) for policy in entry.policies[name]}
        kinds[name] = found.pop() if len(found) == 1 else ("mixed", None)
    return kinds


def _kind_of(folder: Path, suite_task: SuiteTask, policy: Mapping[str, str]) -> tuple[str, float | None]:
    config, own = suite_task.config, own_content()[suite_task.name]
    if "folder" in policy:
        path = _inside(folder, policy["folder"])
        file = sibling_file(path, POLICY) or sibling_file(path, CONFIG)
        about = {} if file is None else read_table(file)
    elif policy["rule"] in BLIND:
        about = own if policy["rule"].startswith(OWN) else {"action": config.action, "arguments": config.arguments}
    else:
        return "rule", None
    action, arguments = str(about.get("action")), about.get("arguments")
    zero = suite_task.action_0(action, arguments if isinstance(arguments, dict) else {})
    return KINDS.get(action, AROUND), zero
