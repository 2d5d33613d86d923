"""Pretrained agents with other numbers of users, in all presets."""

import json
from itertools import product
from pathlib import Path

import numpy as np

import agents
from agents.base import scenarios_like
from benchmarks.league.cells import Content
from benchmarks.league.pictures import draw_generalisation
from multispin_env.evaluation.cases import States, cases_of, held_out
from multispin_env.evaluation.statistics import BOOTSTRAP_SEED, Cells, aligned
from multispin_env.evaluation.suite.statistics import Performance, interval, weights_of
from multispin_env.files import write_atomically
from multispin_env.scenario import Scenario
from multispin_env.terminal.output import Progress

USERS = (2, 5, 10, 20, 50, 100, 200)


def _at(env_id: str, scenario: Scenario, size: int | None) -> Content:
    """Scores of a pretrained agent and of the best plug-in in another scenario."""
    agent = agents.load(env_id)
    here = agent.on(scenario)
    cases = held_out(env_id, here.settings, size or (50 if cases_of(here.settings) is States else 10))
    plug_in = agent.score["score"]["best_plug_in"]["name"]
    floor, top = cases.values(here.settings.variant.comparison.baseline), cases.values(cases.reference)
    ends = floor[None], top[None]
    own, other = (Performance(cases.values(one)[None, None], *ends) for one in (here, plug_in))
    weights = weights_of(cases.size, np.random.default_rng(BOOTSTRAP_SEED))
    score = interval(own.mean_scores[0], own.scores(weights)[:, 0])
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
        "plug_in": float(other.mean_scores[0]),
    }


def generalisation(folder: Path, size: int | None) -> None:
    """Play all of them; a table, ``generalisation.json`` and a picture."""
    wanted = [
        (env_id, scenario.replace(num_users=users))
        for env_id in agents.PRETRAINED
        for scenario, users in product(scenarios_like(agents.load(env_id).settings), USERS)
    ]
    rows = []
    with Progress(len(wanted)) as progress:
        for env_id, scenario in wanted:
            progress.begin(f"{env_id}, {scenario.name}, K = {scenario.num_users}")
            rows.append(_at(env_id, scenario, size))
    write_atomically(folder / "generalisation.json", (json.dumps(rows, indent=2) + "\n").encode())
    draw_generalisation(rows, folder)
    lines: list[Cells] = [
        (
            *(row["env"], row["preset"], str(row["num_users"]), str(row["cases"])),
            f"{row['agent']:.4f} ({row['agent_low']:.4f} to {row['agent_high']:.4f})",
            *(f"{row['plug_in']:.4f}", row["plug_in_name"]),
        )
        for row in rows
    ]
    print(aligned(("pretrained for", "preset", "K", "cases", "score", "score of plug-in", "plug-in"), lines))
