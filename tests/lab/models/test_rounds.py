"""Rounds and texts of real models against slow passes without caches, and what is timed."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch as th
from scipy.stats import chisquare

from multispin_lab.models import halves, rounds, sampling
from multispin_lab.models.counts import KEPT
from multispin_lab.models.engine import Pair
from multispin_lab.models.halves import Drafter, Requests, Verifier, draft_seed, prompt_index
from multispin_lab.models.passes import DRAFT, LONG_DRAFT, VERIFY, PassCell
from multispin_lab.models.rounds import Stopwatch, describe_setting, record_texts
from multispin_lab.models.transformers_engine import round_weights
from tests.lab.models.tiny import WORDS, tiny_model

LONGEST = 4
PROMPTS = [np.random.default_rng(position).integers(2, WORDS, 1 + position % 5).tolist() for position in range(40)]


class Kept:
    """Verifier that stores finished texts as (device, length of the prompt, text)."""

    def begin(self, row, text):
        self.ended, self.beginning = getattr(self, "ended", []), getattr(self, "beginning", {})
        if self.texts[row]:
            self.ended.append((row, self.beginning[row], self.texts[row]))
        super().begin(row, text)
        self.beginning[row] = len(text)

    @property
    def all_texts(self):
        return self.ended + [(device, self.beginning[device], text) for device, text in enumerate(self.texts)]


class KeptVerifier(Kept, Verifier):
    pass


def requests_of(pair, tokens=40, longest=LONGEST, prompts=PROMPTS):
    return Requests(prompts, np.arange(len(prompts)) % 3, tokens, pair.context - longest)


def made(users, pair=None, temperature=1.0, seed=0, kept=99, bits=16, **options):
    """Both sides of a system, and its rounds."""
    pair = Pair(tiny_model(1), tiny_model(0)) if pair is None else pair
    drafter = Drafter(pair.draft.sequences(users, WORDS), temperature, kept, bits)
    verifier = KeptVerifier(pair.target.sequences(users, WORDS), temperature, seed, requests_of(pair, **options))
    rounds.begin_requests(drafter, verifier, np.arange(users))
    seeds = [draft_seed(seed, device) for device in range(users)]
    return drafter, verifier, partial(rounds.play_round, drafter, verifier, seeds)


def lengths(users, count, seed=0):
    rng = np.random.default_rng(seed)
    drafts = rng.integers(0, LONGEST + 1, (count, users))
    drafts[3::7] = 0
    return drafts


def laws(model, texts, temperature=1.0):
    """Distributions after each token of each text, by one pass; what fills up short texts is not seen before."""
    ids = th.zeros(len(texts), max(map(len, texts)), dtype=th.long)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = th.tensor(text)
    with th.inference_mode():
        logits = model.network(input_ids=ids, use_cache=False).logits[..., :WORDS].numpy()
    probabilities = sampling.probabilities(logits, temperature, "mine")
    return [row[: len(text)] for row, text in zip(probabilities, texts, strict=True)]


def law(model, text, temperature=1.0):
    return laws(model, [text], temperature)[0]


def p_values(drafter, verifier):
    """P values of uniformity of the tokens' randomised distribution function under the target.

    In three orders of tokens: of the vocabulary; of p / q, sensitive to errors of refusals; of q, to those of guesses.
    """
    rng = np.random.default_rng(1)
    uniform = []
    texts = [text for _, _, text in verifier.all_texts]
    both = zip(*(laws(half.sequences.model, texts) for half in (verifier, drafter)), strict=True)
    for (_, begun, text), pair in zip(verifier.all_texts, both, strict=True):
        p, q = (rows[begun - 1 : -1] for rows in pair)
        token = np.array(text[begun:], dtype=np.int64)[:, None]
        for order in (np.broadcast_to(np.arange(WORDS), p.shape), p / q, q):
            before = np.where(order < np.take_along_axis(order, token, 1), p, 0.0).sum(1)
            uniform.append(before + rng.random(len(token)) * np.take_along_axis(p, token, 1)[:, 0])
    orders = [np.concatenate(uniform[order::3]) for order in range(3)]
    assert len(orders[0]) >= 5_000
    return [chisquare(np.histogram(entry, 20, (0.0, 1.0))[0]).pvalue for entry in orders]


def played(users=128, count=24):
    small = tiny_model(0)
    round_weights(small.network, 2)
    drafter, verifier, play = made(users, Pair(small, tiny_model(0)), seed=3)
    for length in lengths(users, count):
        play(length)
    return drafter, verifier


@pytest.mark.slow
def test_texts_have_the_law_of_the_target_and_a_wrong_rule_is_found(monkeypatch):
    assert min(p_values(*played())) > 1e-3
    monkeypatch.setattr(sampling, "residual", lambda target, draft: target)
    assert p_values(*played())[1] < 1e-6


def of_largest(q, kept):
    order = np.argsort(-q, kind="stable")[:kept]
    few = np.zeros_like(q)
    few[order] = q[order] / q[order].sum()
    return few


def rounded(q, kept, bits=16):
    counts = np.rint(of_largest(q, kept) / of_largest(q, kept).max() * (2**bits - 1))
    return counts / counts.sum()


def slow_text(models, text, size, temperature, stream, kept):
    """A round of one device by passes over whole texts, without caches; ``stream`` is seed, device and request."""
    (seed, device, request), new, q = stream, [], []
    mine = np.random.SeedSequence([seed, 2, device]).generate_state(1, np.uint64)[0]
    numbers = np.random.default_rng([mine, request, len(text)]).random(size)
    last, *accepting = np.random.default_rng([seed, 5, device, request, len(text)]).random(size + 1)
    for position in range(size):
        q.append(rounded(law(models[0], text + new, temperature)[-1], kept))
        new.append(int(sampling.pick_tokens(q[-1][None], numbers[position : position + 1])[0]))
    p = law(models[1], text + new, temperature)[len(text) - 1 :]
    for position, token in enumerate(new):
        if accepting[position] >= float(p[position][token] / q[position][token]):
            rest = np.maximum(p[position] - q[position], 0.0)
            return [*new[:position], int(sampling.pick_tokens(rest[None], np.array([last]))[0])], position
    return [*new, int(sampling.pick_tokens(p[size][None], np.array([last]))[0])], size


def copy_of(verifier):
    texts = [list(text) for text in verifier.texts]
    return SimpleNamespace(texts=texts, **{name: getattr(verifier, name).copy() for name in ("number", "age", "left")})


def check_text(verifier, before, device, new):
    """Compare a device's request with that of a round with ``new`` tokens; return the tokens gained."""
    gained = new[: before.left[device]]
    gained = gained[: gained.index(0) + 1] if 0 in gained else gained
    left = before.left[device] - len(gained)
    ended = gained[-1] == 0 or left == 0
    number = before.number[device] + ended
    prompt = PROMPTS[prompt_index(device, number, len(PROMPTS), len(verifier.texts), verifier.seed)]
    assert verifier.texts[device] == (prompt if ended else before.texts[device] + gained)
    expected = (number, 0, 15) if ended else (number, before.age[device] + 1, left)
    assert (verifier.number[device], verifier.age[device], verifier.left[device]) == expected
    return len(gained)


@pytest.mark.parametrize(
    ("users", "temperature", "kept"), [(1, 1.0, 99), (5, 1.0, 99), (3, 0.7, 99), (3, 0.0, 99), (3, 1.0, 1), (3, 0.7, 4)]
)
def test_texts_are_those_of_a_slow_engine_without_caches(users, temperature, kept):
    drafter, verifier, play = made(users, None, temperature, 7, kept, tokens=15)
    models = drafter.sequences.model, verifier.sequences.model
    for length in lengths(users, 25, seed=users):
        before, result = copy_of(verifier), play(length)
        for device, text in enumerate(before.texts):
            stream = 7, device, before.number[device]
            new, accepted = slow_text(models, text, int(length[device]), temperature, stream, kept)
            gained = check_text(verifier, before, device, new)
            assert (result.accepted[device], result.gained[device]) == (accepted, gained)
        assert drafter.texts == verifier.texts
    assert max(verifier.number) >= 1


def test_models_read_nothing_twice_and_keep_nothing_that_was_refused():
    drafter, verifier, play = made(4, seed=2)
    for length in lengths(4, 30):
        before = drafter.sequences.length.copy()
        play(length)
        sizes = np.array([len(text) for text in verifier.texts])
        np.testing.assert_array_equal(verifier.sequences.length, sizes - 1)
        assert (drafter.sequences.length <= sizes - 1).all()
        idle = (length == 0) & (verifier.age > 0)
        np.testing.assert_array_equal(drafter.sequences.length[idle], before[idle])
    pair = Pair(tiny_model(1, context=20), tiny_model(0, context=20))
    _, verifier, play = made(3, pair, tokens=1_000, prompts=[[5], [5, 6, 7], [5] * 15])
    assert verifier.left.tolist() == [16 - len(text) for text in verifier.texts]
    for length in lengths(3, 40):
        play(np.maximum(length, 1))  # never reads beyond the context, or it would raise
    assert max(len(text) for _, _, text in verifier.ended) == 16


def indices(seed):
    return [prompt_index(position % 3, position // 3, 7, 3, seed) for position in range(14)]


def test_every_prompt_comes_once_before_any_comes_again_and_players_share_them():
    first = indices(4)
    assert sorted(first[:7]) == sorted(first[7:]) == list(range(7))
    assert first[:7] != first[7:]
    assert first == indices(4) != indices(5)


def test_too_little_memory_says_batch_and_length(monkeypatch):
    def fail(*_, **__):
        raise MemoryError("no more")

    drafter, _, play = made(3)
    monkeypatch.setattr(halves, "verify", fail)
    with pytest.raises(MemoryError, match="the token probabilities of a batch of 3 with 3 tokens each"):
        play(np.array([1, 2, 0]))
    drafter.kept = 2**50
    with pytest.raises(MemoryError, match="the token probabilities of a batch of 3 with 2 drafted tokens each"):
        play(np.array([1, 2, 0]))


TEXTS = [[5, 2], [7, 3, 9, 11, 4], [6]]


@pytest.fixture(scope="module")
def pair():
    return Pair(tiny_model(1), tiny_model(0))


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_every_place_is_what_uncached_passes_say(temperature, pair):
    seen = []
    texts = record_texts(pair, TEXTS, 0, 40, temperature, 3, seen.append)
    assert seen == list(range(1, max(len(text.token) for text in texts) + 1))
    refused = 0
    for prompt, text in zip(TEXTS, texts, strict=True):
        assert len(text.token) <= 40
        whole, chosen = [*prompt, *text.token[:-1]], temperature or 1.0
        given = (pair.target, temperature), (pair.draft, temperature), (pair.draft, chosen)
        laws_of_places = zip(*(law(model, whole, value)[len(prompt) - 1 :] for model, value in given), strict=True)
        # drafts for a greedy target are not all certain: ``soft``
        for position, (token, (p, q, soft)) in enumerate(zip(text.token, laws_of_places, strict=True)):
            assert text.overlap[position] == pytest.approx(np.minimum(p, q).sum(), abs=1e-5)
            fewer = [np.minimum(p, of_largest(q, count)).sum() for count in KEPT]
            assert text.kept[position] == pytest.approx(fewer, abs=1e-5)
            assert fewer[0] == pytest.approx(p[q.argmax()])
            second, first = np.sort(soft)[-2:]
            entropy = -(soft * np.log(soft)).sum() / np.log(WORDS)
            assert text.confidence[position][1:] == pytest.approx([first - second, entropy], abs=1e-5)
            if text.accepted[position]:  # then the text holds what was proposed
                assert text.probability[position] == pytest.approx(min(1.0, p[token] / q[token]), abs=1e-5)
                assert text.confidence[position, 0] == pytest.approx(soft[token], abs=1e-5)
            else:
                refused += 1
                assert p[token] > q[token] - 1e-6  # a draw from max(0, p - q)
                assert text.probability[position] < 1.0
    assert 5 < refused < sum(len(text.token) for text in texts) - 5


@pytest.mark.slow
def test_recorded_texts_have_the_law_of_the_target(pair):
    prompt, count = [5, 2], 500
    texts = record_texts(pair, [prompt] * count, 0, 2, 1.0, 1)
    first = law(pair.target, prompt)[-1]
    expected = [first, np.zeros(WORDS)]
    for token in range(WORDS):
        if token not in pair.target.ends:
            expected[1] += first[token] * law(pair.target, [*prompt, token])[-1]
    for position in range(2):
        counted = np.bincount(
            [entry.token[position] for entry in texts if len(entry.token) > position], minlength=WORDS
        )
        assert counted.sum() == pytest.approx(count * expected[position].sum(), abs=4 * count**0.5)
        share = expected[position] / expected[position].sum() * counted.sum()
        assert chisquare(*merge_rare(counted, share)).pvalue > 1e-3
    assert not all(entry.accepted[0] for entry in texts)
    both = record_texts(pair, TEXTS, 4, 10, 1.0, 9)  # random numbers belong to the prompt
    alone = record_texts(pair, TEXTS[1:2], 5, 10, 1.0, 9)[0]
    np.testing.assert_array_equal(both[1].token, alone.token)
    np.testing.assert_allclose(both[1].probability, alone.probability, atol=1e-5)
    assert both[1].token.tolist() != record_texts(pair, TEXTS[1:2], 4, 10, 1.0, 9)[0].token.tolist()


def merge_rare(counted, expected):
    order = np.argsort(expected)
    rare = max(1, np.searchsorted(expected[order].cumsum(), 5.0, side="right") + 1)
    return [np.append(counts[order][rare:], counts[order][:rare].sum()) for counts in (counted, expected)]


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
    equal = record_texts(Pair(target, target), TEXTS, 0, 4, 1.0, 0)
    assert all(len(text.token) <= 4 and (text.probability == 1.0).all() and text.accepted.all() for text in equal)


class Clock:
    """Clock that advances by 2 s per pass and 0.5 s per token of the target, and 1 s per pass of the draft model."""

    def __init__(self, pair):
        self.now, self.shapes, self.looks = 0.0, [], []
        self._watch(pair.target, lambda ids: 2.0 + 0.5 * ids.numel())
        self._watch(pair.draft, lambda ids: 1.0)

    def _watch(self, model, seconds):
        forward = model.network.forward

        def watched(**arguments):
            self.shapes.append((model.name, tuple(arguments["input_ids"].shape), arguments["logits_to_keep"]))
            self.now += seconds(arguments["input_ids"])
            return forward(**arguments)

        model.network.forward = watched

    def __call__(self):
        self.looks.append(len(self.shapes))
        return self.now


@pytest.fixture
def mine():
    """Pair whose networks a test may change."""
    made = Pair(tiny_model(1), tiny_model(0))
    for model in (made.draft, made.target):
        model.cache_argument  # noqa: B018 - looks at the signature, once
    return made


def test_a_pass_is_what_it_is_called(mine):
    clock = Clock(mine)
    watch = Stopwatch(mine, 4, {VERIFY: 20, DRAFT: 20, LONG_DRAFT: 50}, 9, np.random.default_rng(0), clock)
    assert clock.shapes == [("tiny-0", (4, 20), 1), ("tiny-1", (1, 20), 1), ("tiny-1", (1, 50), 1)]
    assert clock.looks == []
    for batch, length in ((4, 3), (1, 0), (2, 7)):
        clock.shapes.clear()
        assert watch(PassCell(VERIFY, batch, length)) == 2.0 + 0.5 * batch * (length + 1)
        assert clock.shapes == [("tiny-0", (batch, length + 1), length + 1)]
        assert clock.looks[-2:] == [0, 1]
        assert watch.sequences[VERIFY].length.tolist() == [20] * 4  # passes leave the context as it was
    for what, context in ((DRAFT, 20), (LONG_DRAFT, 50)):
        clock.shapes.clear()
        assert watch(PassCell(what, 1, 5)) == 5.0
        assert clock.shapes == [("tiny-1", (1, 1), 1)] * 5
        assert watch.sequences[what].length.tolist() == [context]


def test_the_setting_is_all_that_times_depend_on(mine):
    weights = sum(entry.numel() for entry in mine.target.network.parameters())
    threads = th.get_num_threads()
    models = {"target": "tiny-0", "target_weights": weights, "draft": "tiny-1", "draft_weights": weights}
    device = f"cpu with {threads} thread{'s' * (threads > 1)}"
    assert describe_setting(mine, 20) == models | {"device": device, "dtype": "float32", "context": 20}
