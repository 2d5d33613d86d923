"""Rounds of real models that draft ahead: the target's law, the traps that break it, and a slow engine without chains.

The p values of docs/evidence/drafting-ahead.md are those of these tests, printed by pytest -s.
"""

import numpy as np
import pytest
import torch as th

from multispin_env.apps.models import network
from multispin_env.apps.models.ahead import DEVICE, SERVER, ChainPlayer
from multispin_env.apps.models.network import Pair, round_weights
from tests.apps.models.test_rounds import LONGEST, check_text, copy_of, law, lengths, made, p_values
from tests.apps.models.tiny import tiny_model

AHEAD = 3
GUESSES = ("shared-seed", "independent")


def played(player, guess, temperature=1.0, seed=3, users=64, count=60):
    """Play drafts of at most one token before longer chains; the draft model is the target rounded to two bits."""
    small = tiny_model(0)
    round_weights(small.network, 2)
    devices = made(users, Pair(small, tiny_model(0)), longest=1 + AHEAD + 1)
    play = player(devices, temperature, seed, guess)
    rng = np.random.default_rng(seed)
    hits = [play(rng.integers(0, 2, users), rng.integers(0, AHEAD + 1, users)).hit for _ in range(count)]
    return devices, play, float(np.mean(hits))


def chances(p, q):
    """That a draw from q is the server's from p, (…,): with shared exponential variables, and independent.

    argmin E / p = argmin E / q = x with probability 1 / Σ_z max(p_z / p_x, q_z / q_x).
    """
    odds = np.maximum(p[None, :] / p[:, None], q[None, :] / q[:, None])
    return {"shared-seed": (1.0 / odds.sum(1)).sum(), "independent": (p * q).sum()}


class Recording(ChainPlayer):
    def _last_token(self, law, device, size):
        token = super()._last_token(law, device, size)
        guessed, q = self.chains[device][size]
        self.seen = [*getattr(self, "seen", []), (chances(law.numpy(), q.numpy()), token == guessed)]
        return token


@pytest.mark.slow
@pytest.mark.parametrize(("guess", "seed"), [(GUESSES[0], 3), (GUESSES[1], 4)])
def test_texts_have_the_law_of_the_target_and_guesses_hit_as_often_as_they_should(guess, seed):
    devices, play, hits = played(Recording, guess, seed=seed)
    result = p_values(devices)
    chance = np.array([entry[guess] for entry, _ in play.seen])
    share = np.mean([hit for _, hit in play.seen])
    print(
        f"\n{guess}, seed {seed}: p {np.round(result, 3)}, kept {hits:.3f}, of accepted {share:.3f} {chance.mean():.3f}"
    )
    assert min(result) > 1e-3
    assert abs(share - chance.mean()) < 4.0 * np.sqrt((chance * (1.0 - chance)).sum()) / len(chance)


class KeepsWhatLooksLikely(ChainPlayer):
    """Wrong rule: a guess that is likely under q is verified like a drafted token."""

    def _last_token(self, law, device, size):
        token, q = self.chains[device][size]
        if q[token] <= 0.3:
            return super()._last_token(law, device, size)
        accepting, last = np.random.default_rng([9, device, len(self.devices.texts[device]) + size]).random(2)
        if accepting * q[token] < law[token]:
            return token
        return network.pick_tokens(network.residual(law, q)[None], np.array([last]))[0]


class TakesTheGuess(ChainPlayer):
    """Wrong rule: the server's token is the guess."""

    def _last_token(self, law, device, size):
        return self.chains[device][size][0]


@pytest.mark.slow
@pytest.mark.parametrize("player", [KeepsWhatLooksLikely, TakesTheGuess])
def test_the_traps_are_found(player):
    result = p_values(played(player, "independent")[0])
    print(f"\n{player.__name__}: p {min(result):.1e}")
    assert min(result) < 1e-6


def test_greedy_texts_are_the_likeliest_path():
    for player in (ChainPlayer, KeepsWhatLooksLikely):
        devices, _, hits = played(player, "greedy", temperature=0.0, users=8, count=25)
        assert hits > 0.3
        for _, begun, text in devices.all_texts:
            assert text[begun:] == law(devices.pair.target, text).argmax(-1)[begun - 1 : -1].tolist()


def drawn(q, seed, who, device, number, position):
    exponential = np.random.default_rng([seed, who, device, number, position]).standard_exponential(len(q))
    return int((q / exponential).argmax())


@pytest.mark.parametrize(("guess", "temperature"), [(GUESSES[0], 1.0), (GUESSES[1], 0.7), ("greedy", 0.0)])
def test_a_chain_is_what_the_device_would_draft_anew(guess, temperature):
    """Comparison with a slow engine without chains and caches."""
    users, rng = 3, np.random.default_rng(0)
    small = tiny_model(0)
    round_weights(small.network, 2)
    devices = made(users, Pair(small, tiny_model(0)), tokens=15, longest=2 * LONGEST)
    play = ChainPlayer(devices, temperature, 7, guess)
    generators = [np.random.default_rng([7, 2, device]) for device in range(users)]
    server = DEVICE if guess == "shared-seed" else SERVER
    hits = 0
    for length in lengths(users, 20):
        before, result = copy_of(devices), play(length, rng.integers(0, LONGEST + 1, users))
        hits += result.hit.sum()
        for device, text in enumerate(before.texts):
            number = int(before.number[device])
            size, new, laws = int(length[device]), [], []
            numbers = generators[device].random(2 * size + 1)[size:]
            for position in range(size + 1):
                laws.append(law(small, text + new, temperature)[-1])
                new.append(drawn(laws[-1], 7, DEVICE, device, number, len(text) + position))
            p = law(devices.pair.target, text + new[:size], temperature)[len(text) - 1 :]
            good = [numbers[i] < p[i][new[i]] / laws[i][new[i]] for i in range(size)]
            accepted = [*good, False].index(False)
            if accepted < size:
                rest = th.as_tensor((p[accepted] - laws[accepted]).clip(0.0))
                token = int(network.pick_tokens(rest[None], numbers[-1:])[0])
            else:
                token = drawn(p[size], 7, server, device, number, len(text) + size)
            assert (result.accepted[device], result.hit[device]) == (accepted, accepted == size and token == new[size])
            check_text(devices, before, device, [*new[:accepted], token])
            assert devices.age[device] or not play.chains[device]
    assert hits >= 10
    assert max(devices.number) >= 1
