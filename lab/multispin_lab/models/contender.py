"""Contenders of ``multispin live``: decisions for emulated devices, with expected and realised rounds.

A round of L drafted tokens gives E[N | L, counts] = 1 + Σ_{l=1..L} E[α^l | counts] (ours, see
docs/evidence/your-own-models.md), given the counts of the request so far. A request that gets at most R more tokens
gives E[min(N, R)]: the sum ends at l = R − 1. Where devices draft ahead, chains grow by simulated time, not by measured
time. So drafts and decisions follow from the seed and do not depend on the speed of this machine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import thread_time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from multispin_env.arrays import Array, BoolArray, FloatArray, IntArray
from multispin_env.controllers.base import Assumptions
from multispin_env.controllers.estimators import Filter, TaskMean
from multispin_env.controllers.names import CLAIRVOYANT, ContenderName, make_controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.evaluation.contenders import contender_errors
from multispin_env.physics.acceptance import task_means
from multispin_env.physics.chains import chain_left, drafting_time, hit_probability
from multispin_env.physics.radio import Channel, spectral_efficiency
from multispin_env.physics.rounds import UNIFORMS_PER_USER, users_from_uniforms
from multispin_env.physics.types import Observed, checked_decision
from multispin_env.registry import CHANNELS
from multispin_env.scenario import Scenario

if TYPE_CHECKING:
    from multispin_lab.models.halves import Verifier
    from multispin_lab.models.rounds import RoundResult


class Conditions(NamedTuple):
    """Devices and channels of a run."""

    draft_time: FloatArray  # T_k (K,), s/token
    efficiency: FloatArray  # r_k (rounds, K) in each round, bit/s/Hz


def draw_conditions(scenario: Scenario, rounds: int, rng: np.random.Generator) -> Conditions:
    """Draw the devices of a scenario, and their spectral efficiency in each round by its channel model."""
    devices, fading = rng.spawn(2)
    users = users_from_uniforms(scenario, devices.random((UNIFORMS_PER_USER, scenario.num_users)))
    channel: Channel = CHANNELS.load(scenario.channel)
    fresh = channel.draw(fading, rounds, scenario.num_users)
    gain = channel.first_gain(users.mean_gain, fresh[0])
    gains = [gain]
    for innovation in fresh[1:]:
        gain = channel.next_gain(gain, users.mean_gain, innovation)
        gains.append(gain)
    return Conditions(users.draft_time, spectral_efficiency(scenario, np.array(gains)))


def make_assumptions(scenario: Scenario) -> Assumptions:
    """Return the prior before the first round: means and spreads of the scenario's tasks, no delay of reports."""
    means, spreads = tuple(task_means(scenario).tolist()), (task.acceptance_std for task in scenario.tasks)
    # no distribution on [0, 1] has a standard deviation above 0.5
    return Assumptions(means, tuple(min(spread, 0.5) for spread in spreads), correlation=1.0, delay=0)


class Prediction:
    """Prediction of a round's tokens with a plug-in's information: the prior of its filter, and counts if it uses them.

    ``assumptions`` have mean and spread of α in each task.
    """

    def __init__(self, plug_in: PlugIn, scenario: Scenario, assumptions: Assumptions) -> None:
        estimator = next(estimator for estimator in plug_in.estimators if estimator.part == "acceptance_rate")
        spreads = estimator.spreads if isinstance(estimator, Filter) else (1.0,)
        orders = range(1, scenario.max_draft_length + 1)
        self._filters = [Filter(scenario, assumptions, spreads, float(order)) for order in orders]
        self._counting = not isinstance(estimator, TaskMean)

    def tokens(
        self, draft_length: IntArray, left: IntArray, hits: FloatArray, misses: FloatArray, task: IntArray
    ) -> FloatArray:
        """Return E[min(N, R) | L, counts] of drafts; all arrays (..., K), R ≥ 1 in ``left``."""
        if not self._counting:
            hits, misses = np.zeros(task.shape), np.zeros(task.shape)
        terms = np.minimum(draft_length, left - 1)
        total = np.ones(task.shape)
        for order, estimator in enumerate(self._filters[: int(terms.max())], start=1):
            total += np.where(order <= terms, estimator.posterior_moment(hits, misses, task) ** order, 0.0)
        return total


def live_plug_in(name: str, scenario: Scenario, assumptions: Assumptions) -> PlugIn:
    """Make the plug-in of a name; without an estimator of acceptance it uses the mean of the task.

    ``ValueError`` for an unknown name, or a controller that needs what can't be observed before a round.
    """
    if CLAIRVOYANT in name.split("+"):
        causal = f"{ContenderName.parse(name).controller}+filter"
        raise ValueError(
            f"controller: expected a contender that does not need the true acceptance, such as {causal!r}, got {name!r}"
        )
    plug_in = make_controller(name, scenario, assumptions=assumptions)
    if not isinstance(plug_in, PlugIn) or "acceptance_rate" not in plug_in.parts:
        plug_in = make_controller(f"{name}+task-mean", scenario, assumptions=assumptions)
    ones, zeros = np.ones(scenario.num_users), np.zeros(scenario.num_users, dtype=np.int64)
    try:
        plug_in(Observed(ones, ones, task=zeros, drafted=zeros, accepted=zeros, age=zeros))
    except ValueError as error:
        raise ValueError(
            f"controller: expected a contender that multispin live can run, got {name!r} ({error})"
        ) from None
    plug_in.reset()
    return plug_in


class _Chains(NamedTuple):
    head_start: FloatArray  # A_k, (K,) tokens
    hit: BoolArray  # whether the whole draft is accepted and the server's token equals the chain's next token, (K,)
    predicted: FloatArray  # probability of a hit at the mean acceptance of the task, (K,)


@dataclass(frozen=True, eq=False)
class Plan:
    """Decision for K devices and its prediction; times in seconds."""

    draft_length: IntArray  # L, (K,) tokens
    bandwidth: FloatArray  # B_k, (K,) Hz
    request: IntArray  # number of each device's request, (K,)
    age: IntArray  # rounds since the request began, (K,)
    predicted: FloatArray  # tokens expected before the round, (K,)
    drafting: FloatArray  # L_k T_k, (K,), or (L_k − A_k)^+ T_k
    uploading: FloatArray  # L_k Q / (B_k r_k), (K,)
    round_trip: float
    predicted_pass: float  # verification time by the scenario, of K drafts padded to the longest
    deciding: float  # CPU time of ``decide``

    @property
    def access(self) -> float:
        """T_ma: time until the last draft has arrived."""
        return float((self.drafting + self.uploading).max())

    @property
    def predicted_time(self) -> float:
        """Time of the round with the predicted verification time."""
        return self.access + self.predicted_pass + self.round_trip


@dataclass(frozen=True, eq=False)
class LiveRound(Plan):
    """A round of K devices with its result."""

    played: "RoundResult"
    chains: "_Chains | None" = None  # where devices draft ahead

    @property
    def measured_time(self) -> float:
        """Time of the round with the measured verification time, acceptance and sampling."""
        return self.access + self.played.verification_time + self.played.accepting_time + self.round_trip

    @property
    def more(self) -> dict[str, tuple[Array, str]]:
        """Further columns (K,) of the file of rounds, with their formats."""
        if self.chains is None:
            return {}
        return {"head_start": (self.chains.head_start, ".4f"), "hit": (self.chains.hit.astype(int), "")}

    def as_measured(self) -> "LiveRound":
        """Return the round with its draft and upload times, which are those of the scenario."""
        return self


class LiveContender:
    """Plug-in that decides for K devices.

    ``play`` plays a round of drafts (K,); where devices draft ahead, its second argument is the tokens (K,) that each
    drafts after its guess.
    """

    def __init__(
        self,
        name: str,
        scenario: Scenario,
        conditions: Conditions,
        verifier: "Verifier",
        play: Callable[..., Any],
    ) -> None:
        assumptions = make_assumptions(scenario)
        self.name, self.scenario, self.conditions, self.verifier = name, scenario, conditions, verifier
        self._play = play
        self.plug_in = live_plug_in(name, scenario, assumptions)
        self.prediction = Prediction(self.plug_in, scenario, assumptions)
        self.rounds: list[LiveRound] = []
        self.history: list[list[tuple[int, int]]] = [[] for _ in range(scenario.num_users)]
        """Tokens drafted and accepted in each round of the current request of each device."""
        self._head_start = np.zeros(scenario.num_users)

    def step(self) -> LiveRound:
        """Play the next round."""
        rows, efficiency = np.arange(self.scenario.num_users), self.conditions.efficiency[len(self.rounds)]
        plan, task = self.plan(rows, self.conditions.draft_time, efficiency), self.verifier.task.copy()
        played, chains = self._played(plan.draft_length, task, plan.access + plan.predicted_pass)
        self.remember(rows, plan.draft_length, played.accepted)
        self.rounds.append(LiveRound(**vars(plan), played=played, chains=chains))
        return self.rounds[-1]

    def plan(self, rows: IntArray, draft_time: FloatArray, efficiency: FloatArray) -> Plan:
        """Decide for the devices ``rows`` (n,), the only ones that draft; the other arguments are (K,)."""
        scenario, verifier, users = self.scenario, self.verifier, len(rows)
        request, age, task = verifier.number.copy(), verifier.age.copy(), verifier.task.copy()
        drafted, accepted = np.array([past[-1] if past else (0, 0) for past in self.history]).T
        observed = Observed(
            draft_time,
            efficiency,
            task=task,
            drafted=drafted,
            accepted=accepted,
            age=age,
            head_start=self._head_start,
        )
        with contender_errors(self.name):
            start = thread_time()
            decision = self.plug_in(observed[rows])
            deciding = thread_time() - start
            decision = checked_decision(scenario.replace(num_users=users), decision)
        length, bandwidth, takes_part = np.zeros_like(age), np.ones(age.shape), np.zeros(age.shape)
        length[rows], bandwidth[rows], takes_part[rows] = decision.draft_length, decision.bandwidth, 1.0
        hits = np.array([float(sum(count for _, count in past)) for past in self.history])
        misses = np.array([float(sum(count < size for size, count in past)) for past in self.history])
        return Plan(
            draft_length=length,
            bandwidth=bandwidth,
            request=request,
            age=age,
            predicted=takes_part * self.prediction.tokens(length, verifier.left, hits, misses, task),
            drafting=drafting_time(scenario, length, draft_time, self._head_start),
            uploading=scenario.uplink.upload_time(length, efficiency, bandwidth),
            round_trip=scenario.uplink.fixed_wait,
            predicted_pass=float(scenario.law.time(users, users * (int(length.max()) + 1))),
            deciding=deciding,
        )

    def remember(self, rows: IntArray, drafted: IntArray, accepted: IntArray) -> None:
        """Add a round of the devices ``rows`` (n,) to the history of their requests; other arguments are (K,)."""
        for row in rows.tolist():
            self.history[row].append((int(drafted[row]), int(accepted[row])))
            if self.verifier.age[row] == 0:
                self.history[row].clear()

    def _played(self, length: IntArray, task: IntArray, duration: float) -> "tuple[RoundResult, _Chains | None]":
        """Play drafts (K,) in a round of ``duration`` seconds without the round trip; update the chains."""
        scenario, chain = self.scenario, self._head_start
        if not scenario.draft_ahead:
            return self._play(length), None
        duration += scenario.uplink.fixed_wait
        left = chain_left(scenario, length, self.conditions.draft_time, chain, np.asarray(duration))
        played = self._play(length, left.astype(np.int64))
        assert played.hit is not None
        self._head_start = np.where(played.hit & (self.verifier.age > 0), left, 0.0)
        rate = task_means(scenario)[task]
        return played, _Chains(chain, played.hit, hit_probability(scenario, length, rate))
