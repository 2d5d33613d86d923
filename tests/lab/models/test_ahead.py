"""Rounds of real models that draft ahead: the target's law, the traps that break it, and a slow engine without chains.

The p values of docs/evidence/drafting-ahead.md are those of these tests, printed by pytest -s.
"""

from functools import partial

import numpy as np
import pytest

from multispin_lab.models import sampling
from multispin_lab.models.ahead import DEVICE, SERVER, ChainDrafter, ChainVerifier, play_chains
from multispin_lab.models.engine import Pair
from multispin_lab.models.halves import draft_seed
from multispin_lab.models.rounds import begin_requests
from multispin_lab.models.transformers_engine import round_weights
from tests.lab.models.test_rounds import (
    LONGEST,
    Kept,
    check_text,
    copy_of,
    law,
    lengths,
    p_values,
    requests_of,
    rounded,
)
from tests.lab.models.tiny import WORDS, tiny_model

AHEAD = 3
GUESSES = ("shared-seed", "independent")


class KeptChains(Kept, ChainVerifier):
    """Wrong rules below see the ``drafter``, which a server cannot."""


def made(users, pair, guess, temperature=1.0, seed=0, server=KeptChains, **options):
    drafter = ChainDrafter(pair.draft.sequences(users, WORDS), temperature, WORDS, 16, seed)
    verifier = server(pair.target.sequences(users, WORDS), temperature, seed, requests_of(pair, **options), guess)
    verifier.drafter = drafter
    begin_requests(drafter, verifier, np.arange(users))
    seeds = [draft_seed(seed, device) for device in range(users)]
    return drafter, verifier, partial(play_chains, drafter, verifier, seeds)


def played(server, guess, temperature=1.0, seed=3, users=64, count=60):
    """Play drafts of at most one token before longer chains; the draft model is the target rounded to two bits."""
    small = tiny_model(0)
    round_weights(small.network, 2)
    pair = Pair(small, tiny_model(0))
    drafter, verifier, play = made(users, pair, guess, temperature, seed, server, longest=1 + AHEAD + 1)
    rng = np.random.default_rng(seed)
    hits = [play(rng.integers(0, 2, users), rng.integers(0, AHEAD + 1, users)).hit for _ in range(count)]
    return drafter, verifier, float(np.mean(hits))


def chances(p, q):
    """That a draw from q is the server's from p, (…,): with shared exponential variables, and independent.

    argmin E / p = argmin E / q = x with probability 1 / Σ_z max(p_z / p_x, q_z / q_x).
    """
    some = q > 0.0  # counts can be 0
    odds = np.maximum(p / p[some, None], q / q[some, None])
    return {"shared-seed": (1.0 / odds.sum(1)).sum(), "independent": (p * q).sum()}


class Recording(KeptChains):
    def last_token(self, law, row, size):
        token = super().last_token(law, row, size)
        guessed, ids, counts = self.drafter.chains[row][size]
        q = np.zeros(WORDS)
        q[ids] = counts / counts.sum()
        self.seen = [*getattr(self, "seen", []), (chances(law, q), token == guessed)]
        return token


@pytest.mark.slow
@pytest.mark.parametrize(("guess", "seed"), [(GUESSES[0], 3), (GUESSES[1], 4)])
def test_texts_have_the_law_of_the_target_and_guesses_hit_as_often_as_they_should(guess, seed):
    drafter, verifier, hits = played(Recording, guess, seed=seed)
    result = p_values(drafter, verifier)
    chance = np.array([entry[guess] for entry, _ in verifier.seen])
    share = np.mean([hit for _, hit in verifier.seen])
    print(
        f"\n{guess}, seed {seed}: p {np.round(result, 3)}, kept {hits:.3f}, of accepted {share:.3f} {chance.mean():.3f}"
    )
    assert min(result) > 1e-3
    assert abs(share - chance.mean()) < 4.0 * np.sqrt((chance * (1.0 - chance)).sum()) / len(chance)


class KeepsWhatLooksLikely(KeptChains):
    """Wrong rule: a guess that is likely under q is verified like a drafted token."""

    def last_token(self, law, row, size):
        token, ids, counts = self.drafter.chains[row][size]
        q = np.zeros_like(law)
        q[ids] = counts / counts.sum()
        if q[token] <= 0.3:
            return super().last_token(law, row, size)
        accepting, last = np.random.default_rng([9, row, len(self.texts[row]) + size]).random(2)
        if accepting * q[token] < law[token]:
            return token
        return int(sampling.pick_tokens(sampling.residual(law, q)[None], np.array([last]))[0])


class TakesTheGuess(KeptChains):
    """Wrong rule: the server's token is the guess."""

    def last_token(self, law, row, size):
        return self.drafter.chains[row][size][0]


@pytest.mark.slow
@pytest.mark.parametrize("server", [KeepsWhatLooksLikely, TakesTheGuess])
def test_the_traps_are_found(server):
    result = p_values(*played(server, "independent")[:2])
    print(f"\n{server.__name__}: p {min(result):.1e}")
    assert min(result) < 1e-6


def test_greedy_texts_are_the_likeliest_path():
    for server in (KeptChains, KeepsWhatLooksLikely):
        _, verifier, hits = played(server, "greedy", temperature=0.0, users=8, count=25)
        assert hits > 0.3
        for _, begun, text in verifier.all_texts:
            assert text[begun:] == law(verifier.sequences.model, text).argmax(-1)[begun - 1 : -1].tolist()


def drawn(q, seed, who, device, number, position):
    exponential = np.random.default_rng([seed, who, device, number, position]).standard_exponential(len(q))
    return int((q / exponential).argmax())


@pytest.mark.parametrize(("guess", "temperature"), [(GUESSES[0], 1.0), (GUESSES[1], 0.7), ("greedy", 0.0)])
def test_a_chain_is_what_the_device_would_draft_anew(guess, temperature):
    """Comparison with a slow engine without chains and caches."""
    users, rng = 3, np.random.default_rng(0)
    small = tiny_model(0)
    round_weights(small.network, 2)
    pair = Pair(small, tiny_model(0))
    drafter, verifier, play = made(users, pair, guess, temperature, 7, tokens=15, longest=2 * LONGEST)
    server = DEVICE if guess == "shared-seed" else SERVER
    hits = 0
    for length in lengths(users, 20):
        before, result = copy_of(verifier), play(length, rng.integers(0, LONGEST + 1, users))
        hits += result.hit.sum()
        for device, text in enumerate(before.texts):
            number = int(before.number[device])
            size, new, laws = int(length[device]), [], []
            last, *numbers = np.random.default_rng([7, 5, device, number, len(text)]).random(size + 1)
            for position in range(size + 1):
                laws.append(rounded(law(small, text + new, temperature)[-1], WORDS))
                new.append(drawn(laws[-1], 7, DEVICE, device, number, len(text) + position))
            p = law(pair.target, text + new[:size], temperature)[len(text) - 1 :]
            good = [numbers[i] < p[i][new[i]] / laws[i][new[i]] for i in range(size)]
            accepted = [*good, False].index(False)
            if accepted < size:
                rest = (p[accepted] - laws[accepted]).clip(0.0)
                token = int(sampling.pick_tokens(rest[None], np.array([last]))[0])
            else:
                token = drawn(p[size], 7, server, device, number, len(text) + size)
            assert (result.accepted[device], result.hit[device]) == (accepted, accepted == size and token == new[size])
            check_text(verifier, before, device, [*new[:accepted], token])
            assert verifier.age[device] or not drafter.chains[device]
        assert drafter.texts == verifier.texts
    assert hits >= 10
    assert max(verifier.number) >= 1
