import json
import re

import pytest

import multispin_env as ms
from multispin_env.registry import SERVERS

OWN = ms.Scenario.preset("qwen3.5", server="a100-7b-gemm", num_users=3, payload="ids").replace(name='Ünser "own"')


@pytest.mark.parametrize("ending", ["toml", "json", "TOML"])
@pytest.mark.parametrize("scenario", [OWN, ms.Scenario.preset("llama2")], ids=["own", "preset"])
def test_what_is_saved_is_read_again(scenario, ending, tmp_path):
    file = tmp_path / f"scenario.{ending}"
    scenario.save(file)
    assert ms.Scenario.load(file) == scenario
    assert ms.Scenario.resolve(str(file)) == scenario


@pytest.mark.parametrize("part", [OWN, SERVERS.load("h100-8b")], ids=["scenario", "server"])
def test_every_field_has_its_meaning_as_a_comment(part, tmp_path):
    part.save(tmp_path / "mine.toml")
    lines = (tmp_path / "mine.toml").read_text(encoding="utf-8").partition("\n[[")[0].splitlines()
    assert [line for line in lines if line and not re.search(r"  # \S.*[^.;]$", line)] == []


def test_a_file_may_begin_with_a_preset(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('preset = "llama2"\nserver = "a100-32b"\nnum_users = 4\nround_trip_time = 0.02\n', encoding="utf-8")
    assert ms.Scenario.load(file) == ms.Scenario.preset("llama2", server="a100-32b", num_users=4, round_trip_time=0.02)
    file = tmp_path / "mine.json"
    file.write_text('{"preset": "llama2", "tasks": [{"name": "chat", "acceptance_rate": 0.5}]}', encoding="utf-8")
    assert ms.Scenario.load(file).tasks == (ms.Task(name="chat", acceptance_rate=0.5),)


FULL = """
name = "mine"
vocabulary_size = 32000
mean_draft_time = 0.01
server = "a100-32b"
tasks = [{name = "chat", acceptance_rate = 0.5}]
"""


def test_a_file_without_a_preset_takes_the_law_of_its_server(tmp_path):
    file = tmp_path / "full.toml"
    file.write_text(FULL, encoding="utf-8")
    scenario = ms.Scenario.load(file)
    assert scenario == scenario.replace(server="").replace(server="a100-32b")
    assert scenario.verification_pieces == SERVERS.load("a100-32b").pieces
    file.write_text(f"verification_fixed_time = 0.01\n{FULL}", encoding="utf-8")
    assert ms.Scenario.load(file) == scenario.replace(verification_fixed_time=0.01)


def task_of(name, field):
    return f'preset = "llama2"\n[[tasks]]\nname = "{name}"\n"{field}" = 0.5\n'


BAD = [
    ("a.toml", FULL.replace("a100-32b", "a100-32"), r"line 5: server: .*did you mean 'a100-32b'"),
    ("a.toml", "\udcff", r"scenario: expected a file that can be read, got .*a.toml"),
    ("a.yaml", "", r"scenario: expected a file of .toml or .json, got .*a.yaml"),
    ("a.toml", 'preset = "llama2"\n\nnum_user = 3\n', "a.toml, line 3: .*'num_user'.*did you mean 'num_users'"),
    ("a.toml", 'preset = "llama2"\nnum_users = -3\n', "a.toml, line 2: num_users: .*-3"),
    ("a.toml", "num_users = \n", r"a.toml: .*line 1"),
    ("a.json", '{"num_users":\n', r"a.json, line 2: can't be read as JSON"),
    ("a.toml", 'preset = "lama2"\n', "a.toml, line 1: .*did you mean 'llama2'"),
    ("a.toml", 'preset = "llama2"\ntasks = 3\n', "a.toml, line 2: tasks: .*3"),
    ("a.toml", 'preset = "llama2"\n[[tasks]]\nname = "x"\n', "a.toml.*acceptance_rate"),
    ("a.json", "[1]", "a.json: expected a table of fields, got list"),
    ("a.json", "[" * 100_000, "a.json: can't be read as a scenario"),
    ("a.toml", "a = " + "[" * 100_000, "a.toml: can't be read as a scenario"),
    ("a.toml", "a" + ".a" * 3000 + " = 1", "a.toml: can't be read as a scenario .*at most 8 parts"),
    ("a.toml", 'preset = "llama2"\nname = "\\u001b[31mred"\n', r"a.toml, line 2: name: .*\\x1b"),
    ("a.json", json.dumps({"preset": "llama2", "name": "x y " * 225_000}), "a.json: name: .*at most 100 printable"),
    ("a.toml", task_of("x" * 101, "acceptance_rate"), "name of a task: .*at most 100 printable"),
    ("a.toml", task_of("x", "x" * 900_000), "Task: got an unexpected keyword argument"),
    ("a.toml", "x = 1\n" + f'"{"y" * 9000}" = 1\n' * 2, "a.toml: can't be read as a scenario"),
    ("a.json", "x" * (2**20 + 1), "scenario: expected a file that can be read, .*1048576 bytes"),
]


@pytest.mark.parametrize(("name", "text", "words"), BAD, ids=range(len(BAD)))
def test_bad_files_are_one_sentence(name, text, words, tmp_path):
    (tmp_path / name).write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(ValueError, match=words) as caught:
        ms.Scenario.load(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value).replace(str(tmp_path), "")) < 1000


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match=r"scenario: expected a file that can be read, got .*none.toml"):
        ms.Scenario.resolve(str(tmp_path / "none.toml"))
    with pytest.raises(ValueError, match=r"scenario: expected a file of .toml or .json, got .*x.yaml"):
        OWN.save(tmp_path / "x.yaml")
