"""Drafts that start together for one batch, and the lengths that are best for them (ours; docs/evidence/continuous.md).

`fit` maximises over the lengths of the devices that start now

    Σ_k ω_k E[N_k | L_k] − λ Σ_k w_k − ρ (max(M(L) − D, 0) + V(L)),

where w_k is air time, M(L) the time when all is uploaded (`Launch.ready`), D the time when the server is free, V(L) how
long it verifies, and ρ what a second is worth. Marginal prices of a second give good starting points: an air second
costs between nothing and ρ, and drafts may take the time φ.

From there, `improved` adds, takes away and moves whole tokens by two kinds of steps that take turns until none helps.
`_climb` tries one token more or less for every device, and one for each of several devices, in the order in which they
pay for their air. `_swap` tries one token more for a device, and one or two less for another.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.chains import drafting_time, longest_sent
from multispin_env.physics.continuous.types import ContinuousState, Phase
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.tokens import batch_time
from multispin_env.scenario import Scenario

ALL: Any = (slice(None), None)  # arrays (n, ...) to go with candidates (n, C, ...) of all copies
LEAST_GAIN = 1e-9  # tokens that a step has to bring
MOST_STEPS = 40  # of each kind
WINDOWS = 6  # times φ that drafts may take, from D to where no gain could pay for the delay


@dataclass(frozen=True, eq=False)
class Launch:
    """Devices that start drafts now for one batch, of n copies."""

    scenario: Scenario
    starts: BoolArray  # (n, K), who starts a draft for the batch
    draft_time: FloatArray  # (n, K) s a token; 0 for others
    head_start: FloatArray | None  # (n, K) tokens that are there already; None: none
    token_air: FloatArray  # (n, K) s of the whole band a token; 0 for others
    acceptance_rate: FloatArray  # (n, K) α
    gain: FloatArray  # (n, K, L_max + 1), what drafts of 0, 1 .. tokens are expected to gain, weighted; 0 for others
    release: FloatArray  # (n, K) s, when a draft without tokens would end, or, of others, the draft under way does
    air: FloatArray  # (n, K) s of the whole band that uploads of others need, which this batch has to wait for
    due: FloatArray  # (n,) s, when the server is free for the batch
    delay_price: FloatArray  # (n,) tokens/s, ρ > 0, what a second of delay costs
    air_price: float  # λ ≥ 0, tokens a second of the whole band

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        state: ContinuousState,
        starts: BoolArray,
        background: tuple[FloatArray, FloatArray],
        due: FloatArray,
        delay_price: FloatArray,
        *,
        air_price: float,
        weight: FloatArray | float,
    ) -> Self:
        """From a state (n, K); ``background`` are release and air times (n, K) of others, 0 where nothing is sent."""
        release, air = background
        return cls(
            scenario,
            starts,
            state.draft_time * starts,
            state.head_start,
            full_share_token_time(scenario, state.spectral_efficiency) * starts,
            state.acceptance_rate,
            _gains(scenario, state.acceptance_rate, np.where(starts, weight, 0.0)),
            np.where(starts, scenario.round_trip_time, release),
            np.where(starts, 0.0, air),
            due,
            delay_price,
            air_price,
        )

    def __getitem__(self, rows: BoolArray | IntArray) -> Self:
        """Some of the copies."""
        arrays: dict[str, Any] = {name: each[rows] for name, each in vars(self).items() if isinstance(each, np.ndarray)}
        return replace(self, **arrays)

    def drafted(self, lengths: IntArray | FloatArray, at: Any = ALL) -> FloatArray:
        """When the drafts have ended, (..., K) s, for lengths (..., K).

        Here and below, ``at`` says of which copies: what turns arrays (n, K) into such that go with the lengths.
        """
        chain = None if self.head_start is None else self.head_start[at]
        ends = drafting_time(lengths, self.draft_time[at], chain)
        ends += self.release[at]
        return ends

    def ready(self, lengths: IntArray, at: Any = ALL) -> FloatArray:
        """When all uploads have ended, (...) s, for lengths (..., K) (docs/evidence/continuous.md, 1)."""
        count = lengths.astype(np.float64)  # once, not for each product
        release = self.drafted(count, at)
        count *= self.token_air[at]
        count += self.air[at]
        return all_sent(release, count)

    def server_time(self, lengths: IntArray, at: Any = ALL) -> FloatArray:
        """How long the batch is verified, (...) s, for lengths (..., K)."""
        return batch_time(self.scenario, lengths, np.broadcast_to(self.starts[at], lengths.shape))

    def gains(self, lengths: IntArray) -> FloatArray:
        """What each draft is expected to gain, weighted, less the price of its air, for lengths (n, ..., K)."""
        first = np.arange(0, self.gain.size, self.gain.shape[-1]).reshape(self.starts.shape)
        between = (slice(None), *(None,) * (lengths.ndim - 2))
        gain: FloatArray = self.gain.take(lengths + first[between])
        if self.air_price:
            gain -= self.air_price * (lengths * self.token_air[between])
        return gain

    def cost(self, lengths: IntArray, at: Any = ALL) -> FloatArray:
        """What delay, and the server's time where tokens change it, cost (...), for lengths (..., K)."""
        late = np.maximum(self.ready(lengths, at) - self.due[at], 0.0)
        if not self.scenario.law.flat:  # a flat law costs all lengths alike
            late += self.server_time(lengths, at)
        return late * self.delay_price[at]

    def value(self, lengths: IntArray) -> FloatArray:
        """Gains less costs, (n, C), for lengths (n, C, K)."""
        return ordered_sum(self.gains(lengths)) - self.cost(lengths)


def _gains(scenario: Scenario, acceptance_rate: FloatArray, weight: FloatArray) -> FloatArray:
    """Weighted E[N | L] of L = 0..L_max, (n, K, L_max + 1): sums of powers of α, as [MS] (12) has them."""
    powers = np.repeat(acceptance_rate[..., None], scenario.max_draft_length + 1, -1)
    powers[..., 0] = weight
    np.multiply.accumulate(powers, -1, out=powers)
    return np.add.accumulate(powers, -1, out=powers)


def longest_paying(scenario: Scenario, acceptance_rate: FloatArray, price: FloatArray) -> IntArray:
    """The longest draft of which every token is accepted with a probability ≥ price: α^L ≥ price (...), L in range."""
    decay = np.minimum(np.log(np.maximum(acceptance_rate, 1e-300)), -1e-12)
    count = np.log(np.maximum(price, 1e-12)) / decay
    return np.clip(np.floor(count), scenario.min_draft_length, scenario.max_draft_length).astype(np.int64)


def all_sent(release: FloatArray, air: FloatArray) -> FloatArray:
    """When a work-conserving uplink has served uploads (..., K) of ``air`` seconds that start at ``release``, (...) s.

    The greatest of: the start of an upload, plus all that starts then or later.
    """
    users = release.shape[-1]
    order = release.argsort(-1).reshape(-1, users)
    order += np.arange(0, release.size, users)[:, None]
    if len(order) <= 64:  # faster along the last axis for few rows, else by columns; the bits are the same
        work = np.add.accumulate(air.take(order[:, ::-1]), -1)
        work += release.take(order[:, ::-1])
        return np.asarray(work.max(-1).reshape(release.shape[:-1]))
    columns = np.ascontiguousarray(order.T)
    start, work = release.take(columns), air.take(columns)
    for i in range(users - 1, 0, -1):
        work[i - 1] += work[i]
    start += work
    return np.asarray(start.max(0).reshape(release.shape[:-1]))


def ordered_sum(array: FloatArray) -> FloatArray:
    """Sums (...) over the last axis from left to right, to the same bits in any batch."""
    return np.add.accumulate(array, -1)[..., -1]


def fit(launch: Launch, *, thorough: bool = False) -> IntArray:
    """Lengths (n, K) of the drafts that start now; L_min for devices that do not start.

    A ``thorough`` search begins at the best point of every time φ, not at the best of all. It pays where the batch may
    start at once, since nothing says then how long drafts should be.
    """
    starts = _by_price(launch)
    if not thorough:
        return improved(launch, _best(launch, starts))
    copies, _, users = starts.shape
    every = launch[np.repeat(np.arange(copies), WINDOWS)]
    firsts = _best(every, starts.reshape(copies * WINDOWS, -1, users))
    return _best(launch, improved(every, firsts).reshape(copies, WINDOWS, users))


def fit_ratio(launch: Launch) -> IntArray:
    """Lengths (n, K) with the greatest Σ_k ω_k E[N_k] / (max(M, D) + V): `fit` at a price ρ that equals the ratio.

    ``launch.delay_price`` is where the search for it begins (Dinkelbach's).
    """
    for _ in range(3):
        lengths = fit(launch, thorough=True)
        chosen = lengths[:, None]
        time = np.maximum(launch.ready(chosen)[:, 0], launch.due) + launch.server_time(chosen)[:, 0]
        launch = replace(launch, delay_price=ordered_sum(launch.gains(chosen))[:, 0] / time)
    return lengths


def _best(launch: Launch, lengths: IntArray) -> IntArray:
    """The best of some candidates (n, C, K), (n, K)."""
    best = launch.value(lengths).argmax(-1)
    return lengths[np.arange(len(best)), best]


def _by_price(launch: Launch) -> IntArray:
    """Candidates (n, C, K): what pays at a price of air, and can be drafted and sent alone in a time φ."""
    scenario = launch.scenario
    low, high = scenario.min_draft_length, scenario.max_draft_length
    pay = _paying(launch)
    shortest = np.full_like(pay[:, :1], low)
    first = np.maximum(launch.due, launch.ready(shortest)[:, 0])
    possible = ordered_sum(launch.gains(pay[:, :1])) - launch.value(shortest)
    most = launch.due + possible[:, 0] / launch.delay_price
    ratio = np.maximum(most / np.where(first > 0.0, first, 1.0), 1.0)
    windows = first[:, None] * ratio[:, None] ** (np.arange(WINDOWS) / (WINDOWS - 1))
    air = np.where(launch.starts, launch.token_air, 1.0)[:, None]
    chain = None if launch.head_start is None else launch.head_start[:, None]
    room = windows[..., None] - scenario.round_trip_time
    most = longest_sent(room, launch.draft_time[:, None], air, chain)
    fitting = np.clip(np.floor(most + 1e-9), low, high).astype(np.int64)
    lengths = np.minimum(fitting[:, :, None], pay[:, None])
    lengths = np.where(launch.starts[:, None, None], lengths, low)
    return lengths.reshape(len(first), -1, lengths.shape[-1])


def _paying(launch: Launch) -> IntArray:
    """The longest drafts (n, X, K) of which every token brings what its air and its place in the pass cost."""
    scenario, rho = launch.scenario, launch.delay_price[:, None]
    parts = np.array([0.0, 0.3, 0.6, 1.0])  # prices of an air second; beyond ρ nobody would pay
    air = (launch.air_price + rho * parts)[..., None] * launch.token_air[:, None]
    slopes = np.array(list(dict.fromkeys([0.0, *(slope for _, slope in scenario.law.lines)])))
    price = (air[:, :, None] + (rho * slopes)[:, None, :, None]).reshape(len(rho), -1, air.shape[-1])
    weight = np.where(launch.starts, launch.gain[..., 0], 1.0)[:, None]
    return longest_paying(scenario, launch.acceptance_rate[:, None], price / weight)


def improved(launch: Launch, lengths: IntArray) -> IntArray:
    """Lengths (n, K) that no step betters, from lengths (n, K)."""
    lengths = lengths.copy()
    rows = np.arange(len(lengths))
    for _ in range(MOST_STEPS):
        _climb(launch, lengths, rows)
        rows = _swap(launch, lengths, rows)
        if not rows.size:
            break
    return lengths


def _climb(launch: Launch, lengths: IntArray, rows: IntArray) -> None:
    """Steps of the first kind for some copies, as long as they help; in place."""
    for _ in range(MOST_STEPS):
        here, now = _some(launch, lengths, rows)
        tried = _longer_and_shorter(here, now)
        values = here.value(tried)
        best = values.argmax(-1)
        chosen = np.arange(len(rows)), best
        better = values[chosen] > values[:, 0] + LEAST_GAIN
        rows = rows[better]
        if not rows.size:
            return
        lengths[rows] = tried[chosen][better]


def _some(launch: Launch, lengths: IntArray, rows: IntArray) -> tuple[Launch, IntArray]:
    return (launch, lengths) if len(rows) == len(lengths) else (launch[rows], lengths[rows])


def _longer_and_shorter(launch: Launch, lengths: IntArray) -> IntArray:
    """Candidates (n, C, K), the lengths themselves first."""
    low, high = launch.scenario.min_draft_length, launch.scenario.max_draft_length
    now = lengths[:, None]
    more, less = (_step(launch, lengths, sign) for sign in (1, -1))
    spare = None if launch.head_start is None else np.maximum(launch.head_start - lengths, 0.0)
    one_more = drafting_time(1, launch.draft_time, spare)
    late = launch.drafted(lengths, ...) + one_more + launch.token_air
    misfit = late > np.maximum(launch.due, launch.ready(now)[:, 0])[:, None]
    air = np.where(launch.starts, launch.token_air, 1.0)
    longer = _ones(launch, np.where(misfit, -1.0, more / air))
    shorter = _ones(launch, less / air)
    soon = _ones(launch, -late)
    ups = [np.add.accumulate(ones, 1)[:, 1:] for ones in (longer, soon)]
    downs = [np.add.accumulate(ones, 1)[:, 1:] for ones in (shorter, _ones(launch, late))]
    changes = (longer, -shorter, *ups, *[-d for d in downs])
    return np.clip(now + np.concatenate([np.zeros_like(now), *changes], 1), low, high)


def _step(launch: Launch, lengths: IntArray, change: int) -> FloatArray:
    """What a change of every length brings by itself (n, K); −∞ where it is not possible."""
    low, high = launch.scenario.min_draft_length, launch.scenario.max_draft_length
    changed = lengths + change
    possible = launch.starts & (changed >= low) & (changed <= high)
    brings = launch.gains(np.clip(changed, low, high)) - launch.gains(lengths)
    return np.where(possible, brings, -np.inf)


def _ones(launch: Launch, worth: FloatArray) -> IntArray:
    """A token for each device that starts, the greatest worth first, (n, m, K)."""
    users = worth.shape[-1]
    order = np.argsort(-np.where(launch.starts, worth, -np.inf), -1, kind="stable")
    most = launch.starts.sum(-1).max()
    return ((order[:, :most, None] == np.arange(users)) & launch.starts[:, None]).astype(np.int64)


def _swap(launch: Launch, lengths: IntArray, rows: IntArray) -> IntArray:
    """One step of the second kind for some copies, in place; returns those where it helped."""
    here, now = _some(launch, lengths, rows)
    gain = ordered_sum(here.gains(now))
    value = gain - here.cost(now, (slice(None),))
    wins, limit = _wins(here, now)
    hopeful = gain[:, None, None, None] + wins - limit > (value + LEAST_GAIN)[:, None, None, None]
    row, less, to, source = np.nonzero(hopeful)
    tried = now[row]
    each = np.arange(len(row))
    tried[each, to] += 1
    tried[each, source] -= less + 1
    values = gain[row] + wins[hopeful] - here.cost(tried, (row,))
    return _taken(lengths, rows, row, tried, values - value[row])


def _wins(launch: Launch, lengths: IntArray) -> tuple[FloatArray, FloatArray]:
    """What moves bring, (n, 2, K to, K from), before costs, and a lower limit of the costs then, (n, 2, 1, K from).

    To take tokens away from one device without giving any to another costs no more.
    """
    users = lengths.shape[-1]
    fewer = [_step(launch, lengths, -less) for less in (1, 2)]
    down = np.array([1, 2])[:, None, None] * np.eye(users, dtype=np.int64)
    tried = np.maximum(lengths[:, None] - down.reshape(-1, users), launch.scenario.min_draft_length)
    limit = launch.cost(tried).reshape(len(lengths), 2, 1, users)
    wins = _step(launch, lengths, 1)[:, None, :, None] + np.stack(fewer, 1)[:, :, None]
    return np.where(np.eye(users, dtype=np.bool_), -np.inf, wins), limit


def _taken(lengths: IntArray, rows: IntArray, row: IntArray, tried: IntArray, wins: FloatArray) -> IntArray:
    """Take the first best of the candidates (c, K) of each copy, where it helps; returns these copies."""
    order = np.lexsort((-wins, row))
    first: BoolArray = np.diff(row[order], prepend=-1) != 0
    best = order[first]
    best = best[wins[best] > LEAST_GAIN]
    chosen: IntArray = rows[row[best]]
    lengths[chosen] = tried[best]
    return chosen


def aside(scenario: Scenario, state: ContinuousState) -> BoolArray:
    """Devices (n, K) in a deep fade, for which no batch should wait: T_k + 3 u_k > T_fix + K T_lin / 2.

    With a head start, (1 − A_k)^+ T_k counts. Channel and head start hold for a cycle, so the answer is the same at all
    times of the cycle. Of a law of verification by tokens, a pass of half the devices without drafts counts.
    """
    half = scenario.num_users / 2
    token_air = full_share_token_time(scenario, state.spectral_efficiency)
    first = drafting_time(1, state.draft_time, state.head_start)
    late: BoolArray = first + 3.0 * token_air > scenario.pass_time(half, half)
    return late


@dataclass(frozen=True, eq=False)
class Background:
    """Drafts under way, and those that have been decided; `add` puts in more of them."""

    scenario: Scenario
    length: IntArray  # (n, K) tokens
    release: FloatArray  # (n, K) s until drafts end
    air: FloatArray  # (n, K) s of the whole band
    place: IntArray  # (n, K), batches before the one a draft aims at; negative for drafts that no batch waits for

    @classmethod
    def of(cls, scenario: Scenario, state: ContinuousState, ignored: BoolArray) -> Self:
        """All that is under way in a state (n, K), except for devices that are ``ignored``."""
        out = ignored | (state.phase == Phase.FREE)
        place = np.where(out, -1, np.maximum(state.aim - state.batch[:, None], 0))
        return cls(scenario, state.draft_length, state.drafting_left, state.air_left, place)

    def __getitem__(self, rows: IntArray) -> Self:
        """Some of the copies."""
        return type(self)(self.scenario, self.length[rows], self.release[rows], self.air[rows], self.place[rows])

    def up_to(self, place: int) -> tuple[FloatArray, FloatArray]:
        """Release and air times (n, K) of all that must be sent for the batch in this place; 0 for others."""
        counts = (self.place >= 0) & (self.place <= place)
        return self.release * counts, self.air * counts

    def due(self, place: int) -> FloatArray:
        """When the server is free for the batch in this place, (n,) s, if those before wait for all their devices."""
        due = np.zeros(len(self.place))
        for earlier in range(place):
            inside = self.place == earlier
            time = batch_time(self.scenario, self.length, inside) * inside.any(-1)
            due = np.maximum(due, all_sent(*self.up_to(earlier))) + time
        return due

    def add(self, state: ContinuousState, starts: BoolArray, length: IntArray, place: IntArray | int) -> Self:
        """With drafts that start now, (n, K)."""
        token_air = full_share_token_time(self.scenario, state.spectral_efficiency)
        ends = self.scenario.round_trip_time + drafting_time(length, state.draft_time, state.head_start)
        return type(self)(
            self.scenario,
            np.where(starts, length, self.length),
            np.where(starts, ends, self.release),
            np.where(starts, length * token_air, self.air),
            np.where(starts, place, self.place),
        )
