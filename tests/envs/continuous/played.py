import gymnasium as gym
import numpy as np

import multispin_env as ms
from multispin_env.controllers.names import make_controller
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem

BUSY = ms.requests.Workload(
    arrivals=ms.requests.make_arrivals("poisson"),
    rate=4.0,
    lengths=ms.requests.make_lengths("geometric", mean_output=20.0, mean_prompt=30.0),
    level=ms.requests.ServiceLevel(ttft=1.5, e2el=1.0, e2el_per_token=0.08),
)
"""Load at which some requests wait, and some are late."""


def states_of(scenario, num_envs=6, steps=7, controller="groups", workload=None):
    core = ContinuousCore(ContinuousSystem.of(scenario, workload=workload), num_envs, drawn=workload is not None)
    for env in range(num_envs):
        core.seed(env, np.random.default_rng(env))
    core.reset()
    rule = make_controller(controller, scenario)
    for _ in range(steps):
        yield core.state
        core.step(rule(core.state))


ENDLESS, SERVING = "MultiSpin/Continuous-v0", "MultiSpin/Serving-v0"
BOTH = (ENDLESS, SERVING)
HIDDEN, OLD = {"acceptance_visible": False}, {"channel_report": "old"}
BLIND = {**HIDDEN, **OLD, "task_visible": False}
AHEAD = {"draft_ahead": True, "min_draft_length": 0}
FAST = {
    ENDLESS: {"rho": 90.0, "mean_cycles": 4},
    SERVING: {"rho": 60.0, "load": 1.4, "mean_output": 9.0, "horizon": 8.0, "warm_up": 0.0},
}
"""Arguments with short requests."""


def make(env_id, num_envs=6, **options):
    fast = {name: value for name, value in FAST[env_id].items() if options.get("acceptance_visible", True) is False}
    options = {"num_users": 4, "rho": 90.0, **fast, **options}
    return gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **options).unwrapped


def anything(env, rng):
    return rng.uniform(-5.0, 5.0, env.action_space.shape).astype(np.float32)
