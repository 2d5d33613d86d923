"""Drafts that start together for one batch, and the lengths that are best for them (ours; docs/evidence/continuous.md).

`fit` maximises over the lengths of the devices that start now

    Σ_k ω_k E[N_k | L_k] − λ Σ_k w_k − ρ (max(M(L) − D, 0) + V(L)),

where w_k is air time, M(L) the time when all is uploaded (`Launch.ready`), D the time when the server is free, V(L) how
long it verifies, and ρ what a second is worth. Marginal prices of a second give good starting points: an air second
costs between nothing and ρ, and drafts may take the time φ.

From there, `search.improve_lengths` adds, takes away and moves whole tokens.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.controllers.continuous.cycle import longest_profitable
from multispin_env.controllers.continuous.search import Terms, all_sent, gain_table, improve_lengths
from multispin_env.physics.chains import drafting_time, longest_sent
from multispin_env.physics.continuous.types import ContinuousState
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.tokens import verification_time
from multispin_env.scenario import Scenario

MAX_STEPS = 40  # of each kind
_WINDOWS = 6  # times φ that drafts may take, from D to where no gain could pay for the delay


@dataclass(frozen=True, eq=False)
class Launch:
    """Devices that start drafts now for one batch, of n copies."""

    scenario: Scenario
    starts: BoolArray  # (n, K), who starts a draft for the batch
    draft_time: FloatArray  # (n, K) s a token; 0 for others
    head_start: FloatArray  # (n, K) tokens that are there already
    token_time: FloatArray  # (n, K) s of the whole band a token; 0 for others
    acceptance_rate: FloatArray  # (n, K) α
    weight: FloatArray  # (n, K) ω, what a token is worth; 0 for others
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
            np.where(starts, weight, 0.0),
            np.where(starts, scenario.round_trip_time, release),
            np.where(starts, 0.0, air),
            due,
            delay_price,
            air_price,
        )

    @cached_property
    def terms(self) -> Terms:
        """What the search reads."""
        scenario, starts = self.scenario, self.starts
        length = np.arange(scenario.max_draft_length + 2.0)
        drafting = drafting_time(scenario, length, self.draft_time[starts][:, None], self.head_start[starts][:, None])
        token_time = self.token_time[starts]
        price = self.air_price * token_time
        return Terms(
            starts,
            np.append(0, starts.sum(-1).cumsum()),
            np.nonzero(starts)[1],
            gain_table(self.weight[starts], self.acceptance_rate[starts], price, scenario.max_draft_length),
            self.release[starts][:, None] + drafting,
            token_time,
            self.release,
            self.air,
            self._server_times(),
            self.due,
            self.delay_price,
            scenario.min_draft_length,
            scenario.law.padded,
        )

    def _server_times(self) -> FloatArray:
        scenario = self.scenario
        if scenario.law.flat:
            return np.zeros((len(self.starts), 1))
        drafts = self.starts.sum(-1)[:, None]
        most = drafts.max() * scenario.max_draft_length
        return np.asarray(scenario.pass_time(drafts, drafts + np.arange(most + 1)))

    def ready(self, lengths: IntArray) -> FloatArray:
        """When all uploads have ended, (n,) s, for lengths (n, K) (docs/evidence/continuous.md, 1)."""
        ends = self.release + drafting_time(self.scenario, lengths, self.draft_time, self.head_start)
        return all_sent(ends, lengths * self.token_time + self.air)

    def gains(self, lengths: IntArray) -> FloatArray:
        """What the drafts are expected to gain, weighted, less the price of their air, (n,), for lengths (n, K)."""
        rows, _ = np.nonzero(self.starts)
        each = np.take_along_axis(self.terms.gain, lengths[self.starts][:, None], -1)[:, 0]
        return np.bincount(rows, weights=each, minlength=len(lengths)).astype(np.float64)  # sums from left to right

    def value(self, lengths: IntArray) -> FloatArray:
        """Gains less costs, (n, C), for lengths (n, C, K)."""
        return improve_lengths(self.terms, lengths, 0)


def fit(launch: Launch, *, thorough: bool = False) -> IntArray:
    """Lengths (n, K) of the drafts that start now; L_min for devices that do not start.

    A ``thorough`` search begins at the best point of every time φ, not at the best of all. It pays where the batch may
    start at once, since nothing says then how long drafts should be.
    """
    lengths = _by_price(launch)
    copies, windows, prices, users = lengths.shape
    if not thorough:
        lengths = lengths.reshape(copies, 1, windows * prices, users)
    firsts = _best(lengths, launch.value(lengths.reshape(copies, -1, users)))
    return _best(firsts, improve_lengths(launch.terms, firsts, MAX_STEPS))


def fit_ratio(launch: Launch) -> IntArray:
    """Lengths (n, K) with the greatest Σ_k ω_k E[N_k] / (max(M, D) + V): `fit` at a price ρ that equals the ratio.

    ``launch.delay_price`` is where the search for it begins (Dinkelbach's).
    """
    for _ in range(3):
        lengths = fit(launch, thorough=True)
        server = verification_time(launch.scenario, lengths, launch.starts)
        time = np.maximum(launch.ready(lengths), launch.due) + server
        launch = replace(launch, delay_price=launch.gains(lengths) / time)
    return lengths


def _best(lengths: IntArray, values: FloatArray) -> IntArray:
    best = values.reshape(lengths.shape[:-1]).argmax(-1)[..., None, None]
    return np.take_along_axis(lengths, best, -2)[..., 0, :]


def _by_price(launch: Launch) -> IntArray:
    scenario = launch.scenario
    low, high = scenario.min_draft_length, scenario.max_draft_length
    pay = _paying(launch)
    shortest = np.full_like(pay[:, 0], low)
    first = np.maximum(launch.due, launch.ready(shortest))
    possible = launch.gains(pay[:, 0]) - launch.value(shortest[:, None])[:, 0]
    most = launch.due + possible / launch.delay_price
    ratio = np.maximum(most / np.where(first > 0.0, first, 1.0), 1.0)
    windows = first[:, None] * ratio[:, None] ** (np.arange(_WINDOWS) / (_WINDOWS - 1))
    air = np.where(launch.starts, launch.token_time, 1.0)[:, None]
    room = windows[..., None] - scenario.round_trip_time
    longest = longest_sent(scenario, room, launch.draft_time[:, None], air, launch.head_start[:, None])
    fitting = np.clip(np.floor(longest + 1e-9), low, np.where(launch.starts, high, low)[:, None]).astype(np.int64)
    return np.minimum(fitting[:, :, None], pay[:, None])


def _paying(launch: Launch) -> IntArray:
    """The longest drafts (n, X, K) of which every token brings what its air and its position in the pass cost."""
    scenario, rho = launch.scenario, launch.delay_price[:, None]
    parts = np.array([0.0, 0.3, 0.6, 1.0])  # prices of an air second; beyond ρ nobody would pay
    air = (launch.air_price + rho * parts)[..., None] * launch.token_time[:, None]
    slopes = np.array(list(dict.fromkeys([0.0, *(slope for _, slope in scenario.law.lines)])))
    price = (air[:, :, None] + (rho * slopes)[:, None, :, None]).reshape(len(rho), -1, air.shape[-1])
    weight = np.where(launch.starts, launch.weight, 1.0)[:, None]
    return longest_profitable(scenario, launch.acceptance_rate[:, None], price / weight)
