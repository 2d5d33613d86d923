import subprocess
import sys
from pathlib import Path

import pytest

import multispin_env

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
    then = f"import sys; sys.exit(', '.join(set({HEAVY}) & set(sys.modules)) or None)"
    command = [sys.executable, "-c", f"{code}; {then}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_completion_shows_the_public_names():
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
