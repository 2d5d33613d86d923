"""Contenders of ``multispin testbed``: plug-ins that decide for the devices that are there."""

from dataclasses import dataclass, replace

import numpy as np
from typing_extensions import override

from multispin_env.arrays import Array, IntArray
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.physics.types import Observed
from multispin_lab.models.contender import Conditions, LiveContender, LiveRound, live_plug_in, make_assumptions
from multispin_lab.testbed.server import Measured, Testbed


@dataclass(frozen=True, eq=False, kw_only=True)
class TestbedRound(LiveRound):
    """A round of a testbed; draft and upload times of `LiveRound` are predictions."""

    measured: Measured

    @property
    @override
    def measured_time(self) -> float:
        return self.measured.round_time

    @property
    def is_cut(self) -> bool:
        """Whether a draft is missing, since its device was silent until the timeout, left, or broke a rule."""
        return bool((self.draft_length > 0)[~self.measured.present].any())

    @property
    @override
    def more(self) -> dict[str, tuple[Array, str]]:
        measured, form = self.measured, ".6f"
        return {
            "server_draft": (measured.drafting, form),
            "server_upload": (measured.uploading, form),
            "device_draft": (measured.device_drafting, form),
            "present": (measured.present.astype(int), ""),
        }

    @override
    def as_measured(self) -> LiveRound:
        """Return the round with measured draft and upload times, 0 of devices without a draft."""
        drafting, uploading = np.nan_to_num((self.measured.drafting, self.measured.uploading))
        return replace(self, drafting=drafting, uploading=uploading)


class TestbedContender(LiveContender):
    """Plug-in in a seat of a testbed, made again when a device comes or goes."""

    rounds: list[TestbedRound]  # type: ignore[assignment]  # those of this class

    def __init__(self, name: str, conditions: Conditions, testbed: Testbed, seat: int) -> None:
        super().__init__(name, testbed.scenario, conditions, testbed.verifiers[seat], testbed.play)
        self.testbed, self.seat = testbed, seat
        self._rows: IntArray = np.arange(testbed.scenario.num_users)
        self._efficiency = np.full(testbed.scenario.num_users, np.nan)  # of the last uploads, where they are not paced

    @override
    def step(self) -> LiveRound:
        """Play the next round as soon as a device is ready."""
        testbed = self.testbed
        testbed.connections.wait(1)
        rows = np.flatnonzero(testbed.connections.present)
        if not np.array_equal(rows, self._rows):
            self.plug_in, self._rows = self.plug_in_for(rows), rows
        known, drawn = np.isfinite(self._efficiency), self.conditions.efficiency[len(self.rounds)]
        efficiency = np.where(known, self._efficiency, drawn)
        plan = self.plan(rows, testbed.token_time, efficiency)
        played, measured = testbed.play(self.seat, plan.draft_length, plan.bandwidth, efficiency)
        self.remember(np.flatnonzero(measured.present), plan.draft_length, played.accepted)
        if not testbed.settings.pacing:
            sent = measured.uploading > 0.0
            payload = plan.draft_length[sent] * float(self.scenario.bits_per_token)
            self._efficiency[sent] = payload / (measured.uploading * plan.bandwidth)[sent]
        self.rounds.append(TestbedRound(**vars(plan), played=played, measured=measured))
        return self.rounds[-1]

    def plug_in_for(self, rows: IntArray) -> PlugIn:
        """Return the plug-in for the devices ``rows`` (n,), as if it had seen no others.

        The rounds of their current requests are replayed, without the last one, which the next call reports.
        """
        scenario = self.scenario.replace(num_users=len(rows))
        plug_in = live_plug_in(self.name, scenario, make_assumptions(scenario))
        histories, ones, task = [self.history[row] for row in rows], np.ones((1, len(rows))), self.verifier.task[rows]
        longest = max(map(len, histories))
        for number in range(longest):
            age = np.array([max(0, len(past) - longest + number) for past in histories])
            last = np.array([past[count - 1] if count else (0, 0) for past, count in zip(histories, age, strict=True)])
            drafted, accepted = last.T[:, None]
            counts = {"task": task[None], "drafted": drafted, "accepted": accepted, "age": age[None]}
            plug_in.update_estimates(Observed(ones, ones, **counts))
        return plug_in
