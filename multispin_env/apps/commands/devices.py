"""Devices from a file: CSV with a header, or a JSON list of objects."""

import csv
import io
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.apps.terminal.output import STDOUT
from multispin_env.arrays import FloatArray
from multispin_env.checks import check_label, check_name, check_real, shown
from multispin_env.files import MIB, parse_json, read_limited
from multispin_env.physics.types import SystemState
from multispin_env.units import BITS_PER_NAT, MS, db_to_linear

_Record = dict[str, Any]
"""One device as it was read: by its columns, texts and numbers. Optional cells that are empty are left out."""


@dataclass(frozen=True)
class _Column:
    low: float
    high: float
    open_low: bool = False
    convert: Callable[[float], float] = float


def _efficiency(snr_db: float) -> float:
    """r = log2(1 + snr) in bit/s/Hz ([MS] 8)."""
    return float(np.log1p(db_to_linear(snr_db)) * BITS_PER_NAT)


_COLUMNS = {
    "draft_time_s": _Column(0.0, 1e6, open_low=True),
    "draft_time_ms": _Column(0.0, 1e9, open_low=True, convert=lambda value: value * MS),
    "spectral_efficiency": _Column(1e-30, 1e6),
    "snr_db": _Column(-300.0, 300.0, convert=_efficiency),
    "acceptance_rate": _Column(0.0, 1.0),
    "weight": _Column(0.0, 1e9),
}

_NEEDED = (("draft_time_s", "draft_time_ms"), ("spectral_efficiency", "snr_db"), ("acceptance_rate",))
"""One column of each group, in the order of the fields of `SystemState`."""

NAMES = ("name", *_COLUMNS)

LARGEST_FILE = 16 * MIB  # bytes of a file of devices: some hundred thousand rows


@dataclass(frozen=True, eq=False)
class Devices:
    """What a decision is wanted for."""

    names: tuple[str, ...]
    state: SystemState  # (K,)
    weights: FloatArray | None  # (K,), 1 where a row has none; None where no row has one


def read_devices(file: Path) -> Devices:
    """Devices of a file, or of standard input for ``-``.

    It is JSON if its name ends in ``.json`` or, with another name than ``.csv``, it begins with a bracket; else CSV.
    ``ValueError`` names the file, the row, counted from 1 without the header, the column, and what is expected.
    """
    where = "stdin" if file == STDOUT else str(file)
    text = _text(file, where)
    suffix = file.suffix.lower()
    is_json = suffix == ".json" or (suffix != ".csv" and text.lstrip()[:1] in ("[", "{"))
    records = _json_records(text, where) if is_json else _csv_records(text, where)
    if not records:
        raise ValueError(f"{where}: expected at least one device, got no rows")
    return _devices(records, where)


def _text(file: Path, where: str) -> str:
    try:
        if file == STDOUT:
            return read_limited(sys.stdin.buffer, LARGEST_FILE).decode("utf-8-sig")
        with file.open("rb") as stream:  # which may be a pipe
            return read_limited(stream, LARGEST_FILE).decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"file: expected a CSV or JSON file, got {where!r} ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: expected text in UTF-8, got the byte {error.object[error.start]:#x}") from None
    except ValueError as error:  # too large, or no name of a file
        raise ValueError(f"{where}: {error}") from None


def _csv_records(text: str, where: str) -> list[_Record]:
    try:
        lines = [line for line in csv.reader(io.StringIO(text), strict=True) if any(cell.strip() for cell in line)]
    except csv.Error as error:
        raise ValueError(f"{where}: expected CSV with commas and a header, got broken CSV ({error})") from None
    if not lines:
        return []
    header = [cell.strip() for cell in lines[0]]
    _check_columns(header, f"{where}, header")
    records = []
    for row, line in enumerate(lines[1:], start=1):
        if len(line) > len(header):
            raise ValueError(
                f"{where}, row {row}: expected {len(header)} values, as many as in the header, got {len(line)}"
            )
        cells = dict(zip_longest(header, (cell.strip() for cell in line), fillvalue=""))
        records.append(
            {name: _number(name, cell) for name, cell in cells.items() if cell or name not in ("name", "weight")}
        )
    return records


def _number(name: str, cell: str) -> float | str:
    """The cell's number, or, for the check to show, its text."""
    try:
        return cell if name == "name" else float(cell)
    except ValueError:
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
            raise ValueError(f"{where}, row {row}: expected an object with columns as its keys, got {shown(record)}")
        _check_columns(record, f"{where}, row {row}")
    return [{name: value for name, value in record.items() if value is not None} for record in rows]


def _check_columns(names: Iterable[str], where: str) -> None:
    columns = list(names)
    for name in columns:
        check_name(f"{where}, column", name, NAMES)
        if columns.count(name) > 1:
            raise ValueError(f"{where}, column: expected {name!r} once, got it twice")
    for group in _NEEDED:
        given = [name for name in group if name in columns]
        if len(given) != 1:
            raise ValueError(f"{where}, columns: expected exactly one of {list(group)}, got {given or columns}")


def _devices(records: list[_Record], where: str) -> Devices:
    numbered = [(record, f"{where}, row {row}") for row, record in enumerate(records, start=1)]
    needed = [np.array([_needed(record, group, position) for record, position in numbered]) for group in _NEEDED]
    names = tuple(
        check_label(f"{position}, name", record.get("name", str(row)))
        for row, (record, position) in enumerate(numbered, start=1)
    )
    weights = None
    if any("weight" in record for record in records):
        weights = np.array([_checked(record.get("weight", 1.0), "weight", position) for record, position in numbered])
        if not weights.any():
            raise ValueError(f"{where}, weight: expected at least one number > 0, got only zeros")
    return Devices(names, SystemState(*needed), weights)


def _needed(record: _Record, group: tuple[str, ...], position: str) -> float:
    for name in group:
        if name in record:
            return _checked(record[name], name, position)
    raise ValueError(f"{position}, {' or '.join(group)}: expected a number, got nothing")


def _checked(value: Any, name: str, position: str) -> float:
    column = _COLUMNS[name]
    number = check_real(f"{position}, {name}", value, column.low, column.high, open_low=column.open_low)
    return column.convert(number)
