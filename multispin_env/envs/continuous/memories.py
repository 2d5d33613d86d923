"""What is remembered of past verifications where something is hidden. Arrays are replaced, never written into."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray, Rows, replaced
from multispin_env.envs.continuous.observations import ContinuousObservations
from multispin_env.physics.continuous.core import ContinuousCore
from multispin_env.physics.continuous.types import ContinuousObserved, ContinuousOutcome, ContinuousState
from multispin_env.physics.types import Observed
from multispin_env.physics.uplink import spectral_efficiency

COUNTS = ("drafted", "accepted", "age", "hits", "misses")
"""Fields of `Observed`."""


class VerificationCounts:
    """Tokens drafted and accepted, of n copies: in the last verification, and since the present request began.

    Parameters
    ----------
    num_copies, num_users
        n and K.
    """

    def __init__(self, num_copies: int, num_users: int) -> None:
        nothing = np.zeros((num_copies, num_users), dtype=np.int64)
        self.fields: dict[str, NDArray[np.int64]] = dict.fromkeys(COUNTS, nothing)
        """The counts, arrays (n, K)."""

    def reset(self, rows: Rows) -> None:
        """Forget the past of these rows."""
        for name, array in self.fields.items():
            self.fields[name] = replaced(array, rows, np.zeros_like(array[rows]))

    def advance(self, outcome: ContinuousOutcome, new: BoolArray) -> None:
        """Count a verification.

        Parameters
        ----------
        step
            Its outcome with drawn tokens, (n, K).
        new
            Devices (n, K) whose request is another one behind it, so that nothing counts. If a request was dropped and
            the draft of the next one was verified at once, that draft does not count either.
        """
        drafted = outcome.draft_length
        accepted = np.where(outcome.verified, outcome.tokens - 1.0, 0.0).astype(np.int64)
        old, same = self.fields, ~new
        self.fields = {
            "drafted": drafted,
            "accepted": accepted,
            "age": same * (old["age"] + outcome.verified),
            "hits": same * (old["hits"] + accepted),
            "misses": same * (old["misses"] + (accepted < drafted)),
        }


class Onlooker:
    """Follows n copies, and knows of them what may be known.

    Parameters
    ----------
    core
        Steps the copies.
    observations
        What is shown.
    """

    def __init__(self, core: ContinuousCore, observations: ContinuousObservations) -> None:
        self._core = core
        self._observations = observations
        shown = observations.shown
        self._knows_acceptance, self._knows_task = "acceptance" in shown, "task" in shown
        self._late = "mean_channel" in shown
        self._counts = VerificationCounts(core.num_copies, core.system.scenario.num_users)
        self._report = core.state.spectral_efficiency
        self.observed = self._look()
        """What may be known now, arrays (n, K)."""

    def reset(self, rows: Rows) -> None:
        """Take in that these copies have begun anew; of a channel without any report, the mean gain is known."""
        self._forget(rows)
        self.observed = self._look()

    def add(self, before: ContinuousState, outcome: ContinuousOutcome, over: BoolArray | None) -> None:
        """Take in a step.

        Parameters
        ----------
        before, step
            Where it began, and what happened, (n, K).
        over
            Copies (n,) that began anew instead.
        """
        self._counts.advance(outcome, self._core.renewed(outcome))
        ended = np.where(outcome.verified, before.spectral_efficiency, self._report)
        self._report = np.where(self._core.state.starting, ended, self._core.state.spectral_efficiency)
        if over is not None:
            self._forget(np.flatnonzero(over))
        self.observed = self._look()

    def _forget(self, rows: Rows) -> None:
        self._counts.reset(rows)
        mean = spectral_efficiency(self._core.system.scenario, self._core.users.mean_gain[rows])
        self._report = replaced(self._report, rows, mean)

    def _look(self) -> ContinuousObserved:
        state = self._core.state
        channel = self._report if self._late else state.spectral_efficiency
        observed = self._observed(state, channel)
        believed = self._observations.believed(observed)
        return ContinuousObserved(state.changed(spectral_efficiency=channel, acceptance_rate=believed), observed)

    def _observed(self, state: ContinuousState, channel: FloatArray) -> Observed:
        known: dict[str, Any] = {} if self._knows_acceptance else dict(self._counts.fields)
        task: IntArray | None = self._core.requests.task if self._knows_task else None
        return Observed(
            state.draft_time,
            channel,
            state.acceptance_rate if self._knows_acceptance else None,
            task,
            mean_gain=self._core.users.mean_gain if self._late else None,
            **known,
        )


def observed_of(state: ContinuousState) -> ContinuousObserved:
    """The whole state (..., K), where nothing is hidden."""
    return ContinuousObserved(state, Observed(state.draft_time, state.spectral_efficiency, state.acceptance_rate))
