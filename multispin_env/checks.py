"""Checks of user input; each error is one sentence with the field, the expected value and the value passed."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field, fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from types import FunctionType, MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from multispin_env.arrays import Array, BoolArray, FloatArray

INT64_MAX = 2**63 - 1  # Default upper limit of integers
_LONGEST_LABEL = 100  # Characters of a name
_MOST_SHOWN = 200  # Characters of a value in a message
_ENDS = 5  # Names from each end of a list in a message


def shown(value: object) -> str:
    """Return the text of a value for messages, shortened if it is long."""
    try:
        return cut(repr(value))
    except (ValueError, RecursionError):  # too many digits, or nested too deeply
        return f"a very large {type(value).__name__}"


def _printable(text: str) -> str:
    line = (text.splitlines() or [""])[0]  # control characters, which would change the terminal, are escaped below
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)


def cut(text: str) -> str:
    """Return the first line of a text, printable and of at most `_MOST_SHOWN` characters."""
    line = _printable(text)
    return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}..."


def reason(error: BaseException | str) -> str:
    """Return an error as one line: its type, unless it is a ``ValueError`` or ``TypeError``, and its text."""
    kind = "" if isinstance(error, ValueError | TypeError | str) else type(error).__name__
    return _printable(": ".join(filter(None, (kind, str(error)))))


def suggestion(name: object, expected: tuple[str, ...], likeness: float = 0.5) -> str:
    """Return ``"; did you mean ...?"`` with the closest expected name, or "" if none is close."""
    if not isinstance(name, str):
        return ""
    near = difflib.get_close_matches(name[:_MOST_SHOWN], expected, n=1, cutoff=likeness)
    return f"; did you mean {near[0]!r}?" if near else ""


def listed(names: Iterable[str]) -> str:
    """Return the text of a list of names for messages: of more than ten, both ends and the number of the others."""
    texts = [repr(name) for name in names]
    if (others := len(texts) - 2 * _ENDS) > 0:  # the last are those that a user registered
        texts[_ENDS:-_ENDS] = [f"... {others} more ..."]
    return f"[{', '.join(texts)}]"


def check_name(kind: str, name: object, expected: Iterable[str]) -> None:
    """Raise ``ValueError`` unless ``name`` is one of ``expected``; the message suggests the closest."""
    names = tuple(expected)
    if name not in names:
        raise ValueError(f"{kind}: expected one of {listed(names)}, got {shown(name)}{suggestion(name, names)}")


def check_keywords(owner: str, keywords: Iterable[str], expected: Iterable[str]) -> None:
    """Raise ``TypeError`` for the first keyword that is not in ``expected``; the message suggests the closest."""
    names = tuple(expected)
    for keyword in keywords:
        if keyword not in names:
            raise TypeError(
                f"{owner}: got an unexpected keyword argument {shown(keyword)}"  # other libraries search for this
                f"{suggestion(keyword, names)} (expected one of {listed(names)})"
            )


def check_complete(what: str, names: Iterable[str], expected: Iterable[str]) -> None:
    """Raise ``ValueError`` for an unexpected name (the message suggests the closest) or a missing one."""
    required, names = tuple(expected), tuple(names)
    for name in names:
        check_name(f"{what}: field", name, required)
    for name in required:
        if name not in names:
            raise ValueError(f"{what}: expected the field {name!r}, got no such field")


def missing_package(package: str, extra: str = "") -> ModuleNotFoundError:
    """Return the error for a missing package, with the command that installs it, or this package's ``extra``."""
    requirement = f'"multispin_env[{extra}]"' if extra else package
    text = f"the package {package!r} is missing; install it with: pip install {requirement}"
    return ModuleNotFoundError(text, name=package)


def check_label(field: str, value: Any) -> str:
    """Return ``value``; ``ValueError`` unless it is one line of at most `_LONGEST_LABEL` printable characters."""
    if not (isinstance(value, str) and len(value) <= _LONGEST_LABEL and value.isprintable()):
        expected = f"a text of one line, at most {_LONGEST_LABEL} printable characters"
        raise ValueError(f"{field}: expected {expected}, got {shown(value)}")
    return value


def check_instance(field: str, value: object, kind: type[Any], expected: str = "") -> None:
    """Raise ``ValueError`` unless ``value`` is an instance of ``kind``, which the message calls ``expected``."""
    if isinstance(value, type) or not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise ValueError(f"{field}: expected {expected or f'{article} {kind.__name__}'}, got {shown(value)}")


def check_rng(field: str, value: Any) -> np.random.Generator:
    """Return a generator, or make one from a seed; ``ValueError`` if ``value`` is neither."""
    try:
        return np.random.default_rng(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{field}: expected a numpy.random.Generator or a seed, got {shown(value)}") from error


def check_bool(field: str, value: Any) -> bool:
    """Return ``value`` as ``bool``; ``ValueError`` if it is neither true nor false."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{field}: expected True or False, got {shown(value)}")
    return bool(value)


def check_integer(field: str, value: Any, low: int, high: int | None = None) -> int:
    """Return ``value`` as ``int``; ``ValueError`` unless it is an integer in [low, high], by default to `INT64_MAX`."""
    whole = type(value) is int or (isinstance(value, Integral) and not isinstance(value, bool))
    most = INT64_MAX if high is None else high
    if not whole or not low <= int(value) <= most:
        too_large = whole and int(value) > most
        expected = f"an integer ≥ {low}" if high is None and not too_large else f"an integer in {low}..{most}"
        raise ValueError(f"{field}: expected {expected}, got {shown(value)}")
    return int(value)


def as_float(value: Any) -> float:
    """Return a number as ``float``; infinity if it overflows, NaN for what is no real number."""
    if type(value) is float:  # checks of abstract classes are slow
        return value
    if not isinstance(value, Real):
        return np.nan
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf  # type: ignore[operator]


def check_real(
    field: str,
    value: Any,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return ``value`` as ``float``; ``ValueError`` unless it is a finite number in the interval."""
    number = np.nan if isinstance(value, bool) else as_float(value)
    below = number <= low if open_low else number < low
    above = number >= high if open_high else number > high
    if below or above or not -np.inf < number < np.inf:
        interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high or np.isinf(high) else ']'}"
        raise ValueError(f"{field}: expected a finite number in {interval}, got {shown(value)}")
    return number


@contextmanager
def located(where: object) -> Iterator[None]:
    """Begin the message of a ``ValueError`` with where it is, such as a file or a line."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


class _Unit(NamedTuple):
    """Unit of an argument and its plausible range.

    ``factor`` converts a number that is too high, and its inverse one that is too low; NaN if several units are likely.
    """

    name: str
    low: float = 0.0
    high: float = np.inf
    factor: float = 1e-3


_UNITS = {
    "draft_time mean_draft_time server_draft_time draft_time_s sustained_time": _Unit("seconds", high=1.0),
    "draft_pieces server_draft_pieces draft_round_time server_draft_round_time": _Unit("seconds", high=1.0),
    "fixed_time time_per_draft pieces": _Unit("seconds", high=5.0),
    "verification_fixed_time verification_time_per_draft verification_pieces": _Unit("seconds", high=5.0),
    "context_time draft_context_time server_draft_context_time": _Unit("seconds", high=1e-3, factor=np.nan),
    "round_trip_time access_delay repeat_time": _Unit("seconds", high=2.0),
    "tpot need": _Unit("seconds", high=20.0),
    "e2el_per_token measured_tpot": _Unit("seconds", high=5.0),
    "ttft": _Unit("seconds", high=100.0),
    "e2el": _Unit("seconds", high=1e4),
    "budget_time": _Unit("seconds", high=1e5),
    "draft_time_ms": _Unit("milliseconds", low=0.1, high=1e3),
    "total_bandwidth power_bandwidth": _Unit("Hz", low=1e3, factor=1e-6),
    "draft_energy joules_per_token": _Unit("joules", high=10.0),
    "efficiency_limit": _Unit("bit/s/Hz", high=100.0, factor=np.nan),
    "energy_price": _Unit("tokens per joule", high=1e6, factor=np.nan),
    "transmit_power": _Unit("watts (0.2 W = 200 mW = 23 dBm)", high=5.0, factor=np.nan),
    "load": _Unit("a share of the full rate", high=10.0, factor=0.01),
    "percent": _Unit("percent", low=1.0, factor=0.01),
}

UNITS: Mapping[str, _Unit] = MappingProxyType({name: unit for names, unit in _UNITS.items() for name in names.split()})
"""Units of fields, options and columns; wide enough for unusual systems, since only wrong units are to be refused."""


def check_plausible(arguments: Mapping[str, Any], where: str = "") -> None:
    """Raise ``ValueError`` for an argument in a wrong unit, such as ms for s; the message suggests the right number.

    An argument may also be a tuple of numbers or of pairs. Messages begin with ``where``. Other checks handle numbers
    that are not positive and finite.
    """
    for name in filter(arguments.__contains__, UNITS):
        _check_unit(f"{where}{name}", arguments[name], UNITS[name])


def _check_unit(field: str, value: Any, unit: _Unit, depth: int = 2) -> None:
    for index, part in enumerate(value if depth and isinstance(value, tuple | list) else ()):
        _check_unit(f"{field}[{index}]", part, unit, depth - 1)
    number = as_float(value)
    if not 0.0 < number < np.inf or unit.low <= number <= unit.high:
        return
    limit = f"at least {unit.low:g}" if number < unit.low else f"at most {unit.high:g}"
    converted = number / unit.factor if number < unit.low else number * unit.factor
    hint = f"; did you mean {converted:g}?" if unit.low <= converted <= unit.high else ""
    raise ValueError(f"{field}: expected {unit.name}, {limit}, got {number:g}{hint}")


def checked_field(
    default: Any, check: Callable[..., object], *limits: Any, optional: bool = False, **ends: bool
) -> Any:
    """Return a dataclass field that `check_fields` checks with ``check(name, value, *limits, **ends)``.

    A limit that is a function is called with the dataclass. ``None`` passes if it is the default, or if the field is
    ``optional``.
    """
    late = any(isinstance(limit, FunctionType) for limit in limits)

    def checked(owner: object, name: str) -> None:
        value = getattr(owner, name)
        if value is not None or not (optional or default is None):
            known = [limit(owner) if isinstance(limit, FunctionType) else limit for limit in limits] if late else limits
            check(name, value, *known, **ends)

    return field(default=default, metadata={"check": checked})


@cache
def _checks_of(kind: type[Any]) -> dict[str, Callable[[object, str], None]]:
    """Return the checks of fields by name; a field that a subclass redefines keeps its check."""
    parents = [parent for parent in reversed(kind.__mro__) if is_dataclass(parent)]
    return {
        part.name: part.metadata["check"] for parent in parents for part in fields(parent) if "check" in part.metadata
    }


def check_fields(value: object) -> None:
    """Check the fields of a dataclass that were made by `checked_field`, and the units of all of its fields."""
    for name, check in _checks_of(type(value)).items():  # type: ignore[arg-type]  # mypy takes no class for hashable
        check(value, name)
    check_plausible(vars(value))


def check_array(field: str, value: Any) -> FloatArray:
    """Return ``value`` as a float64 array; ``ValueError`` unless it is numeric and finite everywhere."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{field}: expected an array of numbers, got {shown(value)}") from error
    require(field, array, np.isfinite(array), "finite numbers")
    return array


def broadcast(field: str, array: Array, shape: tuple[int, ...]) -> Array:
    """Return a read-only view of ``array`` with this shape; ``ValueError`` if it does not broadcast to it."""
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"{field}: expected a shape that broadcasts to {shape}, got {array.shape}") from None


def require(field: str, array: Array, good: BoolArray, expected: str) -> None:
    """Raise ``ValueError`` for the first entry of ``array`` that is not ``good``; the message has its index."""
    if good.all():
        return
    index = tuple(int(i) for i in np.argwhere(~good)[0])
    where = f"[{', '.join(map(str, index))}]" if index else ""
    raise ValueError(f"{field}{where}: expected {expected}, got {array[index]}")
