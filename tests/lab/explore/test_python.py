"""The Python and the command of each view compute what the page shows."""

import contextlib
import io
import shlex

import pytest

from multispin_env.apps.commands.main import main
from multispin_env.scenario import Scenario
from multispin_lab.explore.page import VIEWS, answer, view_numbers
from multispin_lab.explore.settings import ScenarioSources

QUERIES = {
    "one-round": "num_users=3&moved=2&moved_db=-6&edits=1.acceptance%3D0.9",
    "landscape": "num_users=5&states=2&server=a100-32b",
    "no-barrier": "num_users=2&seconds=2&episodes=2",
}


def printed(text):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(text, {})
    return out.getvalue()


@pytest.mark.parametrize("name", VIEWS.names())
def test_python_prints_the_numbers(name, capsys):
    result = answer(name, QUERIES[name], ScenarioSources())
    text = printed(result["python"])
    numbers = view_numbers(f"/{name}?{QUERIES[name]}")
    assert text.startswith(f"{type(numbers).__name__}(")
    shown = numbers.here if name == "landscape" else numbers.goodputs if name == "one-round" else numbers.first
    assert all(contender in text for contender in shown)
    assert main(["explore", "--print", result["link"]]) == 0
    assert capsys.readouterr().out == text


def test_a_scenario_file_is_named(tmp_path):
    file = tmp_path / "it's mine.toml"
    Scenario.preset("r1", num_users=2).save(file)
    result = answer("one-round", "", ScenarioSources(file))
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(result["python"], names)
    assert names["numbers"].scenario == Scenario.load(file)
    command = answer("landscape", "", ScenarioSources(file))["command"]
    assert main(shlex.split(command)[1:]) == 0
