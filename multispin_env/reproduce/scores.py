"""Goodput of the paper's six systems on common states."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.controllers.factory import make_controller
from multispin_env.controllers.rounds.systems import SYSTEMS
from multispin_env.evaluation.scores import CERTIFICATE, score
from multispin_env.evaluation.statistics import mean_interval
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.types import SystemState
from multispin_env.reproduce.figure import PRESETS
from multispin_env.reproduce.scale import Scale
from multispin_env.scenario import Scenario

LABELS = MappingProxyType(
    {
        "optimal": "Hete (optimum)",
        "homogeneous": "Homo",
        "uniform-bandwidth": "Uni-BW",
        "fixed": "Fixed BW&L",
        "p2p": "P2P-SPIN",
        "centralized": "Cen-SPIN",
    }
)
"""The systems of [MS] §VI by our names; Hete is the proven optimum instead of Algorithm 1's grid."""

CONTROLLED = ("homogeneous", "uniform-bandwidth", "fixed")


@dataclass(frozen=True)
class SweepRow:
    """Mean goodput of one system in one setting."""

    preset: str
    system: str
    num_users: int
    bandwidth_mhz: float
    states: int
    goodput: float  # tokens/s
    low: float  # 95 % interval
    high: float


def states_of(scale: Scale, scenario: Scenario, size: int | None = None) -> SystemState:
    """Independent states (n, K) of the run's seed; at the default seed they are the held-out states."""
    return sample_state(scenario, np.random.default_rng(scale.seed), scale.states if size is None else size)


def scores_of(scale: Scale, scenario: Scenario) -> dict[str, FloatArray]:
    """Goodput (n,) in tokens/s of the six systems of `LABELS`; the optimum is certified. Computed once a run."""
    return dict(_scores(scale.seed, scale.states, scenario))


@lru_cache(maxsize=128)
def _scores(seed: int, states: int, scenario: Scenario) -> dict[str, FloatArray]:
    state = sample_state(scenario, np.random.default_rng(seed), states)
    controllers = {name: make_controller(name, scenario) for name in CONTROLLED}
    controllers["optimal"] = make_controller("optimal", scenario, certify=CERTIFICATE)
    found = score(scenario, state, controllers)
    found |= {name: SYSTEMS.load(name)(scenario, state) for name in SYSTEMS.names() if name in LABELS}
    return {name: found[name] for name in LABELS}


def sweep(scale: Scale, settings: Sequence[tuple[int, float]]) -> list[SweepRow]:
    """Every system on both presets in settings (K, B in MHz)."""
    rows = []
    for preset, (users, megahertz) in scale.over([(preset, setting) for preset in PRESETS for setting in settings]):
        scenario = Scenario.preset(preset, num_users=users, total_bandwidth=megahertz * 1e6)
        for system, values in scores_of(scale, scenario).items():
            interval = mean_interval(values)
            rows.append(SweepRow(preset, system, users, float(megahertz), scale.states, *interval))
    return rows
