"""What every controller is."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

import multispin_env.registry as tables
from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.types import Decision, SystemState
from multispin_env.physics.validation import checked_state
from multispin_env.scenario import Scenario
from multispin_env.solver.equalization import equal_latency
from multispin_env.solver.problem import user_times


@dataclass(frozen=True, eq=False)
class Controller(ABC):
    """Maps states (..., K) to decisions (..., K).

    A subclass adds its options as dataclass fields and implements `decide`.

    Parameters
    ----------
    scenario
        The system that it decides for.
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


@dataclass(frozen=True, eq=False)
class WeightedController(Controller):
    """A controller that maximises a weighted sum of the users' goodput.

    Parameters
    ----------
    weights
        ω (..., K) ≥ 0, broadcast to the state; ``None`` means 1. May be replaced at each call.
    """

    weights: FloatArray | None = None

    @abstractmethod
    def __call__(self, state: SystemState, weights: FloatArray | None = None) -> Decision:
        """Decide for one state or a batch, with these weights or those given at construction."""


CONTROLLERS: tables.Registry[type[Controller]] = tables.CONTROLLERS
"""The controllers; `multispin_env.controllers.factory` makes them."""
