"""Metadata for indexes, archives and journals agrees with the package and the documentation."""

import json
import re
import tomllib

import pytest
import yaml

import multispin_env as ms
from tests.repository import ROOT, git

CHECKLIST = "docs/release/checklist.md"


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


PYPROJECT = tomllib.loads(read("pyproject.toml"))
PROJECT = PYPROJECT["project"]
CITATION = yaml.safe_load(read("CITATION.cff"))
CODEMETA = json.loads(read("codemeta.json"))
ZENODO = json.loads(read(".zenodo.json"))
RECIPE = yaml.safe_load(read("docs/release/recipe.yaml"))


def test_versions_agree():
    versions = [
        PROJECT["version"],
        ms.__version__,
        CITATION["version"],
        CODEMETA["version"],
        RECIPE["context"]["version"],
        re.search(r"version = \{(.*)\}", read("docs/reference/cite.md"))[1],
    ]
    assert len(set(versions)) == 1, versions


def test_titles_and_licences_agree():
    summary = PROJECT["description"]
    title = f"{PROJECT['name']}: {summary[0].lower()}{summary[1:]}"
    assert [title] * 3 == [CITATION["title"], CODEMETA["name"], ZENODO["title"]]
    assert RECIPE["about"]["summary"] == summary
    licences = PROJECT["license"].split(" AND ")  # of what is ours first
    assert [licences[0]] * 2 == [CITATION["license"], ZENODO["license"]]
    assert CODEMETA["license"].endswith(f"/{licences[0]}")
    assert {*licences} <= {*RECIPE["about"]["license"].split(" AND ")}
    assert all((ROOT / name).is_file() for name in RECIPE["about"]["license_file"])


def test_what_is_made_from_the_citation_is_up_to_date():
    assert CODEMETA["codeRepository"] == CITATION["repository-code"]
    assert CODEMETA["datePublished"] == str(CITATION["date-released"])
    assert CODEMETA["description"] == ZENODO["description"] == CITATION["abstract"]
    assert CODEMETA["keywords"] == ZENODO["keywords"] == CITATION["keywords"]


def normal(requirement):
    return re.sub(r"[\s_]+", lambda match: "-" if "_" in match[0] else "", requirement)


def test_the_recipe_needs_what_the_package_needs():
    python, *others = RECIPE["requirements"]["run"]
    assert {*map(normal, others)} == {*map(normal, PROJECT["dependencies"])}
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


@pytest.mark.parametrize("text", ["paper/paper.md", "docs/release/announcement.md"])
def test_each_number_stands_on_the_page_that_is_named_with_its_command(text):
    claims = re.findall(r"^- (.*?)\s\(`([^`]+)`;\s+\[?(docs/[\w/-]+\.md)", read(text), re.DOTALL | re.MULTILINE)
    assert len(claims) >= 4
    for claim, command, page in claims:
        table = read(page)
        assert " ".join(command.split()) in table, (command, page)
        for number in re.findall(r"(?<![\w.])\d[\d.e-]*\d|(?<![\w.])\d", claim):
            assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d]|\.\d)", table), (number, page)


def test_each_reference_of_the_paper_is_listed_and_cited():
    cited = set(re.findall(r"@([\w-]+)", read("paper/paper.md")))
    assert cited == set(re.findall(r"^@\w+\{([\w-]+),", read("paper/paper.bib"), re.MULTILINE))
