"""Parts that programs with evidence about the optimum share: options, rows as they are printed, and the file."""

import argparse
import json
from pathlib import Path
from typing import Any

BUDGETS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
"""MHz."""


def parser_of(description: str | None, counts: dict[str, tuple[int, str]]) -> argparse.ArgumentParser:
    """Options for so many instances of each set, by name, default and help, for budgets and for the output."""
    parser = argparse.ArgumentParser(description=description)
    for name, (default, text) in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=text)
    parser.add_argument("--budgets", type=float, nargs="+", default=list(BUDGETS), help="MHz")
    parser.add_argument("--out", type=Path, default=Path("results"))
    return parser


def report(row: dict[str, Any]) -> dict[str, Any]:
    """Print a row and pass it on."""
    print(
        "  ".join(
            f"{key}: {value:.6g}" if isinstance(value, float) else f"{key}: {value}" for key, value in row.items()
        ),
        flush=True,
    )
    return row


def write(results: dict[str, Any], folder: Path, name: str) -> None:
    """Write what was reported as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
