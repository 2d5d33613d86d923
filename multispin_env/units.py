"""Conversions of units; nowhere else in the package is ``10 ** (x / 10)`` written."""

import math
from typing import TypeVar

import numpy as np

from multispin_env.arrays import FloatArray

Numbers = TypeVar("Numbers", float, FloatArray)

MHZ = 1e6  # Hertz in one megahertz
MS = 1e-3  # Seconds in one millisecond
BITS_PER_NAT = 1.0 / math.log(2.0)  # log2 x = BITS_PER_NAT ln x


def db_to_linear(decibel: Numbers) -> Numbers:
    """Power ratio of a value in dB, or of each of an array."""
    return 10.0 ** (decibel / 10.0)


def linear_to_db(ratio: Numbers) -> Numbers:
    """Value in dB of a power ratio above zero, or of each of an array."""
    return 10.0 * np.log10(ratio)


def index_bits(size: int) -> int:
    """Bits that name one of ``size`` things: ⌈log2 size⌉, exact for every integer ≥ 1."""
    return (size - 1).bit_length()
