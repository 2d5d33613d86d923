"""What every controller is, and how one is made from its name."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from multispin_env.checks import IntArray, check_keywords
from multispin_env.controllers.equalization import equal_latency
from multispin_env.controllers.problem import user_times
from multispin_env.physics.types import Decision, SystemState
from multispin_env.physics.validation import checked_state
from multispin_env.registry import CONTROLLERS
from multispin_env.scenario import Scenario

CHUNK_ENTRIES = 200_000
"""Users whose bandwidth is found at once."""


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
        share = np.empty(length.shape)
        rows = max(1, CHUNK_ENTRIES // shape[-1])
        for start in range(0, len(length), rows):  # over pieces of a long batch, to bound the memory
            part = slice(start, start + rows)
            share[part] = equal_latency(length[part], draft_time[part], token_time[part]).share
        return Decision(draft_length, share.reshape(shape) * self.scenario.total_bandwidth)


def controller_names() -> tuple[str, ...]:
    """Names that `make_controller` takes, in a stable order."""
    return CONTROLLERS.names()


def make_controller(name: str, scenario: Scenario, **options: Any) -> Controller:
    """Make a controller from its name.

    Parameters
    ----------
    name
        One of `controller_names()`.
    scenario
        The system it controls.
    **options
        Fields of that controller's class, e.g. ``phi_points=30`` for ``"algorithm1"``.

    Raises
    ------
    ValueError, TypeError
        For an unknown name or option (the nearest is suggested), or a bad value.
    """
    cls: type[Controller] = CONTROLLERS.load(name)
    allowed = [field.name for field in fields(cls) if field.name != "scenario"]
    check_keywords(f"controller {name!r}", options, allowed)
    return cls(scenario, **options)
