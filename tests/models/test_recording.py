"""Recorded texts against slow passes without a cache, and the law that they must have."""

import numpy as np
import pytest
import torch as th
from models.tiny import WORDS, tiny_model
from scipy.stats import chisquare

from multispin_env.models.network import Pair
from multispin_env.models.rounds import record_texts

PROMPTS = [[5, 2], [7, 3, 9, 11, 4], [6]]


@pytest.fixture(scope="module")
def pair():
    return Pair(tiny_model(1), tiny_model(0))


def law(model, text):
    """Law of the next token by a pass over the whole text, softmax in float64."""
    with th.inference_mode():
        logits = model.network(input_ids=th.tensor([list(text)]), use_cache=False).logits[0, -1]
    weights = np.exp(logits.double().numpy() - float(logits.max()))
    return weights / weights.sum()


def test_every_place_is_what_uncached_passes_say(pair):
    texts = record_texts(pair, PROMPTS, 0, 40, 1.0, 3)
    refused = 0
    for prompt, text in zip(PROMPTS, texts, strict=True):
        assert len(text.token) <= 40
        for place, token in enumerate(text.token):
            before = [*prompt, *text.token[:place]]
            p, q = law(pair.target, before), law(pair.draft, before)
            assert text.overlap[place] == pytest.approx(np.minimum(p, q).sum(), abs=1e-5)
            if text.accepted[place]:  # then the text holds what was proposed
                assert text.probability[place] == pytest.approx(min(1.0, p[token] / q[token]), abs=1e-5)
            else:
                refused += 1
                assert p[token] > q[token] - 1e-6  # a draw from max(0, p - q)
                assert text.probability[place] < 1.0
    assert 5 < refused < sum(len(text.token) for text in texts) - 5


def test_equal_models_refuse_nothing():
    """Also if they are two copies, each with a cache of its own."""
    for pair in (Pair(*[tiny_model(0)] * 2), Pair(tiny_model(0), tiny_model(0))):
        for text in record_texts(pair, PROMPTS, 0, 30, 1.0, 0):
            assert (text.probability == 1.0).all()
            assert text.accepted.all()
            np.testing.assert_allclose(text.overlap, 1.0, rtol=1e-12)


def test_texts_have_the_law_of_the_target(pair):
    """First and second tokens of 500 texts, whatever the draft model proposes."""
    prompt, count = [5, 2], 500
    texts = record_texts(pair, [prompt] * count, 0, 2, 1.0, 1)
    first = law(pair.target, prompt)
    expected = [first, np.zeros(WORDS)]
    for token in range(WORDS):
        if token not in pair.target.ends:
            expected[1] += first[token] * law(pair.target, [*prompt, token])
    for place in range(2):
        found = np.bincount([one.token[place] for one in texts if len(one.token) > place], minlength=WORDS)
        assert found.sum() == pytest.approx(count * expected[place].sum(), abs=4 * count**0.5)
        share = expected[place] / expected[place].sum() * found.sum()
        assert chisquare(*merged(found, share)).pvalue > 1e-3
    assert not all(one.accepted[0] for one in texts)


def merged(found, expected):
    """Rare tokens as one."""
    order = np.argsort(expected)
    rare = max(1, np.searchsorted(expected[order].cumsum(), 5.0, side="right") + 1)
    return [np.append(counts[order][rare:], counts[order][:rare].sum()) for counts in (found, expected)]


def test_outcomes_have_the_probability_that_is_recorded(pair):
    texts = record_texts(pair, [[5, 2]] * 120, 0, 20, 1.0, 2)
    beta, accepted, overlap = (
        np.concatenate([getattr(text, name) for text in texts]) for name in ("probability", "accepted", "overlap")
    )
    sigma = np.sqrt((beta * (1 - beta)).sum())
    assert abs((accepted - beta).sum()) < 4 * sigma
    assert abs((beta - overlap).mean()) < 4 * (beta - overlap).std() / len(beta) ** 0.5


def test_a_text_ends_at_the_end_token_or_the_context_or_the_most_tokens():
    target = tiny_model(0, context=12)
    texts = record_texts(Pair(tiny_model(1, context=12), target), [[5, 2], [7, 3, 9]] * 20, 0, 100, 1.0, 0)
    ended = 0
    for row, text in enumerate(texts):
        prompt = 2 + row % 2
        inside, last = text.token[:-1], text.token[-1]
        assert not set(inside.tolist()) & target.ends
        assert int(last) in target.ends or prompt + len(text.token) == 13  # the last is not read
        ended += int(last) in target.ends
    assert 0 < ended < 40
    assert all(len(text.token) <= 4 for text in record_texts(Pair(target, target), PROMPTS, 0, 4, 1.0, 0))


def test_random_numbers_belong_to_the_prompt(pair):
    """A prompt's text does not depend on those beside it, but for the rounding of batched passes."""
    both = record_texts(pair, PROMPTS, 4, 10, 1.0, 9)
    alone = record_texts(pair, PROMPTS[1:2], 5, 10, 1.0, 9)[0]
    np.testing.assert_array_equal(both[1].token, alone.token)
    np.testing.assert_allclose(both[1].probability, alone.probability, atol=1e-5)
    assert both[1].token.tolist() != record_texts(pair, PROMPTS[1:2], 4, 10, 1.0, 9)[0].token.tolist()


def test_temperature_0_is_greedy(pair):
    (text,) = record_texts(pair, [[5, 2]], 0, 12, 0.0, 0)
    before = [5, 2]
    for token, accepted in zip(text.token.tolist(), text.accepted, strict=True):
        p, q = law(pair.target, before), law(pair.draft, before)
        assert token == p.argmax()
        assert accepted == (p.argmax() == q.argmax())
        before.append(token)


def test_progress_is_reported(pair):
    seen = []
    texts = record_texts(pair, PROMPTS, 0, 6, 1.0, 0, seen.append)
    assert seen == list(range(1, max(len(text.token) for text in texts) + 1))
