"""Tasks of the suite: frozen environments and their held-out episodes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer, shown
from multispin_env.controllers.names import CLAIRVOYANT, ContenderName
from multispin_env.envs.actions import LIMIT
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.observations import SHARED, Observation
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.defaults import default_contenders
from multispin_env.evaluation.policy import Policy
from multispin_lab.suite.frozen import Frozen, attainable_content, frozen_of, own_content
from multispin_lab.suite.statistics import Performance, Score

PUBLIC = 0  # evaluation seed whose results are stored with the suite; all others are fresh

HELD_OUT_SEEDS = 50_000_000  # number of seeds, from that of a task on, from which an evaluation seed draws others

# names of contenders
RANDOM_ACTIONS = "random-actions"  # uniformly random; their score is 0
MIDDLE_ACTIONS = "middle-actions"  # 0, the middle of their range
UNTRAINED = "untrained"  # of networks before training
OWN = "own-"  # prefix of the last two with the action encodings and observations of this project's agents


def middle_actions(shape: tuple[int, ...]) -> Callable[[Observation], NDArray[np.float32]]:
    """Return a function from observations of n environments to zero actions (n, ...)."""
    return lambda observation: np.zeros((len(observation[SHARED]), *shape), np.float32)


@dataclass
class RandomActions:
    """Uniformly random actions (n, ...), the same after each `reset`, which comes first."""

    shape: tuple[int, ...]

    def reset(self) -> None:
        """Seed the generator again."""
        self._rng = np.random.default_rng(0)

    def __call__(self, observation: Observation) -> NDArray[np.float32]:
        """Draw actions for observations of n environments."""
        drawn = self._rng.uniform(-LIMIT, LIMIT, (len(observation[SHARED]), *self.shape))
        return drawn.astype(np.float32)


@dataclass
class UntrainedNetworks:
    """Actions (n, K, columns) of networks with random weights, another one in each of n environments.

    A network maps the entries of a device and the shared ones to the actions of the device. It has two layers of 64
    units, tanh also at the end, and weights drawn as by default in PyTorch.
    """

    shape: tuple[int, ...]

    def __call__(self, observation: Observation) -> NDArray[np.float32]:
        """Return actions for observations of n environments."""
        (users, columns), num_envs = self.shape, len(observation[SHARED])
        entries = {**observation, SHARED: np.repeat(observation[SHARED][:, None], users, 1)}
        values = np.concatenate([entry.reshape(num_envs, users, -1) for entry in entries.values()], -1)
        for weights in _random_weights(num_envs, values.shape[-1], 64, 64, columns):
            values = np.tanh(values @ weights / np.sqrt(weights.shape[1]))
        return (LIMIT * values).astype(np.float32)


@lru_cache(maxsize=1)  # the same in all steps of an episode
def _random_weights(num_envs: int, *sizes: int) -> list[FloatArray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-1.0, 1.0, (num_envs, inputs, outputs)) for inputs, outputs in pairwise(sizes)]


BLIND: Mapping[str, Callable[[tuple[int, ...]], Callable[[Observation], NDArray[np.float32]]]] = {
    RANDOM_ACTIONS: RandomActions,
    **{prefix + MIDDLE_ACTIONS: middle_actions for prefix in ("", OWN)},
    **{prefix + UNTRAINED: UntrainedNetworks for prefix in ("", OWN)},
}
"""Contenders that know nothing of the task, by name."""


class _TrainingSeeds:
    def __init__(self, env: Any, held_out: int) -> None:
        super().__init__(env)  # type: ignore[call-arg]
        self.held_out = held_out

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        following = getattr(self, "num_envs", 1) - 1 if np.ndim(seed) == 0 else 0  # seeds that an integer stands for
        numbers = [number for number in np.ravel(np.array(seed, object)) if isinstance(number, int | np.integer)]
        if any(number + following >= self.held_out for number in numbers):
            raise ValueError(
                f"seed: expected seeds below those of held-out episodes, {self.held_out}, got {shown(seed)}"
            )
        return super().reset(seed=seed, options=options)  # type: ignore[misc]


class TrainingEnv(_TrainingSeeds, gym.Wrapper, RecordConstructorArgs):  # type: ignore[type-arg, misc]
    """Environment that refuses the seeds of held-out episodes, from ``held_out`` on."""

    def __init__(self, env: gym.Env[Any, Any], held_out: int) -> None:
        RecordConstructorArgs.__init__(self, held_out=held_out)
        super().__init__(env, held_out)


class TrainingVectorEnv(_TrainingSeeds, VectorWrapper):  # type: ignore[type-arg, misc]  # as in `recording`
    """Vector environment that refuses the seeds of held-out episodes, from ``held_out`` on."""


@dataclass(frozen=True, eq=False)
class SuiteTask:
    """Task of the suite: a training environment, held-out episodes and a reference.

    Parameters
    ----------
    name
        Name of the task.
    hard
        Description of the difficulty.
    config
        Training environment.
    metric
        One of the metrics of ``multispin compare``.
    budget
        Maximum number of environment steps for training.
    reference
        Controller or plug-in whose score is 1.
    bound
        Upper bound on the mean of any policy: ``"reference"``, a controller that sees the true state, or a function of
        `multispin_env.bounds`; ``None`` if unknown.
    seed
        Smallest seed of the held-out episodes.
    size
        Number of held-out episodes of each part.
    held_out
        Arguments of each part that differ from training.

    Examples
    --------
    >>> import multispin_lab
    >>> task = multispin_lab.suite.task("late")
    >>> env = task.make_vec(4, seed=0)
    >>> env.num_envs, task.reference
    (4, 'optimal+quantile')
    """

    name: str
    hard: str
    config: EnvConfig
    metric: str
    budget: int
    reference: str
    bound: str | None
    seed: int
    size: int
    held_out: tuple[Mapping[str, Any], ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of parts and of held-out episodes of each."""
        return len(self.held_out), self.size

    def make(self) -> gym.Env[Any, Any]:
        """Make the training environment, whose ``reset`` refuses the seeds of held-out episodes."""
        return TrainingEnv(self.config.make(), self.seed)

    def make_vec(self, num_envs: int, seed: int | None = None) -> VectorEnv[Any, Any, Any]:
        """Make a vector of training environments; with a ``seed``, environment i is reset with ``seed`` + i.

        ``ValueError`` here and in ``reset`` if seeds overlap those of held-out episodes.
        """
        env = TrainingVectorEnv(self.config.make_vec(num_envs), self.seed)
        if seed is not None:
            env.reset(seed=check_integer("seed", seed, 0))
        return env

    def cases(self, eval_seed: int = PUBLIC) -> tuple[Episodes, ...]:
        """Return the held-out episodes of each part; the evaluation seed draws their seeds."""
        rng = np.random.default_rng([check_integer("seed", eval_seed, 0), *self.name.encode()])
        seeds = tuple((self.seed + rng.choice(HELD_OUT_SEEDS, self.size, replace=False)).tolist())
        return tuple(Episodes(self.config.replace(**changes), self.size, seeds) for changes in self.held_out)

    def values(self, contender: Any, eval_seed: int = PUBLIC) -> FloatArray:
        """Play the held-out episodes of an evaluation seed and return the metric (parts, n).

        ``contender`` is as in `multispin_env.compare`, or one of `BLIND`. Errors are those of `compare`.
        """
        parts = [_read_by(contender, part, self.name) for part in self.cases(eval_seed)]
        return np.array([part.values(_playing(contender, part), metric=self.metric) for part in parts])

    def score(self, contender: Any, eval_seed: int = PUBLIC) -> Score:
        """Play the held-out episodes and return the score; contenders and errors are as for `values`.

        Examples
        --------
        >>> import multispin_lab
        >>> round(multispin_lab.suite.task("round-8").score("optimal").score.mean, 6)
        1.0
        """
        return Score.of(self.performance(self.values(contender, eval_seed)[None], eval_seed))

    def performance(self, values: FloatArray, eval_seed: int = PUBLIC) -> Performance:
        """Return the performance for values (seeds, parts, n) with an evaluation seed."""
        return Performance(values, *self.ends(eval_seed))

    def ends(self, eval_seed: int = PUBLIC) -> tuple[FloatArray, FloatArray]:
        """Return the values (parts, n) of random actions and of the reference for an evaluation seed."""
        if eval_seed == PUBLIC:
            return self.frozen.floor, self.frozen.reference
        if eval_seed not in self.fresh_ends:
            self.fresh_ends[eval_seed] = self.values(RANDOM_ACTIONS, eval_seed), self.values(self.reference, eval_seed)
        return self.fresh_ends[eval_seed]

    @cached_property
    def fresh_ends(self) -> dict[int, tuple[FloatArray, FloatArray]]:
        """Values of `ends` for the fresh evaluation seeds that were played, by seed."""
        return {}

    @cached_property
    def limit(self) -> float:
        """Upper limit of mean scores for the public seed; infinite if no bound is proven, as for replayed records."""
        bound = self.frozen.bound
        if bound is None or "records" in self.config.arguments:
            return float("inf")
        slack = _CERTIFIED if self.bound == "reference" else _LONG_RUN
        return float(self.performance(bound[None]).mean_scores[0]) + slack

    @property
    def attainable(self) -> tuple[float, float] | None:
        """Scores that the best policy attains at least and at most; 1 if the reference is optimal, ``None`` if open."""
        if self.bound == "reference":
            return 1.0, 1.0
        if self.name not in attainable_content():
            return None
        bracket, unit = attainable_content()[self.name], self.frozen.reference.mean() - self.frozen.floor.mean()
        return float(1.0 + bracket["attained"] / unit), float(1.0 + bracket["upper"] / unit)

    @property
    def attainable_text(self) -> str:
        """Bracket of the attainable score as text, or "open"."""
        return "open" if self.attainable is None else "–".join(dict.fromkeys(f"{x:.3f}" for x in self.attainable))

    def action_0(self, action: str, arguments: Mapping[str, Any]) -> float | None:
        """Return the score of action 0 in an encoding of actions, with the ``arguments`` of its environment.

        ``None`` for another encoding than that of the task and that of this project's agents.
        """

        def meaning(action: str, arguments: Mapping[str, Any]) -> tuple[Any, ...]:
            return action, *(arguments.get(name) for name in _MEANING)

        own, wanted = own_content()[self.name], meaning(action, arguments)
        if wanted == meaning(self.config.action, self.config.arguments):
            return self.frozen.middle
        return float(own["middle"]) if wanted == meaning(own["action"], own["arguments"]) else None

    def hides_from(self, rule: str) -> bool:
        """Whether a rule would see parts of the state that the task hides."""
        rules = default_contenders(self.config)
        if rule in BLIND or not any(name.endswith(CLAIRVOYANT) for name in rules):
            return False
        return ContenderName.parse(rule).is_clairvoyant and (rule not in rules or rule.endswith(CLAIRVOYANT))

    @cached_property
    def frozen(self) -> Frozen:
        """Recorded results; ``KeyError`` for a task that has not been frozen yet."""
        return frozen_of(self.name)


_CERTIFIED, _LONG_RUN = 1e-5, 0.1
"""Scores by which a mean may exceed a certified optimum, and a bound of the long run or on expected tokens: five
standard errors of public episodes are at most 0.05, and batteries that are half full at the start add at most 0.06."""

POLICY_ARGUMENTS = ("reference", "timeout", "plan_quantile", "history")
"""Arguments that define a policy's actions and observations; they replace those of the held-out episodes."""

_MEANING = POLICY_ARGUMENTS[:3]  # of actions


def _playing(contender: Any, part: Episodes) -> Any:
    is_blind = isinstance(contender, str) and contender in BLIND
    return BLIND[contender](part.config.actions.space.shape) if is_blind else contender


def _read_by(contender: Any, part: Episodes, name: str) -> Episodes:
    if isinstance(contender, str) and contender in BLIND and contender.startswith(OWN):
        own = own_content()[name]
        return replace(part, config=part.config.replace(action=own["action"], **own["arguments"]))
    if not isinstance(contender, Policy):
        return part
    arguments = contender.config.arguments
    names = [name for name in POLICY_ARGUMENTS if name in arguments and name in part.config.arguments]
    return replace(part, config=part.config.replace(**{name: arguments[name] for name in names}))
