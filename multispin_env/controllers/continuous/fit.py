"""Draft lengths for one batch: the time its devices have is divided among drafting and one uplink (ours).

`fit` maximises over the lengths of the devices that start now

    Σ_k ω_k E[N_k | L_k] − λ Σ_k w_k − ρ (max(M(L) − D, 0) + V(L)),

where w_k is air time, M(L) the time when all is uploaded (`Launch.ready`), D the time when the server is free, V(L) how
long it verifies, and ρ what a second is worth. Marginal prices of a second give good starting points: an air second
costs between nothing and ρ, and drafts may take the time φ. Then tokens are moved, since lengths are whole numbers.
"""

from dataclasses import replace

import numpy as np

from multispin_env.arrays import IntArray
from multispin_env.controllers.continuous.launch import Launch, longest_paying, ordered_sum
from multispin_env.controllers.continuous.moves import improved

WINDOWS = 6
"""Times φ that drafts may take, from D to where no gain could pay for the delay."""


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
    pace = np.where(launch.starts, launch.draft_time + launch.token_air, 1.0)
    room = windows[..., None] - scenario.round_trip_time
    fitting = np.clip(np.floor(room / pace[:, None] + 1e-9), low, high).astype(np.int64)
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
