"""The tool that looks for holes in the tests: its faults are faults, and it sees whether a test notices them."""

import ast
from pathlib import Path

import numpy as np
import pytest

from benchmarks.mutants import __main__ as command
from benchmarks.mutants import selection
from benchmarks.mutants.operators import mutants_of
from benchmarks.mutants.running import KILLED, SURVIVED, TIMEOUT, Verdict, Workshop
from benchmarks.mutants.selection import draw

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("source", "operator", "expected"),
    [
        ("a - b", "arithmetic", {"(a + b)"}),
        ("-a", "arithmetic", {"(a)"}),
        ("a += b", "arithmetic", {"a -= b"}),
        ("a < b", "comparison", {"(a <= b)", "(a > b)"}),
        ("a is b", "comparison", {"(a is not b)"}),
        ("a[b:c]", "off by one", {"b + 1:c", "b:c + 1"}),
        ("range(a)", "off by one", {"(range(a + 1))"}),
        ("a[-1]", "off by one", {"(a[-1 + 1])"}),
        ("np.minimum(a, b)", "min/max", {"(np.maximum(a, b))"}),
        ("any(a)", "min/max", {"(all(a))"}),
        ("if a:\n    b = c", "not", {"if not (a):\n    b = c"}),
        ("not a", "not", {"(a)"}),
        ("a and b", "not", {"(a or b)"}),
        ("f(a)", "dropped statement", {"pass"}),
        ("a.b = c", "dropped statement", {"pass"}),
        ("a.sum(-1)", "axis", {"(a.sum(0))"}),
        ("a.sum(axis=0)", "axis", {"(a.sum(axis=-1))"}),
        ("a.copy()", "dropped copy or clip", {"(a)"}),
        ("np.clip(a, b, c)", "dropped copy or clip", {"(a)"}),
        ("True", "constants", set()),  # a statement of its own does nothing
        ("a = 2", "constants", {"3"}),
        ("a = True", "constants", {"False"}),
        ('"""text"""', "constants", set()),
        ("a: b[0] = c", "constants", set()),
    ],
)
def test_operators(source, operator, expected):
    found = [mutant for mutant in mutants_of("file.py", source.encode()) if mutant.operator == operator]
    assert {mutant.after for mutant in found} == expected
    for mutant in found:
        ast.parse(mutant.apply(source.encode()))


def test_a_fault_changes_its_place_and_nothing_else():
    content = "# Σ before\nx = α + β  # after\n".encode()
    (mutant,) = mutants_of("file.py", content)
    assert mutant.apply(content).decode() == "# Σ before\nx = (α - β)  # after\n"
    assert (mutant.line, mutant.before) == (2, "α + β")


def test_messages_are_no_place_for_faults():
    assert {one.operator for one in mutants_of("f.py", b'if a:\n    raise ValueError(f"{b + 1}")')} == {
        "not",
        "dropped statement",
    }


def test_one_seed_draws_the_same_faults():
    drawn = [draw(ROOT, ["multispin_env/physics/channels.py"], 20, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 20


def test_tests_are_those_that_mirror_the_file():
    assert selection.files_of_tests(ROOT, "multispin_env/physics/rounds.py")[0] == "tests/physics/test_rounds.py"
    moves = selection.files_of_tests(ROOT, "multispin_env/solver/moves.py")
    assert "tests/solver/test_optimal_exact.py" in moves
    assert not any(file.startswith("tests/agents") for file in moves)
    for path in command.PACKAGES:
        assert all(selection.files_of_tests(ROOT, str(file.relative_to(ROOT))) for file in (ROOT / path).rglob("*.py"))


@pytest.fixture
def project(tmp_path):
    """A project of one file, whose test sees some faults and not others."""
    (tmp_path / "agents").mkdir()
    (tmp_path / "tests" / "agents").mkdir(parents=True)
    (tmp_path / "agents" / "__init__.py").write_text("", encoding="utf-8")
    code = "def f(n):\n    while n > 0:\n        n -= 1\n    return n\n\n\ndef g(n):\n    return n + n\n"
    (tmp_path / "agents" / "part.py").write_text(code, encoding="utf-8")
    test = "from agents.part import f, g\n\n\ndef test_part():\n    assert f(3) == 0\n    g(1)\n"
    (tmp_path / "tests" / "agents" / "test_part.py").write_text(test, encoding="utf-8")
    return tmp_path


def test_verdicts(project, monkeypatch):
    monkeypatch.setattr("benchmarks.mutants.running.COPIED", ("agents", "tests"))
    monkeypatch.setattr("benchmarks.mutants.running.FILES", ())
    monkeypatch.setattr("benchmarks.mutants.running.SLACK", 1.0)
    monkeypatch.setattr("benchmarks.mutants.running.PATIENCE", 2.0)
    faults = {one.after: one for one in draw(project, ["agents"], 100, np.random.default_rng(0))}
    chosen = [faults[after] for after in ("(n < 0)", "(n - n)", "pass")]
    with Workshop(project, workers=2).open() as workshop:
        workshop.check(chosen, {}, lambda *_: None)
        verdicts = {one.mutant.after: one for one in workshop.judge(chosen)}
    assert [verdicts[one.after].outcome for one in chosen] == [KILLED, SURVIVED, TIMEOUT]
    assert verdicts["(n < 0)"].killer == "tests/agents/test_part.py::test_part"
    assert "n > 0" in (project / "agents" / "part.py").read_text(
        encoding="utf-8"
    )  # the project itself is never written to
    assert Verdict.from_json(verdicts["pass"].to_json()) == verdicts["pass"]


def test_tests_that_fail_anyway_are_refused(project, monkeypatch):
    monkeypatch.setattr("benchmarks.mutants.running.COPIED", ("agents", "tests"))
    monkeypatch.setattr("benchmarks.mutants.running.FILES", ())
    (project / "tests" / "agents" / "test_part.py").write_text("def test_part():\n    assert False\n", encoding="utf-8")
    faults = draw(project, ["agents"], 1, np.random.default_rng(0))
    with (
        Workshop(project, workers=1).open() as workshop,
        pytest.raises(
            ValueError,
            match=r"tests: expected none to fail without a fault, got a failure of tests/agents/test_part\.py",
        ),
    ):
        workshop.check(faults, {}, lambda *_: None)


def test_constants_are_counted_apart_and_what_is_done_is_not_tried_again(tmp_path, capsys):
    drawn = draw(ROOT, ["multispin_env/units.py"], 12, np.random.default_rng(0))
    outcomes = [SURVIVED if one.operator == "constants" else KILLED for one in drawn]
    done = [Verdict(one, outcome, 1.0).to_json() for one, outcome in zip(drawn, outcomes, strict=True)]
    assert {SURVIVED, KILLED} == set(outcomes)
    (tmp_path / "done.jsonl").write_text("\n".join(done), encoding="utf-8")
    options = ["--paths", "multispin_env/units.py", "--count", "12", "--out", str(tmp_path / "done.jsonl")]
    assert command.main(options) == 0
    printed = capsys.readouterr().out
    assert "100%" in printed.split("kind of fault")[0]
    assert printed.count("survived multispin_env/units.py") == outcomes.count(SURVIVED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--paths", "tests"], "paths: expected a Python file or folder in multispin_env or agents, got 'tests'"),
        (
            ["--paths", "multispin_env/nothing.py"],
            "paths: expected a Python file or folder in multispin_env or agents, got 'multispin_env/nothing.py'",
        ),
        (["--count", "0"], "count: expected an integer ≥ 1, got 0"),
        (["--workers", "0"], "workers: expected an integer ≥ 1, got 0"),
        (["--seed", "-1"], "seed: expected an integer ≥ 0, got -1"),
    ],
)
def test_bad_options_are_one_sentence(options, message, capsys):
    assert command.main(options) == 2
    assert message in capsys.readouterr().err
