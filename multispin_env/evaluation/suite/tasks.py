"""Tasks of the suite: frozen environments, and the held-out cases that methods are measured on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer, check_label, check_name
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.observations import SHARED, Observation
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.comparison import METRICS
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.episodes import ReportProgress
from multispin_env.evaluation.policy import Policy
from multispin_env.evaluation.public import as_contender
from multispin_env.evaluation.suite.frozen import Frozen, frozen_of
from multispin_env.evaluation.suite.statistics import Performance, Score
from multispin_env.scenario import Scenario

RANDOM_ACTIONS = "random-actions"
"""Name of uniformly random actions, which are worth a score of 0."""


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
class SuiteTask:
    """One task: where methods learn, where they are measured, and what the best is that is known.

    Examples
    --------
    >>> import multispin_env as ms
    >>> task = ms.suite.task("late")
    >>> env = task.make_vec(4, seed=0)
    >>> env.num_envs, task.reference
    (4, 'optimal+quantile')
    """

    name: str
    hard: str  # what is hard, in a line
    config: EnvConfig  # environment to learn in
    rounds: int | None  # of an episode; None where the environment ends its episodes by itself
    metric: str  # one of `METRICS`
    budget: int  # environment steps of training, at most
    reference: str  # controller or plug-in whose value is a score of 1
    # what no policy exceeds on average: "reference", a controller that knows the truth, or "rate_bound"
    bound: str | None
    seed: int  # of the first held-out episode
    size: int  # held-out episodes of each part
    held_out: tuple[Mapping[str, Any], ...]  # arguments that differ from training, of each part

    def __post_init__(self) -> None:
        check_label("hard", self.hard)
        check_name("metric", self.metric, METRICS)
        check_integer("budget", self.budget, 1)
        check_integer("seed", self.seed, 0)
        check_integer("size", self.size, 2)
        for part in self.held_out:
            for name in part:
                check_name("held_out", name, (*self.config.arguments, *Scenario.field_names()))

    def make(self) -> gym.Env[Any, Any]:
        """Make the environment to learn in."""
        return self.config.make(**self._options)

    def make_vec(self, num_envs: int, seed: int | None = None) -> VectorEnv[Any, Any, Any]:
        """Make copies of the environment to learn in, the i-th of which is seeded with ``seed`` + i if there is one.

        ``ValueError`` for a seed that could be that of a held-out episode.
        """
        env = self.config.make_vec(num_envs, **self._options)
        if seed is not None:
            env.reset(seed=check_integer("seed", seed, 0, self.seed - num_envs))
        return env

    @cached_property
    def cases(self) -> tuple[Episodes, ...]:
        """Held-out episodes of each part."""
        parts = [self.config.replace(**changes) for changes in self.held_out]
        return tuple(Episodes(part, self.size, self.seed, self.rounds) for part in parts)

    @property
    def _options(self) -> dict[str, Any]:
        return {} if self.rounds is None else {"max_episode_steps": self.rounds}

    def values(self, contender: Any, progress: ReportProgress | None = None) -> FloatArray:
        """Play the held-out episodes; returns the metric (parts, n).

        ``contender`` is one of `multispin_env.compare`, or `RANDOM_ACTIONS`. Errors as there.
        """
        measure, parts = METRICS[self.metric].values, [_read_by(contender, part) for part in self.cases]
        return np.array([measure(part.play(self._playing(contender, part), progress)) for part in parts])

    def _playing(self, contender: Any, cases: Episodes) -> Any:
        if contender == RANDOM_ACTIONS:
            return RandomActions(native(cases.env(cases.config)).single_action_space.shape or ())
        if isinstance(contender, Policy):
            return contender.on(cases.config.scenario)
        return as_contender(contender, cases.env())

    def score(self, contender: Any) -> Score:
        """Play the held-out episodes of a contender, as of `values`, and compare with what was frozen.

        Errors are those of `multispin_env.compare`.

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
        return frozen_of(self.name)


POLICY_ARGUMENTS = ("reference", "timeout", "plan_quantile", "history")
"""Arguments that a policy brings itself: how its actions are read, and what it is shown of all that it has seen."""


def _read_by(contender: Any, part: Episodes) -> Episodes:
    if not isinstance(contender, Policy):
        return part
    own, part_arguments = contender.config.arguments, part.config.arguments
    chosen = {name: own[name] for name in POLICY_ARGUMENTS if name in own and name in part_arguments}
    return replace(part, config=part.config.replace(**chosen))
