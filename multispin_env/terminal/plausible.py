"""Numbers that are right in another unit alone, as a TPOT of 65: such an option is one sentence, not an answer."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np


class Unit(NamedTuple):
    """Unit of an option, the same in all commands, and numbers that can be meant."""

    name: str
    low: float = 0.0
    high: float = np.inf
    factor: float = 1e-3  # from the unit that is mistaken for it


UNITS: Mapping[str, Unit] = MappingProxyType(
    {
        "ttft": Unit("seconds", high=100.0),
        "tpot": Unit("seconds", high=5.0),
        "e2el": Unit("seconds", high=1e4),
        "e2el_per_token": Unit("seconds", high=5.0),
        "draft_time": Unit("seconds", high=1.0),
        "total_bandwidth": Unit("Hz", low=1e3, factor=1e6),
        "percent": Unit("percent", low=1.0, factor=100.0),
    }
)
"""By the names of options."""


def check_plausible(options: Mapping[str, Any]) -> None:
    """``ValueError`` for an option whose number must have been meant in another unit; it says which number that is.

    Numbers that are not above 0 or not finite are left to who reads them.
    """
    for option, unit in UNITS.items():
        value = options.get(option)
        if not isinstance(value, int | float) or not 0.0 < value < np.inf or unit.low <= value <= unit.high:
            continue
        limit = f"at least {unit.low:g}" if value < unit.low else f"at most {unit.high:g}"
        raise ValueError(
            f"{option}: expected {unit.name}, {limit}, got {value:g}; did you mean {value * unit.factor:g}?"
        )
