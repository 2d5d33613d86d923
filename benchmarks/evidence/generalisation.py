"""Scores of the agents that ship with the package, with other numbers of devices, in all presets of their shape.

A score is 0 for the fixed controller and 1 for the reference. In brackets: the best plug-in of the training scenario.
"""

from argparse import Namespace

import multispin_agents
from benchmarks.tools import Options, Row, show
from multispin_agents.base import scenarios_like
from multispin_env.evaluation.cases import StateCases, cases_of, held_out
from multispin_env.evaluation.defaults import baseline_of
from multispin_env.scenario import Scenario

OPTIONS: Options = {
    "envs": list(multispin_agents.PRETRAINED),
    "users": [2, 5, 10, 20, 50, 100, 200],
    "size": (None, "cases of each (default: 50 states or 10 episodes)", {"type": int}),
}


def scores(env_id: str, scenario: Scenario, size: int | None) -> str:
    """Return scores of an agent and the best plug-in in another scenario."""
    agent = multispin_agents.load(env_id).on(scenario)
    cases = held_out(agent.config, size or (50 if cases_of(agent.config) is StateCases else 10))
    deciding = (agent, agent.score["score"]["best_plug_in"]["name"], cases.reference)
    floor, *means = (cases.values(policy).mean() for policy in (baseline_of(agent.config), *deciding))
    mine, plug_in = ((value - floor) / (means[-1] - floor) for value in means[:-1])
    return f"{mine:.3f} ({plug_in:.3f})"


def run(options: Namespace) -> None:

    def row(env_id: str, scenario: Scenario) -> Row:
        others = {
            f"K = {users}": scores(env_id, scenario.replace(num_users=users), options.size) for users in options.users
        }
        return {"pretrained for": env_id, "preset": scenario.label, **others}

    show(
        "Agents that ship with the package",
        (
            row(env_id, scenario)
            for env_id in options.envs
            for scenario in scenarios_like(multispin_agents.load(env_id).config)
        ),
    )
