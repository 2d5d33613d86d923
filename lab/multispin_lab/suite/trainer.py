"""Training for the suite, ``multispin suite run``: one method in every task with several seeds, for an entry folder.

A method is an agent of this package, or a callable like the algorithm classes of Stable-Baselines3, with its own
defaults. A cell is one training. It has no side effects: it returns its results, and the caller writes the files.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from itertools import takewhile
from operator import methodcaller
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch as th
from gymnasium.wrappers import FlattenObservation
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from typing_extensions import override

from multispin_agents.base import AgentSettings
from multispin_agents.models import build_model
from multispin_agents.policies import TracedNetwork, policy_of
from multispin_agents.registry import AGENTS, admit
from multispin_agents.runs import read_record, refuse_links, write_record
from multispin_agents.tracing import onnx_of, policy_files
from multispin_agents.training import keep_memory
from multispin_agents.vec_env import first_seed
from multispin_env.apps.executors import Executor
from multispin_env.apps.terminal.arguments import executor_of
from multispin_env.apps.terminal.output import Tally
from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer, shown
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.policy import ONNX, load_policy, onnx_runtime
from multispin_env.evaluation.statistics import aligned
from multispin_env.files import lock_folder, make_folder, write_atomically
from multispin_env.registry import import_attribute, is_outside, refusal
from multispin_lab.suite.entries import (
    CURVE,
    CURVES,
    ENTRY,
    SCORES,
    SuiteEntry,
    check_files,
    check_replaced,
    check_values,
    read_curves,
    read_entry,
    read_scores,
    save_entry,
    save_values,
)
from multispin_lab.suite.frozen import VERSION, own_content
from multispin_lab.suite.leaderboard import score_cells
from multispin_lab.suite.tasks import SuiteTask
from multispin_lab.suite.version import task, tasks

CELL = "cell.json"

_Content = dict[str, Any]
_Done = dict[str, list[_Content]]  # by task, of the first seeds

_OURS = " (ours, own encodings)"  # end of the names of agents of this package

_LSTM = "MlpLstmPolicy"

_Make = Callable[..., BaseAlgorithm]


def _method_of(name: str) -> AgentSettings | _Make:
    if is_outside(name):
        method = import_attribute("agent", name)
        if not hasattr(method, "build"):
            if not callable(method):
                raise refusal("agent", name, ", which is not callable")
            return method
    admit(name)
    return AGENTS.load(name)


class BudgetSpentError(Exception):
    """Exception that ends a training; some methods ignore the return value of callbacks."""


class PolicyRecorder(BaseCallback):
    """Callback that stores the policy at the fractions `CURVE` of a budget and raises `BudgetSpentError` at its end.

    Agents without returns take a varying number of environment steps per update, and call back after the update. So
    the training ends before an update that could exceed the budget, and an update that does exceed it is discarded.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.stored: list[Mapping[str, Any]] = []
        self.taken = self._largest = 0
        self._last_within: Mapping[str, Any] = {}
        self._start: Mapping[str, Any] = {}

    @override
    def _on_training_start(self) -> None:
        self._start = self._state()

    @property
    def starts(self) -> int:
        """Number of stored policies that are those before the training."""
        return sum(all(map(th.equal, state.values(), self._start.values())) for state in self.stored)

    @override
    def _on_step(self) -> bool:
        if self.num_timesteps > self.steps:
            raise BudgetSpentError
        self._largest = max(self._largest, self.num_timesteps - self.taken)
        self.taken = self.num_timesteps
        while len(self.stored) < len(CURVE) - 1 and self.taken >= CURVE[len(self.stored)] * self.steps:
            self.stored.append(self._state())
        if self._largest > 1:
            self._last_within = self._state()  # the next update may exceed the budget
        if self.taken + self._largest > self.steps:
            raise BudgetSpentError
        return True

    def states(self) -> list[Mapping[str, Any]]:
        """Return the policy at each fraction in `CURVE`; after an early end, the last one within the budget."""
        last = self._last_within if self.num_timesteps > self.steps else self._state()
        return [*self.stored, *[last] * (len(CURVE) - len(self.stored))]

    def _state(self) -> Mapping[str, Any]:
        return copy.deepcopy(self.model.policy.state_dict())


@dataclass(frozen=True)
class Cell:
    """One training: a method in a task with a seed, for a number of environment steps."""

    agent: str
    task: str
    seed: int
    steps: int

    @property
    def name(self) -> str:
        """Name of the cell's folder inside the entry folder."""
        return f"{self.task}-{self.seed}"

    @property
    def spec(self) -> _Content:
        """Identity of the training, stored in the cell's file."""
        return {**asdict(self), "version": VERSION}

    def obstacle(self) -> str:
        """Return the reason why the method cannot learn or play the task, or an empty string."""
        suite_task, method = task(self.task), _method_of(self.agent)
        if not callable(method):
            try:
                method.check(own_config(suite_task))
            except (TypeError, ValueError) as error:
                return str(error)
        resized = any("num_users" in part for part in suite_task.held_out)
        if not resized:
            return ""
        model, config = self.start()
        is_fixed = TracedNetwork.of(model.policy, config).users is not None
        return "its network has a fixed number of devices" if is_fixed else ""

    def play(self) -> tuple[_Content, Mapping[str, bytes]]:
        """Train; play the held-out episodes with the policy at each fraction in `CURVE`, the last one after its export.

        Returns the content of the cell's JSON file, and the files of its policy by name.
        """
        th.set_num_threads(1)  # as in `multispin_agents.training.train`
        keep_memory()
        suite_task, (model, config) = task(self.task), self.start()
        recorder, wall, cpu = PolicyRecorder(self.steps), time.perf_counter(), time.process_time()
        with suppress(BudgetSpentError):
            model.learn(self.steps, callback=recorder)
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        cost = {"steps": check_integer("steps", recorder.taken, 1), "seconds": seconds, "cpu_seconds": cpu_seconds}
        *earlier, last = recorder.states()
        curve = []
        for state in earlier:
            model.policy.load_state_dict(state)
            curve.append(suite_task.values(policy_of(model, config)))
        model.policy.load_state_dict(last)
        files = exported(model, config)
        with TemporaryDirectory() as folder:
            _write(Path(folder), files)
            curve.append(suite_task.values(load_policy(folder)))
        values = check_values(curve, "values", (len(CURVE), *suite_task.shape))
        return {"spec": self.spec, **cost, "starts": recorder.starts, "values": values.tolist()}, files

    def start(self) -> tuple[BaseAlgorithm, EnvConfig]:
        """Build the untrained model; return it with the configuration of its environment."""
        suite_task, method = task(self.task), _method_of(self.agent)
        if not callable(method):
            config = own_config(suite_task)
            settings = method.for_environment(config)
            return build_model(settings, config, seed=first_seed(self.seed, 0, settings.num_envs)), config
        policy = _LSTM if _LSTM in getattr(method, "policy_aliases", ()) else "MlpPolicy"
        try:
            model = method(policy, FlattenObservation(suite_task.make()), seed=self.seed, device="cpu")
        except (AssertionError, TypeError) as error:  # unsupported actions or arguments
            raise refusal("agent", self.agent, f", which makes no model here ({error})") from error
        if not isinstance(model, BaseAlgorithm):
            raise refusal("agent", self.agent, f", which makes no model but {shown(model)}")
        return model, suite_task.config


def exported(model: BaseAlgorithm, config: EnvConfig) -> dict[str, bytes]:
    """Return the files of the policy of a model by name."""
    th.distributions.Distribution.set_default_validate_args(False)  # validation cannot be exported
    network = TracedNetwork.of(model.policy, config).requires_grad_(False)
    return policy_files({ONNX: in_half_precision(onnx_of(network, config))}, config)


def in_half_precision(network: bytes) -> bytes:
    """Return an ONNX network that stores its matrices with 16 bits, and casts them to 32 bits when it is loaded."""
    import onnx

    model = onnx.load_from_string(network)
    for tensor in model.graph.initializer:
        matrix = onnx.numpy_helper.to_array(tensor)
        if matrix.dtype == np.float32 and matrix.ndim > 1 and np.abs(matrix).max() < np.finfo(np.float16).max:
            name, half = tensor.name, f"{tensor.name}.half"
            tensor.CopyFrom(onnx.numpy_helper.from_array(matrix.astype(np.float16), half))
            cast = onnx.helper.make_node("Cast", [half], [name], name=f"{name}.cast", to=onnx.TensorProto.FLOAT)
            model.graph.node.insert(0, cast)
    return model.SerializeToString()


def own_config(suite_task: SuiteTask) -> EnvConfig:
    """Return the configuration of a task with the actions and observations of this package's agents."""
    own = own_content()[suite_task.name]
    return suite_task.config.replace(action=own["action"], **own["arguments"])


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    make_folder(folder)
    for name, content in files.items():
        write_atomically(folder / name, content)


def _saved(cell: Cell, folder: Path) -> _Content | None:
    """Return the content of the cell's file, or ``None`` if there is none; ``ValueError`` if it is not valid."""
    path = folder / cell.name / CELL
    if not path.exists():
        return None
    try:
        content = read_record(path)
        if content.get("spec") != cell.spec:
            raise ValueError(f"out: expected a new folder, or one with {cell.spec}, got {shown(content.get('spec'))}")
        return content
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _of_entry(cells: Sequence[Cell], folder: Path) -> dict[str, _Content]:
    """Return by cell the results that an entry in ``folder`` has without the cell's file; such seeds are kept."""
    if not (folder / ENTRY).exists():
        return {}
    entry = read_entry(folder)
    kept = [cell for cell in cells if f"{cell.name}/{ONNX}" in entry.files and not (folder / cell.name / CELL).exists()]
    if not kept:
        return {}
    method, steps = _method_name(kept[0].agent), kept[0].steps
    is_other = entry.method != method and (is_outside(entry.method) or entry.method.endswith(_OURS))
    if is_other or not steps / 2 < entry.steps <= steps:  # some agents stop before the budget
        got = f"{entry.method!r} with {entry.steps} steps"
        raise ValueError(f"out: expected a new folder, or an entry of {method!r} with {steps} steps, got {got}")
    check_files(folder, entry, [cell.name for cell in kept])
    scores, curves = read_scores(folder, entry), read_curves(folder, entry)
    if curves is None:
        raise ValueError(f"out: expected an entry with {CURVES}, got none in {str(folder)!r}")
    cost, contents = {key: getattr(entry, key) for key in ("steps", "seconds", "cpu_seconds", "starts")}, {}
    for cell in kept:
        index = entry.policies[cell.task].index({"folder": cell.name})
        contents[cell.name] = {**cost, "values": scores[cell.task][index], "curve": curves[cell.task][:, index]}
    return contents


def with_curve(cell: Cell, folder: Path) -> _Content | None:
    """Return the content of the cell's file with the last values and the scores of the curve, ``None`` without it."""
    content = _saved(cell, folder)
    if content is None:
        return None
    *_, values = curve = np.array(content["values"])
    scores = [float(task(cell.task).performance(point[None]).mean_scores[0]) for point in curve]
    return {**content, "values": values, "curve": scores}


def train_missing(cells: Sequence[Cell], folder: Path, executor: Executor) -> list[str]:
    """Train the cells without results and write their files; return the names of failed cells.

    Errors are written to the subfolder ``failed``. The executor may raise `Stopped`.
    """
    missing = [cell for cell in cells if _saved(cell, folder) is None]
    failed: list[str] = []
    if not missing:
        return failed
    with Tally(len(missing), executor.width) as tally:
        for result in executor.results(methodcaller("play"), missing):
            cell = missing[result.index]
            errors = folder / "failed" / f"{cell.name}.txt"
            if result.error:
                _write(errors.parent, {errors.name: result.error.encode()})
                failed.append(cell.name)
            else:
                content, files = result.value
                _write(folder / cell.name, files)
                write_record(folder / cell.name / CELL, content)
                errors.unlink(missing_ok=True)
            tally.add(cell.name, failed=bool(result.error))
    return failed


def _save_results(out: Path, agent: str, by_task: Mapping[str, Sequence[Cell]], done: _Done) -> dict[str, FloatArray]:
    """Write the entry with its scores and curves; return the values (seeds, parts, n) of its tasks."""
    done = {name: by_seed for name, by_seed in done.items() if by_seed}
    contents = [content for by_seed in done.values() for content in by_seed]
    if not contents:
        return {}
    before = read_entry(out).starts if (out / ENTRY).exists() else 0  # for cells of older versions
    entry = SuiteEntry(
        method=_method_name(agent),
        steps=max(content["steps"] for content in contents),
        seconds=float(np.mean([content["seconds"] for content in contents])),
        cpu_seconds=float(np.mean([content["cpu_seconds"] for content in contents])),
        seeds=tuple(range(max(map(len, done.values())))),
        policies={name: [{"folder": cell.name} for cell in by_task[name][: len(done[name])]] for name in done},
        starts=min(content.get("starts", before) for content in contents),
    )
    played = {name: np.array([content["values"] for content in by_seed]) for name, by_seed in done.items()}
    save_entry(out, entry)
    save_values(out / SCORES, played)
    curves = {name: np.array([content["curve"] for content in by_seed]).T for name, by_seed in done.items()}
    save_values(out / CURVES, curves)
    return played


def _method_name(agent: str) -> str:
    return agent if is_outside(agent) else f"{agent}{_OURS}"


def run(options: argparse.Namespace) -> int | None:
    """Train the requested cells without results; write an entry of all that have some."""
    seeds = range(check_integer("seeds", options.seeds, 1))
    names = [suite_task.name for suite_task in [task(name) for name in options.tasks or ()] or tasks()]
    budget = min(suite_task.budget for suite_task in tasks())
    steps = budget if options.steps is None else check_integer("steps", options.steps, 1, budget)
    part_of((), options.part)  # raises for a wrong part
    _method_of(options.agent)
    onnx_runtime()  # checked early: it plays the trained policies
    executor = executor_of(options, ("multispin_env", "multispin_agents"))
    by_task = {suite_task.name: _cells(options.agent, suite_task.name, seeds, steps) for suite_task in tasks()}
    cells = [cell for by_seed in by_task.values() for cell in by_seed]
    if not cells:
        raise ValueError(f"agent: expected an agent that can learn in at least one task, got {options.agent!r}")
    firsts = {name: [{"folder": by_seed[0].name}] for name, by_seed in by_task.items() if by_seed}
    check_replaced(options.out, firsts)
    make_folder(options.out)
    refuse_links(options.out)
    for cell in cells:
        _saved(cell, options.out)  # raises before the training for files of another method
    requested = [cell for seed in seeds for name in names for cell in by_task[name] if cell.seed == seed]
    kept = _of_entry(cells, options.out)
    part = [cell for cell in part_of(requested, options.part) if cell.name not in kept]
    with ExitStack() as locks:  # of cells, since other parts may train at the same time
        for cell in part:
            make_folder(options.out / cell.name)
            locks.enter_context(lock_folder(options.out / cell.name))
        failed = train_missing(part, options.out, executor)
    done: _Done = {}
    for name, by_seed in by_task.items():
        contents = (kept.get(cell.name) or with_curve(cell, options.out) for cell in by_seed)
        done[name] = [content for content in takewhile(bool, contents) if content]
    played = _save_results(options.out, options.agent, by_task, done)
    print(aligned(*score_cells({name: played[name] for name in names if name in played})))
    missing = [cell.name for name, by_seed in by_task.items() for cell in by_seed[len(done[name]) :]]
    if missing:
        print(f"missing in the entry: {', '.join(missing)}", file=sys.stderr)
    if failed:
        print(f"failed, see {options.out}/failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else None


def part_of(cells: Sequence[Cell], part: str | None) -> list[Cell]:
    """Return every N-th cell, starting at the I-th, for the part ``I/N``; all cells for ``None``."""
    if part is None:
        return list(cells)
    first, slash, count = part.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise ValueError(f"part: expected I/N with 1 ≤ I ≤ N, for example 2/8, got {part!r}")
    return list(cells[int(first) - 1 :: int(count)])


def _cells(agent: str, name: str, seeds: Iterable[int], steps: int) -> list[Cell]:
    cells = [Cell(agent, name, seed, steps) for seed in seeds]
    reason = cells[0].obstacle()
    if reason:
        print(f"{name}: not played: {reason}", file=sys.stderr)
    return [] if reason else cells
