"""``python -m agents.convert runs/NAME``: the checkpoint of a run that an older version made, in today's format."""

import argparse
import pickle
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch as th

from agents.checkpoints import CHECKPOINT, MODEL, OLD_CHECKPOINT, Checkpoint, save_checkpoint
from agents.options import fail, run_folder
from agents.runs import load_config

OLD_FORMAT = 1


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m agents.convert",
        description=f"Write {CHECKPOINT} and {MODEL} from the {OLD_CHECKPOINT} of an older version, which stays.",
    )
    parser.add_argument("run", help="folder or name of the run")
    return parser


def load_old(path: Path) -> Checkpoint:
    """Read a checkpoint of schema 1; only tensors and plain values are loaded, so that a file can't run code.

    Raises
    ------
    ValueError
        If the file is damaged or holds anything else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on foreign pickles; the error below says enough
            content: dict[str, Any] = th.load(path, map_location="cpu", weights_only=True)
        if content["format"] != OLD_FORMAT:
            raise ValueError(f"format is {content['format']!r}, not {OLD_FORMAT}")
        return Checkpoint(content["parameters"], content["num_timesteps"], content["updates"], content["seconds"])
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, TypeError, EOFError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: can't be read safely as a checkpoint of this project ({reason})") from None


def convert(folder: Path) -> None:
    """Write the files of today beside the old one.

    Raises
    ------
    ValueError
        If there is no old checkpoint, there is a new one already, or it can't be read.
    """
    load_config(folder)
    if not (folder / OLD_CHECKPOINT).is_file():
        raise ValueError(f"run: got {str(folder)!r}, allowed is a run that has a {OLD_CHECKPOINT}")
    if (folder / CHECKPOINT).exists():
        raise ValueError(f"run: got {str(folder)!r}, allowed is a run that has no {CHECKPOINT} yet")
    checkpoint = load_old(folder / OLD_CHECKPOINT)
    for name in (MODEL, CHECKPOINT):
        save_checkpoint(folder / name, checkpoint)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        folder = run_folder(options.run)
        convert(folder)
    except (ValueError, TypeError) as error:
        fail("agents.convert", error)
    print(f"wrote {CHECKPOINT} and {MODEL} in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
