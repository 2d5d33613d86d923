"""Protocol of acceptance processes."""

from collections.abc import Callable
from typing import Protocol

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.acceptance.requests import Prior, Requests
from multispin_env.physics.tokens import TokenLaw, tokens_from_exponential
from multispin_env.scenario import Scenario


class Acceptance(Protocol):
    """What the devices ask for, how that changes, and what a draft gains them; users last, batches lead.

    Randomness comes in as ``fresh``, uniform variables (..., columns, K) in [0, 1), new for every call.
    """

    @property
    def columns(self) -> int:
        """Uniform variables that a user needs in a round, ≥ 0."""

    @property
    def changes(self) -> bool:
        """Whether requests ever change behind a round; if not, `next` is not called."""

    def first(self, scenario: Scenario, task: IntArray, fresh: FloatArray) -> Requests:
        """Requests of devices that were drawn with these tasks (..., K)."""

    def next(
        self, scenario: Scenario, requests: Requests, tokens: FloatArray | IntArray, fresh: FloatArray
    ) -> Requests:
        """Requests behind a round that gained ``tokens``, whole numbers (..., K) in 1..L + 1."""

    def expectation(self, scenario: Scenario, requests: Requests) -> Callable[[IntArray], FloatArray]:
        """E[N] (..., K) as a function of the drafts' L (..., K) up to L_max, given all that the process knows now.

        It is asked for once for the same requests, and called for every draft of theirs. By default tokens are accepted
        independently of each other, at the rates of the requests ([MS] 10–12); so they are drawn.
        """
        return TokenLaw.of(requests.rate).expected

    def sampled_tokens(self, requests: Requests, draft_length: IntArray, exponential: FloatArray) -> FloatArray:
        """N, whole numbers (..., K) in 1..L + 1, from standard exponential variables (..., K) where it is random."""
        return tokens_from_exponential(draft_length, requests.rate, exponential)

    def prior(self, scenario: Scenario) -> Prior:
        """What an engineer may know of the tasks from past data."""
