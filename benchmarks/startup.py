"""CPU time of starts: ``python -m benchmarks.startup``; docs/speed.md holds what was measured.

Each line is the user and system time of whole processes, which take turns. ``--beside`` takes turns with another
checkout too.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parents[1]

MULTISPIN = ("-m", "multispin_env")

GYMNASIUM, OURS = "import gymnasium", "import multispin_env"

STARTS = {
    "python alone": ("-c", ""),
    GYMNASIUM: ("-c", GYMNASIUM),
    OURS: ("-c", OURS),
    "multispin --help": (*MULTISPIN, "--help"),
    "multispin solve": (*MULTISPIN, "solve", "{checkout}/examples/devices.csv"),
    "train.py --help": ("{checkout}/train.py", "--help"),
    "train.py until its first line": ("{checkout}/train.py",),
    "train.py until its first progress": ("{checkout}/train.py",),
}
"""Arguments of each process."""

UNTIL = {"train.py until its first line": "run ", "train.py until its first progress": "training "}
"""How the line of stderr begins at which a process is stopped."""

LIMITS = {"multispin solve": 1.0, "train.py until its first progress": 5.0}
"""In seconds."""

BEYOND_GYMNASIUM = 0.25
"""Limit of our import beyond Gymnasium's, in seconds."""


def cpu_seconds(name: str, checkout: Path) -> float:
    """User and system time of one process, started in an empty folder.

    Raises
    ------
    RuntimeError
        If it ends in another way than it should.
    """
    arguments = [part.format(checkout=checkout) for part in STARTS[name]]
    until = UNTIL.get(name)
    stopped, said = False, ""
    with TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                said += line
                if until is not None and line.startswith(until):
                    process.kill()
                    stopped = True
                    break
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if stopped != (until is not None) or (not stopped and process.returncode):
        raise RuntimeError(f"{name}: expected {'a line ' + repr(until) if until else 'success'}, got {said!r}")
    return usage.ru_utime + usage.ru_stime


def _verdict(name: str, least: dict[str, float]) -> str:
    limit = least[GYMNASIUM] + BEYOND_GYMNASIUM if name == OURS else LIMITS.get(name)
    return "" if limit is None else f"{limit:.2f}, {'met' if least[name] <= limit else '**missed**'}"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7, help="processes of each kind (default 7)")
    parser.add_argument("--beside", type=Path, metavar="FOLDER", help="another checkout, for comparison")
    options = parser.parse_args()
    checkouts = {"this checkout": HERE}
    if options.beside is not None:
        checkouts["the other"] = options.beside.resolve()
    spent: dict[str, dict[str, list[float]]] = {label: {name: [] for name in STARTS} for label in checkouts}
    for _ in range(options.turns):
        for name in STARTS:
            for label, checkout in checkouts.items():
                spent[label][name].append(cpu_seconds(name, checkout))
    for label, times in spent.items():
        least = {name: min(values) for name, values in times.items()}
        print(f"| {label}: CPU-s of {options.turns} processes | least | median | wanted |")
        print("| --- | ---: | ---: | --- |")
        for name, values in times.items():
            print(f"| {name} | {least[name]:.3f} | {median(values):.3f} | {_verdict(name, least)} |")
        print(f"\nOur import beyond Gymnasium's: {least[OURS] - least[GYMNASIUM]:.3f} s\n")


if __name__ == "__main__":
    main()
