"""Recorded texts: at each place of the target's own text, what would become of a token of the draft model.

The draft model samples a token x ~ q in the true context, and the target accepts it with β = min(1, p(x) / q(x)). The
text goes on with the accepted token, or with a draw from max(0, p − q). So it has the target's own law, and outcome and
context stay coupled. No draft length enters.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch as th

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.models.network import Pair, memory_for
from multispin_env.models.sampling import acceptance, overlap, pick_tokens, probabilities, residual
from multispin_env.models.sequences import Sequences


class Text(NamedTuple):
    """What was recorded along a text of n places, or at a place of n texts."""

    token: IntArray  # the text, (n,)
    probability: FloatArray  # β of the token that was proposed at each place, (n,)
    accepted: BoolArray  # whether it was accepted, (n,)
    overlap: FloatArray  # Σ_x min(p, q), (n,)


def record_texts(
    pair: Pair,
    prompts: Sequence[Sequence[int]],
    first: int,
    tokens: int,
    temperature: float,
    seed: int,
    report: Callable[[int], None] = lambda done: None,
) -> list[Text]:
    """Record texts in one batch, a token of each at a time.

    A text ends behind the target's end token, after so many ``tokens``, or at the end of the context. ``first`` is the
    number of the first prompt among all: each has random numbers of its own, which follow from ``seed`` and its number.
    ``report`` is called with the number of tokens that the longest texts have. ``MemoryError`` says batch and tokens.
    """
    rngs = [np.random.default_rng([seed, first + row]) for row in range(len(prompts))]
    models = [pair.target] if pair.draft is pair.target else [pair.target, pair.draft]
    readers = [Sequences(model, len(prompts), pair.vocabulary_size) for model in models]
    places: list[list[tuple[int, float, bool, float]]] = [[] for _ in prompts]
    # one prompt at a time: in a batch, logits of all columns from the shortest prompt's end on would be kept
    logits = [
        th.cat([one.read(np.array([row]), [text], 1)[:, -1] for row, text in enumerate(prompts)]) for one in readers
    ]
    rows: IntArray = np.arange(len(prompts))
    while True:
        with memory_for(f"the probabilities of a batch of {len(rows)}"):
            place = _place(logits, temperature, np.array([rngs[row].random(3) for row in rows]))
        for row, *numbers in zip(rows, *(part.tolist() for part in place), strict=True):
            places[row].append(tuple(numbers))
        report(max(map(len, places)))
        going = [
            len(places[row]) < tokens
            and token not in pair.target.ends
            and len(prompts[row]) + len(places[row]) <= pair.context
            for row, token in zip(rows.tolist(), place.token.tolist(), strict=True)
        ]
        rows, last = rows[going], place.token[going]
        if not len(rows):
            return [Text(*map(np.array, zip(*one, strict=True))) for one in places]
        logits = [one.read(rows, last[:, None].tolist(), 1)[:, -1] for one in readers]


def _place(logits: Sequence[th.Tensor], temperature: float, uniform: FloatArray) -> Text:
    """One place of b texts: ``logits`` (b, V) of the target and, if it is another, the draft; ``uniform`` (b, 3)."""
    p, q = (probabilities(logits[index], temperature) for index in (0, -1))
    proposed = pick_tokens(q, uniform[:, 0])
    beta = acceptance(p, q, proposed)
    accepted = uniform[:, 1] < beta
    token = np.where(accepted, proposed, pick_tokens(residual(p, q), uniform[:, 2]))
    return Text(token, beta, accepted, overlap(p, q))
