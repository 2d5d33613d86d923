from functools import cache, partial

import numpy as np

import multispin_env as ms
from multispin_env.solver.energy import DEFAULTS
from tests.envs.continuous.played import states_of
from tests.families import RULES
from tests.refusals import refusals

SCENARIO = ms.Scenario.preset("llama2", **DEFAULTS | {"num_users": 3, "min_draft_length": 1, "battery_rounds": 0.0})


@cache
def state():
    return next(states_of(SCENARIO, 1, 1))


def decide(name, **options):
    rounds = name in (*RULES, "energy-prices", "paced")
    return ms.make_controller(name, SCENARIO, **options)(ms.sample_state(SCENARIO, 0, 1) if rounds else state())


NAMES = [
    ("grups", {}, "controller: expected one of .*, got 'grups'; did you mean 'groups'"),
    ("optimall+beta", {}, "controller: expected one of .*, got 'optimall'.*did you mean 'optimal'"),
    ("optimal+betta", {}, "estimator: expected one of .*, got 'betta'.*did you mean 'beta'"),
    ("greedy+deadline", {}, "estimator: expected one of .*, got 'deadline'; did you mean 'dead"),
    ("optimal+beta+clairvoyant", {}, "estimator: expected one of .*, got 'clairvoyant'"),
    ("optimal+beta+filter", {}, r"estimators: expected at most one for each part, got \['Beta', 'Filter'\]"),
    ("fixed+gradient", {}, "base: expected a WeightedController .*, got Fixed"),
    ("groups", {"grups": 2}, "controller 'groups': got an unexpected keyword argument 'grups'"),
    ("greedy+deadlines", {"groups": 2}, r"'greedy\+deadlines': got an unexpected keyword argument 'groups'"),
    ("optimal+beta", {"dekay": 1.0}, "unexpected keyword argument 'dekay'.*did you mean 'decay'"),
    ("optimal+beta", {"memory": {}}, "got an unexpected keyword argument 'memory'"),
    ("groups", {"groups": 0}, "groups: expected an integer ≥ 1, got 0"),
    ("groups", {"rho": 0.0}, r"rho: expected numbers in \(0, inf\), got 0.0"),
    ("groups", {"rho": np.ones(2)}, "rho: expected one number, or one for each of 1 states, got 2"),
    ("groups", {"weights": -np.ones(3)}, r"weights\[0\]: expected numbers ≥ 0"),
    ("prices", {"rho": np.array([1.0, np.nan])}, r"rho\[1\]: expected finite numbers, got nan"),
    ("prices", {"size": 0.0}, r"size: expected numbers in \(0, 1\], got 0.0"),
    ("greedy", {"draft_length": 99}, "draft_length: expected "),
    ("greedy", {"budget": -1.0}, "budget: expected numbers in"),
    ("greedy+deadlines", {"need": 0.0}, "need: expected a finite number"),
    ("own-pace", {"queue": np.ones(4)}, r"queue: expected a shape that broadcasts to \(1, 3\), got "),
    ("algorithm1", {"phi_points": 0}, "phi_points: expected .*, got 0$"),
    ("algorithm1", {"lambda_points": 2.5}, "lambda_points: expected .*, got 2.5$"),
    ("algorithm1", {"epsilon": 0.0}, "epsilon: expected .*, got 0.0$"),
    ("optimal", {"weights": -1.0}, "weights: expected .*, got "),
    ("optimal", {"weights": np.ones(2)}, "weights: expected .*, got "),
    ("optimal", {"weights": np.full(3, np.nan)}, r"weights\[0\]: expected finite numbers, got nan"),
    *(
        ("optimal", {"certify": x}, r"certify: expected a finite number in \[1e-10, 1\), got")
        for x in (0, 0.99e-10, 1.0)
    ),
    *(("optimal", {"tpot": x}, "tpot: expected a finite number") for x in (0.0, -1.0, np.nan, "slow")),
    ("optimal", {"time_limit": -1}, r"time_limit: expected a finite number in \[0, inf\), got -1"),
    ("optimal", {"fixed_length": [26, -1, -1]}, r"fixed_length\[0\]: expected integers in 1\.\.25, or -1 .*, got 26"),
    ("optimal", {"fixed_length": [1.5] * 3}, r"fixed_length\[0\]: expected integers .*, got 1\.5"),
    ("optimal", {"fixed_length": [1, 1]}, r"fixed_length: expected a shape that broadcasts to \(1, 3\), got \(2,\)"),
    ("optimal", {"energy_price": 1e308}, r"^energy_price: expected tokens per joule, at most 1e\+06, got 1e\+308"),
    ("optimal", {"energy_price": 3.0, "tpot": 1.0}, "^energy_price: expected 0 with tpot or fixed_length, got 3"),
    (
        "optimal",
        {"energy_price": 1e3, "certify": 1e-6},
        "^energy_price: expected .*, got 1000",
    ),  # a draft costs 100 tokens
    ("fixed", {"draft_length": 99}, r"draft_length: expected an integer in 1\.\.25, got 99"),
    ("random", {"rng": "x"}, r"rng: expected a numpy\.random\.Generator or a seed, got 'x'"),
    ("ahead-price", {"rho": 0.0}, "rho: expected"),
    ("ahead-price", {"rho": np.array([1.0, np.nan])}, "rho.*expected"),
    ("ahead-price", {"chain_weight": -0.1}, "chain_weight: expected"),
    *(("energy-prices", {x: y}, f"^{x}: expected") for x, y in (("price", -1.0), ("slope", 2.5), ("time", 0.0))),
    ("energy-prices", {"acceptance": 200.0}, "^acceptance: expected"),
    ("paced", {}, "^pace: expected 0 without budget_time, got 5"),
    ("ema-tiers", {"tiers": (3, 3)}, "tiers: expected increasing lengths ≥ 1"),
    ("ema-tiers", {"down": 1.0}, "down: expected a finite number in"),
    ("ema-tiers", {"first": 4}, r"first: expected an integer in 0\.\.3, got 4"),
    ("plus-two-minus-one", {"start": 0}, r"start: expected an integer in 1\.\.25, got 0"),
    ("tetris", {"budget": -1.0}, "budget: expected a finite number in"),
]
STATES = [
    ({"air_left": np.full(3, np.nan)}, r"air_left\[0\]: expected numbers, got nan"),
    ({"phase": np.array([0, 7, 0])}, r"phase\[1\]: expected integers in 0..4, got 7"),
    ({"demand": None}, r"demand: expected a Demand, such as Demand.endless\(\(3,\)\), got None"),
    ({"drafting_left": np.array([0.0, -1.0, 0.0])}, r"drafting_left\[1\]: expected seconds ≥ 0, got -1"),
    ({"time": np.zeros(4)}, r"time: expected shape \(\), got \(4,\)"),
    ({"draft_time": np.zeros(3)}, r"draft_time\[0\]: expected numbers > 0"),
]
test_refusals = refusals(
    *((partial(decide, name, **options), pattern) for name, options, pattern in NAMES),
    *(
        (lambda bad=bad: ms.make_controller("groups", SCENARIO)(state()[0].changed(**bad)), pattern)
        for bad, pattern in STATES
    ),
    errors=(ValueError, TypeError),
)
