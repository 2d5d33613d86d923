"""Checks of what users hand in; each error is one sentence: the field, the value, what is allowed."""

import difflib
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray


def _suggestion(name: object, allowed: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_name(kind: str, name: object, allowed: Iterable[str]) -> None:
    """``ValueError`` unless ``name`` is one of ``allowed``; the nearest is suggested."""
    names = tuple(allowed)
    if name not in names:
        raise ValueError(f"{kind}: got {name!r}, allowed is one of {list(names)}{_suggestion(name, names)}")


def check_keywords(owner: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    """``TypeError`` for the first keyword of ``given`` that is not in ``allowed``; the nearest is suggested."""
    names = tuple(allowed)
    for keyword in given:
        if keyword not in names:
            raise TypeError(
                f"{owner}: unknown keyword {keyword!r}, allowed are {list(names)}{_suggestion(keyword, names)}"
            )


def check_bool(field: str, value: Any) -> bool:
    """Return ``value``, or ``ValueError`` if it is neither true nor false."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{field}: got {value!r}, allowed is True or False")
    return bool(value)


def check_integer(field: str, value: Any, low: int, high: int | None = None) -> int:
    """Return ``value`` as ``int``, or ``ValueError`` if it is no integer in [low, high]."""
    allowed = f"an integer ≥ {low}" if high is None else f"an integer in {low}..{high}"
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or int(value) < low or (high is not None and int(value) > high):
        raise ValueError(f"{field}: got {value!r}, allowed is {allowed}")
    return int(value)


def check_real(
    field: str,
    value: Any,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return ``value`` as ``float``, or ``ValueError`` if it is not a finite number in the interval."""
    interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high or np.isinf(high) else ']'}"
    problem = f"{field}: got {value!r}, allowed is a finite number in {interval}"
    if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
        raise ValueError(problem)
    number = float(value)
    below = number <= low if open_low else number < low
    above = number >= high if open_high else number > high
    if below or above:
        raise ValueError(problem)
    return number


def check_array(field: str, value: Any) -> FloatArray:
    """Return ``value`` as a float64 array, or ``ValueError`` if it is not numeric and finite everywhere."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{field}: got {value!r}, allowed is an array of numbers") from error
    require(field, array, np.isfinite(array), "finite numbers")
    return array


def require(field: str, array: NDArray[Any], good: BoolArray, allowed: str) -> None:
    """``ValueError`` naming the first entry of ``array`` that is not ``good``."""
    if good.all():
        return
    index = tuple(int(i) for i in np.argwhere(~good)[0])
    where = f"[{', '.join(map(str, index))}]" if index else ""
    raise ValueError(f"{field}{where}: got {array[index]}, allowed are {allowed}")
