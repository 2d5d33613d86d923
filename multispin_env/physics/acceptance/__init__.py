"""Acceptance processes, one file each; ``multispin_env.registry.ACCEPTANCES`` names them."""

from typing import Protocol

from multispin_env.checks import FloatArray, IntArray
from multispin_env.scenario import Scenario


class Acceptance(Protocol):
    """Which acceptance rate a device has."""

    def rates(self, scenario: Scenario, task: IntArray) -> FloatArray:
        """Rates α_k (..., K) of devices with these task indices (..., K)."""
        ...
