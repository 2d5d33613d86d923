"""Price of a joule, and bound on goodput, for devices with batteries (not in the paper; docs/evidence/energy.md).

For a price of ν tokens per joule, D(ν) is the root ρ of

    E max_L [ Σ_k E[N_k | L_k] − ν Σ_k e_k L_k + (ν Σ_k P_k − ρ) τ(L) ] = 0,

the mean over states of rounds without batteries. No policy that sees states but not the draws of acceptance gains more
than D(ν) tokens per second in the long run, for any ν ≥ 0. D is convex, with the derivative E[Σ P τ − Σ e L] / E[τ].
"""

import json
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.energy import Batteries, device_features, token_energy
from multispin_env.physics.radio import spectral_efficiency
from multispin_env.physics.rounds import UNIFORMS_PER_USER, Dynamics, Users, users_from_uniforms
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario
from multispin_env.solver.ahead import AheadRound, best_lengths
from multispin_env.solver.problem import Problem, make_problem
from multispin_env.solver.relaxed import Relaxed
from multispin_env.solver.search import branch_and_bound

_DEVICES, _PRICED = 3_200, 800  # random devices for means without batteries, and for D, in `energy_law`
_STEPS, _TOLERANCE = 12, 1e-4  # prices that are tried; relative gap between D and its lower bound
_ITERATIONS, _PRECISION = 20, 1e-4  # of the root of D at one price; the last step of Newton squares the relative error
_CERTIFICATE, _SPLITS = 1e-8, 400  # relative gap and rounds of branch and bound
_LEAST_TIME_PRICE = 1e-3  # relative to the goodput of the server alone

DEFAULTS = MappingProxyType({"num_users": 8, "acceptance": "by-request", "min_draft_length": 0, "battery_rounds": 20.0})
"""Fields of presets with batteries; for these scenarios a file holds the law."""

LAWS = Path(__file__).parents[1] / "data" / "energy.json"


class PricedRounds(NamedTuple):
    """Best lengths at a price in n states."""

    lengths: IntArray  # (n, K)
    tokens: FloatArray  # (n,) Σ E[N]
    joules: FloatArray  # (n,) Σ e L
    time: FloatArray  # (n,) s


class Dual(NamedTuple):
    """Bound at one price."""

    price: float  # ν in tokens/J
    rate: float  # D(ν) in tokens/s
    slope: float  # dD/dν in W
    error: float  # standard error of D(ν), tokens/s


@dataclass(frozen=True, eq=False)
class EnergySample:
    """Random states of rounds, with the power that charges the batteries.

    Parameters
    ----------
    scenario
        The system.
    state
        Independent states (n, K), without batteries.
    charge
        Σ_k P_k, (n,) W.
    """

    scenario: Scenario
    state: SystemState
    charge: FloatArray

    @classmethod
    def draw(cls, scenario: Scenario, batteries: Batteries, rng: np.random.Generator, size: int) -> Self:
        """Draw n devices with one state each; a budget counts as charged over ``budget_time``."""
        devices, state = draw_users(scenario, rng, size)
        capacity, charge = batteries.first(scenario, *devices)
        return cls(scenario, state, charging_power(scenario, state.changed(capacity=capacity, charge=charge)))

    @cached_property
    def problem(self) -> Problem:
        """The states as a problem."""
        return make_problem(self.scenario, self.state)

    @cached_property
    def energy(self) -> FloatArray:
        """e_k (n, K) in J."""
        return token_energy(self.scenario, self.state.spectral_efficiency)

    def best(self, price: float, rate: float, proven: bool = False) -> PricedRounds:
        """Return the lengths that maximise the bracket at ν and ρ, or, if ``proven``, are within 1e-8 of the maximum.

        Without a proof, the mean of the maximum is about 0.003 tokens too small.
        """
        floor = _LEAST_TIME_PRICE * self.scenario.autoregressive_goodput
        time_price = np.maximum(rate - price * self.charge, floor)
        lengths = priced_lengths(self.scenario, replace(self.problem, token_price=price * self.energy), time_price)
        if proven:
            lengths = self._improved(price, time_price, lengths)
        return self.played(lengths)

    def played(self, lengths: IntArray) -> PricedRounds:
        """Return tokens, joules and time of rounds with these lengths (n, K)."""
        tokens = self.problem.tokens(lengths[:, None])[:, 0]
        joules = np.add.reduce(self.energy * lengths, -1)
        return PricedRounds(lengths, tokens, joules, self.problem.round_time(lengths.astype(np.float64)))

    def _improved(self, price: float, time_price: FloatArray, lengths: IntArray) -> IntArray:
        """Improve lengths by branch and bound: max W − ρ φ = F if and only if max W / (φ + F / ρ) = ρ."""
        flat = replace(self.problem, token_price=price * self.energy, lines=np.zeros((1, 2)))
        latency = flat.latency(lengths[:, None])[:, 0]
        fixed = (flat.tokens(lengths[:, None])[:, 0] - time_price * latency) / time_price
        flat = replace(flat, constant_time=fixed)
        ones = np.ones(len(flat))
        near = Relaxed(np.maximum(lengths, 0.5), latency, ones, time_price, np.zeros(len(flat)))
        found = branch_and_bound(flat, lengths.astype(np.float64), near, _CERTIFICATE, _SPLITS)
        return found.lengths.astype(np.int64)

    def root(self, price: float, start: float) -> tuple[float, PricedRounds]:
        """Return D(ν) and the best rounds, by Dinkelbach's iteration from an estimate of D."""
        rate = start
        for _ in range(_ITERATIONS):
            best = self.best(price, rate)
            before, rate = rate, self._rate(price, best)
            if abs(rate - before) <= _PRECISION * rate:
                break
        return rate, best

    def dual(self, price: float, start: float, proven: bool = False) -> Dual:
        """Return D(ν) from an estimate of it; with a proof, D(ν) is not too low."""
        rate, best = self.root(price, start)
        if proven:
            best = self.best(price, rate, proven=True)
            rate = self._rate(price, best)
        time = float(best.time.mean())
        surplus: FloatArray = best.tokens - price * best.joules + (price * self.charge - rate) * best.time
        slope = float((self.charge * best.time - best.joules).mean()) / time
        return Dual(price, rate, slope, float(surplus.std()) / len(surplus) ** 0.5 / time)

    def _rate(self, price: float, best: PricedRounds) -> float:
        earned = best.tokens - price * best.joules + price * self.charge * best.time
        return float(earned.mean() / best.time.mean())

    def best_dual(self) -> Dual:
        """Return the least D(ν), or nearly so, by the intersections of its tangents."""
        low = self.dual(0.0, self.scenario.autoregressive_goodput)
        idle = self.played(np.zeros(self.problem.low.shape, dtype=np.int64))
        dearest = 1.0 / float(self.energy.min())  # no token is worth it
        high = Dual(dearest, self._rate(dearest, idle), float(self.charge.mean()), 0.0)
        best = min(low, high, key=lambda dual: dual.rate)
        for _ in range(_STEPS):
            if not low.slope < 0.0 < high.slope:
                break
            start = low.rate - low.slope * low.price
            price = (high.rate - high.slope * high.price - start) / (low.slope - high.slope)
            least = start + low.slope * price
            if best.rate - least <= _TOLERANCE * best.rate:
                break
            dual = self.dual(price, least)
            best = min(best, dual, key=lambda dual: dual.rate)
            low, high = (dual, high) if dual.slope < 0.0 else (low, dual)
        return best


def priced_lengths(scenario: Scenario, priced: Problem, time_price: FloatArray) -> IntArray:
    """Return lengths (n, K) with about the largest Σ E[N] less the prices of tokens, and of the round's time (n,)."""
    return best_lengths(AheadRound(scenario, priced, np.zeros(priced.low.shape), time_price))


@dataclass(frozen=True)
class EnergyLaw:
    """Batteries of a scenario, the price of a joule, and the bound on every policy.

    Parameters
    ----------
    batteries
        Capacity and charge of each device.
    price
        ν in tokens/J, one number for all devices.
    rate
        D(ν) in tokens/s, over random devices.
    error
        Standard error of the rate, tokens/s.
    free_rate
        D(0): long-run goodput of the optimum without batteries, tokens/s.
    power
        Mean of Σ_k P_k in W; a budget counts as charged over ``budget_time``.
    """

    batteries: Batteries
    price: float
    rate: float
    error: float
    free_rate: float
    power: float

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Return the law with these values, the result of ``dataclasses.asdict``."""
        batteries = values["batteries"]
        usual = tuple(map(tuple, batteries["usual_energy"]))
        return cls(**{**values, "batteries": Batteries(usual, batteries["round_time"])})


def draw_users(scenario: Scenario, rng: np.random.Generator, size: int) -> tuple[Users, SystemState]:
    """Draw devices (n, K) with the acceptance and the gains of a random round."""
    dynamics, users = Dynamics.of(scenario), scenario.num_users
    devices = users_from_uniforms(scenario, rng.random((size, UNIFORMS_PER_USER, users)))
    gain = dynamics.channel.first_gain(devices.mean_gain, dynamics.channel.draw(rng, size, users))
    fresh = rng.random((size, dynamics.acceptance.columns, users))
    requests = dynamics.acceptance.first(scenario, devices.task, fresh)
    return devices, SystemState(devices.draft_time, spectral_efficiency(scenario, gain), requests.rate)


def energy_law(scenario: Scenario) -> EnergyLaw:
    """Return the law of a scenario: that of the file for presets with `DEFAULTS`, otherwise `computed_law`.

    It does not depend on the capacity, nor on whether ``charge_share`` is charged or is the budget of a time.
    """
    same: dict[str, Any] = {"battery_rounds": DEFAULTS["battery_rounds"], "budget_time": 0.0}
    return _law(scenario.replace(**same))


@lru_cache(maxsize=64)
def _law(scenario: Scenario) -> EnergyLaw:
    return _stored_laws().get(scenario) or computed_law(scenario)


@cache
def _stored_laws() -> dict[Scenario, EnergyLaw]:
    stored: dict[str, dict[str, Any]] = json.loads(LAWS.read_text())
    return {Scenario.preset(name, **DEFAULTS): EnergyLaw.of(values) for name, values in stored.items()}


def computed_law(scenario: Scenario, scale: int = 1, *, proven: bool = False) -> EnergyLaw:
    """Return the law from ``scale`` times as many random devices as usual; for ``proven`` see `EnergySample.dual`."""
    rng, users = np.random.default_rng(0), scenario.num_users
    devices, state = draw_users(scenario, rng, max(scale * _DEVICES // users, 32))
    free = EnergySample(scenario, state, np.zeros(len(state.draft_time)))
    free_rate, played = free.root(0.0, scenario.autoregressive_goodput)
    joules, features = free.energy * played.lengths, device_features(scenario, devices.draft_time, devices.mean_gain)
    usual, redrawn = [], Dynamics.of(scenario).acceptance.changes
    for task in range(len(scenario.tasks)):
        rows = (devices.task == task) | redrawn  # new requests have new tasks
        usual.append(tuple(np.linalg.lstsq(features[rows], joules[rows], rcond=None)[0].tolist()))
    batteries = Batteries(tuple(usual), float(played.time.mean()))
    sample = EnergySample.draw(scenario, batteries, rng, max(scale * _PRICED // users, 8))
    best = sample.best_dual()
    if proven:
        best = sample.dual(best.price, best.rate, proven=True)
    return EnergyLaw(batteries, best.price, best.rate, best.error, free_rate, float(sample.charge.mean()))


def charging_power(scenario: Scenario, state: SystemState) -> FloatArray:
    """Return Σ_k P_k (...) in W of a state (..., K) with batteries; a budget counts as charged over ``budget_time``."""
    assert state.charge is not None
    assert state.capacity is not None
    power = state.capacity / scenario.budget_time if scenario.budget_time else state.charge
    return np.asarray(np.add.reduce(power, -1))
