"""Figure of the exact search: nodes and CPU time of a state against the number of devices."""

from functools import partial
from operator import itemgetter

import numpy as np

from benchmarks.tools import cpu_seconds
from multispin_env.evaluation.drawing import BLUE, ORANGE
from multispin_env.physics.rounds import sample_state
from multispin_env.solver.certify import MOST_NODES, compile_search, compiled_rounds, usual_tolerance
from multispin_env.solver.exact import best_decisions
from multispin_env.solver.problem import make_problem
from multispin_lab.drawing import Series, Sweep
from multispin_lab.reproduce.figure import FigureSpec, Row, Scale, scenario_at

_USERS = (2, 4, 8, 16, 32, 50, 100, 200, 500, 1000)
_PAYLOADS = {"llama2": "distributions", "qwen3.5": "ids"}


def search_rows(scale: Scale, num_users: int) -> list[Row]:
    """Return the median and largest number of nodes of states, and their mean CPU time in ms."""
    compile_search()
    rows, states = [], scale.pick(100 if num_users <= 100 else 20, 3)
    for preset, payload in _PAYLOADS.items():
        scenario = scenario_at(preset, 10.0, num_users=num_users, payload=payload)
        problem = make_problem(scenario, sample_state(scenario, scale.seed, states))
        first = np.ascontiguousarray(problem.low)
        search = partial(
            best_decisions, compiled_rounds(problem), first, 0.999 * usual_tolerance(num_users), MOST_NODES
        )
        nodes, time = search()[3], 1e3 * cpu_seconds(search) / states
        label = f"{preset}, {payload}"
        ends = {"low": float(nodes.min()), "high": float(nodes.max())}
        rows.append({"panel": "nodes", "line": label, "users": num_users, "value": float(np.median(nodes)), **ends})
        rows.append({"panel": "CPU ms", "line": label, "users": num_users, "value": time, "low": time, "high": time})
    return rows


SEARCH = FigureSpec(
    title="The exact search",
    caption="Nodes of branch and bound (median, and all states as a band) and CPU time of a state at 10 MHz, proven to "
    "1e-9 up to 50 devices and to 1e-4 above.",
    settings=lambda scale: list(scale.pick(_USERS, _USERS[:2])),
    rows=search_rows,
    draw=Sweep(
        "users",
        "number of devices K",
        [
            Series(f"{preset}, {payload}", (colour, marker, "-"), "value", {"line": f"{preset}, {payload}"}, band=True)
            for (preset, payload), colour, marker in zip(_PAYLOADS.items(), (BLUE, ORANGE), "oD", strict=True)
        ],
        "of a state",
        heading=itemgetter("panel"),
        ticks=(2, 8, 32, 100, 500),
    ).draw,
    seconds=10.0,
)
