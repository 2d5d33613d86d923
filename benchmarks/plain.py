"""The option ``--plain`` of benchmarks: once more as on a processor without AVX-512, both columns beside each other.

NumPy chooses its kernels when it is imported. So the benchmark runs again in a process of its own, where
``NPY_DISABLE_CPU_FEATURES`` names all AVX-512 features that this NumPy has kernels for and this processor has on. There
NumPy's exp, log and power take three to eight times as long. Random numbers, sums and divisions don't change.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

DISABLING = "NPY_DISABLE_CPU_FEATURES"

WIDTH = 72
"""Of the labels in the table."""


def wide_features() -> list[str]:
    """AVX-512 features that this NumPy dispatches to and that are on: what a plain processor lacks."""
    core = import_module(f"numpy.{'core' if np.__version__.startswith('1.') else '_core'}._multiarray_umath")
    return [name for name in core.__cpu_dispatch__ if _is_wide(name) and core.__cpu_features__.get(name)]


def _is_wide(name: str) -> bool:
    return name.startswith("AVX512") or name == "X86_V4"  # NumPy's name of the first group from 2.4 on


def add_option(parser: argparse.ArgumentParser) -> None:
    """The option ``--plain``."""
    parser.add_argument(
        "--plain", action="store_true", help="measure also as on a processor without AVX-512, in a second column"
    )


def rerun(module: str, written: str) -> Any:
    """What the benchmark ``module`` writes to its file ``written``, run with this process's arguments, but plain.

    Returns None, and says so, where there is nothing to switch off.
    """
    names = wide_features()
    if not names:
        print("\nplain: this processor, or this NumPy, has no AVX-512, so the usual column is the plain one")
        return None
    print(f"\nplain: running again without {', '.join(names)}", flush=True)
    arguments = [argument for argument in sys.argv[1:] if argument != "--plain"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", module, *arguments, "--out", folder]  # the last --out counts
        environment = os.environ | {DISABLING: " ".join(names)}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        return json.loads((Path(folder) / written).read_text(encoding="utf-8"))


def show(title: str, usual: Mapping[str, float], plain: Mapping[str, float], layout: str = ",.0f") -> None:
    """Print both columns, and plain over usual, of what took part in both."""
    print(f"\n{title:{WIDTH}}{'usual':>14}{'plain':>14}{'plain/usual':>13}")
    for label, number in usual.items():
        if plain.get(label):
            print(f"{label:{WIDTH}}{number:14{layout}}{plain[label]:14{layout}}{plain[label] / number:13.2f}")


if __name__ == "__main__":
    print(f"NumPy {np.__version__}: {' '.join(wide_features()) or 'no AVX-512'}")
