"""User and system time of whole processes that take turns; with ``--versus`` also of another checkout."""

import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.tools import Options, Row, show

HERE = Path(__file__).resolve().parents[2]

GYMNASIUM, OURS = "import gymnasium", "import multispin_env"

STARTS = {
    "python alone": ("-c", ""),
    GYMNASIUM: ("-c", GYMNASIUM),
    OURS: ("-c", OURS),
    "multispin --help": ("-m", "multispin_env", "--help"),
    "multispin solve": ("-m", "multispin_env", "solve", "{checkout}/examples/devices.csv"),
    "train.py --help": ("{checkout}/train.py", "--help"),
    "train.py until its first line": ("{checkout}/train.py",),
    "train.py until its first progress": ("{checkout}/train.py",),
}
"""Arguments of each process."""

UNTIL = {"train.py until its first line": "run ", "train.py until its first progress": "training "}
"""Beginning of the line of stderr at which a process is stopped."""

LIMITS = {"multispin solve": 1.0, "train.py until its first progress": 5.0}
"""Limits in seconds."""

BEYOND_GYMNASIUM = 0.25
"""Limit in seconds of our import without that of Gymnasium."""


def process_seconds(name: str, checkout: Path) -> float:
    """Return user and system time of a process in an empty folder; ``RuntimeError`` if it fails."""
    arguments = [part.format(checkout=checkout) for part in STARTS[name]]
    paths = os.pathsep.join(str(checkout / folder) for folder in ("", "agents", "lab"))
    until = UNTIL.get(name)
    stopped, output = False, ""
    with TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                output += line
                if until is not None and line.startswith(until):
                    process.kill()
                    stopped = True
                    break
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if stopped != (until is not None) or (not stopped and process.returncode):
        raise RuntimeError(f"{name}: expected {'a line ' + repr(until) if until else 'success'}, got {output!r}")
    return usage.ru_utime + usage.ru_stime


def rows(spent: dict[str, list[float]]) -> Iterator[Row]:
    least = {name: min(values) for name, values in spent.items()}
    for name, values in spent.items():
        limit = least[GYMNASIUM] + BEYOND_GYMNASIUM if name == OURS else LIMITS.get(name)
        verdict = "" if limit is None else f"{limit:.2f}, {'met' if least[name] <= limit else 'MISSED'}"
        yield {"CPU-s": name, "least": f"{least[name]:.3f}", "median": f"{median(values):.3f}", "wanted": verdict}


OPTIONS: Options = {"turns": 7, "versus": (None, "folder of another checkout, for comparison", {"type": Path})}


def run(options: Namespace) -> None:
    checkouts = [HERE] if options.versus is None else [HERE, options.versus.resolve()]
    spent: dict[Path, dict[str, list[float]]] = {checkout: {name: [] for name in STARTS} for checkout in checkouts}
    for _ in range(options.turns):
        for name in STARTS:
            for checkout in checkouts:
                spent[checkout][name].append(process_seconds(name, checkout))
    for checkout, times in spent.items():
        show(str(checkout), rows(times))
