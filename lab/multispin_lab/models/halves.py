"""Device and server of a round of real models: drafting, and lossless verification of drafts.

A device has a `Drafter`, a server a `Verifier`, each with the texts and the cache of its own model.
Random numbers follow from device, request and length of the text, not from earlier rounds. So a draft that was lost is
drawn again with the same numbers, and texts do not depend on the order of devices. The device draws from integer counts
of Q_B bits for each probability, and the server uses the same distribution.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_lab.models.engine import Sequences, memory_errors
from multispin_lab.models.sampling import Logits, Verified, largest_tokens, pick_tokens, probabilities, verify

_DRAFTING, _VERIFYING = 2, 5
"""Parts of seeds, for separate random streams."""


def prompt_index(device: int, number: int, prompts: int, num_users: int, seed: int) -> int:
    """Return the prompt of a device's request number, all from 0: repeated random permutations of all P ``prompts``.

    Request j of device k has position j K + k in this sequence. So it depends on the seed only: device k gets the same
    requests under any controller.
    """
    cycle, position = divmod(number * num_users + device, prompts)
    stream = [seed, 1, cycle]  # the 1 separates this random stream
    return int(np.random.default_rng(stream).permutation(prompts)[position])


def draft_seed(seed: int, device: int) -> int:
    """Return the seed of a device's drafts, of 64 bits."""
    return int(np.random.SeedSequence([seed, _DRAFTING, device]).generate_state(1, np.uint64)[0])


def draft_numbers(seed: int, request: int, position: int, length: int) -> FloatArray:
    """Return the random numbers (L,) in [0, 1) of a draft after ``position`` tokens; ``seed`` is a `draft_seed`."""
    return np.random.default_rng([seed, request, position]).random(length)


def padded(rows: Sequence[FloatArray]) -> FloatArray:
    """Return rows of different lengths as one array (n, longest), with 0 after the end of a row."""
    table = np.zeros((len(rows), max(map(len, rows))))
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


class Drafts(NamedTuple):
    """Drafts of n rows; what follows after a row's length is 0 and has no meaning."""

    length: IntArray  # (n,) tokens
    token: IntArray  # (n, L)
    ids: IntArray  # the V̂ tokens of each distribution, ascending, (n, L, V̂)
    counts: IntArray  # their probabilities as integers, the largest is 2^Q_B − 1, (n, L, V̂)

    def laws(self, vocabulary_size: int) -> FloatArray:
        """Return the distributions q = c / Σ c, (n, L, V)."""
        law = np.zeros((*self.token.shape, vocabulary_size))
        np.put_along_axis(law, self.ids, self.counts / np.maximum(self.counts.sum(-1, keepdims=True), 1), -1)
        return law


class Texts:
    """Texts of several rows, lists of tokens, and the empty cache of a model that reads them."""

    def __init__(self, sequences: Sequences) -> None:
        self.sequences = sequences
        self.texts: list[list[int]] = [[] for _ in sequences.length]

    def begin(self, row: int, text: Sequence[int]) -> None:
        """Begin a new text, of at least one token; the model reads it up to the last token."""
        rows = np.array([row])
        self.texts[row] = list(text)
        self.sequences.trim(rows, np.zeros(1, dtype=np.int64))
        if len(text) > 1:
            self.sequences.read(rows, [text[:-1]], last=1)

    def extend(self, row: int, accepted: int, new: Sequence[int]) -> None:
        """Append ``new`` tokens, of which the first ``accepted`` were drafted; other drafted tokens leave the cache."""
        self._trim(row, len(self.texts[row]) + accepted)
        self.texts[row] += new

    def unread(self, row: int) -> list[int]:
        """Return the tokens of a text that the model has not read, at least one; a lost draft leaves the cache."""
        self._trim(row, len(self.texts[row]) - 1)
        return self.texts[row][self.sequences.length[row] :]

    def _trim(self, row: int, length: int) -> None:
        rows = np.array([row])
        self.sequences.trim(rows, np.minimum(self.sequences.length[rows], length))


class Drafter(Texts):
    """Device side: drafts from the ``kept`` largest probabilities, rounded to ``bits``."""

    def __init__(self, sequences: Sequences, temperature: float, kept: int, bits: int) -> None:
        super().__init__(sequences)
        self.temperature, self.kept, self.bits = temperature, min(kept, sequences.vocabulary_size), bits

    def draft(self, rows: IntArray, length: IntArray, uniform: FloatArray) -> Drafts:
        """Draft L (n,) ≥ 0 tokens for each of n different rows in one batch; at temperature 0 the most likely ones.

        ``uniform`` (n, longest L) are the numbers of `draft_numbers`. Texts do not change until `extend`.
        """
        drafts = self.blank(length)
        for position in range(drafts.token.shape[1]):
            active = np.flatnonzero(length > position)
            texts = [
                self.unread(row) if position == 0 else [int(drafts.token[index, position - 1])]
                for index, row in zip(active.tolist(), rows[active].tolist(), strict=True)
            ]
            ids, counts = self.rounded_laws(self.sequences.read(rows[active], texts, last=1)[:, 0])
            picked = pick_tokens(counts.astype(np.float64), uniform[active, position])
            drafts.token[active, position] = ids[np.arange(len(active)), picked]
            drafts.ids[active, position], drafts.counts[active, position] = ids, counts
        return drafts

    def blank(self, length: IntArray) -> Drafts:
        """Return drafts (n,) without tokens yet."""
        shape = len(length), int(length.max())
        with memory_errors(f"the token probabilities of a batch of {shape[0]} with {shape[1]} drafted tokens each"):
            ids, counts = np.zeros((2, *shape, self.kept), dtype=np.int64)
        return Drafts(length, np.zeros(shape, dtype=np.int64), ids, counts)

    def rounded_laws(self, logits: Logits) -> tuple[IntArray, IntArray]:
        """Return ascending token ids and counts of Q_B bits, both (n, V̂), of the distributions of ``logits`` (n, V)."""
        law = probabilities(logits, self.temperature, self.sequences.model.name)
        ids: IntArray = np.broadcast_to(np.arange(law.shape[-1]), law.shape)
        if self.kept < law.shape[-1]:
            ids = largest_tokens(law, self.kept)
            law = np.take_along_axis(law, ids, -1)
        return ids, np.rint(law / law.max(-1, keepdims=True) * (2**self.bits - 1)).astype(np.int64)


class Requests(NamedTuple):
    """Requests of all devices: P prompts in the order of `prompt_index`."""

    prompts: Sequence[Sequence[int]]  # tokens of each
    task: IntArray  # task of each, (P,)
    most_tokens: int  # after which a request ends
    room: int  # tokens of a text, so that it and the longest draft fit in the context of both models

    @property
    def longest_text(self) -> int:
        """Maximal tokens of a text."""
        return min(self.room, max(map(len, self.prompts)) + self.most_tokens)


class Verdict(NamedTuple):
    """Result of the verification of n rows."""

    accepted: IntArray  # accepted tokens of the draft, (n,), also those after the end of a request
    token: IntArray  # the server's token after them, (n,)
    gained: IntArray  # tokens that the requests got, up to their end, (n,)
    ended: BoolArray  # whether the request has ended, (n,)


class Verifier(Texts):
    """Server side: requests of K devices, one row for each, and verification of their drafts in one batch."""

    def __init__(self, sequences: Sequences, temperature: float, seed: int, requests: Requests) -> None:
        super().__init__(sequences)
        rows = len(self.texts)
        self.temperature, self.seed, self.requests = temperature, seed, requests
        self.number: IntArray = np.full(rows, -1)  # request of each device, (K,), counted from 0
        self.age: IntArray = np.zeros(rows, dtype=np.int64)  # rounds since the request began, (K,)
        self.task: IntArray = np.zeros(rows, dtype=np.int64)  # its task, (K,)
        self.left: IntArray = np.zeros(rows, dtype=np.int64)  # remaining tokens until its limit, (K,)

    def next_request(self, row: int) -> list[int]:
        """Begin the next request of a device; return its prompt."""
        prompts, task, most_tokens, room = self.requests
        self.number[row] += 1
        prompt = prompt_index(row, int(self.number[row]), len(prompts), len(self.texts), self.seed)
        self.begin(row, prompts[prompt])
        self.task[row], self.age[row] = task[prompt], 0
        self.left[row] = min(most_tokens, room - len(prompts[prompt]))
        return list(prompts[prompt])

    def read(self, rows: IntArray, drafts: Drafts) -> Logits:
        """Return the logits (n, L + 1, V) of the drafts of n different rows."""
        texts = [
            self.unread(row) + token[:length].tolist()
            for row, token, length in zip(rows.tolist(), drafts.token, drafts.length.tolist(), strict=True)
        ]
        return self.sequences.read(rows, texts)

    def accept(self, rows: IntArray, drafts: Drafts, logits: Logits) -> Verdict:
        """Accept drafts given the logits of `read`, and extend the texts by the accepted tokens and one more.

        A request ends with the target's end token or at its limit.
        """
        streams = [[self.seed, _VERIFYING, row, self.number[row], len(self.texts[row])] for row in rows.tolist()]
        sizes = (drafts.length + 1).tolist()
        draws = [np.random.default_rng(stream).random(size) for stream, size in zip(streams, sizes, strict=True)]
        last, uniform = np.split(padded(draws), [1], axis=1)
        with memory_errors(f"the token probabilities of a batch of {len(rows)} with {max(sizes)} tokens each"):
            target = probabilities(logits, self.temperature, self.sequences.model.name)
            verified = verify(target, drafts.laws(target.shape[-1]), drafts.token, drafts.length, uniform, last[:, 0])
            verified = self.replace_last(rows, drafts, target, verified)
        appended = [
            self._append(row, accepted, [*drafted[:accepted], token])
            for row, accepted, drafted, token in zip(
                rows.tolist(), verified.accepted, drafts.token.tolist(), verified.token.tolist(), strict=True
            )
        ]
        gained, ended = np.array(appended).T
        return Verdict(*verified, gained, ended.astype(np.bool_))

    def replace_last(self, rows: IntArray, drafts: Drafts, target: FloatArray, verified: Verified) -> Verified:
        """Replace the tokens after fully accepted drafts, where devices draft ahead."""
        return verified

    def _append(self, row: int, accepted: int, new: list[int]) -> tuple[int, bool]:
        new = new[: self.left[row]]
        last = next((position for position, token in enumerate(new) if token in self.sequences.model.ends), None)
        new = new if last is None else new[: last + 1]
        self.extend(row, accepted, new)
        self.left[row] -= len(new)
        self.age[row] += 1
        return len(new), last is not None or self.left[row] == 0
