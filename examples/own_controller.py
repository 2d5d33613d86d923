"""A custom controller for both families, without changes to the package.

It decides on rounds. In environments without the barrier, each of its batches waits for all devices.

In commands: ``multispin compare --controllers examples.own_controller:SameTime optimal``.
"""

from dataclasses import dataclass

import numpy as np

import multispin_env as ms


@dataclass(frozen=True, eq=False)
class SameTime(ms.RoundsController):
    """Controller that lets all devices draft for the same fraction of the verification time."""

    fraction: float = 0.3

    def decide(self, state: ms.SystemState) -> ms.Decision:
        """Return lengths that fit into this time, and the bandwidth with which all devices finish together."""
        scenario = self.scenario
        fitting = np.floor(self.fraction * scenario.verification_time / state.draft_time)
        lengths = np.clip(fitting, scenario.min_draft_length, scenario.max_draft_length).astype(np.int64)
        return self.with_equal_latency(lengths, state)


def main(
    episodes: int = 50, horizon: float = 5.0
) -> tuple[ms.evaluation.ComparisonTable, ms.evaluation.ComparisonTable]:
    """Compare the controller with others in the same episodes; return the tables of both families."""
    rivals = ("optimal", "homogeneous", "uniform-bandwidth", "fixed")
    rounds = ms.compare("MultiSpin/Heterogeneous-v0", [SameTime, *rivals], num_users=8, rounds=64, episodes=episodes)
    rules = ("groups", "optimal", "fixed")
    continuous = ms.compare(
        "MultiSpin/Continuous-v0", [SameTime, *rules], num_users=8, episodes=episodes, horizon=horizon
    )
    print(rounds, continuous, sep="\n\n")
    return rounds, continuous


if __name__ == "__main__":
    main()
