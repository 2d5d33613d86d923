"""Texts of a record in the making, as lines of its journal."""

from base64 import b64decode, b64encode
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.npz import BOOLEANS, FLOATS, INTEGERS, archive_of, read_arrays

_KINDS = {"length": INTEGERS, "probability": FLOATS, "accepted": BOOLEANS, "overlap": FLOATS}


class RecordedTexts(NamedTuple):
    """Texts of some prompts, one behind the other."""

    length: IntArray  # places of each, (P,)
    probability: FloatArray  # β at each place, (N,), in float16
    accepted: BoolArray  # (N,)
    overlap: FloatArray  # (N,), in float16

    def line(self) -> str:
        """An archive of the arrays, as letters."""
        return b64encode(archive_of(self._asdict())).decode()


def texts_of(line: str) -> RecordedTexts:
    """Texts of a line; ``ValueError`` for one that says no texts."""
    texts = RecordedTexts(**read_arrays(b64decode(line, validate=True), _KINDS))
    if any(len(one) != texts.length.sum() for one in texts[1:]) or min(texts.length, default=0) < 0:
        raise ValueError(f"length: expected {len(texts.accepted)} places in all, got {texts.length.sum()}")
    return texts


def join_texts(groups: list[RecordedTexts]) -> RecordedTexts:
    """All groups as one."""
    return RecordedTexts(*(np.concatenate(arrays) for arrays in zip(*groups, strict=True)))
