"""Allocations: devices with the decisions of the homogeneous and of the heterogeneous case."""

from dataclasses import dataclass

from multispin_env.controllers.factory import make_controller
from multispin_env.evaluation.cases.states import CERTIFICATE
from multispin_env.reproduce.figure import PRESETS
from multispin_env.reproduce.scale import Scale
from multispin_env.reproduce.scores import states_of
from multispin_env.scenario import Scenario

CASES = ("homogeneous", "heterogeneous")


@dataclass(frozen=True)
class AllocationRow:
    """One device of one state in one case."""

    preset: str
    case: str
    state: int
    device: int
    spectral_efficiency: float  # bit/s/Hz
    draft_time_ms: float  # T_k
    acceptance_rate: float
    draft_length: int  # tokens
    bandwidth_share: float  # B_k / B


def device_rows(scale: Scale, states: int) -> list[AllocationRow]:
    """Every device of the first states, in both cases, both presets."""
    rows = []
    for preset in scale.over(PRESETS):
        scenario = Scenario.preset(preset)
        state = states_of(scale, scenario).state[:states]
        makers = (make_controller("homogeneous", scenario), make_controller("optimal", scenario, certify=CERTIFICATE))
        for case, controller in zip(CASES, makers, strict=True):
            decision = controller(state)
            for i in range(len(state.draft_time)):
                for k in range(scenario.num_users):
                    rows.append(
                        AllocationRow(
                            preset,
                            case,
                            i,
                            k,
                            float(state.spectral_efficiency[i, k]),
                            1e3 * float(state.draft_time[i, k]),
                            float(state.acceptance_rate[i, k]),
                            int(decision.draft_length[i, k]),
                            float(decision.bandwidth[i, k] / scenario.total_bandwidth),
                        )
                    )
    return rows
