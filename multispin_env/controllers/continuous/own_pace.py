"""Every device drafts what is best for itself."""

from dataclasses import dataclass, field

from multispin_env.controllers.continuous.base import Scheduler
from multispin_env.controllers.continuous.cycle import Cycle
from multispin_env.controllers.continuous.deadlines import Deadlines
from multispin_env.controllers.continuous.greedy import take_all
from multispin_env.physics.continuous.types import ContinuousState, Order


@dataclass(frozen=True, eq=False)
class OwnPace(Scheduler):
    """The server takes whatever is there, and each device drafts what brings it most tokens a second (ours).

    Its cycle is longer the more devices are busy (`Cycle`), so drafts are longer under load.
    """

    def decide(self, state: ContinuousState) -> Order:
        """Lengths by `Cycle`, all drafts taken, the shortest upload first."""
        return take_all(Cycle.of(self.scenario, state).best_length())


@dataclass(frozen=True, eq=False)
class LoadAware(Deadlines):
    """`OwnPace` with `Deadlines`: longer drafts and earlier drops under load, without a constant to tune (ours)."""

    base: Scheduler = field(default=None, init=False)  # type: ignore[assignment]  # the rule itself once it is made

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", OwnPace(self.scenario))
        super().__post_init__()
