"""Servers: laws of verification that were measured."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import multispin_env.registry as tables
from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_real, shown

LAW = ("verification_fixed_time", "verification_time_per_draft", "verification_pieces", "padded_verification")
"""Fields of the law of verification."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A law of verification that was measured: how long a pass takes, and how it is known.

    Parameters
    ----------
    name
        As in `SERVERS`.
    model, source
        What was measured, and where the numbers are from.
    pieces
        (a_j, b_j) in seconds and seconds per token.
    padded
        Whether a pass holds K (max L + 1) tokens.
    draft_time
        T_srv in seconds, where the server was measured with a small model too; ``None`` leaves the scenario's.
    """

    name: str
    model: str
    source: str
    pieces: tuple[tuple[float, float], ...]
    padded: bool = False
    draft_time: float | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of `Scenario` with this law."""
        law: dict[str, Any] = {
            "verification_fixed_time": 0.0,
            "verification_time_per_draft": 0.0,
            "verification_pieces": self.pieces,
            "padded_verification": self.padded,
            "server": self.name,
        }
        return law if self.draft_time is None else law | {"server_draft_time": self.draft_time}


def checked_pieces(pieces: Any) -> tuple[tuple[float, float], ...]:
    """Return pieces (a_j, b_j) as floats; ``ValueError`` where one is no pair of finite numbers ≥ 0."""
    if not isinstance(pieces, tuple | list):
        raise ValueError(f"verification_pieces: expected pairs (s, s/token), got {shown(pieces)}")
    for index, piece in enumerate(pieces):
        if not isinstance(piece, tuple | list) or len(piece) != 2:
            raise ValueError(f"verification_pieces[{index}]: expected a pair (s, s/token), got {shown(piece)}")
        for part in piece:
            check_real(f"verification_pieces[{index}]", part, 0.0)
    return tuple((float(start), float(slope)) for start, slope in pieces)


def line_time(lines: Iterable[Any], x: FloatArray | IntArray | float) -> FloatArray:
    """max_j (a_j + b_j x) in seconds at x (...), for pairs (a_j, b_j) of which there is at least one."""
    (start, slope), *others = lines
    time: FloatArray = np.add(start, slope * x)
    for start, slope in others:
        time = np.maximum(time, start + slope * x)
    return time


def line_slope(lines: Iterable[Any], x: FloatArray | IntArray) -> FloatArray:
    """b_j in seconds for each x of the line that is largest at x (...), of two the steeper; one number for one line."""
    (start, slope), *others = sorted(lines, key=lambda line: float(line[1]))
    time, steepest = start + slope * x, np.asarray(slope)
    for start, slope in others:
        other = start + slope * x
        steepest = np.where(other >= time, slope, steepest)
        time = np.maximum(time, other)
    return steepest


SERVERS: tables.Registry[Server] = tables.SERVERS
"""The laws of verification that were measured."""


def with_law(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a scenario, with the law of the server that they name.

    A field of the law that is given counts more. Where that makes another law than the server's, it has no name.

    Raises
    ------
    ValueError
        For an unknown server; the nearest is suggested.

    Examples
    --------
    >>> from multispin_env.server import with_law
    >>> with_law({"server": "a100-32b"})["verification_fixed_time"]
    0.0
    >>> with_law({"server": "a100-32b", "verification_fixed_time": 0.01})["server"]
    ''
    """
    if not fields.get("server"):
        return dict(fields)
    profile = SERVERS.load(fields["server"]).fields
    law = {**profile, **fields}
    law["verification_pieces"] = checked_pieces(law["verification_pieces"])
    return law if all(law[name] == profile[name] for name in LAW) else law | {"server": ""}
