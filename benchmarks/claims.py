"""The paper's claims on this model: ``python benchmarks/claims.py`` prints them with 95 % intervals.

Gains of the optimum over each controller at four budgets for both presets, and over P2P-SPIN; each line says whether
its target holds.
"""

import argparse
import sys

import numpy as np

import multispin_env as ms
from multispin_env.checks import FloatArray
from multispin_env.evaluation.scores import held_out_states, reference_scores
from multispin_env.units import MHZ

BUDGETS = (2.5, 5.0, 10.0, 20.0)
FIVE = ("optimal", "algorithm1", "homogeneous", "uniform-bandwidth", "fixed")
RESAMPLES = 2000


def ratio_interval(above: FloatArray, below: FloatArray) -> tuple[float, float, float]:
    """Ratio of means over the same states, with its 95 % paired bootstrap interval."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(above), (RESAMPLES, len(above)))
    ratios = above[rows].mean(1) / below[rows].mean(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(above.mean() / below.mean()), float(low), float(high)


def main() -> int:
    """Print the tables; exit status 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=500, help="held-out states (default 500)")
    states = parser.parse_args().states
    held = True
    for preset in ms.SCENARIOS.names():
        for budget in BUDGETS:
            scenario = ms.Scenario.preset(preset, total_bandwidth=budget * MHZ)
            scores = reference_scores(scenario, held_out_states(scenario, states))
            means = {name: scores[name].mean() for name in FIVE}
            print(f"\n{preset}, K = 20, B = {budget:g} MHz, {states} states: mean goodput (tokens/s), optimum over it")
            for name in (*FIVE, "p2p", "centralized"):
                gain, low, high = ratio_interval(scores["optimal"], scores[name])
                print(f"  {name:18s} {scores[name].mean():8.2f}   {gain:6.3f} ({low:.3f} to {high:.3f})")
            order = max(means, key=means.__getitem__) == "optimal" and min(means, key=means.__getitem__) == "fixed"
            checks = {"optimal best and fixed last of the five": order}
            if budget == 5.0:
                checks["optimal at least +80 % over fixed"] = means["optimal"] >= 1.8 * means["fixed"]
            if budget == 10.0 and preset == "llama2":
                checks["optimal at least 4.2 times p2p"] = means["optimal"] >= 4.2 * scores["p2p"].mean()
            for text, good in checks.items():
                print(f"  {'holds' if good else 'MISSED'}: {text}")
                held &= bool(good)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
