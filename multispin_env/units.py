"""Unit conversions."""

import math
from typing import TypeVar

from multispin_env.arrays import FloatArray

Numbers = TypeVar("Numbers", float, FloatArray)

MHZ = 1e6  # Hertz in one megahertz
MS = 1e-3  # Seconds in one millisecond
BITS_PER_NAT = 1.0 / math.log(2.0)  # log2 x = BITS_PER_NAT ln x


def db_to_linear(decibel: Numbers) -> Numbers:
    """Convert dB to a power ratio, elementwise."""
    return 10.0 ** (decibel / 10.0)


def index_bits(size: int) -> int:
    """Return ⌈log2 size⌉, the bits of an index into ``size`` items, exact for every integer ≥ 1."""
    return (size - 1).bit_length()
