"""Rates that ``python -m benchmarks.plan`` prints are those of the docs."""

import re
from pathlib import Path

import pytest

from benchmarks.plan.__main__ import main

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parent.parent.parent / "docs" / "evidence" / "continuous.md"


def test_stored_tables_earn_what_the_docs_say(capsys):
    system = "llama2 K8 B10 narrow"
    main(["--systems", system])
    printed = dict(re.findall(r"^  (\w+) +([\d.]+) ", capsys.readouterr().out, re.MULTILINE))
    (row,) = re.findall(rf"^\| {system} \| (.*) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert [printed[name] for name in ("groups", "prices", "plan")] == row.split(" | ")[:3]
    assert float(printed["plan"]) < float(printed["bound"])
