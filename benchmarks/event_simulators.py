"""The core without the barrier beside a SimPy model of the same system: ``python -m benchmarks.event_simulators``.

Both play two groups with drafts of 8 tokens in a static channel, the same devices, until the same batch. The simulated
seconds must agree; then verifications per second of CPU time are compared, by the best of some turns. Needs SimPy:
``pip install -e ".[benchmark]"``.
"""

import argparse
from collections.abc import Callable, Generator
from functools import partial
from time import process_time
from typing import Any

import numpy as np
import simpy

import multispin_env as ms
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.uplink import full_share_token_time

GROUPS, LENGTH, COPIES = 2, 8, 256
"""Of the orders, and of the core."""

BATCHES, TURNS = 200, 5


class SimPyModel:
    """One copy, event by event, as somebody would write it with SimPy.

    Parameters
    ----------
    scenario, state
        The system, with devices (K,).
    """

    def __init__(self, scenario: ms.Scenario, state: ms.SystemState) -> None:
        self.scenario = scenario
        self.env = simpy.Environment()
        self.band = simpy.PreemptiveResource(self.env)
        users = scenario.num_users
        self.sizes = [len(range(group, users, GROUPS)) for group in range(GROUPS)]
        self.ready: dict[int, list[Any]] = {}
        self.full = [self.env.event()]
        drafting = (LENGTH * state.draft_time).tolist()
        air = (LENGTH * full_share_token_time(scenario, state.spectral_efficiency)).tolist()
        for user in range(users):
            self.env.process(self._device(user % GROUPS, drafting[user], air[user]))

    def _device(self, batch: int, drafting: float, air: float) -> Generator[simpy.Event, Any, Any]:
        while True:
            yield self.env.timeout(drafting)
            yield from self._upload(batch, air)
            verified = self.env.event()
            waiting = self.ready.setdefault(batch, [])
            waiting.append(verified)
            if len(waiting) == self.sizes[batch % GROUPS] and not self.full[0].triggered:
                self.full[0].succeed()
            yield verified
            batch += GROUPS

    def _upload(self, batch: int, air: float) -> Generator[simpy.Event, Any, Any]:
        left = air
        while left > 0.0:
            with self.band.request(priority=(batch, air)) as request:  # type: ignore[arg-type]  # any order will do
                yield request
                begin = self.env.now
                try:
                    yield self.env.timeout(left)
                    left = 0.0
                except simpy.Interrupt:
                    left -= self.env.now - begin

    def _server(self, batches: int) -> Generator[simpy.Event, Any, Any]:
        for batch in range(batches):
            while len(self.ready.get(batch, [])) < self.sizes[batch % GROUPS]:
                self.full[0] = self.env.event()
                yield self.full[0]
            members = self.ready.pop(batch)
            yield self.env.timeout(float(self.scenario.pass_time(len(members), len(members) * (LENGTH + 1))))
            for verified in members:
                verified.succeed()

    def play(self, batches: int) -> float:
        """Play so many batches; returns the simulated seconds."""
        self.env.run(self.env.process(self._server(batches)))
        return float(self.env.now)


def play_core(scenario: ms.Scenario, state: ms.SystemState, batches: int) -> ContinuousCore:
    """Play so many batches of all copies; their states are those of ``state`` (n, K)."""
    copies = state.draft_time.shape[0]
    core = ContinuousCore(ContinuousSystem.of(scenario.replace(channel="static")), copies, drawn=False)
    core.hold(state)
    turn = np.arange(scenario.num_users) % GROUPS
    length = np.full(state.draft_time.shape, LENGTH)
    for batch in range(batches):
        new = np.where(batch == 0, turn, batch - 1 + GROUPS) + np.zeros_like(length)
        aim = np.where(core.state.phase == ms.Phase.FREE, new, core.state.aim)
        join = np.where(aim == batch, ms.Join.WAIT, ms.Join.LEAVE)
        core.step(ms.ContinuousDecision(length, join, priority=aim.astype(np.float64), aim=aim))
    return core


def play_simpy(scenario: ms.Scenario, state: ms.SystemState, batches: int) -> float:
    """The first copy of ``state`` (n, K) for so many batches; returns the simulated seconds."""
    return SimPyModel(scenario, state[0]).play(batches)


def best_time(play: Callable[[], object]) -> float:
    """Least CPU seconds of some turns."""
    times = []
    for _ in range(TURNS):
        begin = process_time()
        play()
        times.append(process_time() - begin)
    return min(times)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[8, 20])
    parser.add_argument("--batches", type=int, default=BATCHES)
    options = parser.parse_args()
    print("K   simulated seconds (differ by)   core/CPU-s   SimPy/CPU-s   ratio")
    for users in options.users:
        scenario = ms.Scenario.preset("llama2", num_users=users)
        state = ms.sample_state(scenario, np.random.default_rng(0), COPIES)
        seconds = play_simpy(scenario, state, options.batches)
        apart = abs(float(play_core(scenario, state, options.batches).state.time[0]) / seconds - 1.0)
        own, other = (best_time(partial(play, scenario, state, options.batches)) for play in (play_core, play_simpy))
        core, events = COPIES * options.batches / own, options.batches / other
        print(f"{users:<3d} {seconds:16.6f} ({apart:.0e}) {core:18,.0f} {events:13,.0f} {core / events:7.0f}")


if __name__ == "__main__":
    main()
