import copy
import pickle
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.registry import SERVERS
from multispin_lab.planning.at_server import colocated

QWEN = ms.Scenario.preset("qwen3.5")


def test_a_profile_replaces_the_law():
    scenario = ms.Scenario.preset("qwen3.5", server="a100-32b", min_draft_length=0, payload="ids")
    assert scenario.server == "a100-32b"
    assert scenario.verification_pieces == SERVERS.load("a100-32b").pieces
    assert (scenario.verification_fixed_time, scenario.verification_time_per_draft) == (0.0, 0.0)
    assert scenario.bits_per_token == 18
    assert scenario.verification_time == pytest.approx(0.02735 + 20 * 0.0001526)
    assert scenario.replace(num_users=3).server == "a100-32b"
    assert scenario.replace(server="cpu-1.5b").padded_verification
    scenario = QWEN.replace(server="a100-32b")
    assert scenario.replace(verification_pieces=((0.1, 0.0),)).server == ""
    assert scenario.replace(round_trip_time=0.1).server == "a100-32b"
    padded = QWEN.replace(server="a100-32b", padded_verification=True)
    assert (padded.server, padded.padded_verification) == ("", True)
    assert padded.verification_pieces == scenario.verification_pieces
    assert scenario.replace(server="a100-32b", padded_verification=True) == padded
    assert scenario.replace(verification_pieces=list(scenario.verification_pieces)).server == "a100-32b"
    assert scenario.replace(server="").verification_pieces == scenario.verification_pieces


def test_a_constructor_takes_a_name_with_its_law_alone():
    fields = {name: getattr(QWEN, name) for name in ms.Scenario.field_names()}
    with pytest.raises(ValueError, match=r"server: expected the law of 'a100-32b', .*replace.*got .*0\.07507"):
        ms.Scenario(**{**fields, "server": "a100-32b"})
    with pytest.raises(ValueError, match="did you mean 'a100-32b'"):
        ms.Scenario(**{**fields, "server": "a100-32"})
    old = QWEN.replace(server="a100-32b").to_dict() | {"verification_pieces": [[0.03, 0.0001]]}  # since then changed
    assert ms.Scenario.from_dict(old) == QWEN.replace(server="a100-32b", verification_pieces=((0.03, 0.0001),))
    named = ms.Scenario(**{**fields, **SERVERS.load("a100-32b").fields})
    assert named == QWEN.replace(server="a100-32b")
    assert pickle.loads(pickle.dumps(named)) == copy.copy(named) == named.replace() == named
    assert replace(named, num_users=3) == named.replace(num_users=3)


def test_a_server_may_have_a_draft_time(request):
    server = ms.Server(name="both", model="m", source="s", pieces=((0.02, 1e-4),), draft_time=0.002)
    SERVERS.register("both", server)
    request.addfinalizer(lambda: SERVERS.unregister("both"))
    scenario = QWEN.replace(server="both")
    assert scenario.server_draft_time == 0.002
    other = scenario.replace(server_draft_time=0.003)
    assert (other.server, other.replace(num_users=3).server_draft_time) == ("both", 0.003)
    assert ms.Scenario.from_dict(other.to_dict()) == other


@pytest.mark.parametrize("name", SERVERS.names())
def test_profiles_are_what_they_are_called(name):
    server = SERVERS.load(name)
    assert (server.name, bool(server.model), bool(server.source)) == (name, True, True)
    scenario = QWEN.replace(server=name, num_users=4)
    times = scenario.law.time(4, np.arange(4, 200))
    assert (np.diff(times) > 0.0).all()
    assert (np.diff(times, 2) > -1e-12).all()


OWN = ms.Server(
    name="mine",
    model='A "small" model',
    source="measured",
    fixed_time=0.001,
    time_per_draft=0.0005,
    context_time=1e-6,
    pieces=((0.02, 1e-4), (0.01, 3e-4)),
    padded=True,
    draft_time=0.003,
    draft_pieces=((0.002, 0.0), (0.001, 1e-4)),
)
"""With something in each field."""


@pytest.mark.parametrize("ending", ["toml", "json", "TOML"])
@pytest.mark.parametrize(
    "server", [OWN, replace(OWN, draft_time=None, pieces=(), draft_pieces=())], ids=["full", "paper's"]
)
def test_a_file_gives_its_law_and_no_name(server, ending, tmp_path, monkeypatch):
    file = tmp_path / f"mine.{ending}"
    server.save(file)
    assert ms.Server.load(file) == server
    scenario = QWEN.replace(server=str(file), num_users=4)
    assert scenario == QWEN.replace(**{**server.fields, "server": ""}, num_users=4)
    assert scenario == QWEN.replace(server=file, num_users=4)
    pieces = 0.02 + 8e-4 if server.pieces else 0.0
    assert scenario.law.time(4, 8) == pytest.approx(0.001 + 4 * (0.0005 + scenario.context * 1e-6) + pieces)
    assert scenario.padded_verification
    assert scenario.server_draft_time == (QWEN.server_draft_time if server.draft_time is None else 0.003)
    assert QWEN.replace(server=str(file), padded_verification=False).padded_verification is False
    assert ms.Scenario.preset("qwen3.5", server=str(file), num_users=4) == scenario
    file.unlink()
    assert ms.Scenario.from_dict(scenario.to_dict()) == pickle.loads(pickle.dumps(scenario)) == scenario


def test_context_is_of_the_devices_and_its_time_of_the_server():
    scenario = QWEN.replace(server="h100-32b", context=5000)
    assert (scenario.server, scenario.context) == ("h100-32b", 5000)
    assert scenario.context_time == ms.registry.SERVERS.load("h100-32b").context_time > 0.0
    other = scenario.replace(server="a100-32b")
    assert (other.context, other.context_time) == (5000, 0.0)
    assert scenario.replace(context_time=0.0).server == ""


def test_environments_and_commands_take_a_file(tmp_path, capsys):
    file = tmp_path / "mine.toml"
    OWN.save(file)
    env = gym.make("MultiSpin/Heterogeneous-v0", server=str(file), num_users=3)
    assert env.unwrapped.config.scenario == ms.Scenario.preset("llama2", server=str(file), num_users=3)
    assert main(["schedule", "--server", str(file), "--max-batch", "2"]) == 0
    assert "llama2 on a custom server, draft time 2 ms" in capsys.readouterr().out
    assert main(["schedule", "--server", str(file), "--max-batch", "64"]) == 0
    assert "draft time 2 to 7.4 ms" in capsys.readouterr().out
    assert main(["schedule", "--server", str(tmp_path / "none.toml")]) == 2
    assert "server: expected a file that can be read, got" in capsys.readouterr().err


def test_a_draft_time_overrides_the_draft_pieces_of_a_server(tmp_path):
    file = tmp_path / "mine.toml"
    OWN.save(file)
    scenario = QWEN.replace(server=str(file))
    assert scenario.server_draft_pieces == OWN.draft_pieces
    assert scenario.draft_step_time(np.array([1, 10, 20])).tolist() == pytest.approx([0.002, 0.002, 0.003])
    by_hand = tmp_path / "scenario.toml"
    by_hand.write_text('preset = "qwen3.5"\nserver = "mine.toml"\nserver_draft_time = 0.006\n', encoding="utf-8")
    others = scenario.replace(server_draft_time=0.006), QWEN.replace(server=str(file), server_draft_time=0.006)
    for other in (*others, ms.Scenario.load(by_hand)):
        assert (other.server_draft_pieces, float(other.draft_step_time(50))) == ((), 0.006)
    assert scenario.replace(num_users=3).server_draft_pieces == OWN.draft_pieces
    assert scenario.replace(server="a100-32b").server_draft_pieces == ()
    scenario.save(tmp_path / "saved.toml")
    assert ms.Scenario.load(tmp_path / "saved.toml") == ms.Scenario.from_dict(scenario.to_dict()) == scenario


def test_a_scenario_opens_server_files_of_its_folder_alone(tmp_path):
    OWN.save(tmp_path / "mine.toml")
    (tmp_path / "inside").mkdir()
    server, file = str(tmp_path / "mine.toml"), tmp_path / "scenario.toml"
    file.write_text('preset = "llama2"\nserver = "mine.toml"\n', encoding="utf-8")
    assert ms.Scenario.load(file) == ms.Scenario.preset("llama2", server=server)
    for folder, name in (("inside", "../mine.toml"), ("inside", server), (".", "none.toml")):
        file = tmp_path / folder / "other.toml"
        file.write_text(f'preset = "llama2"\nserver = "{name}"\n', encoding="utf-8")
        with pytest.raises(ValueError, match=r"line 2: server: expected a profile name or a file in the"):
            ms.Scenario.load(file)
    for make in (
        lambda: ms.Scenario.from_dict(QWEN.to_dict() | {"server": server}),
        lambda: replace(QWEN, server=server),
    ):
        with pytest.raises(ValueError, match="server: expected one of"):
            make()


WRONG = [
    ("name = 'x'", "a.toml: model: expected a value for each of .*'source'.*got "),
    ("{}piece = []\n", "a.toml, line 4: .*'piece'.*did you mean 'pieces'"),
    ("name = 3\nmodel = ''\nsource = ''\n", "a.toml, line 1: name: expected a text .*, got 3"),
    ("{}pieces = [[1, -2]]\n", r"a.toml, line 4: pieces\[0\]: .*-2"),
    ("{}pieces = [[0, 0]]\n", "a.toml, line 4: pieces: expected a law in which a pass takes time"),
    ("{}pieces = 3\n", "a.toml, line 4: pieces: expected pairs"),
    ("{}fixed_time = 0.1\n", r"a.toml: time_per_draft: expected a finite number in \(0, inf\), got 0.0"),
    ("{}pieces = [[1, 0]]\npadded = 1\n", "a.toml, line 5: padded: expected True or False, got 1"),
    ("{}pieces = [[1, 0]]\ncontext_time = -1\n", "a.toml, line 5: context_time: .*got -1"),
    ("{}pieces = [[1, 0]]\ndraft_time = 0\n", "a.toml, line 5: draft_time: .*got 0"),
    ("{}pieces = [[1, 0]]\ndraft_pieces = [[0, 0]]\n", "draft_pieces: expected a law in which a token takes"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_bad_files_are_refused(text, words, tmp_path):
    file = tmp_path / "a.toml"
    file.write_text(text.replace("{}", 'name = "a"\nmodel = "b"\nsource = "c"\n'), encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        QWEN.replace(server=str(file))


TABLE = ms.Server(
    name="table",
    model="m",
    source="a table",
    fixed_time=0.001,
    time_per_draft=0.0002,
    context_time=1e-7,
    pieces=((0.010, 0.0001), (0.0, 0.0002)),
    draft_pieces=((0.001, 0.00002),),
    draft_context_time=1e-8,
)


def test_one_measured_tpot_scales_all_times():
    predicted = 0.001 + 4 * (0.0002 + 1000 * 1e-7) + 0.010 + 4 * 0.0001
    server = TABLE.anchored(2.5 * predicted, 4, 1000)
    law = QWEN.replace(**server.fields | {"server": "", "context": 1000}).law
    assert float(law.time(4, 4)) == pytest.approx(2.5 * predicted)
    assert float(law.time(8, 800)) == pytest.approx(2.5 * (0.001 + 8 * 0.0003 + 0.16))
    assert np.array(server.draft_pieces) == pytest.approx(2.5 * np.array(TABLE.draft_pieces))
    assert (server.draft_context_time, server.draft_context) == pytest.approx((2.5e-8, 0))
    assert server.source.startswith("a table; anchored at TPOT 31.5 ms with 4 requests after 1000 tokens: times x 2.5")
    assert replace(TABLE, draft_pieces=(), draft_time=0.002).anchored(2.5 * predicted, 4, 1000).draft_time == (
        pytest.approx(0.005)
    )


def test_two_measured_tpots_give_a_scale_and_a_constant():
    small, large = 0.001 + 0.0002 + 0.010 + 0.0001, 0.001 + 100 * 0.0002 + 100 * 0.0002
    server = TABLE.anchored([1.5 * small + 0.003, 1.5 * large + 0.003], [1, 100], 0)
    assert server.fixed_time == pytest.approx(1.5 * 0.001 + 0.003)
    assert np.array(server.pieces) == pytest.approx(1.5 * np.array(TABLE.pieces))
    assert "times x 1.5 and 3 ms a pass, within 0.0%" in server.source
    steep = TABLE.anchored([small, 2.0 * large], [1, 100], 0)  # no constant ≥ 0 fits: the scale has the least squares
    scale = (1.0 + 0.5) / (1.0 + 0.25)
    assert steep.pieces[0] == pytest.approx((0.010 * scale, 0.0001 * scale))
    assert "and 0 ms a pass, within 40.0%" in steep.source
    close = TABLE.anchored([small, small], [1, 2], 0)  # predictions that differ by 3 % give no constant
    assert "and 0 ms a pass" in close.source


@pytest.mark.parametrize(
    ("tpot", "at", "message"),
    [
        ([0.02, 0.03], 1, r"at: expected a number of requests for each measured TPOT, got \[1\]"),
        (0.0, 1, "measured_tpot: expected"),
        (0.02, 0, "at: expected"),
        ([0.05, 0.04], [1, 100], "measured: expected times that grow with"),
    ],
)
def test_bad_anchors(tpot, at, message):
    with pytest.raises(ValueError, match=message):
        TABLE.anchored(tpot, at, 0)


def test_the_constant_of_a_draft_is_left_out_of_files_where_it_is_0(tmp_path):
    name = "server_draft_round_time"
    assert name not in QWEN.to_dict()
    QWEN.save(tmp_path / "old.toml")
    TABLE.save(tmp_path / "table.toml")
    assert name not in (tmp_path / "old.toml").read_text()
    assert "round" not in (tmp_path / "table.toml").read_text()
    slow = QWEN.replace(server_draft_time=0.002, server_draft_round_time=0.001)
    assert ms.Scenario.from_dict(slow.to_dict()) == slow
    slow.save(tmp_path / "slow.toml")
    assert ms.Scenario.load(tmp_path / "slow.toml") == slow
    replace(TABLE, draft_round_time=0.001).save(tmp_path / "table.toml")
    served = QWEN.replace(server=str(tmp_path / "table.toml"))
    assert served.server_draft_round_time == 0.001
    assert served.replace(server_draft_time=0.003).server_draft_round_time == 0.0  # of another draft model


def test_the_constant_of_a_draft_counts_once_a_round():
    scenario = QWEN.replace(server="a100-32b", server_draft_time=0.002, server_draft_round_time=0.1)
    lengths = np.array([0, 1, 5])
    assert scenario.server_drafting_time(lengths, 7) == pytest.approx([0.0, 0.102, 0.11])
    state = ms.sample_state(scenario, np.random.default_rng(0), size=2)
    for length, drafting in ((0, 0.0), (5, 0.11)):
        fixed = colocated(scenario)[length].scenario
        lines = colocated(scenario.replace(server_draft_pieces=((0.002, 0.0),), server_draft_round_time=0.1))
        assert float(fixed.law.time(3, 3)) == pytest.approx(drafting + float(scenario.law.time(3, 3)))
        assert float(lines[length].scenario.law.time(3, 3)) == pytest.approx(drafting + float(scenario.law.time(3, 3)))
    free = scenario.replace(server_draft_time=0.002)
    assert (free.server_draft_round_time, free.replace(num_users=3).server_draft_round_time) == (0.0, 0.0)
    assert (ms.baselines.colocated_goodput(scenario, state) < ms.baselines.colocated_goodput(free, state)).all()
    assert (ms.baselines.overlapping_goodput(scenario, state) < ms.baselines.overlapping_goodput(free, state)).all()
