"""Rounds of a testbed: texts are those of `play_round` in one process, also after devices broke off."""

import time

import numpy as np
import pytest

pytest.importorskip("zmq")

import multispin_env as ms
from multispin_lab.models.engine import Pair
from multispin_lab.models.halves import Drafter, Requests, Verifier, draft_seed
from multispin_lab.models.prompts import Prompts
from multispin_lab.models.rounds import begin_requests, play_round
from multispin_lab.testbed import device, server
from tests.lab.models.tiny import WORDS, tiny_model
from tests.lab.testbed.devices import ACCESS, Thread, about, joined

PROMPTS = [np.random.default_rng(position).integers(2, WORDS, 1 + position % 5).tolist() for position in range(10)]
REQUESTS = Requests(PROMPTS, np.zeros(10, dtype=np.int64), 8, 100)
TEXTS = tuple(" ".join(f"w{token}" for token in tokens) for tokens in PROMPTS)
USERS = 4


def scenario(kept):
    task = ms.Task(name="all", acceptance_rate=0.4, acceptance_std=0.1)
    fields = {"max_draft_length": 4, "min_draft_length": 0, "kept_probabilities": kept}
    return ms.Scenario.preset("llama2", num_users=USERS, tasks=(task,), **fields)


def lengths(count):
    return np.random.default_rng(0).integers(0, 5, (count, USERS))


def alone(length, seats, temperature, kept, pair=None):
    """Texts after rounds in one process, by seat: the verifier and what was accepted and gained."""
    played, pair = [], pair or Pair(tiny_model(1), tiny_model(0))
    for _ in range(seats):
        drafter = Drafter(pair.draft.sequences(USERS, WORDS), temperature, kept, 16)
        verifier = Verifier(pair.target.sequences(USERS, WORDS), temperature, 3, REQUESTS)
        begin_requests(drafter, verifier, np.arange(USERS))
        seeds = [draft_seed(3, device) for device in range(USERS)]
        played.append((verifier, [play_round(drafter, verifier, seeds, row) for row in length]))
    return played


def opened(kept, target=None, **settings):
    options = {"seed": 3, "tokens": 8, "port": 0, "pacing": False} | settings
    prompts = Prompts(TEXTS, ("all",), (0,) * 10, "prompts.txt", "")
    return server.Testbed(scenario(kept), target or tiny_model(0), prompts, ACCESS, server.Settings(**options))


def play(testbed, seat, length):
    testbed.connections.wait(1)
    return testbed.play(seat, length, np.full(USERS, 1e6), np.full(USERS, 6.0))


@pytest.mark.parametrize(("temperature", "kept"), [(1.0, 5), (1.0, WORDS), (0.0, 5), (0.7, 1)])
def test_texts_are_those_of_one_process(temperature, kept):
    length = lengths(10)
    with opened(kept, seats=2, temperature=temperature) as testbed, joined(testbed, USERS):
        results = [[play(testbed, seat, row)[0] for seat in range(2)] for row in length]
        expected = alone(length, 1, temperature, kept)
        for seat in range(2):
            (verifier, rounds) = expected[0]
            for result, row in zip(results, rounds, strict=True):
                assert result[seat].accepted.tolist() == row.accepted.tolist()
                assert result[seat].gained.tolist() == row.gained.tolist()
            assert testbed.verifiers[seat].texts == verifier.texts
            assert max(verifier.number) >= 1  # requests ended


def test_no_device_makes_a_round_longer_than_the_largest_timeout():
    class Silent(Drafter):
        def draft(self, *arguments):
            time.sleep(1.0)
            return super().draft(*arguments)

    def make(terms):
        sequences = tiny_model(1).sequences(terms["seats"], terms["size"], terms["context"])
        return Silent(sequences, terms["temperature"], terms["kept"], terms["bits"])

    with opened(5, max_timeout=0.3) as testbed, joined(testbed, 1):
        liar = Thread(testbed.address, about(tiny_model(1), "liar", 1.0), make)
        try:
            testbed.connections.wait(2)
            measured = play(testbed, 0, np.full(USERS, 4))[1]
            assert measured.present.tolist() == [True, False, False, False]
            assert 0.3 <= measured.access < 0.6  # not 3 · 4 · 1 + 2 s
        finally:
            liar.stop()


def texts_after(testbed, rounds):
    """Texts of all requests by device and number, after rounds of drafts of 3 tokens, and the rounds of device 1."""
    verifier, texts, played = testbed.verifiers[0], {}, 0
    for _ in range(rounds):
        for row in range(USERS):
            texts[row, int(verifier.number[row])] = verifier.texts[row]  # a list that grows
        testbed.connections.wait(USERS)
        played += play(testbed, 0, np.full(USERS, 3))[1].present[1]
    return texts, played


def test_texts_do_not_change_when_a_device_breaks_off(monkeypatch):
    """In a draft, between notice and draft, and after a draft; the device is back at once."""

    def failing(session, kind, *body, **fields):
        if (
            session._drafter is None
            or session._drafter.name != "d1"
            or kind != ("drafted", "draft", "draft", "")[len(broken)]
        ):
            return send(session, kind, *body, **fields)
        broken.append(kind)
        if len(broken) == 3:
            send(session, kind, *body, **fields)
            time.sleep(0.05)  # so that it leaves
        raise device._LostError

    with opened(5) as testbed, joined(testbed, USERS):
        expected, rounds = texts_after(testbed, 14)
    assert rounds == 14
    send, broken = device._Session.send, []
    monkeypatch.setattr(device._Session, "_drafter", None, raising=False)
    monkeypatch.setattr(device._Session, "send", failing)
    monkeypatch.setattr(device, "_RETRY", 0.01)
    with opened(5) as testbed, joined(testbed, USERS) as threads:
        texts, rounds = texts_after(testbed, 14)
    assert len(broken) == 3
    assert len(threads[1].made) == 4
    assert 14 - 3 <= rounds <= 14 - 2  # a draft that has arrived counts, unless the others are slower
    for key, text in texts.items():
        assert text == expected[key][: len(text)]
    assert max(number for owner, number in texts if owner == 1) >= 1
