"""multispin_env: multi-user distributed speculative decoding at the wireless edge.

Environments, the paper's closed-form controllers and the optimum. Importing it registers the environments with
Gymnasium and loads neither torch nor matplotlib.
"""

import gymnasium as _gym

from multispin_env.controllers.base import Controller, controller_names, make_controller
from multispin_env.controllers.certify import CertifiedDecision, upper_bound
from multispin_env.controllers.homogeneous import homogeneous_draft_length
from multispin_env.controllers.sensitivities import Sensitivities, sensitivities
from multispin_env.controllers.systems import centralized_goodput, p2p_goodput
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.rounds import expected_outcome, sampled_outcome
from multispin_env.physics.tokens import expected_tokens, sample_tokens
from multispin_env.physics.types import Decision, Outcome, SystemState
from multispin_env.registry import ACCEPTANCES, CHANNELS, CONTROLLERS, ENVIRONMENTS, SCENARIOS, VECTOR_ENVIRONMENTS
from multispin_env.scenario import Scenario, Task

__version__ = "0.1.0"

__all__ = [
    "ACCEPTANCES",
    "CHANNELS",
    "CONTROLLERS",
    "ENVIRONMENTS",
    "SCENARIOS",
    "VECTOR_ENVIRONMENTS",
    "CertifiedDecision",
    "Controller",
    "Decision",
    "Outcome",
    "Scenario",
    "Sensitivities",
    "SystemState",
    "Task",
    "centralized_goodput",
    "controller_names",
    "expected_outcome",
    "expected_tokens",
    "homogeneous_draft_length",
    "make_controller",
    "p2p_goodput",
    "sample_state",
    "sample_tokens",
    "sampled_outcome",
    "sensitivities",
    "upper_bound",
]

MAX_EPISODE_STEPS = 64
"""Rounds of an episode unless ``gym.make(..., max_episode_steps=...)`` says otherwise."""

for _id in ENVIRONMENTS.names():
    if _id not in _gym.registry:
        _gym.register(
            _id,
            entry_point=ENVIRONMENTS.target(_id),
            vector_entry_point=VECTOR_ENVIRONMENTS.target(_id),
            max_episode_steps=MAX_EPISODE_STEPS,
        )
