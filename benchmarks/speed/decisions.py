"""Median CPU time of a decision, alone and in a batch, and its loss of goodput to the certified optimum."""

from argparse import Namespace
from functools import partial
from typing import Any

import numpy as np

import multispin_agents
from benchmarks.tools import Options, Row, cpu_seconds, show
from multispin_env.controllers.names import make_controller
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.scenario import Scenario

OPTIONS: Options = {"users": 20, "states": (100, "of the batch")}


def run(options: Namespace) -> None:
    scenario = Scenario.preset("llama2", num_users=options.users)
    state = sample_state(scenario, np.random.default_rng(0), options.states)
    certified = make_controller("optimal", scenario, certify=1e-6)
    deciding: dict[str, Any] = {name: make_controller(name, scenario) for name in ("optimal", "algorithm1")}
    deciding |= {"optimal, certified": certified}
    deciding |= {name: make_controller(name, scenario) for name in ("homogeneous", "fixed")}
    deciding |= {"pretrained agent": multispin_agents.load("MultiSpin/Heterogeneous-v0").on(scenario)}
    single = [state[index] for index in range(options.states)]
    best = expected_outcome(scenario, state, certified(state)).goodput

    def row(name: str, decide: Any) -> Row:
        lost = 1.0 - expected_outcome(scenario, state, decide(state)).goodput / best
        batch = np.median([cpu_seconds(partial(decide, state)) for _ in range(5)]) / options.states
        return {
            "decided by": name,
            "alone ms": float(np.median([cpu_seconds(partial(decide, entry)) for entry in single])) * 1e3,
            f"in a batch of {options.states}, ms": float(batch) * 1e3,
            "goodput lost": f"{np.median(lost):.2e}",
        }

    show(f"Decisions with {options.users} devices", (row(*entry) for entry in deciding.items()))
