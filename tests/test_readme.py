"""The Python blocks of README and docs run, and the README's first block really is the short loop it says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


ALL = [
    pytest.param(block, id=f"{page.name}-{i}")
    for page in PAGES
    if page.name != "libraries.md"  # which tests/docs/test_docs.py runs
    for i, block in enumerate(blocks(page))
]


@pytest.mark.parametrize("block", ALL)
def test_blocks_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    exec(block, {})  # the text a reader would paste


def test_the_loop_is_short():
    first = blocks(PAGES[0])[0]
    assert len([line for line in first.splitlines() if line.strip()]) <= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
