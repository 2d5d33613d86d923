"""Texts that a model has read, with keys and values that are kept and trimmed: ragged batches without a copy.

Column s of a row's cache belongs to the token at place s of its text. A pass writes keys and values of its tokens at
their own places, and a token sees the places up to its own. So to forget rejected tokens is to set the row's length
back: what stands behind it is seen by nobody, and is written over by the next tokens. Rows of a pass may have unequal
numbers of tokens: shorter ones are filled up, and what the filling writes stands behind their lengths.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from transformers.cache_utils import Cache, DynamicLayer

from multispin_env.arrays import IntArray
from multispin_env.checks import require
from multispin_env.models.network import Model, memory_for

PART = 256
"""Most tokens of a row in one pass: a longer prompt is read in parts, so that memory is bounded."""

GROWTH = 128
"""Columns by which a cache grows at least."""


class PassPlaces:
    """Where the pass under way writes and reads, for all layers."""

    rows: th.Tensor  # (b,)
    columns: th.Tensor  # (b, q)
    width: int  # columns that are read


class PlacedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of a layer, (rows, heads, columns, width of a head); all layers share ``places``."""

    def __init__(self, places: PassPlaces, rows: int) -> None:
        super().__init__()
        self.places, self.count = places, rows

    def update(self, key_states: th.Tensor, value_states: th.Tensor, *_: Any, **__: Any) -> tuple[th.Tensor, th.Tensor]:
        """Write new keys and values (b, heads, q, d) at their places; return the rows' up to the last column."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = (one.new_zeros(self._shape(one, 0)) for one in (key_states, value_states))
        places = self.places
        if places.width > self.keys.shape[2]:
            extra = max(places.width - self.keys.shape[2], GROWTH)
            self.keys, self.values = (
                th.cat([one, one.new_zeros(self._shape(one, extra))], 2) for one in (self.keys, self.values)
            )
        at = (places.rows[:, None], slice(None), places.columns)
        self.keys[at] = key_states.transpose(1, 2)
        self.values[at] = value_states.transpose(1, 2)
        return self.keys[places.rows, :, : places.width], self.values[places.rows, :, : places.width]

    def _shape(self, states: th.Tensor, columns: int) -> tuple[int, ...]:
        return (self.count, states.shape[1], columns, states.shape[3])


class Sequences:
    """Texts of some rows, as far as a model has read them; logits behind the vocabulary are dropped."""

    def __init__(self, model: Model, rows: int, vocabulary_size: int) -> None:
        self.model, self.vocabulary_size = model, vocabulary_size
        self.length: IntArray = np.zeros(rows, dtype=np.int64)
        """Tokens of each row that have been read, (rows,)."""
        self._places = PassPlaces()
        layers = [PlacedLayer(self._places, rows) for _ in range(model.network.config.num_hidden_layers)]
        self._cache = Cache(layers=layers)

    def trim(self, rows: IntArray, length: IntArray) -> None:
        """Forget all but the first tokens of these rows, (b,)."""
        require("length", length, (length >= 0) & (length <= self.length[rows]), "0 to the tokens that were read")
        self.length[rows] = length

    def read(self, rows: IntArray, texts: Sequence[Sequence[int]], last: int | None = None) -> th.Tensor:
        """Read more tokens of some rows (b,), all different, at least one of each, in one batch.

        Returns logits (b, q, V) after each token of a row, q the tokens of the longest text; those of filling are
        meaningless. With ``last`` they are so many, and end with the row's last token. ``ValueError`` if a text would
        become longer than the model's context; ``MemoryError`` says batch and tokens.
        """
        counts = np.array([len(text) for text in texts])
        require("texts", counts, counts >= max(1, last or 1), f"at least {max(1, last or 1)} tokens of each row")
        longest = int(counts.max())
        if int(self.length[rows].max()) + longest > self.model.context:
            raise ValueError(
                f"tokens: expected a text of at most {self.model.context}, the context of {self.model.name!r}, "
                f"got {int(self.length[rows].max()) + longest}"
            )
        ids = np.zeros((len(counts), longest), dtype=np.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = text
        logits = self._read_parts(rows, ids, counts, last)
        self.length[rows] += counts
        if last is None:
            return logits
        index = th.as_tensor(counts[:, None] - last + np.arange(last), device=logits.device) - (
            longest - logits.shape[1]
        )
        return logits.gather(1, index[..., None].expand(-1, -1, logits.shape[-1]))

    def _read_parts(self, rows: IntArray, ids: IntArray, counts: IntArray, last: int | None) -> th.Tensor:
        """Logits of the columns that are wanted; all parts but the last few columns are read without them."""
        longest = ids.shape[1]
        first = 0 if last is None else max(0, int(counts.min()) - last)  # first column with a wanted logit
        kept = []
        for begin in range(0, longest, PART):
            end = min(begin + PART, longest)
            part = self._pass(rows, ids[:, begin:end], begin, max(0, end - max(begin, first)))
            if part is not None:
                kept.append(part)
        return kept[0] if len(kept) == 1 else th.cat(kept, 1)

    @th.inference_mode()
    def _pass(self, rows: IntArray, ids: IntArray, begin: int, wanted: int) -> th.Tensor | None:
        """One pass of the network; logits of the last ``wanted`` columns."""
        device = self.model.device
        columns = self.length[rows][:, None] + begin + np.arange(ids.shape[1])
        places = self._places
        places.width = int(columns.max()) + 1
        places.rows, places.columns = (th.as_tensor(one, device=device) for one in (rows, columns))
        seen = th.arange(places.width, device=device) <= places.columns[:, None, :, None]  # (b, 1, q, width)
        arguments: dict[str, Any] = {
            "input_ids": th.as_tensor(ids, device=device),
            "position_ids": places.columns,
            "attention_mask": mask_of(seen, self.model.network.dtype),
            self.model.cache_argument: self._cache,
            "use_cache": True,
            "logits_to_keep": max(wanted, 1),
        }
        with memory_for(f"a batch of {ids.shape[0]} with {ids.shape[1]} tokens each, {places.width} with those before"):
            logits: th.Tensor = self.model.network(**arguments).logits
        return logits[..., : self.vocabulary_size] if wanted else None


def mask_of(seen: th.Tensor, dtype: th.dtype) -> th.Tensor:
    """What is added to the attention's scores, where only what is ``seen`` counts: 0 or the lowest number."""
    return th.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, th.finfo(dtype).min)
