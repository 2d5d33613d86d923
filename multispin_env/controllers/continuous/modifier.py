"""What changes the orders of any scheduler."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import multispin_env.registry as tables
from multispin_env.controllers.continuous.base import Scheduler
from multispin_env.controllers.continuous.options import Option
from multispin_env.physics.continuous.types import ContinuousState, Order


@dataclass(frozen=True, eq=False)
class Modifier(Scheduler):
    """A scheduler that changes the orders of another one; in names it is joined by ``+``: ``"greedy+deadlines"``.

    Where requests are endless it changes nothing.

    Parameters
    ----------
    scenario
        The system that it decides for.
    base
        The other one.
    """

    base: Scheduler

    def __post_init__(self) -> None:
        for name in ("discipline", "static_channel"):  # as its orders are for what those of the other one are for
            object.__setattr__(self, name, getattr(self.base, name))
        object.__setattr__(self, "tunable", {**self.base.tunable, **type(self).tunable})

    def option(self, name: str) -> Any:
        """Value of an option of its own, or of the other one."""
        return getattr(self, name) if name in type(self).tunable else self.base.option(name)

    def tuned(self, options: Mapping[str, Option]) -> Scheduler:
        """With other values of its own options, and of those of the other one."""
        own: dict[str, Any] = {name: value for name, value in options.items() if name in type(self).tunable}
        others = {name: value for name, value in options.items() if name not in own}
        return replace(self, base=self.base.tuned(others), **own)

    def decide(self, state: ContinuousState) -> Order:
        """The other one's order, changed."""
        order = self.base.decide(state)
        return order if state.demand is None else self.changed(state, order)

    def reset(self) -> None:
        """Let the other one forget what it remembers, if it does."""
        forget = getattr(self.base, "reset", None)
        if forget is not None:
            forget()

    @abstractmethod
    def changed(self, state: ContinuousState, order: Order) -> Order:
        """The order that takes the place of this one, arrays (n, K) and (n,); the state has requests."""


MODIFIERS: tables.Registry[type[Modifier]] = tables.MODIFIERS
"""What may follow the name of a scheduler."""
