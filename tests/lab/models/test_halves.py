"""Drafts and texts follow from device, request and position, and first tokens have the law of the target."""

import numpy as np
import pytest
from scipy.stats import chisquare

from multispin_lab.models.engine import Pair
from multispin_lab.models.halves import Drafter, Verifier, draft_numbers, draft_seed, padded
from multispin_lab.models.sampling import probabilities
from tests.lab.models.test_rounds import law, made, merge_rare, requests_of
from tests.lab.models.tiny import WORDS, tiny_model

SEED = 5


def numbers(drafter, verifier, rows, length):
    seeds = [draft_seed(SEED, row) for row in rows]
    return padded(
        [
            draft_numbers(seed, int(verifier.number[row]), len(drafter.texts[row]), size)
            for seed, row, size in zip(seeds, rows, length, strict=True)
        ]
    )


def play(drafter, verifier, rows, length):
    """Play a round of some rows in the given order."""
    rows, length = np.array(rows), np.array(length)
    drafts = drafter.draft(rows, length, numbers(drafter, verifier, rows.tolist(), length.tolist()))
    verdict = verifier.accept(rows, drafts, verifier.read(rows, drafts))
    for row, tokens, accepted, token, ended in zip(
        rows.tolist(), drafts.token.tolist(), *verdict[:2], verdict.ended, strict=True
    ):
        drafter.extend(row, accepted, [*tokens[:accepted], int(token)])
        if ended:
            drafter.begin(row, verifier.next_request(row))


def schedule(users, rounds):
    return np.random.default_rng(1).integers(0, 5, (rounds, users))


@pytest.mark.parametrize(("temperature", "kept"), [(1.0, WORDS), (1.0, 4), (0.0, 4)])
def test_texts_do_not_depend_on_batches_and_orders(temperature, kept):
    """Rounds of all rows, of one row after the other, and of two halves in reverse."""
    options = {"temperature": temperature, "seed": SEED, "kept": kept, "tokens": 12}
    (one, server, whole), (two, apart, _), (three, other, _) = (made(4, **options) for _ in range(3))
    for length in schedule(4, 15):
        whole(length)
        for row in range(4):
            play(two, apart, [row], length[[row]])
        play(three, other, [3, 1], length[[3, 1]])
        play(three, other, [2, 0], length[[2, 0]])
        assert one.texts == server.texts == two.texts == apart.texts == three.texts == other.texts
    assert server.all_texts[:-4]
    assert server.number.tolist() == apart.number.tolist() == other.number.tolist()


def test_rows_that_are_left_out_stay_as_they_were():
    drafter, verifier, _ = made(3, seed=SEED)
    before = [list(text) for text in verifier.texts]
    for _ in range(4):
        play(drafter, verifier, [2, 0], [3, 2])
    assert verifier.texts[1] == drafter.texts[1] == before[1]
    assert (verifier.age[1], verifier.number[1]) == (0, 0)
    assert verifier.texts[0] != before[0] != verifier.texts[2]


@pytest.mark.parametrize("kept", [WORDS, 4])
def test_a_lost_draft_is_drawn_again_and_changes_no_text(kept):
    (plain, server, whole), (broken, other, _) = (made(2, seed=SEED, kept=kept) for _ in range(2))
    rows = np.arange(2)
    for number, length in enumerate(np.maximum(schedule(2, 9), 1)):
        if number % 3 == 1:  # lost before the server's pass, or after it
            first = broken.draft(rows, length, numbers(broken, other, [0, 1], length.tolist()))
            if number % 2:
                other.read(rows, first)
            again = broken.draft(rows, length, numbers(broken, other, [0, 1], length.tolist()))
            assert first.token.tolist() == again.token.tolist()
            np.testing.assert_array_equal(first.ids, again.ids)
            assert abs(first.counts - again.counts).max() <= 1
        if number == 5:  # a device that comes back reads its whole text
            broken.begin(0, other.texts[0])
        whole(length)
        play(broken, other, [0, 1], length)
        assert plain.texts == server.texts == broken.texts == other.texts


@pytest.mark.parametrize(("kept", "bits"), [(WORDS, 16), (5, 16), (WORDS, 2), (5, 2)])
def test_counts_are_rounded_probabilities_of_the_largest(kept, bits):
    drafter, verifier, _ = made(3, seed=SEED, kept=kept, bits=bits)
    length = np.array([3, 0, 2])
    drafts = drafter.draft(np.arange(3), length, numbers(drafter, verifier, [0, 1, 2], length.tolist()))
    assert drafts.counts.shape == (3, 3, kept)
    q = drafts.laws(WORDS)
    for row, size in enumerate(length):
        for position in range(size):
            text = drafter.texts[row] + drafts.token[row, :position].tolist()
            exact = law(drafter.sequences.model, text)[-1]
            ids, counts = (part[row, position] for part in (drafts.ids, drafts.counts))
            assert (np.diff(ids) > 0).all()
            assert set(ids) == set(np.argsort(exact)[-kept:])
            assert counts.max() == 2**bits - 1
            np.testing.assert_allclose(counts, exact[ids] / exact.max() * (2**bits - 1), atol=0.501)
            np.testing.assert_allclose(q[row, position, ids], counts / counts.sum())
            assert q[row, position].sum() == pytest.approx(1.0)
            assert q[row, position, drafts.token[row, position]] > 0


def first_tokens(bits, target_side=Verifier, count=3_000):
    """Tokens that devices with the same prompt get first."""
    pair = Pair(tiny_model(1, scale=0.3), tiny_model(0, scale=0.3))
    drafter = Drafter(pair.draft.sequences(count, WORDS), 1.0, WORDS, bits)
    verifier = target_side(pair.target.sequences(count, WORDS), 1.0, 0, requests_of(pair, prompts=[[5]]))
    for row in range(count):
        drafter.begin(row, verifier.next_request(row))
    before = len(verifier.texts[0])
    seeds = [draft_seed(0, row) for row in range(count)]
    drafts = drafter.draft(
        np.arange(count),
        np.ones(count, dtype=np.int64),
        padded([draft_numbers(seed, 0, before, 1) for seed in seeds]),
    )
    rows = np.arange(count)
    verdict = verifier.accept(rows, drafts, verifier.read(rows, drafts))
    tokens = np.where(verdict.accepted > 0, drafts.token[:, 0], verdict.token)
    p, q = (law(model, [5])[-1] for model in (pair.target, pair.draft))
    few = drafts.laws(WORDS)[0, 0]
    return np.bincount(tokens, minlength=WORDS), p, q, few


@pytest.mark.parametrize("bits", [16, 2])
def test_first_tokens_have_the_law_of_the_target(bits):
    counted, p, q, few = first_tokens(bits)
    assert np.abs(few - q).sum() > 0.05 or bits == 16
    assert chisquare(*merge_rare(counted, p * counted.sum())).pvalue > 1e-3


def test_a_server_that_takes_another_law_than_the_device_is_found(monkeypatch):
    """With 2 bits the server would use the probabilities before rounding."""
    exact = {}
    rounded_laws = Drafter.rounded_laws

    def keep(self, logits):
        exact["law"] = probabilities(logits, 1.0, "mine")
        return rounded_laws(self, logits)

    monkeypatch.setattr(Drafter, "rounded_laws", keep)

    class Unrounded(Verifier):
        def accept(self, rows, drafts, logits):
            sharp = np.rint(exact["law"] * 2**40).astype(np.int64)[:, None]
            return super().accept(rows, drafts._replace(counts=sharp), logits)

    counted, p, _, _ = first_tokens(2, Unrounded)
    assert chisquare(*merge_rare(counted, p * counted.sum())).pvalue < 1e-6


def test_devices_know_their_own_numbers_only():
    seeds = [draft_seed(SEED, device) for device in range(3)]
    assert len(set(seeds)) == 3
    assert draft_seed(SEED + 1, 0) not in seeds
    np.testing.assert_array_equal(draft_numbers(seeds[0], 2, 7, 6)[:4], draft_numbers(seeds[0], 2, 7, 4))
    others = [draft_numbers(seeds[1], 2, 7, 4), draft_numbers(seeds[0], 3, 7, 4), draft_numbers(seeds[0], 2, 8, 4)]
    assert not np.isin(draft_numbers(seeds[0], 2, 7, 4), others).any()
