"""Copies of the system without the barrier, stepped together from verification to verification (ours)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray, put, replaced
from multispin_env.physics.acceptance.base import Acceptance
from multispin_env.physics.acceptance.requests import Requests
from multispin_env.physics.continuous.calendar import Course, course
from multispin_env.physics.continuous.channels import CycleChannel, GaussMarkovInTime, channel_law
from multispin_env.physics.continuous.lines import Lines, Requested
from multispin_env.physics.continuous.service import Closing, Ending, Endless, Service
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousOutcome, ContinuousState, Phase
from multispin_env.physics.continuous.uplink import UplinkDiscipline, discipline_of
from multispin_env.physics.continuous.validation import check_drop, checked_continuous_decision
from multispin_env.physics.dynamics import UNIFORMS_PER_USER, Users, users_from_uniforms
from multispin_env.physics.streams import EPISODES, CopyStreams, user_exponentials, user_uniforms
from multispin_env.physics.types import SystemState
from multispin_env.physics.uplink import channel_gain, spectral_efficiency
from multispin_env.registry import ACCEPTANCES
from multispin_env.scenario import Scenario

CYCLES = 256
"""Cycles of a device for which random numbers are drawn ahead."""


@dataclass(frozen=True)
class ContinuousSystem:
    """What does not change while time passes.

    Parameters
    ----------
    scenario
        Devices, radio, server, tasks. Its ``channel`` is not read: `channel` is.
    channel
        Law of gains by cycle.
    uplink
        How uploads share the band.
    acceptance
        What devices ask for.
    workload
        When requests arrive, how long they are and when they are due; ``None``: every device always has one.
    """

    scenario: Scenario
    channel: CycleChannel
    uplink: UplinkDiscipline
    acceptance: Acceptance
    workload: Requested | None = None

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        channel: str = "independent",
        discipline: str = "serial",
        coherence_time: float = GaussMarkovInTime.coherence_time,
        workload: Requested | None = None,
    ) -> "ContinuousSystem":
        """From names; ``ValueError`` for an unknown one."""
        acceptance: Acceptance = ACCEPTANCES.load(scenario.acceptance)
        law = channel_law(channel, coherence_time)
        return cls(scenario, law, discipline_of(discipline), acceptance, workload)


class ContinuousCore:
    """n copies of a system without the barrier.

    Every device of every copy has random streams of its own: for its channels, its requests and its tokens, read once a
    cycle. So what a device sees in its c-th cycle does not depend on anything that was decided, and controllers can be
    compared on the same random numbers.

    Parameters
    ----------
    system
        What does not change.
    num_copies
        n.
    drawn
        Whether tokens are drawn, or expected; where requests end they have to be drawn.
    """

    def __init__(self, system: ContinuousSystem, num_copies: int, *, drawn: bool) -> None:
        scenario = system.scenario
        if system.workload is not None and not drawn:
            raise ValueError("drawn: expected True where requests end, since a request has a whole number of tokens")
        system.acceptance.prior(scenario)  # refuses a scenario that it can't serve
        self.system = system
        self.num_copies = num_copies
        device_rows = partial(user_uniforms, columns=UNIFORMS_PER_USER, num_users=scenario.num_users)
        self._devices = CopyStreams(device_rows, num_copies, EPISODES)
        cycles = num_copies * scenario.num_users
        self._fading = CopyStreams(system.channel.draw, cycles, CYCLES, apart=True)
        self._tokens = (
            CopyStreams(partial(user_exponentials, num_users=1), cycles, CYCLES, apart=True) if drawn else None
        )
        columns = system.acceptance.columns
        renewal_rows = partial(_request_rows, columns=columns)
        self._renewals = CopyStreams(renewal_rows, cycles, CYCLES, apart=True) if columns else None
        shape = (num_copies, scenario.num_users)
        zeros = np.zeros(shape, dtype=np.int64)
        self.users = Users(np.ones(shape), np.ones(shape), zeros)
        self.requests = Requests(zeros, np.ones(shape), zeros, zeros)
        self._gain, self._gain_at = np.ones(shape), np.zeros(shape)  # and when it was drawn
        self._expectation: Callable[[IntArray], FloatArray] | None = None
        self._expectation_of: Requests | None = None
        self.service = _service_of(system, num_copies)
        """How requests begin and end."""
        self.state = _free_state(SystemState(np.ones(shape), np.ones(shape), np.ones(shape)))
        """What the next decision may depend on, arrays (n, K)."""

    def seed(self, copy: int, generator: np.random.Generator) -> None:
        """Give a copy fresh streams, spawned from ``generator``."""
        devices, *others, requests = generator.spawn(5)
        self._devices.seed(copy, devices)
        self.service.seed(copy, requests)
        users = self.system.scenario.num_users
        for stream, child in zip((self._fading, self._tokens, self._renewals), others, strict=True):
            if stream is not None:
                for user, own in enumerate(child.spawn(users)):
                    stream.seed(copy * users + user, own)

    def reset(self, copies: IntArray | None = None) -> None:
        """New devices, all of them free, for these copies (default all)."""
        self.state = self.state.copy()  # what was handed out keeps its numbers
        self._begin_anew(np.arange(self.num_copies) if copies is None else copies)

    def _begin_anew(self, chosen: IntArray) -> None:
        """New devices in a state whose own arrays nobody else has."""
        scenario = self.system.scenario
        drawn = users_from_uniforms(scenario, self._devices.read(chosen))
        self.users = Users._make(replaced(old, chosen, new) for old, new in zip(self.users, drawn, strict=True))
        cells = self._cells(chosen)
        fresh = self._fresh_uniforms(cells)
        requests = self.system.acceptance.first(scenario, drawn.task, np.moveaxis(fresh, -1, -2))
        self.requests = Requests._make(
            replaced(old, chosen, new) for old, new in zip(self.requests, requests, strict=True)
        )
        rows = self._fading.read(cells.reshape(-1))
        gain = self.system.channel.first_gain(drawn.mean_gain, rows.reshape(*cells.shape, -1))
        self._gain, self._gain_at[chosen] = replaced(self._gain, chosen, gain), 0.0
        state = self.state
        for array in (state.phase, state.draft_length, state.drafting_left, state.air_left, state.age, state.aim):
            array[chosen] = 0  # `Phase.FREE` is 0
        state.batch[chosen] = 0
        state.time[chosen] = 0.0
        state = state.changed(
            draft_time=replaced(state.draft_time, chosen, drawn.draft_time),
            spectral_efficiency=replaced(state.spectral_efficiency, chosen, spectral_efficiency(scenario, gain)),
            acceptance_rate=replaced(state.acceptance_rate, chosen, requests.rate),
        )
        self.state = self.service.reset(state, chosen)

    def hold(self, state: SystemState) -> None:
        """Put all copies into a state (n, K) without any draft, in place of what `reset` draws."""
        zeros = np.zeros(state.draft_time.shape, dtype=np.int64)
        self._gain = channel_gain(self.system.scenario, state.spectral_efficiency)
        self.users = Users(state.draft_time, self._gain, zeros)
        self.requests = Requests(zeros, state.acceptance_rate, zeros, zeros)
        self._gain_at = np.zeros(zeros.shape)
        self.state = self.service.reset(_free_state(state), np.arange(self.num_copies))

    def step(self, decision: ContinuousDecision, over: BoolArray | None = None) -> ContinuousOutcome:
        """Let time pass until the next verification ends.

        Parameters
        ----------
        decision
            Arrays (n, K).
        over
            Copies (n,) that start anew instead, by default none; what is returned for them is void.

        Raises
        ------
        ValueError
            For a bad decision, one under which a batch never starts, or requests too many to be kept; nothing has
            changed then.
        """
        checked = checked_continuous_decision(self.system.scenario, self.system.uplink, decision, self.num_copies)
        check_drop(checked, self.state, over)
        return self.advance(checked, over)

    def advance(self, decision: ContinuousDecision, over: BoolArray | None = None) -> ContinuousOutcome:
        """As `step`, for a decision as `checked_continuous_decision` gives it."""
        opening = self.service.begin(self.state, decision, over)
        begun = opening.begun
        path = course(self.system.scenario, self.system.uplink, begun, opening.decision, opening.prompt)
        if over is not None:
            path.verified[over] = False  # nothing is drawn for them
        try:
            _check_starts(path, over)
            self.service.reach(path, over)
        except ValueError:
            if opening.undo is not None:
                opening.undo()
            raise
        self._new_rates(self.service.newcomers(opening, path, over))
        tokens = self._tokens_of(path) * path.verified
        closing = self.service.close(opening, path, tokens, over)
        outcome = ContinuousOutcome(
            closing.tokens,
            begun.draft_length * path.verified,
            path.verified,
            _present(begun.drafting_left, closing.absent),
            _present(path.uploaded_at, closing.absent),
            begun.air_left - path.air_left,
            path.start,
            path.verification_time,
            path.duration,
            closing.served,
        )
        self._go_on(closing, path, tokens)
        if over is not None and over.any():
            self._begin_anew(np.flatnonzero(over))
        return outcome

    def _go_on(self, closing: Closing, path: Course, tokens: FloatArray) -> None:
        """New channels for the devices that were verified, and new rates of acceptance, by request or by draft."""
        state = closing.state
        cells = np.flatnonzero(path.verified)
        if closing.next_began is not None:
            self._new_rates(closing.next_began)
        elif self.system.acceptance.changes:
            self._renew(path.verified, cells, tokens)
        if self.requests.rate is not state.acceptance_rate:
            state = state.changed(acceptance_rate=self.requests.rate)
        if self.system.channel.changes:
            state = state.changed(spectral_efficiency=self._later_efficiency(state, cells))
        self.state = state

    def _new_rates(self, began: BoolArray | None) -> None:
        """Acceptance of requests that these devices (n, K) have now begun to serve; a device keeps its task."""
        if self._renewals is None or began is None or not began.any():
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
        elapsed = now - self._gain_at.take(cells)
        mean, old = (array.take(cells) for array in (self.users.mean_gain, self._gain))
        gain = self.system.channel.next_gain(old, mean, elapsed, self._fading.read(cells))
        self._gain, self._gain_at = self._gain.copy(), self._gain_at.copy()
        put(self._gain, cells, gain)
        put(self._gain_at, cells, now)
        efficiency = state.spectral_efficiency.copy()
        put(efficiency, cells, spectral_efficiency(self.system.scenario, gain))
        return efficiency

    def _renew(self, verified: BoolArray, cells: IntArray, tokens: FloatArray) -> None:
        drawn = self._fresh_uniforms(cells)
        fresh = np.zeros((*verified.shape, drawn.shape[-1]))
        fresh[verified] = drawn
        gained = np.where(verified, tokens, 1.0)
        later = self.system.acceptance.next(self.system.scenario, self.requests, gained, np.moveaxis(fresh, -1, -2))
        self.requests = Requests._make(
            np.where(verified, new, old) for old, new in zip(self.requests, later, strict=True)
        )

    def _tokens_of(self, path: Course) -> FloatArray:
        acceptance = self.system.acceptance
        if self._tokens is None:
            if self._expectation is None or self._expectation_of is not self.requests:
                self._expectation_of = self.requests
                self._expectation = acceptance.expectation(self.system.scenario, self.requests)
            return self._expectation(path.begun.draft_length)
        variable = np.zeros(path.verified.shape)
        variable[path.verified] = self._tokens.read(np.flatnonzero(path.verified))[:, 0]
        return acceptance.sampled_tokens(self.requests, path.begun.draft_length, variable)

    def _fresh_uniforms(self, cells: IntArray) -> FloatArray:
        """Uniform variables (..., columns) for the requests of these devices."""
        if self._renewals is None:
            return np.zeros((*cells.shape, 0))
        return self._renewals.read(cells.reshape(-1)).reshape(*cells.shape, -1)

    def _cells(self, copies: IntArray) -> IntArray:
        users = self.system.scenario.num_users
        cells: IntArray = copies[:, None] * users + np.arange(users)
        return cells


def _service_of(system: ContinuousSystem, num_copies: int) -> Service:
    if system.workload is None:
        return Endless(system.scenario)
    return Ending(system.scenario, Lines(system.workload, num_copies, system.scenario.num_users))


def _present(times: FloatArray, absent: BoolArray | None) -> FloatArray:
    """Times (n, K), 0 for devices that are absent."""
    return times if absent is None else np.where(absent, 0.0, times)


def _request_rows(rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    return rng.random((rows, columns))


def _free_state(system: SystemState) -> ContinuousState:
    """All devices (n, K) free, at the start of everything."""
    shape = system.draft_time.shape
    zeros, whole, copies = np.zeros(shape), np.zeros(shape, dtype=np.int64), shape[:-1]
    return ContinuousState(
        system.draft_time,
        system.spectral_efficiency,
        system.acceptance_rate,
        np.full(shape, Phase.FREE, dtype=np.int64),
        whole,
        zeros,
        zeros,
        zeros,
        whole,
        np.zeros(copies, dtype=np.int64),
        np.zeros(copies),
    )


def _check_starts(path: Course, over: BoolArray | None) -> None:
    ends = np.isfinite(path.duration)
    if over is not None:
        ends |= over
    if not ends.all():
        raise ValueError(
            f"decision[{int(ends.argmin())}]: expected one under which a batch starts, got one that waits for ever"
        )
