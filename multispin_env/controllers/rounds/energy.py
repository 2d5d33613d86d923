"""Rounds with batteries: prices of joules and of time (not in the paper; docs/evidence/energy.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.checks import check_real, checked_field
from multispin_env.controllers.base import RoundsController
from multispin_env.physics.acceptance import task_means
from multispin_env.physics.energy import token_energy
from multispin_env.physics.types import Decision, SystemState
from multispin_env.solver.energy import charging_power, energy_law, priced_lengths
from multispin_env.solver.problem import make_problem


@dataclass(frozen=True, eq=False)
class EnergyPrices(RoundsController):
    """Draft lengths that maximise the tokens of a round minus the prices of its joules and its time.

    The controller maximises Σ_k (E[N_k | L_k] − Σ_{j ≤ L_k} κ_kj) − ρ' τ(L) over integers L_k ≤ ⌊b_k / e_k⌋, with the
    bandwidth of equal latency. The j-th token of device k costs

        κ_kj = ν e_k · price · exp(acceptance (α_k − ᾱ) + pace (time left / H − level_k)) · (1 + slope (½ − level_kj))

    tokens, where level_kj is the charge of the battery in the middle of that token, relative to its capacity, and ᾱ the
    mean acceptance rate of the tasks. ν and D are the price and the bound of the scenario, computed once. ρ' is
    ``time`` times D, or D − ν Σ P if ``time`` is ``None``.

    ``"energy-prices"`` has constant prices. ``"drift"`` has two numbers, price and time (slope 2: the price is
    proportional to 1 − level), and ``"shaped"`` four. They are tuned for qwen3.5 and llama2 together, with 8 devices
    and batteries of 20 rounds (docs/evidence/energy.md). ``"paced"`` is for a budget without charging.

    Parameters
    ----------
    price
        Factor ≥ 0 of the price of a joule.
    slope
        Relative fall of the price from an empty to a full battery, in [0, 2].
    acceptance
        Growth of the price with the acceptance rate.
    pace
        Growth of the price as a battery falls behind the remaining time, ≥ 0; it requires ``budget_time``.
    time
        ρ' relative to D, > 0; ``None``: that of the bound.

    Examples
    --------
    >>> import gymnasium as gym, multispin_env as ms
    >>> env = gym.make("MultiSpin/Energy-v0", scenario="qwen3.5").unwrapped
    >>> _ = env.reset(seed=0)
    >>> decision = ms.make_controller("drift", env.scenario)(env.state)
    >>> bool((decision.draft_length <= env.state.batteries.affordable).all())
    True
    """

    requires: ClassVar[Mapping[str, Any]] = {"battery_rounds": True}

    price: float = checked_field(1.0, check_real, 0.0, 1e6)
    slope: float = checked_field(0.0, check_real, 0.0, 2.0)
    acceptance: float = checked_field(0.0, check_real, -1e2, 1e2)
    pace: float = checked_field(0.0, check_real, 0.0, 1e2)
    time: float | None = checked_field(None, check_real, 0.0, open_low=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pace and not self.scenario.budget_time:
            raise ValueError(f"pace: expected 0 without budget_time, got {self.pace}")

    @override
    def decide(self, state: SystemState) -> Decision:
        scenario, batteries = self.scenario, state.batteries
        if batteries is None:
            raise ValueError("state: expected levels of batteries, as in MultiSpin/Energy-v0, got none")
        level, capacity = batteries.level, batteries.capacity
        law, problem = energy_law(scenario), make_problem(scenario, state)
        exponent = self.acceptance * (state.acceptance_rate - task_means(scenario).mean())
        if batteries.time_left is not None:
            exponent = exponent + self.pace * (batteries.time_left - level)
        energy = token_energy(scenario, state)
        price = law.price * self.price * energy * np.exp(exponent)
        first, rise = price * (1.0 + self.slope * (0.5 - level)), price * self.slope * energy / capacity
        flat = problem.low.shape
        priced = replace(problem, token_price=first.reshape(flat), price_rise=rise.reshape(flat))
        if self.time is None:
            time_price = law.rate - law.price * charging_power(scenario, state)
        else:
            time_price = np.full(level.shape[:-1], self.time * law.rate)
        lengths = priced_lengths(scenario, priced, time_price.reshape(-1))
        return self.with_equal_latency(lengths.reshape(level.shape), state)


DRIFT = partial(EnergyPrices, price=0.55, slope=2.0, time=0.8)
SHAPED = partial(EnergyPrices, price=0.58, slope=1.5, acceptance=-1.3, time=0.95)
PACED = partial(EnergyPrices, pace=5.0)
