"""Servers from tables of measured kernels: many GPUs and models, without having one (extra ``tables``).

The package aiconfigurator-core holds times of kernels on GPUs, and adds up those of a model's layers to the time of a
step: each of n sequences gets a token, after so many tokens of context. A pass that verifies K drafts of L tokens has
the kernels of a step of K (L + 1) sequences, but it reads the context of K sequences only:

    step(K (L + 1), no context) + step(K, context) − step(K, no context).

The package's own option for several tokens, ``nextn``, reads the context once for each of them: passes of long drafts
would come out up to twice as long. Layers with a state instead of a context (Qwen3.5) are charged for each token.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from typing_extensions import override

from multispin_env.apps.models.passes import DRAFT, Fit, PassCell, Passes, Setting, fit_cells, fit_pieces
from multispin_env.apps.models.profile import Profile, cell_sizes, describe_law, describe_pieces, make_server
from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer, check_name, cut, missing_package, shown, suggestion
from multispin_env.units import MS

_PACKAGE, _BACKEND = "aiconfigurator-core", "vllm"  # what has the tables, and whose kernels they are of

BATCHES, LENGTHS, CONTEXT = (1, 2, 4, 8, 16, 32, 64, 128, 256), (0, 1, 2, 4, 8, 16), 1024
"""What laws are fitted to by default."""

_LEAST_CONTEXT = 128  # with less, what a draft adds besides would be taken for what its context adds

T = TypeVar("T")


def list_systems_and_models() -> tuple[list[str], list[str]]:
    """Names of GPUs with tables, and of models, of which a GPU may lack some."""
    common, database = _sdk("common"), _sdk("perf_database")
    found = database.get_supported_databases()
    return sorted(system for system in found if found[system].get(_BACKEND)), sorted(common.DefaultHFModels)


def _sdk(name: str) -> Any:
    try:
        sdk = import_module(f"aiconfigurator_core.sdk.{name}")
    except ImportError as error:
        raise ImportError(str(missing_package(_PACKAGE, "tables"))) from error  # of another extra than the command's
    logging.getLogger("aiconfigurator_core").setLevel(logging.ERROR)  # it warns of tables that no model here needs
    return sdk


class Machine(NamedTuple):
    """GPUs of a system, and how many of them a model is on."""

    system: str  # as ``"h100_sxm"``
    gpus: int = 1  # tensor parallel

    def __str__(self) -> str:
        return f"{self.gpus} x {self.system}"


class StepTimes:
    """Times of a model's steps on a machine; ``ValueError`` for an unknown one of them, or without tables of both."""

    def __init__(self, machine: Machine, model: str) -> None:
        systems, models = list_systems_and_models()
        check_name("table", machine.system, systems)
        check_integer("tensor_parallel", machine.gpus, 1)
        if model not in models and not os.path.isdir(model):  # else it would be looked for in the network
            expected = "a name that `multispin profile --table` lists, or a folder with a config.json"
            raise ValueError(f"model: expected {expected}, got {shown(model)}{suggestion(model, tuple(models))}")
        self.what = f"{model} on {machine}"
        self.estimates: set[str] = set()  # kinds, where kernels were not measured
        compiled = _sdk("engine").EngineHandle.compile
        self._engine = self._asked(lambda: compiled(model, machine.system, _BACKEND, tp_size=machine.gpus))

    def _asked(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except Exception as error:  # of many kinds, from below
            raise ValueError(f"table: expected a model that it has, got {self.what} ({cut(str(error))})") from None

    def step(self, sequences: int, context: int) -> float:
        """Seconds in which so many sequences get a token each, after so many tokens, at least 1."""
        milliseconds = self._asked(lambda: self._engine.decode_step_latency(sequences, context, 2))
        self.estimates |= {self._engine.last_provenance()} - {None}
        return float(milliseconds) * MS

    def seconds(self, cell: PassCell, context: int) -> float:
        """Seconds of a verification, or of a drafted token for each text of a batch."""
        if cell.what == DRAFT:
            return self.step(cell.batch, context)
        return self.step(cell.tokens, 1) + self.step(cell.batch, context) - self.step(cell.batch, 1)


@dataclass(frozen=True, eq=False)
class TableProfile(Profile):
    """A server from tables."""

    drafting: Fit | None = None  # T_srv by requests

    @override
    def describe(self) -> str:
        lines = [
            describe_law(self),
            f"A thousand tokens of context add {1e3 * self.server.context_time / MS:.3g} ms to each draft.",
            f"It is {self.server.model}.",
            f"From {self.server.source}.",
        ]
        if self.drafting is not None:
            law, error = describe_pieces(self.server.draft_pieces), self.drafting.error
            lines.insert(1, f"A drafted token for each of n requests takes {law}, within {error:.1%}.")
        return "\n".join(lines)


def make_table_profile(
    name: str,
    file: Path,
    machine: Machine,
    model: str,
    draft: str | None,
    cells: Sequence[PassCell],
    context: int = CONTEXT,
) -> TableProfile:
    """Look up passes, keep them in a ``file`` as `Passes` does, and fit the laws.

    The law of verification is fitted to passes after so many tokens of ``context`` and to those without, so that what a
    draft adds is by its context. The draft model is on one GPU, and drafts after ``context`` for as many requests as a
    batch has. ``ValueError`` as of `StepTimes`, `Passes` and `fit_cells`, and for too few tokens of context.
    """
    check_integer("context", context, _LEAST_CONTEXT)
    target = StepTimes(machine, model)
    times = {cell: target.seconds(cell, context) for cell in cells}
    batches, estimates = sorted({cell.batch for cell in cells}), target.estimates
    drafted = [PassCell(DRAFT, batch, 1) for batch in batches] if draft else []
    if draft:
        drafter = StepTimes(Machine(machine.system), draft)
        times |= {cell: drafter.seconds(cell, context) for cell in drafted}
        estimates |= drafter.estimates
    about: Setting = {"target": model, "draft": draft or "", "device": str(machine), "context": context}
    passes = Passes(file, {**about, "package": _package()})
    for cell, seconds in times.items():
        if not passes.count(cell):
            passes.add(cell, seconds)
    (drafts, tokens), without = cell_sizes(cells), np.array([target.seconds(cell, 1) for cell in cells])
    read = np.concatenate([drafts, context * drafts])
    found = fit_cells(read, np.tile(tokens, 2), np.concatenate([without, _medians(passes, cells)]))
    drafting = fit_pieces(np.array(batches, dtype=np.float64), _medians(passes, drafted)) if draft else None
    parts = [f"{len(cells)} cells of batch and length for each, within {_errors(found)}"]
    parts += [] if drafting is None else [f"draft times after {context} tokens within {_errors(drafting)}"]
    version = _sdk("perf_database").get_latest_database_version(machine.system, _BACKEND)
    kernels = f"kernels of {_BACKEND} {version}, {' and '.join(sorted(estimates)) or 'measured'}"
    server = make_server(
        found,
        name=name,
        model=f"{model} on {machine}" + (f", drafts by {draft} on one of them" if draft else ""),
        source=f"{_package()}: {kernels}, after 1 and {context} tokens of context; {', '.join(parts)}",
        by="context_time",
        draft_pieces=() if drafting is None else drafting.pieces,
    )
    return TableProfile(server, cells, passes, context, drafting)


def _package() -> str:
    return f"{_PACKAGE} {metadata.version(_PACKAGE)} ({metadata.metadata(_PACKAGE)['License-Expression']})"


def _medians(passes: Passes, cells: Sequence[PassCell]) -> FloatArray:
    return np.array([passes.median(cell) for cell in cells])


def _errors(found: Fit) -> str:
    return f"{found.error:.1%} (median {np.median(np.abs(found.errors)):.1%})"
