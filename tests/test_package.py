"""Import stays light, and files can be read; ``lint-imports`` checks who imports whom."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [*(ROOT / "multispin_env").rglob("*.py"), *(ROOT / "agents").rglob("*.py"), ROOT / "train.py"]

HEAVY = (
    *("torch", "stable_baselines3", "tensorboard", "safetensors", "rich", "onnx", "onnxruntime", "optuna"),
    *("matplotlib", "pygame", "PIL", "pandas", "scipy", "pettingzoo", "multispin_env.wrappers"),
    *("transformers", "starlette", "uvicorn", "multispin_env.models", "multispin_env.explore"),
)
"""Packages that take longer to import than this one."""


@pytest.mark.parametrize(
    "code",
    [
        "import multispin_env",
        "from multispin_env.commands.main import main; main(['solve', 'examples/devices.csv'])",
        "from multispin_env.commands.main import main; main([])",
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


def test_sizes():
    for path in FILES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 600, path
