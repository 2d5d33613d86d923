"""Measure of a function of arrays, on the cases that everything else is compared on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.checks import check_integer
from multispin_env.evaluation.cases.choice import held_out
from multispin_env.evaluation.comparison import METRICS
from multispin_env.evaluation.policy import Policy
from multispin_env.wrappers.arrays import Array, ArraysByEntry

Act = Callable[[NDArray[np.float32]], Array]
"""From observations (m, numbers), as a wrapper gives them, to actions (m, columns), as it takes them."""


@dataclass(frozen=True, eq=False)
class ArrayNetwork:
    """Network of a `Policy` that works on the arrays of a wrapper.

    Parameters
    ----------
    encode
        From entries (n, size) to arrays (n, ..., numbers).
    act
        From arrays (m, numbers) to actions.
    scale
        What actions are multiplied by.
    """

    encode: Callable[[ArraysByEntry], NDArray[np.float32]]
    act: Act
    scale: float

    def __call__(self, entries: ArraysByEntry) -> NDArray[np.float32]:
        """Actions (n, K · columns) for entries (n, size); they are clipped to [-1, 1]."""
        arrays = self.encode(entries)
        actions = np.asarray(self.act(arrays.reshape(-1, arrays.shape[-1])), np.float32)
        return (actions * np.float32(self.scale)).clip(-1.0, 1.0).reshape(len(arrays), -1)


class Measurable:
    """Base of what can measure a function of its own arrays."""

    _encode: Callable[[ArraysByEntry], NDArray[np.float32]]
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
