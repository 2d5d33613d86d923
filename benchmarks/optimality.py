"""Evidence that ``optimal`` is optimal: ``python benchmarks/optimality.py``.

1. The fast rule against brute force over all integer lengths (bandwidth by scipy's brentq), K = 2, 3, 4, both presets.
2. The fast rule and the certified decision against the best of every other controller at K = 8 and 20.
"""

import argparse
import itertools
import sys

import numpy as np
from scipy.optimize import brentq

import multispin_env as ms
from multispin_env.arrays import FloatArray
from multispin_env.units import MHZ

CERTIFICATE = 1e-9
ROUNDING = 1e-12

LONGEST = {2: 25, 3: 9, 4: 6}
"""L_max for each K, so that brute force stays affordable."""


def _latency(lengths: FloatArray, draft_time: FloatArray, token_time: FloatArray) -> float:
    drafting, uploading = lengths * draft_time, lengths * token_time

    def excess(delta: float) -> float:
        return float((uploading / (delta + drafting.max() - drafting)).sum() - 1.0)

    low = uploading[drafting == drafting.max()].max() * 0.5
    return float(drafting.max() + brentq(excess, low, uploading.sum() * 2.0, xtol=1e-300, rtol=1e-14))


def brute_force(scenario: ms.Scenario, state: ms.SystemState) -> float:
    """Best goodput of one state (K,) over every length vector; vectors that a cheap bound excludes are skipped."""
    token_time = scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency)
    lengths = range(1, scenario.max_draft_length + 1)
    every = np.array(list(itertools.product(lengths, repeat=scenario.num_users)), dtype=np.float64)
    powers = state.acceptance_rate[:, None] ** np.arange(scenario.max_draft_length + 1)
    tokens = np.cumsum(powers, -1)[np.arange(scenario.num_users), every.astype(int)].sum(-1)
    cheap = (every * (state.draft_time + token_time)).max(-1)  # each alone with the whole budget
    best = 0.0
    for index in np.argsort(-tokens / (cheap + scenario.verification_time)):
        if tokens[index] / (cheap[index] + scenario.verification_time) <= best:
            break
        latency = _latency(every[index], state.draft_time, token_time)
        best = max(best, tokens[index] / (latency + scenario.verification_time))
    return float(best)


def _goodput(scenario: ms.Scenario, state: ms.SystemState, name: str) -> FloatArray:
    return ms.expected_outcome(scenario, state, ms.make_controller(name, scenario)(state)).goodput


def against_brute_force(instances: int) -> float:
    """Print the losses against brute force; returns the worst."""
    worst, rng = 0.0, np.random.default_rng(0)
    print("against brute force: K, B (MHz), instances, share equal within 1e-9, worst relative loss")
    for users, preset in itertools.product(LONGEST, ms.SCENARIOS.names()):
        for budget in (0.5, 2.5, 10.0):
            scenario = ms.Scenario.preset(
                preset, num_users=users, max_draft_length=LONGEST[users], total_bandwidth=budget * MHZ
            )
            state = ms.sample_state(scenario, rng, instances)
            found = _goodput(scenario, state, "optimal")
            exact = np.array([brute_force(scenario, state[i]) for i in range(instances)])
            loss = 1.0 - found / exact
            worst = max(worst, float(loss.max()))
            print(f"  {users}  {preset:8s} {budget:5.1f}  {instances:4d}  {(loss < 1e-9).mean():.4f}  {loss.max():.1e}")
    return worst


def against_controllers(instances: int) -> tuple[float, float]:
    """Print the smallest lead over every other controller; returns that of the rule and of the certified decision."""
    smallest = np.full(2, np.inf)
    print(
        "against the best of the others: K, B (MHz), instances; rule: times below, smallest lead; certified: the same"
    )
    for users, preset, budget in itertools.product((8, 20), ms.SCENARIOS.names(), (5.0, 20.0)):
        scenario = ms.Scenario.preset(preset, num_users=users, total_bandwidth=budget * MHZ)
        state = ms.sample_state(scenario, np.random.default_rng(1), instances)
        others = np.max([_goodput(scenario, state, name) for name in ms.controller_names() if name != "optimal"], 0)
        exact = ms.make_controller("optimal", scenario, certify=CERTIFICATE)(state)
        decided = (_goodput(scenario, state, "optimal"), ms.expected_outcome(scenario, state, exact).goodput)
        leads = [found / others - 1.0 for found in decided]
        smallest = np.minimum(smallest, [lead.min() for lead in leads])
        shown = "  ".join(f"{(lead < -ROUNDING).sum():3d} {lead.min():+.1e}" for lead in leads)
        print(f"  {users:2d}  {preset:8s} {budget:5.1f}  {instances:4d}  {shown}")
    return float(smallest[0]), float(smallest[1])


def main() -> int:
    """Print both tables; exit status 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brute", type=int, default=20, help="instances a row against brute force (18 rows)")
    parser.add_argument("--instances", type=int, default=250, help="instances a row against controllers (8 rows)")
    options = parser.parse_args()
    worst = against_brute_force(options.brute)
    rule, certified = against_controllers(options.instances)
    checks = {
        f"the rule equals brute force within 1e-6 (worst loss {worst:.1e})": worst <= 1e-6,
        f"the certified decision is never below another controller (smallest lead {certified:+.1e})": certified
        >= -CERTIFICATE,
        f"the rule is never below another controller (smallest lead {rule:+.1e})": rule >= -ROUNDING,
    }
    for text, good in checks.items():
        print(f"{'holds' if good else 'MISSED'}: {text}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
