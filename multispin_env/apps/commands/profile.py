"""``multispin profile``: how long your models take to verify and to draft, as a server that scenarios can name."""

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from multispin_env.apps.commands.model_options import (
    add_model_options,
    add_out_option,
    check_model_options,
    load_pair,
    out_files,
)
from multispin_env.apps.models import tables
from multispin_env.apps.models.passes import VERIFY, PassCell, Passes, check_cells, measure
from multispin_env.apps.models.profile import (
    DRAFT_CELL,
    HEADER,
    PICTURE_SIZE,
    Profile,
    cell_sizes,
    draw_profile,
    make_profile,
    table_lines,
)
from multispin_env.apps.reproduce.drawing import check_matplotlib, save
from multispin_env.apps.terminal.arguments import Command
from multispin_env.apps.terminal.output import Progress
from multispin_env.checks import check_integer
from multispin_env.evaluation.statistics import aligned
from multispin_env.server import Server

_DESCRIPTION = """How long the target model takes to verify drafts, by batch size and draft length, and the draft model
for a token; and the law of verification that fits these times.

Writes STEM.toml, a profile for --server STEM.toml of every command; STEM.csv, each measured pass; STEM.png. The same
command goes on where it was stopped.

With --table nothing is measured: times are those of the package aiconfigurator-core (extra tables), for many models on
GPUs that you need not have."""

_SUFFIXES = (".toml", ".csv", ".png")

MEASURED = {"batches": (1, 2, 4, 8), "lengths": (0, 1, 4, 8, 16), "context": 128}
_LOOKED_UP = {"batches": tables.BATCHES, "lengths": tables.LENGTHS, "context": tables.CONTEXT}
"""Defaults of a profile that is measured, and of one from tables."""

_ONLY_MEASURED = {"draft_bits": None, "device": "cpu", "dtype": "float32", "repeats": 5, "seed": 0}
_ONLY_LOOKED_UP = {"tensor_parallel": 1}  # options with their defaults that only one of them has


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser, required=False)
    parser.add_argument("--model", dest="target", metavar="NAME", help="another name of --target")
    parser.add_argument(
        "--table",
        nargs="?",
        const="",
        metavar="GPU",
        help="take times from tables, as of h100_sxm; without a value, list the GPUs and models that there are",
    )
    gpus = "GPUs that the target is on, with --table (default 1)"
    parser.add_argument("--tensor-parallel", type=int, default=1, metavar="N", help=gpus)
    parser.add_argument(
        "--batches", type=int, nargs="+", metavar="K", help="batch sizes (default 1 2 4 8, with --table 1 2 4 ... 256)"
    )
    parser.add_argument(
        "--lengths", type=int, nargs="+", metavar="L", help="of drafts (default 0 1 4 8 16, with --table 2 too)"
    )
    parser.add_argument(
        "--context", type=int, metavar="N", help="tokens of each text already read (default 128, with --table 1024)"
    )
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="passes of each cell (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="of the order (default 0)")
    add_out_option(parser, ".toml, .csv and .png", required=False)


def _cells(options: argparse.Namespace) -> list[PassCell]:
    batches = sorted({check_integer("batches", batch, 1) for batch in options.batches})
    lengths = sorted({check_integer("lengths", length, 0) for length in options.lengths})
    cells = [PassCell(VERIFY, batch, length) for batch in batches for length in lengths]
    check_cells(*cell_sizes(cells))
    return cells


def _outputs(stem: Path) -> tuple[Path, ...]:
    files = out_files(stem, _SUFFIXES)
    if files[0].exists():
        try:
            Server.load(files[0])
        except ValueError:
            raise ValueError(f"out: expected a name without a .toml of another kind, got {str(files[0])!r}") from None
    return files


def _run(options: argparse.Namespace) -> None:
    if options.table == "":
        for what, names in zip(("GPUs", "models"), tables.list_systems_and_models(), strict=True):
            print(f"{what}: {', '.join(names)}")
        return
    _complete(options)
    cells, files = _cells(options), _outputs(options.out)
    check_matplotlib()
    profile = (_measured if options.table is None else _looked_up)(options, cells, files[1])
    profile.server.save(files[0])
    save(partial(draw_profile, profile), PICTURE_SIZE, options.out, (files[-1].suffix,))
    print(aligned(HEADER, table_lines(profile)))
    print(f"\n{profile.describe()}\n\n{', '.join(map(str, files))}")


def _complete(options: argparse.Namespace) -> None:
    for name, expected in (("target", "a model"), ("out", "a name for the files to write")):
        if vars(options)[name] is None:
            raise ValueError(f"{name}: expected {expected}, got none")
    check_model_options(options)
    measured = options.table is None
    for name, default in (_ONLY_LOOKED_UP if measured else _ONLY_MEASURED).items():
        if vars(options)[name] != default:
            where = "without" if measured else "with"
            raise ValueError(f"{name}: expected none {where} --table, got {vars(options)[name]!r}")
    for name, value in (MEASURED if measured else _LOOKED_UP).items():
        if vars(options)[name] is None:
            setattr(options, name, value)


def _looked_up(options: argparse.Namespace, cells: list[PassCell], passes_file: Path) -> Profile:
    machine, models = tables.Machine(options.table, options.tensor_parallel), (options.target, options.draft)
    return tables.make_table_profile(options.out.name, passes_file, machine, *models, cells, options.context)


def _measured(options: argparse.Namespace, cells: list[PassCell], passes_file: Path) -> Profile:
    context = check_integer("context", options.context, 1)
    repeats = check_integer("repeats", options.repeats, 1)
    rng = np.random.default_rng(check_integer("seed", options.seed, 0))
    pair = load_pair(options)
    longest = context + max(*(cell.length + 1 for cell in cells), DRAFT_CELL.length)
    if longest > pair.context:
        raise ValueError(
            f"context: expected at most {pair.context} tokens, those that the models can read, with the longest draft, "
            f"got {longest}"
        )

    from multispin_env.apps.models.rounds import Stopwatch, describe_setting

    setting = describe_setting(pair, options.dtype, context)
    passes = Passes(passes_file, setting)
    wanted = [*cells, DRAFT_CELL]
    if any(passes.count(cell) < repeats for cell in wanted):
        watch = Stopwatch(pair, max(cell.batch for cell in cells), context, rng)
        with Progress(1) as progress:
            measure(wanted, passes, repeats, rng, watch, progress.begin("passes"))
    return make_profile(options.out.name, cells, passes, setting)


COMMAND = Command(
    _DESCRIPTION,
    (
        "--target large --draft small --out mine-server",
        "--target large.gguf --batches 1 2 4 --lengths 0 2 6 --repeats 9 --out mine-server",
        "--target large --draft small --device cuda --dtype bfloat16 --context 1024 --out mine-server",
        "--table h100_sxm --model Qwen/Qwen3-32B --tensor-parallel 4 --draft Qwen/Qwen3-0.6B --out mine-server",
        "--table",
    ),
    _add_options,
    _run,
)
