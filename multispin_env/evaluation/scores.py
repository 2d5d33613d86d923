"""Goodput of every controller and of anything else that decides, on the same states."""

from collections.abc import Callable, Mapping

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.controllers.factory import controller_names, make_controller
from multispin_env.controllers.rounds.systems import SYSTEMS
from multispin_env.evaluation.seeds import HELD_OUT_SEED
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.rounds import expected_outcome
from multispin_env.physics.types import Decision, SystemState
from multispin_env.scenario import Scenario

Decide = Callable[[SystemState], Decision]

CERTIFICATE = 1e-6
"""Relative gap to which the optimum of a table is proven."""


def held_out_states(scenario: Scenario, size: int = 500) -> SystemState:
    """Return the same independent states for everyone, arrays (size, K), by default 500; the scenario alone decides."""
    return sample_state(scenario, np.random.default_rng(HELD_OUT_SEED), size)


def score(scenario: Scenario, state: SystemState, decide: Mapping[str, Decide]) -> dict[str, FloatArray]:
    """Expected goodput (n,) in tokens/s of each decider on the states (n, K)."""
    return {name: expected_outcome(scenario, state, rule(state)).goodput for name, rule in decide.items()}


def reference_scores(scenario: Scenario, state: SystemState) -> dict[str, FloatArray]:
    """Goodput (n,) of every registered controller and system on the states (n, K); the optimum is certified."""
    controllers = {name: make_controller(name, scenario) for name in controller_names()}
    controllers["optimal"] = make_controller("optimal", scenario, certify=CERTIFICATE)
    systems = {name: SYSTEMS.load(name)(scenario, state) for name in SYSTEMS.names()}
    return score(scenario, state, controllers) | systems
