"""The documentation says what the code does; its strict build is a step of ``.ci/run``."""

import contextlib
import importlib.util
import io
import json
import re
from itertools import count, takewhile
from pathlib import Path

import pytest

import multispin_env as ms
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.comparison import OTHER_SYSTEMS
from multispin_env.registry import ENVIRONMENTS
from tests.families import ROUNDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
STORED = sorted((DOCS / "results" / "reference").glob("*.json"))


def tool(name):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(path, head):
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(head))
    return list(takewhile(lambda line: line.startswith("|"), lines[first:]))


@pytest.mark.filterwarnings("ignore")  # of Stable-Baselines3 and matplotlib, not ours
def test_notebook_runs_and_gives_what_it_shows(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    notebook = tool("notebook")
    names, compared = {}, 0
    for cell in notebook.cells(DOCS / "notebook.ipynb"):
        if cell["cell_type"] != "code":
            continue
        stored = "".join(notebook.text_of(output.get("text", "")) for output in cell["outputs"])
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(notebook.text_of(cell["source"]), names)
        if "agent" not in names:  # before training the numbers are the same everywhere
            assert printed.getvalue() == stored
            compared += 1
    assert compared == 2
    rows = [row.name for row in names["rows"]]
    assert rows.index("my agent") < rows.index("homogeneous")
    shown = [line.split("  ")[0] for line in stored.splitlines()[2:]]
    assert [name for name in shown if name not in ("", OTHER_SYSTEMS)] == rows
    names["plt"].close("all")


def test_every_page_is_in_the_navigation():
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (*DOCS.glob("*.md"), *DOCS.glob("*.ipynb"), *(DOCS / "results").glob("*.md")):
        assert f": {page.relative_to(DOCS).with_suffix('.md').as_posix()}\n" in config, page


def test_results_are_those_of_the_readme():
    head = "| decided by | goodput"
    assert table(DOCS / "agents.md", head) == table(ROOT / "README.md", head)


def test_claims_of_the_readme_are_all_that_were_checked():
    head = "| claim of the paper"
    checked = [line.split(" | ")[:4] for line in table(DOCS / "reproduce.md", head)[2:]]
    assert [line.removesuffix(" |").split(" | ") for line in table(ROOT / "README.md", head)[2:]] == checked


def test_the_picture_of_the_rooms_names_every_folder():
    named = " ".join(name for name, _ in tool("architecture").ROOMS).split()
    package = Path(ms.__file__).parent
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    families = {f"{room}/{family}/" for room in ("envs", "physics") for family in ("rounds", "continuous")}
    assert folders | {family for family in families if (package / family).is_dir()} <= set(named)


def test_every_environment_has_stored_scores():
    assert {json.loads(path.read_text(encoding="utf-8"))["about"]["env"] for path in STORED} >= set(ROUNDS)


QUICK = {"MultiSpin/Continuous-v0": "optimal", "MultiSpin/Serving-v0": "greedy"}
"""Contenders that are soon played, where there is no ``fixed``."""


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_stored_reference_scores(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    about, rows = stored["about"], {row["name"]: row for row in stored["rows"]}
    cases = Episodes(about["env"], about["episodes"], about["scenario"], seed=about["seed"])
    assert {name.removesuffix("+clairvoyant") for name in rows} >= {
        name.removesuffix("+clairvoyant") for name in cases.contenders
    }
    assert about["metric"] == cases.metric
    quick = QUICK.get(about["env"], "fixed")
    assert cases.values(quick).mean() == pytest.approx(rows[quick]["mean"], rel=1e-9)


def test_citation_has_the_version():
    assert f"\nversion: {ms.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version = {{{ms.__version__}}}" in (DOCS / "cite.md").read_text(encoding="utf-8")


def test_check_finds_what_is_broken(tmp_path):
    check_site = tool("check").check_site
    (tmp_path / "search.json").write_text('{"text": "Bandwidth"}', encoding="utf-8")
    page = tmp_path / "index.html"
    page.write_text(
        '<h1 id="top"><a href="other/#there">x</a><a href="https://example.org">y</a></h1>', encoding="utf-8"
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text('<p id="there"><a href="..">up</a></p>', encoding="utf-8")
    assert check_site(tmp_path) == []
    page.write_text(
        '<a href="nowhere/">a</a><a href="other/#nothing">b</a><img src="none.png"><script src="https://example.org/x.js">',
        encoding="utf-8",
    )
    (tmp_path / "search.json").write_text("{}", encoding="utf-8")
    assert [problem.split(", ")[0] for problem in check_site(tmp_path)] == [
        "index.html: broken link nowhere/",
        "index.html: no such anchor",
        "index.html: broken link none.png",
        "index.html: script is loaded from elsewhere",
        "search.json: 'bandwidth' is not found",
    ]


def test_the_overview_shows_the_observation_as_the_environment_does():
    """Where it differs, put these lines into ``docs/environments.md``."""
    page = ENVIRONMENTS.load("MultiSpin/Heterogeneous-v0").page()
    lines = [line for line in page.partition("## Observation Space")[2].splitlines() if line.startswith("| ")]
    assert lines
    assert "\n".join(lines) in (DOCS / "environments.md").read_text(encoding="utf-8")


PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
BLOCKS = {page.name: re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL) for page in PAGES}
OURS = [
    pytest.param(block, id=f"{name}-{i}")
    for name, blocks in BLOCKS.items()
    if name != "libraries.md"  # below
    for i, block in enumerate(blocks)
]


@pytest.mark.parametrize("block", OURS)
def test_blocks_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    exec(block, {})  # the text a reader would paste


def test_the_loop_of_the_readme_is_short():
    assert len([line for line in BLOCKS["README.md"][0].splitlines() if line.strip()]) <= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


LIBRARIES = tool("libraries")


def test_every_library_has_a_block():
    found = {package for code in BLOCKS["libraries.md"] for package in LIBRARIES.packages(code)}
    assert found == {*LIBRARIES.LIGHT, *LIBRARIES.HEAVY}


@pytest.mark.filterwarnings("ignore")  # of other libraries
@pytest.mark.parametrize("code", BLOCKS["libraries.md"], ids=count())
def test_blocks_of_other_libraries_run(code, tmp_path, monkeypatch, capsys):
    if absent := LIBRARIES.missing(code):
        pytest.skip(f"not installed: {', '.join(absent)}")
    monkeypatch.chdir(tmp_path)
    exec(LIBRARIES.quick(code), {})
    assert capsys.readouterr().out.strip()
