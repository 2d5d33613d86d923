"""Files of tables that commands write, and how a table was made."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multispin_env.evaluation.statistics import to_csv, to_json
from multispin_env.files import write_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

STDOUT = Path("-")
"""Stands for standard output where the name of a file may stand."""


def add_table_options(parser: ArgumentParser) -> None:
    """``--json --csv``."""
    for name, more in (("--json", ", with how it was made"), ("--csv", "")):
        text = f"write the table there too{more}; - prints it instead"
        parser.add_argument(name, type=Path, metavar="FILE", help=text)


def check_outputs(*files: Path | None) -> None:
    """``ValueError`` unless each is a file in a folder that exists, or `STDOUT`, which only one may be."""
    for file in files:
        if file not in (None, STDOUT) and (file.is_dir() or not file.resolve().parent.is_dir()):
            raise ValueError(f"file: expected a file in a folder that exists, got {str(file)!r}")
    if sum(file == STDOUT for file in files) > 1:
        raise ValueError("file: expected standard output ('-') once, got it twice")


def is_quiet(options: Namespace) -> bool:
    """Whether standard output is for the content of a file alone."""
    return STDOUT in (options.json, options.csv)


def write_tables(options: Namespace, rows: "Sequence[DataclassInstance]", about: Mapping[str, Any]) -> None:
    """Write what `add_table_options` asks for; ``about`` is for JSON."""
    if options.json is not None:
        write_output(f"{to_json(rows, about)}\n", options.json)
    if options.csv is not None:
        write_output(to_csv(rows), options.csv)


def write_output(text: str, file: Path) -> None:
    """Write text to a file, or to standard output."""
    if file == STDOUT:
        sys.stdout.write(text)
    else:
        write_text(file, text)


def made_by(options: Namespace, *packages: str) -> dict[str, Any]:
    """How something was made: the command that repeats it, and versions of ours, numpy and other packages."""
    versions = {name: version(name) for name in ("multispin_env", "numpy", *packages)}
    return {"command": options.command, "versions": versions}
