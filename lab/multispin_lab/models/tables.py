"""Servers from tables of measured kernels, for many GPUs and models without access to them (extra ``tables``).

The package aiconfigurator-core holds times of kernels on GPUs, and sums them over a model's layers to the time of a
step, in which each of n sequences gets a token after a given context. A pass that verifies K drafts of L tokens has
the kernels of a step of K (L + 1) sequences, but it reads the context of K sequences only:

    step(K (L + 1), no context) + step(K, context) − step(K, no context).

The package's option for several tokens, ``nextn``, reads the context once for each token, so passes of long drafts
would be up to twice as long. Layers with a state instead of a context (Qwen3.5) are counted for each token.
"""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from multispin_env.checks import check_integer, check_name, cut, missing_package, shown, suggestion
from multispin_env.server import line_time
from multispin_env.units import MS
from multispin_lab.models.passes import DRAFT, Fit, PassCell, Passes, Setting, fit_cells, fit_pieces
from multispin_lab.models.profile import Profile, cell_sizes, make_server, round_digits

_PACKAGE, _BACKEND = "aiconfigurator-core", "vllm"

BATCHES, LENGTHS, CONTEXT = (1, 2, 4, 8, 16, 32, 64, 128, 256), (0, 1, 2, 4, 8, 16), 1024
"""Default batch sizes, draft lengths and context of the fit."""

_LONGER = (4, 8, 16, 32)  # multiples of the context after which drafting is timed, too

_LEAST_CONTEXT = 128  # with less, the times per draft and per token of context can't be separated

T = TypeVar("T")


def list_systems_and_models() -> tuple[list[str], list[str]]:
    """Return the names of GPUs with tables, and of models; a GPU may lack tables of some models."""
    common, database = _sdk("common"), _sdk("perf_database")
    databases = database.get_supported_databases()
    return sorted(system for system in databases if databases[system].get(_BACKEND)), sorted(common.DefaultHFModels)


def _sdk(name: str) -> Any:
    try:
        sdk = import_module(f"aiconfigurator_core.sdk.{name}")
    except ImportError as error:
        raise ImportError(str(missing_package(_PACKAGE, "tables"))) from error  # the command's extra is another one
    logging.getLogger("aiconfigurator_core").setLevel(logging.ERROR)  # it warns of tables that are not used here
    return sdk


class Machine(NamedTuple):
    """Type and number of the GPUs of a model."""

    system: str  # such as ``"h100_sxm"``
    gpus: int = 1  # tensor parallelism

    def __str__(self) -> str:
        return f"{self.gpus} x {self.system}"


class StepTimes:
    """Times of a model's steps on a machine; ``ValueError`` if one is unknown, or without tables of both."""

    def __init__(self, machine: Machine, model: str) -> None:
        systems, models = list_systems_and_models()
        check_name("table", machine.system, systems)
        check_integer("tensor_parallel", machine.gpus, 1)
        if model not in models and not os.path.isdir(model):  # else the package would look for it on the hub
            expected = "a name that `multispin profile --table` lists, or a folder with a config.json"
            raise ValueError(f"model: expected {expected}, got {shown(model)}{suggestion(model, tuple(models))}")
        self.name = f"{model} on {machine}"
        self.estimates: set[str] = set()  # kinds of estimates for kernels that were not measured
        compiled = _sdk("engine").EngineHandle.compile
        self._engine = self._query(lambda: compiled(model, machine.system, _BACKEND, tp_size=machine.gpus))

    def _query(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except Exception as error:  # the package raises errors of many classes
            raise ValueError(f"table: expected a model with tables, got {self.name} ({cut(str(error))})") from None

    def step(self, sequences: int, context: int) -> float:
        """Return the seconds of a step, in which sequences get one token each after ``context`` ≥ 1 tokens."""
        milliseconds = self._query(lambda: self._engine.decode_step_latency(sequences, context, 2))
        self.estimates |= {self._engine.last_provenance()} - {None}
        return float(milliseconds) * MS

    def seconds(self, cell: PassCell, context: int) -> float:
        """Return the seconds of a verification, or of a drafted token for each text of a batch."""
        if cell.what == DRAFT:
            return self.step(cell.batch, context)
        return self.step(cell.tokens, 1) + self.step(cell.batch, context) - self.step(cell.batch, 1)


def model_size(model: str, prefix: str = "") -> dict[str, Any]:
    """Return `size_in_memory` of a model in 16 bits, from its configuration in the package or in its folder.

    Nothing if transformers does not know the model or its format, or without the extra ``models``. The package's own
    estimator is not used: it counts all layers of hybrid models, and up to 16 % more weights than dense models have.
    """
    with suppress(Exception):  # of many classes, and from the configuration of an unknown model
        import torch as th
        from transformers import AutoConfig, AutoModelForCausalLM

        from multispin_lab.models.transformers_engine import size_in_memory

        folder = Path(import_module("aiconfigurator_core").__file__ or "").parent / "model_configs"
        start = f"{model}/" if os.path.isdir(model) else f"{folder / model.replace('/', '--')}_"
        if not Path(f"{start}hf_quant_config.json").exists():
            safe = {"trust_remote_code": False}
            config = AutoConfig.from_pretrained(f"{start}config.json", local_files_only=True, **safe)
            with th.device("meta"):  # no memory for weights
                network = AutoModelForCausalLM.from_config(config.get_text_config(), dtype=th.bfloat16, **safe)
            return size_in_memory(network, prefix)
    return {}


def make_table_profile(
    name: str,
    file: Path,
    machine: Machine,
    model: str,
    draft: str | None,
    cells: Sequence[PassCell],
    context: int = CONTEXT,
) -> Profile:
    """Look up the times of passes, store them in a ``file`` of `Passes`, and fit the server.

    The verification time is fitted to passes with and without ``context`` tokens per draft, so that the time per draft
    is that of its context. The draft model runs on one GPU, after ``context`` tokens, for a batch of requests.
    ``ValueError`` as `StepTimes`, `Passes` and `fit_cells`, and for too few tokens of context.
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
    setting: Setting = {"target": model, "draft": draft or "", "device": str(machine), "context": context}
    passes = Passes(file, {**setting, "package": _package()})
    for cell, seconds in times.items():
        if not passes.count(cell):
            passes.add(cell, seconds)
    (drafts, tokens), without = cell_sizes(cells), np.array([target.seconds(cell, 1) for cell in cells])
    context_tokens = np.concatenate([drafts, context * drafts])
    fit = fit_cells(context_tokens, np.tile(tokens, 2), np.concatenate([without, passes.medians(cells)]))
    drafting: Fit | None = None
    times_of_drafts: dict[str, Any] = {}
    parts = [f"{len(cells)} cells of batch and length for each, within {_errors(fit)}"]
    if draft:
        drafting = fit_pieces(np.array(batches, dtype=np.float64), passes.medians(drafted))
        growth = _fit_growth(drafter, drafting, batches, context)
        parts.append(f"draft times after {context} tokens within {_errors(drafting)}")
        parts.append(f"after up to {context * _LONGER[-1]} within {_errors(growth)}")
        times_of_drafts = {
            "draft_pieces": drafting.pieces,
            "draft_context_time": growth.time_per_draft,
            "draft_context": context,
            **model_size(draft, "draft_"),
        }
    version = _sdk("perf_database").get_latest_database_version(machine.system, _BACKEND)
    kernels = f"kernels of {_BACKEND} {version}, {' and '.join(sorted(estimates)) or 'measured'}"
    server = make_server(
        fit,
        name=name,
        model=f"{model} on {machine}" + (f", drafts by {draft} on one of them" if draft else ""),
        source=f"{_package()}: {kernels}, after 1 and {context} tokens of context; {', '.join(parts)}",
        by="context_time",
        gpus=machine.gpus,
        gpu_memory=float(_sdk("perf_database").load_system_spec(machine.system)["gpu"]["mem_capacity"]),
        memory_source=f"{_package()}: mem_capacity of the GPU, and configurations of the models; 16 bits",
        **model_size(model),
        **times_of_drafts,
    )
    return Profile(server, cells, passes, context, drafting)


def _fit_growth(drafter: StepTimes, drafting: Fit, batches: Sequence[int], context: int) -> Fit:
    """Fit the seconds that a token of context adds to drafting, its time per draft, by least squares of errors."""
    pairs = [(batch, factor * context) for batch in batches for factor in _LONGER]
    times = np.array([drafter.step(*pair) for pair in pairs])
    batch, tokens = np.array(pairs, dtype=np.float64).T
    added, before = batch * (tokens - context) / times, line_time(drafting.pieces, batch) / times
    slope = round_digits(max(float(((1.0 - before) * added).sum() / (added**2).sum()), 0.0))
    return Fit(slope, drafting.pieces, before + slope * added - 1.0)


def _package() -> str:
    return f"{_PACKAGE} {metadata.version(_PACKAGE)} ({metadata.metadata(_PACKAGE)['License-Expression']})"


def _errors(fit: Fit) -> str:
    return f"{fit.error:.1%} (median {np.median(np.abs(fit.errors)):.1%})"
