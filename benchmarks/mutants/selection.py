"""Selection of the faults, and of the tests that must notice each."""

import ast
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from benchmarks.mutants.operators import Mutant, mutants_of

PACKAGES = ("multispin_env", "agents")


def draw(root: Path, paths: Sequence[str], count: int, rng: np.random.Generator) -> list[Mutant]:
    """Draw faults of the files below some paths: an operator first, so that rare ones have their turn.

    Parameters
    ----------
    root
        Of the project.
    paths
        Files or folders, relative to it.
    count
        How many; all there are if there are fewer.
    rng
        Source of the draws.

    Raises
    ------
    ValueError
        For a path outside the root or the packages, or without Python files.
    """
    by_operator: dict[str, list[Mutant]] = defaultdict(list)
    for file in dict.fromkeys(file for path in paths for file in _files(root, path)):
        for mutant in mutants_of(file, (root / file).read_bytes()):
            by_operator[mutant.operator].append(mutant)
    drawn: list[Mutant] = []
    while by_operator and len(drawn) < count:
        operator = sorted(by_operator)[rng.integers(len(by_operator))]
        left = by_operator[operator]
        mutant = left.pop(rng.integers(len(left)))
        if mutant.compiles((root / mutant.path).read_bytes()):
            drawn.append(mutant)
        if not left:
            del by_operator[operator]
    return drawn


def _files(root: Path, path: str) -> list[str]:
    place = (root / path).resolve()
    inside = any(place.is_relative_to(root / package) for package in PACKAGES)
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    if not inside or not files or not all(file.is_file() and file.suffix == ".py" for file in files):
        raise ValueError(f"paths: expected a Python file or folder in {' or '.join(PACKAGES)}, got {path!r}")
    return [file.relative_to(root).as_posix() for file in files]


def files_of_tests(root: Path, path: str, seconds: Mapping[str, float] = MappingProxyType({})) -> list[str]:
    """Test files that must notice a fault in a file.

    First those named after it and those that import it, then all of the folder that mirrors its own and of the folders
    above that one; among these the shortest first.

    Parameters
    ----------
    root, path
        The project, and the file in it.
    seconds
        What is known of how long test files take.
    """
    module = Path(path).with_suffix("")
    name = ".".join(module.parts).removesuffix(".__init__")
    mirror = _mirror(root, module)
    named = [file for file in mirror if file.stem == f"test_{module.name}"]
    importing = [file for file in sorted((root / "tests").rglob("test_*.py")) if name in _imports(file)]
    near, rest = ([file.relative_to(root).as_posix() for file in group] for group in (named + importing, mirror))
    ordered = [file for group in (near, rest) for file in sorted(group, key=lambda file: seconds.get(file, 0.0))]
    return list(dict.fromkeys(ordered))


def _mirror(root: Path, module: Path) -> list[Path]:
    """Test files of the nearest folder of tests that mirrors a module's, and those in the folders above it."""
    inside = module.parts[1:-1] if module.parts[0] == "multispin_env" else module.parts[:-1]
    folders = [root.joinpath("tests", *inside[:depth]) for depth in range(len(inside), -1, -1)]
    nearest, *above = (folder for folder in folders if folder.is_dir())
    within = sorted(nearest.rglob("test_*.py") if above else nearest.glob("test_*.py"))
    return within + [file for folder in above for file in sorted(folder.glob("test_*.py"))]


@cache
def _imports(file: Path) -> set[str]:
    """Modules that a file imports, by ``from package import module`` too."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules
