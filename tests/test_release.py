"""The wheel, the source distribution and the page on the package index; metadata agrees with package and docs."""

import contextlib
import json
import re
import tarfile
import tomllib
from email import message_from_bytes
from runpy import run_path
from zipfile import ZipFile

import hatchling.build
import pytest
import yaml
from markdown_it import MarkdownIt

import multispin_env as ms
from tests.repository import ROOT, git

CHECKLIST = "release/checklist.md"


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


PYPROJECT = tomllib.loads(read("pyproject.toml"))
PROJECT = PYPROJECT["project"]
CITATION = yaml.safe_load(read("CITATION.cff"))
CODEMETA = json.loads(read("codemeta.json"))
ZENODO = json.loads(read(".zenodo.json"))
RECIPE = yaml.safe_load(read("release/recipe.yaml"))

WORKFLOWS = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in ROOT.glob(".github/workflows/*.yml")}


def build(kind, source, out):
    with contextlib.chdir(source):
        return out / getattr(hatchling.build, f"build_{kind}")(str(out))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    with ZipFile(build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))) as file:
        yield file


@pytest.fixture(scope="module")
def metadata(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


def links(text):
    page = MarkdownIt("commonmark").enable("table").render(text)
    return re.findall(r'\s(?:href|src|srcset)="([^"]*)"', page)


def test_the_index_shows_a_page_whose_links_all_lead_somewhere(metadata):
    """The index has no other file, so that each relative link of the README becomes an address of the repository."""
    shown, written = links(metadata.get_payload()), links(read("README.md"))
    repository, tag = PROJECT["urls"]["Homepage"], f"v{PROJECT['version']}"
    assert len(shown) == len(written)
    for address, original in zip(shown, written, strict=True):
        if original.startswith("https:"):
            assert address == original
        else:
            assert address in (f"{repository}/{kind}/{tag}/{original}" for kind in ("blob", "raw"))
            assert (ROOT / original.partition("#")[0]).is_file()


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(wheel):
    tops = "multispin_env", "agents", "lab", "multispin.py"
    listed = git("ls-files", "--cached", "--others", "--exclude-standard", *tops)
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == {name.removeprefix("agents/").removeprefix("lab/") for name in listed if (ROOT / name).is_file()}


def test_the_wheel_has_its_licences(wheel, metadata):
    (ours,) = (name for name in wheel.namelist() if name.endswith(".dist-info/licenses/LICENSE"))
    assert wheel.read(ours) == (ROOT / "LICENSE").read_bytes()
    assert metadata["License-Expression"] == PROJECT["license"]
    assert b"CC-BY 4.0" in wheel.read("multispin_env/data/records/README.md")


@pytest.mark.slow
def test_the_source_distribution_builds_the_same_wheel(wheel, tmp_path):
    with tarfile.open(build("sdist", ROOT, tmp_path)) as file:
        file.extractall(tmp_path, filter="data")
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    with ZipFile(build("wheel", source, tmp_path)) as again:
        first, second = ({file.filename: file.CRC for file in built.infolist()} for built in (wheel, again))
        assert first == second


def test_the_tested_versions_are_those_that_are_promised():
    named = re.findall(r":: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    jobs = WORKFLOWS["tests"]["jobs"]
    assert jobs["linux"]["strategy"]["matrix"]["python"] == named
    (several,) = (step["with"]["python-version"] for step in jobs["wheel"]["steps"] if "with" in step)
    assert several.split() == named
    assert [f"python{version}" for version in named] == [*run_path(str(ROOT / ".ci" / "wheel.py"))["PYTHONS"]]
    (install,) = (step["run"] for step in jobs["lowest-versions"]["steps"] if "==" in step.get("run", ""))
    promised = re.findall(r"([\w-]+)>=([\d.]+)", " ".join(PROJECT["dependencies"]))
    assert dict(re.findall(r"([\w-]+)==([\d.]+)", install)) == dict(promised)


def test_the_constraints_hold_what_the_package_and_its_tests_need():
    def normal(names):
        return {name.lower().replace("_", "-") for name in names}

    extras, needed, waiting = PROJECT["optional-dependencies"], set(), [*PROJECT["dependencies"]]
    waiting += PROJECT["optional-dependencies"]["test"]
    while waiting:
        name, inner = re.match(r"([\w-]+)(?:\[([\w,]+)\])?", waiting.pop()).groups()
        if name == "multispin_env":
            waiting += [requirement for extra in inner.split(",") for requirement in extras[extra]]
        else:
            needed.add(name)
    lines = read("constraints.txt").splitlines()[1:]
    pinned = normal(line.partition("==")[0] for line in lines)
    assert normal(needed) - pinned == set()
    assert sum(line.startswith("numpy==") for line in lines) == 2  # NumPy 2.5 needs Python 3.12


def test_only_a_job_that_runs_no_code_of_ours_may_publish_on_the_index():
    jobs = [job for flow in WORKFLOWS.values() for job in (flow, *flow["jobs"].values())]
    publishers = [job for job in jobs if "id-token" in job.get("permissions", {})]
    assert publishers == [WORKFLOWS["release"]["jobs"]["publish"]]
    assert not [step for step in publishers[0]["steps"] if "run" in step]


def test_every_file_of_metadata_says_the_same():
    cited = re.search(r"version = \{(.*)\}", read("docs/reference/cite.md"))[1]
    versions = {ms.__version__, CITATION["version"], CODEMETA["version"], RECIPE["context"]["version"], cited}
    assert versions == {PROJECT["version"]}
    summary = PROJECT["description"]
    titles = {CITATION["title"], CODEMETA["name"], ZENODO["title"]}
    assert titles == {f"{PROJECT['name']}: {summary[0].lower()}{summary[1:]}"}
    assert RECIPE["about"]["summary"] == summary
    licences = PROJECT["license"].split(" AND ")  # of what is ours first
    assert {CITATION["license"], ZENODO["license"], CODEMETA["license"].rpartition("/")[2]} == {licences[0]}
    assert {*licences} <= {*RECIPE["about"]["license"].split(" AND ")}
    assert all((ROOT / name).is_file() for name in RECIPE["about"]["license_file"])
    assert CODEMETA["codeRepository"] == CITATION["repository-code"]
    assert CODEMETA["datePublished"] == str(CITATION["date-released"])
    assert CODEMETA["description"] == ZENODO["description"] == CITATION["abstract"]
    assert CODEMETA["keywords"] == ZENODO["keywords"] == CITATION["keywords"]
    owners = re.findall(r"(?<=github\.com/)[\w-]+|[\w-]+(?=\.github\.io)", read("pyproject.toml"))
    assert (len(owners), len(set(owners))) == (7, 1)


def test_the_recipe_needs_what_the_package_needs():
    def normal(requirements):
        return {re.sub(r"\s", "", requirement).replace("_", "-") for requirement in requirements}

    python, *others = RECIPE["requirements"]["run"]
    assert normal(others) == normal(PROJECT["dependencies"])
    assert python == "python >=${{ python_min }}"
    assert f">={RECIPE['context']['python_min']}" == PROJECT["requires-python"]
    host, build = (
        {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}
        for requirements in (RECIPE["requirements"]["host"], PYPROJECT["build-system"]["requires"])
    )
    assert build <= host
    assert RECIPE["build"]["python"]["entry_points"] == [f"{name} = {at}" for name, at in PROJECT["scripts"].items()]


def test_the_checklist_names_each_file_with_a_placeholder():
    pattern = "OWNER|1970-01-01|1 January 1970"
    files = git("grep", "-lwE", pattern, "--", ".", ":!tests", f":!{CHECKLIST}", fine=(0, 1))  # 1: in none
    assert [name for name in files if f"`{name}`" not in read(CHECKLIST)] == []


def test_each_number_stands_on_the_page_that_is_named_with_its_command():
    text = read("release/announcement.md")
    claims = re.findall(r"^- (.*?)\s\(`([^`]+)`;\s+\[?(docs/[\w/-]+\.md)", text, re.DOTALL | re.MULTILINE)
    assert len(claims) >= 4
    for claim, command, page in claims:
        assert " ".join(command.split()) in read(page), (command, page)
        for number in re.findall(r"(?<![\w.])\d[\d.e-]*\d|(?<![\w.])\d", claim):
            assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d]|\.\d)", read(page)), (number, page)


def test_the_paper_has_the_sections_that_joss_requires_and_is_short():
    """JOSS asks for 750 to 1,750 words without new research results (docs/paper.md of openjournals/joss)."""
    text = read("paper/paper.md").partition("\n---\n")[2]
    assert re.findall("^# (.*)$", text, re.MULTILINE) == [
        *("Summary", "Statement of need", "State of the field", "Software design"),
        *("Research impact statement", "AI usage disclosure", "Acknowledgements", "References"),
    ]
    assert 750 <= len(text.split()) <= 1_000


def test_each_reference_of_the_paper_is_listed_and_cited():
    cited = set(re.findall(r"@([\w-]+)", read("paper/paper.md")))
    assert cited == set(re.findall(r"^@\w+\{([\w-]+),", read("paper/paper.bib"), re.MULTILINE))
