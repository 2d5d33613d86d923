"""Cost of rounding on a server whose time depends on tokens: ``python -m benchmarks.rounded_lengths``.

Against the optimum of whole lengths, on held-out states with draft lengths from 0: the best real lengths, each rounded
by itself; the longest drafts that fit one time, the same in all states, for which a device needs to know nothing of the
others; and the longest drafts that fit the best such time of each state. Times are multiples of the mean draft time,
and uploads count at an equal share of the bandwidth.
"""

import argparse
import itertools
from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.controllers.rounds.optimal import Optimal
from multispin_env.evaluation.seeds import HELD_OUT_SEED
from multispin_env.evaluation.table import aligned
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.rounds import expected_outcome
from multispin_env.physics.types import SystemState
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.registry import SERVERS
from multispin_env.reproduce.figure import PRESETS
from multispin_env.scenario import PAYLOADS, Scenario
from multispin_env.solver.problem import make_problem
from multispin_env.solver.relaxed import relaxed_optimum

TIMES = np.arange(0.5, 26.0, 0.05)
"""Multiples of the mean draft time."""


@dataclass(frozen=True, eq=False)
class System:
    """A scenario with states of it.

    Parameters
    ----------
    scenario
        The system.
    state
        Arrays (n, K).
    """

    scenario: Scenario
    state: SystemState

    def value(self, length: FloatArray) -> FloatArray:
        """Goodput (n,) of whole lengths (n, K)."""
        whole = length.clip(self.scenario.min_draft_length, self.scenario.max_draft_length).astype(np.int64)
        decision = Optimal(self.scenario).with_equal_latency(whole, self.state)
        return expected_outcome(self.scenario, self.state, decision).goodput

    def fitting(self, time: float) -> FloatArray:
        """Longest drafts (n, K) that a device has drafted and uploaded at that multiple of the mean draft time."""
        upload = self.scenario.num_users * full_share_token_time(self.scenario, self.state.spectral_efficiency)
        fits: FloatArray = np.floor(time * self.scenario.mean_draft_time / (self.state.draft_time + upload))
        return fits


def row(scenario: Scenario, states: int) -> tuple[str, ...]:
    """A line of the table."""
    system = System(scenario, sample_state(scenario, np.random.default_rng(HELD_OUT_SEED), states))
    best = Optimal(scenario)(system.state)
    optimum = expected_outcome(scenario, system.state, best).goodput.mean()
    real = relaxed_optimum(make_problem(scenario, system.state), 1e-6).length
    by_time = np.array([system.value(system.fitting(time)) for time in TIMES])
    shares = (system.value(np.rint(real)).mean(), by_time.mean(-1).max(), by_time.max(0).mean())
    return (scenario.label, f"{best.draft_length.mean():.2f}", *(f"{share / optimum:.4f}" for share in shares))


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=400, help="held-out states (default 400)")
    parser.add_argument("--server", choices=SERVERS.names(), default="a100-32b", help="profile (default a100-32b)")
    options = parser.parse_args()
    lines = [
        row(Scenario.preset(pair, server=options.server, min_draft_length=0, payload=payload), options.states)
        for pair, payload in itertools.product(PRESETS, PAYLOADS)
    ]
    print(aligned(("system", "mean length", "real, rounded", "one time for all states", "best time of each"), lines))


if __name__ == "__main__":
    main()
