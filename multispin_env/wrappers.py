"""Wrappers of vectors: observations and actions are arrays of one dimension for each copy, or for each device.

Gymnasium's own ``FlattenObservation`` and ``RescaleAction`` of vectors transform copy by copy, and its
``TransformObservation`` refuses ``autoreset_mode="SameStep"``. A single environment needs none of it: those of
``gymnasium.wrappers`` do the same.
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

from multispin_env.checks import check_integer, check_real
from multispin_env.envs.observations import SHARED
from multispin_env.evaluation.cases import held_out
from multispin_env.evaluation.comparison import METRICS
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.policy import Policy

__all__ = ["by_device", "flat_vector"]

Array = NDArray[Any]
ArraysByEntry = Mapping[str, Array]

Act = Callable[[NDArray[np.float32]], Array]
"""From observations (m, numbers), as a wrapper gives them, to actions (m, columns), as it takes them."""


class UserRows:
    """The entries of an observation one behind the other: one row of all, or one for each user with what all share."""

    def __init__(self, space: spaces.Space[Any], rows: int) -> None:
        assert isinstance(space, spaces.Dict)  # as all environments have it
        self._rows = rows
        sizes = {key: box.shape[0] // (1 if key == SHARED else rows) for key, box in space.items()}  # type: ignore[index]
        ends = np.cumsum(list(sizes.values())).tolist()
        self.positions = {key: slice(end - size, end) for (key, size), end in zip(sizes.items(), ends, strict=True)}
        """Where each entry is in a row."""
        self._numbers = ends[-1]
        low, high = (self({key: getattr(box, end) for key, box in space.items()})[0] for end in ("low", "high"))
        self.space = spaces.Box(low, high, dtype=np.float32)

    def __call__(self, observation: ArraysByEntry) -> NDArray[np.float32]:
        """Rows (..., rows, numbers) of entries (..., size)."""
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
    """Network of a `Policy` that works on the rows of a wrapper, and whose actions are multiplied by a scale."""

    encode: UserRows
    act: Act
    scale: float

    def __call__(self, entries: ArraysByEntry) -> NDArray[np.float32]:
        """Actions (n, K · columns) for entries (n, size); they are clipped to [-1, 1]."""
        rows = self.encode(entries)
        actions = np.asarray(self.act(rows.reshape(-1, rows.shape[-1])), np.float32)
        return (actions * np.float32(self.scale)).clip(-1.0, 1.0).reshape(len(rows), -1)


class Measurable:
    """Base of what can measure a function of its own arrays."""

    _encode: UserRows
    _scale: float
    _base: Any

    def policy(self, act: Act) -> Policy:
        """Return a function of arrays as a policy, which every comparison of this package takes.

        ``act`` goes from observations (m, numbers) to actions (m, columns), both as they are here.
        """
        return Policy(self._base.config.held_out, ArrayNetwork(self._encode, act, self._scale))

    def share_of_best(self, act: Act, size: int = 200) -> float:
        """Return what a function, as in `policy`, reaches on held-out cases, as a share of the best that is known.

        Cases are ``size`` states, or episodes where rounds depend on each other. ``ValueError`` for an environment
        whose metric has no meaningful ratio.
        """
        base, size = self._base, check_integer("size", size, 1)
        cases = held_out(base.config, size)
        if not METRICS[cases.metric].has_share:
            raise ValueError(
                f"env: expected one whose metric has a share, got {base.config.env_id!r}, with {cases.metric!r}"
            )
        return float(cases.values(self.policy(act)).mean() / cases.values(cases.reference).mean())


class ArrayVector(Measurable, VectorWrapper):  # type: ignore[type-arg]  # no generic class before Gymnasium 1.4
    """A vector of which every copy has one row of numbers, or one for each device; see `flat_vector`, `by_device`."""

    def __init__(self, envs: VectorEnv[Any, Array, Array], rows: int, scale: float) -> None:
        super().__init__(envs)
        self._base, self._scale = native(envs), check_real("scale", scale, 0.0, 1.0, open_low=True)
        self._encode, self._join = (UserRows(envs.single_observation_space, count) for count in (rows, 1))
        self.num_agents = rows
        """Rows of each copy, 1 or K."""
        self.autoreset_mode = envs.metadata["autoreset_mode"]
        """When copies that ended start again; TorchRL asks here."""
        self._shape = (envs.num_envs, *(envs.single_action_space.shape or ()))
        columns = int(np.prod(self._shape[1:])) // rows
        high = np.full(columns, 1.0 / scale, np.float32)
        self.single_action_space = spaces.Box(-high, high, dtype=np.float32)
        self.single_observation_space = self._encode.space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.state_space = self._join.space
        self.positions = self._encode.positions
        """Where each entry is in an observation."""
        self._seen: ArraysByEntry | None = None

    @property
    def num_envs(self) -> int:  # type: ignore[override]  # as in the base
        """Rows of all copies, n or n · K: device k of copy i is at i · K + k."""
        return self._shape[0] * self.num_agents

    def state(self) -> Array:
        """What all devices of each copy see together, (n, numbers), for central critics; after `reset`."""
        if self._seen is None:
            raise RuntimeError("state: expected reset() first, got a call before it")
        return self._join(self._seen)[:, 0]

    @override
    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """As the vector; seeds are those of copies, and a ``reset_mask`` of devices (n · K,) that of their copies."""
        if options is not None and np.shape(options.get("reset_mask", ())) == (self.num_envs,):
            mask = np.asarray(options["reset_mask"]).reshape(-1, self.num_agents)
            options = {**options, "reset_mask": mask.any(-1)}
        self._seen, infos = self.env.reset(seed=seed, options=options)
        return self._encoded(self._seen), self._spread(infos)

    @override
    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """As the vector, with actions (n, K · columns) or (n · K, columns); every device earns its copy's reward."""
        given = np.asarray(actions).reshape(self._shape)
        self._seen, *rest, infos = self.env.step(given if self._scale == 1.0 else given * np.float32(self._scale))
        if self.num_agents > 1:
            rest = [np.repeat(one, self.num_agents) for one in rest]
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
            last = np.full(self.num_envs, None, dtype=object)
            for copy in np.flatnonzero([one is not None for one in value]):
                last[copy * self.num_agents : (copy + 1) * self.num_agents] = list(self._encode(value[copy]))
            return last
        if self.num_agents == 1:
            return value
        return value.reshape(self.num_envs, *value.shape[2:]) if value.ndim > 1 else np.repeat(value, self.num_agents)


def flat_vector(envs: VectorEnv[Any, Array, Array], scale: float = 1.0) -> ArrayVector:
    """Return a vector of environments whose observations and actions are arrays of one dimension for each copy.

    It is ``FlattenObservation`` and ``RescaleAction`` of ``gymnasium.wrappers.vector`` at once for all copies.

    ``ValueError`` for a bad scale, or environments of another kind.

    Parameters
    ----------
    envs
        What ``gymnasium.make_vec`` made.
    scale
        In (0, 1]. Actions are in ±1 / scale, and the environment gets them times the scale. Many libraries explore with
        a standard deviation of 1 at first, with which nothing is learnt: take .08 for the actions ``"residual"`` and .3
        for ``"lengths"``. Where a library squashes actions into the bounds of their space, take 1.

    Returns
    -------
    ArrayVector
        Observations (n, numbers), the entries concatenated in the order of their space; ``positions`` holds their
        slices. Actions (n, K · columns), user after user. ``final_obs`` of the infos are arrays too.

    Examples
    --------
    >>> import gymnasium as gym, multispin_env
    >>> from multispin_env.wrappers import flat_vector
    >>> envs = flat_vector(gym.make_vec("MultiSpin/Heterogeneous-v0", num_envs=3, num_users=4), scale=0.08)
    >>> envs.reset(seed=0)[0].shape, envs.action_space.shape, float(envs.action_space.high.max())
    ((3, 15), (3, 8), 12.5)
    >>> envs.positions["shared"]
    slice(12, 15, None)
    """
    return ArrayVector(envs, 1, scale)


def by_device(envs: VectorEnv[Any, Array, Array], scale: float = 1.0) -> ArrayVector:
    """Return a vector in which each device is a copy: it sees what it knows of itself, and earns the common reward.

    This is the vector form of `multispin_env.parallel.parallel_env`. A learner of single agents trains one policy for
    all devices on it. One of many agents takes ``observation.reshape(n, K, -1)``, which copies nothing.

    ``ValueError`` for a bad scale, or environments of another kind.

    Parameters
    ----------
    envs, scale
        As in `flat_vector`.

    Returns
    -------
    ArrayVector
        n · K copies, device k of copy i at i · K + k. Observations (n · K, numbers): its own numbers of each entry and
        what is shared; ``positions`` says where. Actions (n · K, columns), rewards (n · K,). ``state()`` is what all
        devices of a copy see together, (n, numbers).

    Examples
    --------
    >>> import gymnasium as gym, multispin_env
    >>> from multispin_env.wrappers import by_device
    >>> envs = by_device(gym.make_vec("MultiSpin/Heterogeneous-v0", num_envs=3, num_users=4))
    >>> observation, infos = envs.reset(seed=0)
    >>> observation.shape, envs.action_space.shape, envs.state().shape
    ((12, 6), (12, 2), (3, 15))
    """
    return ArrayVector(envs, native(envs).scenario.num_users, scale)
