"""Acceptance replayed from real speculative decoding."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.acceptance.base import Acceptance
from multispin_env.physics.acceptance.records import Records, load_records
from multispin_env.physics.acceptance.replay import accepted_runs, advance, expected_table, prompt_rates
from multispin_env.physics.acceptance.requests import (
    Prior,
    Requests,
    check_mean_rounds,
    new_requests,
    renewed,
    uniform_index,
)
from multispin_env.scenario import Scenario

PROMPT, PLACE = 2, 3  # Columns of the uniform variables that choose where a new request starts


@dataclass(frozen=True, eq=False)
class Recorded(Acceptance):
    """A request is a prompt of its task in a record, read in a circle from a random place (ours).

    A round of length L gains the run of accepted tokens from the place, at most L, plus one token, and moves the
    place on by all of them: behind a rejection to the token after it, behind a full draft past the extra token. So
    what is gained follows from the place, while nobody who sees only counts can know it; the expectation at a place
    averages over the outcomes that β allows there. ``rate`` is that of `prompt_rates`: within 2 % of the replay
    for L up to 16, averaged over the prompts of the package's record.

    Parameters
    ----------
    records
        What is replayed; by default the record of the package.
    mean_rounds
        Rounds that a request lasts on average, ≥ 1; infinite means that requests never end; default 16.

    Raises
    ------
    ValueError
        For a bad lifetime, and for a scenario with more tasks than the record.
    """

    records: Records = field(default_factory=load_records)
    mean_rounds: float = 16.0

    def __post_init__(self) -> None:
        if not isinstance(self.records, Records):
            raise ValueError(f"records: expected Records, as load_records returns them, got {self.records!r}")
        check_mean_rounds(self.mean_rounds)

    columns: ClassVar[int] = 4  # end, task, prompt and place
    changes: ClassVar[bool] = True

    @override
    def first(self, scenario: Scenario, task: IntArray, fresh: FloatArray) -> Requests:
        self._check_tasks(scenario)
        place = self._random_place(task, fresh[..., PROMPT, :], fresh[..., PLACE, :])
        return new_requests(task, self._rates(place), place)

    @override
    def next(
        self, scenario: Scenario, requests: Requests, tokens: FloatArray | IntArray, fresh: FloatArray
    ) -> Requests:
        self._check_tasks(scenario)
        new, requests = renewed(requests, len(scenario.tasks), self.mean_rounds, fresh)
        place = advance(self.records, requests.position, tokens)
        place[new] = self._random_place(requests.task[new], fresh[..., PROMPT, :][new], fresh[..., PLACE, :][new])
        return requests._replace(rate=self._rates(place), position=place)

    @override
    def expectation(self, scenario: Scenario, requests: Requests) -> Callable[[IntArray], FloatArray]:
        return partial(self.expected_tokens, requests)

    def expected_tokens(self, requests: Requests, draft_length: IntArray) -> FloatArray:
        """E[N] = 1 + Σ_l β_t ⋯ β_{t+l−1} at the places t of the requests, (..., K)."""
        size = 1 << (int(np.max(draft_length, initial=32)) - 1).bit_length()  # of the table, which doubles as needed
        return expected_table(self.records, size)[requests.position, draft_length]

    @override
    def sampled_tokens(self, requests: Requests, draft_length: IntArray, exponential: FloatArray) -> FloatArray:
        run = accepted_runs(self.records)[requests.position]
        return np.minimum(run, draft_length) + 1.0

    @override
    def prior(self, scenario: Scenario) -> Prior:
        self._check_tasks(scenario)
        counts = np.bincount(self.records.task)
        rates = prompt_rates(self.records)
        mean = np.bincount(self.records.task, rates) / counts
        spread = np.sqrt(np.bincount(self.records.task, (rates - mean[self.records.task]) ** 2) / counts)
        return Prior(mean[: len(scenario.tasks)], spread[: len(scenario.tasks)])

    def _rates(self, place: IntArray) -> FloatArray:
        return prompt_rates(self.records)[self.records.prompt[place]]

    def _random_place(self, task: IntArray, prompt_uniform: FloatArray, place_uniform: FloatArray) -> IntArray:
        by_task, counts, first = self.records.prompts_by_task
        prompt = by_task[first[task] + uniform_index(prompt_uniform, counts[task])]
        return self.records.start[prompt] + uniform_index(place_uniform, self.records.length[prompt])

    def _check_tasks(self, scenario: Scenario) -> None:
        if len(scenario.tasks) > self.records.num_tasks:
            raise ValueError(
                f"tasks of the scenario: expected at most {self.records.num_tasks}, "
                f"the tasks of the record, got {len(scenario.tasks)}"
            )
