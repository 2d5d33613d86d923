"""Ragged batches with kept and trimmed caches, against passes over whole texts without a cache."""

import numpy as np
import pytest
import torch as th
from models.tiny import WORDS, tiny_model

from multispin_env.models import network
from multispin_env.models.network import Sequences


def uncached(model, text):
    with th.inference_mode():
        return model.network(input_ids=th.tensor([list(text)]), use_cache=False).logits[0]


def assert_same(logits, model, text, first):
    expected = uncached(model, text)[first : first + len(logits)]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.fixture(scope="module")
def model():
    return tiny_model(0)


@pytest.mark.parametrize("part", [3, 256])
def test_cached_passes_equal_uncached_ones(model, part, monkeypatch):
    """Random reads, trims and subsets of rows; every logit is compared with a pass over the whole text."""
    monkeypatch.setattr(network, "PART", part)
    monkeypatch.setattr(network, "GROWTH", 5)
    rng = np.random.default_rng(part)
    texts = [[] for _ in range(4)]
    kept = Sequences(model, 4, WORDS)
    for _ in range(25):
        rows = rng.permutation(4)[: rng.integers(1, 5)]
        more = [rng.integers(0, WORDS, rng.integers(1, 9)).tolist() for _ in rows]
        before = kept.length[rows]
        logits = kept.read(rows, more)
        for row, start, text, found in zip(rows, before, more, logits, strict=True):
            texts[row] += text
            assert_same(found[: len(text)], model, texts[row], int(start))
        length = rng.integers(before, kept.length[rows] + 1)
        kept.trim(rows, length)
        for row, size in zip(rows, length, strict=True):
            del texts[row][size:]
            assert kept.length[row] == len(texts[row])


@pytest.mark.parametrize("last", [1, 2])
def test_last_logits_end_with_the_last_token_of_each_row(model, last, monkeypatch):
    monkeypatch.setattr(network, "PART", 4)
    rng = np.random.default_rng(last)
    texts = [rng.integers(0, WORDS, size).tolist() for size in (2, 11, 5)]
    logits = Sequences(model, 3, WORDS).read(np.arange(3), texts, last)
    assert logits.shape == (3, last, WORDS)
    for text, found in zip(texts, logits, strict=True):
        assert_same(found, model, text, len(text) - last)


def test_what_cannot_be_read_is_refused():
    model = tiny_model(0, context=8)
    kept = Sequences(model, 2, WORDS)
    with pytest.raises(ValueError, match=r"tokens: expected a text of at most 8, the context of 'tiny-0', got 9"):
        kept.read(np.arange(2), [[1], [2] * 9])
    with pytest.raises(ValueError, match=r"texts\[1\]: expected at least 1 tokens of each row, got 0"):
        kept.read(np.arange(2), [[1], []])
    kept.read(np.arange(2), [[1, 2], [3]])
    with pytest.raises(ValueError, match=r"length\[1\]: expected 0 to the tokens that were read"):
        kept.trim(np.arange(2), np.array([2, 2]))


def test_too_little_memory_is_said_with_batch_and_length(model, monkeypatch):
    def fail(**_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(model.network, "forward", fail)
    with pytest.raises(MemoryError, match="a batch of 2 with 3 tokens each, 3 with those before"):
        Sequences(model, 2, WORDS).read(np.arange(2), [[1], [2, 3, 4]])
