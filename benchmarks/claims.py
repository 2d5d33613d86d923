"""The paper's claims on this model: ``python benchmarks/claims.py`` prints them with 95 % intervals.

Mean goodput and the optimum's gain over every system at four budgets for both presets, then the table of claims as
``python -m multispin_env.reproduce --only claims`` writes it; exit status 1 if a target of the project is missed.
"""

import argparse
import sys

from multispin_env.reproduce.claims import BUDGETS, best_and_last, claim_cells, claims, ratio_interval, scenario_at
from multispin_env.reproduce.figure import PRESETS
from multispin_env.reproduce.page import markdown_table
from multispin_env.reproduce.scale import STATES, Scale
from multispin_env.reproduce.scores import scores_of

LEAST_OVER_FIXED = 1.8
"""Target at 5 MHz, both presets."""

LEAST_OVER_P2P = 4.2
"""Target at 10 MHz, llama2."""


def print_gains(scale: Scale, preset: str, budget: float) -> None:
    """Print means, and ratios of the optimum with their intervals."""
    scores = scores_of(scale, scenario_at(preset, budget))
    print(f"\n{preset}, K = 20, B = {budget:g} MHz, {scale.states} states: mean goodput (tokens/s), optimum over it")
    for name, values in scores.items():
        gain, low, high = ratio_interval(scores["optimal"], values)
        print(f"  {name:18s} {values.mean():8.2f}   {gain:6.3f} ({low:.3f} to {high:.3f})")


def targets(scale: Scale) -> dict[str, bool]:
    """Whether each target of the project is met."""
    scores = {(p, b): scores_of(scale, scenario_at(p, b)) for p in PRESETS for b in BUDGETS}
    means = {key: {name: float(values.mean()) for name, values in found.items()} for key, found in scores.items()}
    found = {f"{p}, {b:g} MHz: optimal best and fixed last of the four": best_and_last(scores[p, b]) for p, b in scores}
    for preset in PRESETS:
        at = means[preset, 5.0]
        found[f"{preset}, 5 MHz: optimal at least +80 % over fixed"] = at["optimal"] >= LEAST_OVER_FIXED * at["fixed"]
    at = means["llama2", 10.0]
    found["llama2, 10 MHz: optimal at least 4.2 times p2p"] = at["optimal"] >= LEAST_OVER_P2P * at["p2p"]
    return found


def main() -> int:
    """Print the tables; exit status 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=STATES, help=f"held-out states (default {STATES})")
    scale = Scale(states=parser.parse_args().states)
    for preset in PRESETS:
        for budget in BUDGETS:
            print_gains(scale, preset, budget)
    print(f"\n{markdown_table(*claim_cells(claims(scale)))}\n")
    found = targets(scale)
    for text, good in found.items():
        print(f"{'holds' if good else 'MISSED'}: {text}")
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
