"""Scale of a run: how much is computed, from which seed, and who is told how far it is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from multispin_env.evaluation.seeds import HELD_OUT_SEED

Item = TypeVar("Item")

STATES = 500
"""States of a full run, as in every other table of the project."""

QUICK_STATES = 40


def silent(fraction: float) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Scale:
    """Size of a run.

    Parameters
    ----------
    quick
        Whether coarse grids and few states will do.
    states
        Independent states that means are taken over.
    seed
        Of the states; by default that of the project's held-out states.
    progress
        Told the fraction of the figure that is done.
    """

    quick: bool = False
    states: int = STATES
    seed: int = HELD_OUT_SEED
    progress: Callable[[float], None] = silent

    def pick(self, full: Sequence[Item], quick: Sequence[Item]) -> Sequence[Item]:
        """Return the grid that fits this scale."""
        return quick if self.quick else full

    def over(self, items: Sequence[Item]) -> Iterator[Item]:
        """Each item in turn, reporting how many are done."""
        for done, item in enumerate(items, start=1):
            yield item
            self.progress(done / len(items))
