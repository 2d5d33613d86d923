"""States that tests put controllers into."""

from dataclasses import replace

import numpy as np

import multispin_env as ms
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem


def core_for(controller, copies, channel="independent", seed=0):
    """Copies that the controller can step, reset on seeds of their own."""
    system = ContinuousSystem.of(controller.scenario.replace(channel=channel), controller.discipline)
    core = ContinuousCore(system, copies, drawn=False)
    for copy, generator in enumerate(np.random.default_rng(seed).spawn(copies)):
        core.seed(copy, generator)
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
