"""Options shared by the commands with real models; only `load` needs an engine."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from multispin_env.apps.terminal.output import check_outputs
from multispin_env.checks import check_integer, check_label, check_name, check_real
from multispin_env.evaluation.drawing import check_matplotlib
from multispin_lab.models import DTYPES, ENGINES

if TYPE_CHECKING:
    from multispin_lab.models.engine import Model, Pair


def add_model_options(parser: ArgumentParser, required: bool = True) -> None:
    """Add ``--target`` and the options of `add_draft_options` and `add_device_options`."""
    add_target_option(parser, required)
    add_draft_options(parser)
    add_device_options(parser)


def add_target_option(parser: ArgumentParser, required: bool = True) -> None:
    """Add ``--target``."""
    target = "target model: a folder saved by transformers, a .gguf file, or a name on the Hugging Face hub"
    parser.add_argument("--target", metavar="NAME", required=required, help=target)


def add_draft_options(parser: ArgumentParser, required: bool = False) -> None:
    """Add ``--draft --draft-bits``; ``--draft`` may be ``required``."""
    default = "" if required else " (default: the target)"
    parser.add_argument(
        "--draft", metavar="NAME", required=required, help=f"draft model, with the vocabulary of the target{default}"
    )
    bits = "quantize the draft model's weights to N bits, 2 to 8"
    parser.add_argument("--draft-bits", type=int, metavar="N", help=bits)


def add_device_options(parser: ArgumentParser) -> None:
    """Add ``--engine --threads --device --dtype``."""
    engine = f"{' or '.join(ENGINES)} (default: llama.cpp for .gguf files if it is installed)"
    parser.add_argument("--engine", metavar="NAME", help=engine)
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the processor (default: all cores)")
    parser.add_argument("--device", default="cpu", help="torch device, for example cpu, cuda or cuda:1 (default cpu)")
    parser.add_argument("--dtype", default="float32", help=f"one of {', '.join(DTYPES)} (default float32)")


def add_prompt_options(parser: ArgumentParser, required: bool = True, seed: int | None = 0) -> None:
    """Add ``--prompts --raw --temperature --seed``; ``--prompts`` may be ``required``, and ``seed`` is the default."""
    prompts = '.txt with one prompt per line, or .jsonl with rows {"prompt": TEXT, "task": NAME} (task is optional)'
    parser.add_argument("--prompts", type=Path, metavar="FILE", required=required, help=prompts)
    parser.add_argument("--raw", action="store_true", help="use the prompts without the chat template")
    temperature = "sampling temperature of both models (default 1)"
    parser.add_argument("--temperature", type=float, default=1.0, metavar="T", help=temperature)
    usual = "a secret one" if seed is None else seed
    parser.add_argument("--seed", type=int, default=seed, help=f"random seed (default {usual})")


def add_out_option(parser: ArgumentParser, files: str, required: bool = True) -> None:
    """Add ``--out STEM``; ``files`` names the suffixes that are written, for example ``".toml, .png"``."""
    text = f"name of the files to write: STEM plus {files}"
    parser.add_argument("--out", type=Path, metavar="STEM", required=required, help=text)


def out_file(stem: Path, suffix: str) -> Path:
    """Return the path ``stem`` + ``suffix``, for example with ``".toml"``."""
    return stem.with_name(stem.name + suffix)


def out_files(stem: Path, suffixes: Iterable[str]) -> tuple[Path, ...]:
    """Return the files of ``--out``; ``ValueError``, before the computation, for one that cannot be written."""
    if stem.name in ("", ".."):
        raise ValueError(f"out: expected a name for the files to write, got {str(stem)!r}")
    check_label("out", stem.name)  # the written files contain it
    files = tuple(out_file(stem, suffix) for suffix in suffixes)
    check_outputs(*files)
    for file in files:
        if not all(os.access(path, os.W_OK) for path in (file, file.resolve().parent) if path.exists()):
            raise ValueError(f"out: expected files that can be written, got {str(file)!r}")
        if file.suffix == ".png":
            check_matplotlib()
    return files


def check_model_options(options: Namespace) -> None:
    """Check numbers and names before models are loaded."""
    check_name("dtype", options.dtype, DTYPES)
    if options.engine is not None:
        check_name("engine", options.engine, ENGINES)
    if options.threads is not None:
        check_integer("threads", options.threads, 1)
    if getattr(options, "draft_bits", None) is not None:
        check_integer("draft_bits", options.draft_bits, 2, 8)
    if hasattr(options, "temperature"):
        check_real("temperature", options.temperature, 0.0)


def load(options: Namespace, name: str, bits: int | None = None) -> "Model":
    """Load a model by its name."""
    from multispin_lab.models.loading import load_model

    return load_model(name, options.device, options.dtype, bits, options.engine, options.threads)


def load_pair(options: Namespace) -> "Pair":
    """Load the target and the draft model; the same model is loaded only once."""
    from multispin_lab.models.engine import Pair

    check_model_options(options)
    target = load(options, options.target)
    name = options.target if options.draft is None else options.draft
    if name == options.target and options.draft_bits is None:
        return Pair(target, target)
    return Pair(load(options, name, options.draft_bits), target)
