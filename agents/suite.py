"""Training for the suite, ``multispin suite run``: one method in every task with several seeds, for an entry folder.

A method is an agent of this package, or a callable like the algorithm classes of Stable-Baselines3, with its own
defaults. A cell is one training. It has no side effects: it returns its results, and the caller writes the files.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import cache
from itertools import takewhile
from operator import methodcaller
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from torch import nn
from typing_extensions import override

from agents.base import AgentSettings
from agents.registry import AGENTS, admit
from agents.runs import TRAINING_DEFAULTS, refuse_links, supported_arguments, with_reference
from agents.tracing import TracedNetwork, onnx_of
from agents.vec_env import NativeVecEnv, first_seed
from multispin_env.apps.executors import Executor
from multispin_env.apps.terminal.arguments import executor_of, part_of
from multispin_env.apps.terminal.output import Tally
from multispin_env.checks import check_complete, check_integer, check_real, shown
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.policy import (
    ONNX,
    POLICY,
    Entries,
    Policy,
    Recurrent,
    describe,
    load_policy,
    onnx_runtime,
)
from multispin_env.evaluation.statistics import aligned
from multispin_env.evaluation.suite.entries import (
    CURVE,
    CURVES,
    SCORES,
    SuiteEntry,
    check_replaced,
    check_values,
    save_entry,
    save_values,
)
from multispin_env.evaluation.suite.frozen import VERSION
from multispin_env.evaluation.suite.leaderboard import score_cells
from multispin_env.evaluation.suite.tasks import POLICY_ARGUMENTS, RANDOM_ACTIONS, SuiteTask
from multispin_env.evaluation.suite.version import task, tasks
from multispin_env.files import lock_folder, make_folder, read_json, write_atomically
from multispin_env.registry import import_attribute, is_outside, refusal

CELL = "cell.json"

_Content = dict[str, Any]

_OWN_ENCODINGS = {
    "MultiSpin/DelayedChannel-v0": "residual",
    "MultiSpin/Continuous-v0": "tuned",
    "MultiSpin/Serving-v0": "tuned",
}
"""Action encodings of the agents of this package in tasks where they do not use ``lengths``."""

_OWN_CHOICE = {name: TRAINING_DEFAULTS.get(name) for name in POLICY_ARGUMENTS if name != "timeout"}
"""Arguments with the values that the agents of this package use; `with_reference` sets ``reference``."""

_LSTM = "MlpLstmPolicy"

_Make = Callable[..., BaseAlgorithm]

_with_reference = cache(with_reference)  # plays all rules of a task, the same for each seed


def _method_of(name: str) -> AgentSettings | _Make:
    if is_outside(name):
        method = import_attribute("agent", name)
        if not hasattr(method, "build"):
            if not callable(method):
                raise refusal("agent", name, ", which is not callable")
            return method
    admit(name)
    return AGENTS.load(name)


class _FixedPolicy(nn.Module):
    """Policy of Stable-Baselines3 for one number of devices, with Dict or flattened observations."""

    memory = 0

    def __init__(self, policy: BasePolicy) -> None:
        super().__init__()
        self.policy = policy

    def deterministic(self, observations: dict[str, th.Tensor]) -> Any:
        is_flat = isinstance(self.policy.observation_space, spaces.Box)
        observed: Any = th.cat(list(observations.values()), -1) if is_flat else observations
        return self.policy._predict(observed, deterministic=True).flatten(1)


class _RecurrentPolicy(_FixedPolicy):
    """LSTM policy of sb3-contrib; its memory holds both LSTM states of all layers, flattened."""

    def __init__(self, policy: Any) -> None:
        super().__init__(policy)
        self.memory = 2 * policy.lstm_actor.num_layers * policy.lstm_actor.hidden_size

    @override
    def deterministic(self, observations: dict[str, th.Tensor]) -> tuple[th.Tensor, th.Tensor]:
        # the forward pass of the policy without the branches that cannot be exported; also returns the next memory
        policy: Any = self.policy
        *entries, memory = observations.values()
        states = memory.unflatten(1, (2, policy.lstm_actor.num_layers, -1)).permute(1, 2, 0, 3)
        features = policy.pi_features_extractor(th.cat(entries, -1))
        latent, after = policy.lstm_actor(features[None], (states[0].contiguous(), states[1].contiguous()))
        distribution = policy._get_action_dist_from_latent(policy.mlp_extractor.forward_actor(latent[0]))
        return distribution.get_actions(deterministic=True).flatten(1), th.stack(after).permute(2, 0, 1, 3).flatten(1)


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


@dataclass(frozen=True, eq=False)
class Training:
    """Model, with the configuration of its environment."""

    model: BaseAlgorithm
    config: EnvConfig

    def network(self) -> TracedNetwork:
        """Return the network of the current policy."""
        policy: Any = self.model.policy.eval()
        space, columns = self.config.observations.space, self.config.actions.columns
        if hasattr(policy, "deterministic"):
            network = TracedNetwork(policy, space, columns)
        else:
            reader = (_RecurrentPolicy if hasattr(policy, "lstm_actor") else _FixedPolicy)(policy)
            network = TracedNetwork(reader, space, columns, self.config.scenario.num_users, reader.memory)
        return network.requires_grad_(False)

    def policy(self) -> Policy:
        """Return the current policy, evaluated with torch."""
        network = self.network()

        def act(entries: Entries) -> Any:
            output = network(*(th.as_tensor(entries[name]) for name in network.entries))
            return tuple(tensor.numpy() for tensor in output) if network.memory else output.numpy()

        return Policy(self.config, Recurrent(act, network.memory) if network.memory else act)

    def export(self) -> dict[str, bytes]:
        """Return the files of the current policy by name."""
        th.distributions.Distribution.set_default_validate_args(False)  # validation cannot be exported
        network = in_half_precision(onnx_of(self.network(), self.config))
        about = describe(self.config, {ONNX: network})
        return {ONNX: network, POLICY: json.dumps(about, indent=2, ensure_ascii=False).encode()}


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
                method.check(_own_config(suite_task))
            except (TypeError, ValueError) as error:
                return str(error)
        resized = any("num_users" in part for part in suite_task.held_out)
        fixed = resized and self.training().network().users is not None
        return "its network has a fixed number of devices" if fixed else ""

    def play(self) -> tuple[_Content, Mapping[str, bytes]]:
        """Train; play the held-out episodes with the policy at each fraction in `CURVE`, the last one after its export.

        Returns the content of the cell's JSON file, and the files of its policy by name.
        """
        th.set_num_threads(1)  # the networks are small: more threads only wait for each other
        suite_task, training = task(self.task), self.training()
        recorder, curve = PolicyRecorder(self.steps), []
        wall, cpu = time.perf_counter(), time.process_time()
        with suppress(BudgetSpentError):
            training.model.learn(self.steps, callback=recorder)
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        steps = check_integer("steps", recorder.taken, 1)
        *earlier, last = recorder.states()
        for state in earlier:
            training.model.policy.load_state_dict(state)
            curve.append(suite_task.values(training.policy()))
        training.model.policy.load_state_dict(last)
        files = training.export()
        with TemporaryDirectory() as folder:
            _write(Path(folder), files)
            curve.append(suite_task.values(load_policy(folder)))
        cost = {"steps": steps, "seconds": seconds, "cpu_seconds": cpu_seconds}
        return {**cost, "values": [values.tolist() for values in curve]}, files

    def training(self) -> Training:
        """Build the untrained model."""
        suite_task, method = task(self.task), _method_of(self.agent)
        if callable(method):
            flat = FlattenObservation(suite_task.make())
            policy = _LSTM if _LSTM in getattr(method, "policy_aliases", ()) else "MlpPolicy"
            try:
                model = method(policy, flat, seed=self.seed, device="cpu")
            except (AssertionError, TypeError) as error:  # unsupported actions or arguments
                raise refusal("agent", self.agent, f", which makes no model here ({error})") from error
            if not isinstance(model, BaseAlgorithm):
                raise refusal("agent", self.agent, f", which makes no model but {shown(model)}")
            return Training(model, suite_task.config)
        config = _with_reference(_own_config(suite_task))
        settings = method.for_environment(config)
        seed = first_seed(self.seed, 0, settings.num_envs)
        env = NativeVecEnv.of(config, settings.num_envs, seed)
        return Training(settings.build(env, lambda left: left, seed, "cpu"), config)


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


def _own_config(suite_task: SuiteTask) -> EnvConfig:
    config = suite_task.config
    arguments = supported_arguments(type(config), _OWN_CHOICE)
    return config.replace(action=_OWN_ENCODINGS.get(config.env_id, "lengths"), **arguments)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    make_folder(folder)
    for name, content in files.items():
        write_atomically(folder / name, content)


def _saved(cell: Cell, folder: Path) -> _Content | None:
    """Return the content of the cell's file, or ``None`` if there is none; ``ValueError`` if it is not valid."""
    path, suite_task = folder / cell.name / CELL, task(cell.task)
    if not path.exists():
        return None
    try:
        content: _Content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError(f"expected a table of fields, got {shown(content)}")
        check_complete("cell", content, ("spec", "steps", "seconds", "cpu_seconds", "values"))
        if content["spec"] != cell.spec:
            raise ValueError(f"out: expected a new folder, or one with {cell.spec}, got {shown(content['spec'])}")
        check_integer("steps", content["steps"], 1, cell.steps)
        for name in ("seconds", "cpu_seconds"):
            check_real(name, content[name], 0.0)
        check_values(content["values"], "values", (len(CURVE), len(suite_task.held_out), suite_task.size))
        return content
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path}: {error}") from None


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
                _write(folder / cell.name, {**files, CELL: json.dumps({"spec": cell.spec, **content}).encode()})
                errors.unlink(missing_ok=True)
            tally.add(cell.name, failed=bool(result.error))
    return failed


def _curve(name: str, contents: Sequence[_Content], num_seeds: int) -> Any:
    """Return the values (points, seeds, parts, n) of a task at each fraction in `CURVE`; if empty, random ones."""
    if contents:
        return np.array([content["values"] for content in contents]).swapaxes(0, 1)
    random = task(name).values(RANDOM_ACTIONS)
    return np.broadcast_to(random, (len(CURVE), num_seeds, *random.shape))


def run(options: argparse.Namespace) -> int | None:
    """Train the requested cells without results; write an entry of all that have some."""
    seeds = tuple(range(check_integer("seeds", options.seeds, 1)))
    names = [suite_task.name for suite_task in [task(name) for name in options.tasks or ()] or tasks()]
    budget = min(suite_task.budget for suite_task in tasks())
    steps = budget if options.steps is None else check_integer("steps", options.steps, 1, budget)
    part_of((), options.part)  # raises for a wrong part
    _method_of(options.agent)
    onnx_runtime()  # checked early: it plays the trained policies
    executor = executor_of(options, ("multispin_env", "agents"))
    by_task: dict[str, list[Cell]] = {}
    for name in (suite_task.name for suite_task in tasks()):
        cells = [Cell(options.agent, name, seed, steps) for seed in seeds]
        reason = cells[0].obstacle()
        if reason:
            print(f"{name}: scored as random actions: {reason}", file=sys.stderr)
        by_task[name] = [] if reason else cells
    if not any(by_task.values()):
        raise ValueError(f"agent: expected an agent that can learn in at least one task, got {options.agent!r}")
    random = [{"rule": RANDOM_ACTIONS}] * len(seeds)
    policies: _Content = {name: [{"folder": cell.name} for cell in cells] or random for name, cells in by_task.items()}
    check_replaced(options.out, policies)
    make_folder(options.out)
    refuse_links(options.out)
    for cell in (cell for cells in by_task.values() for cell in cells):
        _saved(cell, options.out)  # raises before the training for files of another method
    requested = [cell for seed in seeds for name in names for cell in by_task[name] if cell.seed == seed]
    part = part_of(requested, options.part)
    with ExitStack() as locks:  # of cells, since other parts may train at the same time
        for cell in part:
            make_folder(options.out / cell.name)
            locks.enter_context(lock_folder(options.out / cell.name))
        failed = train_missing(part, options.out, executor)
    saved = {name: [_saved(cell, options.out) for cell in cells] for name, cells in by_task.items()}
    done = {name: [content for content in takewhile(bool, contents) if content] for name, contents in saved.items()}
    num_seeds = max(map(len, done.values()))
    curves = {
        name: _curve(name, contents, num_seeds)
        for name, contents in done.items()
        if num_seeds and (contents or not by_task[name])
    }
    played = {name: curve[-1] for name, curve in curves.items()}
    if played:
        contents = [content for by_seed in done.values() for content in by_seed]
        entry = SuiteEntry(
            method=options.agent if is_outside(options.agent) else f"{options.agent} (ours, own encodings)",
            steps=max(content["steps"] for content in contents),
            seconds=float(np.mean([content["seconds"] for content in contents])),
            cpu_seconds=float(np.mean([content["cpu_seconds"] for content in contents])),
            seeds=seeds[:num_seeds],
            policies={name: policies[name][: len(values)] for name, values in played.items()},
        )
        save_entry(options.out, entry)
        save_values(options.out / SCORES, played)
        scores = {
            name: np.array([task(name).performance(values).mean_scores for values in curve])
            for name, curve in curves.items()
        }
        save_values(options.out / CURVES, scores)
    print(aligned(*score_cells({name: played[name] for name in names if name in played})))
    missing = [cell.name for name, cells in by_task.items() for cell in cells[len(done[name]) :]]
    if missing:
        print(f"missing in the entry: {', '.join(missing)}", file=sys.stderr)
    if failed:
        print(f"failed, see {options.out}/failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else None
