"""Share of the optimum that simple rules have in a round, by server and payload, in random systems.

Pair, K (4 to 32) and band (1 to 100 MHz) are drawn; servers and payloads take turns. A share is the mean goodput of the
rounds of a rule over that of `optimal` in the same states. Means over systems (5 % quantile), with at least 1 or 0
drafted tokens for each device; *no drafts* is the server alone, in a round without drafts.
"""

from argparse import Namespace
from collections.abc import Iterator
from itertools import product

import numpy as np

from benchmarks.tools import Options, Row, show
from multispin_env.arrays import FloatArray
from multispin_env.controllers.names import make_controller
from multispin_env.draft import PAYLOADS
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.registry import SCENARIOS, SERVERS
from multispin_env.scenario import Scenario
from multispin_env.units import MHZ

RULES = ("homogeneous", "uniform-bandwidth", "fixed")
PAPER = "paper"


def drawn(server: str, payload: str, rng: np.random.Generator) -> Scenario:
    """Draw a system with a server and a payload."""
    return Scenario.preset(
        str(rng.choice(SCENARIOS.names())),
        server="" if server == PAPER else server,
        payload=payload,
        num_users=int(rng.integers(4, 33)),
        total_bandwidth=float(10.0 ** rng.uniform(0.0, 2.0)) * MHZ,
    )


def shares(scenario: Scenario, states: int, rng: np.random.Generator) -> list[float]:
    """Return the share of the optimum of each rule for the least lengths 1 and 0, and without drafts for 0."""
    state, result = sample_state(scenario, rng, states), []
    for least in (1, 0):
        system = scenario.replace(min_draft_length=least)
        best, *means = (
            float(expected_outcome(system, state, make_controller(name, system)(state)).goodput.mean())
            for name in ("optimal", *RULES)
        )
        result += [mean / best for mean in means]
    return [*result, scenario.autoregressive_goodput / best]


def rows(options: Namespace) -> Iterator[Row]:
    rng, cells = np.random.default_rng(0), list(product(options.servers, PAYLOADS))
    measured: dict[str, list[FloatArray]] = {}
    for index, (server, payload) in enumerate(cells):
        systems = [drawn(server, payload, rng) for _ in range(index, options.systems, len(cells))]
        values = np.array([shares(system, options.states, rng) for system in systems])
        yield row(server, payload, values)
        if server != PAPER:
            measured.setdefault(payload, []).append(values)
    for payload, parts in measured.items():
        yield row(f"all but {PAPER}", payload, np.concatenate(parts))


def row(server: str, payload: str, values: FloatArray) -> Row:
    names = [f"{rule}, L ≥ {least}" for least in (1, 0) for rule in RULES] + ["no drafts"]
    texts = [f"{column.mean():.3f} ({np.quantile(column, 0.05):.3f})" for column in values.T]
    return {"server": server, "payload": payload, "systems": len(values)} | dict(zip(names, texts, strict=True))


OPTIONS: Options = {
    "systems": (3000, "random systems of all servers together"),
    "states": (100, "random states of each system"),
    "servers": [PAPER, *SERVERS.names()],
}


def run(options: Namespace) -> None:
    show("share of the optimum of a round", rows(options))
