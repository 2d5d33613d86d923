"""Mutants that the tests let through: ``python -m benchmarks.mutants --seed 0 --count 60``.

Draws small faults of the package, puts each by itself into a copy of the project, and runs the tests that mirror the
file. A fault that no test notices survives: either it changes nothing that matters, or a test is missing. Prints the
part that was noticed for each folder and kind of fault, and every survivor. Numbers in the code are counted apart: many
are as good as their neighbours.

Why not mutmut or cosmic-ray: they have no operators for axes, copies, clips, extremes and dropped statements, which are
the faults of array code, and draw no seeded sample over kinds of faults.
"""

import argparse
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.mutants.operators import CONSTANTS, Mutant
from benchmarks.mutants.running import SURVIVED, Verdict, Workshop
from benchmarks.mutants.selection import PACKAGES, draw
from multispin_env.checks import check_integer
from multispin_env.evaluation.table import aligned
from multispin_env.terminal.status import exit_status

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "python -m benchmarks.mutants"


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="of the draws, one or several (default 0)")
    parser.add_argument("--count", type=int, default=60, help="faults that each seed draws (default 60)")
    parser.add_argument("--paths", nargs="+", default=list(PACKAGES), help="files or folders (default: the packages)")
    parser.add_argument("--workers", type=int, default=2, help="faults at a time (default 2)")
    parser.add_argument("--out", type=Path, help="file of verdicts, a line each; those it has are not tried again")
    parser.add_argument("--list", action="store_true", help="print the faults and try none")
    return parser


def area(path: str) -> str:
    """Folder that a file is counted under."""
    parts = Path(path).parts[:-1]
    return "/".join(parts[:2])


def score_cells(verdicts: Sequence[Verdict], key: Callable[[Mutant], str]) -> list[tuple[str, ...]]:
    """Rows of a table: faults, those noticed, and their part, by a key of the fault; the last row counts all."""
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[key(verdict.mutant)].append(verdict)
    rows = [*sorted(groups.items()), ("all", list(verdicts))]
    lines: list[tuple[str, ...]] = []
    for name, group in rows:
        killed = sum(verdict.outcome != SURVIVED for verdict in group)
        lines.append((name, str(len(group)), str(killed), f"{killed / len(group):.0%}" if group else "-"))
    return lines


def report(verdicts: Sequence[Verdict]) -> str:
    """Tables by folder and by kind, and the survivors."""
    plain = [verdict for verdict in verdicts if verdict.mutant.operator != CONSTANTS]
    header = ("faults", "noticed", "part")
    parts = [
        aligned(("folder, without constants", *header), score_cells(plain, lambda one: area(one.path))),
        aligned(("kind of fault", *header), score_cells(verdicts, lambda one: one.operator)),
    ]
    return "\n\n".join([*parts, *map(describe, [one for one in verdicts if one.outcome == SURVIVED])])


def describe(verdict: Verdict) -> str:
    """Where a fault is, and what it changes."""
    one = verdict.mutant
    before, after = (" ".join(text.split())[:200] for text in (one.before, one.after))
    return f"{verdict.outcome} {one.path}:{one.line} ({one.operator})\n  - {before}\n  + {after}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> None:
    """Draw, try and print."""
    for seed in options.seed:
        check_integer("seed", seed, 0)
    check_integer("count", options.count, 1)
    check_integer("workers", options.workers, 1)
    drawn = [draw(ROOT, options.paths, options.count, np.random.default_rng(seed)) for seed in options.seed]
    mutants = list(dict.fromkeys(itertools.chain.from_iterable(drawn)))
    if options.list:
        print("\n".join(describe(Verdict(mutant, "drawn", 0.0)) for mutant in mutants))
        return
    print(report(_verdicts(mutants, options.workers, options.out)))


def _verdicts(mutants: Sequence[Mutant], workers: int, out: Path | None) -> list[Verdict]:
    lines = out.read_text(encoding="utf-8").splitlines() if out is not None and out.exists() else []
    seconds = {one["file"]: one["seconds"] for one in map(json.loads, lines) if "file" in one}
    before = {one.mutant: one for one in map(Verdict.from_json, lines) if one is not None}
    verdicts = [before[mutant] for mutant in mutants if mutant in before]
    left = [mutant for mutant in mutants if mutant not in before]
    if left:
        with Workshop(ROOT, workers).open() as workshop:
            workshop.check(left, seconds, partial(_without_faults, out))
            for verdict in workshop.judge(left):
                verdicts.append(verdict)
                _say(f"{len(verdicts)}/{len(mutants)} {describe(verdict)} {verdict.seconds:.0f} s {verdict.killer}")
                _keep(out, verdict.to_json())
    order = {mutant: index for index, mutant in enumerate(mutants)}
    return sorted(verdicts, key=lambda one: order[one.mutant])


def _without_faults(out: Path | None, file: str, seconds: float) -> None:
    _say(f"without faults: {file} {seconds:.0f} s")
    _keep(out, json.dumps({"file": file, "seconds": seconds}))


def _keep(out: Path | None, line: str) -> None:
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    options = parser().parse_args(arguments)
    return exit_status(PROGRAM, lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
