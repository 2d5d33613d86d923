"""Copies of the system without the barrier, stepped together from verification to verification (ours)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray, put, replace_rows
from multispin_env.physics.acceptance import Acceptance, Requests
from multispin_env.physics.chains import chain_left, drawn_hits, hit_probability
from multispin_env.physics.continuous.passes import UplinkDiscipline, discipline_of, next_pass, started, without_drafts
from multispin_env.physics.continuous.queues import Queues
from multispin_env.physics.continuous.types import (
    ContinuousDecision,
    ContinuousOutcome,
    ContinuousState,
    Demand,
    Join,
    Phase,
    Served,
)
from multispin_env.physics.continuous.validation import check_drop, checked_continuous_decision
from multispin_env.physics.radio import Channel, GaussMarkov, channel_gain, spectral_efficiency
from multispin_env.physics.rounds import UNIFORMS_PER_USER, Users, users_from_uniforms
from multispin_env.physics.streams import EPISODES, CopyStreams, user_exponentials, user_uniforms
from multispin_env.physics.types import SystemState
from multispin_env.physics.workload import Workload
from multispin_env.registry import ACCEPTANCES, CHANNELS
from multispin_env.scenario import Scenario

_CYCLES = 256  # Cycles of a device for which random numbers are drawn ahead


@dataclass(frozen=True)
class ContinuousSystem:
    """What does not change while time passes.

    ``channel`` changes gains from a cycle of a device to its next; ``workload`` ``None``: every device always has a
    request.
    """

    scenario: Scenario
    channel: Channel
    uplink: UplinkDiscipline
    acceptance: Acceptance
    workload: Workload | None = None

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        discipline: str = "serial",
        coherence_time: float = GaussMarkov.coherence_time,
        workload: Workload | None = None,
    ) -> "ContinuousSystem":
        """From names; ``ValueError`` for an unknown one. The coherence time, in seconds, is of ``"gauss-markov"``."""
        name = scenario.channel
        channel: Channel = GaussMarkov(coherence_time=coherence_time) if name == "gauss-markov" else CHANNELS.load(name)
        return cls(scenario, channel, discipline_of(discipline), ACCEPTANCES.load(scenario.acceptance), workload)


class ContinuousCore:
    """n copies of a system without the barrier.

    Every device of every copy has random streams of its own: for its channels, its requests and its tokens, read once a
    cycle. So what a device sees in its c-th cycle does not depend on anything that was decided, and controllers can be
    compared on the same random numbers. Tokens are ``drawn``, or expected; where requests end they have to be drawn.
    Hits of devices that draft ahead are always drawn.
    """

    def __init__(self, system: ContinuousSystem, num_envs: int, *, drawn: bool) -> None:
        scenario = system.scenario
        if system.workload is not None and not drawn:
            raise ValueError("drawn: expected True where requests end, since a request has a whole number of tokens")
        system.acceptance.prior(scenario)  # refuses a scenario that it can't serve
        self.system = system
        self.num_envs = num_envs
        device_rows = partial(user_uniforms, columns=UNIFORMS_PER_USER, num_users=scenario.num_users)
        self._devices = CopyStreams(device_rows, num_envs, EPISODES)
        by_cycle = partial(CopyStreams, num_envs=num_envs * scenario.num_users, block=_CYCLES, apart=True)
        self._fading = by_cycle(partial(system.channel.draw, num_users=1))
        self._drawn = drawn
        self._noise = by_cycle(partial(user_exponentials, num_users=1)) if drawn or scenario.draft_ahead else None
        columns = system.acceptance.columns
        self._renewals = by_cycle(partial(user_uniforms, columns=columns, num_users=1)) if columns else None
        shape = (num_envs, scenario.num_users)
        zeros = np.zeros(shape, dtype=np.int64)
        self.users = Users(np.ones(shape), np.ones(shape), zeros)
        self.requests = Requests(zeros, np.ones(shape), zeros, zeros)
        self._gain, self._gain_at = np.ones(shape), np.zeros(shape)  # and when it was drawn
        self._expectation: Callable[[IntArray], FloatArray] | None = None
        self._expectation_of: Requests | None = None
        self.queues = None if system.workload is None else Queues(system.workload, num_envs, scenario.num_users)
        """Requests that arrive and end; ``None`` where they are endless."""
        self.state = free_state(SystemState(np.ones(shape), np.ones(shape), np.ones(shape)))
        """What the next decision may depend on, arrays (n, K)."""

    def seed(self, copy: int, generator: np.random.Generator) -> None:
        """Give a copy fresh streams, spawned from ``generator``."""
        devices, *others, requests = generator.spawn(5)
        self._devices.seed(copy, devices)
        if self.queues is not None:
            self.queues.seed(copy, requests)
        users = self.system.scenario.num_users
        for stream, child in zip((self._fading, self._noise, self._renewals), others, strict=True):
            if stream is not None:
                for user, own in enumerate(child.spawn(users)):
                    stream.seed(copy * users + user, own)

    def reset(self, copies: IntArray | None = None) -> None:
        """New devices, all of them free, for these copies (default all)."""
        self.state = self.state.copy().changed(demand=self.state.demand)  # what was handed out keeps its numbers
        self._begin_anew(np.arange(self.num_envs) if copies is None else copies)

    def _begin_anew(self, chosen: IntArray) -> None:
        """New devices in a state whose arrays nobody else has, but for those of its demand."""
        scenario = self.system.scenario
        drawn = users_from_uniforms(scenario, self._devices.read(chosen))
        self.users = Users._make(replace_rows(old, chosen, new) for old, new in zip(self.users, drawn, strict=True))
        cells = chosen[:, None] * scenario.num_users + np.arange(scenario.num_users)
        fresh = self._fresh_uniforms(cells)
        requests = self.system.acceptance.first(scenario, drawn.task, np.moveaxis(fresh, -1, -2))
        renewed = (replace_rows(old, chosen, new) for old, new in zip(self.requests, requests, strict=True))
        self.requests = Requests._make(renewed)
        rows = self._fading.read(cells.reshape(-1))
        gain = self.system.channel.first_gain(drawn.mean_gain.reshape(-1, 1), rows).reshape(cells.shape)
        self._gain, self._gain_at[chosen] = replace_rows(self._gain, chosen, gain), 0.0
        state = self.state
        for array in (state.phase, state.draft_length, state.drafting_left, state.air_left, state.age, state.aim):
            array[chosen] = 0  # `Phase.FREE` is 0
        state.batch[chosen] = 0
        state.time[chosen] = 0.0
        state = state.changed(
            draft_time=replace_rows(state.draft_time, chosen, drawn.draft_time),
            spectral_efficiency=replace_rows(state.spectral_efficiency, chosen, spectral_efficiency(scenario, gain)),
            acceptance_rate=replace_rows(state.acceptance_rate, chosen, requests.rate),
            head_start=replace_rows(state.head_start, chosen, 0.0),
        )
        self.state = self._requests_anew(state, chosen)

    def hold(self, state: SystemState) -> None:
        """Put all copies into a state (n, K) without any draft, in place of what `reset` draws."""
        zeros = np.zeros(state.draft_time.shape, dtype=np.int64)
        self._gain = channel_gain(self.system.scenario, state.spectral_efficiency)
        self.users = Users(state.draft_time, self._gain, zeros)
        self.requests = Requests(zeros, state.acceptance_rate, zeros, zeros)
        self._gain_at = np.zeros(zeros.shape)
        if self.queues is not None:
            state = state.changed(head_start=np.zeros(zeros.shape))
        self.state = self._requests_anew(free_state(state), np.arange(self.num_envs))

    def _requests_anew(self, state: ContinuousState, copies: IntArray) -> ContinuousState:
        if self.queues is None:
            return state
        self.queues.reset(copies)
        state.phase[copies] = Phase.IDLE
        counts = (replace_rows(array, copies, 0) for array in (state.demand.drafted, state.demand.accepted))
        return state.changed(demand=self.queues.demand(*counts))

    def step(self, decision: ContinuousDecision, over: BoolArray | None = None) -> ContinuousOutcome:
        """Let time pass until the next verification ends, with a decision (n, K).

        Copies ``over`` (n,) start anew instead, by default none; what is returned for them is void. ``ValueError`` for
        a bad decision, one under which a batch never starts, or requests too many to be kept; nothing has changed then.
        """
        checked = checked_continuous_decision(self.system.scenario, self.system.uplink, decision, self.num_envs)
        check_drop(checked, self.state, over)
        return self.advance(checked, over)

    def advance(self, decision: ContinuousDecision, over: BoolArray | None = None) -> ContinuousOutcome:
        """As `step`, for a decision as `checked_continuous_decision` gives it."""
        if self.queues is None:
            outcome, state = self._endless(decision, over)
        else:
            outcome, state = self._serving(self.queues, decision, over)
        if self.requests.rate is not state.acceptance_rate:
            state = state.changed(acceptance_rate=self.requests.rate)
        if self.system.channel.changes:
            state = state.changed(spectral_efficiency=self._later_efficiency(state, np.flatnonzero(outcome.verified)))
        self.state = state
        if over is not None and over.any():
            self._begin_anew(np.flatnonzero(over))
        return outcome

    def _endless(
        self, decision: ContinuousDecision, over: BoolArray | None
    ) -> tuple[ContinuousOutcome, ContinuousState]:
        """One verification: what happens, and the state behind it with channels and acceptance of before.

        It is the fast path of `_serving` for requests that never end: nothing arrives, and nobody is idle. So a step of
        one copy takes half the time, 0.16 ms in place of 0.29 ms.
        """
        begun = started(self.system.scenario, self.state, decision)
        outcome, state = next_pass(self.system.scenario, self.system.uplink, begun, decision, over)
        tokens, hit = self._judged(begun.draft_length, outcome.verified)
        if self.system.acceptance.changes:
            self._next_rates(outcome.verified, tokens)
        outcome = outcome.changed(tokens=tokens)
        if self.system.scenario.draft_ahead:
            outcome, state = self._with_chains(begun, outcome, state, hit & ~self.renewed(outcome))
        return outcome, state

    def _serving(
        self, queues: Queues, decision: ContinuousDecision, over: BoolArray | None
    ) -> tuple[ContinuousOutcome, ContinuousState]:
        # requests are dropped, free devices start drafts, and idle ones will as soon as a request arrives
        scenario, state, now = self.system.scenario, self.state, self.state.time
        dropped, since = np.zeros(state.phase.shape, dtype=np.bool_), np.zeros(state.phase.shape)
        arrivals = np.zeros(state.phase.shape, dtype=np.int64)
        put_back: Callable[[], None] | None = None
        if decision.drop is not None and decision.drop.any():
            dropped, put_back = decision.drop if over is None else decision.drop & ~over[:, None], queues.kept()
            since = np.where(dropped, now[:, None] - queues.shaped("arrived"), 0.0)
            arrivals = queues.end(dropped, now)
            state = without_drafts(state, dropped, queues.idle)
        idle, arrived = queues.idle, queues.shaped("arrived")
        wait = np.where(idle, arrived - now[:, None], 0.0)
        begun = started(scenario, state, decision, wait, queues.shaped("wanted") - 1)
        joining = decision.changed(join=np.where(idle, np.minimum(decision.join, Join.TAKE), decision.join))
        # they are uploaded and verified
        try:
            read = queues.context if scenario.context_time else None
            prompt = queues.shaped("prompt")
            outcome, state = next_pass(scenario, self.system.uplink, begun, joining, over, prompt, read)
            end = state.time if over is None else np.where(over, now, state.time)
            queues.reach(end)
        except ValueError:
            if put_back is not None:
                put_back()
            raise
        verified = outcome.verified
        new = (dropped & ~idle) | (idle & (arrived <= end[:, None]))
        self._first_rates(new if over is None else new & ~over[:, None])
        tokens, hit = self._judged(begun.draft_length, verified)
        # requests arrive, get their tokens and end, and the next in line are served
        arrivals += queues.arrive(end)
        absent = idle & ~verified & (arrived >= end[:, None])  # without anything to draft for, so far
        gained, gap = queues.deliver(tokens, verified, end)
        finished = verified & (queues.shaped("wanted") == 0)
        times = queues.times(finished, end)
        arrivals += queues.end(finished, end)
        self._first_rates(finished & ~queues.idle)
        accepted = ((tokens - 1.0) * verified).astype(np.int64)
        demand = queues.demand(outcome.draft_length.copy(), accepted)
        if scenario.draft_ahead:
            outcome, state = self._with_chains(begun, outcome, state, hit & ~finished)
        state = without_drafts(state, absent, queues.idle).changed(demand=demand)
        idle_time = np.where(idle, np.minimum(-begun.age, outcome.duration[:, None]), 0.0)
        outcome = outcome.changed(
            tokens=gained,
            drafted_at=np.where(absent, 0.0, outcome.drafted_at),
            uploaded_at=np.where(absent, 0.0, outcome.uploaded_at),
            served=Served(arrivals, dropped, since, finished, *times, gap, idle_time),
        )
        return outcome, state

    def renewed(self, outcome: ContinuousOutcome) -> BoolArray:
        """Devices (n, K) whose request is another one behind the last step, which had this outcome."""
        if self.queues is None and self.system.acceptance.changes:
            return outcome.verified & (self.requests.age == 0)
        return outcome.served.finished | outcome.served.dropped

    def overdue(self, now: FloatArray, copies: IntArray | None = None) -> IntArray:
        """Requests (m, K) of these copies (m,), default all, that are late at ``now`` (m,) s, and have not ended."""
        if self.queues is None:
            return np.zeros((len(now), self.system.scenario.num_users), dtype=np.int64)
        return self.queues.overdue(now, copies)

    def _first_rates(self, began: BoolArray) -> None:
        if self._renewals is None or not began.any():
            return
        cells = np.flatnonzero(began)
        fresh = np.moveaxis(self._fresh_uniforms(cells), -1, 0)
        new = self.system.acceptance.first(self.system.scenario, self.requests.task.take(cells), fresh)
        later = Requests._make(array.copy() for array in self.requests)  # what was handed out keeps its numbers
        for array, values in zip(later, new, strict=True):
            put(array, cells, values)
        self.requests = later

    def _later_efficiency(self, state: ContinuousState, cells: IntArray) -> FloatArray:
        now = np.repeat(state.time, state.age.shape[-1]).take(cells)
        elapsed = (now - self._gain_at.take(cells))[:, None]  # each device is a batch of one
        mean, old = (array.take(cells)[:, None] for array in (self.users.mean_gain, self._gain))
        gain = self.system.channel.next_gain(old, mean, self._fading.read(cells), elapsed)[:, 0]
        self._gain, self._gain_at = self._gain.copy(), self._gain_at.copy()
        put(self._gain, cells, gain)
        put(self._gain_at, cells, now)
        efficiency = state.spectral_efficiency.copy()
        put(efficiency, cells, spectral_efficiency(self.system.scenario, gain))
        return efficiency

    def _next_rates(self, verified: BoolArray, tokens: FloatArray) -> None:
        drawn = self._fresh_uniforms(np.flatnonzero(verified))
        fresh = np.zeros((*verified.shape, drawn.shape[-1]))
        fresh[verified] = drawn
        gained = np.where(verified, tokens, 1.0)
        later = self.system.acceptance.next(self.system.scenario, self.requests, gained, np.moveaxis(fresh, -1, -2))
        self.requests = Requests._make(
            np.where(verified, new, old) for old, new in zip(self.requests, later, strict=True)
        )

    def _judged(self, draft_length: IntArray, verified: BoolArray) -> tuple[FloatArray, BoolArray]:
        scenario, noise, hit = self.system.scenario, None, np.zeros(verified.shape, dtype=np.bool_)
        if self._noise is not None:
            cells = np.flatnonzero(verified)
            variable = self._noise.read(cells)[:, 0]
            if self._drawn:
                noise = np.zeros(verified.shape)
                put(noise, cells, variable)
            if scenario.draft_ahead:
                probability = hit_probability(scenario, draft_length.take(cells), self.requests.rate.take(cells))
                put(hit, cells, drawn_hits(probability, variable))
        acceptance = self.system.acceptance
        if noise is not None:
            return acceptance.sampled_tokens(self.requests, draft_length, noise) * verified, hit
        if self._expectation is None or self._expectation_of is not self.requests:
            self._expectation_of = self.requests
            self._expectation = acceptance.expectation(scenario, self.requests)
        return self._expectation(draft_length) * verified, hit

    def _with_chains(
        self, begun: ContinuousState, outcome: ContinuousOutcome, state: ContinuousState, kept: BoolArray
    ) -> tuple[ContinuousOutcome, ContinuousState]:
        began, times = begun.head_start * outcome.verified, (begun.draft_time, begun.head_start, state.age)
        ahead = chain_left(self.system.scenario, begun.draft_length, *times) * outcome.verified
        outcome = outcome.changed(head_start=began, drafted_ahead=ahead, hit=kept)
        return outcome, state.changed(head_start=begun.head_start - began + ahead * kept)

    def _fresh_uniforms(self, cells: IntArray) -> FloatArray:
        if self._renewals is None:
            return np.zeros((*cells.shape, 0))
        return self._renewals.read(cells.reshape(-1)).reshape(*cells.shape, self.system.acceptance.columns)


def free_state(system: SystemState) -> ContinuousState:
    """All devices (n, K) free, at the start of everything."""
    shape = system.draft_time.shape
    zeros, whole, copies = np.zeros(shape), np.zeros(shape, dtype=np.int64), shape[:-1]
    rates = system.draft_time, system.spectral_efficiency, system.acceptance_rate
    phase, clock = np.full(shape, Phase.FREE, dtype=np.int64), (np.zeros(copies, dtype=np.int64), np.zeros(copies))
    return ContinuousState(
        *rates, phase, whole, zeros, zeros, zeros, whole, *clock, Demand.endless(shape), system.head_start
    )
