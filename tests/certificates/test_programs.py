"""The two checkers as programs: one file each, in an empty folder, with the standard library."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from multispin_env.certificates import check, check_rate
from tests.certificates.test_comparisons import changed, rates, rounds

PROGRAMS = {"check": (check, rounds()), "check_rate": (check_rate, rates())}


@pytest.fixture(params=PROGRAMS)
def program(request, tmp_path):
    """Function that runs a checker on the bytes of a file, and the certificate that it accepts."""
    module, record = PROGRAMS[request.param]
    (tmp_path / f"{request.param}.py").write_bytes(Path(module.__file__).read_bytes())

    def run(content, *words):
        if content is not None:
            (tmp_path / "proof.json").write_bytes(content)
        command = [sys.executable, "-I", f"{request.param}.py", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run, record


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_checker_is_short_and_needs_only_the_standard_library(name):
    text = Path(PROGRAMS[name][0].__file__).read_text("utf-8")
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {getattr(node, "module", None) or node.names[0].name for node in imports}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names
    assert len(text.splitlines()) <= 250


def test_a_program_prints_the_system_and_the_claim(program):
    run, record = program
    result = run(json.dumps(record).encode(), "proof.json")
    assert (result.returncode, result.stderr) == (0, "")
    *system, claim = result.stdout.splitlines()
    assert [line.partition(": ")[0] for line in system] == list(record["system"])
    assert "fixed_time: 0.25" in system or "fixed_time: 0.125" in system
    assert claim.startswith("proven for this system, which must be yours: ")


def test_a_program_refuses_other_files_in_one_sentence(program):
    run, record = program
    huge = json.dumps(changed(record, {"system.round_trip": 10**4000})).encode()
    for content, *words in (
        (None,),
        (None, "missing.json"),
        (b"[" * 100_000, "proof.json"),
        (b'{"format": ', "proof.json"),
        (b"\xff", "proof.json"),
        (b"[]", "proof.json"),
        (huge, "proof.json"),
        (huge.replace(b"000", b"0000"), "proof.json"),  # more digits than Python reads
    ):
        result = run(content, *words)
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1), (
            content[:20],
            result.stderr,
        )
