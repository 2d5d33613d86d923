"""Options that the commands with real models share; nothing here needs torch until `load_pair`."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from multispin_env.apps.models import DTYPES
from multispin_env.apps.terminal.output import check_outputs
from multispin_env.checks import check_integer, check_label, check_name, check_real

if TYPE_CHECKING:
    from multispin_env.apps.models.network import Pair


def add_model_options(parser: ArgumentParser, required: bool = True) -> None:
    """``--target --draft --draft-bits --device --dtype``; ``required`` says whether argparse asks for ``--target``."""
    parser.add_argument(
        "--target",
        metavar="NAME",
        required=required,
        help="the large model: a folder as transformers saves it, a .gguf file, or a name on the Hugging Face hub",
    )
    parser.add_argument(
        "--draft", metavar="NAME", help="the draft model, which has the target's vocabulary (default: the target)"
    )
    parser.add_argument(
        "--draft-bits", type=int, metavar="N", help="round the draft model's weights to so many bits, 2 to 8"
    )
    parser.add_argument("--device", default="cpu", help="as of torch: cpu, cuda, cuda:1 (default cpu)")
    parser.add_argument("--dtype", default="float32", help=f"one of {', '.join(DTYPES)} (default float32)")


def add_prompt_options(parser: ArgumentParser, required: bool = True) -> None:
    """``--prompts --raw --temperature --seed``; ``required`` says whether argparse asks for ``--prompts``."""
    parser.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        required=required,
        help='.txt with a prompt on each line, or .jsonl with rows {"prompt": TEXT, "task": NAME}, the task optional',
    )
    parser.add_argument("--raw", action="store_true", help="read prompts as they are, without the chat template")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="T", help="of both models (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default 0)")


def add_out_option(parser: ArgumentParser, files: str, required: bool = True) -> None:
    """``--out STEM``; ``files`` says what is written, as ``".toml, .png"``."""
    parser.add_argument(
        "--out", type=Path, metavar="STEM", required=required, help=f"files to write: STEM with {files}"
    )


def out_file(stem: Path, suffix: str) -> Path:
    """The file of a stem with this end of its name, as ``".toml"``."""
    return stem.with_name(stem.name + suffix)


def out_files(stem: Path, suffixes: Iterable[str]) -> tuple[Path, ...]:
    """Files of ``--out``; ``ValueError`` for one that can't be written: before hours are spent on its content."""
    if stem.name in ("", ".."):
        raise ValueError(f"out: expected a name for the files to write, got {str(stem)!r}")
    check_label("out", stem.name)  # it becomes a name in what is written
    files = tuple(out_file(stem, suffix) for suffix in suffixes)
    check_outputs(*files)
    for file in files:
        if not all(os.access(one, os.W_OK) for one in (file, file.resolve().parent) if one.exists()):
            raise ValueError(f"out: expected files that can be written, got {str(file)!r}")
    return files


def check_model_options(options: Namespace) -> None:
    """``ValueError`` for a bad number or name, before anything is loaded."""
    check_name("dtype", options.dtype, DTYPES)
    if options.draft_bits is not None:
        check_integer("draft_bits", options.draft_bits, 2, 8)
    if hasattr(options, "temperature"):
        check_real("temperature", options.temperature, 0.0)
        check_integer("seed", options.seed, 0)


def load_pair(options: Namespace) -> "Pair":
    """Load the models of the options; a draft that is the target itself is loaded once."""
    from multispin_env.apps.models.network import Pair, load_model

    check_model_options(options)
    target = load_model(options.target, options.device, options.dtype)
    name = options.target if options.draft is None else options.draft
    if name == options.target and options.draft_bits is None:
        return Pair(target, target)
    return Pair(load_model(name, options.device, options.dtype, options.draft_bits), target)
