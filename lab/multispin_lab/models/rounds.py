"""Passes of real models: measured times, rounds of emulated devices, and recorded texts."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_lab.models.counts import KEPT
from multispin_lab.models.engine import Pair, Sequences, memory_errors
from multispin_lab.models.halves import Drafter, Verifier, draft_numbers, padded
from multispin_lab.models.passes import VERIFY, PassCell, Setting
from multispin_lab.models.sampling import (
    acceptance,
    confidences,
    overlap,
    pick_tokens,
    probabilities,
    residual,
    truncated,
)


class Stopwatch:
    """Timer of verification and draft passes after a context.

    Measures only the network, with the logits of all positions: no tokenizer, and no sampling. The draft model takes
    the most likely token, so each token depends on the one before. First random tokens are read for each text of the
    largest ``batch``, as many as the ``contexts`` have for each kind of pass; passes have at most ``longest`` tokens.
    """

    def __init__(
        self,
        pair: Pair,
        batch: int,
        contexts: Mapping[str, int],
        longest: int,
        rng: np.random.Generator,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.size, self.contexts, self.rng, self.clock = pair.vocabulary_size, contexts, rng, clock
        self.sequences: dict[str, Sequences] = {}  # by kind of pass
        for what, context in contexts.items():
            model, rows = (pair.target, batch) if what == VERIFY else (pair.draft, 1)
            self.sequences[what] = model.sequences(rows, self.size, context + longest)
            self.sequences[what].read(np.arange(rows), self._tokens(rows, context), last=1)

    def __call__(self, cell: PassCell) -> float:
        """Return the seconds of a pass, and reset the texts."""
        sequences, rows = self.sequences[cell.what], np.arange(cell.batch)
        texts = self._tokens(cell.batch, cell.length + 1)
        start = self.clock()
        if cell.what == VERIFY:
            sequences.read(rows, texts)
        else:
            token = texts[0][0]
            for _ in range(cell.length):
                token = int(sequences.read(rows, [[token]], last=1)[0, 0].argmax())
        seconds = self.clock() - start
        sequences.trim(rows, np.full(cell.batch, self.contexts[cell.what]))
        return seconds

    def _tokens(self, rows: int, count: int) -> list[list[int]]:
        return self.rng.integers(0, self.size, (rows, count)).tolist()


def describe_setting(pair: Pair, context: int) -> Setting:
    """Return the settings that determine measured times: models, device, type of the weights and context."""
    return {
        "target": pair.target.name,
        "target_weights": pair.target.num_weights,
        "draft": pair.draft.name,
        "draft_weights": pair.draft.num_weights,
        "device": pair.target.device,
        "dtype": pair.target.dtype,
        "context": context,
    }


class RoundResult(NamedTuple):
    """Result of a round; times in seconds on this machine."""

    accepted: IntArray  # accepted tokens, (K,), also those after the end of a request
    gained: IntArray  # tokens of the requests, (K,)
    drafting_time: float  # one batch for all devices; the emulated devices have draft times of their own
    verification_time: float  # the target's pass, without sampling
    accepting_time: float  # token probabilities, acceptance and sampling
    prompt_time: float  # prompts of new requests, read by both models after the round
    hit: BoolArray | None = None
    """Whether the whole draft is accepted and the server's token equals the chain's, (K,); ``None`` without chains."""


def play_round(drafter: Drafter, verifier: Verifier, seeds: Sequence[int], length: IntArray) -> RoundResult:
    """Play a round of drafts of L (K,) ≥ 0 tokens in this process, and begin requests in place of those that ended.

    ``seeds`` are the `draft_seed` of each device.
    """
    rows: IntArray = np.arange(len(length))
    draws = zip(seeds, verifier.number.tolist(), map(len, drafter.texts), length.tolist(), strict=True)
    uniform = padded([draft_numbers(*numbers) for numbers in draws])
    times = [perf_counter()]
    drafts = drafter.draft(rows, length, uniform)
    times.append(perf_counter())
    logits = verifier.read(rows, drafts)
    times.append(perf_counter())
    verdict = verifier.accept(rows, drafts, logits)
    times.append(perf_counter())
    for row, (accepted, token) in enumerate(zip(verdict.accepted.tolist(), verdict.token.tolist(), strict=True)):
        drafter.extend(row, accepted, [*drafts.token[row, :accepted].tolist(), token])
    begin_requests(drafter, verifier, np.flatnonzero(verdict.ended))
    times.append(perf_counter())
    drafting, verification, accepting, prompt = np.diff(times).tolist()
    return RoundResult(verdict.accepted, verdict.gained, drafting, verification, accepting, prompt)


def begin_requests(drafter: Drafter, verifier: Verifier, rows: IntArray) -> None:
    """Begin the next requests of some devices: both models read the prompts up to the last token."""
    for row in rows.tolist():
        drafter.begin(row, verifier.next_request(row))


class _Text(NamedTuple):
    """Record of n positions of a text, or of one position of n texts."""

    token: IntArray  # (n,)
    probability: FloatArray  # β of the token that was proposed, (n,)
    accepted: BoolArray  # whether it was accepted, (n,)
    overlap: FloatArray  # Σ_x min(p, q), (n,)
    kept: FloatArray  # the same with each number of `KEPT` probabilities of q, (n, len(KEPT))
    confidence: FloatArray  # `CONFIDENCES` of the proposed token, (n, 3); of q at temperature 1 for a greedy target


def record_texts(
    pair: Pair,
    prompts: Sequence[Sequence[int]],
    first: int,
    tokens: int,
    temperature: float,
    seed: int,
    report: Callable[[int], None] = lambda done: None,
) -> list[_Text]:
    """Record texts in one batch, token by token.

    A text ends after the target's end token, after ``tokens`` tokens, or at the end of the context. Random numbers of a
    prompt follow from ``seed`` and its number; ``first`` is the number of the first prompt. ``report`` is called with
    the length of the longest text. ``MemoryError`` names batch and tokens.
    """
    rngs = [np.random.default_rng([seed, first + row]) for row in range(len(prompts))]
    models = [pair.target] if pair.draft is pair.target else [pair.target, pair.draft]
    room = min(max(map(len, prompts)) + tokens, pair.context)
    readers = [model.sequences(len(prompts), pair.vocabulary_size, room) for model in models]
    records: list[list[tuple[Any, ...]]] = [[] for _ in prompts]
    # one prompt at a time: a batch would hold the logits of all columns from the shortest prompt's end on
    logits = [
        np.concatenate([reader.read(np.array([row]), [text], 1)[:, -1] for row, text in enumerate(prompts)])
        for reader in readers
    ]
    rows: IntArray = np.arange(len(prompts))
    while True:
        with memory_errors(f"the probabilities of a batch of {len(rows)}"):
            laws = [probabilities(part, temperature, model.name) for part, model in zip(logits, models, strict=True)]
            p, q = laws[0], laws[-1]
            uniform = np.array([rngs[row].random(3) for row in rows])
            proposed = pick_tokens(q, uniform[:, 0])
            beta = acceptance(p, q, proposed)
            accepted = uniform[:, 1] < beta
            token = np.where(accepted, proposed, pick_tokens(residual(p, q), uniform[:, 2]))
            kept = np.stack([overlap(p, truncated(q, count)) for count in KEPT], -1)
            soft = q if temperature else probabilities(logits[-1], 1.0, models[-1].name)
            position = _Text(token, beta, accepted, overlap(p, q), kept, confidences(soft, proposed))
        for row, *numbers in zip(rows, *(part.tolist() for part in position), strict=True):
            records[row].append(tuple(numbers))
        report(max(map(len, records)))
        unfinished = [
            len(records[row]) < tokens
            and token not in pair.target.ends
            and len(prompts[row]) + len(records[row]) <= pair.context
            for row, token in zip(rows.tolist(), position.token.tolist(), strict=True)
        ]
        rows, last = rows[unfinished], position.token[unfinished]
        if not len(rows):
            return [_Text(*map(np.array, zip(*entries, strict=True))) for entries in records]
        logits = [reader.read(rows, last[:, None].tolist(), 1)[:, -1] for reader in readers]
