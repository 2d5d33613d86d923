"""Cost of a decision, and overhead of ``multispin live`` over its models.

The decision is that of `optimal+filter` from counts, one call for one server, as in docs/evidence/your-own-models.md;
CPU time, median of calls. Laws of verification: the paper's, that of a measured server, and that of one that pads its
batch, as ``multispin profile`` writes it. The second table plays rounds of tiny random models (it needs extra
``models`` and a checkout): the rest without the models' passes, the laws of tokens and the decision is the overhead of
the engine.
"""

import argparse
from itertools import product, starmap
from time import perf_counter, process_time
from typing import Any

import numpy as np

import multispin_env as ms
from benchmarks.tools import Row, show

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


def engine_times(users: int, rounds: int) -> tuple[float, float]:
    """Return median seconds of a round of tiny models, in all and without the models, laws of tokens and decision."""
    from multispin_env.apps.models.contender import LiveContender, draw_conditions
    from multispin_env.apps.models.network import Pair
    from multispin_env.apps.models.rounds import EmulatedDevices, Player
    from tests.apps.models import tiny

    scenario = ms.Scenario.preset("llama2", num_users=users)
    prompts = np.random.default_rng(0).integers(2, tiny.WORDS, (16, 8)).tolist()
    devices = EmulatedDevices(
        Pair(tiny.tiny_model(0), tiny.tiny_model(1)),
        prompts,
        np.zeros(16, dtype=np.int64),
        0,
        users,
        64,
        scenario.max_draft_length,
    )
    air = draw_conditions(scenario, rounds, np.random.default_rng(0))
    contender = LiveContender("optimal+filter", scenario, air, devices, Player(devices, 1.0, 0))
    whole, engine = [], []
    for _ in range(rounds):
        start = perf_counter()
        turn = contender.step()
        whole.append(perf_counter() - start)
        played = turn.played
        models = played.drafting_time + played.pass_time + played.accepting_time + played.prompt_time
        engine.append(whole[-1] - models - turn.deciding)
    return float(np.median(whole)), float(np.median(engine))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--calls", type=int, default=200, help="decisions of each (default 200)")
    parser.add_argument("--rounds", type=int, default=40, help="rounds of tiny models; 0 for none (default 40)")
    parser.add_argument("--users", nargs="+", type=int, default=[1, 4, 8, 12, 20], metavar="K")


def run(options: argparse.Namespace) -> None:
    show(
        "decide of optimal+filter, ms of CPU", starmap(_decision_row, product(SYSTEMS, options.users, [options.calls]))
    )
    if options.rounds:
        show("a round of tiny models, median ms", (_engine_row(users, options.rounds) for users in options.users))


def _decision_row(label: str, users: int, calls: int) -> Row:
    scenario = ms.Scenario.preset("llama2", num_users=users, **SYSTEMS[label])
    spent = 1e3 * np.array(decision_times(scenario, calls))
    return {"system": f"{label}, K = {users}", "median": np.median(spent), "95 %": np.quantile(spent, 0.95)}


def _engine_row(users: int, rounds: int) -> Row:
    whole, engine = engine_times(users, rounds)
    return {"devices": users, "all": 1e3 * whole, "without models, laws of tokens and decide": 1e3 * engine}
