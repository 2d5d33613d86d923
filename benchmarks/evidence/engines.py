"""Speed and memory of transformers and llama.cpp with one GGUF file, and the time of speculative sampling.

Medians in real time with the threads given, on a machine that should be idle: *load* is the time until a model is
ready, *MB* the largest memory of its process, with a batch of the largest size; *token* the pass of one token for each
text of the batch, *draft of 4* that of five. Sampling is measured for 1 and 8 drafts of 8 tokens: the distributions,
acceptance and the next tokens. With ``--drafts`` only the folder is written: two draft models for the file, one with
fewer bits (``bits.gguf``) and one without a third of the layers (``pruned.gguf``).
"""

import ctypes
import multiprocessing
import os
import resource
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks.tools import Options, Row, show
from multispin_env.units import MS
from multispin_lab.models import ENGINES, sampling
from multispin_lab.models.loading import load_model

_TURNS = 9
_BITS = 10  # LLAMA_FTYPE_MOSTLY_Q2_K


def _milliseconds(call: Callable[[], object]) -> float:
    looks = []
    for _ in range(_TURNS):
        start = perf_counter()
        call()
        looks.append(perf_counter() - start)
    return median(looks) / MS


def measure(file: str, batches: list[int], context: int, threads: int, engine: str) -> list[Row]:
    """Return the rows of an engine, measured in this process."""
    start = perf_counter()
    model = load_model(file, engine=engine, threads=threads)
    loading, rng, most = perf_counter() - start, np.random.default_rng(0), max(batches)
    stored = model.sequences(most, model.vocabulary_size, context + 8)
    start = perf_counter()
    for row in range(most):
        stored.read(np.array([row]), [rng.integers(0, model.vocabulary_size, context).tolist()], 1)
    reading = most * context / (perf_counter() - start)
    times = []
    for batch in batches:
        rows = np.arange(batch)

        def read(length: int, rows: np.ndarray = rows) -> None:
            stored.read(rows, rng.integers(0, model.vocabulary_size, (len(rows), length)).tolist())
            stored.trim(rows, np.full(len(rows), context))

        read(5)
        times.append((batch, _milliseconds(partial(read, 1)), _milliseconds(partial(read, 5))))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return [
        {
            "engine": engine, "batch": batch, "token (ms)": token, "draft of 4 (ms)": draft,
            "prompt (tokens/s)": reading, "load (s)": loading, "MB": memory,
        }
        for batch, token, draft in times
    ]  # fmt: skip


def rows(options: Namespace) -> Iterator[Row]:
    """Yield the rows of each engine, from a process of its own."""
    for engine in options.engines:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            given = options.file, options.batches, options.context, options.threads, engine
            yield from pool.submit(measure, *given).result()


def sampling_rows(vocabulary_size: int) -> Iterator[Row]:
    """Yield the milliseconds of sampling."""
    rng = np.random.default_rng(0)
    for drafts in (1, 8):
        logits = (4.0 * rng.standard_normal((drafts, 9, vocabulary_size))).astype(np.float32)
        law = sampling.probabilities(logits, 1.0, "")
        q, length, uniform = law[:, :8], np.full(drafts, 8), rng.random((drafts, 8))
        token = sampling.pick_tokens(q, uniform)
        yield {
            "drafts": drafts,
            "distributions (ms)": _milliseconds(partial(sampling.probabilities, logits, 1.0, "")),
            "a drafted token (ms)": _milliseconds(partial(sampling.pick_tokens, q[:, 0], uniform[:, 0])),
            "acceptance (ms)": _milliseconds(
                partial(sampling.verify, law, q, token, length, uniform, rng.random(drafts))
            ),
        }


def write_drafts(file: str, folder: Path) -> None:
    """Write draft models for a GGUF file."""
    import llama_cpp.llama_cpp as ll

    layers = _layers(file)
    pruned = [layer for layer in range(1, layers - 1) if layer % 3 == 1]
    folder.mkdir(parents=True, exist_ok=True)
    for name, kept_type, pruning in (("bits", _BITS, []), ("pruned", None, pruned)):
        options = ll.llama_model_quantize_default_params()
        options.allow_requantize = True
        options.only_copy = kept_type is None
        if kept_type is not None:
            options.ftype = kept_type
        if pruning:
            options.prune_layers = (ctypes.c_int32 * (len(pruning) + 1))(*pruning, -1)
        path = folder / f"{name}.gguf"
        if status := ll.llama_model_quantize(file.encode(), str(path).encode(), ctypes.byref(options)):
            raise ValueError(f"file: expected a GGUF file that llama.cpp can quantize, got {file!r} (status {status})")
        print(f"{path}: {path.stat().st_size / 1e6:.0f} MB" + f", without layers {pruning} of {layers}" * bool(pruning))


def _layers(file: str) -> int:
    import llama_cpp.llama_cpp as ll

    handle = load_model(file, engine="llama.cpp").handle  # type: ignore[attr-defined]
    return int(ll.llama_model_n_layer(handle))


OPTIONS: Options = {
    "file": (None, "GGUF file", {"required": True}),
    "engines": (list(ENGINES), "engines"),
    "batches": ([1, 2, 4, 8], "numbers of texts"),
    "context": (128, "tokens of each text"),
    "threads": (len(os.sched_getaffinity(0)), "threads of each engine"),
    "drafts": (None, "folder to write draft models to", {"type": Path}),
}


def run(options: Namespace) -> None:
    if options.drafts is not None:
        return write_drafts(options.file, options.drafts)
    print(f"{Path(options.file).name}, {options.threads} threads, load {os.getloadavg()[0]:.2f}")
    show(f"passes after {options.context} tokens", rows(options))
    show("sampling, V = 49,152", sampling_rows(49_152))
