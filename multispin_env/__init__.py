"""multispin_env: multi-user distributed speculative decoding at the wireless edge.

Environments, the paper's closed-form controllers and the optimum. The import registers the environments with Gymnasium
and loads neither torch nor matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from multispin_env import registry
from multispin_env.baselines.systems import (
    autoregressive_goodput,
    centralized_goodput,
    colocated_goodput,
    overlapping_goodput,
    p2p_goodput,
)
from multispin_env.bounds.ahead import RateOptimum, rate_optimum
from multispin_env.bounds.energy import energy_bound
from multispin_env.bounds.rate import RateBound, rate_bound
from multispin_env.bounds.rate_certificate import rate_certificate
from multispin_env.bounds.round import upper_bound
from multispin_env.certificates.write import certificate
from multispin_env.controllers.base import Assumptions, ContinuousController, Controller, Modifier, RoundsController
from multispin_env.controllers.names import controller_names, make_controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.controllers.rounds.optimal import oracle
from multispin_env.device import DeviceProfile, Fleet
from multispin_env.draft import DraftProfile
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.continuous.endless import ContinuousConfig
from multispin_env.envs.objectives import Objective
from multispin_env.envs.registration import register_environment, register_packaged_environments, unregister_environment
from multispin_env.envs.rounds.known import RoundsConfig
from multispin_env.envs.rounds.simulator import RoundsSimulator
from multispin_env.physics.arrivals import make_arrivals
from multispin_env.physics.continuous.averages import LongRun
from multispin_env.physics.continuous.service_log import ServiceRun
from multispin_env.physics.continuous.types import (
    ContinuousDecision,
    ContinuousObserved,
    ContinuousOutcome,
    ContinuousState,
    Demand,
    Join,
    Phase,
    Served,
)
from multispin_env.physics.lengths import make_lengths
from multispin_env.physics.links import Link
from multispin_env.physics.records import Records, load_records
from multispin_env.physics.rounds import expected_outcome, sample_state, sampled_outcome
from multispin_env.physics.traces import RequestTrace, load_trace
from multispin_env.physics.types import BatteryState, Decision, Observed, Outcome, SystemState
from multispin_env.physics.workload import ServiceLevel, Workload
from multispin_env.scenario import Scenario, Task
from multispin_env.server import Server
from multispin_env.simulation.long_run import long_run, serve
from multispin_env.solver.certify import CertifiedDecision
from multispin_env.solver.energy import EnergyBound
from multispin_env.solver.sensitivities import Sensitivities, sensitivities
from multispin_lab.planning.capacity import Capacity, capacity

if TYPE_CHECKING:
    from multispin_env.evaluation.public import ComparisonTable, compare, evaluate
    from multispin_lab import suite

__version__ = "0.1.0"

__all__ = [
    "Assumptions", "BatteryState", "Capacity", "CertifiedDecision", "ComparisonTable", "ContinuousConfig",
    "ContinuousController", "ContinuousDecision", "ContinuousObserved", "ContinuousOutcome", "ContinuousState",
    "Controller", "Decision", "Demand", "DeviceProfile", "DraftProfile", "EnergyBound", "EnvConfig", "Fleet", "Join",
    "Link", "LongRun", "Modifier", "Objective", "Observed", "Outcome", "Phase", "PlugIn", "RateBound", "RateOptimum",
    "Records", "RequestTrace", "RoundsConfig", "RoundsController", "RoundsSimulator", "Scenario", "Sensitivities",
    "Served", "Server", "ServiceLevel", "ServiceRun", "SystemState", "Task", "Workload", "autoregressive_goodput",
    "capacity", "centralized_goodput", "certificate", "colocated_goodput", "compare", "controller_names",
    "energy_bound", "evaluate", "expected_outcome", "load_records", "load_trace", "long_run", "make_arrivals",
    "make_controller", "make_lengths", "oracle", "overlapping_goodput", "p2p_goodput", "rate_bound",
    "rate_certificate", "rate_optimum", "register_environment", "registry", "sample_state", "sampled_outcome",
    "sensitivities", "serve", "suite", "unregister_environment", "upper_bound",
]  # fmt: skip

register_packaged_environments()


def __getattr__(name: str) -> Any:  # imports at first use, so that importing this package stays fast
    if name == "suite":
        return import_module("multispin_lab.suite")
    if name in ("ComparisonTable", "compare", "evaluate"):
        return getattr(import_module("multispin_env.evaluation.public"), name)
    raise AttributeError(f"module 'multispin_env' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]  # for tab completion: with names imported at first use, without private ones
