"""Copies of the project in which one fault at a time is put, and its tests run."""

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.mutants.operators import Mutant
from benchmarks.mutants.selection import files_of_tests

T = TypeVar("T")
R = TypeVar("R")

KILLED, SURVIVED, TIMEOUT = "killed", "survived", "timeout"

ALL_PASSED = 0
"""Exit status of pytest."""

PATIENCE = 3.0
"""A fault may make its tests so many times slower before it counts as noticed: it may have made a loop endless."""

SLACK = 60.0
"""Seconds that are always allowed beyond that."""

COPIED = ("multispin_env", "agents", "benchmarks", "tests", "docs", "examples")
FILES = ("pyproject.toml", "README.md", "train.py", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", "mkdocs.yml")


@dataclass(frozen=True)
class Verdict:
    """What became of a fault.

    Parameters
    ----------
    mutant
        The fault.
    outcome
        ``killed``, ``survived`` or ``timeout``, which counts as killed.
    seconds
        Time its tests took.
    killer
        First test that failed.
    """

    mutant: Mutant
    outcome: str
    seconds: float
    killer: str = ""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "Verdict | None":
        """Inverse of `to_json`; ``None`` for a line about something else."""
        fields = json.loads(line)
        return None if "mutant" not in fields else cls(Mutant(**fields.pop("mutant")), **fields)


class Workshop:
    """Copies of the project, one for each worker.

    Parameters
    ----------
    root
        Of the project; it is never written to.
    workers
        How many faults are tried at a time.
    """

    def __init__(self, root: Path, workers: int) -> None:
        self.root = root
        self.workers = workers
        self._free: queue.Queue[Path] = queue.Queue()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def open(self) -> Iterator["Workshop"]:
        """Make the copies, and remove them."""
        with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
            for index in range(self.workers):
                self._free.put(self._copy(Path(folder) / str(index)))
            yield self

    def _copy(self, place: Path) -> Path:
        ignored = shutil.ignore_patterns("__pycache__", "site")
        for name in COPIED:
            shutil.copytree(self.root / name, place / name, ignore=ignored)
        for name in FILES:
            shutil.copy(self.root / name, place / name)
        return place

    def check(self, mutants: Sequence[Mutant], seconds: dict[str, float], say: Callable[[str, float], None]) -> None:
        """Run every test file that is needed by itself, without faults, and keep how long each took.

        Parameters
        ----------
        mutants
            The faults.
        seconds
            What is known already; what is measured is added.
        say
            Called with each file and its seconds.

        Raises
        ------
        ValueError
            If one fails: nothing could be said of a fault.
        """
        self._seconds = seconds
        files = sorted({file for mutant in mutants for file in files_of_tests(self.root, mutant.path)} - set(seconds))

        def one(file: str) -> tuple[str, int | None, float, str]:
            return file, *self._in_a_copy(lambda place: _pytest(place, [file], limit=None))

        for file, status, taken, printed in self._all(one, files):
            if status != ALL_PASSED:
                raise ValueError(f"tests: expected none to fail without a fault, got a failure of {file}\n{printed}")
            seconds[file] = taken
            say(file, taken)

    def judge(self, mutants: Sequence[Mutant]) -> Iterator[Verdict]:
        """Try faults, as many at a time as there are copies, and yield verdicts as they come."""
        return self._all(self._judge, mutants)

    def _all(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                for future in as_completed([pool.submit(work, item) for item in items]):
                    yield future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _in_a_copy(self, work: Callable[[Path], R]) -> R:
        place = self._free.get()
        try:
            return work(place)
        finally:
            self._free.put(place)

    def _judge(self, mutant: Mutant) -> Verdict:
        return self._in_a_copy(lambda place: self._judge_in(place, mutant))

    def _judge_in(self, place: Path, mutant: Mutant) -> Verdict:
        file = place / mutant.path
        whole = file.read_bytes()
        tests = files_of_tests(place, mutant.path, self._seconds)  # the project's own may change meanwhile
        limit = SLACK + PATIENCE * sum(self._seconds.get(test, SLACK) for test in tests)
        file.write_bytes(mutant.apply(whole))
        try:
            status, seconds, printed = _pytest(place, tests, limit)
        finally:
            file.write_bytes(whole)
        if status is None:
            return Verdict(mutant, TIMEOUT, seconds)
        if status == ALL_PASSED:
            return Verdict(mutant, SURVIVED, seconds)
        return Verdict(mutant, KILLED, seconds, _killer(printed))


def _pytest(place: Path, tests: Sequence[str], limit: float | None) -> tuple[int | None, float, str]:
    """Exit status, seconds and last lines of a run that stops at the first failure; no status if it takes too long."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n0", "-p", "no:cacheprovider", "--no-header", *tests]
    settings = {"PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": str(place)}
    begin = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=place,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # its own children too
        process.communicate()
        return None, time.monotonic() - begin, ""
    return process.returncode, time.monotonic() - begin, printed[-3000:]


def _killer(printed: str) -> str:
    """First test that failed, from pytest's summary."""
    lines = [line for line in printed.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return lines[0].split(" ", 1)[1].split(" - ")[0] if lines else "pytest itself"
