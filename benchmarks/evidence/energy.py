"""Batteries: shares of the bound, goodput against joules a token, and random systems with rules below the bound.

Without options, shares of D of the rules with K = 8, by the regret along the path. ``--figure FILE`` draws goodput
against joules per token, with the bound; ``--systems N`` plays rules in N random systems and prints the largest excess
over D in standard errors.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import multispin_env as ms
from benchmarks.tools import Row, show
from multispin_env.arrays import FloatArray
from multispin_env.evaluation.statistics import HELD_OUT_SEED
from multispin_env.solver.energy import DEFAULTS, EnergySample, draw_users, energy_law

RULES = ("optimal", "energy-prices", "drift", "shaped")
SYSTEMS = (("qwen3.5", 5.0), ("qwen3.5", 20.0), ("qwen3.5", 100.0), ("llama2", 20.0))
ENV = "MultiSpin/Energy-v0"
PRICES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 7.5, 8.0, 8.25, 8.5, 8.75, 9.0)
"""Prices ν of the figure, tokens/J."""


def play(name: str, num_envs: int, rounds: int, skipped: int = 0, **arguments: object) -> FloatArray:
    """Return tokens, joules, seconds, regret and stored charge of each environment, summed over rounds, (5, n)."""
    config = ms.EnvConfig.of(ENV, rounds=skipped + rounds, regret=True, action="lengths", **arguments)  # type: ignore[arg-type]
    env = config.make_vec(num_envs)
    base, controller = env.unwrapped, config.contender(name)
    env.reset(seed=HELD_OUT_SEED)
    sums, battery = np.zeros((5, num_envs)), base.state.level * base.state.capacity
    playing = np.ones(num_envs, dtype=bool)
    for number in range(skipped + rounds):
        *_, terminated, truncated, info = env.step(base.encode_action(controller(base.state)))
        stored, battery = (info["battery"] - battery).sum(-1), info["battery"]
        step = info["accepted_tokens"].sum(-1), info["joules"].sum(-1), info["round_latency"], info["regret"], stored
        sums += playing * (number >= skipped) * np.array(step)
        playing &= ~(terminated | truncated)
        if not playing.any():
            break
    return sums


def share_rows(envs: int, rounds: int) -> Iterator[Row]:
    for preset, capacity in SYSTEMS:
        rates = {}
        for name in RULES:
            tokens, _, time, regret, _ = play(
                name, envs, rounds, int(4 * capacity), scenario=preset, battery_rounds=capacity
            )
            rate, lost = tokens.sum() / time.sum(), regret.sum() / time.sum()
            error = (regret - lost * time).std(ddof=1) * len(time) ** 0.5 / time.sum()
            share = rate / (rate + lost)
            rates[name] = f"{100 * share:.1f} ± {100 * error * share**2 / rate:.1f}"
        law = energy_law(ms.Scenario.preset(preset, **DEFAULTS))
        yield {"system": preset, "C": capacity, "D / free": f"{law.rate / law.free_rate:.3f}", **rates}


def budget_rows(envs: int, time: float) -> Iterator[Row]:
    for acceptance in ("by-task", "by-request"):
        cells = {}
        for name in ("optimal", "energy-prices", "paced"):
            options = {"scenario": "qwen3.5", "acceptance": acceptance, "budget_time": time}
            tokens, _, seconds, regret, _ = play(name, envs, 10**5, **options)
            rate, lost = tokens.sum() / seconds.sum(), regret.sum() / seconds.sum()
            cells[name] = f"{rate / (rate + lost):.3f}"
        yield {"acceptance": acceptance, **cells}


def curve(preset: str, size: int) -> tuple[list[Row], FloatArray, FloatArray]:
    """Return rows of goodput and joules per token of `optimal` at each price, and the bound as pairs."""
    scenario = ms.Scenario.preset(preset, **{**DEFAULTS, "battery_rounds": 0.0})
    _, state = draw_users(scenario, np.random.default_rng(HELD_OUT_SEED), size)
    sample = EnergySample(scenario, state, np.zeros(size))
    rows, duals = [], []
    for price in PRICES:
        decision = ms.make_controller("optimal", scenario, energy_price=price)(state)
        played = sample.played(decision.draft_length)
        rate, joules = played.tokens.sum() / played.time.sum(), played.joules.sum() / played.tokens.sum()
        rows.append({"ν": price, "tokens/s": float(rate), "J/token": float(joules)})
        if price:
            duals.append((price, sample.dual(price, float(rate)).rate))
    first = rows[0]
    for row in rows:
        row["tokens/s, %"] = 100.0 * (row["tokens/s"] / first["tokens/s"] - 1.0)
        row["J/token, %"] = 100.0 * (row["J/token"] / first["J/token"] - 1.0)
    prices, rates = np.array(duals).T
    joules = np.linspace(0.0, 1.1 * first["J/token"], 200)
    room = 1.0 - prices * joules[:, None]  # rate ≤ D(ν) + ν power and power = joules per token · rate
    bound = np.where(room > 0.0, rates / np.where(room > 0.0, room, 1.0), np.inf).min(-1)
    free = sample.dual(0.0, first["tokens/s"]).rate
    return rows, joules, np.minimum(bound, free)


def draw(path: Path, size: int) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8))
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
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def random_systems(count: int) -> Iterator[Row]:
    """Yield the excess over D of rules in random systems, in standard errors; the charge in batteries is counted."""
    rng = np.random.default_rng(0)
    for number in range(count):
        options = {
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
        name = RULES[number % len(RULES)]
        scenario = ms.EnvConfig.of(ENV, **options).scenario  # type: ignore[arg-type]
        law, bound = energy_law(scenario), ms.energy_bound(scenario, size=400, rng=number + 1)
        tokens, _, time, _, stored = play(name, 32, 40, **options)
        gained = tokens + bound.price * stored
        excess = gained.sum() / time.sum() - bound.rate
        error = np.hypot((gained - bound.rate * time).std(ddof=1) * 32**0.5 / time.sum(), bound.error)
        share = gained.sum() / time.sum() / law.rate
        yield {"system": number, "rule": name, "share of D": float(share), "excess / error": float(excess / error)}


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--envs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=400, help="rounds after the warm-up (default 400)")
    parser.add_argument("--figure", type=Path, metavar="FILE")
    parser.add_argument("--systems", type=int, default=0, metavar="N")
    parser.add_argument("--budget", type=float, default=0.0, metavar="H", help="shares with a budget for H seconds")


def run(options: Namespace) -> None:
    if options.figure:
        draw(options.figure, 600)
    elif options.systems:
        rows = list(random_systems(options.systems))
        show("Largest excess over D", sorted(rows, key=lambda row: -row["excess / error"])[:5])
    elif options.budget:
        show("Share of D with a budget, qwen3.5, K = 8", budget_rows(options.envs, options.budget))
    else:
        show("Share of D in %, K = 8", share_rows(options.envs, options.rounds))
