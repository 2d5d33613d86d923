"""Language models of the user: the interface of the engines that run them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from multispin_env.arrays import IntArray
from multispin_env.checks import require, shown
from multispin_lab.models.sampling import Logits


@dataclass(frozen=True, eq=False, kw_only=True)
class Model(ABC):
    """A causal language model and its tokenizer."""

    name: str  # as given by the user
    context: int  # maximal tokens of a text with its prompt
    vocabulary: Mapping[str, int]  # from tokens to ids
    vocabulary_size: int  # V; further logits are padding of the last layer
    ends: frozenset[int]  # tokens that end a text
    num_weights: int
    dtype: str  # of the weights
    device: str  # that runs it, with its threads

    packages: ClassVar[tuple[str, ...]]
    """Packages of the engine, whose versions are reported."""

    def encode(self, prompt: str, raw: bool = False) -> list[int]:
        """Encode a prompt, in the model's chat template if it has one, unless ``raw``; ``ValueError`` for no tokens."""
        if tokens := self.tokens(prompt, raw):
            return tokens
        raise ValueError(f"prompt: expected text of at least one token, got {shown(prompt)}")

    @abstractmethod
    def tokens(self, prompt: str, raw: bool) -> list[int]:
        """Encode a prompt as `encode`."""

    @abstractmethod
    def sequences(self, rows: int, vocabulary_size: int, room: int | None = None) -> "Sequences":
        """Return an empty cache for ``rows`` texts of at most ``room`` tokens (default: the context)."""

    def memory(self) -> dict[str, Any]:
        """Return the fields of a server for the memory of its GPU; none on a processor."""
        return {}


class Sequences(ABC):
    """Key-value cache of a model for the texts of several rows."""

    def __init__(self, model: Model, rows: int, vocabulary_size: int, room: int | None) -> None:
        self.model, self.vocabulary_size = model, vocabulary_size
        self.room = model.context if room is None else min(room, model.context)
        self.length: IntArray = np.zeros(rows, dtype=np.int64)  # tokens read of each row, (rows,)

    def trim(self, rows: IntArray, length: IntArray) -> None:
        """Remove all but the first ``length`` (b,) tokens of rows (b,)."""
        require("length", length, (length >= 0) & (length <= self.length[rows]), "0 to the tokens that were read")
        self._trim(rows, length)
        self.length[rows] = length

    def read(self, rows: IntArray, texts: Sequence[Sequence[int]], last: int | None = None) -> Logits:
        """Read at least one more token of each of several different rows (b,), in one batch.

        Returns the logits (b, q, V) after each token, without padding of the vocabulary; q is the length of the longest
        text, and logits of padding are meaningless. With ``last``, only those after the last ``last`` tokens of each
        row. ``ValueError`` if a text would exceed the room; ``MemoryError`` names batch and tokens.
        """
        counts = np.array([len(text) for text in texts])
        require("texts", counts, counts >= (last or 1), f"at least {last or 1} tokens of each row")
        if (size := int((self.length[rows] + counts).max())) > self.room:
            expected = f"a text of at most {self.room} tokens for {self.model.name!r}"
            raise ValueError(f"tokens: expected {expected}, got {size}")
        logits = self._read(rows, texts, counts, last)
        self.length[rows] += counts
        return logits

    @abstractmethod
    def _trim(self, rows: IntArray, length: IntArray) -> None: ...

    @abstractmethod
    def _read(self, rows: IntArray, texts: Sequence[Sequence[int]], counts: IntArray, last: int | None) -> Logits: ...


@contextmanager
def memory_errors(purpose: str) -> Iterator[None]:
    """Turn errors of NumPy and torch for lack of memory into ``MemoryError`` with the purpose of the memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or any(part in str(error) for part in ("allocate memory", "out of memory")):
            raise MemoryError(purpose) from None
        raise


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its class."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def on_threads(device: str, threads: int) -> str:
    """Return the text of a device with its threads."""
    return f"{device} with {threads} thread{'' if threads == 1 else 's'}"


@dataclass(frozen=True, eq=False)
class Pair:
    """A draft and a target model; ``ValueError`` unless all tokens have equal ids in both."""

    draft: Model
    target: Model

    def __post_init__(self) -> None:
        if self.draft is self.target:
            return
        small, large = self.draft.vocabulary, self.target.vocabulary
        if small != large:
            differing = sorted(token for token in {*small, *large} if small.get(token) != large.get(token))
            raise ValueError(
                f"draft: expected the vocabulary of the target ({len(large)} tokens), got {len(small)} tokens; "
                f"{len(differing)} differ, the first is {shown(differing[0])}"
            )

    @cached_property
    def vocabulary_size(self) -> int:
        """V of both models."""
        return min(self.draft.vocabulary_size, self.target.vocabulary_size)

    @property
    def context(self) -> int:
        """Maximal tokens of a text for both models."""
        return min(self.draft.context, self.target.context)
