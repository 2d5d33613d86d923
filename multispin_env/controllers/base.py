"""What every controller is, and how one is made from its name."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from multispin_env.checks import IntArray, check_keywords
from multispin_env.controllers.equalization import equal_latency
from multispin_env.controllers.problem import user_times
from multispin_env.physics.types import Decision, SystemState
from multispin_env.physics.validation import checked_state
from multispin_env.registry import CONTROLLERS
from multispin_env.scenario import Scenario

if TYPE_CHECKING:
    from multispin_env.controllers.assumptions import Assumptions
    from multispin_env.controllers.plug_in import PlugIn

CLAIRVOYANT = "clairvoyant"
"""Stands for the true state where the name of an estimator may stand."""


@dataclass(frozen=True, eq=False)
class Controller(ABC):
    """Maps states (..., K) to decisions (..., K).

    A subclass adds its options as dataclass fields and implements `decide`.
    """

    scenario: Scenario

    def __call__(self, state: SystemState) -> Decision:
        """Decide for one state or a batch of them; ``ValueError`` for a bad state."""
        return self.decide(checked_state(self.scenario, state))

    @abstractmethod
    def decide(self, state: SystemState) -> Decision:
        """Decide for a state that has been checked: float64 arrays of one shape (..., K)."""

    def with_equal_latency(self, draft_length: IntArray, state: SystemState) -> Decision:
        """Give these lengths the bandwidth with which all devices finish together ([MS] 31, 32)."""
        shape = draft_length.shape
        length = draft_length.reshape(-1, shape[-1])
        draft_time, token_time = (
            np.broadcast_to(time, shape).reshape(length.shape) for time in user_times(self.scenario, state)
        )
        share = equal_latency(length, draft_time, token_time).share
        return Decision(draft_length, share.reshape(shape) * self.scenario.total_bandwidth)


def controller_names() -> tuple[str, ...]:
    """Names that `make_controller` takes, in a stable order."""
    return CONTROLLERS.names()


@overload
def make_controller(name: str, scenario: Scenario, *, assumptions: "Assumptions", **options: Any) -> "PlugIn": ...


@overload
def make_controller(name: str, scenario: Scenario, **options: Any) -> Controller: ...


def make_controller(
    name: str, scenario: Scenario, *, assumptions: "Assumptions | None" = None, **options: Any
) -> "Controller | PlugIn":
    """Make a controller, or a plug-in that feeds one with estimates, from its name.

    Parameters
    ----------
    name
        One of `controller_names()`, for states that are known; ``"optimal+clairvoyant"`` is another name of
        ``"optimal"``. With ``assumptions``: a controller and the estimators that replace what is hidden from it, as in
        ``"optimal+filter+mmse"`` (`plug_in.make_plug_in`).
    scenario
        The system it controls.
    assumptions
        What the estimators of a plug-in know from past data. Given, the result is a `PlugIn`, which decides for
        `Observed`; not given, it is a `Controller`, which decides for `SystemState`.
    **options
        Fields of that controller's class, e.g. ``phi_points=30`` for ``"algorithm1"``, and of the estimators.

    Raises
    ------
    ValueError, TypeError
        For an unknown name or option (the nearest is suggested), a bad value, or a plug-in without assumptions.
    """
    if assumptions is not None:
        from multispin_env.controllers.plug_in import make_plug_in

        return make_plug_in(name, scenario, assumptions, **options)
    base, _, parts = name.partition("+")
    if parts not in ("", CLAIRVOYANT):
        raise ValueError(
            f"assumptions: got None, allowed for {name!r} is an Assumptions, such as Assumptions.of(scenario)"
        )
    cls: type[Controller] = CONTROLLERS.load(base)
    check_keywords(f"controller {name!r}", options, option_names(cls))
    return cls(scenario, **options)


def option_names(cls: type[Any]) -> tuple[str, ...]:
    """Fields of a controller's or estimator's class that its user may set."""
    return tuple(field.name for field in fields(cls) if field.init and field.name not in ("scenario", "assumptions"))
