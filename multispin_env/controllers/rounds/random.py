"""Random play, for a sense of scale."""

from dataclasses import dataclass, field

import numpy as np
from typing_extensions import override

from multispin_env.controllers.base import RoundsController
from multispin_env.physics.types import Decision, SystemState


@dataclass(frozen=True, eq=False)
class Random(RoundsController):
    """Lengths uniform over their range, shares uniform over the simplex (ours).

    Parameters
    ----------
    rng
        Source of randomness; by default a generator seeded with 0 for each controller.
    """

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __post_init__(self) -> None:
        if not isinstance(self.rng, np.random.Generator):
            raise ValueError(f"rng: expected a numpy.random.Generator, got {self.rng!r}")

    @override
    def decide(self, state: SystemState) -> Decision:
        scenario, shape = self.scenario, state.draft_time.shape
        low, high = scenario.min_draft_length, scenario.max_draft_length
        length = self.rng.integers(low, high, size=shape, endpoint=True)
        # normalised exponentials are uniform on the simplex; the floor keeps every share above zero
        weight = np.maximum(self.rng.standard_exponential(shape), np.finfo(np.float64).tiny)
        share = weight / weight.sum(-1, keepdims=True)
        return Decision(length, share * scenario.total_bandwidth)
