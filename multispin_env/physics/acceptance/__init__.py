"""Acceptance processes, one file each; ``multispin_env.registry.ACCEPTANCES`` names them."""

from typing import Protocol

from multispin_env.checks import FloatArray, IntArray
from multispin_env.physics.acceptance.requests import Prior, Requests
from multispin_env.scenario import Scenario

__all__ = ["Acceptance", "Prior", "Requests"]


class Acceptance(Protocol):
    """What the devices ask for, how that changes, and what a draft gains them; users last, batches lead.

    Randomness comes in as ``fresh``, uniform variables (..., columns, K) in [0, 1), new for every call.
    """

    @property
    def columns(self) -> int:
        """Uniform variables that a user needs in a round, ≥ 0."""
        ...

    @property
    def changes(self) -> bool:
        """Whether requests ever change behind a round; if not, `next` is not called."""
        ...

    def first(self, scenario: Scenario, task: IntArray, fresh: FloatArray) -> Requests:
        """Requests of devices that were drawn with these tasks (..., K)."""
        ...

    def next(
        self, scenario: Scenario, requests: Requests, tokens: FloatArray | IntArray, fresh: FloatArray
    ) -> Requests:
        """Requests behind a round that gained ``tokens``, whole numbers (..., K) in 1..L + 1."""
        ...

    def expected_tokens(self, requests: Requests, draft_length: IntArray) -> FloatArray:
        """E[N] (..., K) of drafts of L tokens (..., K), given all that the process knows now."""
        ...

    def sampled_tokens(self, requests: Requests, draft_length: IntArray, exponential: FloatArray) -> FloatArray:
        """N, whole numbers (..., K) in 1..L + 1, from standard exponential variables (..., K) where it is random."""
        ...

    def prior(self, scenario: Scenario) -> Prior:
        """What an engineer may know of the tasks from past data."""
        ...
