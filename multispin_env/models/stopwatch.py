"""Stopwatch for passes of real models."""

from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch as th

from multispin_env.arrays import IntArray
from multispin_env.models.network import Model, Pair
from multispin_env.models.passes import VERIFY, PassCell, Setting
from multispin_env.models.sequences import Sequences


class Stopwatch:
    """Verifies and drafts behind a context that has been read, and says how long each pass took.

    A pass is that of the network alone, with the logits of all its positions: no tokenizer, and no drawing of tokens.
    The draft model chooses the likeliest token each time, so that a token is known before the next one is begun. Before
    it so many as ``context`` tokens of each text of the largest ``batch`` are read; which they are does not matter.
    """

    def __init__(
        self,
        pair: Pair,
        batch: int,
        context: int,
        rng: np.random.Generator,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.size, self.context, self.rng, self.clock = pair.vocabulary_size, context, rng, clock
        self.target = Sequences(pair.target, batch, self.size)
        self.draft = Sequences(pair.draft, 1, self.size)
        for sequences in (self.target, self.draft):
            rows = np.arange(len(sequences.length))
            sequences.read(rows, self._tokens(len(rows), context), last=1)

    def __call__(self, cell: PassCell) -> float:
        """Seconds of a pass; the texts are as before afterwards."""
        verifies = cell.what == VERIFY
        sequences, rows = self.target if verifies else self.draft, np.arange(cell.batch)
        texts = self._tokens(cell.batch, cell.length + 1)
        wait_for(sequences.model)
        begun = self.clock()
        if verifies:
            sequences.read(rows, texts)
        else:
            self._draft(rows, texts[0][0], cell.length)
        wait_for(sequences.model)
        seconds = self.clock() - begun
        sequences.trim(rows, np.full(cell.batch, self.context))
        return seconds

    def _draft(self, rows: IntArray, token: int, length: int) -> None:
        for _ in range(length):
            token = int(self.draft.read(rows, [[token]], last=1)[0, 0].argmax())

    def _tokens(self, rows: int, count: int) -> list[list[int]]:
        return self.rng.integers(0, self.size, (rows, count)).tolist()


def wait_for(model: Model) -> None:
    """Wait until a model's device has done all that it was told."""
    if model.device.type == "cuda":
        th.cuda.synchronize(model.device)


def setting_of(pair: Pair, dtype: str, context: int) -> Setting:
    """What times depend on: the models, the device and its numbers, and what was read before."""
    return {
        "target": pair.target.name,
        "target_weights": _weights(pair.target),
        "draft": pair.draft.name,
        "draft_weights": _weights(pair.draft),
        "device": _device_name(pair.target.device),
        "dtype": dtype,
        "context": context,
    }


def _weights(model: Model) -> int:
    return sum(weight.numel() for weight in model.network.parameters())


def _device_name(device: th.device) -> str:
    if device.type == "cuda":
        return str(th.cuda.get_device_name(device))
    threads = th.get_num_threads()
    return f"{device} with {threads} thread{'' if threads == 1 else 's'}"
