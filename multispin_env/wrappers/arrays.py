"""Observations as rows of numbers, and the measure of a function of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.checks import check_integer
from multispin_env.envs.observations import SHARED
from multispin_env.evaluation.cases import held_out
from multispin_env.evaluation.comparison import METRICS
from multispin_env.evaluation.policy import Policy

Array = NDArray[Any]
ArraysByEntry = Mapping[str, Array]

Act = Callable[[NDArray[np.float32]], Array]
"""From observations (m, numbers), as a wrapper gives them, to actions (m, columns), as it takes them."""


class UserRows:
    """The entries of an observation one behind the other: one row of all, or one for each user with what all share.

    Parameters
    ----------
    space
        Of one observation.
    rows
        1, or K.
    """

    def __init__(self, space: spaces.Space[Any], rows: int) -> None:
        assert isinstance(space, spaces.Dict)  # as all environments have it
        self._rows = rows
        sizes = {key: box.shape[0] // (1 if key == SHARED else rows) for key, box in space.items()}  # type: ignore[index]
        ends = np.cumsum(list(sizes.values())).tolist()
        self.places = {key: slice(end - size, end) for (key, size), end in zip(sizes.items(), ends, strict=True)}
        """Where each entry is in a row."""
        self._numbers = ends[-1]
        low, high = (self({key: getattr(box, end) for key, box in space.items()})[0] for end in ("low", "high"))
        self.space = spaces.Box(low, high, dtype=np.float32)
        """Space of a row."""

    def __call__(self, observation: ArraysByEntry) -> NDArray[np.float32]:
        """Rows (..., rows, numbers) of entries (..., size)."""
        if self._rows == 1:  # faster
            return np.concatenate([observation[key] for key in self.places], -1)[..., None, :]
        batch = observation[SHARED].shape[:-1]
        rows = np.empty((*batch, self._rows, self._numbers), np.float32)
        for key, place in self.places.items():
            entry = observation[key]
            rows[..., place] = entry[..., None, :] if key == SHARED else entry.reshape(*batch, self._rows, -1)
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
    """The environment inside, single or vector."""

    def policy(self, act: Act) -> Policy:
        """Return a function of arrays as a policy, which every comparison of this package takes.

        Parameters
        ----------
        act
            From observations (m, numbers) to actions (m, columns), both as they are here.
        """
        return Policy(self._base.settings.held_out, ArrayNetwork(self._encode, act, self._scale))

    def share_of_best(self, act: Act, size: int = 200) -> float:
        """Return what a function of arrays reaches on held-out cases, as a share of the best that is known.

        Parameters
        ----------
        act
            As in `policy`.
        size
            Held-out states, or episodes where rounds depend on each other.

        Raises
        ------
        ValueError
            For an environment whose metric has no meaningful ratio.
        """
        base, size = self._base, check_integer("size", size, 1)
        cases = held_out(base.spec.id, base.settings, size)
        if not METRICS[cases.metric].has_share:
            raise ValueError(f"env: expected one whose metric has a share, got {base.spec.id!r}, with {cases.metric!r}")
        return float(cases.values(self.policy(act)).mean() / cases.values(cases.reference).mean())
