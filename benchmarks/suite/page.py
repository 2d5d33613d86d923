"""Write the tables of the evidence page, from ``leaderboard.csv`` of ``multispin suite table``."""

import csv
import re
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks.tools import Options
from multispin_env.evaluation.statistics import markdown, table
from multispin_env.files import write_atomically
from multispin_lab.suite.entries import AROUND, KINDS
from multispin_lab.suite.frozen import own_content
from multispin_lab.suite.leaderboard import LETTERS
from multispin_lab.suite.version import task

DOCS = Path(__file__).parents[2] / "docs"
FILE, PAGE = DOCS / "results" / "suite" / "leaderboard.csv", DOCS / "evidence" / "suite.md"
OPTIONS: Options = {"file": (str(FILE), "leaderboard.csv to read")}

HIDDEN = ("reference", "fixed", "random-actions")
"""Methods that the first table leaves out."""

STOCK = {"PPO": "stable_baselines3:PPO", "A2C": "stable_baselines3:A2C", "`DevicePolicy`": "PPO with DevicePolicy"}
OURS = {"`ppo`": "ppo (ours, own encodings)"}
"""Methods of the table of tasks by title, in the encodings of the tasks and in our own."""

_Row = Mapping[str, str]


def run(options: Namespace) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for text in tables(Path(options.file)):
        head = " | ".join(text.split(" | ")[:2])
        page = re.sub(rf"{re.escape(head)}.*?(?=\n\n)", text, page, flags=re.DOTALL)
    write_atomically(PAGE, page.encode())


def tables(file: Path = FILE) -> Iterator[str]:
    """Return the tables of methods and of tasks in Markdown."""
    with file.open(encoding="utf-8", newline="") as text:
        rows = {row["method"]: row for row in csv.DictReader(text)}
    columns: dict[str, Callable[[_Row], str]] = {
        "method": lambda row: re.sub("stable_baselines3:|sb3_contrib:|, own encodings(?=\\))", "", row["method"]),
        "rank": lambda row: row["rank"].strip("'").replace(" of ", "/"),
        "steps": lambda row: f"{int(row['steps']):,}",
        "seeds": lambda row: row["seeds"],
        "tasks": lambda row: row["tasks"],
        "fixed size": lambda row: _number(row["fixed_size"]),
        "played": lambda row: _number(row["iqm"]),
        "seeds, 95 %": lambda row: f"{_number(row['iqm_low'])}–{_number(row['iqm_high'])}".replace("-–-", "-"),
        "± episodes": lambda row: _number(row["iqm_error"]),
        "fresh": lambda row: _number(row["fresh"]),
        "− action 0": lambda row: _number(row["minus_action_0"]),
    }
    if not any(row["fresh"] for row in rows.values()):
        del columns["fresh"]
    yield markdown(*table([row for name, row in rows.items() if name not in HIDDEN], columns))
    header, lines = ("task", "action 0", *STOCK, "own action 0", *OURS, "attainable"), []
    for name, own in own_content().items():
        item, zero = task(name), task(name).frozen.middle
        left, right = ([_learnt(rows[method], name) for method in part.values()] for part in (STOCK, OURS))
        zeros = (_zero(zero, item.config.action), _zero(own["middle"], own["action"]))
        lines.append((f"`{name}`", zeros[0], *left, zeros[1], *right, item.attainable_text))
    yield markdown(header, lines)


def _zero(score: float, action: str) -> str:
    return f"{_number(score)} {LETTERS[KINDS.get(action, AROUND)]}"


def _learnt(row: _Row, name: str) -> str:
    part = row[f"{name}_fraction"]
    return _number(row[name]) + (f" ({round(100 * float(part))})" if part else "")


def _number(text: str | float) -> str:
    return "-" if text == "" else f"{round(float(text), 3) + 0.0:.3f}"
