"""Batteries: shares of the bound, goodput against joules a token, and random systems with rules below the bound.

Without options, shares of D of the rules with K = 8, by the regret along the path. ``--figure FILE`` draws goodput
against joules per token, with the bound; ``--systems N`` plays rules in N random systems and prints the largest excess
over D in standard errors; with ``--charge 0.5``, D is that of half the charge, which rules exceed. ``--budget H`` gives
batteries a budget for H seconds, with a price for each device. ``--runs`` adds trained agents, and the pretrained one.
"""

import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import multispin_agents
import multispin_env as ms
from benchmarks.tools import Options, Row, show
from multispin_agents.models import read_policy
from multispin_env.arrays import FloatArray
from multispin_env.envs.base import MultiSpinVectorEnv
from multispin_env.evaluation.statistics import HELD_OUT_SEED
from multispin_env.physics.energy import token_energy
from multispin_env.solver.energy import DEFAULTS, LAWS, EnergySample, computed_law, energy_law, priced_lengths
from multispin_env.solver.problem import make_problem

RULES = ("optimal", "energy-prices", "drift", "shaped")
SYSTEMS = (("qwen3.5", 5.0), ("qwen3.5", 20.0), ("qwen3.5", 100.0), ("llama2", 20.0))
ENV = "MultiSpin/Energy-v0"
PRICES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 7.5, 8.0, 8.25, 8.5, 8.75, 9.0)
"""Prices ν of the figure, tokens/J."""
STATES, STRIDE = 150, 7  # states for the prices of devices, and the rounds between them: requests last 20 rounds


def play(controller: Any, num_envs: int, rounds: int, skipped: int = 0, **arguments: Any) -> FloatArray:
    """Return tokens, seconds, regret and stored charge of each environment, summed over rounds, (4, n)."""
    config = ms.EnvConfig.of(ENV, rounds=skipped + rounds, action="lengths", **arguments)
    env, decide = config.make_vec(num_envs), config.contender(controller) if isinstance(controller, str) else controller
    base: Any = env.unwrapped
    env.reset(seed=HELD_OUT_SEED)
    sums, battery = np.zeros((4, num_envs)), base.state.batteries.level * base.state.batteries.capacity
    for number in range(skipped + rounds):
        *_, info = env.step(base.encode_action(decide(base.state)))
        stored, battery = (info["battery"] - battery).sum(-1), info["battery"]
        regret = info.get("regret", np.zeros(num_envs))
        sums += (number >= skipped) * np.array((info["accepted_tokens"].sum(-1), info["round_latency"], regret, stored))
    return sums


def share(controller: Any, envs: int, rounds: int, preset: str, capacity: float) -> str:
    options = {"scenario": preset, "battery_rounds": capacity, "regret": True}
    tokens, time, regret, _ = play(controller, envs, rounds, int(4 * capacity), **options)
    rate, lost = tokens.sum() / time.sum(), regret.sum() / time.sum()
    error = (regret - lost * time).std(ddof=1) * len(time) ** 0.5 / time.sum()
    part = rate / (rate + lost)
    return f"{100 * part:.1f} ± {100 * error * part**2 / rate:.1f}"


def agent_rows(runs: list[str], envs: int, rounds: int) -> Iterator[Row]:
    policies = {"pretrained": multispin_agents.load(ENV), **{run: read_policy(Path(run)) for run in runs}}
    for name, policy in policies.items():
        yield {"agent": name, "qwen3.5, C = 20": share(policy, envs, rounds, "qwen3.5", 20.0)}


@cache
def relative_bound(preset: str) -> float:
    """Return D / D(0), which does not depend on the capacity of the batteries."""
    scenario = ms.Scenario.preset(preset, **DEFAULTS)
    free, bound = (ms.energy_bound(scenario, price, size=2000).rate for price in (0.0, None))
    return bound / free


def share_rows(envs: int, rounds: int) -> Iterator[Row]:
    for preset, capacity in SYSTEMS:
        rates = {name: share(name, envs, rounds, preset, capacity) for name in RULES}
        yield {"system": preset, "C": capacity, "D / free": f"{relative_bound(preset):.3f}", **rates}


def best_rounds(
    scenario: ms.Scenario, state: ms.SystemState, price: FloatArray, power: FloatArray, rate: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return Σ E[N] (n,), joules (n, K) and time (n,) of the best rounds at prices ν_k and power P_k (n, K), ρ (n,)."""
    sample = EnergySample(scenario, state.changed(batteries=None), power.sum(-1))
    priced = replace(sample.problem, token_price=price * sample.energy)
    played = sample.played(priced_lengths(scenario, priced, rate - (price * power).sum(-1)))
    return played.tokens, played.lengths * sample.energy, played.time


def device_prices(env: MultiSpinVectorEnv, power: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ν_k (n, K) and D (n,) of n sets of devices: at these prices the best rounds in their states spend P_k."""
    states, idle = [], env.encode_action(ms.Decision(np.zeros(power.shape, dtype=np.int64), np.ones(power.shape)))
    for number in range(STATES * STRIDE):
        if number % STRIDE == 0:
            states.append(env.state)
        env.step(idle)
    every = ms.SystemState.joined([state.changed(batteries=None) for state in states])
    law = energy_law(env.scenario)
    price, rate = np.full(power.shape, law.price), np.full(len(power), law.rate)
    for step in np.repeat(np.geomspace(0.4, 0.1, 24), 2):
        repeated = (np.concatenate([array] * STATES) for array in (price, power, rate))
        rounds = best_rounds(env.scenario, every, *repeated)
        tokens, joules, time = (array.reshape(STATES, len(power), *array.shape[1:]).mean(0) for array in rounds)
        rate = (tokens - (price * joules).sum(-1)) / time + (price * power).sum(-1)
        price = price * np.clip(joules / time[:, None] / power, 0.3, 3.0) ** step
    return price, rate


def budget_row(acceptance: str, envs: int, horizon: float) -> Row:
    """Return shares of the bound with a price for each device of each set, by the regret along the path."""
    config = ms.EnvConfig.of(ENV, "qwen3.5", acceptance=acceptance, budget_time=horizon, rounds=10**5, action="lengths")
    env: Any = config.make_vec(envs).unwrapped
    scenario = config.scenario
    env.reset(seed=HELD_OUT_SEED)
    power = env.state.batteries.capacity / horizon
    price, rate = device_prices(env, power)
    equal = ms.make_controller("optimal", scenario).with_equal_latency

    def priced(pace: float, state: Any) -> ms.Decision:
        behind = state.batteries.time_left - state.batteries.level
        token = price * np.exp(pace * behind) * token_energy(scenario, state)
        paced = replace(make_problem(scenario, state), token_price=token)
        return equal(priced_lengths(scenario, paced, rate - (price * power).sum(-1)), state)

    def share(decide: Callable[[ms.SystemState], ms.Decision]) -> str:
        env.reset(seed=HELD_OUT_SEED)
        sums, playing = np.zeros((3, envs)), np.ones(envs, dtype=bool)
        while playing.any():
            state = env.state
            tokens, joules, time = best_rounds(scenario, state, price, power, rate)
            largest = tokens - (price * (joules - power * time[:, None])).sum(-1) - rate * time
            *_, terminated, _, info = env.step(env.encode_action(decide(state)))
            sums += playing * np.array((info["accepted_tokens"].sum(-1), info["round_latency"], largest))
            playing &= ~terminated
        tokens, time, largest = sums
        # all joules count as spent
        lost = largest - (tokens - rate * time + (price * power).sum(-1) * (time - horizon))
        return f"{tokens.sum() / (tokens.sum() + lost.sum()):.4f}"

    rules: dict[str, Any] = {name: config.contender(name) for name in ("optimal", "energy-prices", "paced")}
    rules |= {f"ν_k, pace {pace:g}": partial(priced, pace) for pace in (0.0, 5.0)}
    return {"acceptance": acceptance, **{name: share(rule) for name, rule in rules.items()}}


def curve(preset: str, size: int) -> tuple[list[dict[str, float]], FloatArray, FloatArray]:
    """Return rows of goodput and joules per token of `optimal` at each price, and the bound as pairs."""
    scenario = ms.Scenario.preset(preset, **{**DEFAULTS, "battery_rounds": 0.0})
    state = ms.sample_state(scenario, HELD_OUT_SEED, size)
    sample = EnergySample(scenario, state, np.zeros(size))
    rows: list[dict[str, float]] = []
    duals = []
    for price in PRICES:
        decision = ms.make_controller("optimal", scenario, energy_price=price)(state)
        played = sample.played(decision.draft_length)
        rate, joules = played.tokens.sum() / played.time.sum(), played.joules.sum() / played.tokens.sum()
        rows.append({"ν": price, "tokens/s": float(rate), "J/token": float(joules)})
        if price:
            duals.append((price, sample.bound(price, float(rate)).rate))
    first = rows[0]
    for row in rows:
        row["tokens/s, %"] = 100.0 * (row["tokens/s"] / first["tokens/s"] - 1.0)
        row["J/token, %"] = 100.0 * (row["J/token"] / first["J/token"] - 1.0)
    prices, rates = np.array(duals).T
    joules = np.linspace(0.0, 1.1 * first["J/token"], 200)
    room = 1.0 - prices * joules[:, None]  # rate ≤ D(ν) + ν power and power = joules per token · rate
    bound = np.where(room > 0.0, rates / np.where(room > 0.0, room, 1.0), np.inf).min(-1)
    free = sample.bound(0.0, first["tokens/s"]).rate
    return rows, joules, np.minimum(bound, free)


def draw(path: Path, size: int) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="tight")
    axes = figure.subplots(1, 2)
    for axis, preset in zip(axes, ("llama2", "qwen3.5"), strict=True):
        rows, joules, bound = curve(preset, size)
        show(f"{preset}: optimal with energy_price", rows)
        axis.plot(1e3 * joules, bound, color="black", label="bound on every policy")
        points = [[1e3 * row["J/token"], row["tokens/s"]] for row in rows]
        axis.plot(
            *zip(*points, strict=True), "o", color="tab:blue", markersize=4, label="optimal with energy_price = ν"
        )
        for row, (x, y) in list(zip(rows, points, strict=True))[::3]:
            axis.annotate(f"ν = {row['ν']:g}", (x, y), textcoords="offset points", xytext=(6, -12), fontsize=8)
        axis.set(xlabel="millijoules per token", title=f"{preset}, K = 8", ylim=(0, None), xlim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("goodput (tokens/s)")
    axes[0].legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)


def random_systems(count: int, charge: float) -> Iterator[Row]:
    """Yield the excess over D of rules in random systems, in standard errors; the charge in batteries is counted."""
    rng = np.random.default_rng(0)
    for number in range(count):
        options: dict[str, Any] = {
            "scenario": str(rng.choice(ms.registry.SCENARIOS.names())),
            "num_users": int(rng.integers(1, 5)),
            "total_bandwidth": float(10 ** rng.uniform(6.3, 7.3)),
            "acceptance": str(rng.choice(["by-task", "by-request"])),
            "channel": str(rng.choice(["static", "independent", "gauss-markov"])),
            "battery_rounds": float(10 ** rng.uniform(0.0, 1.5)),
            "charge_share": float(rng.uniform(0.2, 0.95)),
            "transmit_power": float(rng.choice([0.0, 0.2, 2.0])),
            "draft_time_spread": float(rng.choice([0.15, 0.6])),
        }
        name, envs = RULES[number % len(RULES)], 128
        scenario = ms.EnvConfig.of(ENV, **options).scenario
        bound = ms.energy_bound(
            scenario.replace(charge_share=charge * scenario.charge_share), size=1000, rng=number + 1
        )
        tokens, time, _, stored = play(name, envs, 20, **options)
        gained = tokens + bound.price * stored
        rate = gained.sum() / time.sum()
        error = np.hypot((gained - rate * time).std(ddof=1) * envs**0.5 / time.sum(), bound.error)
        excess = float(rate - bound.rate)
        yield {"system": number, "rule": name, "share of D": rate / bound.rate, "excess / error": excess / error}


def write_laws() -> None:
    """Write the laws of all presets to the file of the package, with 8 digits, in about 5 minutes."""
    lines = []
    for name in ms.registry.SCENARIOS.names():
        batteries, *numbers = computed_law(ms.Scenario.preset(name, **DEFAULTS), 40)
        law = {"usual_energy": batteries.usual_energy[0], "round_time": batteries.round_time}
        law |= dict(zip(("price", "rate", "power"), numbers, strict=True))
        rounded = {
            key: np.vectorize(lambda number: float(f"{number:.8g}"))(value).tolist() for key, value in law.items()
        }
        lines.append(f" {json.dumps(name)}: {json.dumps(rounded)}")
    LAWS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


OPTIONS: Options = {
    "laws": (False, "write the file of the presets' laws"),
    "envs": (64, "environments"),
    "rounds": (400, "rounds after the warm-up"),
    "figure": (None, "file of the figure", {"type": Path}),
    "systems": (0, "random systems"),
    "charge": (1.0, "factor of the charge in D, with --systems"),
    "runs": (None, "shares of trained agents", {"nargs": "*"}),
    "budget": (0.0, "shares with a budget for so many seconds"),
}


def run(options: Namespace) -> None:
    if options.laws:
        write_laws()
    elif options.figure:
        draw(options.figure, 600)
    elif options.systems:
        rows = list(random_systems(options.systems, options.charge))
        excess = np.array([row["excess / error"] for row in rows])
        print(
            f"{(excess > 2.0).sum()} of {len(rows)} above D by more than 2 standard errors, {(excess > 4.0).sum()} by 4"
        )
        for name in RULES:
            shares = [row["share of D"] for row in rows if row["rule"] == name]
            print(f"{name}: mean share {np.mean(shares):.3f}")
        show("Largest excess over D", sorted(rows, key=lambda row: -row["excess / error"])[:5])
    elif options.budget:
        show(
            "Share of D with a budget, qwen3.5, K = 8",
            [budget_row(name, options.envs, options.budget) for name in ("by-task", "by-request")],
        )
    elif options.runs is not None:
        show("Share of D in %, K = 8", agent_rows(options.runs, options.envs, options.rounds))
    else:
        show("Share of D in %, K = 8", share_rows(options.envs, options.rounds))
