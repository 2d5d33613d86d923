"""multispin_env: multi-user distributed speculative decoding at the wireless edge.

Environments, the paper's closed-form controllers and the optimum. The import registers the environments with Gymnasium
and loads neither torch nor matplotlib. Documented modules have the other public names: `baselines`, `bounds`,
`controllers`, `device`, `draft`, `envs`, `evaluation`, `physics`, `requests`, `simulation` and `solver`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from multispin_env import registry
from multispin_env.controllers.base import ContinuousController, Controller, RoundsController
from multispin_env.controllers.names import controller_names, make_controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.objectives import Objective
from multispin_env.envs.registration import register_environment, register_packaged_environments
from multispin_env.physics.continuous.types import ContinuousDecision
from multispin_env.physics.links import Link
from multispin_env.physics.rounds import expected_outcome, sample_state, sampled_outcome
from multispin_env.physics.types import Decision, Observed, Outcome, SystemState
from multispin_env.scenario import Scenario, Task
from multispin_env.server import Server
from multispin_env.solver.sensitivities import sensitivities

if TYPE_CHECKING:
    from multispin_env import baselines as baselines
    from multispin_env import bounds as bounds
    from multispin_env import controllers as controllers
    from multispin_env import device as device
    from multispin_env import draft as draft
    from multispin_env import envs as envs
    from multispin_env import evaluation as evaluation
    from multispin_env import physics as physics
    from multispin_env import requests as requests
    from multispin_env import simulation as simulation
    from multispin_env import solver as solver
    from multispin_env.bounds.energy import energy_bound
    from multispin_env.bounds.rate import rate_bound
    from multispin_env.bounds.rate_certificate import rate_certificate
    from multispin_env.bounds.round import upper_bound
    from multispin_env.certificates.write import certificate
    from multispin_env.controllers.rounds.optimal import oracle
    from multispin_env.envs.continuous.endless import ContinuousConfig
    from multispin_env.envs.rounds.known import RoundsConfig
    from multispin_env.envs.rounds.simulator import RoundsSimulator
    from multispin_env.evaluation.public import compare, evaluate
    from multispin_env.simulation.long_run import long_run, serve

__version__ = "0.1.0"

__all__ = [
    "ContinuousConfig", "ContinuousController", "ContinuousDecision", "Controller", "Decision", "EnvConfig", "Link",
    "Objective", "Observed", "Outcome", "PlugIn", "RoundsConfig", "RoundsController", "RoundsSimulator", "Scenario",
    "Server", "SystemState", "Task", "certificate", "compare", "controller_names", "energy_bound", "evaluate",
    "expected_outcome", "long_run", "make_controller", "oracle", "rate_bound", "rate_certificate",
    "register_environment", "registry", "sample_state", "sampled_outcome", "sensitivities", "serve", "upper_bound",
]  # fmt: skip

_LATE = {
    "bounds.energy": "energy_bound",
    "bounds.rate": "rate_bound",
    "bounds.rate_certificate": "rate_certificate",
    "bounds.round": "upper_bound",
    "certificates.write": "certificate",
    "controllers.rounds.optimal": "oracle",
    "envs.continuous.endless": "ContinuousConfig",
    "envs.rounds.known": "RoundsConfig",
    "envs.rounds.simulator": "RoundsSimulator",
    "evaluation.public": "compare evaluate",
    "simulation.long_run": "long_run serve",
}
"""Names by module that are imported at first use, so that importing this package stays fast."""

_MODULES = (
    *("baselines", "bounds", "controllers", "device", "draft", "envs", "evaluation", "physics", "requests"),
    *("simulation", "solver"),
)

register_packaged_environments()


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"multispin_env.{name}")
    for module, names in _LATE.items():
        if name in names.split():
            return getattr(import_module(f"multispin_env.{module}"), name)
    raise AttributeError(f"module 'multispin_env' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *_MODULES, "__version__"]  # for tab completion: with late names, without private ones
