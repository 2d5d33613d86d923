"""Contenders of ``multispin live``: decisions for emulated devices, and rounds as expected and as realised."""

from collections.abc import Callable
from dataclasses import dataclass
from time import thread_time
from typing import TYPE_CHECKING

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.controllers.base import Assumptions
from multispin_env.controllers.factory import CLAIRVOYANT, ContenderName, make_controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.models.air import Air
from multispin_env.models.prediction import Prediction, RequestCounts, assumptions_of
from multispin_env.physics.radio import upload_time
from multispin_env.physics.types import Observed, checked_decision
from multispin_env.scenario import Scenario

if TYPE_CHECKING:
    from multispin_env.models.devices import EmulatedDevices
    from multispin_env.models.rounds import RoundResult


def live_plug_in(name: str, scenario: Scenario, assumptions: Assumptions) -> PlugIn:
    """Make the plug-in of a name; a controller without an estimator of acceptance knows the mean of the task.

    ``ValueError`` for an unknown name, or what needs something that nobody sees before a round of real models.
    """
    if CLAIRVOYANT in name.split("+"):
        known = f"{ContenderName.parse(name).controller}+filter"
        raise ValueError(f"controller: expected one that is not told the true acceptance, as {known!r}, got {name!r}")
    plug_in = make_controller(name, scenario, assumptions=assumptions)
    if not isinstance(plug_in, PlugIn) or "acceptance_rate" not in plug_in.parts:
        plug_in = make_controller(f"{name}+task-mean", scenario, assumptions=assumptions)
    ones, zeros = np.ones(scenario.num_users), np.zeros(scenario.num_users, dtype=np.int64)
    try:
        plug_in(Observed(ones, ones, task=zeros, drafted=zeros, accepted=zeros, age=zeros))
    except ValueError as error:
        raise ValueError(f"controller: expected one that live has all it needs for, got {name!r} ({error})") from None
    plug_in.reset()
    return plug_in


@dataclass(frozen=True, eq=False)
class LiveRound:
    """A round of K devices: what was decided, expected and realised; times in seconds."""

    draft_length: IntArray  # L, (K,) tokens
    bandwidth: FloatArray  # B_k, (K,) Hz
    request: IntArray  # number of each device's request, (K,)
    age: IntArray  # rounds that it was old, (K,)
    accepted: IntArray  # drafted tokens that were accepted, (K,)
    gained: IntArray  # tokens of the requests, (K,)
    predicted: FloatArray  # tokens expected before the round, (K,)
    drafting: FloatArray  # L_k T_k, (K,)
    uploading: FloatArray  # L_k Q / (B_k r_k), (K,)
    round_trip: float
    predicted_pass: float  # by the scenario's law, of K drafts as long as the longest, as the server pads them
    measured_pass: float
    accepting: float  # seconds on this machine between the pass and the texts
    drafting_here: float  # seconds of drafting on this machine, for all devices in one batch
    prompts_here: float  # seconds in which prompts of new requests were read behind the round
    deciding: float  # seconds of the processor for ``decide``

    @property
    def access(self) -> float:
        """T_ma: the server waits for the last device."""
        return float((self.drafting + self.uploading).max())

    @property
    def predicted_time(self) -> float:
        """Of the whole round, by the law."""
        return self.access + self.predicted_pass + self.round_trip

    @property
    def measured_time(self) -> float:
        """Of the whole round, with the pass that was measured."""
        return self.access + self.measured_pass + self.round_trip


class LiveContender:
    """A plug-in that decides for devices of its own, round after round; ``play`` plays these drafts (K,) on them."""

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        air: Air,
        devices: "EmulatedDevices",
        play: "Callable[[IntArray], RoundResult]",
    ) -> None:
        assumptions = assumptions_of(scenario)
        self.name, self.scenario, self.air, self.devices, self._play = name, scenario, air, devices, play
        self.plug_in = live_plug_in(name, scenario, assumptions)
        self.prediction = Prediction.of(self.plug_in, scenario, assumptions)
        self.rounds: list[LiveRound] = []
        self._tally = RequestCounts(scenario.num_users)
        self._last = np.zeros((2, scenario.num_users), dtype=np.int64)  # drafted, accepted

    def step(self) -> LiveRound:
        """Play the next round."""
        scenario, devices = self.scenario, self.devices
        efficiency = self.air.efficiency[len(self.rounds)]
        request, age, task, left = devices.number, devices.age, devices.task, devices.left
        drafted, accepted = self._last
        observed = Observed(self.air.draft_time, efficiency, task=task, drafted=drafted, accepted=accepted, age=age)
        start = thread_time()
        decision = self.plug_in(observed)
        deciding = thread_time() - start
        decision = checked_decision(scenario, decision)
        length = decision.draft_length
        predicted = self.prediction.tokens(length, left, *self._tally.take(observed), task)
        played = self._play(length)
        self._last = np.array([length, played.accepted])
        users = scenario.num_users
        self.rounds.append(
            LiveRound(
                draft_length=length,
                bandwidth=decision.bandwidth,
                request=request,
                age=age,
                accepted=played.accepted,
                gained=played.gained,
                predicted=predicted,
                drafting=length * self.air.draft_time,
                uploading=upload_time(scenario, length, efficiency, decision.bandwidth),
                round_trip=scenario.round_trip_time,
                predicted_pass=float(scenario.pass_time(users, users * (int(length.max()) + 1))),
                measured_pass=played.pass_time,
                accepting=played.accepting_time,
                drafting_here=played.drafting_time,
                prompts_here=played.prompt_time,
                deciding=deciding,
            )
        )
        return self.rounds[-1]
