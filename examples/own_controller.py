"""A controller of your own, known to everything by one registration, without touching the package."""

from dataclasses import dataclass

import numpy as np

import multispin_env as ms
from multispin_env.evaluation.cases.base import listed
from multispin_env.evaluation.cases.states import States
from multispin_env.evaluation.comparison import Row, comparison_cells
from multispin_env.evaluation.table import aligned


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


def main() -> list[Row]:
    """Compare it with every controller on held-out states; returns the table."""
    ms.CONTROLLERS.register("same-time", SameTime)
    try:
        scenario = ms.Scenario.preset("llama2", num_users=8)
        states = States.draw(scenario, 100)
        rows = states.table(listed(states))
        print(aligned(*comparison_cells(rows, states.metric, states.reference_title)))
        return rows
    finally:
        ms.CONTROLLERS.unregister("same-time")


if __name__ == "__main__":
    main()
