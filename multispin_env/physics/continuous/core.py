"""Batched simulation without the barrier (not in the paper): environments stepped from verification to verification."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray, put, replace_rows
from multispin_env.pairs import check_pairs
from multispin_env.physics.acceptance import Acceptance, Requests
from multispin_env.physics.chains import HIT_THRESHOLDS, chain_left
from multispin_env.physics.continuous.passes import (
    UplinkDiscipline,
    clear_drafts,
    discipline_of,
    next_pass,
    start_drafts,
)
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
from multispin_env.physics.streams import EPISODES, EnvStreams, user_exponentials, user_uniforms
from multispin_env.physics.types import SystemState
from multispin_env.physics.workload import Workload
from multispin_env.registry import ACCEPTANCES, CHANNELS
from multispin_env.scenario import Scenario

_CYCLES = 256  # Random numbers are drawn ahead for this number of cycles of a device


@dataclass(frozen=True)
class ContinuousSystem:
    """Constant parts of a system without the barrier.

    ``channel`` gives the gains of successive cycles of a device. If ``workload`` is ``None``, requests never end.
    """

    scenario: Scenario
    channel: Channel
    uplink: UplinkDiscipline
    acceptance: Acceptance
    workload: Workload | None = None

    def __post_init__(self) -> None:
        self.scenario.uplink.require_paper("without the barrier", "link")

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        discipline: str = "serial",
        coherence_time: float = GaussMarkov.coherence_time,
        workload: Workload | None = None,
    ) -> "ContinuousSystem":
        """Make a system from names; ``coherence_time`` in s is for Gauss-Markov. ``ValueError`` for an unknown name."""
        name = scenario.channel
        channel: Channel = GaussMarkov(coherence_time=coherence_time) if name == "gauss-markov" else CHANNELS.load(name)
        return cls(scenario, channel, discipline_of(discipline), ACCEPTANCES.load(scenario.acceptance), workload)


class ContinuousCore:
    """Parallel environments with one system without the barrier.

    Every device of every environment has separate random streams for channels, requests and tokens, read once per
    cycle. So the random numbers of a device in its c-th cycle do not depend on decisions, and controllers can be
    compared on the same random numbers. Tokens are drawn if ``drawn`` is true, which a workload requires, and expected
    values otherwise. Hits of devices that draft ahead and repetitions of uploads are always drawn.

    The draft of a cycle arrives h G seconds after its upload, P(G ≥ j) = p^j; during repetitions the device uploads,
    and uses no air time. G is drawn with the channel, also for a draft that replaces a dropped one, and is not in the
    state, so that controllers learn it when the draft arrives. A device without draft repeats nothing.
    """

    def __init__(self, system: ContinuousSystem, num_envs: int, *, drawn: bool) -> None:
        scenario = system.scenario
        if system.workload is not None and not drawn:
            raise ValueError("drawn: expected True with a workload, since requests have whole tokens, got False")
        system.acceptance.prior(scenario)  # raises for an unsuitable scenario
        check_pairs("without_barrier", vars(scenario), without_barrier=True)
        self.system = system
        self.num_envs = num_envs
        device_rows = partial(user_uniforms, columns=UNIFORMS_PER_USER, num_users=scenario.num_users)
        self._devices = EnvStreams(device_rows, num_envs, EPISODES)
        by_cycle = partial(EnvStreams, num_envs=num_envs * scenario.num_users, block=_CYCLES)
        self._fading = by_cycle(partial(system.channel.draw, num_users=1))
        self._drawn = drawn
        self._noise = by_cycle(partial(user_exponentials, num_users=1)) if drawn or scenario.draft_ahead else None
        columns = system.acceptance.columns
        self._renewals = by_cycle(partial(user_uniforms, columns=columns, num_users=1)) if columns else None
        self._losses = (
            by_cycle(partial(user_uniforms, columns=1, num_users=1)) if scenario.uplink.repeat_delay else None
        )
        shape = (num_envs, scenario.num_users)
        zeros = np.zeros(shape, dtype=np.int64)
        self.users = users_from_uniforms(scenario, np.zeros((num_envs, UNIFORMS_PER_USER, scenario.num_users)))
        self.requests = Requests(zeros, np.ones(shape), zeros, zeros)
        self._gain, self._gain_at = np.ones(shape), np.zeros(shape)  # gains, and the times in s when they were drawn
        self._repeats, self._repeats_left = np.zeros(shape), np.zeros(shape)  # s of the cycle's draft, and to come
        self._expectation: Callable[[IntArray], FloatArray] | None = None
        self._expectation_of: Requests | None = None
        self.queues = None if system.workload is None else Queues(system.workload, num_envs, scenario.num_users)
        rates = {"spectral_efficiency": np.ones(shape), "acceptance_rate": np.ones(shape)}
        self.state = free_state(self.users.into(SystemState, **rates))  # for the next decision

    def seed(self, env: int, generator: np.random.Generator) -> None:
        """Give one environment new random streams, spawned from ``generator``."""
        devices, fading, noise, renewals, requests = generator.spawn(5)
        by_cycle = [(self._fading, fading), (self._noise, noise), (self._renewals, renewals)]
        if self._losses is not None:
            (losses,) = generator.spawn(1)
            by_cycle.append((self._losses, losses))
        self._devices.seed(env, devices)
        if self.queues is not None:
            self.queues.seed(env, requests)
        users = self.system.scenario.num_users
        for stream, parent in by_cycle:
            if stream is not None:
                for user, child in enumerate(parent.spawn(users)):
                    stream.seed(env * users + user, child)

    def reset(self, envs: IntArray | None = None) -> None:
        """Draw new devices, all free, in these environments (default all)."""
        self.state = self.state.copy().changed(demand=self.state.demand)  # callers may keep the old arrays
        self._draw_devices(np.arange(self.num_envs) if envs is None else envs)

    def _draw_devices(self, envs: IntArray) -> None:
        scenario = self.system.scenario
        drawn = users_from_uniforms(scenario, self._devices.read(envs))
        self.users = self.users.replaced(envs, drawn)
        cells = envs[:, None] * scenario.num_users + np.arange(scenario.num_users)
        fresh = self._fresh_uniforms(cells)
        requests = self.system.acceptance.first(scenario, drawn.task, np.moveaxis(fresh, -1, -2))
        updated = (replace_rows(old, envs, new) for old, new in zip(self.requests, requests, strict=True))
        self.requests = Requests._make(updated)
        rows = self._fading.read(cells.reshape(-1))
        gain = self.system.channel.first_gain(drawn.mean_gain.reshape(-1, 1), rows).reshape(cells.shape)
        self._gain, self._gain_at[envs] = replace_rows(self._gain, envs, gain), 0.0
        self._draw_repeats(cells.reshape(-1))
        state = self.state  # callers do not hold its arrays, except those of its demand
        drafts = state.phase, state.draft_length, state.drafting_left, state.air_left, state.age, state.aim
        for array in (*drafts, state.batch, state.time):
            array[envs] = 0  # `Phase.FREE` is 0
        state = state.changed(
            **self.users.shared(ContinuousState),
            spectral_efficiency=replace_rows(state.spectral_efficiency, envs, spectral_efficiency(scenario, gain)),
            acceptance_rate=replace_rows(state.acceptance_rate, envs, requests.rate),
            head_start=replace_rows(state.head_start, envs, 0.0),
        )
        self.state = self._reset_requests(state, envs)

    def hold(self, state: SystemState) -> None:
        """Set all environments to a state (n, K) without drafts, as an alternative to `reset`."""
        zeros = np.zeros(state.draft_time.shape, dtype=np.int64)
        self._gain = channel_gain(self.system.scenario, state.spectral_efficiency)
        self.users = state.into(Users, mean_gain=self._gain, task=zeros)
        self.requests = Requests(zeros, state.acceptance_rate, zeros, zeros)
        self._gain_at = np.zeros(zeros.shape)
        self._draw_repeats(np.arange(zeros.size))
        if self.queues is not None:
            state = state.changed(head_start=np.zeros(zeros.shape))
        self.state = self._reset_requests(free_state(state), np.arange(self.num_envs))

    def _reset_requests(self, state: ContinuousState, envs: IntArray) -> ContinuousState:
        if self.queues is None:
            return state
        self.queues.reset(envs, self.system.scenario.devices.reading_time(1, self.users.fleet_row))
        state.phase[envs] = Phase.IDLE
        counts = (replace_rows(array, envs, 0) for array in (state.demand.drafted, state.demand.accepted))
        reading = self._reading_left(self.queues, state.time)
        return state.changed(demand=self.queues.demand(*counts), reading_left=reading)

    def step(self, decision: ContinuousDecision, over: BoolArray | None = None) -> ContinuousOutcome:
        """Play a decision (n, K) until the end of the next verification.

        Environments with ``over`` (n,), by default none, are reset instead; their outcome has no meaning.
        ``ValueError`` for a bad decision, a decision under which a batch never starts, or too many requests for the
        memory; the state is then unchanged.
        """
        checked = checked_continuous_decision(self.system.scenario, self.system.uplink, decision, self.num_envs)
        check_drop(checked, self.state, over)
        return self.advance(checked, over)

    def advance(self, decision: ContinuousDecision, over: BoolArray | None = None) -> ContinuousOutcome:
        """Play a decision returned by `checked_continuous_decision`, as in `step`."""
        if self.queues is None:
            outcome, state = self._endless(decision, over)
        else:
            outcome, state = self._serving(self.queues, decision, over)
        if self.requests.rate is not state.acceptance_rate:
            state = state.changed(acceptance_rate=self.requests.rate)
        if self._losses is not None:
            self._draw_repeats(np.flatnonzero(outcome.verified))
        if self.system.channel.changes:
            state = state.changed(spectral_efficiency=self._later_efficiency(state, np.flatnonzero(outcome.verified)))
        self.state = state
        if over is not None and over.any():
            self._draw_devices(np.flatnonzero(over))
        return outcome

    def _endless(
        self, decision: ContinuousDecision, over: BoolArray | None
    ) -> tuple[ContinuousOutcome, ContinuousState]:
        # fast path of `_serving` for requests that never end: a step of one environment takes 0.16 ms, not 0.29 ms;
        # channels and acceptance rates of the returned state are not updated yet
        begun = start_drafts(self.system.scenario, self.state, decision)
        late = self._repeats_of(self.state, begun)
        outcome, state = next_pass(self.system.scenario, self.system.uplink, begun, decision, over, late=late)
        if late is not None:
            self._keep_repeats(late, outcome)
        tokens, hit = self._draw_tokens(begun.draft_length, outcome.verified)
        if self.system.acceptance.changes:
            self._next_rates(outcome.verified, tokens)
        outcome = outcome.changed(tokens=tokens)
        if hit is not None:
            outcome, state = self._with_chains(begun, outcome, state, hit & ~self.renewed(outcome), state.age)
        return outcome, state

    def _serving(
        self, queues: Queues, decision: ContinuousDecision, over: BoolArray | None
    ) -> tuple[ContinuousOutcome, ContinuousState]:
        # requests are dropped and free devices start drafts; idle devices start when a request arrives
        scenario, state, now = self.system.scenario, self.state, self.state.time
        dropped, since = np.zeros(state.phase.shape, dtype=np.bool_), np.zeros(state.phase.shape)
        arrivals = np.zeros(state.phase.shape, dtype=np.int64)
        restore: Callable[[], None] | None = None
        if decision.drop is not None and decision.drop.any():
            dropped, restore = decision.drop if over is None else decision.drop & ~over[:, None], queues.save()
            since = np.where(dropped, now[:, None] - queues.head("arrived"), 0.0)
            arrivals = queues.end(dropped, now)
            state = clear_drafts(state, dropped, queues.idle)
        idle, arrived = queues.idle, queues.head("arrived")
        wait = np.where(idle, arrived - now[:, None], 0.0)
        # also of the next requests of idle devices
        draft_time, reading = self._draft_time(lambda: queues.context), self._reading_left(queues, now, True)
        state = state.changed(draft_time=draft_time, reading_left=reading)
        begun = start_drafts(scenario, state, decision, wait, queues.head("wanted") - 1)
        late = self._repeats_of(state, begun)
        joining = decision.changed(join=np.where(idle, np.minimum(decision.join, Join.TAKE), decision.join))
        # drafts are uploaded and verified
        try:
            read = queues.context if scenario.context_time else None
            prompt = queues.head("prompt")
            outcome, state = next_pass(scenario, self.system.uplink, begun, joining, over, prompt, read, late)
            end = state.time if over is None else np.where(over, now, state.time)
            queues.reach(end)
        except ValueError:
            if restore is not None:
                restore()
            raise
        if late is not None:
            self._keep_repeats(late, outcome)
        verified = outcome.verified
        new = (dropped & ~idle) | (idle & (arrived <= end[:, None]))
        self._first_rates(new if over is None else new & ~over[:, None])
        tokens, hit = self._draw_tokens(begun.draft_length, verified)
        # requests arrive, receive tokens and end; the next requests in the queues are served
        arrivals += queues.arrive(end)
        absent = idle & ~verified & (arrived >= end[:, None])  # without a request during the whole step
        gained, gap = queues.deliver(tokens, verified, end)
        age = state.age
        if reading is not None:
            age = np.clip(end[:, None] - queues.head("read_until"), 0.0, age)  # devices that read draft nothing ahead
            queues.read(gained, end)
        finished = verified & (queues.head("wanted") == 0)
        times = queues.times(finished, end)
        arrivals += queues.end(finished, end)
        self._first_rates(finished & ~queues.idle)
        accepted = ((tokens - 1.0) * verified).astype(np.int64)
        demand = queues.demand(outcome.draft_length.copy(), accepted)
        if hit is not None:
            outcome, state = self._with_chains(begun, outcome, state, hit & ~finished, age)
        # the context of later requests is unknown
        draft_time = self._draft_time(lambda: np.where(queues.idle, scenario.context, queues.context))
        state = clear_drafts(state, absent, queues.idle)
        state = state.changed(demand=demand, draft_time=draft_time, reading_left=self._reading_left(queues, end))
        idle_time = np.where(idle, np.minimum(-begun.age, outcome.duration[:, None]), 0.0)
        outcome = outcome.changed(
            tokens=gained,
            drafted_at=np.where(absent, 0.0, outcome.drafted_at),
            uploaded_at=np.where(absent, 0.0, outcome.uploaded_at),
            served=Served(arrivals, dropped, since, finished, *times, gap, idle_time),
        )
        return outcome, state

    def _reading_left(self, queues: Queues, now: FloatArray, of_later: bool = False) -> FloatArray | None:
        if not self.system.scenario.devices.reads:
            return None
        return queues.reading_left(now) * (of_later | ~queues.idle)

    def _draft_time(self, context: Callable[[], IntArray]) -> FloatArray:
        return self.system.scenario.devices.later_time(self.users.draft_time, context, self.users.fleet_row)

    def renewed(self, outcome: ContinuousOutcome) -> BoolArray:
        """Return whether the requests (n, K) changed in the last step, given its outcome."""
        if self.queues is None and self.system.acceptance.changes:
            return outcome.verified & (self.requests.age == 0)
        return outcome.served.finished | outcome.served.dropped

    def overdue(self, now: FloatArray, envs: IntArray | None = None) -> IntArray:
        """Count unfinished requests (m, K) overdue at ``now`` (m,) s in these environments (m,), default all."""
        if self.queues is None:
            return np.zeros((len(now), self.system.scenario.num_users), dtype=np.int64)
        return self.queues.overdue(now, envs)

    def _first_rates(self, began: BoolArray) -> None:
        if self._renewals is None or not began.any():
            return
        cells = np.flatnonzero(began)
        fresh = np.moveaxis(self._fresh_uniforms(cells), -1, 0)
        new = self.system.acceptance.first(self.system.scenario, self.requests.task.take(cells), fresh)
        later = Requests._make(array.copy() for array in self.requests)  # callers may keep the old arrays
        for array, values in zip(later, new, strict=True):
            put(array, cells, values)
        self.requests = later

    def _later_efficiency(self, state: ContinuousState, cells: IntArray) -> FloatArray:
        now = np.repeat(state.time, state.age.shape[-1]).take(cells)
        elapsed = (now - self._gain_at.take(cells))[:, None]  # (m, 1): the channel treats each device as a batch entry
        mean, old = self.users.mean_gain.take(cells)[:, None], self._gain.take(cells)[:, None]
        gain = self.system.channel.next_gain(old, mean, self._fading.read(cells), elapsed)[:, 0]
        self._gain, self._gain_at = self._gain.copy(), self._gain_at.copy()
        put(self._gain, cells, gain)
        put(self._gain_at, cells, now)
        efficiency = state.spectral_efficiency.copy()
        put(efficiency, cells, spectral_efficiency(self.system.scenario, gain))
        return efficiency

    def _draw_repeats(self, cells: IntArray) -> None:
        if self._losses is not None:
            uniforms = self._losses.read(cells).reshape(-1)
            put(self._repeats, cells, self.system.scenario.uplink.repeat_times(uniforms))

    def _repeats_of(self, state: ContinuousState, begun: ContinuousState) -> FloatArray | None:
        """Return the seconds (n, K) of repetitions that the drafts ``begun`` in ``state`` or earlier still need."""
        if self._losses is None:
            return None
        return np.where(state.starting, self._repeats, self._repeats_left) * (begun.draft_length > 0)

    def _keep_repeats(self, late: FloatArray, outcome: ContinuousOutcome) -> None:
        with np.errstate(invalid="ignore"):  # environments that are over may have infinite times
            missing = np.maximum(outcome.uploaded_at - outcome.duration[:, None], 0.0)
        self._repeats_left = np.minimum(late, missing)

    def _next_rates(self, verified: BoolArray, tokens: FloatArray) -> None:
        drawn = self._fresh_uniforms(np.flatnonzero(verified))
        fresh = np.zeros((*verified.shape, drawn.shape[-1]))
        fresh[verified] = drawn
        gained = np.where(verified, tokens, 1.0)
        later = self.system.acceptance.next(self.system.scenario, self.requests, gained, np.moveaxis(fresh, -1, -2))
        self.requests = Requests._make(
            np.where(verified, new, old) for old, new in zip(self.requests, later, strict=True)
        )

    def _draw_tokens(self, draft_length: IntArray, verified: BoolArray) -> tuple[FloatArray, BoolArray | None]:
        """Return the tokens (n, K) and the hits (n, K), ``None`` without drafting ahead."""
        scenario, noise, hit = self.system.scenario, None, None
        if self._noise is not None:
            cells = np.flatnonzero(verified)
            variable = self._noise.read(cells)[:, 0]
            if self._drawn:
                noise = np.zeros(verified.shape)
                put(noise, cells, variable)
            if scenario.draft_ahead:
                threshold = HIT_THRESHOLDS[scenario.guess](draft_length.take(cells), self.requests.rate.take(cells))
                hit = np.zeros(verified.shape, dtype=np.bool_)
                put(hit, cells, variable >= threshold)
        acceptance = self.system.acceptance
        if noise is not None:
            return acceptance.sampled_tokens(self.requests, draft_length, noise) * verified, hit
        if self._expectation is None or self._expectation_of is not self.requests:
            self._expectation_of = self.requests
            self._expectation = acceptance.expectation(scenario, self.requests)
        return self._expectation(draft_length) * verified, hit

    def _with_chains(
        self,
        begun: ContinuousState,
        outcome: ContinuousOutcome,
        state: ContinuousState,
        hit: BoolArray,
        age: FloatArray,
    ) -> tuple[ContinuousOutcome, ContinuousState]:
        began, times = begun.head_start * outcome.verified, (begun.draft_time, begun.head_start, age)
        ahead = chain_left(self.system.scenario, begun.draft_length, *times) * outcome.verified
        outcome = outcome.changed(head_start=began, drafted_ahead=ahead, hit=hit)
        return outcome, state.changed(head_start=begun.head_start - began + ahead * hit)

    def _fresh_uniforms(self, cells: IntArray) -> FloatArray:
        if self._renewals is None:
            return np.zeros((*cells.shape, 0))
        return self._renewals.read(cells.reshape(-1)).reshape(*cells.shape, self.system.acceptance.columns)


def free_state(system: SystemState) -> ContinuousState:
    """Return the initial state (n, K), in which all devices are free."""
    shape = system.draft_time.shape
    zeros, whole, batch = np.zeros(shape), np.zeros(shape, dtype=np.int64), shape[:-1]
    return system.into(
        ContinuousState,
        phase=np.full(shape, Phase.FREE, dtype=np.int64),
        draft_length=whole,
        drafting_left=zeros,
        air_left=zeros,
        age=zeros,
        aim=whole,
        batch=np.zeros(batch, dtype=np.int64),
        time=np.zeros(batch),
        demand=Demand.endless(shape),
    )
