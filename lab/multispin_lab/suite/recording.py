"""Minari data sets of training episodes, for imitation and offline learning with other libraries."""

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper

from multispin_env.arrays import Array
from multispin_env.checks import check_integer, missing_package
from multispin_env.controllers.base import Controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.envs.observations import Observation
from multispin_env.evaluation.comparison import METRICS
from multispin_env.evaluation.contenders import Contender, as_contender
from multispin_env.evaluation.episodes import BeginPart, no_progress, play_episodes
from multispin_env.evaluation.policy import Policy
from multispin_env.evaluation.public import name_of
from multispin_env.files import replace_file
from multispin_lab.suite.frozen import VERSION
from multispin_lab.suite.tasks import RANDOM_ACTIONS, SuiteTask

_AVERAGED = 100  # maximum number of episodes for the scores 0 and 1 of Minari's normalized score
_COMPARED = 8  # number of paired episodes in which a controller plays directly and through actions
_LOSS = 0.01  # largest loss by the encoding of decisions, as a fraction of reference minus random actions
PARTS = 5  # maximum number of runs in `record`
_ARRAY_BYTES = 8192  # reserved on disk for each array of an episode, plus twice its size; about 3200 are used


class _Recorder(VectorWrapper):  # type: ignore[type-arg]  # no generic class before Gymnasium 1.4
    """Vector environment that stores observations, actions and rewards since `reset`."""

    def reset(self, **options: Any) -> tuple[Observation, dict[str, Any]]:
        observation, info = self.env.reset(**options)
        self._observations: list[Observation] = [observation]
        self._steps: list[tuple[Array, ...]] = []
        return observation, info

    def step(self, actions: Array) -> Any:
        actions = np.array(actions, self.single_action_space.dtype)  # the stored type
        observation, *outcome, info = self.env.step(actions)
        self._observations.append(observation)
        self._steps.append((actions, *outcome))
        return observation, *outcome, info

    def episodes(self) -> Iterator[dict[str, Any]]:
        observations = {key: np.stack([seen[key] for seen in self._observations], 1) for key in self._observations[0]}
        names = ("actions", "rewards", "terminations", "truncations")
        arrays = {name: np.stack(steps, 1) for name, steps in zip(names, zip(*self._steps, strict=True), strict=True)}
        last = (arrays["terminations"] | arrays["truncations"]).argmax(1)
        for env, steps in enumerate((last + 1).tolist()):
            yield {
                "observations": {key: values[env, : steps + 1] for key, values in observations.items()},
                **{name: array[env, :steps] for name, array in arrays.items()},
            }


def record(
    task: SuiteTask, by: Any, episodes: int, seed: int = 0, out: str | None = None, begin: BeginPart = no_progress
) -> Any:
    """Write a Minari data set of training episodes with actions in the task's encoding.

    Rewards are those of the stored actions. The metadata contain the contender, the task and the value of its metric.
    `minari.get_normalized_score` is 0 for uniformly random actions and 1 for the task's reference. The data set is
    written completely or not at all.

    ``by`` is a contender as in `SuiteTask.score`: a name, a model with ``predict``, a function, ... ``seed`` is the
    seed of the first episode; all seeds are below those of held-out episodes. ``out`` is the id of the data set;
    ``None`` means ``multispin/TASK/NAME-v0``. Minari stores it in ``MINARI_DATASETS_PATH`` or ``~/.minari/datasets``.
    ``begin`` is called with the name of the next contender.

    Returns a ``minari.MinariDataset``. ``ValueError`` or ``TypeError`` for an id that is invalid or exists, an invalid
    seed or contender, or a controller whose decisions the actions of the task cannot express; ``OSError`` if the data
    set cannot be written, for example on a full disk; ``ImportError`` without the extra ``offline``.

    Examples
    --------
    >>> import multispin_lab
    >>> data = multispin_lab.suite.record(multispin_lab.suite.task("late"), "fixed", episodes=2)  # doctest: +SKIP
    >>> data.total_steps  # doctest: +SKIP
    128
    """
    minari = _minari()
    name, averaged = name_of(by), min(check_integer("episodes", episodes, 1), _AVERAGED)
    valid_name = re.sub(r"[^-\w]+", "-", name)  # characters of an id
    dataset_id = out or f"multispin/{task.name}/{valid_name}-v0"
    path = _free_path(dataset_id)
    env = _Recorder(task.make_vec(episodes, seed))
    contender = _contender(task, by, env, seed)
    free = replace(task, config=task.config.for_any_decision)
    lowest = _mean_return(task, RANDOM_ACTIONS, averaged, seed, begin)
    highest = _mean_return(free, task.reference, averaged, seed, begin)
    if isinstance(contender, Controller | PlugIn):
        direct, encoded = (_mean_return(x, by, min(averaged, _COMPARED), seed, begin) for x in (free, task))
        if abs(direct - encoded) > _LOSS * abs(highest - lowest):
            raise ValueError(
                f"by: expected a controller whose decisions the actions of {task.name}, {task.config.action!r}, can "
                f"express, got {name!r}, which returns {direct:.4g} directly and {encoded:.4g} through actions"
            )
    stats = play_episodes(env, contender, seed, begin(name))
    buffer = import_module("minari.data_collector").EpisodeBuffer
    about = {
        "dataset_id": dataset_id,
        "minari_version": minari.__version__,
        "algorithm_name": name,
        "description": f"{task.name} of the suite {VERSION} of multispin_env, {task.hard}; played by {name}",
        "ref_min_score": lowest,
        "ref_max_score": highest,
        "num_episodes_average_score": averaged,
        "requirements": [f"multispin_env=={version('multispin_env')}"],
        "task": task.name,
        "suite": VERSION,
        "seed": seed,
        "metric": task.metric,
        "value": float(METRICS[task.metric].values(stats).mean()),
        "mean_return": float(stats.returns.mean()),
    }
    stored = list(env.episodes())
    namespaces, namespace = import_module("minari.namespace"), dataset_id.rpartition("/")[0]
    if namespace and namespace not in namespaces.list_local_namespaces():
        namespaces.create_namespace(namespace)
    with replace_file(path) as draft:  # Minari itself would leave an empty data set when it is interrupted
        draft.mkdir()
        _check_room(draft, stored)
        storage = import_module("minari.dataset.minari_storage").MinariStorage.new(
            draft / "data", env_spec=task.make().spec
        )
        storage.update_metadata(about)
        storage.update_episodes([buffer(seed=seed + index, **episode) for index, episode in enumerate(stored)])
    return minari.load_dataset(dataset_id)


def _minari() -> Any:
    try:
        for package in ("h5py", "PIL"):  # Minari imports PIL without requiring it
            import_module(package)
        return import_module("minari")
    except ModuleNotFoundError as error:
        # not ModuleNotFoundError, which commands take for a missing package of their own extra
        raise ImportError(str(missing_package(str(error.name), "offline"))) from None


def _free_path(dataset_id: str) -> Path:
    try:
        import_module("minari.dataset.minari_dataset").parse_dataset_id(dataset_id)
    except (ValueError, TypeError):
        raise ValueError(f"out: expected an id like 'multispin/late/optimal-v0', got {dataset_id!r}") from None
    path: Path = import_module("minari.storage").get_dataset_path(dataset_id)
    if path.exists():
        raise ValueError(f"out: expected a new id, got {dataset_id!r}, which exists in {str(path)!r}")
    return path


def _check_room(folder: Path, episodes: Sequence[dict[str, Any]]) -> None:
    # HDF5 would end the process on a full disk
    arrays = [array for data in episodes for array in (*data["observations"].values(), *list(data.values())[1:])]
    if shutil.disk_usage(folder).free < sum(2 * array.nbytes + _ARRAY_BYTES for array in arrays):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _contender(task: SuiteTask, by: Any, env: VectorEnv[Any, Any, Any], seed: int) -> Contender:
    if by == RANDOM_ACTIONS:
        env.action_space.seed(seed)
        return lambda observation: env.action_space.sample()
    if isinstance(by, Policy) and by.config.action != task.config.action:
        raise ValueError(f"by: expected a policy with actions {task.config.action!r}, got {by.config.action!r}")
    return as_contender(by, task.config)


def _mean_return(task: SuiteTask, by: Any, episodes: int, seed: int, begin: BeginPart) -> float:
    env = task.make_vec(episodes)
    return float(play_episodes(env, _contender(task, by, env, seed), seed, begin(name_of(by))).returns.mean())
