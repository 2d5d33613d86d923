"""Data sets of episodes to learn in, in the form of Minari, for imitation and offline learning of other libraries."""

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
from numpy.typing import NDArray

from multispin_env.checks import check_integer, missing_package
from multispin_env.controllers.base import Controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.envs.observations import Observation
from multispin_env.evaluation.comparison import METRICS
from multispin_env.evaluation.contenders import Contender
from multispin_env.evaluation.episodes import BeginPart, no_progress, play_episodes
from multispin_env.evaluation.policy import Policy
from multispin_env.evaluation.public import as_contender, name_of
from multispin_env.evaluation.suite.frozen import VERSION
from multispin_env.evaluation.suite.tasks import RANDOM_ACTIONS, SuiteTask
from multispin_env.files import replace_file

_AVERAGED = 100
"""Episodes at most, the first of a data set, in which both ends of Minari's normalized score are played."""

_COMPARED = 8
"""Episodes of these in which a controller plays by itself and by actions: the same ones, so few are enough."""

_LOSS = 0.01
"""Part of the way from random actions to the reference that an encoding of decisions may cost."""

PARTS = 5
"""Plays of `record`, at most."""

_ARRAY_BYTES = 8192  # Bytes on the disk for each array of an episode beside twice its content; about 3200 are used


class _Recorder(VectorWrapper):  # type: ignore[type-arg]  # no generic class before Gymnasium 1.4
    """Keeps what copies see, do and gain, from `reset` on."""

    def reset(self, **options: Any) -> tuple[Observation, dict[str, Any]]:
        seen, info = self.env.reset(**options)
        self._seen: list[Observation] = [seen]
        self._steps: list[tuple[NDArray[Any], ...]] = []
        return seen, info

    def step(self, actions: NDArray[Any]) -> Any:
        played = np.array(actions, self.single_action_space.dtype)  # as they are stored
        seen, *gained, info = self.env.step(played)
        self._seen.append(seen)
        self._steps.append((played, *gained))
        return seen, *gained, info

    def episodes(self) -> Iterator[dict[str, Any]]:
        seen = {key: np.stack([one[key] for one in self._seen], 1) for key in self._seen[0]}
        actions, rewards, terminations, truncations = (np.stack(one, 1) for one in zip(*self._steps, strict=True))
        last = (terminations | truncations).argmax(1)
        for copy, steps in enumerate((last + 1).tolist()):
            yield {
                "observations": {key: values[copy, : steps + 1] for key, values in seen.items()},
                "actions": actions[copy, :steps],
                "rewards": rewards[copy, :steps],
                "terminations": terminations[copy, :steps],
                "truncations": truncations[copy, :steps],
            }


def record(
    task: SuiteTask, by: Any, episodes: int, seed: int = 0, out: str | None = None, begin: BeginPart = no_progress
) -> Any:
    """Write a Minari data set of episodes to learn in, with actions in the task's encoding, whole or not at all.

    Rewards are those of the stored actions. The metadata say who played which task, and have the value of its metric; a
    `minari.get_normalized_score` of 0 is that of uniformly random actions, 1 that of the task's reference.

    ``by`` is whoever plays, as `SuiteTask.score` takes it: a name, a model with ``predict``, a function, ... ``seed``
    is that of the first episode; all lie below those of the held-out episodes. ``out`` is the id of the data set;
    ``None`` for ``multispin/TASK/NAME-v0``. Minari keeps it in ``MINARI_DATASETS_PATH``, or else in
    ``~/.minari/datasets``. ``begin`` is called with the name of what plays next.

    Returns a ``minari.MinariDataset``. ``ValueError`` or ``TypeError`` for an id that is bad or taken, a bad seed, what
    can't decide there, or a controller whose decisions the actions of the task can't express; ``OSError`` for a data
    set that can't be written, as on a full disk; ``ImportError`` without the extra ``offline``.

    Examples
    --------
    >>> import multispin_env as ms
    >>> data = ms.suite.record(ms.suite.task("late"), "fixed", episodes=2)  # doctest: +SKIP
    >>> data.total_steps  # doctest: +SKIP
    128
    """
    minari = _minari()
    name, few = name_of(by), min(check_integer("episodes", episodes, 1), _AVERAGED)
    own_name = re.sub(r"[^-\w]+", "-", name)  # of letters that an id may have
    dataset_id = out or f"multispin/{task.name}/{own_name}-v0"
    path = _free_path(dataset_id)
    env = _Recorder(task.make_vec(episodes, seed))
    decides = _contender(task, by, env, seed)
    free = replace(task, config=task.config.for_any_decision)
    lowest = _mean_return(task, RANDOM_ACTIONS, few, seed, begin)
    highest = _mean_return(free, task.reference, few, seed, begin)
    if isinstance(decides, Controller | PlugIn):
        own, found = (_mean_return(one, by, min(few, _COMPARED), seed, begin) for one in (free, task))
        if abs(own - found) > _LOSS * abs(highest - lowest):
            raise ValueError(
                f"by: expected a controller whose decisions the actions of {task.name}, {task.config.action!r}, can "
                f"express, got {name!r}, which returns {own:.4g} by itself and {found:.4g} in such actions"
            )
    stats = play_episodes(env, decides, seed, begin(name))
    buffer = import_module("minari.data_collector").EpisodeBuffer
    about = {
        "dataset_id": dataset_id,
        "minari_version": minari.__version__,
        "algorithm_name": name,
        "description": f"{task.name} of the suite {VERSION} of multispin_env, {task.hard}; played by {name}",
        "ref_min_score": lowest,
        "ref_max_score": highest,
        "num_episodes_average_score": few,
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
        storage.update_episodes([buffer(seed=seed + copy, **one) for copy, one in enumerate(stored)])
    return minari.load_dataset(dataset_id)


def _minari() -> Any:
    try:
        for needed in ("h5py", "PIL"):  # Minari imports the last one, and does not ask for it
            import_module(needed)
        return import_module("minari")
    except ModuleNotFoundError as error:
        missing = missing_package(str(error.name), "offline")
        raise ImportError(str(missing)) from None  # of another extra than the command's


def _free_path(dataset_id: str) -> Path:
    try:
        import_module("minari.dataset.minari_dataset").parse_dataset_id(dataset_id)
    except (ValueError, TypeError):
        raise ValueError(f"out: expected an id as 'multispin/late/optimal-v0', got {dataset_id!r}") from None
    path: Path = import_module("minari.storage").get_dataset_path(dataset_id)
    if path.exists():
        raise ValueError(f"out: expected the id of no data set yet, got {dataset_id!r}, which is in {str(path)!r}")
    return path


def _check_room(folder: Path, episodes: Sequence[dict[str, Any]]) -> None:
    """Raise ``OSError`` where the disk is too full for these episodes: HDF5 would end the process."""
    arrays = [array for one in episodes for array in (*one["observations"].values(), *list(one.values())[1:])]
    if shutil.disk_usage(folder).free < sum(2 * array.nbytes + _ARRAY_BYTES for array in arrays):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _contender(task: SuiteTask, by: Any, env: VectorEnv[Any, Any, Any], seed: int) -> Contender:
    if by == RANDOM_ACTIONS:
        env.action_space.seed(seed)
        return lambda observation: env.action_space.sample()
    if isinstance(by, Policy):
        if by.config.action != task.config.action:
            raise ValueError(f"by: expected a policy with actions {task.config.action!r}, got {by.config.action!r}")
        return by.on(task.config.scenario)
    return as_contender(by, env)


def _mean_return(task: SuiteTask, by: Any, episodes: int, seed: int, begin: BeginPart) -> float:
    env = task.make_vec(episodes)
    return float(play_episodes(env, _contender(task, by, env, seed), seed, begin(name_of(by))).returns.mean())
