"""Tasks of the suite: frozen environments, and the held-out cases that methods are measured on."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer, check_label, check_name, shown, suggestion
from multispin_env.envs.observations import SHARED, Observation
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.comparison import METRICS
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.episodes import ReportProgress
from multispin_env.evaluation.public import as_contender
from multispin_env.evaluation.suite.statistics import Performance, Score
from multispin_env.files import parse_toml, read_json
from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario

VERSION = "v1"
"""Of the suite: tasks and what was frozen with them never change, a new version stands beside the old one."""

DATA = Path(__file__).parents[2] / "data" / "suite"

RANDOM_ACTIONS = "random-actions"
"""Name of uniformly random actions, which are worth a score of 0."""

STEPS = 64
"""Of `steps_hash`."""

NONE = "none"
"""Stands for ``None`` in TOML."""


@dataclass
class RandomActions:
    """Uniformly random actions (n, ...) of a shape, always the same ones from `reset` on."""

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin new episodes."""
        self._rng = np.random.default_rng(0)

    def __call__(self, observation: Observation) -> NDArray[np.float32]:
        """Draw actions for observations of n copies."""
        drawn = self._rng.uniform(-1.0, 1.0, (len(observation[SHARED]), *self.shape))
        return drawn.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Frozen:
    """What was played once, when the version was frozen: values (parts, n) of the metric, and a hash of steps."""

    floor: FloatArray
    reference: FloatArray
    bound: FloatArray | None
    steps: str


@dataclass(frozen=True, eq=False)
class SuiteTask:
    """One task: where methods learn, where they are measured, and what the best is that is known.

    Parameters
    ----------
    name
        As ``"late"``.
    hard
        What is hard, in a line.
    env
        Id of the environment.
    action, reward
        Action encoding and reward.
    rounds
        Of an episode; ``None`` where the environment ends its episodes by itself.
    metric
        What is measured, one of `METRICS`.
    budget
        Environment steps of training, at most.
    reference
        Controller or plug-in whose value is a score of 1.
    bound
        What no policy exceeds on average: ``"reference"``, a controller that knows the truth, or ``"rate_bound"``;
        ``None`` where nothing is known.
    seed, size
        Seed of the first held-out episode, and how many there are in each part.
    held_out
        Arguments that differ there from training, one table for each part.
    arguments
        All arguments of the environment that are its own.
    scenario
        The system.

    Examples
    --------
    >>> import multispin_env as ms
    >>> task = ms.suite.task("late")
    >>> env = task.make_vec(4, seed=0)
    >>> env.num_envs, task.reference
    (4, 'optimal+quantile')
    """

    name: str
    hard: str
    env: str
    action: str
    reward: str
    rounds: int | None
    metric: str
    budget: int
    reference: str
    bound: str | None
    seed: int
    size: int
    held_out: tuple[Mapping[str, Any], ...]
    arguments: Mapping[str, Any]
    scenario: Scenario

    def __post_init__(self) -> None:
        check_label("hard", self.hard)
        check_name("env", self.env, ENVIRONMENTS.names())
        check_name("metric", self.metric, METRICS)
        check_integer("budget", self.budget, 1)
        check_integer("seed", self.seed, 0)
        check_integer("size", self.size, 2)
        own = [entry.name for entry in fields(ENVIRONMENTS.load(self.env))]
        check_complete("arguments", self.arguments, own)
        for part in self.held_out:
            for name in part:
                check_name("held_out", name, (*own, *Scenario.field_names()))

    def make(self) -> gym.Env[Any, Any]:
        """Make the environment to learn in."""
        return gym.make(self.env, scenario=self.scenario, action=self.action, **self._given(self.arguments))

    def make_vec(self, num_envs: int, seed: int | None = None) -> VectorEnv[Any, Any, Any]:
        """Make copies of the environment to learn in, the i-th of which is seeded with ``seed`` + i if there is one.

        Parameters
        ----------
        num_envs
            How many.
        seed
            Of the first one, below that of the held-out episodes.

        Raises
        ------
        ValueError
            For a seed that could be that of a held-out episode.
        """
        env = gym.make_vec(
            self.env,
            num_envs=num_envs,
            vectorization_mode="vector_entry_point",
            scenario=self.scenario,
            action=self.action,
            **self._given(self.arguments),
        )
        if seed is not None:
            env.reset(seed=check_integer("seed", seed, 0, self.seed - num_envs))
        return env

    @cached_property
    def cases(self) -> tuple[Episodes, ...]:
        """Held-out episodes of each part."""
        return tuple(self._part(differing) for differing in self.held_out)

    def _part(self, differing: Mapping[str, Any]) -> Episodes:
        system = {name: value for name, value in differing.items() if name in Scenario.field_names()}
        others = {name: value for name, value in differing.items() if name not in system}
        arguments = self._given({**self.arguments, **others})
        return Episodes(self.env, self.size, self.scenario.replace(**system), arguments, self.seed, self.action)

    def _given(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        steps = {} if self.rounds is None else {"max_episode_steps": self.rounds}
        return {"reward": self.reward, "optimum": False, **steps, **arguments}

    def values(self, contender: Any, progress: ReportProgress | None = None) -> FloatArray:
        """Play the held-out episodes; returns the metric (parts, n).

        ``contender`` is one of `multispin_env.compare`, or `RANDOM_ACTIONS`. Errors as there.
        """
        measure = METRICS[self.metric].values
        return np.array([measure(cases.play(self._playing(contender, cases), progress)) for cases in self.cases])

    def _playing(self, contender: Any, cases: Episodes) -> Any:
        if contender == RANDOM_ACTIONS:
            return RandomActions(native(cases.env(self.action)).single_action_space.shape or ())
        return as_contender(contender, cases.env())

    def score(self, contender: Any) -> Score:
        """Play the held-out episodes and compare with what was frozen.

        Parameters
        ----------
        contender
            What `multispin_env.compare` takes: a name, a controller, a model with ``predict``, a policy, or a function
            from the observations of n copies to actions (n, K, columns); or ``"random-actions"``.

        Returns
        -------
        Score
            ``value``, the mean of the metric, and ``score``, 0 for random actions and 1 for the reference, each with
            its 95 % interval.

        Raises
        ------
        ValueError, TypeError
            For what can't decide there.

        Examples
        --------
        >>> import multispin_env as ms
        >>> round(ms.suite.task("round-8").score("optimal").score.mean, 6)
        1.0
        """
        return Score.of(self.performance(self.values(contender)[None]))

    def performance(self, values: FloatArray) -> Performance:
        """Values (seeds, parts, n) beside what was frozen."""
        return Performance(values, self.frozen.floor, self.frozen.reference)

    @cached_property
    def frozen(self) -> Frozen:
        """What was played when the version was frozen; ``ValueError`` for a task that has not been frozen yet."""
        known = frozen_content()
        if self.name not in known:
            raise ValueError(f"task: expected one that is frozen, of {list(known)}, got {self.name!r}")
        content = dict(known[self.name])
        arrays = {name: None if content[name] is None else np.array(content[name]) for name in PLAYED}
        return Frozen(**arrays, steps=content["steps"])  # type: ignore[arg-type]  # floor and reference are there


PLAYED = ("floor", "reference", "bound")
"""What is frozen of a task, as lists of the values of each part."""


def check_complete(what: str, given: Iterable[str], expected: Iterable[str]) -> None:
    """``ValueError`` for a name that is not expected (the nearest is suggested), or for one that is missing."""
    names, found = tuple(expected), tuple(given)
    for name in found:
        if name not in names:
            raise ValueError(f"{what}: expected fields of {list(names)}, got {shown(name)}{suggestion(name, names)}")
    for name in names:
        if name not in found:
            raise ValueError(f"{what}: expected the field {name!r}, got none of that name")


def read_tasks(text: str) -> dict[str, SuiteTask]:
    """Read tasks from TOML, with every field of each spelled out.

    ``ValueError`` names the task, and the field that is unknown, missing or bad.
    """
    return {name: _task(name, table) for name, table in parse_toml(text).items()}


def _task(name: str, table: Any) -> SuiteTask:
    try:
        if not isinstance(table, dict):
            raise ValueError(f"expected a table of fields, got {shown(table)}")
        given = _with_none(table)
        check_complete("task", given, [entry.name for entry in fields(SuiteTask) if entry.name != "name"])
        for field in ("arguments", "scenario"):
            if not isinstance(given[field], dict):
                raise ValueError(f"{field}: expected a table of fields, got {shown(given[field])}")
        check_complete("scenario", given["scenario"], Scenario.field_names())
        parts = given["held_out"]
        if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
            raise ValueError(f"held_out: expected a list of at least one table, got {shown(parts)}")
        return SuiteTask(name, **{**given, "scenario": Scenario.from_dict(given["scenario"]), "held_out": tuple(parts)})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"task {shown(name)}: {error}") from None


def _with_none(table: Mapping[str, Any]) -> dict[str, Any]:
    """The same with ``None`` for `NONE`, in tables of the table too."""
    return {
        name: _with_none(value) if isinstance(value, dict) else None if value == NONE else value
        for name, value in table.items()
    }


@cache
def _tasks() -> dict[str, SuiteTask]:
    return read_tasks((DATA / f"{VERSION}.toml").read_text(encoding="utf-8"))


@cache
def frozen_content() -> dict[str, Any]:
    """Content of the file of what was frozen, by the names of tasks; none if there is no file yet."""
    path = DATA / f"{VERSION}.json"
    content: dict[str, Any] = read_json(path) if path.is_file() else {}
    return content


def steps_hash(task: SuiteTask) -> str:
    """SHA-256 of what random actions see, gain and are told in 64 steps of two copies to learn in.

    Numbers count to six digits: processors differ in the last bits of exponentials and logarithms.
    """
    sha256 = hashlib.sha256()

    def add(*told: Mapping[str, NDArray[Any]]) -> None:
        for table in told:
            for name in sorted(table):
                numbers = np.ravel(table[name]).astype(np.float64) + 0.0  # which makes -0 to 0
                sha256.update(f"{name} {np.shape(table[name])} ".encode())
                sha256.update(" ".join(f"{number:.5e}" for number in numbers.tolist()).encode())

    env = task.make_vec(2)
    play = RandomActions(native(env).single_action_space.shape or ())
    observation, info = env.reset(seed=task.seed)
    add(observation, info)
    for _ in range(STEPS):
        observation, reward, terminated, truncated, info = env.step(play(observation))
        add(observation, {"reward": reward, "terminated": terminated, "truncated": truncated}, info)
    return sha256.hexdigest()


def tasks() -> tuple[SuiteTask, ...]:
    """Return all tasks of the suite.

    Examples
    --------
    >>> import multispin_env as ms
    >>> [task.name for task in ms.suite.tasks()][:3]
    ['round-8', 'round-50', 'resize']
    """
    return tuple(_tasks().values())


def task(name: str) -> SuiteTask:
    """Return a task of the suite; ``ValueError`` for an unknown name suggests the nearest.

    Parameters
    ----------
    name
        As ``"late"``.

    Raises
    ------
    ValueError
        For an unknown name.

    Examples
    --------
    >>> import multispin_env as ms
    >>> ms.suite.task("resize").hard
    'learnt with 8 devices, played with 2 to 200'
    """
    check_name("task", name, _tasks())
    return _tasks()[name]
