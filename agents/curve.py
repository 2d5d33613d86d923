"""The learning curve of a run: a row for each validation, in a CSV file."""

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from multispin_env.files import MIB, read_bytes, write_atomically

CURVE = "curve.csv"

LARGEST = 16 * MIB
"""Bytes of its file: a run has fifty lines for each of its budgets."""

ROUNDS = "timesteps"
"""Column with the rounds trained."""


def points(path: Path, key: str) -> tuple[list[int], list[float]]:
    """Rounds trained and scores of a learning curve; ``ValueError`` if it is none, as in a run that a stranger made."""
    with _readable(path):
        rows = _rows(path)
        return [int(row[ROUNDS]) for row in rows], [float(row[key]) for row in rows]


def add_row(path: Path, row: Mapping[str, float]) -> None:
    """Add a validation after those of fewer rounds; a run that goes on from its checkpoint may have had later ones.

    Raises
    ------
    ValueError
        If the file is there, but no learning curve.
    OSError
        If it can't be written.
    """
    with _readable(path):
        before = [old for old in _rows(path) if int(old[ROUNDS]) < row[ROUNDS]] if path.exists() else []
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), extrasaction="ignore")
    writer.writeheader()
    writer.writerows([*before, row])
    write_atomically(path, text.getvalue().encode())


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise ValueError(f"{path}: can't be read as a learning curve ({error})") from None


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read_bytes(path, LARGEST).decode())))
