"""Decisions for a real server: the numbers to report before each round. The server in this example is fake."""

import numpy as np

import multispin_env as ms

RUNS = (
    (3, 1, 5, 1, 0, 0, 1, 1, 4, 2, 4, 1, 3, 1, 2, 0),
    (12, 5, 1, 0, 0, 5, 4, 0, 5, 0, 12, 4, 5, 12, 1, 12),
    (12, 0, 1, 12, 12, 12, 6, 1, 5, 0, 12, 12, 7, 5, 12, 12),
    (12, 4, 10, 7, 12, 3, 12, 12, 12, 2, 12, 1, 7, 12, 4, 10),
)
"""Accepted tokens, at most 12, of 16 drafts of each device."""

TASKS = np.array([2, 1, 1, 0])
"""Task of each device, an index into ``scenario.tasks``."""


class FakeServer:
    """Fake devices and server that replay recorded counts.

    Channels do not fade, so draft lengths change only with the counts.
    """

    def __init__(self, scenario: ms.Scenario) -> None:
        self.draft_time = np.full(scenario.num_users, scenario.mean_draft_time)
        self.spectral_efficiency = np.full(scenario.num_users, 6.0)
        self.rounds = 0

    def reports(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the reports before a round: seconds per drafted token, and spectral efficiency in bit/s/Hz."""
        return self.draft_time, self.spectral_efficiency

    def play(self, draft_length: np.ndarray, bandwidth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draft, upload and verify; return the numbers of accepted tokens and a mask of ended requests."""
        accepted = np.array(
            [min(run[self.rounds % 16], length) for run, length in zip(RUNS, draft_length, strict=True)]
        )
        self.rounds += 1
        return accepted, np.full(len(RUNS), self.rounds % 16 == 0)  # a request lasts 16 rounds


def main(rounds: int = 32) -> list[list[int]]:
    """Serve some rounds; return the draft lengths of each round."""
    # for your system: ms.Scenario.load("mine.toml"). Here, devices draft fast and share a narrow uplink
    fields = {"num_users": 4, "max_draft_length": 12, "mean_draft_time": 0.005, "total_bandwidth": 2e6}
    scenario = ms.Scenario.preset("llama2", **fields)
    server = FakeServer(scenario)
    # known from past requests: mean and spread of acceptance rates by task; channel reports are not delayed
    means = tuple(task.acceptance_rate for task in scenario.tasks)
    assumptions = ms.controllers.Assumptions(means, (0.15,) * len(means), correlation=1.0, delay=0)
    plug_in = ms.make_controller("optimal+filter", scenario, assumptions=assumptions)

    # before the first report every request is new: the decision uses the prior
    drafted = accepted = age = np.zeros(scenario.num_users, dtype=np.int64)
    history = []
    for number in range(rounds):
        draft_time, spectral_efficiency = server.reports()
        observed = ms.Observed(
            draft_time,
            spectral_efficiency,
            task=TASKS,
            drafted=drafted,  # in the last round
            accepted=accepted,  # of these, without the server's token
            age=age,  # rounds since the current request began; 0 resets the estimate
        )
        decision = plug_in(observed)  # call it exactly once in each round
        drafted = decision.draft_length
        accepted, ended = server.play(drafted, decision.bandwidth)
        age = np.where(ended, 0, age + 1)
        history.append(drafted.tolist())
        print(f"round {number + 1:2d}: drafted {drafted.tolist()}, accepted {accepted.tolist()}")
    return history


if __name__ == "__main__":
    main()
