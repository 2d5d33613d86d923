"""Vector wrappers with one-dimensional observations and actions, for each environment or for each device.

Gymnasium's ``FlattenObservation`` for vectors loops over environments, and its ``TransformObservation`` does not
support ``autoreset_mode="SameStep"``. For single environments, use the wrappers in
``gymnasium.wrappers``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import Array
from multispin_env.checks import check_integer
from multispin_env.envs.actions import LIMIT
from multispin_env.envs.observations import SHARED
from multispin_env.evaluation.cases import held_out
from multispin_env.evaluation.comparison import METRICS
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.policy import Policy

__all__ = ["by_device", "flat_vector"]

ArraysByEntry = Mapping[str, Array]

Act = Callable[[NDArray[np.float32]], Array]
"""Function from observations (m, numbers) of a wrapper to its actions (m, columns)."""


class UserRows:
    """Concatenation of the entries of an observation: one row, or one for each user with all shared numbers."""

    def __init__(self, space: spaces.Space[Any], rows: int) -> None:
        assert isinstance(space, spaces.Dict)  # true for all environments of this package
        self._rows = rows
        sizes = {key: box.shape[0] // (1 if key == SHARED else rows) for key, box in space.items()}  # type: ignore[index]
        ends = np.cumsum(list(sizes.values())).tolist()
        self.positions = {key: slice(end - size, end) for (key, size), end in zip(sizes.items(), ends, strict=True)}
        """Slice of each entry in a row."""
        self._numbers = ends[-1]
        low, high = (self({key: getattr(box, end) for key, box in space.items()})[0] for end in ("low", "high"))
        self.space = spaces.Box(low, high, dtype=np.float32)

    def __call__(self, observation: ArraysByEntry) -> NDArray[np.float32]:
        """Return rows (..., rows, numbers) of entries (..., size)."""
        if self._rows == 1:  # faster
            return np.concatenate([observation[key] for key in self.positions], -1)[..., None, :]
        batch = observation[SHARED].shape[:-1]
        rows = np.empty((*batch, self._rows, self._numbers), np.float32)
        for key, position in self.positions.items():
            entry = observation[key]
            rows[..., position] = entry[..., None, :] if key == SHARED else entry.reshape(*batch, self._rows, -1)
        return rows


@dataclass(frozen=True, eq=False)
class ArrayNetwork:
    """Network of a `Policy` that calls a function of a wrapper's rows."""

    encode: UserRows
    act: Act

    def __call__(self, entries: ArraysByEntry) -> NDArray[np.float32]:
        """Return actions (n, K · columns), clipped to their bounds, for entries (n, size)."""
        rows = self.encode(entries)
        actions = np.asarray(self.act(rows.reshape(-1, rows.shape[-1])), np.float32)
        return actions.clip(-LIMIT, LIMIT).reshape(len(rows), -1)


class Measurable:
    """Base of wrappers that can evaluate a function of their observations."""

    _base: Any

    def _read_by(self, space: spaces.Space[Any], rows: int) -> None:
        """Set the functions of observations from their space, and the number of rows."""
        self._encode, self._join = (UserRows(space, count) for count in (rows, 1))
        self.state_space = self._join.space
        self.positions = self._encode.positions
        """Slice of each entry in an observation."""
        self._seen: ArraysByEntry | None = None

    def state(self) -> Array:
        """Return joint observations for centralized critics, (n, numbers) or (numbers,).

        ``RuntimeError`` before `reset`.
        """
        if self._seen is None:
            raise RuntimeError("state: expected reset() first, got a call before it")
        return self._join(self._seen)[..., 0, :]

    def policy(self, act: Act) -> Policy:
        """Convert a function of the wrapper's arrays to a policy, for comparisons."""
        return Policy(self._base.config.held_out, ArrayNetwork(self._encode, act))

    def share_of_best(self, act: Act, size: int = 200) -> float:
        """Evaluate a function of the wrapper's arrays on held-out cases; return its share of the best known result.

        Cases are ``size`` states, or ``size`` episodes if rounds depend on each other. ``ValueError`` for an
        environment whose metric has no meaningful ratio.
        """
        base, size = self._base, check_integer("size", size, 1)
        cases = held_out(base.config, size)
        if not METRICS[cases.metric].has_share:
            expected = "an environment whose metric has a meaningful ratio"
            raise ValueError(f"env: expected {expected}, got {base.config.env_id!r}, with {cases.metric!r}")
        return float(cases.values(self.policy(act)).mean() / cases.values(cases.reference).mean())


class ArrayVector(Measurable, VectorWrapper):  # type: ignore[type-arg]  # no generic class before Gymnasium 1.4
    """Vector with one row of numbers for each environment or device; use `flat_vector` or `by_device` to make it."""

    def __init__(self, envs: VectorEnv[Any, Array, Array], rows: int) -> None:
        super().__init__(envs)
        self._base = native(envs)
        self._read_by(envs.single_observation_space, rows)
        self.num_agents = rows
        """Number of rows of each environment, 1 or K."""
        self.autoreset_mode = envs.metadata["autoreset_mode"]
        """Autoreset mode, as an attribute for TorchRL."""
        self._shape = (envs.num_envs, *(envs.single_action_space.shape or ()))
        columns = int(np.prod(self._shape[1:])) // rows
        self.single_action_space = spaces.Box(-LIMIT, LIMIT, (columns,), np.float32)
        self.single_observation_space = self._encode.space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @property
    def num_envs(self) -> int:  # type: ignore[override]  # as in the base
        """Number of rows of all environments, n or n · K; row i · K + k is device k of environment i."""
        return self._shape[0] * self.num_agents

    @override
    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Reset; seeds are for environments, and a ``reset_mask`` (n · K,) resets the environments of its devices."""
        if options is not None and np.shape(options.get("reset_mask", ())) == (self.num_envs,):
            mask = np.asarray(options["reset_mask"]).reshape(-1, self.num_agents)
            options = {**options, "reset_mask": mask.any(-1)}
        self._seen, infos = self.env.reset(seed=seed, options=options)
        return self._encoded(self._seen), self._spread(infos)

    @override
    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Play actions (n, K · columns) or (n · K, columns); each device gets the reward of its environment."""
        self._seen, *rest, infos = self.env.step(np.asarray(actions).reshape(self._shape))
        if self.num_agents > 1:
            rest = [np.repeat(values, self.num_agents) for values in rest]
        return self._encoded(self._seen), *rest, self._spread(infos)  # type: ignore[return-value]

    def _encoded(self, observation: ArraysByEntry) -> Array:
        return self._encode(observation).reshape(self.num_envs, -1)

    def _spread(self, infos: dict[str, Any]) -> dict[str, Any]:
        if self.num_agents == 1 and "final_obs" not in infos:
            return infos
        return {key: self._of_rows(key, value) for key, value in infos.items()}

    def _of_rows(self, key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return self._spread(value)
        if key == "final_obs":
            rows = np.full(self.num_envs, None, dtype=object)
            for env in np.flatnonzero([observation is not None for observation in value]):
                rows[env * self.num_agents : (env + 1) * self.num_agents] = list(self._encode(value[env]))
            return rows
        if self.num_agents == 1:
            return value
        return value.reshape(self.num_envs, *value.shape[2:]) if value.ndim > 1 else np.repeat(value, self.num_agents)


def flat_vector(envs: VectorEnv[Any, Array, Array]) -> ArrayVector:
    """Wrap a vector so that observations and actions are one-dimensional arrays for each environment.

    Observations equal those of ``FlattenObservation`` of ``gymnasium.wrappers.vector``, but all environments are
    converted at once, and actions are one-dimensional, too. ``ValueError`` for environments of another package.

    Parameters
    ----------
    envs
        Vector from ``gymnasium.make_vec``.

    Returns
    -------
    ArrayVector
        Vector whose observations (n, numbers) are the entries, concatenated in the order of the space; ``positions``
        has their slices. Actions are (n, K · columns), user by user. ``final_obs`` in the infos are arrays too.

    Examples
    --------
    >>> import gymnasium as gym, multispin_env
    >>> from multispin_env.wrappers import flat_vector
    >>> envs = flat_vector(gym.make_vec("MultiSpin/Heterogeneous-v0", num_envs=3, num_users=4))
    >>> envs.reset(seed=0)[0].shape, envs.action_space.shape, float(envs.action_space.high.max())
    ((3, 15), (3, 8), 5.0)
    >>> envs.positions["shared"]
    slice(12, 15, None)
    """
    return ArrayVector(envs, 1)


def by_device(envs: VectorEnv[Any, Array, Array]) -> ArrayVector:
    """Wrap a vector so that each device is an environment with its own observation and the common reward.

    This is the vector form of `multispin_env.parallel.parallel_env`. A single-agent algorithm trains one policy for all
    devices on it. A multi-agent algorithm can use ``observation.reshape(n, K, -1)``, a view without a copy.

    ``ValueError`` for environments of another package.

    Parameters
    ----------
    envs
        As in `flat_vector`.

    Returns
    -------
    ArrayVector
        Vector of n · K environments; row i · K + k is device k of environment i. A row of the observations
        (n · K, numbers) has the device's own part of each entry and the shared numbers; ``positions`` has their slices.
        Actions are (n · K, columns), rewards (n · K,). ``state()`` returns the joint observations (n, numbers).

    Examples
    --------
    >>> import gymnasium as gym, multispin_env
    >>> from multispin_env.wrappers import by_device
    >>> envs = by_device(gym.make_vec("MultiSpin/Heterogeneous-v0", num_envs=3, num_users=4))
    >>> observation, infos = envs.reset(seed=0)
    >>> observation.shape, envs.action_space.shape, envs.state().shape
    ((12, 6), (12, 2), (3, 15))
    """
    return ArrayVector(envs, native(envs).scenario.num_users)
