"""What is measured: shapes of passes, nothing but them between two looks at the clock, and texts left as they were."""

import numpy as np
import pytest
import torch as th
from models.tiny import WORDS, tiny_model

from multispin_env.models import rounds
from multispin_env.models.network import Pair, Sequences
from multispin_env.models.passes import DRAFT, VERIFY, PassCell
from multispin_env.models.rounds import Stopwatch, setting_of


class Clock:
    """Goes on by what the networks do: 2 s a pass and 0.5 s a token of the target, a second a pass of the draft."""

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
        model.cache_argument  # noqa: B018 - looks at the signature, once

    def __call__(self):
        self.looks.append(len(self.shapes))
        return self.now


@pytest.fixture
def pair():
    made = Pair(tiny_model(1), tiny_model(0))
    for model in (made.draft, made.target):
        model.cache_argument  # noqa: B018
    return made


def test_a_pass_is_what_it_is_called(pair):
    clock = Clock(pair)
    watch = Stopwatch(pair, 4, 20, np.random.default_rng(0), clock)
    assert clock.shapes == [("tiny-0", (4, 20), 1), ("tiny-1", (1, 20), 1)]
    assert clock.looks == []
    for batch, length in ((4, 3), (1, 0), (2, 7)):
        clock.shapes.clear()
        assert watch(PassCell(VERIFY, batch, length)) == 2.0 + 0.5 * batch * (length + 1)
        assert clock.shapes == [("tiny-0", (batch, length + 1), length + 1)]
        assert clock.looks[-2:] == [0, 1]
    clock.shapes.clear()
    assert watch(PassCell(DRAFT, 1, 5)) == 5.0
    assert clock.shapes == [("tiny-1", (1, 1), 1)] * 5


def test_texts_are_as_before(pair):
    """Passes at any time read behind the same context: the logits are those of a text that has only that."""
    watch = Stopwatch(pair, 3, 12, np.random.default_rng(5))
    context = np.random.default_rng(5).integers(0, WORDS, (3, 12)).tolist()
    for cell in (PassCell(VERIFY, 3, 6), PassCell(DRAFT, 1, 4), PassCell(VERIFY, 1, 1)):
        assert watch(cell) > 0.0
    assert watch.target.length.tolist() == [12, 12, 12]
    assert watch.draft.length.tolist() == [12]
    fresh = Sequences(pair.target, 3, WORDS)
    fresh.read(np.arange(3), context)
    more = [[3, 4], [5, 6], [7, 8]]
    assert th.allclose(watch.target.read(np.arange(3), more), fresh.read(np.arange(3), more), atol=1e-4)


def test_a_device_is_waited_for_before_each_look_at_the_clock(pair, monkeypatch):
    order = []
    monkeypatch.setattr(rounds, "wait_for", lambda model: order.append(f"wait for {model.name}"))
    watch = Stopwatch(pair, 1, 4, np.random.default_rng(0), lambda: order.append("look") or float(len(order)))
    watch(PassCell(VERIFY, 1, 1))
    watch(PassCell(DRAFT, 1, 2))
    assert order == ["wait for tiny-0", "look"] * 2 + ["wait for tiny-1", "look"] * 2


def test_cuda_is_synchronised(pair, monkeypatch):
    waited = []
    monkeypatch.setattr(th.cuda, "synchronize", waited.append)
    rounds.wait_for(pair.target)
    assert waited == []

    class OnGpu:
        device = th.device("cuda:1")

    rounds.wait_for(OnGpu())
    assert waited == [th.device("cuda:1")]


def test_the_setting_is_all_that_times_depend_on(pair):
    setting = setting_of(pair, "float32", 20)
    weights = sum(one.numel() for one in pair.target.network.parameters())
    threads = th.get_num_threads()
    assert setting == {
        "target": "tiny-0",
        "target_weights": weights,
        "draft": "tiny-1",
        "draft_weights": weights,
        "device": f"cpu with {threads} thread{'s' * (threads > 1)}",
        "dtype": "float32",
        "context": 20,
    }
