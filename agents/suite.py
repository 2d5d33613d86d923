"""Training for the suite, ``multispin suite run``: one method in every task, with seeds, into the folder of an entry.

A method is an agent of ours, or whatever makes a model as the classes of Stable-Baselines3 do, with its own defaults.
A cell is one training. It leaves nothing behind but what it returns; whoever asked for it writes its files.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
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
from agents.runs import TRAINING_DEFAULTS, supported_arguments, with_reference
from agents.tracing import TracedNetwork, onnx_of
from agents.vec_env import first_seed, make_vec_env
from multispin_env.apps.executors import Executor
from multispin_env.apps.terminal.arguments import executor_of, part_of
from multispin_env.apps.terminal.output import Tally
from multispin_env.checks import check_integer, shown
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
    KIND,
    Played,
    SuiteEntry,
    check_replaced,
    performances,
    save_curves,
    save_entry,
    save_scores,
)
from multispin_env.evaluation.suite.frozen import VERSION
from multispin_env.evaluation.suite.leaderboard import score_cells
from multispin_env.evaluation.suite.statistics import Score
from multispin_env.evaluation.suite.tasks import CHOSEN, RANDOM_ACTIONS, SuiteTask
from multispin_env.evaluation.suite.version import task, tasks
from multispin_env.files import make_folder, read_json, write_atomically
from multispin_env.registry import imported, is_outside, refusal

CELL = "cell.json"

_Content = dict[str, Any]

_OWN_ENCODINGS = {
    "MultiSpin/DelayedChannel-v0": "residual",
    "MultiSpin/Continuous-v0": "tuned",
    "MultiSpin/Serving-v0": "tuned",
}
"""Action encodings that agents of ours are made for, where they are not ``lengths``."""

_OWN_CHOICE = {name: TRAINING_DEFAULTS.get(name) for name in CHOSEN if name != "timeout"}
"""Arguments that agents of ours choose for themselves; ``reference`` is `with_reference`'s."""

_LSTM = "MlpLstmPolicy"

_Make = Callable[..., BaseAlgorithm]


def _method_of(name: str) -> AgentSettings | _Make:
    if is_outside(name):
        found = imported("agent", name)
        if not hasattr(found, "build"):
            if not callable(found):
                raise refusal("agent", name, ", which makes no model")
            make: _Make = found
            return make
    admit(name)
    agent: AgentSettings = AGENTS.load(name)
    return agent


class _FixedPolicy(nn.Module):
    """A policy of Stable-Baselines3 for one number of devices; it may read all entries one behind the other."""

    memory = 0

    def __init__(self, policy: BasePolicy) -> None:
        super().__init__()
        self.policy = policy

    def deterministic(self, observations: dict[str, th.Tensor]) -> Any:
        flat = isinstance(self.policy.observation_space, spaces.Box)
        seen: Any = th.cat(list(observations.values()), -1) if flat else observations
        return self.policy._predict(seen, deterministic=True).flatten(1)


class _RecurrentPolicy(_FixedPolicy):
    """The same for policies of sb3-contrib with an LSTM; they remember both of its states, all layers flat."""

    def __init__(self, policy: Any) -> None:
        super().__init__(policy)
        self.memory = 2 * policy.lstm_actor.num_layers * policy.lstm_actor.hidden_size

    @override
    def deterministic(self, observations: dict[str, th.Tensor]) -> tuple[th.Tensor, th.Tensor]:
        """Most likely actions, flat, and the next memory: as the policy, less the branches that can't be exported."""
        policy: Any = self.policy
        *entries, memory = observations.values()
        states = memory.unflatten(1, (2, policy.lstm_actor.num_layers, -1)).permute(1, 2, 0, 3)
        features = policy.pi_features_extractor(th.cat(entries, -1))
        latent, after = policy.lstm_actor(features[None], (states[0].contiguous(), states[1].contiguous()))
        chosen = policy._get_action_dist_from_latent(policy.mlp_extractor.forward_actor(latent[0]))
        return chosen.get_actions(deterministic=True).flatten(1), th.stack(after).permute(2, 0, 1, 3).flatten(1)


class BudgetSpentError(Exception):
    """Ends a training: not every method heeds what a callback returns."""


class PolicyRecorder(BaseCallback):
    """Keeps the policy at the parts `CURVE` of a budget, all but the last; `BudgetSpentError` before a step beyond it.

    Agents without returns take many environment steps at once, not always as many, and learn before they say so.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.kept: list[Mapping[str, Any]] = []
        self.taken = self._largest = 0
        self._within: Mapping[str, Any] = {}

    @override
    def _on_step(self) -> bool:
        if self.num_timesteps > self.steps:
            raise BudgetSpentError
        self._largest = max(self._largest, self.num_timesteps - self.taken)
        self.taken = self.num_timesteps
        while len(self.kept) < len(CURVE) - 1 and self.taken >= CURVE[len(self.kept)] * self.steps:
            self.kept.append(self._state())
        if self._largest > 1:
            self._within = self._state()  # the next step may lead beyond
        if self.taken + self._largest > self.steps:
            raise BudgetSpentError
        return True

    def states(self) -> list[Mapping[str, Any]]:
        """The policy at each of `CURVE`: the last one, where the training ended before; no step beyond counts."""
        last = self._within if self.num_timesteps > self.steps else self._state()
        return [*self.kept, *[last] * (len(CURVE) - len(self.kept))]

    def _state(self) -> Mapping[str, Any]:
        return copy.deepcopy(self.model.policy.state_dict())


@dataclass(frozen=True, eq=False)
class Training:
    """A model before its training, and the settings that it decides in."""

    model: BaseAlgorithm
    config: EnvConfig

    def network(self) -> TracedNetwork:
        """The present policy."""
        policy: Any = self.model.policy.eval()
        space, columns = self.config.observations.space, self.config.actions.columns
        if hasattr(policy, "deterministic"):
            network = TracedNetwork(policy, space, columns)
        else:
            reader = (_RecurrentPolicy if hasattr(policy, "lstm_actor") else _FixedPolicy)(policy)
            network = TracedNetwork(reader, space, columns, self.config.scenario.num_users, reader.memory)
        return network.requires_grad_(False)

    def policy(self) -> Policy:
        """What the present policy decides, by torch."""
        network = self.network()

        def decide(entries: Entries) -> Any:
            found = network(*(th.as_tensor(entries[name]) for name in network.entries))
            return tuple(one.numpy() for one in found) if network.memory else found.numpy()

        return Policy(self.config, Recurrent(decide, network.memory) if network.memory else decide)


@dataclass(frozen=True)
class Cell:
    """One training: a method in a task with a seed, for so many environment steps."""

    agent: str
    task: str
    seed: int
    steps: int

    @property
    def name(self) -> str:
        """Of its folder in that of the entry."""
        return f"{self.task}-{self.seed}"

    @property
    def spec(self) -> _Content:
        """What its file holds for."""
        return {**asdict(self), "version": VERSION}

    def obstacle(self) -> str:
        """Why the method can't learn or play there, or nothing."""
        one, method = task(self.task), _method_of(self.agent)
        if not callable(method):
            try:
                method.check(_own_config(one))
            except (TypeError, ValueError) as error:
                return str(error)
        resized = any("num_users" in part for part in one.held_out)
        fixed = resized and self.training().network().users is not None
        return "its network has one number of devices" if fixed else ""

    def play(self) -> tuple[_Content, Mapping[str, bytes]]:
        """Train, and play the held-out episodes at each of `CURVE`, at the end as whoever reads the entry does.

        Returns the content of the cell's JSON file, and the files of its policy by name.
        """
        th.set_num_threads(1)  # the networks are small: more threads only wait for each other
        th.distributions.Distribution.set_default_validate_args(False)  # checks of numbers can't be exported
        one, training = task(self.task), self.training()
        keeper, curve = PolicyRecorder(self.steps), []
        wall, cpu = time.perf_counter(), time.process_time()
        with suppress(BudgetSpentError):
            training.model.learn(self.steps, callback=keeper)
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        steps = check_integer("steps", keeper.taken, 1)
        *earlier, last = keeper.states()
        for state in earlier:
            training.model.policy.load_state_dict(state)
            curve.append(one.values(training.policy()))
        training.model.policy.load_state_dict(last)
        files = exported(training)
        with TemporaryDirectory() as folder:
            _write(Path(folder), files)
            curve.append(one.values(load_policy(folder)))
        spent = {"steps": steps, "seconds": seconds, "cpu_seconds": cpu_seconds}
        return {**spent, "values": [values.tolist() for values in curve]}, files

    def training(self) -> Training:
        """Build what is trained."""
        one, method = task(self.task), _method_of(self.agent)
        if callable(method):
            flat = FlattenObservation(one.make())  # actions are in [-1, 1] already
            policy = _LSTM if _LSTM in getattr(method, "policy_aliases", ()) else "MlpPolicy"
            try:
                model = method(policy, flat, seed=self.seed, device="cpu")
            except (AssertionError, TypeError) as error:  # how classes refuse such actions, or such arguments
                raise refusal("agent", self.agent, f", which makes no model here ({error})") from error
            if not isinstance(model, BaseAlgorithm):
                raise refusal("agent", self.agent, f", which makes no model but {shown(model)}")
            return Training(model, one.config)
        config = _own_config(one)
        seed = first_seed(self.seed, 0, method.num_envs)
        env = make_vec_env(config, method.num_envs, one.rounds, seed)
        return Training(method.for_environment(config).build(env, lambda left: left, seed, "cpu"), config)


def _own_config(one: SuiteTask) -> EnvConfig:
    config = one.config
    own = supported_arguments(type(config.variant), _OWN_CHOICE)
    return with_reference(config.replace(action=_OWN_ENCODINGS.get(config.env_id, "lengths"), **own))


def exported(training: Training) -> dict[str, bytes]:
    """Files of an exported policy."""
    network = onnx_of(training.network(), training.config)
    about = describe(training.config, {ONNX: network})
    return {ONNX: network, POLICY: json.dumps(about, indent=2, ensure_ascii=False).encode()}


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    make_folder(folder)
    for name, content in files.items():
        write_atomically(folder / name, content)


def _saved(cell: Cell, folder: Path) -> _Content | None:
    path = folder / cell.name / CELL
    if not path.is_file():
        return None
    content: _Content = read_json(path)
    if content["spec"] != cell.spec:
        raise ValueError(
            f"out: expected a new folder, or one of {cell.spec}, got {str(folder)!r}, one of {shown(content['spec'])}"
        )
    return content


def train_missing(cells: Sequence[Cell], folder: Path, executor: Executor) -> list[str]:
    """Do what is missing and write it; returns what failed, of which ``failed/`` has the errors; `Stopped` may come."""
    missing = [cell for cell in cells if _saved(cell, folder) is None]
    failed = []
    if missing:
        with Tally(len(missing), executor.width) as tally:
            for result in executor.results(methodcaller("play"), missing):
                cell, name = missing[result.index], missing[result.index].name
                errors = folder / "failed" / f"{name}.txt"
                if result.error:
                    _write(errors.parent, {errors.name: result.error.encode()})
                    failed.append(name)
                else:
                    content, files = result.value
                    _write(folder / name, {**files, CELL: json.dumps({"spec": cell.spec, **content}).encode()})
                    errors.unlink(missing_ok=True)
                tally.add(name, failed=bool(result.error))
    return failed


def _policies_of(by_task: Mapping[str, Sequence[Cell]], seeds: Sequence[int]) -> _Content:
    random = [{"rule": RANDOM_ACTIONS}] * len(seeds)
    return {name: [{"folder": cell.name} for cell in cells] or random for name, cells in by_task.items()}


@dataclass(frozen=True, eq=False)
class _Results:
    """What is written of the cells of some tasks; a task without cells counts as random actions."""

    seeds: tuple[int, ...]
    cells: Mapping[str, Sequence[tuple[Cell, _Content]]]

    def curve(self, name: str) -> Any:
        """Values (points, seeds, parts, n) of a task at each of `CURVE`."""
        if not self.cells[name]:
            random = task(name).values(RANDOM_ACTIONS)
            return np.broadcast_to(random, (len(CURVE), len(self.seeds), *random.shape))
        return np.array([content["values"] for _, content in self.cells[name]]).swapaxes(0, 1)

    @property
    def played(self) -> Played:
        return {name: self.curve(name)[-1] for name in self.cells}

    def write(self, folder: Path, agent: str) -> None:
        of_all = [content for cells in self.cells.values() for _, content in cells]
        method = agent if is_outside(agent) else f"{agent} (ours, own encodings)"
        entry = SuiteEntry(
            kind=KIND,
            version=VERSION,
            method=method,
            authors="",
            link="",
            steps=max(one["steps"] for one in of_all),
            seconds=float(np.mean([one["seconds"] for one in of_all])),
            cpu_seconds=float(np.mean([one["cpu_seconds"] for one in of_all])),
            seeds=self.seeds,
            policies=_policies_of(
                {name: [cell for cell, _ in cells] for name, cells in self.cells.items()}, self.seeds
            ),
        )
        save_scores(folder, self.played)
        curves = {name: [task(name).performance(one).mean_scores for one in self.curve(name)] for name in self.cells}
        save_curves(folder, {name: np.array(points) for name, points in curves.items()})
        save_entry(folder, entry)


def run(options: argparse.Namespace) -> int | None:
    """Train what is asked for and missing; the entry is written as soon as all tasks are there."""
    seeds = tuple(range(check_integer("seeds", options.seeds, 1)))
    wanted = [task(name) for name in options.tasks or ()] or tasks()
    budget = min(one.budget for one in tasks())
    steps = budget if options.steps is None else check_integer("steps", options.steps, 1, budget)
    part_of((), options.part)  # refuses what is no part
    _method_of(options.agent)
    onnx_runtime()  # plays what was trained
    executor = executor_of(options, ("multispin_env", "agents"))
    by_task = {one.name: [Cell(options.agent, one.name, seed, steps) for seed in seeds] for one in tasks()}
    for name, cells in by_task.items():
        why = cells[0].obstacle()
        if why:
            print(f"{name}: counts as random actions, since {why}", file=sys.stderr)
            by_task[name] = []
    if not any(by_task.values()):
        raise ValueError(f"agent: expected one that can learn in some task, got {options.agent!r}")
    check_replaced(options.out, _policies_of(by_task, seeds))
    make_folder(options.out)
    asked = [cell for seed in seeds for one in wanted for cell in by_task[one.name] if cell.seed == seed]
    failed = train_missing(part_of(asked, options.part), options.out, executor)
    found = {
        name: [(cell, content) for cell in cells if (content := _saved(cell, options.out)) is not None]
        for name, cells in by_task.items()
    }
    results = _Results(seeds, {name: own for name, own in found.items() if len(own) == len(by_task[name])})
    if len(results.cells) == len(by_task):
        results.write(options.out, options.agent)
    scores = {name: Score.of(one) for name, one in performances(results.played).items()}
    print(aligned(*score_cells({one.name: scores[one.name] for one in wanted if one.name in scores})))
    if failed:
        print(f"failed, see {options.out}/failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else None
