"""Devices from a file: CSV with a header, or a JSON list of objects."""

import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.apps.terminal.output import STDOUT
from multispin_env.arrays import FloatArray
from multispin_env.checks import check_label, check_name, check_plausible, check_real, shown
from multispin_env.files import MIB, decode_text, parse_json, read_csv, read_limited
from multispin_env.physics.types import SystemState
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

_REQUIRED = (("draft_time_s", "draft_time_ms"), ("spectral_efficiency", "snr_db"), ("acceptance_rate",))
"""Groups of which one column is required, in the order of the fields of `SystemState`."""

_MAX_BYTES = 16 * MIB  # of a file: some hundred thousand devices


@dataclass(frozen=True, eq=False)
class Devices:
    """Devices for which a decision is computed."""

    names: tuple[str, ...]
    state: SystemState  # (K,)
    weights: FloatArray | None  # (K,), by default 1; None if no row has a weight


def read_devices(file: Path) -> Devices:
    """Read devices from a file, or from standard input for ``-``.

    The format is JSON if the suffix is ``.json``, or if it isn't ``.csv`` and the text begins with a bracket, else CSV.
    ``ValueError`` names the file, the row (from 1, without the header), the column and the expected value.
    """
    where = "stdin" if file == STDOUT else str(file)
    try:
        with nullcontext(sys.stdin.buffer) if file == STDOUT else file.open("rb") as stream:
            content = read_limited(stream, _MAX_BYTES)
        text = decode_text(content)
    except OSError as error:
        raise ValueError(f"file: expected a CSV or JSON file, got {where!r} ({error.strerror})") from None
    except ValueError as error:  # too large, not UTF-8, or not a file name
        raise ValueError(f"{where}: {error}") from None
    suffix = file.suffix.lower()
    is_json = suffix == ".json" or (suffix != ".csv" and text.lstrip()[:1] in ("[", "{"))
    records = _json_records(text, where) if is_json else _csv_records(content, where)
    if not records:
        raise ValueError(f"{where}: expected at least one device, got no rows")
    return _devices(records, where)


def _csv_records(content: bytes, where: str) -> list[_Record]:
    try:
        header, *lines = [cells for _, cells in read_csv(content)] or [[]]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if header:
        _check_columns(header, f"{where}, header")
    records = []
    for row, line in enumerate(lines, start=1):
        if len(line) > len(header):
            raise ValueError(f"{where}, row {row}: expected {len(header)} values as in the header, got {len(line)}")
        cells = zip_longest(header, line, fillvalue="")
        records.append({name: _number(name, cell) for name, cell in cells if cell or name not in ("name", "weight")})
    return records


def _number(name: str, cell: str) -> float | str:
    try:
        return cell if name == "name" else float(cell)
    except ValueError:  # `_checked` will show the text
        return cell


def _json_records(text: str, where: str) -> list[_Record]:
    try:
        rows = parse_json(text, parse_int=float)
    except ValueError as error:
        raise ValueError(f"{where}: expected a list of objects, got broken JSON ({error})") from None
    if not isinstance(rows, list):
        raise ValueError(f"{where}: expected a list of objects, got a JSON {type(rows).__name__}")
    for row, record in enumerate(rows, start=1):
        if not isinstance(record, dict):
            raise ValueError(f"{where}, row {row}: expected an object whose keys are columns, got {shown(record)}")
        _check_columns(record, f"{where}, row {row}")
    return [{name: value for name, value in record.items() if value is not None} for record in rows]


def _check_columns(names: Iterable[str], where: str) -> None:
    columns = list(names)
    for name in columns:
        check_name(f"{where}, column", name, ("name", *_COLUMNS))
        if columns.count(name) > 1:
            raise ValueError(f"{where}, column: expected {name!r} once, got it twice")
    for group in _REQUIRED:
        present = [name for name in group if name in columns]
        if len(present) != 1:
            raise ValueError(f"{where}, columns: expected exactly one of {list(group)}, got {present or columns}")


def _devices(records: list[_Record], where: str) -> Devices:
    numbered = [(record, f"{where}, row {row}") for row, record in enumerate(records, start=1)]
    required = [np.array([_required(record, group, position) for record, position in numbered]) for group in _REQUIRED]
    names = tuple(
        check_label(f"{position}, name", record.get("name", str(row)))
        for row, (record, position) in enumerate(numbered, start=1)
    )
    weights = None
    if any("weight" in record for record in records):
        weights = np.array([_checked(record.get("weight", 1.0), "weight", position) for record, position in numbered])
        if not weights.any():
            raise ValueError(f"{where}, weight: expected at least one number > 0, got only zeros")
    return Devices(names, SystemState(required[0], required[1], required[2]), weights)


def _required(record: _Record, group: tuple[str, ...], position: str) -> float:
    for name in group:
        if name in record:
            return _checked(record[name], name, position)
    raise ValueError(f"{position}, {' or '.join(group)}: expected a number, got nothing")


def _checked(value: Any, name: str, position: str) -> float:
    column = _COLUMNS[name]
    number = check_real(f"{position}, {name}", value, column.low, column.high, open_low=column.open_low)
    check_plausible({name: number}, f"{position}, ")
    return column.convert(number)
