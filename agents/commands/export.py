"""``multispin export NAME``: the policy of a saved run for use without this package's training part."""

import argparse
from pathlib import Path

from agents.export import CHECKED, CHECKED_USERS, PROGRAM, export
from agents.options import run_folder
from agents.outside import admit
from agents.runs import load_config, make_folder
from multispin_env.evaluation.exported import ONNX
from multispin_env.terminal.command import Command


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("run", help="folder or name of the run")
    parser.add_argument("--agent", metavar="MODULE:ATTRIBUTE", help="that of the run, where it is one of your own")
    parser.add_argument("--onnx", action="store_true", help=f"write {ONNX} (the default)")
    parser.add_argument("--torch-export", action="store_true", help=f"write {PROGRAM}")
    parser.add_argument("--out", type=Path, help="folder to write to (default: the run's)")


def run(options: argparse.Namespace) -> None:
    """Write the files, and say how well they answer."""
    formats = [name for name, wanted in ((ONNX, options.onnx), (PROGRAM, options.torch_export)) if wanted]
    folder = run_folder(options.run)
    out = folder if options.out is None else options.out
    if options.agent is not None:
        admit(options.agent)
    load_config(folder)
    make_folder(out)
    for name, difference in export(folder, out, formats or [ONNX]).items():
        cases = f"{len(CHECKED_USERS) * CHECKED} random observations"
        print(f"wrote {out / name}: largest difference of an action from the original {difference:.1e} on {cases}")


COMMAND = Command(
    f"Write the best policy of a run as {ONNX} or {PROGRAM}, for any numbers of users and observations at once, and "
    "check that it answers as the original does.",
    ("mine", "mine --onnx --torch-export --out exported"),
    add_options,
    run,
)
