"""Tasks of the suite: frozen environments and their held-out episodes."""

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
from multispin_env.envs.engine import LIMIT
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
"""Name of the contender with uniformly random actions, whose score is 0."""


@dataclass
class RandomActions:
    """Uniformly random actions (n, ...), repeated after each `reset`."""

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Seed the generator again."""
        self._rng = np.random.default_rng(0)

    def __call__(self, observation: Observation) -> NDArray[np.float32]:
        """Draw actions for observations of n environments."""
        drawn = self._rng.uniform(-LIMIT, LIMIT, (len(observation[SHARED]), *self.shape))
        return drawn.astype(np.float32)


@dataclass(frozen=True, eq=False)
class SuiteTask:
    """Task of the suite: a training environment, held-out episodes and a reference.

    Examples
    --------
    >>> import multispin_env as ms
    >>> task = ms.suite.task("late")
    >>> env = task.make_vec(4, seed=0)
    >>> env.num_envs, task.reference
    (4, 'optimal+quantile')
    """

    name: str
    hard: str  # description of the difficulty
    config: EnvConfig  # training environment
    metric: str  # one of `METRICS`
    budget: int  # maximum number of environment steps for training
    reference: str  # controller or plug-in whose score is 1
    # upper bound on the mean of any policy: "reference", a controller that sees the true state, or "rate_bound"
    bound: str | None
    seed: int  # of the first held-out episode
    size: int  # number of held-out episodes of each part
    held_out: tuple[Mapping[str, Any], ...]  # for each part, the arguments that differ from training

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
        """Make the training environment."""
        return self.config.make()

    def make_vec(self, num_envs: int, seed: int | None = None) -> VectorEnv[Any, Any, Any]:
        """Make a vector of training environments; with a ``seed``, environment i is reset with ``seed`` + i.

        ``ValueError`` if seeds overlap those of held-out episodes.
        """
        env = self.config.make_vec(num_envs)
        if seed is not None:
            env.reset(seed=check_integer("seed", seed, 0, self.seed - num_envs))
        return env

    @cached_property
    def cases(self) -> tuple[Episodes, ...]:
        """Held-out episodes of each part."""
        parts = [self.config.replace(**changes) for changes in self.held_out]
        return tuple(Episodes(part, self.size, self.seed) for part in parts)

    def values(self, contender: Any, progress: ReportProgress | None = None) -> FloatArray:
        """Play the held-out episodes and return the metric (parts, n).

        ``contender`` is as in `multispin_env.compare`, or `RANDOM_ACTIONS`. Errors are those of `compare`.
        """
        measure, parts = METRICS[self.metric].values, [_read_by(contender, part) for part in self.cases]
        return np.array([measure(part.play(self._playing(contender, part), progress)) for part in parts])

    def _playing(self, contender: Any, cases: Episodes) -> Any:
        if contender == RANDOM_ACTIONS:
            return RandomActions(native(cases.env(cases.config)).single_action_space.shape or ())
        if isinstance(contender, Policy):
            return contender.on(cases.config.scenario)
        return as_contender(contender, cases.config)

    def score(self, contender: Any) -> Score:
        """Play the held-out episodes and return the score; contenders and errors are as for `values`.

        Examples
        --------
        >>> import multispin_env as ms
        >>> round(ms.suite.task("round-8").score("optimal").score.mean, 6)
        1.0
        """
        return Score.of(self.performance(self.values(contender)[None]))

    def performance(self, values: FloatArray) -> Performance:
        """Return the performance for values (seeds, parts, n)."""
        return Performance(values, self.frozen.floor, self.frozen.reference)

    @cached_property
    def frozen(self) -> Frozen:
        """Recorded results; ``ValueError`` for a task that has not been frozen yet."""
        return frozen_of(self.name)


POLICY_ARGUMENTS = ("reference", "timeout", "plan_quantile", "history")
"""Arguments that define a policy's actions and observations; they replace those of the held-out episodes."""


def _read_by(contender: Any, part: Episodes) -> Episodes:
    if not isinstance(contender, Policy):
        return part
    arguments = contender.config.arguments
    names = [name for name in POLICY_ARGUMENTS if name in arguments and name in part.config.arguments]
    return replace(part, config=part.config.replace(**{name: arguments[name] for name in names}))
