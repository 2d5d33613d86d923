"""Few files ask for a capability, since capabilities own their formulas; the core and the agents know no lab."""

import ast

import pytest

from tests.repository import PACKAGES, ROOT

LIMITS = {
    "link": 8,
    "access delay": 6,
    "repeated uploads": 5,
    "round trip": 1,
    "fleet and joules": 1,
    "batteries": 12,
    "drafting ahead": 18,
    "least length": 2,
    "padded passes": 11,
    "context of drafts": 1,
}
"""Most files outside apps, evaluation and products with a condition on a capability; a limit may fall, never rise."""

NAMES = {
    "link": "constant_density curves linear simple of_paper",
    "access delay": "access_delay access_delays has_access draft_wait has_wait delays_drafts",
    "repeated uploads": "upload_loss repeat_delay mean_repeats repeats _losses _repetitions",
    "round trip": "round_trip_time fixed_wait",
    "fleet and joules": "fleet fleet_name draft_energy device_load",
    "batteries": "batteries _batteries battery_rounds budget_time time_left affordable",
    "drafting ahead": "draft_ahead head_start hit",
    "least length": "min_draft_length",
    "padded passes": "padded padded_verification",
    "context of drafts": "draft_context_time draft_context server_draft_context_time",
}
"""Names that ask for a capability; a new name with the meaning of one of these is added."""

UPLINK = {"access_delay", "upload_loss", "repeat_time", "round_trip_time"}
"""Fields that only the uplink reads, since others of this kind may be added to its properties."""


def conditions(tree):
    """Yield the expressions on which a branch, a loop, an assertion or a filter depends."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert):
            yield node.test
        elif isinstance(node, ast.BoolOp):
            yield from node.values
        elif isinstance(node, ast.comprehension):
            yield from node.ifs
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "filter":
            yield from node.args


def asked(source):
    """Return the names in all conditions of a source text."""
    nodes = (node for condition in conditions(ast.parse(source)) for node in ast.walk(condition))
    return {node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "") for node in nodes}


def test_no_capability_is_asked_for_in_more_files():
    core, _, lab = PACKAGES
    found = {capability: [] for capability in NAMES}
    for file in (*sorted(core.rglob("*.py")), *sorted((lab / "planning").rglob("*.py"))):
        if {*file.relative_to(core.parent).parts[1:2]} & {"apps", "evaluation"}:
            continue
        names = asked(file.read_text("utf-8"))
        for capability, own in NAMES.items():
            if names & {*own.split()}:
                found[capability].append(str(file.relative_to(core.parent)))
    assert {capability: (len(files), files) for capability, files in found.items()} == {
        capability: (LIMITS[capability], files) for capability, files in found.items()
    }, "a file that asks no more lowers its limit"


def attributes(source):
    """Return the names of all attributes in a source text."""
    return {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}


def test_only_the_uplink_reads_its_fields():
    files = [file for package in PACKAGES for file in package.rglob("*.py")]
    readers = {file.relative_to(ROOT).as_posix() for file in files if attributes(file.read_text("utf-8")) & UPLINK}
    expected = {"multispin_env/uplink.py", "multispin_env/scenario.py"}
    assert readers == expected, "ask for a property of scenario.uplink, such as fixed_wait"


@pytest.mark.parametrize(
    "source",
    [
        "if a.fleet: pass",
        "x = 1 if fleet else 2",
        "while not a.b.fleet: pass",
        "assert fleet",
        "x = a and f(fleet)",
        "[x for x in y if x.fleet > 0]",
        "filter(fleet, y)",
    ],
)
def test_conditions_are_found(source):
    assert "fleet" in asked(source)
    assert "fleet" not in asked("x = fleet.draw(1); y = [fleet for z in y]")


TABLE = "multispin_env/apps/commands/main.py", "multispin_env/registry.py"
"""The table of commands, which names modules of the lab as text, and the function that imports them."""


def lab_names(source):
    """Return the names of the lab that a source text imports or holds as text, docstrings apart."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    named = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            named.append(node.module or "")
        elif isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            named.append(node.value)
    return [name for name in named if "multispin_lab" in name]


def test_the_core_and_the_agents_know_nothing_of_the_lab():
    core, agents, _ = PACKAGES
    files = {str(file.relative_to(core.parent)): file for top in (core, agents) for file in top.rglob("*.py")}
    assert [name for name, file in files.items() if name not in TABLE and lab_names(file.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    "source",
    [
        "import multispin_lab.suite",
        "from multispin_lab.planning.capacity import capacity",
        "def load(name):\n    from multispin_lab import suite\n    return suite",
        'def __getattr__(name):\n    return import_module("multispin_lab.suite")',
        'def __getattr__(name):\n    return import_module(f"multispin_lab.{name}")',
        'TABLE = {"capacity": "multispin_lab.planning.capacity:capacity"}',
    ],
)
def test_imports_of_the_lab_are_found(source):
    assert lab_names(f"import numpy\n{source}")
    assert not lab_names('"""As `multispin_lab.suite`."""\nimport multispin_env')
