"""States that tests put controllers into."""

from dataclasses import replace

import numpy as np

import multispin_env as ms
from multispin_env.physics.continuous.averages import seeded_core
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.physics.continuous.types import Phase
from multispin_env.physics.workload import Arriving, ServiceLevel


def core_for(controller, copies, channel="independent", seed=0):
    """Copies that the controller can step, reset on seeds of their own."""
    system = ContinuousSystem.of(controller.scenario.replace(channel=channel), controller.discipline)
    core = seeded_core(system, copies, seed, drawn=False)
    core.reset()
    return core


def visited(controller, copies=6, steps=7, channel="independent"):
    """A batch of states after some steps, not all copies at the same one."""
    core = core_for(controller, copies, channel)
    for step in range(steps):
        over = np.zeros(copies, dtype=np.bool_)
        over[step % copies] = step > 1
        core.step(controller(core.state), over)
    return core.state


def hostile(scenario, rng, size):
    """System states with α of 0 and 1, devices 1000 times slower, and channels next to nothing."""
    state = ms.sample_state(scenario, rng, size)
    shape = state.draft_time.shape
    alpha = rng.choice([0.0, 1e-300, 0.5, 1.0 - 1e-16, 1.0], shape)
    slow, faded = (np.where(rng.random(shape) < 0.3, factor, 1.0) for factor in (1e3, 1e-6))
    return replace(
        state,
        draft_time=state.draft_time * slow,
        spectral_efficiency=state.spectral_efficiency * faded,
        acceptance_rate=alpha,
    )


LAWS = (
    {},
    {"server": "a100-32b"},
    {"verification_pieces": ((0.0, 0.001),), "padded_verification": True, "round_trip_time": 0.02},
    {"min_draft_length": 0},
    {"draft_ahead": True, "server": "a100-32b"},
)
"""Laws of verification, and other things that lengths depend on."""


class Requests:
    """Poisson requests of geometric length."""

    closed = False
    level = ServiceLevel(ttft=1.0, e2el=0.3, e2el_per_token=0.06)

    def open(self, rng, users):
        def more(rows):
            output = rng.geometric(1 / 20, (rows, users))
            return Arriving(rng.exponential(1.0, (rows, users)), rng.integers(0, 50, (rows, users)), output)

        return more


def core_of(scenario, copies, seed=0):
    core = seeded_core(ContinuousSystem.of(scenario, workload=Requests()), copies, seed, drawn=True)
    core.reset()
    return core


def in_phase(state, phase):
    """The state with these phases, everybody with a request or without."""
    has = phase != Phase.IDLE
    demand = state.demand.changed(wanted=100 * has, output=100 * has, due=np.where(has, 50.0, np.inf))
    return state.changed(phase=phase, demand=demand)


def shown(core, drafted, accepted, batch):
    """The state with counts of the last verification."""
    shape = core.state.phase.shape
    demand = core.state.demand.changed(
        drafted=np.broadcast_to(drafted, shape), accepted=np.broadcast_to(accepted, shape)
    )
    return core.state.changed(demand=demand, batch=np.broadcast_to(batch, shape[:1]))


LIMITS = {"e2el": 0.5, "e2el_per_token": 0.08}


def workload(arrivals="poisson", rate=2.0, mean_output=15.0, **level):
    """Requests of geometric length, without limits unless they are given."""
    lengths = ms.make_lengths("geometric", mean_output=mean_output)
    return ms.Workload(arrivals=ms.make_arrivals(arrivals), lengths=lengths, rate=rate, level=ms.ServiceLevel(**level))
