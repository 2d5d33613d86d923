"""Base class of modifiers, which change the decisions of any controller."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from multispin_env.controllers.base import ContinuousController, Controller
from multispin_env.controllers.options import Option
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState


@dataclass(frozen=True, eq=False)
class Modifier(ContinuousController):
    """A controller that changes the decisions of another one; in names it is joined by ``+``: ``"greedy+deadlines"``.

    Parameters
    ----------
    scenario
        The system that it decides for.
    base
        The other one.
    """

    base: Controller[Any, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "discipline", self.base.discipline)
        object.__setattr__(self, "tunable", {**self.base.tunable, **type(self).tunable})

    def option(self, name: str) -> Any:
        """Value of an option of its own, or of the other one."""
        return getattr(self, name) if name in type(self).tunable else self.base.option(name)

    def tuned(self, options: Mapping[str, Option]) -> ContinuousController:
        """With other values of its own options, and of those of the other one."""
        own: dict[str, Any] = {name: value for name, value in options.items() if name in type(self).tunable}
        others = {name: value for name, value in options.items() if name not in own}
        return replace(self, base=self.base.tuned(others), **own)

    def decide(self, state: ContinuousState) -> ContinuousDecision:
        """The other one's decision, changed."""
        return self.changed(state, self.base.decide_continuous(state))

    def reset(self) -> None:
        """Let the other one forget what it remembers, if it does."""
        self.base.reset()

    @abstractmethod
    def changed(self, state: ContinuousState, decision: ContinuousDecision) -> ContinuousDecision:
        """The decision that takes the place of this one, arrays (n, K) and (n,)."""
