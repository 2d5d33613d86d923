"""Plug-in: any controller, fed with estimates of what is hidden (ours)."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, overload

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray
from multispin_env.checks import check_instance, require
from multispin_env.controllers.base import Controller, WeightedController
from multispin_env.controllers.estimators import Estimator, Part
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousObserved
from multispin_env.physics.types import Decision, Observed, SystemState
from multispin_env.registry import ESTIMATORS
from multispin_env.scenario import Scenario


class PlugIn:
    """Decides for n copies at once from what may be seen of them, step after step.

    It is no `Controller`: it takes what is observed, never the true state, and it remembers. What no estimator gives is
    taken from the observation. Estimators of ``weights`` change what a controller of rounds maximises: ``gradient``
    proportional fairness, ``round-robin`` the goodput of one user at a time; without one it is the sum of goodput.
    Without the barrier, an estimator of the channel is asked for devices whose next draft starts: of others, the
    channel of the cycle under way is known. ``ValueError`` for two estimators of one part, or one of weights with a
    controller that takes none.
    """

    def __init__(self, base: Controller[Any, Any], estimators: Iterable[Estimator] = ()) -> None:
        self.base = base
        self.estimators = tuple(estimators)
        self._copies: int | None = None  # None: the next decision starts anew
        parts = self.parts
        for part in parts:
            if parts.count(part) > 1:
                names = [type(e).__name__ for e in self.estimators if e.part == part]
                raise ValueError(f"estimators: expected one for each part, got {names} for {part}")
        if "weights" in parts and not isinstance(base, WeightedController):
            given = type(base).__name__
            raise ValueError(f"base: expected a WeightedController for an estimator of weights, got {given}")

    @overload
    def __call__(self, observed: Observed) -> Decision: ...
    @overload
    def __call__(self, observed: ContinuousObserved) -> ContinuousDecision: ...
    def __call__(self, observed: Observed | ContinuousObserved) -> Decision | ContinuousDecision:
        """Take in one step of every copy, and decide for the next; to be called exactly once a step.

        Arrays are (n, K), as of ``env.unwrapped.observed``, or (K,) of a single environment. n may change only after
        `reset` of all copies. Of a `ContinuousObserved` the acceptance of its state is not read. ``ValueError`` for a
        bad observation, or where a part is hidden and not estimated.
        """
        seen = observed.system if isinstance(observed, ContinuousObserved) else observed
        check_instance("observed", seen, Observed, "an Observed or a ContinuousObserved")
        if np.ndim(seen.draft_time) == 1:  # one copy without its axis
            return self(observed[None])[0]
        _check_observed(self.base.scenario, seen)
        estimates = self.update_estimates(seen)
        channel, acceptance = (
            estimates.get("spectral_efficiency"),
            estimates.get("acceptance_rate", seen.acceptance_rate),
        )
        if acceptance is None:
            known = [name for name in ESTIMATORS.names() if ESTIMATORS.load(name).part == "acceptance_rate"]
            raise ValueError(f"acceptance_rate: expected an array (n, K), or a plug-in with one of {known}, got None")
        base = self.base
        if "weights" in estimates:
            assert isinstance(base, WeightedController)  # as at construction
            base = base.scale_weights(estimates["weights"])
        if isinstance(observed, ContinuousObserved):
            state = observed.state
            if channel is not None:
                state = state.changed(spectral_efficiency=np.where(state.starting, channel, state.spectral_efficiency))
            return base(state.changed(acceptance_rate=acceptance))
        efficiency = seen.spectral_efficiency if channel is None else channel
        return base(SystemState(seen.draft_time, efficiency, acceptance, seen.head_start))

    @property
    def parts(self) -> list[Part]:
        """What is estimated."""
        return [estimator.part for estimator in self.estimators]

    def update_estimates(self, observed: Observed) -> dict[Part, FloatArray]:
        """Estimate each part, (n, K), from what copies have shown since the last call."""
        copies = len(observed.draft_time)
        if self._copies is None:
            for estimator in self.estimators:
                estimator.start(copies)
            self._copies = copies
        elif copies != self._copies:
            raise ValueError(f"observed: expected {self._copies} copies until reset() is called, got {copies}")
        return {estimator.part: estimator.estimate(observed) for estimator in self.estimators}

    def reset(self, mask: BoolArray | None = None) -> None:
        """Forget what the copies in ``mask`` (n,) have seen; ``None``: all, and their number.

        ``ValueError`` for a mask that is no array of n booleans.
        """
        if mask is None:
            self._copies = None
        elif self._copies is not None:  # before the first decision there is nothing to forget
            given = np.asarray(mask)
            if given.dtype != np.bool_ or given.shape != (self._copies,):
                raise ValueError(
                    f"mask: expected bool of shape {(self._copies,)}, got {given.dtype} of shape {given.shape}"
                )
            for estimator in self.estimators:
                estimator.reset(given)


def _check_observed(scenario: Scenario, observed: Observed) -> None:
    shape = (len(observed.draft_time), scenario.num_users)
    for field in fields(observed):
        array = getattr(observed, field.name)
        if array is not None and np.shape(array) != shape:
            raise ValueError(f"{field.name}: expected shape {shape}, got {np.shape(array)}")
    tasks = len(scenario.tasks)
    if observed.task is not None:
        require("task", observed.task, (observed.task >= 0) & (observed.task < tasks), f"integers in 0..{tasks - 1}")
    if observed.accepted is not None and observed.drafted is not None:
        good = (observed.accepted >= 0) & (observed.accepted <= observed.drafted)
        require("accepted", observed.accepted, good, "integers from 0 to the drafted ones")
    for name in ("spectral_efficiency", "mean_gain", "throughput"):
        array = getattr(observed, name)
        if array is not None:
            require(name, array, np.isfinite(array) & (array >= 0.0), "finite numbers ≥ 0")
