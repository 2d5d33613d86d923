"""Real rounds keep the target's law, forget what was refused, and end requests where they end."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch as th
from models.tiny import WORDS, tiny_model
from scipy.stats import chisquare

from multispin_env.models import network, rounds
from multispin_env.models.network import Pair, round_weights
from multispin_env.models.rounds import EmulatedDevices, Player, PromptOrder

LONGEST = 4
PROMPTS = [np.random.default_rng(place).integers(2, WORDS, 1 + place % 5).tolist() for place in range(40)]


class Kept(EmulatedDevices):
    """Devices that keep the texts of requests that ended, as (device, prompt's length, text)."""

    def begin(self, devices):
        self.ended = getattr(self, "ended", [])
        self.ended += [(device, self.beginning[device], self.texts[device]) for device in devices if self.texts[device]]
        super().begin(devices)
        self.beginning = getattr(self, "beginning", {}) | {device: len(self.texts[device]) for device in devices}

    @property
    def all_texts(self):
        return self.ended + [(device, self.beginning[device], text) for device, text in enumerate(self.texts)]


def made(users, pair=None, tokens=40, longest=LONGEST, prompts=PROMPTS):
    pair = Pair(tiny_model(1), tiny_model(0)) if pair is None else pair
    task = np.arange(len(prompts)) % 3
    return Kept(pair, prompts, task, PromptOrder(len(prompts), users, 0), users, tokens, longest)


def lengths(users, count, seed=0):
    """Of ragged rounds, some of which draft nothing at all."""
    rng = np.random.default_rng(seed)
    drafts = rng.integers(0, LONGEST + 1, (count, users))
    drafts[3::7] = 0
    return drafts


def law(model, text, temperature=1.0):
    with th.inference_mode():
        logits = model.network(input_ids=th.tensor([text]), use_cache=False).logits[0, :, :WORDS]
    return network.probabilities(logits, temperature).numpy()


def p_values(devices):
    """Of uniformity, for each token of the texts, of two numbers that are uniform if it has the target's law.

    They are the probability of the tokens that come before it in some order, given the text before it, plus a random
    part of its own. The orders: that of the vocabulary, and p / q, along which whatever is wrong with refusals moves
    tokens.
    """
    rng = np.random.default_rng(1)
    found = []
    for _, begun, text in devices.all_texts:
        p, q = (law(model, text)[begun - 1 : -1] for model in (devices.pair.target, devices.pair.draft))
        token = np.array(text[begun:], dtype=np.int64)[:, None]
        for order in (np.broadcast_to(np.arange(WORDS), p.shape), p / q):
            before = np.where(order < np.take_along_axis(order, token, 1), p, 0.0).sum(1)
            found.append(before + rng.random(len(token)) * np.take_along_axis(p, token, 1)[:, 0])
    both = [np.concatenate(found[order::2]) for order in range(2)]
    assert len(both[0]) >= 5_000
    return [chisquare(np.histogram(one, 20, (0.0, 1.0))[0]).pvalue for one in both]


def played(users=64, count=45):
    small = tiny_model(0)
    round_weights(small.network, 2)
    devices = made(users, Pair(small, tiny_model(0)))
    play = Player(devices, 1.0, seed=3)
    for length in lengths(users, count):
        play(length)
    return devices


def test_texts_have_the_law_of_the_target():
    assert min(p_values(played())) > 1e-3


def test_a_wrong_rule_is_found(monkeypatch):
    """The token in the place of a refused one is drawn from p itself: almost right, and not lossless."""
    monkeypatch.setattr(network, "residual", lambda target, draft: target)
    assert p_values(played())[1] < 1e-6


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_draft_that_is_the_target_is_never_refused(temperature):
    """Two caches of one model: only rounding of passes of different sizes differs."""
    model = tiny_model(0)
    devices = made(6, Pair(model, model))
    play = Player(devices, temperature, seed=0)
    for length in lengths(6, 40):
        np.testing.assert_array_equal(play(length).accepted, length)


def slow_text(pair, text, drafts, temperature, generator):
    """One device, one round, passes over whole texts and no cache: what `play_round` has to equal."""
    size = drafts
    numbers = generator.random(2 * size + 1)
    new, q = [], []
    for place in range(size):
        q.append(th.as_tensor(law(pair.draft, text + new, temperature)[-1]))
        new.append(int(network.pick_tokens(q[-1][None], numbers[place : place + 1])[0]))
    p = th.as_tensor(law(pair.target, text + new, temperature)[len(text) - 1 :])
    for place, token in enumerate(new):
        if numbers[size + place] >= float(p[place][token] / q[place][token]):
            rest = (p[place] - q[place]).clamp_min(0.0)
            return [*new[:place], int(network.pick_tokens(rest[None], numbers[-1:])[0])], place
    return [*new, int(network.pick_tokens(p[size][None], numbers[-1:])[0])], size


@pytest.mark.parametrize(("users", "temperature"), [(1, 1.0), (5, 1.0), (3, 0.7), (3, 0.0)])
def test_texts_are_those_of_a_slow_engine_without_caches(users, temperature):
    devices = made(users, tokens=15)
    play = Player(devices, temperature, seed=7)
    order = PromptOrder(len(PROMPTS), users, 0)
    generators = [np.random.default_rng([7, 2, device]) for device in range(users)]
    number = [0] * users
    texts = [list(PROMPTS[order.prompt(device, 0)]) for device in range(users)]
    begun = [len(text) for text in texts]
    for length in lengths(users, 25, seed=users):
        np.testing.assert_array_equal(devices.number, number)
        assert devices.texts == texts
        found = play(length)
        for device in range(users):
            before = len(texts[device])
            new, accepted = slow_text(devices.pair, texts[device], int(length[device]), temperature, generators[device])
            ended = next((place + 1 for place, token in enumerate(new) if token == 0), None)
            new = new[: min(begun[device] + 15 - before, ended or len(new))]
            texts[device] += new
            assert (found.accepted[device], found.gained[device]) == (accepted, len(new))
            if texts[device][-1] == 0 or len(texts[device]) == begun[device] + 15:
                number[device] += 1
                texts[device] = list(PROMPTS[order.prompt(device, number[device])])
                begun[device] = len(texts[device])
    assert max(number) >= 2


def test_models_read_nothing_twice_and_keep_nothing_that_was_refused():
    """Behind each round both have read a beginning of the text, and the target all but its last token."""
    devices = made(4)
    play = Player(devices, 1.0, seed=2)
    for length in lengths(4, 30):
        before = devices.draft.length.copy()
        play(length)
        sizes = np.array([len(text) for text in devices.texts])
        np.testing.assert_array_equal(devices.target.length, sizes - 1)
        assert (devices.draft.length <= sizes - 1).all()
        idle = (length == 0) & (devices.age > 0)
        np.testing.assert_array_equal(devices.draft.length[idle], before[idle])


def test_requests_end_at_the_end_token_and_its_rest_does_not_count(monkeypatch):
    devices = made(1, tokens=40)
    found = iter([([5, 0, 7], 3, 9), ([], 0, 0), ([4, 4, 4], 1, 3)])

    def act(*_):
        drafted, accepted, token = next(found)
        monkeypatch.setattr(
            rounds, "verify", lambda *_: SimpleNamespace(accepted=np.array([accepted]), token=np.array([token]))
        )
        monkeypatch.setattr(rounds, "pick_tokens", lambda *_: next(tokens))
        tokens = iter([np.array([one]) for one in drafted])
        return Player(devices, 1.0, 0)(np.array([len(drafted)]))

    texts = [devices.texts[0]]
    assert act().gained == 2
    assert (texts[0][-2:], devices.number[0], devices.age[0]) == ([5, 0], 1, 0)
    assert act().gained == 1
    assert devices.number[0] == 2
    assert act().gained == 2
    assert (devices.texts[0][-2:], devices.number[0], devices.age[0], devices.left[0]) == ([4, 3], 2, 1, 38)


def test_requests_end_with_their_tokens_and_with_the_context():
    pair = Pair(tiny_model(1, context=20), tiny_model(0, context=20))
    devices = made(3, pair, tokens=1_000, prompts=[[5], [5, 6, 7], [5] * 15])
    assert devices.left.tolist() == [16 - len(text) for text in devices.texts]
    play = Player(devices, 1.0, seed=0)
    for length in lengths(3, 40):
        play(np.maximum(length, 1))  # never reads beyond the context, or it would raise
    assert max(len(text) for _, _, text in devices.ended) == 16
    devices = made(2, tokens=3)
    gained = Player(devices, 1.0, seed=0)(np.array([4, 4])).gained
    assert gained.max() <= 3


def test_every_prompt_comes_once_before_any_comes_again_and_players_share_them():
    order = PromptOrder(7, 3, seed=4)
    first = [order.prompt(place % 3, place // 3) for place in range(14)]
    assert sorted(first[:7]) == sorted(first[7:]) == list(range(7))
    assert first[:7] != first[7:]
    assert first == [PromptOrder(7, 3, seed=4).prompt(place % 3, place // 3) for place in range(14)]
    assert first != [PromptOrder(7, 3, seed=5).prompt(place % 3, place // 3) for place in range(14)]


def test_a_device_does_not_depend_on_the_others():
    """Its numbers are its own: the same device alone has the same text."""
    many = made(3, prompts=PROMPTS[:1])
    alone = made(1, prompts=PROMPTS[:1])
    players = [Player(devices, 1.0, seed=5) for devices in (many, alone)]
    for length in lengths(3, 12):
        players[0](length)
        players[1](length[:1])
    assert many.texts[0] == alone.texts[0]


def test_too_little_memory_says_batch_and_length(monkeypatch):
    def fail(*_, **__):
        raise th.OutOfMemoryError("no more")

    devices = made(3)
    play = Player(devices, 1.0, seed=0)
    monkeypatch.setattr(rounds, "verify", fail)
    with pytest.raises(MemoryError, match="the laws of a batch of 3 with 3 tokens each"):
        play(np.array([1, 2, 0]))
    monkeypatch.setattr(rounds.th, "ones", fail)
    with pytest.raises(MemoryError, match="the laws of a batch of 3 with 2 drafted tokens each"):
        play(np.array([1, 2, 0]))
