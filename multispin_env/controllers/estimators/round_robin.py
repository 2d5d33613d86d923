"""Weights that serve one user after the other."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.controllers.estimators.base import Estimator, Part
from multispin_env.physics.types import Observed


@dataclass(frozen=True, eq=False)
class RoundRobin(Estimator):
    """ω is 1 for the user whose turn it is and 0 for the others, from user 0 on (ours; a reference for fairness).

    The others draft the least that the scenario allows.
    """

    part: ClassVar[Part] = "weights"

    @override
    def blank(self, n: int) -> dict[str, NDArray[Any]]:
        return {"turn": np.zeros((n, 1), dtype=np.int64)}

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        users = self.scenario.num_users
        turn = self.memory["turn"]
        self.memory["turn"] = (turn + 1) % users
        return (np.arange(users) == turn).astype(np.float64)
