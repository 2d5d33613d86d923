"""Shares of the exact optimum of agents in rounds in which one or two devices draft ahead.

Each agent is trained in `MultiSpin/DraftAhead-v0` with static channels, lengths as actions and its own budget, `ppo`
with several discounts γ of a round. Agents and rules then decide for the same drawn devices, in the process whose
optimum is known. Means and lowest shares have no noise but that of the drawn devices. `price` is `ahead-price` with its
defaults, and `tuned` has the ρ, in units of the goodput without drafting ahead, and the β that are best on other
devices.
"""

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from rich.console import Console
from typing_extensions import override

from benchmarks.continuous_systems import ahead_scenario
from benchmarks.tools import Options, Row, show
from multispin_agents.models import load_run_model
from multispin_agents.policies import policy_of
from multispin_agents.ppo import PPOSettings
from multispin_agents.registry import AGENTS
from multispin_agents.runs import Limits, RunConfig
from multispin_agents.training import train
from multispin_env.arrays import FloatArray
from multispin_env.bounds.ahead import ahead_rate, rate_optimum
from multispin_env.controllers.names import make_controller
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.statistics import HELD_OUT_SEED, TUNING_SEED
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.physics.types import Decision, SystemState
from multispin_env.scenario import Scenario

ENV = "MultiSpin/DraftAhead-v0"
STEPS = {1: 0.125, 2: 0.5}  # of the grid of head starts
PLACES = tuple(product(("llama2", "qwen3.5"), ("paper", "a100-32b")))
DISCOUNTS = (0.0, 0.9, 0.97)
TRIED = tuple(product((1.25, 1.5, 2.0, 3.0), (0.0, 0.25, 0.5, 0.75)))  # ρ / goodput, and β

Rule = Callable[[SystemState], Decision]


@dataclass(frozen=True)
class Discounted(PPOSettings):
    """`ppo` with another γ."""

    discount: float = 0.0

    @override
    def for_environment(self, config: EnvConfig) -> Self:
        return replace(super().for_environment(config), gamma=self.discount)


def trained(agent: str, scenario: Scenario, timesteps: int | None) -> Rule:
    config = RunConfig(EnvConfig.of(ENV, scenario, action="lengths"), agent, 0)
    with TemporaryDirectory() as name:
        train(config, Path(name), Limits(timesteps), False, "cpu", Console(stderr=True, quiet=True))
        return policy_of(load_run_model(Path(name), config.env), config.env)


def priced(scenario: Scenario, multiple: float, chain_weight: float, state: SystemState) -> Rule:
    """Make `ahead-price` for devices, with ρ in units of their goodput without drafting ahead."""
    waiting = scenario.replace(draft_ahead=False)
    without = expected_outcome(waiting, state, make_controller("optimal", waiting)(state)).goodput
    return make_controller("ahead-price", scenario, rho=multiple * float(without), chain_weight=chain_weight)


def parts(
    scenario: Scenario, devices: SystemState, rules: Mapping[str, Callable[[SystemState], Rule]]
) -> dict[str, FloatArray]:
    """Return the shares (n,) of the optimum of rules, which may depend on the devices (n, K)."""
    step = STEPS[scenario.num_users]
    best = rate_optimum(scenario, devices, step=step).rate
    systems = [devices[i] for i in range(len(best))]
    return {
        title: np.array([ahead_rate(scenario, system, rule(system), step=step) for system in systems]) / best
        for title, rule in rules.items()
    }


def row(pair: str, server: str, users: int, instances: int, timesteps: int | None) -> Row:
    scenario = ahead_scenario(pair, server, num_users=users, channel="static")

    def drawn(seed: int) -> SystemState:
        return sample_state(scenario, np.random.default_rng(seed), instances)

    tries = {str(i): partial(priced, scenario, *options) for i, options in enumerate(TRIED)}
    tried = parts(scenario, drawn(TUNING_SEED), tries)
    best = max(tried, key=lambda i: float(tried[i].mean()))
    agents = {f"ppo γ {discount:g}": trained(f"ppo-{discount:g}", scenario, timesteps) for discount in DISCOUNTS}
    agents["evolution"] = trained("evolution", scenario, timesteps)
    always = {name: make_controller(rule, scenario) for name, rule in (("ratio", "optimal"), ("price", "ahead-price"))}
    rules: dict[str, Any] = {title: partial(lambda rule, _: rule, rule) for title, rule in (always | agents).items()}
    rules["tuned"] = tries[best]
    columns = parts(scenario, drawn(HELD_OUT_SEED), rules)
    cells = {title: f"{part.mean():.4f} {part.min():.4f}" for title, part in columns.items()}
    return {"system": f"{pair} {server}", **cells}


OPTIONS: Options = {
    "devices": (2, "of a system", {"choices": STEPS}),
    "instances": 6,
    "timesteps": (None, "rounds to train (default: the agent's own)", {"type": int}),
}


def run(options: Namespace) -> None:
    named = {f"ppo-{discount:g}": Discounted(discount=discount) for discount in DISCOUNTS}
    for name, agent in named.items():
        AGENTS.register(name, agent)
    rows = (row(*position, options.devices, options.instances, options.timesteps) for position in PLACES)
    try:
        show(f"{options.devices} devices: shares of the optimum, mean and lowest", rows)
    finally:
        for name in named:
            AGENTS.unregister(name)
