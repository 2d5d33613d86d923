"""Price of a joule, and bound on goodput, for devices with batteries (not in the paper; docs/evidence/energy.md).

For a price of ν tokens per joule, D(ν) is the root ρ of

    E max_L [ Σ_k E[N_k | L_k] − ν Σ_k e_k L_k + (ν Σ_k P_k − ρ) τ(L) ] = 0,

the mean over states of rounds without batteries. No policy that sees states but not the draws of acceptance gains more
than D(ν) tokens per second in the long run, for any ν ≥ 0. D is convex, with the derivative E[Σ P τ − Σ e L] / E[τ].
"""

import json
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.energy import Batteries, device_features, token_energy
from multispin_env.physics.rounds import Dynamics, sample_devices
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario
from multispin_env.solver.ahead import AheadRound, best_lengths
from multispin_env.solver.problem import Problem, make_problem
from multispin_env.solver.search import branch_and_bound

_DEVICES, _PRICED = 3_200, 800  # random devices for means without batteries, and for D, in `energy_law`
_STEPS, _TOLERANCE = 12, 1e-4  # prices that are tried; relative gap between D and its lower bound
_ITERATIONS, _PRECISION = 20, 1e-4  # of the root of D at one price; the last step of Newton squares the relative error
_CERTIFICATE, _SPLITS = 1e-8, 400  # relative gap and rounds of branch and bound
_STATES = 64  # states of each set of devices with a budget
_LEAST_TIME_PRICE = 1e-3  # relative to the goodput of the server alone

DEFAULTS = MappingProxyType({"num_users": 8, "acceptance": "by-request", "min_draft_length": 0, "battery_rounds": 20.0})
"""Fields of presets with batteries; for these scenarios a file holds the law."""

LAWS = Path(__file__).parents[1] / "data" / "energy" / "laws.json"
"""Results of `computed_law` with ``scale=40``."""


class PricedRounds(NamedTuple):
    """Rounds of n states."""

    lengths: IntArray  # (n, K)
    tokens: FloatArray  # (n,) Σ E[N]
    joules: FloatArray  # (n,) Σ e L
    time: FloatArray  # (n,) s


class EnergyBound(NamedTuple):
    """Upper bound on the long-run rate of every policy, estimated from random states.

    Attributes
    ----------
    rate
        D(ν) in tokens/s.
    error
        Standard error of the rate, tokens/s.
    price
        ν in tokens/J.
    slope
        dD/dν in W.
    """

    rate: float
    error: float
    price: float
    slope: float


class EnergyLaw(NamedTuple):
    """Batteries of a scenario, the price of a joule, and the bound on every policy."""

    batteries: Batteries  # capacity and charge of each device
    price: float  # ν in tokens/J, one number for all devices
    rate: float  # D(ν) in tokens/s, over random devices
    power: float  # mean of Σ_k P_k in W; a budget counts as charged over ``budget_time``


@dataclass(frozen=True, eq=False)
class EnergySample:
    """Random states of rounds, with the power that charges the batteries."""

    scenario: Scenario
    state: SystemState  # (n, K), independent, without batteries
    charge: FloatArray  # Σ_k P_k, (n,) W
    sets: int = 1  # sets of n / sets successive states, each of which has its own D

    @classmethod
    def draw(cls, scenario: Scenario, batteries: Batteries, rng: np.random.Generator, size: int) -> Self:
        """Draw about n states, each of new devices; with a budget, which counts as charge, of fewer sets of devices."""
        dynamics = Dynamics.of(scenario)
        changes = scenario.budget_time and (dynamics.channel.changes or dynamics.acceptance.changes)
        rows = _STATES if changes else 1
        size = max(-(-size // rows), 2)
        devices, state = sample_devices(scenario, rng, size, rows)
        arrays = devices.draft_time, devices.mean_gain, devices.task
        charge = batteries.first(scenario.replace(budget_time=0.0), *arrays)[1].sum(-1)
        return cls(scenario, state, charge, size if scenario.budget_time else 1)

    def _means(self, values: FloatArray) -> FloatArray:
        return values.reshape(self.sets, -1).mean(-1)

    @cached_property
    def problem(self) -> Problem:
        """The states as a problem."""
        return make_problem(self.scenario, self.state)

    @cached_property
    def energy(self) -> FloatArray:
        """e_k (n, K) in J."""
        return token_energy(self.scenario, self.state)

    def best(self, price: float, rate: FloatArray | float, proven: bool = False) -> PricedRounds:
        """Return the rounds that maximise the bracket at ν and ρ; without a proof, by about 0.003 tokens too little."""
        time_price = rate - price * self.charge
        priced = replace(self.problem, token_price=price * self.energy)
        lengths = priced_lengths(self.scenario, priced, time_price)
        return self.played(_proven(priced, time_price, lengths) if proven else lengths)

    def played(self, lengths: IntArray) -> PricedRounds:
        """Return tokens, joules and time of rounds with these lengths (n, K)."""
        tokens = self.problem.tokens(lengths[:, None])[:, 0]
        joules = np.add.reduce(self.energy * lengths, -1)
        return PricedRounds(lengths, tokens, joules, self.problem.round_time(lengths.astype(np.float64)))

    def bound(self, price: float, start: float, proven: bool = False) -> EnergyBound:
        """Return D(ν) by Dinkelbach's iteration from an estimate of it; with a proof, D(ν) is not too low."""
        rate, exact, rows = np.full(self.sets, start), False, len(self.charge) // self.sets
        for _ in range(_ITERATIONS):
            best = self.best(price, np.repeat(rate, rows), exact)
            earned = best.tokens - price * best.joules + price * self.charge * best.time
            time, before = self._means(best.time), rate
            rate = self._means(earned) / time
            converged = bool((np.abs(rate - before) <= _PRECISION * rate).all())
            if converged and exact == proven:
                break
            exact = exact or (proven and converged)  # a proof takes one more step
        slope = float((self._means(self.charge * best.time - best.joules) / time).mean())
        errors = rate if self.sets > 1 else (earned - rate * best.time) / time
        return EnergyBound(float(rate.mean()), float(errors.std()) / len(errors) ** 0.5, price, slope)

    def best_bound(self) -> EnergyBound:
        """Return the least D(ν), or nearly so, by the intersections of its tangents."""
        idle = self.scenario.autoregressive_goodput
        low, high = self.bound(0.0, idle), self.bound(1.0 / float(self.energy.min()), idle)  # no token is worth a joule
        best = min(low, high)
        for _ in range(_STEPS):
            if not low.slope < 0.0 < high.slope:
                break
            start = low.rate - low.slope * low.price
            price = (high.rate - high.slope * high.price - start) / (low.slope - high.slope)
            least = start + low.slope * price
            if best.rate - least <= _TOLERANCE * best.rate:
                break
            bound = self.bound(price, least)
            best = min(best, bound)
            low, high = (bound, high) if bound.slope < 0.0 else (low, bound)
        return best


def priced_lengths(scenario: Scenario, priced: Problem, time_price: FloatArray) -> IntArray:
    """Return lengths (n, K) with about the largest Σ E[N] less the prices of tokens, and of the round's time (n,)."""
    time_price = np.maximum(time_price, _LEAST_TIME_PRICE * scenario.autoregressive_goodput)
    return best_lengths(AheadRound(scenario, priced, np.zeros(priced.low.shape), time_price))


def _proven(priced: Problem, time_price: FloatArray, lengths: IntArray) -> IntArray:
    """Improve lengths by branch and bound: max W − ρ' τ = F if and only if max W / (τ + F / ρ') = ρ'."""
    best, rows = lengths.astype(np.float64), np.arange(len(priced))
    for _ in range(_ITERATIONS):
        part, length, ratio = priced[rows], best[rows], time_price[rows]
        shift = part.tokens(length[:, None])[:, 0] / ratio - part.round_time(length)
        shifted = replace(part, constant_time=part.constant_time + shift)
        found = branch_and_bound(shifted, length, _CERTIFICATE, _SPLITS)
        best[rows] = found.lengths
        rows = rows[found.bound > (1.0 + 2.0 * _CERTIFICATE) * ratio]  # F was too low
        if not len(rows):
            return best.astype(np.int64)
    raise RuntimeError(f"lengths: expected a proof within {_SPLITS} steps of branch and bound, got none")


def energy_law(scenario: Scenario) -> EnergyLaw:
    """Return the law of a scenario: that of the file for presets with `DEFAULTS`, otherwise `computed_law`.

    It does not depend on the capacity, nor on whether ``charge_share`` is charged or is the budget of a time.
    """
    return _law(scenario.replace(battery_rounds=20.0, budget_time=0.0))


@lru_cache(maxsize=64)
def _law(scenario: Scenario) -> EnergyLaw:
    for name, law in json.loads(LAWS.read_text()).items():
        if scenario == Scenario.preset(name, **DEFAULTS):
            batteries = Batteries((tuple(law["usual_energy"]),) * len(scenario.tasks), law["round_time"])
            return EnergyLaw(batteries, law["price"], law["rate"], law["power"])
    return computed_law(scenario)


def computed_law(scenario: Scenario, scale: int = 1) -> EnergyLaw:
    """Return the law from ``scale`` times as many random devices as usual; for ``scale`` > 1 with a proof of D."""
    rng, users = np.random.default_rng(0), scenario.num_users
    devices, state = sample_devices(scenario, rng, max(scale * _DEVICES // users, 32))
    free = EnergySample(scenario, state, np.zeros(len(state.draft_time)))
    rounds = free.best(0.0, free.bound(0.0, scenario.autoregressive_goodput).rate)
    joules, features = free.energy * rounds.lengths, device_features(scenario, devices.draft_time, devices.mean_gain)
    usual, redrawn = [], Dynamics.of(scenario).acceptance.changes
    for task in range(len(scenario.tasks)):
        rows = (devices.task == task) | redrawn  # new requests have new tasks
        usual.append(tuple(np.linalg.lstsq(features[rows], joules[rows], rcond=None)[0].tolist()))
    batteries = Batteries(tuple(usual), float(rounds.time.mean()))
    sample = EnergySample.draw(scenario, batteries, rng, max(scale * _PRICED // users, 8))
    best = sample.best_bound()
    if scale > 1:
        best = sample.bound(best.price, best.rate, proven=True)
    return EnergyLaw(batteries, best.price, best.rate, float(sample.charge.mean()))


def charging_power(scenario: Scenario, state: SystemState) -> FloatArray:
    """Return Σ_k P_k (...) in W of a state (..., K) with batteries; a budget counts as charged over ``budget_time``."""
    assert state.batteries is not None
    power = state.batteries.capacity / scenario.budget_time if scenario.budget_time else state.batteries.charge
    assert power is not None
    return np.asarray(np.add.reduce(power, -1))
