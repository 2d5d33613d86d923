import importlib
import inspect
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

import multispin_agents
import multispin_env
from tests.repository import PACKAGES, ROOT
from tools.pages import MODULES
from tools.sizes import Lines, count_lines, size_table, sizes

HEAVY = (
    *("torch", "stable_baselines3", "tensorboard", "safetensors", "rich", "onnx", "onnxruntime"),
    *("matplotlib", "pygame", "PIL", "numba", "scipy", "pettingzoo", "transformers", "starlette", "uvicorn"),
    *("multispin_lab", *(f"multispin_env.{name}" for name in ("wrappers", "evaluation.public"))),
)
"""Packages that take longer to import than this one."""

SEARCH = ("numba", "scipy")  # the compiled search, which imports SciPy


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        ("import multispin_agents", ()),
        (
            "from multispin_env.apps.commands.main import main; main(['solve', 'examples/devices.csv'])",
            ("numba", "scipy"),
        ),
        ("from multispin_env.apps.commands.main import main; main([])", ()),
    ],
    ids=["import", "solve", "help"],
)
def test_a_start_is_light(code, needed):
    assert [name for name in HEAVY if find_spec(name) is None] == []  # a wrong name guards nothing
    then = f"import multispin_env, sys; sys.exit(', '.join(set({HEAVY}) - set({needed}) & set(sys.modules)) or None)"
    command = [sys.executable, "-c", f"{code}; {then}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_import_loads_few_modules():
    code = "import multispin_env, sys; print(sum(name.startswith('multispin') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout) <= 60


def test_the_public_names_are_listed_and_no_others():
    assert len(multispin_env.__all__) <= 36
    assert set(dir(multispin_env)) == {*multispin_env.__all__, *MODULES, "__version__"}
    assert set(dict(inspect.getmembers(multispin_env))) >= {"compare", "evaluate", "bounds"}  # imports each name
    for package in (multispin_agents, multispin_env):
        with pytest.raises(AttributeError, match="no attribute 'other'"):
            package.other  # noqa: B018


def test_names_that_moved_are_where_the_changelog_says():
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").rpartition("| before | now |")[2].splitlines()[2:]
    moved = [(re.findall(r"`([\w.]+)`", line), line.rpartition("| `")[2].rstrip("` |")) for line in lines]
    assert len(moved) > 10
    for (*before, now), _ in moved:
        home = importlib.import_module(now.replace("ms.", "multispin_env."))
        for name in before:
            module, _, attribute = name.replace("ms.", "multispin_env.").rpartition(".")
            parent = importlib.import_module(module)
            assert not hasattr(parent, attribute), name
            assert not hasattr(parent, "__path__") or find_spec(f"{module}.{attribute}") is None, name
            assert home.__name__.endswith(attribute) or attribute in getattr(home, "__all__", dir(home)), name


def test_no_file_is_long():
    for path in (*(path for package in PACKAGES for path in package.rglob("*.py")), ROOT / "train.py"):
        most = 860 if path.name == "exact.py" else 600  # a search that reads from top to bottom
        assert len(path.read_text(encoding="utf-8").splitlines()) <= most, path


SOURCE = '''"""Text of a module,

on three lines."""

NUMBER = """a value
on two lines"""  # a comment beside code

# a comment


def double(x):
    """Double."""
    # another comment

    return (
        2 * x
    )
'''


def test_each_line_is_of_one_kind():
    assert count_lines(SOURCE) == Lines(files=1, code=6, docstrings=4, comments=2, blank=5)
    assert count_lines("") == Lines(1, 0, 0, 0, 0)


def test_sizes_of_core_and_lab_are_printed():
    """Goals are 18,850 lines of code of core and agents, and 27,450 of all; ``pytest -rP`` shows the table."""
    print(size_table())
    *rooms, inner, whole = (rows := sizes()).values()
    files = [path for package in PACKAGES for path in package.rglob("*.py")]
    assert whole.files == len(files)
    assert sum(whole[1:]) == sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    assert sum(row.code for row in rooms) == whole.code
    assert whole.code - inner.code == sum(row.code for name, row in rows.items() if name.startswith("multispin_lab/"))
    folders = {
        f"{path.parent.parent.name}/{path.parent.name}/" for top in PACKAGES for path in top.glob("*/__init__.py")
    }
    assert folders <= set(rows)
