"""Base class of modifiers, which change the decisions of any controller."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from typing_extensions import override

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

    @override
    def option(self, name: str) -> Any:
        return getattr(self, name) if name in type(self).tunable else self.base.option(name)

    @override
    def tuned(self, options: Mapping[str, Option]) -> ContinuousController:
        own: dict[str, Any] = {name: value for name, value in options.items() if name in type(self).tunable}
        others = {name: value for name, value in options.items() if name not in own}
        return replace(self, base=self.base.tuned(others), **own)

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        return self.changed(state, self.base.decide_continuous(state))

    @override
    def reset(self) -> None:
        self.base.reset()

    @abstractmethod
    def changed(self, state: ContinuousState, decision: ContinuousDecision) -> ContinuousDecision:
        """The decision that takes the place of this one, arrays (n, K) and (n,)."""
