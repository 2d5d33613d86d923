"""Plug-in: a controller with estimators of the hidden parts of its state (not in the paper)."""

from collections.abc import Iterable
from typing import Any, overload

import numpy as np

from multispin_env.arrays import BoolArray
from multispin_env.checks import check_instance, require
from multispin_env.controllers.base import Controller, WeightedController
from multispin_env.controllers.estimators import Estimator, Part
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousObserved
from multispin_env.physics.posterior import Posterior
from multispin_env.physics.types import Decision, Observed, SystemState, named_arrays
from multispin_env.registry import ESTIMATORS
from multispin_env.scenario import Scenario


class PlugIn:
    """Controller of n environments that decides from observations instead of the true state.

    Estimators keep a memory between calls. Parts without an estimator are read from the observation. An estimator of
    ``weights`` changes the objective of a controller of rounds from the sum of goodput: to proportional fairness with
    ``gradient``, or to the goodput of one user at a time with ``round-robin``. With ``expected``, ``optimal`` maximises
    the expected goodput over a distribution of the hidden parts. Without the barrier, channel estimates apply to
    devices that start a draft; the channel of a cycle under way is observed. ``ValueError`` for two estimators of one
    part, or for an estimator whose result the controller cannot use.
    """

    def __init__(self, base: Controller, estimators: Iterable[Estimator] = ()) -> None:
        self.base = base
        self.estimators = tuple(estimators)
        self._num_envs: int | None = None  # None: the next call starts the estimators
        parts = self.parts
        for part in parts:
            if parts.count(part) > 1:
                names = [type(e).__name__ for e in self.estimators if e.part == part]
                raise ValueError(f"estimators: expected at most one for each part, got {names} for {part}")
        if "weights" in parts and not isinstance(base, WeightedController):
            kind = type(base).__name__
            raise ValueError(f"base: expected a WeightedController for an estimator of weights, got {kind}")
        if "posterior" in parts and not (hasattr(base, "decide_expected") and {*parts} <= {"posterior", "weights"}):
            got = f"{type(base).__name__} and estimators of {parts}"
            raise ValueError(f"estimators: expected 'expected' with 'optimal' and no other of the state, got {got}")

    @overload
    def __call__(self, observed: Observed) -> Decision: ...
    @overload
    def __call__(self, observed: ContinuousObserved) -> ContinuousDecision: ...
    def __call__(self, observed: Observed | ContinuousObserved) -> Decision | ContinuousDecision:
        """Process the observation of a step and return the decision for that step; call it exactly once per step.

        Arrays are (n, K), as in ``env.unwrapped.observed``, or (K,) for a single environment. n may change only after
        a full `reset`. The acceptance rates in the state of a `ContinuousObserved` are not used. ``ValueError`` for an
        invalid observation, or a hidden part without an estimator.
        """
        system = observed.system if isinstance(observed, ContinuousObserved) else observed
        check_instance("observed", system, Observed, "an Observed or a ContinuousObserved")
        if np.ndim(system.draft_time) == 1:  # a single environment
            return self(observed[None])[0]
        _check_observed(self.base.scenario, system)
        estimates = self.update_estimates(system)
        channel = estimates.get("spectral_efficiency")
        acceptance = estimates.get("acceptance_rate", system.acceptance_rate)
        posterior: Posterior | None = estimates.get("posterior")
        if posterior is not None and posterior.tokens is not None:
            acceptance = posterior.tokens[..., 1] - 1.0  # mean rates, a start of the search
        if acceptance is None:
            names = [name for name in ESTIMATORS.names() if ESTIMATORS.load(name).part == "acceptance_rate"]
            raise ValueError(f"acceptance_rate: expected an array (n, K), or a plug-in with one of {names}, got None")
        base = self.base
        if "weights" in estimates:
            assert isinstance(base, WeightedController)  # checked at construction
            base = base.scale_weights(estimates["weights"])
        if isinstance(observed, ContinuousObserved):
            if posterior is not None:
                raise ValueError("observed: expected rounds for the estimator 'expected', got a ContinuousObserved")
            state = observed.state
            if channel is not None:
                state = state.changed(spectral_efficiency=np.where(state.starting, channel, state.spectral_efficiency))
            return base(state.changed(acceptance_rate=acceptance))
        efficiency = system.spectral_efficiency if channel is None else channel
        at = system.into(SystemState, spectral_efficiency=efficiency, acceptance_rate=acceptance)
        rule: Any = base  # has this method, as checked at construction
        return base(at) if posterior is None else rule.decide_expected(at, posterior)

    @property
    def parts(self) -> list[Part]:
        """Estimated parts."""
        return [estimator.part for estimator in self.estimators]

    def update_estimates(self, observed: Observed) -> dict[Part, Any]:
        """Return the estimate (n, K) of each part, or a `Posterior`, after the observation of one step."""
        num_envs = len(observed.draft_time)
        if self._num_envs is None:
            for estimator in self.estimators:
                estimator.start(num_envs)
            self._num_envs = num_envs
        elif num_envs != self._num_envs:
            raise ValueError(f"observed: expected {self._num_envs} environments until reset(), got {num_envs}")
        return {estimator.part: estimator.estimate(observed) for estimator in self.estimators}

    def reset(self, mask: BoolArray | None = None) -> None:
        """Reset the memory of the environments in ``mask`` (n,); ``None`` resets all, after which n may change.

        ``ValueError`` unless the mask is an array of n booleans.
        """
        if mask is None:
            self._num_envs = None
        elif self._num_envs is not None:  # before the first call there is no memory
            array, shape = np.asarray(mask), (self._num_envs,)
            if array.dtype != np.bool_ or array.shape != shape:
                actual = f"{array.dtype} of shape {array.shape}"
                raise ValueError(f"mask: expected a bool array of shape {shape}, got {actual}")
            for estimator in self.estimators:
                estimator.reset(array)


def _check_observed(scenario: Scenario, observed: Observed) -> None:
    shape = (len(observed.draft_time), scenario.num_users)
    for name, array in named_arrays(observed).items():
        if array is not None and np.shape(array) != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {np.shape(array)}")
    tasks = len(scenario.tasks)
    if observed.task is not None:
        require("task", observed.task, (observed.task >= 0) & (observed.task < tasks), f"integers in 0..{tasks - 1}")
    if observed.accepted is not None and observed.drafted is not None:
        valid = (observed.accepted >= 0) & (observed.accepted <= observed.drafted)
        require("accepted", observed.accepted, valid, "integers from 0 to the number of drafted tokens")
    for name in ("spectral_efficiency", "mean_gain", "throughput"):
        array = getattr(observed, name)
        if array is not None:
            require(name, array, np.isfinite(array) & (array >= 0.0), "finite numbers ≥ 0")
