"""A scheduler fed with estimates of hidden acceptance (ours)."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from multispin_env.arrays import IntArray
from multispin_env.controllers.continuous.base import Scheduler
from multispin_env.controllers.estimators.base import Estimator
from multispin_env.controllers.plug_in import Estimates, check_observed
from multispin_env.physics.continuous.types import ContinuousState, Order, Passage
from multispin_env.physics.types import Observed


class SchedulerPlugIn(Estimates):
    """Orders for n copies from states without acceptance, and from what the last verification showed.

    It is no `Scheduler`: it remembers. To be called exactly once a verification.

    Parameters
    ----------
    base
        The scheduler.
    estimators
        One of acceptance.

    Raises
    ------
    ValueError
        For estimators of another part, or several.
    """

    def __init__(self, base: Scheduler, estimators: Iterable[Estimator]) -> None:
        self.base = base
        super().__init__(estimators)
        if self.parts != ["acceptance_rate"]:
            raise ValueError(f"estimators: expected one of acceptance_rate, got {self.parts}")

    def decide(self, state: ContinuousState, observed: Observed) -> Order:
        """Take in one verification of every copy, and order for the time to the next.

        Parameters
        ----------
        state
            Arrays (n, K); its acceptance is not read.
        observed
            What was seen, (n, K), as `seen` gives it; before anything was verified, counts of 0.
        """
        check_observed(self.base.scenario, observed)
        estimate = self.take(observed)["acceptance_rate"]
        return self.base(replace(state, acceptance_rate=estimate))


def seen(
    state: ContinuousState,
    drafted: IntArray,
    passage: Passage | None = None,
    *,
    task: IntArray | None = None,
    age: IntArray | None = None,
) -> Observed:
    """What a verification shows of acceptance: counts of the devices that were in the batch, 0 of all others (ours).

    Parameters
    ----------
    state
        Behind the verification, arrays (n, K).
    drafted
        (n, K) tokens of the drafts under way in it.
    passage
        Its outcome with drawn tokens; ``None`` before the first.
    task, age
        (n, K), where they are visible: the task, and the cycles that the request is old. A device that was not in the
        batch keeps its request, whatever its age.
    """
    nothing = np.zeros(state.phase.shape, dtype=np.int64)
    verified = nothing > 0 if passage is None else passage.verified
    tokens = nothing if passage is None else passage.tokens.astype(np.int64)
    return Observed(
        state.draft_time,
        state.spectral_efficiency,
        task=task,
        drafted=np.where(verified, drafted, 0),
        accepted=np.where(verified, tokens - 1, 0),
        age=None if age is None else np.where(verified | (passage is None), age, 1),
    )
