"""Time of the optimum in one run with Algorithm 1 on a 100 × 100 grid, on one core.

CPU time of a decision in a batch, and alone; with ``OMP_NUM_THREADS=1`` that of one core. The share of the grid is its
mean share of the optimal goodput.
"""

from argparse import Namespace
from functools import partial
from itertools import product

import numpy as np

from benchmarks.tools import Options, Row, cpu_seconds, show
from multispin_env.controllers.names import make_controller
from multispin_env.draft import PAYLOADS
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.scenario import Scenario
from multispin_env.units import MHZ

OPTIONS: Options = {
    "scenarios": ["llama2"],
    "servers": (None, "with draft lengths from 0 (default: none)", {"nargs": "+"}),
    "payloads": (["distributions"], "", {"choices": PAYLOADS}),
    "users": [4, 8, 20, 100, 1024],
    "megahertz": 10.0,
    "instances": (20_000, "instances of a batch times users"),
    "singles": (100, "single decisions"),
}


def measure(scenario: Scenario, instances: int, singles: int) -> Row:
    """Time both on the same states; the grid, whose time hardly varies, on few of them."""
    state = sample_state(scenario, np.random.default_rng(0), instances)
    row: dict[str, float | str] = {"system": f"{scenario.label}, K = {scenario.num_users}"}
    few, optimum = state[: max(2, instances // 20)], make_controller("optimal", scenario)
    algorithm1 = make_controller("algorithm1", scenario, phi_points=100, lambda_points=100)
    goodput, best = (expected_outcome(scenario, few, rule(few)).goodput for rule in (algorithm1, optimum))
    for label, controller, some in (("optimum", optimum, state), ("grid", algorithm1, few)):
        seconds = np.median([cpu_seconds(partial(controller, some)) for _ in range(3)])
        row[f"{label} µs"] = float(seconds) * 1e6 / len(some.draft_time)
    alone = [cpu_seconds(partial(optimum, state[i % instances])) for i in range(singles)]
    row |= {"alone ms": float(np.median(alone)) * 1e3, "grid share": f"{(goodput / best).mean():.6f}"}
    return row | {"× faster": float(row["grid µs"]) / float(row["optimum µs"])}


def run(options: Namespace) -> None:

    def scenario(name: str, server: str | None, payload: str, users: int) -> Scenario:
        system = Scenario.preset(name, num_users=users, total_bandwidth=options.megahertz * MHZ, payload=payload)
        return system if server is None else system.replace(server=server, min_draft_length=0)

    systems = product(options.servers or [None], options.scenarios, options.payloads, options.users)
    show(
        f"decisions at {options.megahertz:g} MHz",
        (
            measure(
                scenario(name, server, payload, users),
                int(np.clip(options.instances // users, 4, 1000)),
                options.singles,
            )
            for server, name, payload, users in systems
        ),
    )
