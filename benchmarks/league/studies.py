"""Studies of the pretrained agents: other numbers of users, and time against quality."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, perf_counter
from types import MappingProxyType

import numpy as np
import torch as th

import agents
from agents.base import scenarios_like
from benchmarks.league.cells import Content
from benchmarks.league.pictures import draw_generalisation, draw_time
from benchmarks.league.statistics import Performance, interval, weights_of
from multispin_env.controllers.factory import make_controller
from multispin_env.evaluation.cases.choice import cases_of, held_out
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.cases.states import CERTIFICATE, States
from multispin_env.evaluation.contenders import Decide
from multispin_env.evaluation.seeds import BOOTSTRAP_SEED, HELD_OUT_SEED
from multispin_env.evaluation.table import aligned
from multispin_env.files import write_atomically
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.rounds import expected_outcome
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario

USERS = (2, 5, 10, 20, 50, 100, 200)
SIZES = MappingProxyType({States: 50, Episodes: 10})
"""Cases of the first study, by their kind."""

TIMED = "MultiSpin/Heterogeneous-v0"
TIMED_USERS, TIMED_STATES, ALONE, BATCHES = 20, 100, 20, 3
"""Of the second study; so many decisions are made alone, and so many times all together. Medians are shown."""


def _save(name: str, rows: list[Content], folder: Path) -> None:
    write_atomically(folder / f"{name}.json", (json.dumps(rows, indent=2) + "\n").encode())


def _at(env_id: str, scenario: Scenario, size: int | None) -> Content:
    """Scores of a pretrained agent and of the best plug-in in another scenario."""
    agent = agents.load(env_id)
    here = agent.on(scenario)
    cases = held_out(env_id, here.settings, size or SIZES[cases_of(here.settings)])
    plug_in = agent.score["score"]["best_plug_in"]["name"]
    floor, top = cases.values(here.settings.variant.comparison.baseline), cases.values(cases.reference)
    weights = weights_of(cases.size, np.random.default_rng(BOOTSTRAP_SEED))
    even = np.full(cases.size, 1.0 / cases.size)
    own, other = (Performance(cases.values(contender)[None], floor, top) for contender in (here, plug_in))
    score = interval(float(own.scores(even)[0]), own.scores(weights)[:, 0])
    return {
        "env": env_id,
        "preset": scenario.name,
        "num_users": scenario.num_users,
        "trained": f"{agent.settings.scenario.name}, K = {agent.settings.scenario.num_users}",
        "cases": cases.size,
        "agent": score.mean,
        "agent_low": score.low,
        "agent_high": score.high,
        "plug_in_name": plug_in,
        "plug_in": float(other.scores(even)[0]),
    }


def generalisation(folder: Path, size: int | None) -> str:
    """Play every pretrained agent in all presets, with other numbers of users than it was trained with."""
    rows, start = [], monotonic()
    wanted = [
        (env_id, scenario.replace(num_users=users))
        for env_id in agents.PRETRAINED
        for scenario in scenarios_like(agents.load(env_id).settings)
        for users in USERS
    ]
    for env_id, scenario in wanted:
        rows.append(_at(env_id, scenario, size))
        left = (monotonic() - start) / len(rows) * (len(wanted) - len(rows))
        what = f"{env_id}, {scenario.name}, K = {scenario.num_users}"
        print(f"{len(rows)} of {len(wanted)}, {left:.0f} s left: {what}", file=sys.stderr, flush=True)
    _save("generalisation", rows, folder)
    draw_generalisation(rows, folder)
    lines = [
        (
            row["env"], row["preset"], str(row["num_users"]), str(row["cases"]),
            f"{row['agent']:.4f} ({row['agent_low']:.4f} to {row['agent_high']:.4f})", f"{row['plug_in']:.4f}",
            row["plug_in_name"],
        )
        for row in rows
    ]  # fmt: skip
    return aligned(("pretrained for", "preset", "K", "cases", "score", "score of plug-in", "plug-in"), lines)


def _seconds(decide: Decide, states: list[SystemState]) -> float:
    """Median time of a call."""
    seconds = []
    for state in states:
        start = perf_counter()
        decide(state)
        seconds.append(perf_counter() - start)
    return float(np.median(seconds))


def time(folder: Path, size: int | None) -> str:
    """Time of a decision against what it loses, beside the solvers."""
    th.set_num_threads(1)  # the network is small: more threads only wait for each other
    agent = agents.load(TIMED)
    scenario = agent.settings.scenario.replace(num_users=TIMED_USERS)
    state = sample_state(scenario, np.random.default_rng(HELD_OUT_SEED), size or TIMED_STATES)
    subjects: dict[str, Decide] = {
        "rule": make_controller("optimal", scenario),
        "certified": make_controller("optimal", scenario, certify=CERTIFICATE),
        "algorithm1": make_controller("algorithm1", scenario),
        "homogeneous": make_controller("homogeneous", scenario),
        "fixed": make_controller("fixed", scenario),
        "pretrained agent": agent.on(scenario),
    }
    best = expected_outcome(scenario, state, subjects["certified"](state)).goodput
    states = [state[index] for index in range(min(ALONE, len(best)))]
    rows: list[Content] = []
    for name, decide in subjects.items():
        print(f"timing {name}", file=sys.stderr, flush=True)
        goodput = expected_outcome(scenario, state, decide(state)).goodput
        batched = _seconds(decide, [state] * BATCHES) / len(best)
        lost = 1.0 - float(goodput.mean() / best.mean())
        rows.append({"name": name, "alone": _seconds(decide, states), "batched": batched, "lost": lost})
    _save("time", rows, folder)
    draw_time(rows, folder)
    header = ("decided by", "alone (ms)", f"in a batch of {len(best)} (ms)", "goodput lost")
    shown = [
        (row["name"], f"{1e3 * row['alone']:.3f}", f"{1e3 * row['batched']:.4f}", f"{row['lost']:.2e}") for row in rows
    ]
    return aligned(header, shown)


STUDIES: dict[str, Callable[[Path, int | None], str]] = {"generalisation": generalisation, "time": time}
"""By the names of the option."""
