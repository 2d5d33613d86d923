"""``multispin profile``: how long your models take to verify and to draft, as a server that scenarios can name."""

import argparse
from pathlib import Path

import numpy as np

from multispin_env.checks import check_integer
from multispin_env.commands.model_options import (
    add_model_options,
    add_out_option,
    check_model_options,
    load_pair,
    out_files,
)
from multispin_env.evaluation.statistics import aligned
from multispin_env.models.passes import VERIFY, PassCell, Passes, check_cells, measure
from multispin_env.models.profile import DRAFTED, FIGURE, HEADER, in_words, make_profile, sizes_of, table_lines
from multispin_env.reproduce.drawing import check_matplotlib, save
from multispin_env.server import Server
from multispin_env.terminal.arguments import Command
from multispin_env.terminal.output import Progress

DESCRIPTION = """How long the target model takes to verify drafts, by batch size and draft length, and the draft model
for a token; and the law of verification that fits these times.

Writes STEM.toml, a profile for --server STEM.toml of every command; STEM.csv, each measured pass; STEM.png. The same
command goes on where it was stopped."""

SUFFIXES = (".toml", ".csv", ".png")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_model_options(parser)
    parser.add_argument(
        "--batches", type=int, nargs="+", default=(1, 2, 4, 8), metavar="K", help="batch sizes (default 1 2 4 8)"
    )
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=(0, 1, 4, 8, 16), metavar="L", help="of drafts (default 0 1 4 8 16)"
    )
    parser.add_argument(
        "--context", type=int, default=128, metavar="N", help="tokens of each text already read (default 128)"
    )
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="passes of each cell (default 5)")
    parser.add_argument(
        "--pieces", type=int, metavar="J", help="of the law, 1 or 2 (default: 2 where they halve the largest error)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order (default 0)")
    add_out_option(parser, ".toml, .csv and .png")


def _cells(options: argparse.Namespace) -> list[PassCell]:
    """What is to be verified, by batch and length; ``ValueError`` for what no law can be fitted to."""
    batches = sorted({check_integer("batches", batch, 1) for batch in options.batches})
    lengths = sorted({check_integer("lengths", length, 0) for length in options.lengths})
    cells = [PassCell(VERIFY, batch, length) for batch in batches for length in lengths]
    check_cells(*sizes_of(cells), options.pieces)
    return cells


def _outputs(stem: Path) -> tuple[Path, ...]:
    """Files to write; ``ValueError`` if one can't be, or is not of this command."""
    files = out_files(stem, SUFFIXES)
    if files[0].exists():
        try:
            Server.load(files[0])
        except ValueError:
            raise ValueError(f"out: expected a name without a .toml of another kind, got {str(files[0])!r}") from None
    return files


def run(options: argparse.Namespace) -> None:
    """Measure what is missing, fit and show."""
    check_model_options(options)
    cells = _cells(options)
    context = check_integer("context", options.context, 1)
    repeats = check_integer("repeats", options.repeats, 1)
    rng = np.random.default_rng(check_integer("seed", options.seed, 0))
    profile_file, passes_file, picture_file = _outputs(options.out)
    check_matplotlib()
    pair = load_pair(options)
    longest = context + max(*(cell.length + 1 for cell in cells), DRAFTED.length)
    if longest > pair.context:
        raise ValueError(
            f"context: expected at most {pair.context} tokens, those that the models can read, with the longest draft, "
            f"got {longest}"
        )

    from multispin_env.models.rounds import Stopwatch, setting_of

    setting = setting_of(pair, options.dtype, context)
    passes = Passes(passes_file, setting)
    wanted = [*cells, DRAFTED]
    if any(passes.count(cell) < repeats for cell in wanted):
        watch = Stopwatch(pair, max(cell.batch for cell in cells), context, rng)
        with Progress(1, time_left=True) as progress:
            measure(wanted, passes, repeats, rng, watch, progress.begin("passes"))
    profile = make_profile(options.out.name, cells, passes, setting, options.pieces)
    profile.server.save(profile_file)
    save(FIGURE, [profile], options.out, (picture_file.suffix,))
    print(aligned(HEADER, table_lines(profile)))
    print(f"\n{in_words(profile)}\n\n{profile_file}, {passes_file}, {picture_file}")


COMMAND = Command(
    DESCRIPTION,
    (
        "--target large --draft small --out mine-server",
        "--target large.gguf --batches 1 2 4 --lengths 0 2 6 --repeats 9 --out mine-server",
        "--target large --draft small --device cuda --dtype bfloat16 --context 1024 --out mine-server",
    ),
    add_options,
    run,
)
