"""The league as Markdown, CSV, JSON and text."""

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.league.overview import overview_cells, share_cells
from benchmarks.league.report import League, aggregate_cells, cell_cells, flat, standing_cells, to_csv
from multispin_env.evaluation.table import aligned, markdown
from multispin_env.files import write_atomically

EXPLAINED = (
    "`score` is 0 for the fixed controller and 1 for the reference: the optimum, the clairvoyant, for fairness the "
    "gradient rule, or, without the barrier, a bound that no policy exceeds. Runs are compared with `validation` "
    "while they learn. Intervals are 95 % bootstrap intervals over cases and, where there are several, seeds; "
    "differences are paired case by case. With one seed an interval says nothing of other trainings."
)

OVERVIEW = (
    "Scores, means over seeds and cases. Agents are behind the best plug-in, with an interval off zero, unless it says "
    "`ahead` or `undecided`."
)


def to_markdown(league: League, command: str, skipped: Sequence[str]) -> str:
    """All tables."""
    parts = ["# League", f"`{command}`", EXPLAINED]
    parts += ["## All contests", OVERVIEW, markdown(*overview_cells(league)), markdown(*aggregate_cells(league))]
    header, lines = share_cells(league)
    if lines:
        parts += ["## Shares of the reference", markdown(header, lines)]
    for contest, about in league.references.items():
        size = len(next(iter(about["values"].values())))
        parts += [
            f"## {contest.title}",
            f"{size} held-out {about['cases']}",
            markdown(*standing_cells(league.standings(contest))),
        ]
    parts += ["## Cells", markdown(*cell_cells(league))]
    if skipped:
        parts.append("Left out:\n\n" + "\n".join(f"- {line}" for line in skipped))
    return "\n\n".join(parts) + "\n"


def to_text(league: League) -> str:
    """Tables for the terminal."""
    parts = [
        f"{contest.title}\n\n{aligned(*standing_cells(league.standings(contest)))}" for contest in league.references
    ]
    return "\n\n".join([*parts, aligned(*overview_cells(league)), aligned(*aggregate_cells(league))])


def write(league: League, folder: Path, command: str, skipped: Sequence[str]) -> None:
    """Write ``results.md``, ``results.csv`` and ``results.json``."""
    rows = flat(league)
    cells = [
        {"cell": cell.stem, **{key: value for key, value in about.items() if key != "values"}}
        for cell, about in league.results.items()
    ]
    content = {"command": command, "rows": rows, "cells": cells, "left_out": list(skipped)}
    write_atomically(folder / "results.md", to_markdown(league, command, skipped).encode())
    write_atomically(folder / "results.csv", to_csv(rows).encode())
    write_atomically(folder / "results.json", (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
