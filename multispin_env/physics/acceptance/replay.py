"""Tables that make replaying a record a lookup: runs, expectations and the rate of each prompt (ours).

Texts are circular: behind its last place a prompt goes on with its first, so that no place is special.
"""

from functools import lru_cache

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.acceptance.records import Records
from multispin_env.physics.tokens import expected_tokens

ENDLESS = np.iinfo(np.int64).max  # Run of a prompt that accepts everything
FITTED_LENGTHS = np.arange(1, 17)  # Draft lengths that the rate of a prompt is fitted to
FITTED_ROUNDS = 16  # Rounds from each place that the rate of a prompt is fitted to


def advance(records: Records, place: IntArray, tokens: FloatArray | IntArray) -> IntArray:
    """Place behind some tokens, in the same prompt; arrays of one shape."""
    prompt = records.prompt[place]
    start, length = records.start[prompt], records.length[prompt]
    return start + (place - start + np.asarray(tokens).astype(np.int64)) % length


@lru_cache(maxsize=8)
def accepted_runs(records: Records) -> IntArray:
    """Tokens accepted in a row from each place, (N,); `ENDLESS` where the prompt rejects nothing."""
    place = np.arange(len(records.accepted))
    rejected = np.flatnonzero(~records.accepted)
    # for each prompt the index of its first rejection in this list, and that of the next prompt's
    bounds = np.searchsorted(rejected, np.append(records.start, len(place)))
    first, end = bounds[:-1][records.prompt], bounds[1:][records.prompt]
    following = np.searchsorted(rejected, place)
    wraps = following == end
    target = np.append(rejected, 0)[np.where(wraps, first, following)] + wraps * records.length[records.prompt]
    return np.where(first == end, ENDLESS, target - place)


@lru_cache(maxsize=8)
def expected_table(records: Records, longest: int) -> FloatArray:
    """E[N] = 1 + Σ_{l=1..L} β_t ⋯ β_{t+l−1} from each place t, (N, longest + 1) with column L."""
    place = np.arange(len(records.probability))
    following = advance(records, place, np.ones_like(place))
    table = np.ones((len(place), longest + 1))
    reached = np.ones(len(place))  # probability that the first l tokens are accepted
    at = place
    for length in range(1, longest + 1):
        reached = reached * records.probability[at]
        table[:, length] = table[:, length - 1] + reached
        at = following[at]
    return table


@lru_cache(maxsize=8)
def prompt_rates(records: Records) -> FloatArray:
    """The i.i.d. rate of each prompt, (P,), in [0, 1].

    It is the α whose E[N | L] ([MS] 12) is right on average: over L = 1..16, the ratios of the formula to the mean
    tokens of a replayed round have mean 1. That mean is over 16 rounds from every place of the prompt, with β for
    what each round gains and the record for where the next one begins. The plain mean of β does not serve: a round
    begins behind a rejection, where acceptance is low, and inside a round acceptance rises with the place.
    """
    replayed = replayed_expectations(records)  # (lengths, P)
    lengths = FITTED_LENGTHS[:, None]
    low, high = np.zeros(len(records.length)), np.ones(len(records.length))
    for _ in range(60):
        middle = (low + high) / 2.0
        below = (expected_tokens(lengths, middle) / replayed).mean(0) < 1.0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return high


@lru_cache(maxsize=8)
def replayed_expectations(records: Records) -> FloatArray:
    """Mean expected tokens of a replayed round, for each L of `FITTED_LENGTHS` and each prompt, (lengths, P)."""
    table, runs = expected_table(records, int(FITTED_LENGTHS[-1])), accepted_runs(records)
    lengths = FITTED_LENGTHS[:, None]
    place = np.broadcast_to(np.arange(len(runs)), (len(lengths), len(runs)))
    total = np.zeros(place.shape)
    for _ in range(FITTED_ROUNDS):
        total += table[place, lengths]
        place = advance(records, place, np.minimum(runs[place], lengths) + 1)
    return np.add.reduceat(total, records.start, axis=1) / (records.length * FITTED_ROUNDS)
