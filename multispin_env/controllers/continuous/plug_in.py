"""A scheduler fed with estimates of what is hidden (ours)."""

from collections.abc import Iterable

import numpy as np

from multispin_env.controllers.continuous.base import Scheduler
from multispin_env.controllers.estimators.base import Estimator
from multispin_env.controllers.plug_in import Estimates, acceptance_of, check_observed
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousObserved

PARTS = ("acceptance_rate", "spectral_efficiency")
"""What can be estimated for a scheduler."""


class SchedulerPlugIn(Estimates):
    """Decisions for n copies from what may be known of them, verification after verification.

    It is no `Scheduler`: it remembers. What no estimator gives is taken as it is seen. An estimator of the channel is
    asked for devices whose next draft starts: of others, the channel of the cycle under way is known.

    Parameters
    ----------
    base
        The scheduler.
    estimators
        Of acceptance, of the channel, or of both.

    Raises
    ------
    ValueError
        For none, for estimators of another part, or two of one.
    """

    def __init__(self, base: Scheduler, estimators: Iterable[Estimator]) -> None:
        self.base = base
        super().__init__(estimators)
        if not self.parts or not set(self.parts) <= set(PARTS):
            raise ValueError(f"estimators: expected one of {' or '.join(PARTS)}, or of both, got {self.parts}")

    def decide(self, observed: ContinuousObserved) -> ContinuousDecision:
        """Take in one verification of every copy, and decide for the time to the next; to be called once for each.

        Parameters
        ----------
        observed
            Arrays (n, K), as ``env.unwrapped.observed``, or (K,) of a single environment. The acceptance of its
            state is not read.

        Returns
        -------
        ContinuousDecision
            Arrays (n, K), or (K,).

        Raises
        ------
        ValueError
            For a bad observation, or where a part is hidden and not estimated.
        """
        state, system = observed.state, observed.system
        if np.ndim(system.draft_time) == 1:  # one copy without its axis
            return self.decide(observed[None])[0]
        check_observed(self.base.scenario, system)
        estimates = self.take(system)
        channel = state.spectral_efficiency
        if "spectral_efficiency" in estimates:
            channel = np.where(state.starting, estimates["spectral_efficiency"], channel)
        acceptance = acceptance_of(system, estimates)
        return self.base(state.changed(spectral_efficiency=channel, acceptance_rate=acceptance))
