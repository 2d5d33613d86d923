"""Time of the rule and of the certified optimum in one run with Algorithm 1 on a 100 × 100 grid, on one core.

CPU time of a decision in a batch, and alone; with ``OMP_NUM_THREADS=1`` that of one core. Shares are mean shares of the
certified goodput.
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
    """Time all three on the same states; the grid, whose time hardly varies, on few of them."""
    state = sample_state(scenario, np.random.default_rng(0), instances)
    row: dict[str, float | str] = {"system": f"{scenario.label}, K = {scenario.num_users}"}
    grid_time, best = 0.0, np.empty(0)
    for name, label, options, count in (
        ("optimal", "certified", {"certify": 1e-6}, instances),
        ("algorithm1", "grid", {"phi_points": 100, "lambda_points": 100}, max(2, instances // 20)),
        ("optimal", "rule", {}, instances),
    ):
        controller = make_controller(name, scenario, **options)
        some = state[:count]
        goodput = expected_outcome(scenario, some, controller(some)).goodput
        best = goodput if label == "certified" else best
        batch = float(np.median([cpu_seconds(partial(controller, some)) for _ in range(3)])) / count
        grid_time = batch if label == "grid" else grid_time
        row |= {f"{label} µs": batch * 1e6, f"{label} share": f"{(goodput / best[:count]).mean():.6f}"}
        if label != "grid":
            alone = [cpu_seconds(partial(controller, state[i % instances])) for i in range(singles)]
            row[f"{label} alone ms"] = float(np.median(alone)) * 1e3
    for label in ("rule", "certified"):
        row[f"{label} × faster"] = grid_time * 1e6 / float(row[f"{label} µs"])
    return row


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
