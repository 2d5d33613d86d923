import json
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

import multispin_env as ms
from multispin_agents import training as train_command
from multispin_agents.runs import (
    CONFIG,
    Limits,
    RunConfig,
    command_of,
    digest,
    load_config,
    lock_run,
    make_next_folder,
    run_folder,
    save_config,
    with_reference,
)
from multispin_agents.train import COMMAND as TRAIN
from multispin_agents.training import train
from multispin_env.apps.commands.main import main
from multispin_env.apps.terminal.arguments import resolve_scenario, separate_settings
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.cases import Episodes

FULL, CLOSED = "MultiSpin/Heterogeneous-v0", "MultiSpin/Continuous-v0"
SCENARIO = ms.Scenario.preset("llama2", num_users=3)
RACERS = 8


def config(seed=1):
    return RunConfig(EnvConfig.of(FULL, SCENARIO), "ppo", seed)


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with lock_run(folder):
        save_config(folder, config(), Limits(timesteps=4000))
    return folder


def raced(work):
    """Results or messages of calls ``work(index)`` that begin at the same moment."""
    start = Barrier(RACERS)

    def call(index):
        start.wait()
        try:
            return work(index)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(call, range(RACERS)))


@pytest.mark.parametrize("fleet", ["phones", [["pixel-8-q8", 0.25], ["mine", 0.75, 0.02, 0.04, 0.5]]])
def test_runs_with_a_fleet_and_their_commands(fleet, tmp_path, monkeypatch):
    scenario = SCENARIO.replace(fleet=fleet, device_load="sustained", min_draft_length=0)
    with lock_run(tmp_path):
        save_config(tmp_path, RunConfig(EnvConfig.of(FULL, scenario), "ppo", 1), Limits(timesteps=4000))
    assert load_config(tmp_path)[0].env.scenario == scenario
    words = shlex.split(command_of(tmp_path))[2:]
    options = TRAIN.parser("train").parse_args(separate_settings(words))
    assert resolve_scenario(options) == scenario


def test_one_of_many_that_race_for_a_name_gets_it(tmp_path):
    for turn in range(10):
        folder = tmp_path / str(turn)
        folder.mkdir()

        def save(index, folder=folder):
            with lock_run(folder):
                save_config(folder, config(index), Limits())

        results = raced(save)
        winner = load_config(folder)[0].seed
        assert results[winner] is None
        lost = {results[index] for index in range(RACERS) if index != winner}
        assert lost <= {
            f"name: expected a new name, or --resume, got {str(folder)!r}, which exists",
            f"folder: expected a folder that no other process writes to, got {str(folder)!r}",
        }


def test_many_that_race_for_the_next_number_get_one_each(tmp_path):
    for _ in range(10):
        raced(lambda index: make_next_folder(tmp_path / "runs", "stem"))
    numbers = sorted(int(path.name.removeprefix("stem-")) for path in (tmp_path / "runs").iterdir())
    assert numbers == list(range(1, 10 * RACERS + 1))


def test_a_second_training_of_one_name_is_refused_before_it_writes(saved, refused):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    message = f"name: expected a new name, or --resume, got {str(saved)!r}, which exists"
    assert message in refused("train", ["--name", str(saved), "--num-users", "3", "--timesteps", "4000"])
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    with pytest.raises(ValueError, match=re.escape(message)):  # also after the check of the name
        train(config(2), saved, Limits(timesteps=4000), False, "cpu", None)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


LETTERS = "letters, digits and _ . + = -, at most 100 bytes, starting with a letter, digit or _"
NAMES = ["..", ".", "a" * 101, "a" * 300, "é" * 51, "[bold]x", "-x", ".x", "a b", "a\nb", "runs/..", "a/x[/red]"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(train_command, "train", lambda *_: 15)
    return tmp_path / "here"


@pytest.mark.parametrize("name", NAMES)
def test_invalid_names_are_refused_before_anything_is_written(name, refused, here):
    (here / "runs").mkdir()
    assert f"name: expected {LETTERS}, got {Path(name).name!r}" in refused("train", [f"--name={name}"])
    for command, arguments in (("train", [f"--resume={name}"]), ("evaluate", ["--", name]), ("export", ["--", name])):
        assert "run: expected the folder of a run, with its config.json, got " in refused(command, arguments)
    assert [path.name for path in here.rglob("*")] == ["runs"]


def test_other_invalid_names(refused, here):
    for command, arguments in (("train", ["--name="]), ("train", ["--resume="]), ("evaluate", [""]), ("export", [""])):
        assert "expected a text, got ''" in refused(command, arguments)
    assert "name: expected a name, or a path without '..', got '../x'" in refused("train", ["--name", "../x"])
    generated = refused("train", ["--set", "name=../x"])
    assert f"name: expected {LETTERS}, got 'heterogeneous-../x-k20-ppo-residual'" in generated
    assert list(here.parent.rglob("*")) == [here]


def test_the_first_line_shows_settings_and_names_unchanged(here, capsys):
    folder = here / "[red]x[/bold] :bug:" / "run"
    assert main(["train", "--name", str(folder), "--set", "max_draft_length=12"]) == 128 + 15
    printed = capsys.readouterr().err
    assert f"run {folder}: ppo on MultiSpin/Heterogeneous-v0, max_draft_length=12, residual actions" in printed
    assert f"continue with: multispin train --resume '{folder}'" in printed


def test_a_run_can_be_named_from_inside(saved, monkeypatch):
    monkeypatch.chdir(saved)
    assert run_folder(".").resolve() == saved
    monkeypatch.chdir(saved.parent)
    assert [str(run_folder(name)) for name in ("run", "./a/run", "/a/run", "..")] == [
        "runs/run", "a/run", "/a/run", "..",
    ]  # fmt: skip


@pytest.mark.parametrize("change", [('"seed": 1', '"seed": 2'), ('"seed"', '"x": 1, "seed"'), ('"schema"', '"Schema"')])
def test_changed_content_is_refused_and_another_layout_is_not(saved, change):
    path = saved / CONFIG
    text = path.read_text(encoding="utf-8")
    path.write_text(json.dumps(dict(sorted(json.loads(text).items()))), encoding="utf-8")
    assert load_config(saved) == (config(), Limits(timesteps=4000))
    path.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(ValueError, match=r"the content does not match its digest|schema: expected 4, got None"):
        load_config(saved)


HUGE = 10**4000
UNREADABLE = "can't be read as the configuration of a run"
CHANGES = [
    ({"schema": 3}, "schema: expected 4, got 3, of another version of this project"),
    ({"env": "MultiSpin/Heterogenous-v0"}, "env: expected .*, got .*; did you mean 'MultiSpin/Heterogeneous-v0"),
    ({"env": ["x"]}, r"env: expected one of .*, got \['x'\]"),
    ({"agent": "sac"}, r"agent: expected one of \['apg', 'ppo', .*\], got 'sac'"),  # of a development version
    ({"agent": "evolution"}, "agent: expected an environment whose decisions change later .*, got Heterogen"),
    ({"agent": "apg", "env": CLOSED, "arguments": {}}, "agent: expected an environment .* derivatives .* Continuous"),
    ({"seed": True}, "seed: expected an integer ≥ 0, got True"),
    ({"limits": {"timesteps": 0}}, "timesteps: expected an integer ≥ 1, got 0"),
    ({"limits": {"minutes": 0.0}}, r"minutes: expected a finite number in \(0, inf\), got 0.0"),
    ({"limits": {"minutes": float("nan")}}, r"minutes: expected a finite number in \(0, inf\), got nan"),
    ({"limits": {"minutes": 10**400}}, UNREADABLE),
    ({"limits": {"hours": 1}}, "hours"),
    ({"scenario": "llama2"}, UNREADABLE),
    *(({"scenario.num_users": value}, UNREADABLE) for value in (HUGE, 10**400, float("inf"), float("nan"), "3", [3])),
    *(
        ({"scenario.num_users": value}, f"num_users: expected an integer in 1..1000000, got {value}")
        for value in (0, 10**15)
    ),
    *(({"scenario.total_bandwidth": value}, UNREADABLE) for value in (HUGE, 10**400, 1e999, float("nan"), None, {})),
    *(({f"scenario.{field}": HUGE}, UNREADABLE) for field in ("kept_probabilities", "bits_per_probability")),
    ({"scenario.max_draft_length": HUGE}, UNREADABLE),
    ({"scenario.tasks": [[[]]]}, UNREADABLE),
    ({"scenario.channel": ["independent"]}, UNREADABLE),
    ({"arguments.drift": float("nan")}, UNREADABLE),
    ({"arguments." + "x" * 10_000: 1}, UNREADABLE),
]


@pytest.mark.parametrize(("changes", "message"), CHANGES, ids=range(len(CHANGES)))
def test_what_cannot_be_trained_is_refused_at_once(saved, changes, message):
    content = json.loads((saved / CONFIG).read_text(encoding="utf-8"))
    for field, value in changes.items():
        part, _, name = field.partition(".")
        content[part] = {**content[part], name: value} if name else value
    content["sha256"] = digest(content)
    (saved / CONFIG).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        load_config(saved)
    assert str(caught.value).startswith(f"{saved / CONFIG}: {UNREADABLE} (")
    assert "\n" not in str(caught.value)


def config_of(action="tuned", **arguments):
    return EnvConfig.of(CLOSED, SCENARIO, action=action, horizon=2.0, rho=50.0, **arguments)


@pytest.mark.parametrize("best", ["prices", "groups"])
def test_the_better_rule_is_the_reference(best, monkeypatch):
    monkeypatch.setattr(
        Episodes, "values", lambda cases, name: (name == best) * cases.env().reset(seed=0)[0]["compute"]
    )
    config = with_reference(config_of())
    assert config.reference == best == config.actions.reference


@pytest.mark.parametrize("config", [config_of(reference="own-pace"), config_of("residual"), config_of("plain")])
def test_a_given_or_single_reference_stays(config):
    assert with_reference(config) is config
