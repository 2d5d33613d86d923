"""A periodic table of lengths, annealed once for the devices and then followed (ours; docs/continuous.md)."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from multispin_env.arrays import BoolArray, IntArray
from multispin_env.checks import check_integer
from multispin_env.controllers.base import ContinuousController
from multispin_env.controllers.continuous.annealing import Annealing
from multispin_env.controllers.continuous.stored import StoredTables, key_of
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join, Phase
from multispin_env.physics.types import SystemState


@dataclass(frozen=True, eq=False)
class Plan(ContinuousController):
    """Follows a table of batches by devices; uploads go in the order of their batches.

    The table is the best that annealing finds, which takes seconds for each system. It is made when devices are met for
    the first time and kept; those of the benchmarks are stored in the package. A table is for a static channel: with
    another channel in every cycle it falls behind other rules where the uplink is scarce, so it is refused there.

    Parameters
    ----------
    moves, chains
        Of the search, as in `Annealing`.
    seed
        Of the search.
    stored
        Whether stored tables may be used.

    Raises
    ------
    ValueError
        For devices that have changed since the start, as in a channel that is not static.
    """

    static_channel: ClassVar[bool] = True

    moves: int = Annealing.moves
    chains: int = Annealing.chains
    seed: int = 0
    stored: bool = True
    _tables: dict[bytes, IntArray] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        check_integer("moves", self.moves, 1)
        check_integer("chains", self.chains, 2)
        check_integer("seed", self.seed, 0)
        if self.chains % 2:
            raise ValueError(f"chains: expected an even number, got {self.chains}")

    def decide(self, state: ContinuousState) -> ContinuousDecision:
        """Wait for the devices of the next batch; new drafts get the length of their device's next batch."""
        if not state.demand.never_ends.all():
            raise ValueError("plan: expected endless requests, since its table holds for the same devices for ever")
        periods, table = self._padded(self._tables_for(state))
        copies, users = np.arange(len(table))[:, None], np.arange(state.phase.shape[-1])
        row = (state.batch % periods)[:, None]
        offset = _until_next(table > 0, periods)[copies, row, users]
        following = table[copies, (row + offset) % periods[:, None], users]
        aim = np.where(state.phase == Phase.FREE, state.batch[:, None] + offset, state.aim)
        due = aim <= state.batch[:, None]
        nobody = ~due.any(-1, keepdims=True)  # only if another controller decided before
        join = np.where(due, Join.WAIT, np.where(nobody, Join.TAKE, Join.LEAVE))
        return ContinuousDecision(np.maximum(following, 1), join, priority=aim.astype(np.float64), aim=aim)

    def _tables_for(self, state: ContinuousState) -> list[IntArray]:
        keys = [key_of(self.scenario, state.system[copy]) for copy in range(len(state.batch))]
        unknown = [copy for copy, key in enumerate(keys) if key not in self._tables]
        if unknown and (state.batch[unknown] > 0).any():
            raise ValueError("channel: expected 'static' for the controller 'plan', got devices that have changed")
        stored = StoredTables.load() if unknown and self.stored else StoredTables({})
        new = []
        for copy in unknown:
            if keys[copy] in stored.tables:
                self._tables[keys[copy]] = stored.tables[keys[copy]]
            else:
                new.append(copy)
        if new:
            self._search(state.system[np.array(new)], [keys[copy] for copy in new])
        return [self._tables[key] for key in keys]

    def _search(self, system: SystemState, keys: list[bytes]) -> None:
        annealing = Annealing(self.moves, self.chains)
        found = annealing.search(self.scenario, system, np.random.default_rng(self.seed))
        self._tables.update(zip(keys, found, strict=True))

    @staticmethod
    def _padded(tables: list[IntArray]) -> tuple[IntArray, IntArray]:
        """Batches of each period (n,), and tables in one array (n, P, K), repeated where they are shorter."""
        periods = np.array([len(table) for table in tables])
        rows = np.arange(periods.max())
        return periods, np.stack([table[rows % len(table)] for table in tables])


def _until_next(inside: BoolArray, periods: IntArray) -> IntArray:
    """Batches from each row to the first, itself or later, that holds the device, (n, P, K)."""
    copies, rows = np.arange(len(inside))[:, None], np.arange(inside.shape[1])
    later = np.stack([inside[copies, (rows + step) % periods[:, None]] for step in rows])
    offset: IntArray = later.argmax(0)
    return offset
