import numpy as np

import multispin_env as ms
from multispin_env.physics.continuous.averages import seeded_core
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.physics.continuous.types import Phase

LAWS = (
    {},
    {"server": "a100-32b"},
    {"verification_pieces": ((0.0, 0.001),), "padded_verification": True, "round_trip_time": 0.02},
    {"min_draft_length": 0},
    {"min_draft_length": 0, "access_delay": 0.03, "upload_loss": 0.3, "repeat_time": 0.02},
    {"draft_ahead": True, "server": "a100-32b"},
)
"""Options of scenarios on which the best lengths depend."""


def core_of(scenario, num_envs, seed=0, **options):
    limits = {"ttft": 1.0, "e2el": 0.3, "e2el_per_token": 0.06}
    requests = workload(rate=scenario.num_users, mean_output=20.0, **limits)
    system = ContinuousSystem.of(scenario, **{"workload": requests, **options})
    core = seeded_core(system, num_envs, seed, drawn=True)
    core.reset()
    return core


def in_phase(state, phase):
    has = phase != Phase.IDLE
    demand = state.demand.changed(wanted=100 * has, output=100 * has, due=np.where(has, 50.0, np.inf))
    return state.changed(phase=phase, demand=demand)


def shown(core, drafted, accepted, batch):
    shape = core.state.phase.shape
    demand = core.state.demand.changed(
        drafted=np.broadcast_to(drafted, shape), accepted=np.broadcast_to(accepted, shape)
    )
    return core.state.changed(demand=demand, batch=np.broadcast_to(batch, shape[:1]))


LIMITS = {"e2el": 0.5, "e2el_per_token": 0.08}


def workload(arrivals="poisson", rate=2.0, mean_output=15.0, **level):
    lengths = ms.requests.make_lengths("geometric", mean_output=mean_output)
    return ms.requests.Workload(
        arrivals=ms.requests.make_arrivals(arrivals),
        lengths=lengths,
        rate=rate,
        level=ms.requests.ServiceLevel(**level),
    )
