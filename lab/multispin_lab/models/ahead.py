"""Lossless rounds of real models whose devices draft ahead: see docs/evidence/drafting-ahead.md.

A device's chain holds the tokens drafted after its text. Each token is argmin_x E_x / q(x), where q is the draft's
distribution and E are exponential variables of the position. So a chain that is kept equals a new draft, and texts do
not depend on how far a device drafts ahead.
"""

from collections.abc import Sequence

import numpy as np
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_lab.models.engine import Sequences, memory_errors
from multispin_lab.models.halves import Drafter, Drafts, Requests, Verifier
from multispin_lab.models.rounds import RoundResult, play_round
from multispin_lab.models.sampling import Verified

DEVICE, SERVER = 3, 4
"""Part of the seed of the exponential variables, for separate random streams."""


def _exponential(stream: Sequence[int], size: int) -> FloatArray:
    return np.random.default_rng(stream).standard_exponential(size)


class ChainDrafter(Drafter):
    """Devices that draft ahead; with the seed of the `ChainVerifier`."""

    def __init__(self, sequences: Sequences, temperature: float, kept: int, bits: int, seed: int) -> None:
        super().__init__(sequences, temperature, kept, bits)
        rows = len(self.texts)
        self._seed, self._number = seed, [-1] * rows
        self.chains: list[list[tuple[int, IntArray, IntArray]]] = [[] for _ in range(rows)]
        """Tokens after each text, with ids and counts (V̂,) of the distribution that each was drawn from."""
        self.ahead: IntArray = np.zeros(rows, dtype=np.int64)
        """Tokens that each device drafts after the guess in the next round, (K,)."""
        self.hit: BoolArray = np.zeros(rows, dtype=bool)
        """Whether the last draft was accepted and the server's token was the guess, (K,)."""
        self._length: IntArray = np.zeros(rows, dtype=np.int64)

    @override
    def begin(self, row: int, text: Sequence[int]) -> None:
        super().begin(row, text)
        self._number[row] += 1
        self.chains[row] = []

    @override
    def extend(self, row: int, accepted: int, new: Sequence[int]) -> None:
        super().extend(row, accepted, new)
        chain, size = self.chains[row], int(self._length[row])
        self.hit[row] = accepted == size and new[-1] == chain[size][0]
        self.chains[row] = chain[size + 1 :] if self.hit[row] else []

    @override
    def draft(self, rows: IntArray, length: IntArray, uniform: FloatArray) -> Drafts:
        """Return the first L (n,) tokens of each chain, which then has a guess and ``ahead`` more tokens."""
        self._grow(rows, length + 1 + self.ahead[rows])
        self._length[rows] = length
        drafts = self.blank(length)
        for index, (row, size) in enumerate(zip(rows.tolist(), length.tolist(), strict=True)):
            for position, (token, ids, counts) in enumerate(self.chains[row][:size]):
                drafts.token[index, position] = token
                drafts.ids[index, position], drafts.counts[index, position] = ids, counts
        return drafts

    def _grow(self, rows: IntArray, size: IntArray) -> None:
        texts, chains = self.texts, self.chains
        while True:
            active = rows[size > [len(chains[row]) for row in rows.tolist()]]
            if not len(active):
                return
            longer = [texts[row] + [token for token, *_ in chains[row]] for row in active.tolist()]
            read = self.sequences.length[active].tolist()
            unread = [text[length:] for text, length in zip(longer, read, strict=True)]
            with memory_errors(f"the token probabilities of {len(active)} chains of up to {int(size.max())} tokens"):
                laws = self.rounded_laws(self.sequences.read(active, unread, last=1)[:, 0])
            for row, text, ids, counts in zip(active.tolist(), longer, *laws, strict=True):
                stream = [self._seed, DEVICE, row, self._number[row], len(text)]
                exponential = _exponential(stream, self.sequences.vocabulary_size)
                chains[row].append((int(ids[(counts / exponential[ids]).argmax()]), ids, counts))


class ChainVerifier(Verifier):
    """Server of devices that draft ahead.

    With the scenario's guess ``"shared-seed"`` it draws the token after an accepted draft with the exponential
    variables of the device, else with others. At temperature 0 both give the same token.
    """

    def __init__(self, sequences: Sequences, temperature: float, seed: int, requests: Requests, guess: str) -> None:
        super().__init__(sequences, temperature, seed, requests)
        self._stream = DEVICE if guess == "shared-seed" else SERVER

    @override
    def replace_last(self, rows: IntArray, drafts: Drafts, target: FloatArray, verified: Verified) -> Verified:
        token = verified.token.copy()
        for index in np.flatnonzero(verified.accepted == drafts.length).tolist():
            size = int(drafts.length[index])
            token[index] = self.last_token(target[index, size], int(rows[index]), size)
        return Verified(verified.accepted, token)

    def last_token(self, law: FloatArray, row: int, size: int) -> int:
        """Draw the token after a fully accepted draft from the target's distribution (V,).

        It must not depend on the device's guess, or texts would not follow the target's distribution.
        """
        stream = [self.seed, self._stream, row, int(self.number[row]), len(self.texts[row]) + size]
        return int((law / _exponential(stream, len(law))).argmax())


def play_chains(
    drafter: ChainDrafter, verifier: Verifier, seeds: Sequence[int], length: IntArray, ahead: IntArray
) -> RoundResult:
    """Play a round as `play_round`, in which each device drafts a guess and ``ahead`` (K,) more tokens."""
    drafter.ahead = ahead
    return play_round(drafter, verifier, seeds, length)._replace(hit=drafter.hit.copy())
