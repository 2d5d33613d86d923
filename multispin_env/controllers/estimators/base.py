"""Base class of estimators."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray
from multispin_env.controllers.assumptions import Assumptions
from multispin_env.physics.types import Observed
from multispin_env.scenario import Scenario

Part = Literal["acceptance_rate", "spectral_efficiency", "weights"]
"""What an estimator gives to the controller: a field of the state, or the weights ω of the users."""


@dataclass(frozen=True, eq=False)
class Estimator(ABC):
    """Estimates one part from what has been observed, for n copies at once (ours).

    A subclass adds its options as dataclass fields, names its `part` and implements `estimate`; what it has to remember
    it lists in `blank`. Nothing is random, and no copy depends on another: n copies equal n single ones bit for bit.

    Parameters
    ----------
    scenario
        The system.
    assumptions
        What is known from past data.
    """

    part: ClassVar[Part]

    scenario: Scenario
    assumptions: Assumptions
    memory: dict[str, NDArray[Any]] = field(default_factory=dict, init=False, repr=False)  # arrays (n, ...)

    def __post_init__(self) -> None:
        known, tasks = len(self.assumptions.acceptance_mean), len(self.scenario.tasks)
        if known != tasks:
            raise ValueError(f"acceptance_mean: expected one entry for each task ({tasks}), got {known}")

    def blank(self, n: int) -> dict[str, NDArray[Any]]:
        """Memory (n, ...) of copies that have seen nothing."""
        return {}

    def start(self, n: int) -> None:
        """Begin with n new copies."""
        self.memory.clear()
        self.memory.update(self.blank(n))

    def reset(self, mask: BoolArray) -> None:
        """Forget what the copies in ``mask`` (n,) have seen."""
        for name, fresh in self.blank(len(mask)).items():
            self.memory[name][mask] = fresh[mask]

    @abstractmethod
    def estimate(self, observed: Observed) -> FloatArray:
        """Take in one round and estimate the part, (n, K); to be called exactly once a round, after `start`.

        ``ValueError`` if a field it needs is hidden.
        """


def visible(estimator: str, observed: Observed, field_name: str) -> NDArray[Any]:
    """Return a field (n, K) that this estimator cannot do without; ``ValueError`` where it is hidden."""
    array: NDArray[Any] | None = getattr(observed, field_name)
    if array is None:
        raise ValueError(f"{field_name}: expected an array (n, K) for the estimator {estimator!r}, got None")
    return np.ascontiguousarray(array)
