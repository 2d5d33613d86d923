"""Controllers and environments of a module in the current folder, in the commands that take their names."""

import json
import sys

import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.registry import ENVIRONMENTS, LINKS
from tests.lab.commands.test_capacity import short  # noqa: F401 - a fixture

MODULE = """
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import numpy as np
import multispin_env as ms
(Path(__file__).parent / "imported").touch()
@dataclass(frozen=True, eq=False)
class Same(ms.RoundsController):
    length: int = 2
    def decide(self, state):
        return self.with_equal_latency(np.full(state.draft_time.shape, self.length), state)
@dataclass(frozen=True, eq=False)
class Pairs(ms.ContinuousController):
    groups: int = 2
    def decide(self, state):
        return ms.make_controller("groups", self.scenario, groups=self.groups).decide(state)
def longer(scenario, length=5):
    return Same(scenario, length)
def rule(decide):
    return type("Rule", (Same,), {"decide": lambda self, state: decide(state)})
def raises(error):
    raise error
LEAVES, STOPS, FAILS = (rule(lambda state, e=e: raises(e)) for e in (SystemExit(0), KeyboardInterrupt(), KeyError(3)))
NOTHING, PAIR = (rule(lambda state, answer=answer: answer) for answer in (None, (1, 2)))
NAN = rule(lambda state: ms.Decision(np.ones(state.draft_time.shape, int), state.draft_time * np.nan))
class Lossy(ms.Link):
    def rate(self, share, snr):
        return 0.9 * share * np.minimum(4.4, np.log2(1.0 + 0.5 * snr / share))
class Falls(Lossy):
    def rate(self, share, snr):
        return 1.0 - 0.5 * share
LINK, FALLS = Lossy(), Falls()
FIVE, MADE, NUMBER = partial(Same, length=5), Same(ms.Scenario.preset("llama2")), 3
"""

TINY = ["--num-users", "3", "--episodes", "4", "--set", "rounds=3"]
CONTINUOUS = ["--env", "MultiSpin/Continuous-v0", "--num-users", "3", "--episodes", "2", "--set", "horizon=1"]


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "own_rules.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)", encoding="utf-8")
    cells = "0.01,4,0.8\n0.02,2,0.6\n"
    (tmp_path / "devices.csv").write_text(
        f"draft_time_s,spectral_efficiency,acceptance_rate\n{cells}", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("own_rules", None)


def means(capsys, *arguments):
    assert main(["compare", *arguments, "--json", "-"]) == 0
    return {row["name"]: row["mean"] for row in json.loads(capsys.readouterr().out)["rows"]}


WRONG = {
    "LEAVES": "SystemExit: 0",
    "STOPS": "KeyboardInterrupt",
    "FAILS": "KeyError: 3",
    "NOTHING": "decision: expected a Decision from Rule.decide, got None",
    "PAIR": "decision: expected a Decision from Rule.decide, got (1, 2)",
    "NAN": "bandwidth[0, 0]: expected finite numbers, got nan",
}


def test_errors_of_controllers_have_their_names_and_the_others_are_shown(capsys):
    names = [f"own_rules:{name}" for name in WRONG]
    assert main(["compare", *TINY, "--controllers", *names, "own_rules:Same", "--reference", names[0]]) == 1
    printed = capsys.readouterr()
    errors = [f"multispin compare: own_rules:{name}: {words}" for name, words in WRONG.items()]
    assert printed.err.splitlines()[-len(WRONG) :] == errors
    assert next(line for line in printed.out.splitlines() if "own_rules:" in line).endswith("reference: own_rules:Same")
    for name, words in WRONG.items():
        assert main(["solve", "devices.csv", "--controller", f"own_rules:{name}"]) == 1
        assert f"own_rules:{name}: {words.replace('[0, 0]', '[0]')}\n" in capsys.readouterr().err
    assert main(["watch", "--num-users", "3", "--controller", names[2], "--out", "film.gif"]) == 1
    assert capsys.readouterr().err.endswith(f"multispin watch: {names[2]}: KeyError: 3\n")
    assert main(["capacity", "--num-users", "2", "--e2el", "9", "--controllers", *names[2::-2]]) == 1
    errors = [f"multispin capacity: {name}: {WRONG[name.partition(':')[2]]}" for name in names[2::-2]]
    assert capsys.readouterr().err.splitlines()[-2:] == errors
    for contender, name in (("own_rules:FAILS", "own_rules:FAILS"), (lambda observation: None, "<lambda>")):
        with pytest.raises(ValueError, match=f"^{name}: "):
            ms.compare("MultiSpin/Heterogeneous-v0", [contender], num_users=3, episodes=2, rounds=3)


@pytest.mark.slow
def test_workers_compare_as_this_process_does(capsys):
    names = ["own_rules:Same", "own_rules:longer", "own_rules:FIVE"]
    values = means(capsys, *TINY, "--controllers", *names, "--reference", "optimal", "--workers", "2")
    assert values["optimal"] > max(values["own_rules:Same"], values["own_rules:longer"])
    assert values["own_rules:longer"] == values["own_rules:FIVE"] != values["own_rules:Same"]


def test_compare_with_estimators_modifiers_and_without_the_barrier(capsys):
    hidden = ["--env", "MultiSpin/HiddenAcceptance-v0", *TINY]
    values = means(capsys, *hidden, "--controllers", "own_rules:Same", "own_rules:Same+filter")
    assert values["own_rules:Same"] == pytest.approx(values["own_rules:Same+filter"])  # it ignores the acceptance
    names = ["own_rules:Pairs", "own_rules:Pairs+deadlines", "own_rules:longer", "optimal"]
    values = means(capsys, *CONTINUOUS, "--controllers", *names, "--reference", "optimal")
    assert values["own_rules:Pairs"] == values["own_rules:Pairs+deadlines"] > 0.0  # no requests, no deadlines
    assert 0.0 < values["own_rules:longer"] < values["optimal"]


def test_options():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    assert ms.make_controller("own_rules:longer", scenario, length=4).length == 4
    assert ms.make_controller("own_rules:Pairs", scenario, groups=3).groups == 3
    with pytest.raises(
        TypeError, match=r"unexpected keyword argument 'lenth'; did you mean 'length'\? \(.*\['length'\]"
    ):
        ms.make_controller("own_rules:longer", scenario, lenth=4)


def test_watch(module):
    pytest.importorskip("PIL.Image")
    rounds = ["--rounds", "2", "--controller", "own_rules:longer", "--versus", "own_rules:Same"]
    continuous = ["--env", "MultiSpin/Continuous-v0", "--set", "horizon=1", "--controller", "own_rules:Pairs"]
    for file, arguments in (("rounds.gif", rounds), ("continuous.gif", continuous)):
        assert main(["watch", "--num-users", "3", *arguments, "--out", file]) == 0
        assert (module / file).stat().st_size > 0


@pytest.mark.usefixtures("short")
def test_capacity(capsys):
    system = ["--num-users", "2", "--copies", "2", "--percent", "50", "--channel", "static", "--e2el", "90"]
    assert main(["capacity", *system, "--controllers", "own_rules:Pairs+deadlines", "--json", "-"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["controller"], row["capacity"] > 0.0) == ("own_rules:Pairs+deadlines", True)


def test_solve(capsys, refused):
    solve = ["devices.csv", "--controller", "own_rules:longer"]
    assert main(["solve", *solve, "--json"]) == 0
    assert [device["draft_length"] for device in json.loads(capsys.readouterr().out)["rows"]] == [5, 5]
    words = "controller: expected one of ['optimal'], which have the option certify, got 'own_rules:longer'"
    assert words in refused("solve", [*solve, "--certify", "1e-3"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_ruls:Same", r"got 'own_ruls:Same' (No module named 'own_ruls')"),
        ("own_rules:Sam", r"got 'own_rules:Sam' (module 'own_rules' has no attribute 'Sam')"),
        (":Same", r"got ':Same' (Empty module name)"),
        ("leaves:Same", "got 'leaves:Same' (SystemExit: 0)"),
        ("own_rules:NUMBER", "got 'own_rules:NUMBER', which makes no "),
        ("own_rules:MADE", "got 'own_rules:MADE', which makes no "),
        ("own_rules:ms", "got 'own_rules:ms', which makes no "),
    ],
)
def test_what_is_no_controller_is_one_sentence(name, words, refused):
    for line in ("compare --controllers", "watch --out film.gif --versus", "capacity --e2el 1 --controllers"):
        command, *arguments = line.split()
        message = refused(command, [*arguments, name])
        assert words in message
        assert "expected module:ATTRIBUTE that can be imported" in message


OWN_ENVIRONMENT = """
from dataclasses import dataclass
import multispin_env as ms
@dataclass(frozen=True, kw_only=True)
class Own(ms.RoundsConfig):
    env_id = "Mine/Own-v0"
    margin: float = 0.5
ms.register_environment(Own)
"""


def test_an_environment(capsys, module, refused):
    (module / "own_env.py").write_text(OWN_ENVIRONMENT, encoding="utf-8")
    for command in ("compare", "watch", "train"):
        assert "module:ID" in refused(command, ["--env", "Mine/Own-v0"])
        assert "No module named 'own_envs'" in refused(command, ["--env", "own_envs:Mine/Own-v0"])
    with pytest.raises(ValueError, match=r"^env: .*module:ID"):  # of a stored run
        ms.EnvConfig.from_dict(ms.EnvConfig.of("MultiSpin/Fair-v0").to_dict() | {"env": "Mine/Own-v0"})
    try:
        for env in ("own_env:Mine/Own-v0", "Mine/Own-v0"):  # the first imports the module
            assert main(["compare", "--env", env, *TINY, "margin=0.2", "--controllers", "fixed"]) == 0
            assert capsys.readouterr().out.startswith("Mine/Own-v0, rounds=3, margin=0.2, ")
        assert "'Mine/Own-v0'" in refused("compare", ["--env", "own_env:Own"])
    finally:
        ms.envs.unregister_environment("Mine/Own-v0")
        del sys.modules["own_env"]


def test_the_reference_in_a_configuration_is_not_imported(module):
    with pytest.raises(ValueError, match="reference: expected one of"):
        ENVIRONMENTS.load("MultiSpin/Continuous-v0")(scenario=ms.Scenario.preset("llama2"), reference="own_rules:Pairs")
    assert not (module / "imported").exists()


def test_links_by_name_in_commands_and_worker_processes(capsys, refused):
    uplink = ["--set", "link=own_rules:LINK", "access_delay=0.01", "upload_loss=0.1", "repeat_time=0.01"]
    try:
        here = means(capsys, *TINY, *uplink, "--controllers", "optimal", "fixed")
        assert here == means(capsys, *TINY, *uplink, "--controllers", "optimal", "fixed", "--workers", "1")
        assert here["optimal"] > here["fixed"] > 0.0
        goodput = {}
        for link in ("density", "power", "own_rules:LINK"):
            arguments = ["--set", f"link={link}", "--controller", "optimal", "--certify", "1e-6", "--json"]
            assert main(["solve", "devices.csv", *arguments]) == 0
            (goodput[link],) = (row["goodput"] for row in [json.loads(capsys.readouterr().out)])
        assert goodput["own_rules:LINK"] < goodput["power"] != goodput["density"]
    finally:
        LINKS.unregister("own_rules:LINK")
    for name, words in (
        ("FALLS", "link: expected a rate that rises"),
        ("NUMBER", "link: expected an object of the cl"),
    ):
        assert words in refused("solve", ["devices.csv", "--set", f"link=own_rules:{name}"])
    assert "efficiency_limit: expected 0 with link" in refused(
        "solve", ["devices.csv", "--set", "efficiency_limit=7.4"]
    )
