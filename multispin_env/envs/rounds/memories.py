"""What a batch remembers of past rounds: counts, and throughput. Arrays are replaced, never written into."""

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.envs.rounds.core import Rows, replaced
from multispin_env.physics.fairness import discounted_throughput, initial_throughput, utility
from multispin_env.physics.types import Outcome
from multispin_env.scenario import Scenario


class Counts:
    """Tokens drafted and accepted, of n copies: in the last round, and since the present request began."""

    def __init__(self, num_users: int, num_copies: int) -> None:
        nothing = np.zeros((num_copies, num_users), dtype=np.int64)
        self._fields = dict.fromkeys(("drafted", "accepted", "hits", "misses"), nothing)

    def fields(self) -> dict[str, IntArray]:
        """Fields of `Observed`, arrays (n, K)."""
        return self._fields

    def reset(self, rows: Rows) -> None:
        """Forget the past of these rows."""
        for name, array in self._fields.items():
            self._fields[name] = replaced(array, rows, np.zeros_like(array[rows]))

    def advance(self, draft_length: IntArray, tokens: FloatArray, age: IntArray) -> None:
        """Count a round; arrays (n, K), ``age`` behind the round."""
        drafted = draft_length.copy()
        accepted = tokens.astype(np.int64) - 1
        same = age > 0
        self._fields = {
            "drafted": drafted,
            "accepted": accepted,
            "hits": np.where(same, self._fields["hits"] + accepted, 0),
            "misses": np.where(same, self._fields["misses"] + (accepted < drafted), 0),
        }


class Throughput:
    """Discounted throughput of the users of n copies."""

    def __init__(self, scenario: Scenario, window: float, num_copies: int) -> None:
        self._initial = initial_throughput(scenario, num_copies)
        self._window = window
        self.values = self._initial  # (n, K) tokens/s

    def fields(self) -> dict[str, FloatArray]:
        """Fields of `Observed`, arrays (n, K)."""
        return {"throughput": self.values}

    def reset(self, rows: Rows) -> None:
        """Begin anew in these rows."""
        self.values = replaced(self.values, rows, self._initial[rows])

    def advance(self, outcome: Outcome) -> FloatArray:
        """Take in a round; returns by how much the utility grows, (n,)."""
        later = discounted_throughput(self.values, outcome, self._window)
        growth = utility(later) - utility(self.values)
        self.values = later
        return growth

    def weights(self, outcome: Outcome) -> FloatArray:
        """Derivatives (n, K) of the utility's growth by the rates N_k / T_e2e of a round: 1 / (window R_k)."""
        later: FloatArray = 1.0 / (self._window * discounted_throughput(self.values, outcome, self._window))
        return later
