"""Words of the code: one meaning for each name, and docstrings that say what a module is."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

from multispin_env import registry

ROOT = Path(__file__).parent.parent
FILES = [path for folder in ("multispin_env", "agents") for path in sorted((ROOT / folder).rglob("*.py"))]
FOLDERS = ("multispin_env", "agents", "benchmarks", "examples", "docs")
TEXTS = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*") if path.suffix in (".py", ".md", ".ipynb")]

ASKED_FOR = {
    "add_options": "of every command, by `Command`",
    "run": "of every command, by `Command`",
    "compute": "of every view, by `PageView`",
    "draw": "of every view, by `PageView`",
    "as_python": "of every view, by `PageView`",
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

HIDDEN = re.compile(r"system-model|optimum-notes|the prototype")
"""Texts that readers do not have."""


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


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_module_is_a_noun_or_does_a_verb(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        words = re.findall(r"[a-z]+", (ast.get_docstring(parsed(path)) or "module").lower())
        assert words[0] not in NO_NOUN, path


def test_no_word_of_texts_that_readers_do_not_have():
    assert not [str(path) for path in (*TEXTS, *ROOT.glob("*.md")) if HIDDEN.search(path.read_text(encoding="utf-8"))]
