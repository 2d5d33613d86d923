"""A controller of your own, without touching the package.

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


def main(episodes: int = 50) -> ms.Comparison:
    """Compare it with controllers of the package in the same episodes; returns the table."""
    rivals = ("optimal", "homogeneous", "uniform-bandwidth", "fixed")
    table = ms.compare("MultiSpin/Heterogeneous-v0", [SameTime, *rivals], num_users=8, episodes=episodes)
    print(table)
    return table


if __name__ == "__main__":
    main()
