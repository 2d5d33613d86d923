"""Learned controllers beside the rules: ``python -m benchmarks.learned_schedulers [--only NAME ...]``.

The pretrained agents of the environments without the barrier and the rules play the same episodes, which no training
and no other table uses. Differences are paired and have 95 % bootstrap intervals.

1. ``habits``: rate, batches, idle server, drafts, the least served device and missed requests, K = 20, load .85.
2. ``generalisation``: other numbers of devices, bandwidth, servers, loads and arrivals, K = 8 if nothing else is said.
3. ``price``: reward over time with a price of time that is 20 % off.
4. ``time``: a decision alone.
5. ``picture``: ``learned.png``, the gain over load and spread of draft times where requests end.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.learned_schedulers import generalisation, habits, picture, price, timing
from benchmarks.learned_schedulers.subjects import RULES, SEED, Learned, shipped
from multispin_env.checks import check_integer
from multispin_env.evaluation.table import to_json
from multispin_env.files import make_folder, write_atomically

OUT = Path("results/learned")
PICTURE = "learned.png"


@dataclass(frozen=True)
class Part:
    """What can be measured.

    Parameters
    ----------
    run
        Rows, dataclasses, of agents at a size; ``None`` for the usual one.
    table
        Rows as text.
    draw
        Draws rows into a file.
    """

    run: Callable[[Sequence[Learned], int | None], list[Any]]
    table: Callable[[Sequence[Any]], str]
    draw: Callable[[Sequence[Any], Path], None] | None = None


PARTS = {
    "habits": Part(habits.run, habits.table),
    "generalisation": Part(generalisation.run, generalisation.table),
    "price": Part(price.run, price.table),
    "time": Part(timing.run, timing.table),
    "picture": Part(picture.run, picture.table, picture.draw_gains),
}
"""By name."""


def measure(name: str, subjects: Sequence[Learned], size: int | None, folder: Path) -> str | None:
    """Measure one part and write it; its table, or ``None`` where no agent has a part in it."""
    part = PARTS[name]
    start = monotonic()
    rows = part.run(subjects, size)
    if not rows:
        return None
    about = {"part": name, "size": size, "seed": SEED, "seconds": round(monotonic() - start, 1)}
    write_atomically(folder / f"{name}.json", f"{to_json(rows, about)}\n".encode())
    if part.draw is not None:
        part.draw(rows, folder / PICTURE)
    return f"{name} ({about['seconds']} s)\n\n{part.table(rows)}\n"


def main(arguments: Sequence[str] | None = None, subjects: Sequence[Learned] | None = None) -> None:
    """Run from the command line, with the pretrained agents unless others are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=PARTS, default=list(PARTS))
    parser.add_argument("--size", type=int, help="episodes of each system, or decisions to time (default: by part)")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder for JSON and the picture (default {OUT})")
    options = parser.parse_args(arguments)
    size = None if options.size is None else check_integer("size", options.size, 2)
    chosen = shipped() if subjects is None else subjects
    if not chosen:
        sys.exit(f"agents: expected a pretrained agent of one of {list(RULES)}, got none")
    make_folder(options.out)
    for name in options.only:
        text = measure(name, chosen, size, options.out)
        if text is not None:
            print(text, flush=True)


if __name__ == "__main__":
    main()
