"""Measure how long your models take to verify and to draft, and fit the verification law.

The verification time of the target model is measured by batch size and draft length, the time of the draft model per
token after two contexts.

Writes STEM.toml, a server profile for --server STEM.toml of every command, STEM.csv with each measured pass, and
STEM.png. To resume a stopped run, repeat the command.

With --table nothing is measured: the times come from the package aiconfigurator-core (extra tables), for many models
and GPUs.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from multispin_env.apps.terminal.arguments import Command, add_anchor_options
from multispin_env.apps.terminal.output import Progress
from multispin_env.checks import check_integer, check_name
from multispin_env.evaluation.drawing import save
from multispin_env.evaluation.statistics import aligned
from multispin_env.server import Server
from multispin_lab.commands.model_options import (
    add_model_options,
    add_out_option,
    check_model_options,
    load_pair,
    out_files,
)
from multispin_lab.models import tables
from multispin_lab.models.passes import VERIFY, PassCell, Passes, check_cells, measure
from multispin_lab.models.profile import (
    DRAFT_CELL,
    HEADER,
    LONG_DRAFT_CELL,
    PICTURE_SIZE,
    Profile,
    cell_sizes,
    draw_profile,
    formula,
    make_profile,
    pass_contexts,
    table_lines,
)

_SUFFIXES = (".toml", ".csv", ".png")

_MEASURED = {"batches": (1, 2, 4, 8), "lengths": (0, 1, 4, 8, 16), "context": 128}
_LOOKED_UP = {"batches": tables.BATCHES, "lengths": tables.LENGTHS, "context": tables.CONTEXT}
"""Defaults of a profile that is measured, and of a profile from tables."""

_ONLY_MEASURED = {
    "draft_bits": None,
    "engine": None,
    "threads": None,
    "device": "cpu",
    "dtype": "float32",
    "repeats": 5,
    "seed": 0,
}
_ONLY_LOOKED_UP = {"tensor_parallel": 1}  # defaults of options that only one of the two has


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser, required=False)
    parser.add_argument("--model", dest="target", metavar="NAME", help="the same as --target")
    table = "look up the times of this GPU, for example h100_sxm; without a value, list all GPUs and models"
    parser.add_argument("--table", nargs="?", const=True, metavar="GPU", help=table)
    gpus = "number of GPUs of the target model, with --table (default 1)"
    parser.add_argument("--tensor-parallel", type=int, default=1, metavar="N", help=gpus)
    batches = "batch sizes (default 1 2 4 8, with --table 1 2 4 ... 256)"
    parser.add_argument("--batches", type=int, nargs="+", metavar="K", help=batches)
    lengths = "draft lengths (default 0 1 4 8 16, with --table also 2)"
    parser.add_argument("--lengths", type=int, nargs="+", metavar="L", help=lengths)
    context = "tokens in the cache of each sequence (default 128, with --table 1024)"
    parser.add_argument("--context", type=int, metavar="N", help=context)
    repeats = "passes for each batch size and draft length (default 5)"
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help=repeats)
    parser.add_argument("--seed", type=int, default=0, help="random seed of the order of passes (default 0)")
    add_anchor_options(parser)
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
            raise ValueError(f"out: expected a new file or an existing server profile, got {str(files[0])!r}") from None
    return files


def _run(options: argparse.Namespace) -> None:
    systems, models = ([], []) if options.table is None else tables.list_systems_and_models()
    if options.table is True:
        for kind, names in (("GPUs", systems), ("models", models)):
            print(f"{kind}: {', '.join(names)}")
        return
    if options.table is not None:
        check_name("table", options.table, systems)
    _set_defaults(options)
    cells, files = _cells(options), _outputs(options.out)
    profile = (_measure if options.table is None else _look_up)(options, cells, files[1])
    tpot, server = options.measured_tpot, profile.server
    server = server if tpot is None else server.anchored(tpot, options.at, options.context)
    server.save(files[0])
    save(partial(draw_profile, profile), PICTURE_SIZE, options.out, (files[-1].suffix,))
    print(aligned(HEADER, table_lines(profile)))
    anchored = "" if tpot is None else f"\n\nAnchored, a pass takes {formula(server)}.\nSource: {server.source}."
    print(f"\n{profile.describe()}{anchored}\n\n{', '.join(map(str, files))}")


def _set_defaults(options: argparse.Namespace) -> None:
    for name, expected in (("target", "a model"), ("out", "a name for the files to write")):
        if vars(options)[name] is None:
            raise ValueError(f"{name}: expected {expected}, got none")
    check_model_options(options)
    measured = options.table is None
    for name, default in (_ONLY_LOOKED_UP if measured else _ONLY_MEASURED).items():
        if vars(options)[name] != default:
            where = "without" if measured else "with"
            raise ValueError(f"{name}: expected no value {where} --table, got {vars(options)[name]!r}")
    for name, value in (_MEASURED if measured else _LOOKED_UP).items():
        if vars(options)[name] is None:
            setattr(options, name, value)


def _look_up(options: argparse.Namespace, cells: list[PassCell], passes_file: Path) -> Profile:
    machine, models = tables.Machine(options.table, options.tensor_parallel), (options.target, options.draft)
    return tables.make_table_profile(options.out.name, passes_file, machine, *models, cells, options.context)


def _measure(options: argparse.Namespace, cells: list[PassCell], passes_file: Path) -> Profile:
    context = check_integer("context", options.context, 1)
    repeats = check_integer("repeats", options.repeats, 1)
    rng = np.random.default_rng(options.seed)
    pair = load_pair(options)
    longest = max(*(cell.length + 1 for cell in cells), DRAFT_CELL.length)
    if context + longest > pair.context:
        raise ValueError(
            f"context: expected at most {pair.context} tokens with the longest draft, the maximum of the models, "
            f"got {context + longest}"
        )

    from multispin_lab.models.rounds import Stopwatch, describe_setting

    setting, contexts = describe_setting(pair, context), pass_contexts(context, pair.draft.context)
    passes = Passes(passes_file, setting)
    measured = [*cells, *(cell for cell in (DRAFT_CELL, LONG_DRAFT_CELL) if cell.what in contexts)]
    if any(passes.count(cell) < repeats for cell in measured):
        watch = Stopwatch(pair, max(cell.batch for cell in cells), contexts, longest, rng)
        with Progress(1) as progress:
            measure(measured, passes, repeats, rng, watch, progress.begin("passes"))
    profile = make_profile(options.out.name, cells, passes, setting, contexts)
    memory, drafts = pair.target.memory(), pair.draft.memory()
    memory |= {f"draft_{name}": drafts[name] for name in ("weights", "token_cache") if name in drafts}
    return replace(profile, server=replace(profile.server, **memory))


COMMAND = Command(
    __doc__,
    (
        "--target large --draft small --out mine-server",
        "--target large.gguf --batches 1 2 4 --lengths 0 2 6 --repeats 9 --out mine-server",
        "--target large --draft small --device cuda --dtype bfloat16 --context 1024 --out mine-server",
        "--table h100_sxm --model Qwen/Qwen3-32B --tensor-parallel 4 --draft Qwen/Qwen3-0.6B --out mine-server",
        "--table h100_sxm --model Qwen/Qwen3-32B --measured-tpot 0.0340 --at 1 --out mine-server",
        "--table",
    ),
    _add_options,
    _run,
)
