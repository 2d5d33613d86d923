"""Speculative sampling keeps the target's law, whatever the draft."""

import numpy as np
import pytest
import torch as th
from scipy.stats import chisquare

from multispin_env.models import network


def laws(seed, *shape):
    return th.as_tensor(np.random.default_rng(seed).dirichlet(np.full(shape[-1], 0.4), shape[:-1]))


def test_overlap_is_the_mean_of_beta_over_drafts():
    p, q = laws(0, 50, 7), laws(1, 50, 7)
    beta = np.stack([network.acceptance(p, q, np.full(50, token)) for token in range(7)], -1)
    np.testing.assert_allclose((beta * q.numpy()).sum(-1), network.overlap(p, q), rtol=1e-12)
    np.testing.assert_allclose(network.overlap(p, p), 1.0, rtol=1e-12)


def test_draws_follow_the_law():
    law = laws(2, 1, 6)
    uniform = (np.arange(60_000) + 0.5) / 60_000
    tokens = network.pick_tokens(law.expand(60_000, -1), uniform)
    np.testing.assert_allclose(np.bincount(tokens, minlength=6) / 60_000, law[0].numpy(), atol=2e-5)
    assert (
        network.pick_tokens(th.tensor([[0.0, 1.0, 0.0]]).double().expand(2, -1), np.array([0.0, 1 - 1e-16])) == 1
    ).all()


@pytest.mark.parametrize("length", [0, 1, 3])
def test_verified_tokens_have_the_law_of_the_target(length):
    """Every place has its own p and q here, so the first token of a round must have p at place 0, and so on."""
    size, words = 60_000, 5
    p, q = laws(3, length + 1, words), laws(4, max(length, 1), words)[:length]
    rng = np.random.default_rng(5)
    drafted = (
        np.stack([network.pick_tokens(q[place].expand(size, -1), rng.random(size)) for place in range(length)], -1)
        if length
        else np.zeros((size, 0), int)
    )
    many = lambda law: law.expand(size, *law.shape)  # noqa: E731
    got = network.verify(many(p), many(q), drafted, np.full(size, length), rng.random((size, length)), rng.random(size))
    first = np.where(got.accepted > 0, drafted[:, 0], got.token) if length else got.token
    assert chisquare(np.bincount(first, minlength=words), size * p[0].numpy()).pvalue > 1e-3
    if length:
        inside = got.accepted >= 1
        second = np.where(got.accepted > 1, drafted[:, min(1, length - 1)], got.token)[inside]
        assert chisquare(np.bincount(second, minlength=words), inside.sum() * p[1].numpy()).pvalue > 1e-3
        assert abs(inside.mean() - network.overlap(p[0], q[0])) < 0.01


def test_equal_models_refuse_nothing():
    p = laws(6, 40, 4, 9)
    rng = np.random.default_rng(7)
    drafted = network.pick_tokens(p[:, :3], rng.random((40, 3)))
    got = network.verify(p, p[:, :3], drafted, np.full(40, 3), np.full((40, 3), 1 - 1e-16), rng.random(40))
    assert (got.accepted == 3).all()


def test_a_shorter_draft_ends_where_it_ends():
    """The filling behind a row's length counts for nothing, even if it would be accepted."""
    p = laws(8, 6, 4, 9)
    drafted = network.pick_tokens(p[:, :3], np.random.default_rng(9).random((6, 3)))
    length = np.array([0, 1, 2, 3, 2, 0])
    uniform = np.linspace(0.05, 0.95, 6)
    got = network.verify(p, p[:, :3], drafted, length, np.zeros((6, 3)), uniform)
    np.testing.assert_array_equal(got.accepted, length)
    np.testing.assert_array_equal(got.token, network.pick_tokens(p[np.arange(6), length], uniform))


def test_temperature_0_is_greedy():
    logits = th.tensor([[0.0, 3.0, 1.0]])
    assert network.probabilities(logits, 0.0).tolist() == [[0.0, 1.0, 0.0]]
    np.testing.assert_allclose(network.probabilities(logits, 2.0), th.softmax(logits.double() / 2, -1))
