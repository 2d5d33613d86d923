"""Laws of servers that ship with the package, fitted to tables of measured kernels (extra ``tables``).

``--out`` writes the files of the package. The last table compares verification with recorded passes on GPUs, where both
are known: recorded passes are slower, since a table has kernels and nothing between them.
"""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.draft_models import QuantizedModel
from benchmarks.evidence.fit import TABLES
from benchmarks.tools import Options, Row, show
from multispin_env.registry import SERVERS
from multispin_env.units import MS
from multispin_lab.models.passes import VERIFY, PassCell, fit_law, law_times
from multispin_lab.models.profile import Profile, cell_sizes
from multispin_lab.models.tables import (
    BATCHES,
    CONTEXT,
    LENGTHS,
    Machine,
    StepTimes,
    make_table_profile,
)

MODELS = {
    "8b": "Qwen/Qwen3-8B",
    "27b": "Qwen/Qwen3.5-27B",  # the target of the paper
    "32b": "Qwen/Qwen3-32B",
    "70b": "meta-llama/Meta-Llama-3.1-70B",
}

DRAFT = "Qwen/Qwen3-0.6B"
"""Smallest model of the tables, also for 27b and 70b, whose small models the tables lack."""

MACHINES = {
    "a100-8b": Machine("a100_sxm"),
    "h100-8b": Machine("h100_sxm"),
    "h100-27b": Machine("h100_sxm", 2),
    "h100-32b": Machine("h100_sxm", 4),
    "h100-70b": Machine("h100_sxm", 4),
    "b200-27b": Machine("b200_sxm"),
    "b200-32b": Machine("b200_sxm"),
    "b200-70b": Machine("b200_sxm", 2),
    "l40s-8b": Machine("l40s"),
    "l40s-32b": Machine("l40s", 4),
    "rtx-pro-6000-8b": Machine("rtx_pro_6000_server"),
    "rtx-pro-6000-32b": Machine("rtx_pro_6000_server", 2),
}
"""Machines by the names of the profiles, which end with the model."""

COMMENT = "# Written by `python -m benchmarks.evidence tables --out multispin_env/data/servers`.\n"


def profile_of(name: str, folder: Path) -> Profile:
    """Fit the law of a profile to its passes, which are kept in a file of the folder."""
    cells = [PassCell(VERIFY, batch, length) for batch in BATCHES for length in LENGTHS]
    model = MODELS[name.rpartition("-")[2]]
    return make_table_profile(name, folder / f"{name}.csv", MACHINES[name], model, DRAFT, cells)


def write(profile: Profile, folder: Path) -> Path:
    file = folder / f"{profile.server.name}.toml"
    profile.server.save(file)
    file.write_text(COMMENT + file.read_text(encoding="utf-8"), encoding="utf-8", newline="\n")
    return file


def _lines(lines: object) -> str:
    return " or ".join(f"{start / MS:.4g} + {slope / MS:.4g} n" for start, slope in np.array(lines))


def rows(out: Path | None) -> Iterator[Row]:
    with TemporaryDirectory() as folder:
        for name in MACHINES:
            profile = profile_of(name, Path(folder))
            server, errors = profile.server, np.abs(profile.errors)
            if out is not None:
                write(profile, out)
            yield {
                "server": name,
                "context (ns a token)": f"{1e9 * server.context_time:.4g}",
                "largest of (ms)": _lines(server.pieces),
                "worst": f"{errors.max():.1%}",
                "median": f"{np.median(errors):.1%}",
                "T_srv (ms)": _lines(server.draft_pieces),
                "T_srv (ns a token of context)": f"{1e9 * server.draft_context_time:.4g}",
                "drafts worst": f"{profile.drafting.error:.1%}" if profile.drafting else "",
            }


def recorded() -> Iterator[Row]:
    """Compare recorded passes of a 32B model on four A100 with the tables; sequences have 8 tokens."""
    steps, table = StepTimes(Machine("a100_sxm", 4), MODELS["32b"]), TABLES["a100-32b"]
    tokens = np.array(table.tokens, dtype=np.float64)
    for context in (1, CONTEXT):
        cells = [PassCell(VERIFY, count // 8, 7) for count in table.tokens]
        times = np.array([steps.seconds(cell, context) for cell in cells]) / MS
        measured = np.array(table.milliseconds)
        yield {
            "context": context,
            "tables (ms)": _lines(fit_law(tokens, times * MS, 1).pieces),
            "recorded (ms)": _lines(fit_law(tokens, measured * MS, 1).pieces),
            "recorded over tables": f"{(measured / times).min():.2f} to {(measured / times).max():.2f}",
        }


def by_context() -> Iterator[Row]:
    """Return errors of the profiles at a context."""
    cells = [PassCell(VERIFY, batch, length) for batch in BATCHES for length in LENGTHS]
    steps = {name: StepTimes(machine, MODELS[name.rpartition("-")[2]]) for name, machine in MACHINES.items()}
    drafts, tokens = cell_sizes(cells)
    for context in (1, 256, CONTEXT, 4096, 8192, 16_384, 32_768):
        errors = []
        for name, of_target in steps.items():
            server, looked_up = SERVERS.load(name), np.array([of_target.seconds(cell, context) for cell in cells])
            law = law_times(server.context_time * context, np.array(server.pieces), drafts, tokens)
            errors.append(np.abs(law / looked_up - 1.0))
        yield {
            "context": context,
            "worst error": f"{np.max(errors):.0%}",
            "median error": f"{np.median(errors):.1%}",
        }


def growth() -> Iterator[Row]:
    """Compare the estimate of what a token of context adds to a drafted one, in 16 bits, with the tables."""
    for name in (DRAFT, "Qwen/Qwen3-1.7B", MODELS["8b"], "meta-llama/Meta-Llama-3.1-8B"):
        model = name.rpartition("/")[2].removeprefix("Meta-")
        for system in ("a100_sxm", "h100_sxm", "l40s", "b200_sxm"):
            steps = StepTimes(Machine(system), name)
            estimate = QuantizedModel(model, 16.0).context_time(steps.step(1, CONTEXT))
            found = [
                (steps.step(batch, 32 * CONTEXT) - steps.step(batch, CONTEXT)) / (31 * CONTEXT * batch)
                for batch in (1, 64)
            ]
            yield {
                "model": model,
                "GPU": system,
                "token (ms)": f"{steps.step(1, CONTEXT) / MS:.2f}",
                "estimated (ns)": f"{1e9 * estimate:.1f}",
                "one request (ns)": f"{1e9 * found[0]:.1f}",
                "of 64 (ns)": f"{1e9 * found[1]:.1f}",
                "estimated over both": f"{estimate / found[0]:.2f}, {estimate / found[1]:.2f}",
            }


OPTIONS: Options = {"out": (None, "folder to write the profiles to", {"type": Path})}


def run(options: Namespace) -> None:
    show("laws from tables", rows(options.out))
    show("recorded passes and tables", recorded())
    show("what a token of context adds to a drafted one: estimate and tables", growth())
    show("errors of all by context", by_context())
