"""The package as a whole: a light start, files that can be read, and one meaning for each name.

``lint-imports`` checks who imports whom.
"""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import multispin_env
from multispin_env import registry

ROOT = Path(__file__).parent.parent
FILES = [path for folder in ("multispin_env", "agents") for path in sorted((ROOT / folder).rglob("*.py"))]

HEAVY = (
    *("torch", "stable_baselines3", "tensorboard", "safetensors", "rich", "onnx", "onnxruntime"),
    *("matplotlib", "pygame", "PIL", "pandas", "scipy", "pettingzoo", "transformers", "starlette", "uvicorn"),
    *(f"multispin_env.{room}" for room in ("wrappers", "models", "explore", "evaluation.public")),
)
"""Packages that take longer to import than this one."""


@pytest.mark.parametrize(
    "code",
    [
        "import multispin_env",
        "from multispin_env.apps.commands.main import main; main(['solve', 'examples/devices.csv'])",
        "from multispin_env.apps.commands.main import main; main([])",
    ],
    ids=["import", "solve", "help"],
)
def test_a_start_is_light(code):
    """Each in a process of its own; ``python -m benchmarks.speed startup`` measures the time."""
    then = f"import sys; sys.exit(', '.join(set({HEAVY}) & set(sys.modules)) or None)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {then}"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_completion_shows_the_public_names():
    """Also those that are loaded when they are first used; ``dir`` in a process that used none of them."""
    code = "import rlcompleter, multispin_env as ms; c = rlcompleter.Completer({'ms': ms}); c.complete('ms.', 0)"
    code += "; print(*dir(ms)); print(*(match.removeprefix('ms.').rstrip('()') for match in c.matches))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    shown, completed = (set(line.split()) for line in done.stdout.splitlines())
    assert shown == {*multispin_env.__all__, "__version__"}
    assert shown >= {"compare", "evaluate", "suite", "ComparisonTable"}
    assert {name for name in completed if not name.startswith("_")} == set(multispin_env.__all__)


def test_sizes():
    for path in (*FILES, ROOT / "train.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 600, path


ASKED_FOR = {
    "add_options": "of every command, by `Command`",
    "run": "of every command, by `Command`",
    "compute": "of every view, by `PageView`",
    "as_command": "of every view, by `PageView`",
}
"""Names that many modules have because what they are handed to has a field of that name."""

TABLES = {name for name, value in vars(registry).items() if isinstance(value, registry.Registry)}

NO_NOUN = frozenset(
    (
        *("what", "how", "who", "whom", "whose", "where", "when", "why", "which", "whether", "if"),
        *("whatever", "whoever", "whichever", "wherever", "everything", "everybody", "everyone", "nothing", "nobody"),
        *("all", "each", "every", "no", "none", "some", "something", "it", "they", "this", "that", "these", "those"),
    )
)
"""First words that leave open what a module is."""


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def defined(path):
    """Names of classes, functions, types and tables at the top of a module; those of its own use are left out."""
    for node in parsed(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            if isinstance(target, ast.Name) and (not target.id.isupper() or target.id in TABLES):
                yield target.id


def test_each_name_has_one_meaning():
    homes = defaultdict(list)
    for path in FILES:
        for name in {name for name in defined(path) if not name.startswith("_") and len(name) > 1}:
            homes[name].append(str(path.relative_to(ROOT)))
    assert not {name: paths for name, paths in homes.items() if len(paths) > 1 and name not in ASKED_FOR}


@pytest.mark.parametrize("folder", ["multispin_env", "agents", "benchmarks", "examples", "docs"])
def test_a_module_is_a_noun_or_does_a_verb(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        words = re.findall(r"[a-z]+", (ast.get_docstring(parsed(path)) or "module").lower())
        assert words[0] not in NO_NOUN, path
