"""The core without the barrier and a SimPy model of the same system, and the time of decisions of rules.

Both play two groups with drafts of 8 tokens in a static channel, with the same devices, until the same batch. The
simulated seconds must agree; then verifications per second of CPU time are compared, by the best turn. Decisions are
for one environment and for 256, in a static channel.
"""

from argparse import Namespace
from collections.abc import Generator
from itertools import product
from time import process_time
from typing import Any

import numpy as np
import simpy

import multispin_env as ms
from benchmarks.tools import Options, Row, cpu_seconds, show
from multispin_env.physics.continuous.averages import seeded_core
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem

GROUPS, LENGTH, COPIES = 2, 8, 256
"""Environments of the decisions, and of the core."""

RULES = ("groups", "prices", "greedy", "groups+deadlines", "own-pace", "load-aware")


class SimPyModel:
    """SimPy model of one environment with devices (K,), event by event."""

    def __init__(self, scenario: ms.Scenario, state: ms.SystemState) -> None:
        self.scenario = scenario
        self.env = simpy.Environment()
        self.band = simpy.PreemptiveResource(self.env)
        users = scenario.num_users
        self.sizes = [len(range(group, users, GROUPS)) for group in range(GROUPS)]
        self.ready: dict[int, list[Any]] = {}
        self.full = [self.env.event()]
        drafting = (LENGTH * state.draft_time).tolist()
        air = (LENGTH * scenario.uplink.token_time(state.spectral_efficiency)).tolist()
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
            with self.band.request(priority=(batch, air)) as request:  # type: ignore[arg-type]  # any order
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
            yield self.env.timeout(float(self.scenario.law.time(len(members), len(members) * (LENGTH + 1))))
            for verified in members:
                verified.succeed()

    def play(self, batches: int) -> float:
        """Play batches; return the simulated seconds."""
        self.env.run(self.env.process(self._server(batches)))
        return float(self.env.now)


def play_core(scenario: ms.Scenario, state: ms.SystemState, batches: int) -> ContinuousCore:
    """Play batches of all environments with ``state`` (n, K)."""
    num_envs = state.draft_time.shape[0]
    core = ContinuousCore(ContinuousSystem.of(scenario.replace(channel="static")), num_envs, drawn=False)
    core.hold(state)
    turn = np.arange(scenario.num_users) % GROUPS
    length = np.full(state.draft_time.shape, LENGTH)
    for batch in range(batches):
        new = np.where(batch == 0, turn, batch - 1 + GROUPS) + np.zeros_like(length)
        aim = np.where(core.state.phase == ms.physics.Phase.FREE, new, core.state.aim)
        join = np.where(aim == batch, ms.physics.Join.WAIT, ms.physics.Join.LEAVE)
        core.step(ms.ContinuousDecision(length, join, priority=aim.astype(np.float64), aim=aim))
    return core


def verifications(users: int, batches: int, turns: int) -> Row:
    scenario = ms.Scenario.preset("llama2", num_users=users)
    state = ms.sample_state(scenario, np.random.default_rng(0), COPIES)
    seconds = SimPyModel(scenario, state[0]).play(batches)
    apart = abs(float(play_core(scenario, state, batches).state.time[0]) / seconds - 1.0)
    core_seconds = min(cpu_seconds(lambda: play_core(scenario, state, batches)) for _ in range(turns))
    simpy_seconds = min(cpu_seconds(lambda: SimPyModel(scenario, state[0]).play(batches)) for _ in range(turns))
    core, events = COPIES * batches / core_seconds, batches / simpy_seconds
    row = {"K": str(users), "simulated s": seconds, "differ by": apart}
    return row | {"core/CPU-s": core, "SimPy/CPU-s": events, "ratio": core / events}


def decisions(name: str, users: int, num_envs: int, steps: int) -> Row:
    """Return median CPU milliseconds of a decision of a rule and of a step."""
    scenario = ms.Scenario.preset("llama2", num_users=users, channel="static")
    controller = ms.make_controller(name, scenario)
    core = seeded_core(ContinuousSystem.of(scenario), num_envs, 0, drawn=False)
    core.reset()
    times = []
    for _ in range(steps):
        begun = process_time()
        order = controller(core.state)
        decided = process_time()
        core.step(order)
        times.append((decided - begun, process_time() - decided))
    decide, step = np.median(times, 0) * 1e3
    row = {
        "rule": name,
        "K": str(users),
        "environments": num_envs,
        "decision ms": float(decide),
        "step ms": float(step),
    }
    return row | {"steps/CPU-s": num_envs / (decide + step) * 1e3}


OPTIONS: Options = {"batches": 200, "turns": 5, "steps": (40, "decisions of each rule")}


def run(options: Namespace) -> None:
    show("verifications", (verifications(users, options.batches, options.turns) for users in (8, 20)))
    cases = product(RULES, (8, 20), (1, 256))
    show("decisions", (decisions(*case, options.steps) for case in cases))
