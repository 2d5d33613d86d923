"""Speculative sampling against draws one by one, and its distributions."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import chisquare

from multispin_lab.models import sampling


def laws(seed, *shape):
    return np.random.default_rng(seed).dirichlet(np.full(shape[-1], 0.4), shape[:-1])


def test_overlap_is_the_mean_of_beta_over_drafts():
    p, q = laws(0, 50, 7), laws(1, 50, 7)
    beta = np.stack([sampling.acceptance(p, q, np.full(50, token)) for token in range(7)], -1)
    np.testing.assert_allclose((beta * q).sum(-1), sampling.overlap(p, q), rtol=1e-12)
    np.testing.assert_allclose(sampling.overlap(p, p), 1.0, rtol=1e-12)


@pytest.mark.parametrize("kept", [1, 2, 4, 9])
def test_drafts_from_fewer_probabilities_are_accepted_as_often_as_their_overlap_says(kept):
    """Drafts are drawn, accepted and replaced one by one with NumPy; the target's law must remain."""
    p, q = laws(6, 1, 9)[0], laws(7, 1, 9)[0]
    few = sampling.truncated(q[None], kept)[0]
    assert (few > 0.0).sum() == kept
    assert set(np.flatnonzero(few)) == set(np.argsort(q)[-kept:])
    rng, size, target = np.random.default_rng(9), 40_000, p
    drafted = rng.choice(9, size, p=few)
    accepted = rng.random(size) < target[drafted] / few[drafted]
    rest = np.clip(target - few, 0.0, None)
    tokens = np.where(accepted, drafted, rng.choice(9, size, p=rest / rest.sum()))
    assert accepted.mean() == pytest.approx(sampling.overlap(p, sampling.truncated(q, kept)), abs=0.01)
    if kept == 1:
        assert accepted.mean() == pytest.approx(target[q.argmax()], abs=0.01)
    assert chisquare(np.bincount(tokens, minlength=9), size * target).pvalue > 1e-3


def test_draws_follow_the_law_and_the_temperature():
    law = laws(2, 1, 6)
    uniform = (np.arange(60_000) + 0.5) / 60_000
    tokens = sampling.pick_tokens(np.broadcast_to(law, (60_000, 6)), uniform)
    np.testing.assert_allclose(np.bincount(tokens, minlength=6) / 60_000, law[0], atol=2e-5)
    sure = np.array([[0.0, 1.0, 0.0]] * 2)
    assert sampling.pick_tokens(sure, np.array([0.0, 1 - 1e-16])).tolist() == [1, 1]
    logits = np.array([[0.0, 3.0, 1.0]], dtype=np.float32)
    assert sampling.probabilities(logits, 0.0, "mine").tolist() == [[0.0, 1.0, 0.0]]
    np.testing.assert_allclose(sampling.probabilities(logits, 2.0, "mine"), softmax(logits.astype(np.float64) / 2, -1))
