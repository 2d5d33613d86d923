"""Contenders of ``multispin live``: decisions for emulated devices, and rounds as expected and as realised.

A round of L drafted tokens gives E[N | L, counts] = 1 + Σ_{l=1..L} E[α^l | counts] (ours, see
docs/evidence/your-own-models.md), given the counts of the request so far. One that gets at most R more tokens gives
E[min(N, R)]: the sum ends at l = R − 1. Where devices draft ahead, chains grow by the scenario's clock, with its law of
verification: so what is drafted and decided follows from the seed, whatever else this machine does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from time import thread_time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.controllers.base import Assumptions
from multispin_env.controllers.estimators import Filter, TaskMean, blank_counts, take_counts
from multispin_env.controllers.names import CLAIRVOYANT, ContenderName, make_controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.evaluation.contenders import attributed
from multispin_env.physics.chains import chain_left, drafting_time, hit_probability
from multispin_env.physics.radio import Channel, spectral_efficiency, upload_time
from multispin_env.physics.rounds import UNIFORMS_PER_USER, users_from_uniforms
from multispin_env.physics.types import Observed, checked_decision
from multispin_env.registry import CHANNELS
from multispin_env.scenario import Scenario

if TYPE_CHECKING:
    from multispin_env.apps.models.rounds import EmulatedDevices, RoundResult


class _Air(NamedTuple):
    draft_time: FloatArray  # T_k (K,), s/token
    efficiency: FloatArray  # r_k (rounds, K) in each round, bit/s/Hz


def draw_conditions(scenario: Scenario, rounds: int, rng: np.random.Generator) -> _Air:
    """Draw devices as the scenario says they differ, and their fading by its channel model."""
    devices, fading = rng.spawn(2)
    users = users_from_uniforms(scenario, devices.random((UNIFORMS_PER_USER, scenario.num_users)))
    channel: Channel = CHANNELS.load(scenario.channel)
    fresh = channel.draw(fading, rounds, scenario.num_users)
    gain = channel.first_gain(users.mean_gain, fresh[0])
    gains = [gain]
    for one in fresh[1:]:
        gain = channel.next_gain(gain, users.mean_gain, one)
        gains.append(gain)
    return _Air(users.draft_time, spectral_efficiency(scenario, np.array(gains)))


def make_assumptions(scenario: Scenario) -> Assumptions:
    """What is known before the first round: means and spreads of the scenario's tasks, and reports that are fresh.

    No law on [0, 1] has a standard deviation above 0.5.
    """
    means, spreads = zip(*((task.acceptance_rate, task.acceptance_std) for task in scenario.tasks), strict=True)
    return Assumptions(means, tuple(min(spread, 0.5) for spread in spreads), correlation=1.0, delay=0)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Expected tokens, given what a request has shown."""

    scenario: Scenario
    assumptions: Assumptions  # mean and spread of α in each task
    spreads: tuple[float, ...] = (1.0,)  # multiples of the spread, as of `Filter`
    counting: bool = True  # whether counts are known; else only the prior is

    @classmethod
    def of(cls, plug_in: PlugIn, scenario: Scenario, assumptions: Assumptions) -> "Prediction":
        """From what a plug-in knows: the prior of its filter if it has one, and counts unless it ignores them."""
        estimator = next(one for one in plug_in.estimators if one.part == "acceptance_rate")
        spreads = estimator.spreads if isinstance(estimator, Filter) else (1.0,)
        return cls(scenario, assumptions, spreads, not isinstance(estimator, TaskMean))

    @cached_property
    def _filters(self) -> list[Filter]:
        orders = range(1, self.scenario.max_draft_length + 1)
        return [Filter(self.scenario, self.assumptions, self.spreads, float(order)) for order in orders]

    def tokens(
        self, draft_length: IntArray, left: IntArray, hits: FloatArray, misses: FloatArray, task: IntArray
    ) -> FloatArray:
        """E[min(N, R) | L, counts] of drafts, each (..., K); R ≥ 1 are ``left``."""
        if not self.counting:
            hits, misses = np.zeros(task.shape), np.zeros(task.shape)
        counted = np.minimum(draft_length, left - 1)
        total = np.ones(task.shape)
        for order, one in enumerate(self._filters[: int(counted.max())], start=1):
            total += np.where(order <= counted, one.given(hits, misses, task) ** order, 0.0)
        return total


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


class _Chains(NamedTuple):
    head_start: FloatArray  # A_k, (K,) tokens
    hit: BoolArray  # whether all of the draft is accepted and the server's token is the chain's next one, (K,)
    predicted: FloatArray  # its probability by the mean acceptance of the task, (K,)


@dataclass(frozen=True, eq=False)
class LiveRound:
    """A round of K devices: what was decided, expected and realised; times in seconds."""

    draft_length: IntArray  # L, (K,) tokens
    bandwidth: FloatArray  # B_k, (K,) Hz
    request: IntArray  # number of each device's request, (K,)
    age: IntArray  # rounds that it was old, (K,)
    predicted: FloatArray  # tokens expected before the round, (K,)
    drafting: FloatArray  # L_k T_k, (K,), or (L_k − A_k)^+ T_k
    uploading: FloatArray  # L_k Q / (B_k r_k), (K,)
    round_trip: float
    predicted_pass: float  # by the scenario's law, of K drafts as long as the longest, as the server pads them
    deciding: float  # seconds of the processor for ``decide``
    played: "RoundResult"  # what the models did
    chains: "_Chains | None" = None  # where devices draft ahead

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
        return self.access + self.played.pass_time + self.round_trip


class LiveContender:
    """A plug-in that decides for devices of its own, round after round.

    ``play`` plays these drafts (K,) on them; where devices draft ahead it also gets the tokens (K,) that each drafts
    behind its guess.
    """

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        air: _Air,
        devices: "EmulatedDevices",
        play: "Callable[..., RoundResult]",
    ) -> None:
        assumptions = make_assumptions(scenario)
        self.name, self.scenario, self.air, self.devices, self._play = name, scenario, air, devices, play
        self.plug_in = live_plug_in(name, scenario, assumptions)
        self.prediction = Prediction.of(self.plug_in, scenario, assumptions)
        self.rounds: list[LiveRound] = []
        self._counts = blank_counts(1, scenario.num_users)  # of the present requests, as an estimator keeps them
        self._last = np.zeros((2, scenario.num_users), dtype=np.int64)  # drafted, accepted
        self._head_start = np.zeros(scenario.num_users)

    def step(self) -> LiveRound:
        """Play the next round."""
        scenario, devices = self.scenario, self.devices
        efficiency = self.air.efficiency[len(self.rounds)]
        request, age, task, left = devices.number, devices.age, devices.task, devices.left
        drafted, accepted = self._last
        chain = self._head_start
        observed = Observed(
            self.air.draft_time, efficiency, task=task, drafted=drafted, accepted=accepted, age=age, head_start=chain
        )
        with attributed(self.name):
            start = thread_time()
            decision = self.plug_in(observed)
            deciding = thread_time() - start
            decision = checked_decision(scenario, decision)
        length = decision.draft_length
        hits, misses = take_counts("prediction", self._counts, observed[None])
        predicted = self.prediction.tokens(length, left, hits[0], misses[0], task)
        drafting = drafting_time(scenario, length, self.air.draft_time, chain)
        uploading = upload_time(scenario, length, efficiency, decision.bandwidth)
        users = scenario.num_users
        predicted_pass = float(scenario.pass_time(users, users * (int(length.max()) + 1)))
        played, chains = self._played(length, task, float((drafting + uploading).max()) + predicted_pass)
        self._last = np.array([length, played.accepted])
        self.rounds.append(
            LiveRound(
                draft_length=length,
                bandwidth=decision.bandwidth,
                request=request,
                age=age,
                predicted=predicted,
                drafting=drafting,
                uploading=uploading,
                round_trip=scenario.round_trip_time,
                predicted_pass=predicted_pass,
                deciding=deciding,
                played=played,
                chains=chains,
            )
        )
        return self.rounds[-1]

    def _played(self, length: IntArray, task: IntArray, duration: float) -> "tuple[RoundResult, _Chains | None]":
        """Play drafts (K,) in a round of so many seconds without the round trip; chains go on to the next one."""
        scenario, chain = self.scenario, self._head_start
        if not scenario.draft_ahead:
            return self._play(length), None
        duration += scenario.round_trip_time
        left = chain_left(scenario, length, self.air.draft_time, chain, np.asarray(duration))
        played = self._play(length, left.astype(np.int64))
        assert played.hit is not None
        self._head_start = np.where(played.hit & (self.devices.age > 0), left, 0.0)
        rate = np.array([one.acceptance_rate for one in scenario.tasks])[task]
        return played, _Chains(chain, played.hit, hit_probability(scenario, length, rate))
