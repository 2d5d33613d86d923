"""Devices from a file: CSV with a header, or a JSON list of objects."""

import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count, repeat, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.apps.terminal.output import STDOUT
from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer, check_label, check_name, check_plausible, check_real, located, shown
from multispin_env.device import LOADS
from multispin_env.files import MIB, decode_text, parse_json, read_csv, read_limited
from multispin_env.physics.types import SystemState
from multispin_env.registry import DEVICES
from multispin_env.server import MAX_CONTEXT
from multispin_env.units import BITS_PER_NAT, MS, db_to_linear

_Record = dict[str, Any]
"""Values of one device by column, without empty optional cells."""


@dataclass(frozen=True)
class _Column:
    low: float
    high: float = np.inf
    open_low: bool = False
    convert: Callable[[float], float] = float


def _efficiency(snr_db: float) -> float:
    """r = log2(1 + snr) in bit/s/Hz ([MS] 8)."""
    return float(np.log1p(db_to_linear(snr_db)) * BITS_PER_NAT)


_COLUMNS = {
    "draft_time_s": _Column(0.0, open_low=True),
    "draft_time_ms": _Column(0.0, open_low=True, convert=lambda value: value * MS),
    "spectral_efficiency": _Column(1e-30, 1e6),
    "snr_db": _Column(-300.0, 300.0, convert=_efficiency),
    "acceptance_rate": _Column(0.0, 1.0),
    "weight": _Column(0.0, 1e9),
}

_TEXTS = ("name", "device")

_REQUIRED = (("draft_time_s", "draft_time_ms", "device"), ("spectral_efficiency", "snr_db"), ("acceptance_rate",))
"""Groups of which one column is required, in the order of the fields of `SystemState`."""

_MAX_BYTES = 16 * MIB  # of a file: some hundred thousand devices


@dataclass(frozen=True, eq=False)
class Devices:
    """Devices for which a decision is computed."""

    names: tuple[str, ...]
    state: SystemState  # (K,)
    weights: FloatArray | None  # (K,), by default 1; None if no row has a weight
    profiled: bool = False  # whether a row names a device profile


def read_devices(file: Path, load: str = LOADS[0], context: int = 0) -> Devices:
    """Read devices from a file, or from standard input for ``-``.

    Draft times of profiles are those under a ``load`` after ``context`` tokens, those of columns are taken as they are.

    The format is JSON if the suffix is ``.json``, or if it isn't ``.csv`` and the text begins with a bracket, else CSV.
    ``ValueError`` names the file, the row (from 1, without the header), the column and the expected value; for a bad
    load or context, it names that alone.
    """
    check_name("device_load", load, LOADS)
    check_integer("context", context, 0, MAX_CONTEXT)
    where = "stdin" if file == STDOUT else str(file)
    try:
        with located(where), nullcontext(sys.stdin.buffer) if file == STDOUT else file.open("rb") as stream:
            return _devices(read_limited(stream, _MAX_BYTES), file.suffix.lower(), load, context)
    except OSError as error:
        raise ValueError(f"file: expected a CSV or JSON file, got {where!r} ({error.strerror})") from None


def _devices(content: bytes, suffix: str, load: str, context: int) -> Devices:
    text = decode_text(content)
    is_json = suffix == ".json" or (suffix != ".csv" and text.lstrip()[:1] in ("[", "{"))
    records = _json_records(text) if is_json else _csv_records(content)
    if not records:
        raise ValueError("expected at least one device, got no rows")
    names, required, weights = zip(*map(_device, count(1), records, repeat(load), repeat(context)), strict=True)
    weighted = any("weight" in record for record in records)
    if weighted and not any(weights):
        raise ValueError("weight: expected at least one number > 0, got only zeros")
    profiled = any("device" in record for record in records)
    return Devices(names, SystemState(*np.array(required).T), np.array(weights) if weighted else None, profiled)


def _device(row: int, record: _Record, load: str, context: int) -> tuple[str, list[float], float]:
    """Return the name, the values of `_REQUIRED` and the weight of a device."""
    values = []
    for group in _REQUIRED:
        column = next((name for name in group if name in record), None)
        if column is None:
            raise ValueError(f"row {row}, {' or '.join(group)}: expected a number, got nothing")
        if column == "device":
            check_name(f"row {row}, device", record[column], DEVICES.names())
            values.append(DEVICES.load(record[column]).time_after(context, load))
        else:
            values.append(_checked(record[column], column, row))
    name = check_label(f"row {row}, name", record.get("name", record.get("device", str(row))))
    return name, values, _checked(record.get("weight", 1.0), "weight", row)


def _csv_records(content: bytes) -> list[_Record]:
    header, *lines = [cells for _, cells in read_csv(content)] or [[]]
    if header:
        _check_columns(header, "header")
    records = []
    for row, line in enumerate(lines, start=1):
        if len(line) > len(header):
            raise ValueError(f"row {row}: expected {len(header)} values as in the header, got {len(line)}")
        cells = zip_longest(header, line, fillvalue="")
        records.append({name: _number(name, cell) for name, cell in cells if cell or name not in ("name", "weight")})
    return records


def _number(name: str, cell: str) -> float | str:
    try:
        return cell if name in _TEXTS else float(cell)
    except ValueError:  # `_checked` will show the text
        return cell


def _json_records(text: str) -> list[_Record]:
    try:
        rows = parse_json(text, parse_int=float)
    except ValueError as error:
        raise ValueError(f"expected a list of objects, got broken JSON ({error})") from None
    if not isinstance(rows, list):
        raise ValueError(f"expected a list of objects, got a JSON {type(rows).__name__}")
    for row, record in enumerate(rows, start=1):
        if not isinstance(record, dict):
            raise ValueError(f"row {row}: expected an object whose keys are columns, got {shown(record)}")
        _check_columns(record, f"row {row}")
    return [{name: value for name, value in record.items() if value is not None} for record in rows]


def _check_columns(names: Iterable[str], where: str) -> None:
    columns = list(names)
    for name in columns:
        check_name(f"{where}, column", name, (*_TEXTS, *_COLUMNS))
        if columns.count(name) > 1:
            raise ValueError(f"{where}, column: expected {name!r} once, got it twice")
    for group in _REQUIRED:
        present = [name for name in group if name in columns]
        if len(present) != 1:
            raise ValueError(f"{where}, columns: expected exactly one of {list(group)}, got {present or columns}")


def _checked(value: Any, name: str, row: int) -> float:
    column = _COLUMNS[name]
    number = check_real(f"row {row}, {name}", value, column.low, column.high, open_low=column.open_low)
    check_plausible({name: number}, f"row {row}, ")
    return column.convert(number)
