"""Laws of verification fitted to measured passes.

Each law is a maximum of affine pieces a + b n of the n tokens in a pass, a, b ≥ 0, whose largest relative error is
least (`multispin_lab.models.passes`). The table has the pieces, the error, and that of the profile that ships with
the package.
"""

from argparse import Namespace
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.tools import Row, show
from multispin_env.registry import SERVERS
from multispin_env.server import line_time
from multispin_env.units import MS
from multispin_lab.models.passes import fit_law


class Measured(NamedTuple):
    """Milliseconds of a pass by its tokens, and number of pieces of its law."""

    tokens: tuple[int, ...]
    milliseconds: tuple[float, ...]
    pieces: int = 1


TOKENS = (128, 256, 384, 512, 640, 768, 896, 1024)

TABLES = {
    "a100-7b-gemm": Measured(
        (1, 64, 96, 128, 160, 256, 384, 512, 768, 1024),
        (9.5, 10.0, 11.3, 11.8, 15.1, 15.5, 26.4, 29.5, 41.9, 54.6),
        pieces=2,
    ),
    "a100-32b": Measured(TOKENS, (48, 66, 84, 104, 124, 144, 164, 188)),
    "a100-70b": Measured(TOKENS, (55, 85, 105, 125, 145, 165, 185, 205)),
}
"""Measured passes; sources are in the profiles in ``multispin_env/data/servers``."""


def rows() -> Iterator[Row]:
    for name, table in TABLES.items():
        tokens, times = np.array(table.tokens, dtype=np.float64), np.array(table.milliseconds)
        fitted = fit_law(tokens, times, table.pieces)
        law = " or ".join(f"{start:.3f} + {slope:.5f} n" for start, slope in fitted.pieces)
        shipped = np.abs(line_time(np.array(SERVERS.load(name).pieces) / MS, tokens) / times - 1.0).max()
        yield {"server": name, "largest of (ms)": law, "fit": f"{fitted.error:.2%}", "profile": f"{shipped:.2%}"}


def run(_: Namespace) -> None:
    show("largest errors", rows())
