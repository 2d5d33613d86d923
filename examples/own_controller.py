"""A controller of your own in both families, without touching the package.

It decides for rounds. Without the barrier it plays too, and waits for all.

In commands: ``multispin compare --controllers examples.own_controller:SameTime optimal``.
"""

from dataclasses import dataclass

import numpy as np

import multispin_env as ms


@dataclass(frozen=True, eq=False)
class SameTime(ms.RoundsController):
    """Everybody drafts for the same time, as long as a verification takes a fraction of; bandwidth by the root."""

    fraction: float = 0.3

    def decide(self, state: ms.SystemState) -> ms.Decision:
        """Lengths that fit into the time, and the bandwidth with which all finish together."""
        scenario = self.scenario
        fitting = np.floor(self.fraction * scenario.verification_time / state.draft_time)
        lengths = np.clip(fitting, scenario.min_draft_length, scenario.max_draft_length).astype(np.int64)
        return self.with_equal_latency(lengths, state)


def main(episodes: int = 50, horizon: float = 5.0) -> tuple[ms.ComparisonTable, ms.ComparisonTable]:
    """Compare it with controllers of the package in the same episodes; returns the tables of both families."""
    rivals = ("optimal", "homogeneous", "uniform-bandwidth", "fixed")
    rounds = ms.compare("MultiSpin/Heterogeneous-v0", [SameTime, *rivals], num_users=8, episodes=episodes)
    rules = ("groups", "optimal", "fixed")
    continuous = ms.compare(
        "MultiSpin/Continuous-v0", [SameTime, *rules], num_users=8, episodes=episodes, horizon=horizon
    )
    print(rounds, continuous, sep="\n\n")
    return rounds, continuous


if __name__ == "__main__":
    main()
