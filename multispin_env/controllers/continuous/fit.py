"""Draft lengths for one batch: the time its devices have is divided among drafting and one uplink (ours).

`fit` maximises over the lengths of the devices that start now

    Σ_k ω_k E[N_k | L_k] − λ Σ_k w_k − ρ (max(M(L) − D, 0) + V(L)),

where w_k is air time, M(L) the time when all is uploaded (`Launch.ready`), D the time when the server is free, V(L) how
long it verifies, and ρ what a second is worth. Marginal prices of a second give good starting points: an air second
costs between nothing and ρ, and drafts may take the time φ. Then tokens are moved, since lengths are whole numbers.
"""

from dataclasses import replace

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.controllers.continuous.launch import Launch

WINDOWS = 8
"""Times φ that drafts may take, from D to where no gain could pay for the delay."""

AIR_PRICES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Prices of an air second, as parts of ρ, beyond which nobody would pay."""

LEAST_GAIN = 1e-9
"""Tokens that a move has to bring."""

RATIO_STEPS = 3
"""Prices that are tried for a ratio."""

MOST_MOVES = 60
"""Steps of the local search."""


def fit(launch: Launch) -> IntArray:
    """Lengths (n, K) of the drafts that start now; L_min for devices that do not start.

    Parameters
    ----------
    launch
        Who starts, and what else goes on.
    """
    best = _best(launch, _by_price(launch))
    return _moved(launch, best)


def fit_ratio(launch: Launch) -> IntArray:
    """Lengths (n, K) with the greatest Σ_k ω_k E[N_k] / (max(M, D) + V): `fit` at a price ρ that equals the ratio.

    ``launch.delay_price`` is where the search for it begins (Dinkelbach's).
    """
    for _ in range(RATIO_STEPS):
        lengths = fit(launch)
        chosen = lengths[:, None]
        time = np.maximum(launch.ready(chosen)[:, 0], launch.due) + launch.server_time(chosen)[:, 0]
        launch = replace(launch, delay_price=launch.tokens(chosen)[:, 0] / time)
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
    possible = launch.tokens(pay[:, :1]) - launch.value(shortest)
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
    parts = np.array(AIR_PRICES)
    air = (launch.air_price + rho * parts)[..., None] * launch.token_air[:, None]
    price = air
    if scenario.verification_pieces:
        slopes = np.array([0.0, *(slope for _, slope in scenario.verification_pieces)])
        price = (air[:, :, None] + (rho * slopes)[:, None, :, None]).reshape(len(rho), -1, air.shape[-1])
    weight = np.where(launch.starts, launch.gain[..., 0], 1.0)[:, None]
    decay = np.minimum(np.log(np.maximum(launch.acceptance_rate, 1e-300)), -1e-12)[:, None]
    count = np.log(np.maximum(price / weight, 1e-12)) / decay
    return np.clip(np.floor(count), scenario.min_draft_length, scenario.max_draft_length).astype(np.int64)


def _moved(launch: Launch, lengths: IntArray) -> IntArray:
    """Lengths (n, K) that no move betters: one token more or less, or one more here and one or two less there."""
    lengths = lengths.copy()
    value = launch.value(lengths[:, None])[:, 0]
    rows = np.arange(len(lengths))
    moves = _moves(launch)
    for _ in range(MOST_MOVES):
        here = launch if rows.size == len(lengths) else launch[rows]
        tried, possible = _apply(here, lengths[rows], moves[rows])
        values = np.where(possible, here.value(tried), -np.inf)
        best = values.argmax(-1)
        chosen = np.arange(len(rows)), best
        better = values[chosen] > value[rows] + LEAST_GAIN
        rows = rows[better]
        if not rows.size:
            break
        lengths[rows] = tried[chosen][better]
        value[rows] = values[chosen][better]
    return lengths


def _moves(launch: Launch) -> IntArray:
    """Changes of lengths, (n, C, K)."""
    users = launch.starts.shape[-1]
    most = int(launch.starts.sum(-1).max())
    columns = np.argsort(~launch.starts, -1, kind="stable")[:, :most]
    one = (columns[..., None] == np.arange(users)) & launch.starts[:, None]
    one = one.astype(np.int64)
    pairs = [one[:, :, None] - less * one[:, None] for less in (1, 2)]
    flat = [pair.reshape(len(one), -1, users) for pair in pairs]
    return np.concatenate([one, -one, *flat], 1)


def _apply(launch: Launch, lengths: IntArray, moves: IntArray):
    scenario = launch.scenario
    tried = lengths[:, None] + moves
    possible = ((tried >= scenario.min_draft_length) & (tried <= scenario.max_draft_length)).all(-1)
    return np.clip(tried, scenario.min_draft_length, scenario.max_draft_length), possible
