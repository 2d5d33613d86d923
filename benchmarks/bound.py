"""Evidence about the bound without the barrier: its values beside a prototype's, its prices, its speed.

``python -m benchmarks.bound --out results`` prints the tables and writes them as JSON; ``--tight 4`` adds the tight
bound, which takes minutes. The prototype's instances are not known, so its values are comparable by their ratio to the
barrier: *over barrier* divides the mean bound by the mean goodput of the best rounds on the same instances. Systems are
``narrow`` as the presets are, and ``wide`` with T_k = T̄ 10^U(−.5, .5).
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.evidence import report
from multispin_env.arrays import FloatArray
from multispin_env.controllers.continuous.bound import rate_bound, rate_prices
from multispin_env.controllers.factory import make_controller
from multispin_env.physics.dynamics import sample_state, users_from_uniforms
from multispin_env.physics.rounds import expected_outcome
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario

PROTOTYPE = {
    ("llama2", 8, 5, "narrow"): (122, 200, 200), ("llama2", 8, 5, "wide"): (123, 205, 200),
    ("llama2", 8, 10, "narrow"): (135, 205, 205), ("llama2", 8, 10, "wide"): (136, 211, 206),
    ("qwen3.5", 8, 5, "narrow"): (134, 222, 214), ("qwen3.5", 8, 5, "wide"): (130, 219, 203),
    ("qwen3.5", 8, 10, "narrow"): (155, 231, 222), ("qwen3.5", 8, 10, "wide"): (149, 228, 212),
    ("llama2", 20, 5, "narrow"): (152, 294, 290), ("llama2", 20, 5, "wide"): (152, 301, 290),
    ("llama2", 20, 10, "narrow"): (176, 300, 296), ("llama2", 20, 10, "wide"): (176, 307, 296),
    ("qwen3.5", 20, 5, "narrow"): (189, 384, 374), ("qwen3.5", 20, 5, "wide"): (186, 386, 382),
    ("qwen3.5", 20, 10, "narrow"): (232, 401, 392), ("qwen3.5", 20, 10, "wide"): (228, 405, 399),
}  # fmt: skip
"""Barrier, bound and bound with fading in tokens/s, by preset, K, MHz and spread of the draft times."""

TIGHT = {
    ("llama2", 8, 10, "narrow"): (204.7, 201.1),
    ("qwen3.5", 20, 5, "narrow"): (384.4, 375.9),
    ("llama2", 20, 10, "wide"): (307.4, 302.9),
}
"""The prototype's bound and tight bound, means of 4 instances."""


def instance(preset: str, users: int, mhz: float, spread: str, seed: int) -> tuple[Scenario, SystemState, FloatArray]:
    """System, state and mean gains of a seed."""
    scenario = Scenario.preset(preset, num_users=users, total_bandwidth=mhz * 1e6)
    state = sample_state(scenario, np.random.default_rng(seed))
    gain = users_from_uniforms(scenario, np.random.default_rng(seed).random((1, 3, users))).mean_gain[0]
    if spread == "wide":
        pace = scenario.mean_draft_time * 10.0 ** np.random.default_rng([seed, 1]).uniform(-0.5, 0.5, users)
        state = SystemState(pace, state.spectral_efficiency, state.acceptance_rate)
    return scenario, state, gain


def beside_prototype(instances: int) -> Iterator[dict[str, Any]]:
    """Static channels, and fading ones on a third of the instances."""
    for system, (barrier, static, fading) in PROTOTYPE.items():
        drawn = [instance(*system, seed) for seed in range(instances)]
        start = perf_counter()
        bounds = np.array([rate_bound(scenario, state) for scenario, state, _ in drawn])
        seconds = (perf_counter() - start) / instances
        rounds = np.array([_barrier(scenario, state) for scenario, state, _ in drawn])
        some = drawn[: max(1, instances // 3)]
        start = perf_counter()
        faded = [rate_bound(one, state, channel_law="rayleigh", mean_gain=gain) for one, state, gain in some]
        yield {
            "system": " ".join(map(str, system)), "bound": float(bounds.mean()),
            "± s.e.": float(bounds.std() / instances**0.5),
            "prototype": static, "over barrier": float(bounds.mean() / rounds.mean()), "prototype's": static / barrier,
            "seconds": seconds, "fading": float(np.mean(faded)), "fading, prototype": fading,
            "fading over static": float(np.mean(faded) / bounds[: len(some)].mean()),
            "seconds, fading": (perf_counter() - start) / len(some),
        }  # fmt: skip


def tight(instances: int) -> Iterator[dict[str, Any]]:
    """How much the tight bound takes off, and how long it takes."""
    for system, (plain, tightened) in TIGHT.items():
        drawn = [instance(*system, seed)[:2] for seed in range(instances)]
        bounds = np.array([rate_bound(*one) for one in drawn])
        start = perf_counter()
        tights = np.array([rate_bound(*one, tight=True) for one in drawn])
        yield {
            "system": " ".join(map(str, system)), "bound": float(bounds.mean()), "tight": float(tights.mean()),
            "tight / bound": float(tights.mean() / bounds.mean()), "prototype's": tightened / plain,
            "seconds": (perf_counter() - start) / instances,
        }  # fmt: skip


def prices(instances: int) -> Iterator[dict[str, Any]]:
    """What a second of server and uplink is worth, as shares of the bound."""
    for system in PROTOTYPE:
        found = [rate_prices(*instance(*system, seed)[:2]) for seed in range(instances)]
        total = float(sum(one.bound for one in found))
        yield {
            "system": " ".join(map(str, system)),
            "server": float(sum(one.server for one in found)) / total,
            "uplink": float(sum(one.uplink for one in found)) / total,
            "devices": float(sum(one.device.sum() for one in found)) / total,
        }


def mix(instances: int) -> Iterator[dict[str, Any]]:
    """Share of devices with the first task in the prototype's instances, if its bound differs by the tasks alone.

    The bound is fitted, linearly, by the shares of the first and the last task in instances of ours.
    """
    for system, (_, bound, _) in PROTOTYPE.items():
        drawn = [instance(*system, seed)[:2] for seed in range(instances)]
        rates = np.array([rate_bound(*one) for one in drawn])
        alphas = [[one.tasks[0].acceptance_rate, one.tasks[-1].acceptance_rate] for one, _ in drawn]
        shares = [
            (state.acceptance_rate[:, None] == alpha).mean(0) for (_, state), alpha in zip(drawn, alphas, strict=True)
        ]
        fit = np.linalg.lstsq(np.column_stack([np.ones(instances), shares]), rates, rcond=None)[0]
        needed = (bound - fit[0] - fit[2] / 4.0) / fit[1]
        yield {"system": " ".join(map(str, system)), "prototype": bound, "share": float(needed)}


def _barrier(scenario: Scenario, state: SystemState) -> float:
    return float(expected_outcome(scenario, state, make_controller("optimal", scenario)(state)).goodput)


def main() -> None:
    """Print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=12, help="of each system; a third of them with fading")
    parser.add_argument("--tight", type=int, default=0, metavar="N", help="instances of the tight bound; 0: none")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()
    results = {}
    print("Bounds")
    results["bound"] = [report(row) for row in beside_prototype(options.instances)]
    print("Tasks of the prototype's instances")
    results["mix"] = [report(row) for row in mix(5 * options.instances)]
    print("Prices, as shares of the bound")
    results["prices"] = [report(row) for row in prices(options.instances)]
    print("Tight bound")
    results["tight"] = [report(row) for row in tight(options.tight)] if options.tight else []
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bound.json").write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
