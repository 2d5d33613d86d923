"""Cost of a decision of ``multispin live``.

The decision is that of `optimal+filter` from counts, one call for one server, as in docs/evidence/your-own-models.md;
CPU time, median of calls. Laws of verification: the paper's, that of a measured server, and that of one that pads its
batch, as ``multispin profile`` writes it.
"""

from argparse import Namespace
from itertools import product, starmap
from time import process_time
from typing import Any

import numpy as np

import multispin_env as ms
from benchmarks.tools import Options, Row, show

SYSTEMS: dict[str, dict[str, Any]] = {
    "llama2": {},
    "llama2 on a100-32b": {"server": "a100-32b"},
    "the same, padded": {"server": "a100-32b", "padded_verification": True},
    "and may draft nothing": {"server": "a100-32b", "padded_verification": True, "min_draft_length": 0},
}


def decision_times(scenario: ms.Scenario, calls: int) -> list[float]:
    """Return CPU seconds of calls of ``decide`` with changing channels and counts, after a first call."""
    rng = np.random.default_rng(0)
    plug_in = ms.make_controller("optimal+filter", scenario)
    draft_time = ms.sample_state(scenario, rng).draft_time
    drafted = accepted = age = np.zeros(scenario.num_users, dtype=np.int64)
    task = rng.integers(0, len(scenario.tasks), scenario.num_users)
    spent = []
    for call in range(calls + 1):
        channel = ms.sample_state(scenario, rng).spectral_efficiency
        observed = ms.Observed(draft_time, channel, task=task, drafted=drafted, accepted=accepted, age=age + call % 16)
        start = process_time()
        drafted = plug_in(observed).draft_length
        spent.append(process_time() - start)
        accepted = rng.binomial(drafted, 0.8)
    return spent[1:]


OPTIONS: Options = {"calls": (200, "decisions of each"), "users": [1, 4, 8, 12, 20]}


def run(options: Namespace) -> None:
    cases = product(SYSTEMS, options.users, [options.calls])
    show("decide of optimal+filter, ms of CPU", starmap(_decision_row, cases))


def _decision_row(label: str, users: int, calls: int) -> Row:
    scenario = ms.Scenario.preset("llama2", num_users=users, **SYSTEMS[label])
    spent = 1e3 * np.array(decision_times(scenario, calls))
    return {"system": f"{label}, K = {users}", "median": np.median(spent), "95 %": np.quantile(spent, 0.95)}
