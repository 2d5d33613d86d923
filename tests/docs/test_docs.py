"""The documentation agrees with the code; its strict build is a step of ``.ci/run``."""

import ast
import contextlib
import csv
import inspect
import io
import json
import re
import shlex
import tomllib
from dataclasses import fields
from itertools import count, takewhile

import gymnasium as gym
import pytest

import multispin_env as ms
import multispin_lab
from benchmarks.evidence.tables import MACHINES
from benchmarks.suite import page as suite_page
from multispin_env.apps.commands.main import main
from multispin_env.checks import missing_package
from multispin_env.envs.rounds.known import HeterogeneousEnv
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.comparison import OTHER_SYSTEMS
from multispin_env.registry import ENVIRONMENTS
from multispin_lab.models.profile import describe_pieces, formula
from tests.families import ROUNDS
from tests.repository import ROOT
from tools import architecture, libraries, notebook
from tools.check import check_site
from tools.pages import api_page, public_names

DOCS = ROOT / "docs"
PAGES = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))}
REFERENCE, NOTEBOOKS = DOCS / "reference", DOCS / "notebooks"
STORED = sorted((DOCS / "results" / "reference").glob("*.json"))


def table(path, head):
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(head))
    return list(takewhile(lambda line: line.startswith("|"), lines[first:]))


def rows(path, head):
    return [line.strip("| ").split(" | ") for line in table(path, head)[2:]]


PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]


def run_notebook(name):
    """Run a notebook and compare the output of its cells, except of those whose numbers depend on the machine."""
    names, printed = {}, ""
    for cell in notebook.cells(NOTEBOOKS / f"{name}.ipynb"):
        source = notebook.text_of(cell["source"])
        if cell["cell_type"] != "code" or source.startswith("%%capture\n%pip install"):
            continue
        with contextlib.redirect_stdout(io.StringIO()) as stream:
            exec(source, names)
        printed = stream.getvalue()
        if "nbval-ignore-output" not in cell["metadata"].get("tags", []):
            assert printed == "".join(notebook.text_of(output.get("text", "")) for output in cell["outputs"])
    names["plt"].close("all")
    return names, printed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Stable-Baselines3 and matplotlib, not ours
def test_notebooks(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names, printed = run_notebook("start")
    rows = [row.name for row in names["rows"]]
    assert rows.index("my agent") < rows.index("homogeneous")
    assert [name for name in re.findall(r"^\S+(?: \S+)*", printed, re.MULTILINE)[2:] if name != OTHER_SYSTEMS] == rows
    names, _ = run_notebook("own-agent")
    scores = [row.score.mean for row in names["scores"]]
    assert scores[0] < 0.3
    assert 0.6 < scores[-1] < names["clairvoyant"]
    names, _ = run_notebook("without-barrier")
    rates = names["rates"]
    assert rates["optimal"] < min(rates[name] for name in ("greedy", "groups", "prices"))
    assert max(rates.values()) < names["bound"]
    assert names["trained"][-1] > names["trained"][0]


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_open_elsewhere(path):
    cells = [(cell["cell_type"], notebook.text_of(cell["source"])) for cell in notebook.cells(path)]
    badge = r"https://colab\.research\.google\.com/github/\w+/multispin_env/blob/main/(\S+)\)"
    assert re.search(badge, cells[0][1])[1] == path.relative_to(ROOT).as_posix()
    installed = next(source for kind, source in cells if kind == "code")
    assert re.fullmatch(r'%%capture\n%pip install -q "multispin_env\[(\w+)\]"', installed)[1] in EXTRAS
    for target in re.findall(r"\]\(([^)]+)\)", "".join(source for kind, source in cells[1:] if kind == "markdown")):
        match = re.fullmatch(r"https://github\.com/\w+/multispin_env/blob/main/(.*)", target)
        assert (ROOT / match[1]).is_file(), target
    assert not re.search(r"/(home|root|tmp|work)/", path.read_text(encoding="utf-8"))


def test_every_page_is_short_and_in_the_navigation():
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")):
        assert f": {page.relative_to(DOCS).with_suffix('.md').as_posix()}\n" in config, page
    words = {page: len(page.read_text(encoding="utf-8").split()) for page in PAGES.values()}
    assert {page.stem: count for page, count in words.items() if page.parent.name == "evidence" and count > 1_950} == {}
    assert words[ROOT / "README.md"] <= 1_150, "README.md: expected at most 1,150 words"
    assert sum(words.values()) <= 64_000, "docs and README.md: expected at most 64,000 words"


def test_no_number_is_of_an_earlier_commit():
    """Numbers that the present code does not print are measured again or taken out."""
    marks = {
        name: re.findall(r"†|old search|\b[Cc]ommit [0-9a-f]{6}", path.read_text("utf-8"))
        for name, path in PAGES.items()
    }
    assert {name: found for name, found in marks.items() if found} == {}


def first_column(path, head):
    return [re.findall(r"`([^`]+)`", row[0])[0] for row in rows(path, head)]


def test_tables_list_every_part():
    assert set(first_column(DOCS / "serving.md", "| `arrivals` |")) == set(ms.registry.ARRIVALS.names())
    encodings = [name.strip('"') for name in first_column(DOCS / "environments.md", "| `action=` |")]
    assert encodings == list(ms.registry.ENCODINGS.names()), "environments.md: expected a row of each encoding"
    shown, ids = first_column(ROOT / "README.md", "| id |"), list(ENVIRONMENTS.names())
    assert shown == ids, "README.md: expected a row of each id in the table of ids, in the order of `ENVIRONMENTS`"
    assert sorted(re.findall(r"`\[(\w+)\]`", "".join(table(ROOT / "README.md", "| extra |")))) == sorted(EXTRAS)
    missing = set(ROUNDS) - {json.loads(path.read_text(encoding="utf-8"))["about"]["env"] for path in STORED}
    assert not missing, f"docs/results/reference: expected scores, which `python -m tools.scores ID` stores: {missing}"
    shown = rows(ROOT / "README.md", "| decided by | goodput")
    assert 5 <= len(shown) <= 6
    stored = [row[:5] for row in rows(DOCS / "evidence" / "agents.md", "| decided by | goodput")]
    assert [row for row in stored if row in shown] == shown
    page = inspect.getdoc(HeterogeneousEnv)
    lines = [line for line in page.partition("## Observation Space")[2].splitlines() if line.startswith("|")]
    assert table(DOCS / "environments.md", lines[0])[: len(lines)] == lines  # copy these lines where they differ


def test_pages_install_an_extra_as_errors_do():
    command = str(missing_package("torch", "train")).partition("install it with: ")[2]
    assert f"`{command}`" in (DOCS / "commands.md").read_text(encoding="utf-8")
    for name in ("servers", "suite", "reference/watch", "reference/explore"):
        installed = re.findall(r"pip install [^`\n]*\[.*\]\"", (DOCS / f"{name}.md").read_text(encoding="utf-8"))
        assert installed
        assert all(re.sub(r"\[\w+\]", "[train]", line) == command for line in installed)


def test_the_table_of_questions_has_every_environment_with_arguments_that_it_takes(quick_prices):
    env_ids = set()
    for row in rows(DOCS / "index.md", "| question |"):
        env_id, *items = re.findall(r"`([^`]+)`", row[1])
        arguments = {name: ast.literal_eval(value) for name, value in (item.split("=", 1) for item in items)}
        gym.make(env_id, num_users=2, **arguments).close()
        env_ids.add(env_id)
        names = re.findall(r"`([^`]+)`", f"{row[2]} {row[3]}")
        bases = {name.partition("+")[0] for name in names if not name.startswith("ms.")}
        assert all(hasattr(ms.baselines, f"{base}_goodput") for base in bases - set(ms.controller_names()))
    assert env_ids == set(ENVIRONMENTS.names()), "docs/index.md: expected each id in the table of questions"


def test_the_page_of_the_model_has_the_numbers_of_each_pair():
    pairs = rows(DOCS / "model.md", "| preset |")
    assert [row[0].strip("`") for row in pairs] == list(ms.registry.SCENARIOS.names())
    for name, _, vocabulary, times, draft_time, acceptance in pairs:
        scenario = ms.Scenario.preset(name.strip("`"))
        rates = [task.acceptance_rate for task in scenario.tasks]
        fixed, per_draft = (1e3 * scenario.verification_fixed_time, 1e3 * scenario.verification_time_per_draft)
        assert vocabulary == f"{scenario.vocabulary_size:,}"
        assert times == f"{fixed:.4g} ms, {per_draft:.4g} ms"
        assert draft_time.partition(",")[0] == f"{1e3 * scenario.mean_draft_time:.3g} ms"
        assert acceptance == f"{min(rates):.4f} to {max(rates):.4f}"


def test_the_file_of_servers_has_the_profiles_that_are_from_tables():
    with (DOCS / "results" / "servers" / "profiles.csv").open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    assert [row[0] for row in rows] == list(MACHINES)
    for name, target, law, worst, drafting, worst_draft, growth in rows:
        server = ms.registry.SERVERS.load(name)
        assert server.model.startswith(f"{target}, drafts by ")
        assert law == formula(server)
        assert drafting == describe_pieces(server.draft_pieces)
        assert re.findall(r"within ([\d.]+%)", server.source)[:2] == [worst, worst_draft]
        assert float(growth) == float(f"{1e9 * server.draft_context_time:.4g}") > 0.0


def test_what_tables_and_pages_name_exists():
    named = re.findall(r"`(\w+)\.(\w+)`", " ".join(row[-1] for row in rows(REFERENCE / "symbols.md", "| symbol |")))
    assert len(named) > 20
    public = {"ms": ms} | {name.rpartition(".")[2]: value for name, value in public_names().items()}
    for owner, name in named:
        holder = public[owner]
        assert hasattr(holder, name) or name in {field.name for field in fields(holder)}
    for _, file, name in rows(REFERENCE / "architecture.md", "| where is | file |"):
        body = ast.parse((ROOT / file.strip("` ")).read_text(encoding="utf-8")).body
        assigned = [getattr(node, "targets", [getattr(node, "target", None)])[0] for node in body]
        names = [getattr(node, "name", None) for node in body] + [getattr(target, "id", None) for target in assigned]
        assert name.strip("` ") in names, file
    files = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py")}
    files |= {file.removeprefix("multispin_env/") for file in files} | {file.rpartition("/")[2] for file in files}
    for page in (REFERENCE / "architecture.md", ROOT / "CONTRIBUTING.md"):
        named = re.findall(r"`([\w./]+\.py)`", page.read_text(encoding="utf-8"))
        assert [name for name in named if name not in files] == []


def test_the_page_of_the_architecture_begins_with_ten_files_to_read():
    section = (REFERENCE / "architecture.md").read_text(encoding="utf-8").split("\n## ")[1]
    files = re.findall(r"^\d+\. `([\w/]+\.py)`: .+\.$", section, re.MULTILINE)
    assert (len(files), len(set(files))) == (10, 10)
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_the_picture_of_the_architecture_has_every_room_in_the_order_of_imports():
    drawn = {name.rstrip("/"): row for row, (names, _) in enumerate(architecture.ROOMS) for name in names.split()}
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    layers = {contract["containers"][0]: contract["layers"] for contract in contracts if contract["type"] == "layers"}
    for package, (_, first, last, _) in zip(("multispin_lab", "multispin_env"), architecture.RINGS[::2], strict=True):
        rows = [[drawn[name] for name in re.findall(r"\w+", layer)] for layer in layers[package] if layer != "__main__"]
        assert all(len(set(row)) == 1 for row in rows), "a layer is drawn in several rows"
        order = [row[0] for row in rows]
        assert order == sorted(order)
        assert set(order) == {*range(first, last + 1)} - {drawn["envs/rounds"]}
    families = {f"{room}/{family}" for room in ("envs", "physics") for family in ("rounds", "continuous")}
    assert {family for family in families if (ROOT / "multispin_env" / family).is_dir()} <= set(drawn)
    described = re.findall(
        r"^- `(\w+)(?:/|\.py)`: ", (REFERENCE / "architecture.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert set(described) == set(re.findall(r"\w+", " ".join(layers["multispin_lab"])))


def test_the_page_of_the_api_has_every_public_name():
    page = api_page().text
    names = [name for name, value in public_names().items() if not inspect.ismodule(value)]
    assert {"multispin_env.bounds.rate_optimum", "multispin_lab.suite.record"} <= set(names)
    assert [name for name in names if f"::: {name}\n" not in page] == []


QUICK = {"MultiSpin/Continuous-v0": "optimal", "MultiSpin/Serving-v0": "greedy"}  # others have "fixed"


@pytest.mark.slow
@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_stored_reference_scores(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    about, scores = stored["about"], {row["name"]: row["mean"] for row in stored["rows"]}
    cases = Episodes(ms.EnvConfig.of(about["env"], about["scenario"]), about["episodes"], seed=about["seed"])
    named, played = ({name.removesuffix("+clairvoyant") for name in names} for names in (scores, cases.contenders))
    assert named >= played
    assert about["metric"] == cases.metric
    quick = QUICK.get(about["env"], "fixed")
    assert cases.values(quick).mean() == pytest.approx(scores[quick], rel=1e-9)


def test_check_finds_what_is_broken(tmp_path):
    def problems(page, search):
        (tmp_path / "index.html").write_text(page, encoding="utf-8")
        (tmp_path / "search.json").write_text(search, encoding="utf-8")
        return [problem.split(", ")[0] for problem in check_site(tmp_path)]

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text('<p id="there"><a href="..">up</a></p>', encoding="utf-8")
    links = '<h1 id="top"><a href="other/#there">x</a><a href="https://example.org">y</a></h1>'
    assert problems(links, '{"text": "Bandwidth"}') == []
    links = '<a href="nowhere/">a</a><a href="other/#nothing">b</a><img src="none.png">'
    assert problems(f'{links}<script src="https://example.org/x.js">', "{}") == [
        "index.html: broken link nowhere/",
        "index.html: no such anchor",
        "index.html: broken link none.png",
        "index.html: script is loaded from elsewhere",
        "search.json: 'bandwidth' is not found",
    ]


BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
BLOCKS = {name: BLOCK.findall(path.read_text(encoding="utf-8")) for name, path in PAGES.items()}
OTHERS = [code for language, code, _ in BLOCKS.pop("docs/reference/libraries.md") if language == "python"]
SLOW = ("multispin capacity", "--episodes 24", "ahead-price minus optimal", "import PPO", "last report", "ttft_p95")
"""Text in the code of blocks that take more than three seconds."""
OURS = [
    pytest.param(*block, id=f"{name}-{i}", marks=[pytest.mark.slow] if any(text in block[1] for text in SLOW) else [])
    for name, blocks in BLOCKS.items()
    for i, block in enumerate(blocks)
    if block[0] == "python" or block[2]
]
DECIMAL = re.compile(r"\d+\.\d+")


@pytest.fixture
def own_parts(monkeypatch):
    """Forget the parts that a block registers."""
    env_ids = set(gym.registry)
    for table in vars(ms.registry).values():
        if isinstance(table, ms.registry.Registry):
            monkeypatch.setattr(table, "_entries", dict(table._entries))
    yield
    for env_id in set(gym.registry) - env_ids:
        del gym.registry[env_id]


@pytest.mark.usefixtures("own_parts")
@pytest.mark.parametrize(("language", "code", "shown"), OURS)
def test_blocks_run_and_print_what_is_shown(language, code, shown, tmp_path, monkeypatch, capsys):
    """Decimals may differ by one unit of the last digit; a last line "..." stands for more output."""
    if language == "python":
        monkeypatch.chdir(tmp_path)  # some write files
        exec(libraries.quick(code), {})  # the text a reader would paste, with less training
    else:
        monkeypatch.chdir(ROOT)
        program, *arguments = shlex.split(code.replace("\\\n", ""))
        assert program == "multispin"
        assert main(arguments) == 0
    if shown:
        printed, expected = capsys.readouterr().out, shown.removesuffix("...\n")
        if expected != shown:
            printed = printed[: len(expected)]
        assert DECIMAL.sub("#", printed) == DECIMAL.sub("#", expected), printed
        for number, decimal in zip(DECIMAL.findall(printed), DECIMAL.findall(expected), strict=True):
            unit = 10.0 ** -len(decimal.partition(".")[2])
            assert float(number) == pytest.approx(float(decimal), rel=0.0, abs=1.01 * unit), printed


WIDTH = 90  # Characters of code that the site shows in a line, on a screen 1280 pixels wide


@pytest.mark.parametrize("page", [*PAGES.values(), *(ROOT / "release").glob("*.md")], ids=lambda page: page.stem)
def test_links_lead_to_files_and_code_is_not_cut_off_at_the_right(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
    blocks = re.findall(r"^ *```(\w+)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    code = [line for kind, block in blocks if kind not in ("text", "markdown") for line in block.splitlines()]
    assert [line for line in code if len(line) > WIDTH] == []


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_tables_begin_with_their_head(page):
    """An empty line within a table makes a paragraph of bars of what follows."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert [lines for lines in tables if not re.match(r"\|.*\n\|[-:| ]+\n", lines)] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of other libraries
@pytest.mark.parametrize("code", OTHERS, ids=count())
def test_blocks_of_other_libraries_run(code, tmp_path, monkeypatch, capsys):
    if absent := libraries.missing(code):
        pytest.skip(f"not installed: {', '.join(absent)}")
    if "ray.rllib" in code:
        pytest.importorskip("ray.rllib", exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    exec(libraries.quick(code), {})
    assert capsys.readouterr().out.strip()


def test_the_guide_has_every_agent_with_its_budget_and_every_library():
    pytest.importorskip("torch")
    from multispin_agents import AGENTS

    budgets = {name.strip("`"): budget for name, budget, *_ in rows(DOCS / "agents.md", "| `--agent` |")}
    assert budgets == {name: f"{AGENTS.load(name).timesteps:,}" for name in AGENTS.names()}
    packages = {package for code in OTHERS for package in libraries.packages(code)}
    assert packages == {*libraries.LIGHT, *libraries.HEAVY}


def test_the_page_of_the_suite_has_its_leaderboard():
    page = (DOCS / "evidence" / "suite.md").read_text(encoding="utf-8")
    methods, tasks = suite_page.tables()
    assert methods in page
    assert tasks in page
    assert methods.count("\n") > 10
    assert tasks.count("\n") == len(multispin_lab.suite.tasks()) + 1
