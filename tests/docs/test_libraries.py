"""The blocks of the page of other libraries run, those of large packages where they are installed."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tool():
    spec = importlib.util.spec_from_file_location("docs_libraries", ROOT / "docs" / "tools" / "libraries.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = tool()
BLOCKS = [pytest.param(code, id=f"{name}-{i}") for i, (name, code) in enumerate(TOOL.blocks())]


def test_every_library_has_a_block():
    found = {package for block in BLOCKS for package in TOOL.packages(block.values[0])}
    assert found == {*TOOL.LIGHT, *TOOL.HEAVY}


@pytest.mark.filterwarnings("ignore")  # of other libraries
@pytest.mark.parametrize("code", BLOCKS)
def test_blocks_run(code, tmp_path, monkeypatch, capsys):
    if absent := TOOL.missing(code):
        pytest.skip(f"not installed: {', '.join(absent)}")
    monkeypatch.chdir(tmp_path)
    exec(TOOL.quick(code), {})
    assert capsys.readouterr().out.strip()


def test_a_block_can_be_made_quick():
    (code,) = (block.values[0] for block in BLOCKS if "minutes = " in block.values[0])
    assert "\nminutes = 0.01\n" in TOOL.quick(code)
    assert TOOL.missing("import ray_that_is_nowhere\nimport gymnasium\n") == []
