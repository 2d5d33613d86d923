"""Best lengths of drafts that start together for one batch (not in the paper; docs/evidence/continuous.md).

`fit` maximises over the lengths of the devices that start now

    Σ_k ω_k E[N_k | L_k] − λ Σ_k w_k − ρ (max(M(L) − D, 0) + V(L)),

where w_k is air time, M(L) the time when all uploads have ended (`Launch.ready`), D the time when the server is free,
V(L) the verification time, λ the price of a second of air time, and ρ the price of a second of delay. Starting points
come from marginal prices: a second of air time costs between 0 and ρ, and drafts may take a time φ. From there,
`search.improve_lengths` adds, removes and moves single tokens.
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
from multispin_env.scenario import Scenario

MAX_STEPS = 40  # steps of each kind
_WINDOWS = 6  # number of times φ, from D to the time after which no gain is worth the delay


@dataclass(frozen=True, eq=False)
class Launch:
    """Devices that start drafts for one batch now, in n environments."""

    scenario: Scenario
    starts: BoolArray  # (n, K) whether the device starts a draft for the batch
    draft_time: FloatArray  # (n, K) s per token; 0 for devices that do not start
    head_start: FloatArray  # (n, K) tokens
    token_time: FloatArray  # (n, K) s of the whole band per token; 0 for devices that do not start
    acceptance_rate: FloatArray  # (n, K) α
    weight: FloatArray  # (n, K) ω, value of a token; 0 for devices that do not start
    release: FloatArray  # (n, K) s, end of an empty draft; for other devices, end of the draft under way
    air: FloatArray  # (n, K) s of the whole band, uploads of other devices that the batch waits for
    due: FloatArray  # (n,) s, when the server is free for the batch
    delay_price: FloatArray  # (n,) ρ > 0, tokens per second of delay
    air_price: float  # λ ≥ 0, tokens per second of the whole band

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
        """Return the launch in a state (n, K); ``background`` has release and air times (n, K) of the other drafts."""
        release, air = background
        return cls(
            scenario,
            starts,
            state.draft_time * starts,
            state.head_start,
            scenario.uplink.token_time(state.spectral_efficiency) * starts,
            state.acceptance_rate,
            np.where(starts, weight, 0.0),
            np.where(starts, scenario.uplink.fixed_wait, release),
            np.where(starts, 0.0, air),
            due,
            delay_price,
            air_price,
        )

    @cached_property
    def terms(self) -> Terms:
        """Input of the compiled search, with arrays of one layout, as Numba compiles it anew for each layout."""
        scenario, starts = self.scenario, self.starts
        length = np.arange(scenario.max_draft_length + 2.0)
        drafting = drafting_time(scenario, length, self.draft_time[starts][:, None], self.head_start[starts][:, None])
        device = np.nonzero(starts)[1].copy()
        drafting = scenario.uplink.with_wait(drafting, length[:, None], lambda wait: wait.T[device])
        token_time, server = self.token_time[starts], np.zeros((len(starts), 1))
        if not scenario.law.flat:
            drafts = starts.sum(-1)[:, None]
            tokens = np.arange(drafts.max() * scenario.max_draft_length + 1)
            server = scenario.law.time(drafts, drafts + tokens)
        return Terms(
            starts,
            np.append(0, starts.sum(-1).cumsum()),
            device,
            gain_table(
                self.weight[starts],
                self.acceptance_rate[starts],
                self.air_price * token_time,
                scenario.max_draft_length,
            ),
            self.release[starts][:, None] + drafting,
            token_time,
            self.release,
            self.air,
            server,
            self.due.copy(),
            self.delay_price,
            scenario.min_draft_length,
            scenario.law.padded,
        )

    def ready(self, lengths: IntArray) -> FloatArray:
        """Return the time (n,) in s when all uploads of lengths (n, K) have ended (docs/evidence/continuous.md, 1)."""
        ends = self.release + drafting_time(self.scenario, lengths, self.draft_time, self.head_start)
        ends = self.scenario.uplink.with_wait(ends, lengths * self.starts)
        return all_sent(ends, lengths * self.token_time + self.air)

    def gains(self, lengths: IntArray) -> FloatArray:
        """Return the expected weighted tokens (n,) of lengths (n, K), minus the price of their air time."""
        rows, _ = np.nonzero(self.starts)
        gain = np.take_along_axis(self.terms.gain, lengths[self.starts][:, None], -1)[:, 0]
        return np.bincount(rows, weights=gain, minlength=len(lengths)).astype(np.float64)  # adds from left to right

    def value(self, lengths: IntArray) -> FloatArray:
        """Return gains minus costs, (n, C), of lengths (n, C, K)."""
        return improve_lengths(self.terms, np.ascontiguousarray(lengths), 0)


def fit(launch: Launch, *, thorough: bool = False) -> IntArray:
    """Return the lengths (n, K) of the drafts that start now; L_min for devices that do not start.

    A ``thorough`` search starts from the best point for each time φ instead of the best of all. It helps if the batch
    may start at once, since then the time D suggests no length.
    """
    lengths = _candidates(launch)
    num_envs, windows, prices, users = lengths.shape
    if not thorough:
        lengths = lengths.reshape(num_envs, 1, windows * prices, users)
    firsts = np.ascontiguousarray(_best(lengths, launch.value(lengths.reshape(num_envs, -1, users))))
    return _best(firsts, improve_lengths(launch.terms, firsts, MAX_STEPS))


def fit_ratio(launch: Launch, always: BoolArray) -> IntArray:
    """Return the lengths (n, K) that maximise Σ_k ω_k E[N_k] / (max(M, D) + V), by Dinkelbach's method.

    Devices ``always`` (n, K) are in the batch with a token each. The method repeats `fit` with ρ equal to the last
    ratio, from ``launch.delay_price``.
    """
    for _ in range(3):
        lengths = fit(launch, thorough=True)
        server = launch.scenario.law.pass_time(lengths, launch.starts | always)
        time = np.maximum(launch.ready(lengths), launch.due) + server
        launch = replace(launch, delay_price=(launch.gains(lengths) + always.sum(-1)) / time)
    return lengths


def _best(lengths: IntArray, values: FloatArray) -> IntArray:
    best = values.reshape(lengths.shape[:-1]).argmax(-1)[..., None, None]
    return np.take_along_axis(lengths, best, -2)[..., 0, :]


def _candidates(launch: Launch) -> IntArray:
    scenario = launch.scenario
    low, high = scenario.min_draft_length, scenario.max_draft_length
    pay = _profitable(launch)
    shortest = np.full_like(pay[:, 0], low)
    first = np.maximum(launch.due, launch.ready(shortest))
    if not low and scenario.uplink.has_wait:  # empty drafts take no time, and single tokens more than they gain
        first = np.maximum(first, (launch.draft_time + launch.token_time).max(-1))
    possible = launch.gains(pay[:, 0]) - launch.value(shortest[:, None])[:, 0]
    most = launch.due + possible / launch.delay_price
    ratio = np.maximum(most / np.where(first > 0.0, first, 1.0), 1.0)
    windows = first[:, None] * ratio[:, None] ** (np.arange(_WINDOWS) / (_WINDOWS - 1))
    air = np.where(launch.starts, launch.token_time, 1.0)[:, None]
    room = windows[..., None] - scenario.uplink.cycle_wait(1)
    longest = longest_sent(scenario, room, launch.draft_time[:, None], air, launch.head_start[:, None])
    fitting = np.clip(np.floor(longest + 1e-9), low, np.where(launch.starts, high, low)[:, None]).astype(np.int64)
    return np.minimum(fitting[:, :, None], pay[:, None])


def _profitable(launch: Launch) -> IntArray:
    """Return the longest drafts (n, X, K) in which every token is worth its air and server time, for X prices."""
    scenario, rho = launch.scenario, launch.delay_price[:, None]
    parts = np.array([0.0, 0.3, 0.6, 1.0])  # additional prices of a second of air time, in units of ρ
    air = (launch.air_price + rho * parts)[..., None] * launch.token_time[:, None]
    slopes = np.array(list(dict.fromkeys([0.0, *[slope for _, slope in scenario.law.lines]])))
    price = (air[:, :, None] + (rho * slopes)[:, None, :, None]).reshape(len(rho), -1, air.shape[-1])
    weight = np.where(launch.starts, launch.weight, 1.0)[:, None]
    return longest_profitable(scenario, launch.acceptance_rate[:, None], price / weight)
