"""Import stays light, and the layers only look left."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = (
    (
        "multispin_env.arrays",
        "multispin_env.units",
        "multispin_env.checks",
        "multispin_env.files",
        "multispin_env.npz",
    ),
    (
        "multispin_env.registry",
        "multispin_env.outside",
        "multispin_env.server",
        "multispin_env.scenario",
        "multispin_env.field_files",
    ),
    ("multispin_env.physics",),
    ("multispin_env.solver",),
    ("multispin_env.controllers",),
    ("multispin_env.envs",),
    ("multispin_env.evaluation",),
    ("multispin_env.wrappers", "multispin_env.parallel"),
    ("multispin_env.executors",),
    ("multispin_env.terminal",),
    ("multispin_env.watch",),
    ("multispin_env.reproduce",),
    ("multispin_env.models", "multispin_env.explore"),
    (
        "multispin_env.commands",
        "multispin_env.__main__",
        "multispin_env.watch.__main__",
        "multispin_env.reproduce.__main__",
    ),
    ("multispin_env",),
    ("agents",),
    ("train",),
)


def layer_of(module):
    """Of the longest name that fits; the package itself is only that, not what is in it."""
    fitting = {
        name: index
        for index, names in enumerate(LAYERS)
        for name in names
        if module == name or (module.startswith(f"{name}.") and name != "multispin_env")
    }
    return fitting[max(fitting, key=len)] if fitting else None


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


FILES = [*(ROOT / "multispin_env").rglob("*.py"), *(ROOT / "agents").rglob("*.py"), ROOT / "train.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_look_left(path):
    own = layer_of(module_name(path))
    assert own is not None
    for target in imports(path):
        layer = layer_of(target)
        assert layer is None or layer <= own, f"{path} imports {target}"
        inside = module_name(path) != "multispin_env" and module_name(path).startswith("multispin_env")
        assert not (inside and target == "multispin_env"), f"{path} imports the package root"


def test_no_module_imports_itself_by_way_of_others():
    """Lazy imports and those for types counted: modules can be read one after the other."""
    names = {module_name(path) for path in FILES}
    graph = {
        module_name(path): {one for one in modules_of(path) if one in names} - {module_name(path)} for path in FILES
    }
    while free := [name for name, targets in graph.items() if not targets]:
        for name in free:
            del graph[name]
        graph = {name: targets - set(free) for name, targets in graph.items()}
    assert not graph, f"a circle among {sorted(graph)}"


def modules_of(path):
    """What a file imports, ``from package import module`` too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            known = [name for name in inside if (ROOT / name.replace(".", "/")).with_suffix(".py").exists()]
            yield from known or [node.module]


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


def without_encoding(path):
    """Lines that read or write text by the encoding of the machine, which Windows has another of."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", None))
        modes = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        places = {"read_text": 1, "write_text": 2}
        by_mode = name == "open" and any(set(mode) <= set("rwaxt+") for mode in modes)
        if by_mode or (name in places and len(node.args) < places[name]):
            yield node.lineno


@pytest.mark.parametrize("folder", ["multispin_env", "agents", "benchmarks", "examples", "docs", "tests"])
def test_text_has_an_encoding(folder):
    found = {str(path): lines for path in (ROOT / folder).rglob("*.py") if (lines := list(without_encoding(path)))}
    assert not found


def test_decibels_are_written_once():
    for path in FILES:
        if path.name != "units.py":
            text = path.read_text(encoding="utf-8").replace(" ", "")
            assert "10**(" not in text, path
            assert "10.0**(" not in text, path
