"""Observations as one array, and actions from one."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.checks import check_real, shown
from multispin_env.envs.observations import SHARED

Array = NDArray[Any]
ArraysByEntry = Mapping[str, Array]

ENDS = ("low", "high")
"""Of a box."""


class Joined:
    """Entries of an observation one behind the other, in the order of their space.

    Parameters
    ----------
    space
        Of one observation: boxes of one dimension.

    Raises
    ------
    ValueError
        For another space.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        self._boxes = boxes_of(space)
        self.places = places({key: box.shape[0] for key, box in self._boxes.items()})
        """Where each entry is in the array."""

    @property
    def space(self) -> spaces.Box:
        """Space of the array."""
        return bounded(*(self({key: getattr(box, end) for key, box in self._boxes.items()}) for end in ENDS))

    def __call__(self, observation: ArraysByEntry) -> NDArray[np.float32]:
        """Array (..., numbers) of entries (..., size)."""
        return np.concatenate([observation[key] for key in self._boxes], -1)


class DeviceRows:
    """What a device sees: its own numbers of each entry, and what all share; one row for each device.

    Parameters
    ----------
    space
        Of one observation.
    users
        K.
    """

    def __init__(self, space: spaces.Space[Any], users: int) -> None:
        self._boxes = boxes_of(space)
        self._users = users
        sizes = {key: box.shape[0] // (1 if key == SHARED else users) for key, box in self._boxes.items()}
        self.places = places(sizes)
        """Where each entry is in a row."""

    @property
    def space(self) -> spaces.Box:
        """Space of a row."""
        return bounded(*(self({key: getattr(box, end) for key, box in self._boxes.items()})[0] for end in ENDS))

    def __call__(self, observation: ArraysByEntry) -> NDArray[np.float32]:
        """Rows (..., K, numbers) of entries (..., size)."""
        batch = observation[SHARED].shape[:-1]
        rows = np.empty((*batch, self._users, list(self.places.values())[-1].stop), np.float32)
        for key, place in self.places.items():
            entry = observation[key]
            rows[..., place] = entry[..., None, :] if key == SHARED else entry.reshape(*batch, self._users, -1)
        return rows


def bounded(low: Array, high: Array) -> spaces.Box:
    """Numbers in these bounds."""
    return spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)


def boxes_of(space: spaces.Space[Any]) -> dict[str, spaces.Box]:
    """Boxes of a dictionary's space in its order; ``ValueError`` for another space."""
    boxes = dict(space.items()) if isinstance(space, spaces.Dict) else {}
    if not boxes or not all(isinstance(box, spaces.Box) and len(box.shape) == 1 for box in boxes.values()):
        raise ValueError(f"env: expected observations that are a Dict of Boxes of one dimension, got {shown(space)}")
    return boxes  # type: ignore[return-value]  # as the check says


def places(sizes: Mapping[str, int]) -> dict[str, slice]:
    """Where entries of these sizes are, one behind the other."""
    ends = np.cumsum(list(sizes.values())).tolist()
    return {key: slice(end - size, end) for (key, size), end in zip(sizes.items(), ends, strict=True)}


class Scaled:
    """Actions that are multiplied by a scale, and have another shape.

    Parameters
    ----------
    space
        Of one action of the environment.
    shape
        Of one action that is given.
    scale
        In (0, 1].
    """

    def __init__(self, space: spaces.Space[Any], shape: tuple[int, ...], scale: float) -> None:
        if not isinstance(space, spaces.Box):
            raise ValueError(f"env: expected actions in a Box, got {shown(space)}")
        self.scale = check_real("scale", scale, 0.0, 1.0, open_low=True)
        self.space = bounded(*(getattr(space, end).reshape(shape) / scale for end in ENDS))

    def __call__(self, action: Array, shape: tuple[int, ...]) -> Array:
        """Actions of the environment, in this shape; no copy where the scale is 1."""
        array = np.asarray(action).reshape(shape)
        return array if self.scale == 1.0 else array * np.float32(self.scale)


def mapped(function: Callable[[Any], Array], objects: Array) -> Array:
    """A function of each object of an array, where there is one."""
    found = np.full(len(objects), None, dtype=object)
    for place, one in enumerate(objects):
        found[place] = None if one is None else function(one)
    return found
