"""What every scheduler is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar

import multispin_env.registry as tables
from multispin_env.arrays import FloatArray
from multispin_env.checks import check_array, require
from multispin_env.controllers.continuous.options import Option, Tunable
from multispin_env.physics.continuous.types import ContinuousState, Demand, Order
from multispin_env.physics.continuous.validation import checked_continuous_state
from multispin_env.scenario import Scenario


@dataclass(frozen=True, eq=False)
class Scheduler(ABC):
    """Maps states (..., K) at the end of a verification to standing orders (..., K).

    It is a function of the state alone: what has to be remembered, such as the batch that a draft aims at, is in the
    state. A subclass adds its options as dataclass fields and implements `decide`.

    Parameters
    ----------
    scenario
        The system that it decides for.
    """

    scenario: Scenario
    discipline: ClassVar[str] = "serial"
    """How the uplink is to be shared for its orders."""
    static_channel: ClassVar[bool] = False
    """Whether it needs channels that stay as they are."""
    tunable: ClassVar[Mapping[str, Tunable]] = MappingProxyType({})
    """Options that may be arrays, and how far they may be tuned."""

    def __call__(self, state: ContinuousState) -> Order:
        """Order for one state or a batch of them; ``ValueError`` for a bad state."""
        checked = checked_continuous_state(self.scenario, state)
        shape = checked.phase.shape
        flat = ContinuousState(
            *(_flat(getattr(checked, field.name), field.name, shape[-1]) for field in fields(checked))
        )
        order = self.decide(flat)
        return Order(*(_shaped(getattr(order, field.name), shape) for field in fields(order)))

    def option(self, name: str) -> Any:
        """Value of an option of `tunable`."""
        return getattr(self, name)

    def tuned(self, options: Mapping[str, Option]) -> "Scheduler":
        """The same with other values of options of `tunable`, numbers or arrays with the batch shape of the states."""
        values: dict[str, Any] = dict(options)
        return replace(self, **values)

    @abstractmethod
    def decide(self, state: ContinuousState) -> Order:
        """Order for states that have been checked: arrays (n, K) and (n,)."""


def _flat(value: Any, name: str, users: int) -> Any:
    if isinstance(value, Demand):
        return Demand(*(_flat(getattr(value, field.name), field.name, users) for field in fields(value)))
    if value is None:
        return None
    return value.reshape(-1) if name in ("batch", "time") else value.reshape(-1, users)


def _shaped(value: Any, shape: tuple[int, ...]) -> Any:
    if value is None:
        return None
    return value.reshape(shape) if value.ndim == 2 else value.reshape(shape[:-1])


def checked_rate(field: str, rate: FloatArray | float | None) -> None:
    """``ValueError`` unless a price of a second is ``None`` or numbers > 0 tokens/s."""
    if rate is not None:
        array = check_array(field, rate)
        require(field, array, array > 0.0, "tokens/s > 0")


SCHEDULERS: tables.Registry[type[Scheduler]] = tables.SCHEDULERS
"""The schedulers; `multispin_env.controllers.continuous.factory` makes them."""
