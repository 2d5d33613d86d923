"""Fits of laws of verification, against every corner of the program and against a search without one."""

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import minimize

from multispin_env.models.passes import fit_cells, fit_law, law_times


def grid(batches, lengths):
    """K and n of every cell."""
    drafts, length = (one.ravel() for one in np.meshgrid(np.array(batches, float), np.array(lengths, float)))
    return drafts, drafts * (length + 1.0)


def random_law(rng, pieces, scale=1.0):
    return float(rng.choice([0.0, rng.random()])) * scale, rng.random((pieces, 2)) * [3.0, 0.2] * scale


def largest_error(law, drafts, tokens, times):
    """Of T_lin, a_1, b_1, ..., by loops."""
    worst = 0.0
    for k, n, t in zip(drafts, tokens, times, strict=True):
        time = k * law[0] + max(law[1 + 2 * j] + law[2 + 2 * j] * n for j in range((len(law) - 1) // 2))
        worst = max(worst, abs(time / t - 1.0))
    return worst


@pytest.mark.parametrize("seed", range(8))
def test_a_law_is_found_again(seed):
    rng = np.random.default_rng(seed)
    drafts, tokens = grid((1, 2, 4, 8), (0, 1, 4, 8, 16))
    scale = 10.0 ** rng.uniform(-5, 2)
    per_draft = rng.random() * scale
    pieces = np.array([[15.0 + rng.random(), 0.1 * rng.random()], [rng.random(), 0.4 + rng.random()]]) * scale
    times = law_times(per_draft, pieces, drafts, tokens)
    found = fit_cells(drafts, tokens, times)
    assert found.error < 1e-7
    assert found.time_per_draft == pytest.approx(per_draft, rel=1e-5, abs=1e-6 * scale)
    np.testing.assert_allclose(found.pieces, pieces, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("seed", range(4))
def test_no_corner_of_the_program_is_better(seed):
    """One piece: every law that four of all conditions determine is tried."""
    rng = np.random.default_rng(seed)
    drafts, tokens = grid((1, 3, 8), (0, 5))
    times = law_times(*random_law(rng, 1), drafts, tokens) * np.exp(0.3 * rng.normal(size=6))
    values = np.stack([drafts, np.ones(6), tokens], -1) / times[:, None]  # T_lin, a, b, and the error
    rows = np.concatenate([np.hstack([sign * values, -np.ones((6, 1))]) for sign in (-1.0, 1.0)] + [-np.eye(4)[:3]])
    limits = np.repeat((-1.0, 1.0, 0.0), (6, 6, 3))
    chosen = np.array(list(combinations(range(15), 4)))
    regular = np.abs(np.linalg.det(rows[chosen])) > 1e-12
    corners = np.linalg.solve(rows[chosen[regular]], limits[chosen[regular]][..., None])[..., 0]
    allowed = corners[(corners @ rows.T <= limits + 1e-9).all(-1)]
    found = fit_law(tokens, times, 1, drafts)
    assert found.error == pytest.approx(allowed[:, -1].min(), abs=1e-6)
    assert found.error == pytest.approx(
        largest_error([found.time_per_draft, *found.pieces.ravel()], drafts, tokens, times), abs=1e-12
    )


@pytest.mark.parametrize("seed", range(6))
def test_no_search_finds_a_better_law(seed):
    rng = np.random.default_rng(seed)
    pieces = 1 + seed % 2
    drafts, tokens = grid((1, 2, 5), (0, 2, 9))
    times = law_times(*random_law(rng, pieces), drafts, tokens) * np.exp(0.2 * rng.normal(size=9))
    found = fit_law(tokens, times, pieces, drafts)
    law = np.array([found.time_per_draft, *found.pieces.ravel()])
    assert (law >= 0.0).all()
    assert found.error == pytest.approx(largest_error(law, drafts, tokens, times), abs=1e-12)

    def error(roots):
        law = roots**2
        return np.abs(law_times(law[0], law[1:].reshape(-1, 2), drafts, tokens) / times - 1.0).max()

    starts = [np.sqrt(law), *rng.random((4, law.size)) * 1.5]
    best = min(minimize(error, start, method="Nelder-Mead", options={"maxiter": 600}).fun for start in starts)
    assert found.error <= best + 1e-6


def test_what_the_largest_error_leaves_open_is_settled_by_the_others():
    """Passes of few tokens disagree; the piece of those with many is a law, and is found."""
    _, tokens = grid((1, 2), (0, 1, 40, 60, 80))
    times = np.where(tokens < 10, 5.0, 0.5 * tokens)
    times[tokens == 2] = np.array([6.0, 4.0])  # K = 1 and 2
    found = fit_law(tokens, times, 2)
    assert found.error == pytest.approx(0.2)
    np.testing.assert_allclose(found.errors[tokens >= 10], 0.0, atol=1e-6)


def test_two_pieces_only_where_they_halve_the_error():
    drafts, tokens = grid((1, 2, 4, 8), (0, 1, 4, 8, 16))
    noise = np.exp(0.05 * np.random.default_rng(0).normal(size=20))
    straight = law_times(0.3, np.array([[20.0, 0.5]]), drafts, tokens)
    bent = law_times(0.3, np.array([[20.0, 0.0], [2.0, 1.0]]), drafts, tokens)
    assert len(fit_cells(drafts, tokens, straight).pieces) == 1
    assert len(fit_cells(drafts, tokens, straight * noise).pieces) == 1
    assert len(fit_cells(drafts, tokens, bent * noise).pieces) == 2
    assert len(fit_cells(drafts, tokens, bent * noise, 1).pieces) == 1
    assert len(fit_cells(drafts, tokens, straight, 2).pieces) == 2
    slightly = law_times(0.0, np.array([[20.0, 0.5], [19.5, 0.51]]), drafts, tokens)  # bent by less than 1 %
    assert fit_law(tokens, slightly, 2, drafts).error < 1e-6 < fit_law(tokens, slightly, 1, drafts).error
    assert len(fit_cells(drafts, tokens, slightly).pieces) == 1


@pytest.mark.parametrize(
    ("batches", "lengths", "pieces", "words"),
    [
        ((1, 2), (0,), None, "cells: expected at least 4 for 1 pieces, got 2"),
        ((1, 2), (0, 1), 2, "cells: expected at least 6 for 2 pieces, got 4"),
        (
            (2,),
            (0, 1, 2, 3),
            None,
            r"two batch sizes and two lengths.*got batch sizes \[2\] and .*\[2, 4, 6, 8\]",
        ),
        ((1, 2, 3, 4), (3,), 1, "cells: expected at least two batch sizes and two lengths"),
        ((1, 2), (0, 1), 3, r"pieces: expected an integer in 1..2, got 3"),
    ],
)
def test_too_few_cells_are_refused(batches, lengths, pieces, words):
    drafts, tokens = grid(batches, lengths)
    with pytest.raises(ValueError, match=words):
        fit_cells(drafts, tokens, 1.0 + tokens, pieces)
