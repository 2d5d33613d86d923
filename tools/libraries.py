"""Run the blocks of the page of libraries whose packages are installed: ``python -m tools.libraries [NAME ...]``.

A block is named by its heading. It prints the results on the page, and the versions of the packages.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "libraries.md"
BLOCK = re.compile(r"^## (.+?)\n|^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
DISTRIBUTIONS = {"sb3_contrib": "sb3-contrib", "stable_baselines3": "stable-baselines3"}
"""Distributions with other names than their packages."""
HEAVY = ("ray", "torchrl", "wandb")
"""Packages that are in no extra."""
LIGHT = ("gymnasium", "minari", "sb3_contrib", "stable_baselines3", "supersuit")
"""Packages of the extra ``test``."""


def blocks(page: Path = PAGE) -> Iterator[tuple[str, str]]:
    """Yield headings and code of the Python blocks of a page."""
    heading = ""
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if match[1] is not None:
            heading = match[1]
        else:
            yield heading, match[2]


def packages(code: str) -> list[str]:
    """Return the packages of other libraries that a block imports."""
    names = dict.fromkeys(re.findall(r"^\s*(?:from|import) (\w+)", code, re.MULTILINE))
    return [name for name in names if name in (*HEAVY, *LIGHT)]


def missing(code: str) -> list[str]:
    """Return the heavy packages of a block that are not installed."""
    return [name for name in packages(code) if name in HEAVY and find_spec(name) is None]


def quick(code: str) -> str:
    """Return the block with hardly any training."""
    code = re.sub(r"^minutes = .*$", "minutes = 0.01", code, flags=re.MULTILINE)
    return re.sub(r"\.learn\([\d_]+\)", ".learn(1)", code)


def installed(name: str) -> str:
    """Return a package with its version."""
    name = DISTRIBUTIONS.get(name, name)
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name


def main() -> int:
    """Run the blocks; return 1 if one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginnings of headings (default: all)")
    parser.add_argument("--quick", action="store_true", help="hardly any training")
    options = parser.parse_args()
    failed = False
    for heading, code in blocks():
        if options.names and not heading.lower().startswith(tuple(name.lower() for name in options.names)):
            continue
        if absent := missing(code):
            print(f"{heading}: left out, not installed: {', '.join(absent)}", flush=True)
            continue
        started = monotonic()
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", quick(code) if options.quick else code],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                encoding="utf-8",
                check=False,
            )
        failed |= done.returncode != 0
        last = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1:]
        ran = f"{', '.join(map(installed, packages(code)))}; {monotonic() - started:.0f} s"
        print(f"{heading} ({ran}): {''.join(last)}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
