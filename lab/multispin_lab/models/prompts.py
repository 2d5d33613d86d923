"""Prompts from a text file or a file of JSON rows."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from multispin_env.arrays import IntArray
from multispin_env.checks import check_label, located, shown
from multispin_env.files import MIB, checksum, decode_text, parse_json
from multispin_env.npz import read_file
from multispin_env.scenario import Scenario

if TYPE_CHECKING:
    from multispin_lab.models.engine import Model

LARGEST_FILE = 16 * MIB  # bytes
MAX_TASKS = 128  # range of the integer type of a record
NO_TASK = "all"  # task of prompts without one


@dataclass(frozen=True)
class Prompts:
    """Prompts of a file, P of them, in order."""

    texts: tuple[str, ...]
    tasks: tuple[str, ...]  # names, in the order of their first prompt
    task: tuple[int, ...]  # index of each prompt's task
    file: str  # name, for messages
    digest: str  # SHA-256 of the file, hexadecimal

    def encode(self, model: "Model", room: int, raw: bool = False, context: int | None = None) -> list[list[int]]:
        """Encode each prompt; ``ValueError`` with its line unless ``room`` more tokens fit in the context."""
        limit = (model.context if context is None else context) - room
        encoded = []
        for line, text in enumerate(self.texts, start=1):
            with located(f"{self.file}, line {line}"):
                encoded.append(model.encode(text, raw))
                if (size := len(encoded[-1])) > limit:
                    expected = f"at most {limit} tokens, so that {room} more fit in the context of {limit + room}"
                    raise ValueError(f"prompt: expected {expected}, got {size}")
        return encoded

    def task_indices(self, scenario: Scenario) -> IntArray:
        """Return the index of the scenario's task for each prompt, (P,); a single task is that of all prompts."""
        names = [task.name for task in scenario.tasks]
        if len(names) == 1:
            return np.zeros(len(self.texts), dtype=np.int64)
        for index, name in enumerate(self.tasks):
            if name not in names:
                line = self.task.index(index) + 1
                expected = f"one of the scenario's {names}"
                raise ValueError(f"{self.file}, line {line}, task: expected {expected}, got {name!r}")
        return np.array([names.index(self.tasks[task]) for task in self.task])


def read_prompts(path: str | PathLike[str]) -> Prompts:
    """Read prompts from the lines of a ``.txt`` file, or ``prompt`` and optional ``task`` of a ``.jsonl`` file.

    Empty lines at the end are ignored. ``ValueError`` with the line if the file can't be read, has no prompt, an empty
    prompt, or a bad row.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".txt", ".jsonl"):
        raise ValueError(f"prompts: expected a .txt or .jsonl file, got {str(path)!r}")
    content = read_file(path, LARGEST_FILE, suffix, "prompts")
    with located(path):
        lines = decode_text(content).rstrip().split("\n")  # other line separators may be part of a prompt
        if lines == [""]:
            raise ValueError("prompts: expected at least one prompt, got none")
        rows = [_row(line.removesuffix("\r"), suffix, number) for number, line in enumerate(lines, start=1)]
        texts, names = zip(*rows, strict=True)
        tasks = tuple(dict.fromkeys(names))
        if len(tasks) > MAX_TASKS:
            raise ValueError(f"task: expected at most {MAX_TASKS} different tasks, got {len(tasks)}")
    return Prompts(texts, tasks, tuple(map(tasks.index, names)), str(path), checksum(content))


def _row(line: str, suffix: str, number: int) -> tuple[str, str]:
    row: Any = {"prompt": line}
    if suffix == ".jsonl" and line.strip():
        try:
            row = parse_json(line)
        except ValueError as error:
            raise ValueError(f"line {number}: expected a JSON object, got {shown(line)} ({error})") from None
        if not isinstance(row, dict) or "prompt" not in row:
            raise ValueError(f'line {number}: expected a row {{"prompt": TEXT}}, got {shown(line)}')
    for name in ("prompt", "task"):
        if name in row and not (isinstance(row[name], str) and row[name].strip()):
            raise ValueError(f"line {number}, {name}: expected a non-empty string, got {shown(row[name])}")
    return row["prompt"], check_label(f"line {number}, task", row.get("task", NO_TASK))
