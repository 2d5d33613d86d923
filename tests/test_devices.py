"""Device profiles, and fleets: stored numbers, draws, environments, decisions and refusals."""

import json
import re
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands.devices import read_devices
from multispin_env.apps.commands.main import main
from multispin_env.apps.terminal.arguments import parse_settings
from multispin_env.envs.observations import ObservationCodec
from multispin_env.physics.continuous.core import free_state
from multispin_env.physics.energy import token_energy
from multispin_env.registry import DEVICES, FLEETS
from multispin_lab.suite.frozen import DATA
from multispin_lab.suite.version import read_tasks
from tools.device_table import device_table

QWEN = ms.Scenario.preset("qwen3.5", num_users=3)
MINE = [["iphone-16-pro-gpu", 0.5], ["raspberry-pi-5-hailo-10h", 0.25], ["my board", 0.25, 0.08, 0.16, 0.5]]
FLEET = QWEN.replace(fleet=MINE)
LOADS = {"cold": (0.02661, 0.1446, 0.08), "sustained": (0.04433, 0.1446, 0.16)}
GROWTH = ((8.589e-07, 692), (4.691e-06, 532), (0.0, 0))  # s a token of context, after tokens
JOULES = (0.1, 0.2705, 0.5)  # the first was not measured


@pytest.mark.parametrize("name", DEVICES.names())
def test_profile(name, tmp_path):
    profile = DEVICES.load(name)
    assert profile.name == name
    assert 0.002 < profile.draft_time < 0.2
    assert (profile.sustained_time or 1.0) >= 0.9 * profile.draft_time
    for file in ("mine.toml", "mine.json"):
        profile.save(tmp_path / file)
        assert ms.device.DeviceProfile.load(tmp_path / file) == profile


@pytest.mark.parametrize(
    ("page", "models"), [("docs/devices.md", False), ("multispin_env/data/devices/README.md", True)]
)
def test_tables_have_the_numbers_of_the_profiles(page, models):
    assert device_table(models) in Path(page).read_text(encoding="utf-8")


@pytest.mark.parametrize("load", LOADS)
def test_a_scenario_has_the_numbers_of_its_fleet(load, tmp_path):
    scenario = FLEET.replace(device_load=load)
    shares, times, joules, *growth, rates = scenario.devices.rows
    assert not rates.any()
    expected = [(added / cold, after) for (added, after), cold in zip(GROWTH, LOADS["cold"], strict=True)]
    np.testing.assert_allclose(np.transpose(growth), expected, 1e-14)
    assert (tuple(shares), tuple(times), tuple(joules)) == ((0.5, 0.25, 0.25), LOADS[load], JOULES)
    assert scenario.mean_draft_time == pytest.approx(float(np.dot(shares, times)), rel=1e-15)
    assert scenario.replace(num_users=7, server="a100-32b").mean_draft_time == scenario.mean_draft_time
    assert ms.Scenario.from_dict(json.loads(json.dumps(scenario.to_dict()))) == scenario
    for file in ("mine.toml", "mine.json"):
        scenario.save(tmp_path / file)
        assert ms.Scenario.load(tmp_path / file) == scenario
    assert scenario.replace(draft_energy=0.3).devices.rows[2][0] == 0.3
    none = scenario.replace(fleet=[], device_load="cold")
    assert (none.fleet, none.mean_draft_time) == ((), scenario.mean_draft_time)
    assert none.devices.draft_time_range(ends=False) == (0.85, 1.15)


def test_devices_are_cold_unless_a_file_says_more():
    content = FLEET.to_dict()
    assert content.pop("device_load") == "cold"
    assert ms.Scenario.from_dict(content) == FLEET


def test_labels_belong_to_the_numbers():
    stored = FLEET.to_dict()
    known, others = [row for row in stored["fleet"] if row[0] != "my board"], [["my board", 0.25, 0.02, 0.02, 0.0]]
    for rows in ([[*row[:4], 9.0, *row[5:]] for row in known], [[*row[:5], 2e-6, 128] for row in known]):
        assert [row[0] for row in QWEN.replace(fleet=rows + others).fleet] == ["", "", "my board"]
    without_growth = [row[:5] for row in known]
    assert [row[0] for row in QWEN.replace(fleet=without_growth + others).fleet] == [row[0] for row in known + others]
    assert FLEET.label == "qwen3.5, fleet of 3 devices"
    assert QWEN.replace(fleet="boards", device_load="sustained").label == "qwen3.5, fleet boards under sustained load"


@pytest.mark.parametrize("name", FLEETS.names())
def test_names_files_and_rows_are_the_same_fleet(name, tmp_path):
    fleet = FLEETS.load(name)
    fleet.save(tmp_path / "other.toml")
    scenario = QWEN.replace(fleet=name)
    rows = [[label, share] for label, share, *_ in fleet.devices]
    assert scenario == QWEN.replace(fleet=rows) == QWEN.replace(fleet=str(tmp_path / "other.toml"))
    file = tmp_path / "mine.toml"
    file.write_text('preset = "qwen3.5"\nnum_users = 3\nfleet = "other.toml"\n', encoding="utf-8")
    assert ms.Scenario.load(file) == scenario


@pytest.mark.parametrize("name", FLEETS.names())
def test_named_fleets_have_the_growth_of_their_profiles(name):
    scenario = QWEN.replace(fleet=name, num_users=50)
    profiles = [DEVICES.load(label) for label, *_ in scenario.fleet]
    growth = np.array([(profile.draft_context_time, profile.draft_context) for profile in profiles])
    assert [row[5:7] for row in scenario.fleet] == [(added, after) if added else () for added, after in growth.tolist()]
    rates = [profile.prompt_rate for profile in profiles]
    reads = 2 * np.count_nonzero(rates) >= len(rates)
    assert [sum(row[7:]) for row in scenario.fleet] == [rate * reads for rate in rates]
    assert scenario.devices.reads == reads == (name == "boards")
    short, long = (ms.sample_state(scenario.replace(context=context), 0) for context in (1024, 32_768))
    added, after = growth[long.fleet_row].T
    np.testing.assert_allclose(long.draft_time - short.draft_time, added * (32_768 - np.maximum(after, 1024)), 1e-12)
    assert (added > 0.0).any()


def test_a_long_context_slows_a_measured_device():
    env_id, fields = "MultiSpin/Heterogeneous-v0", {"num_users": 2, "fleet": [["rk3588-npu", 1.0]]}
    envs = [gym.make(env_id, scenario="qwen3.5", context=context, **fields).unwrapped for context in (1024, 32_768)]
    observations = [env.reset(seed=0)[0] for env in envs]
    times = [env.state.draft_time for env in envs]
    assert times[0] == pytest.approx([0.05992 + 1.109e-6 * (1024 - 160)] * 2)
    assert times[1] - times[0] == pytest.approx([1.109e-6 * 31_744] * 2)
    assert observations[1]["compute"] == pytest.approx(times[1] / 0.05992)


def test_a_time_after_a_context_needs_a_load_and_a_context():
    profile = DEVICES.load("rk3588-npu")
    assert profile.time_after(0) == profile.time_after(160) == profile.draft_time
    with pytest.raises(ValueError, match=r"load: expected one of \['cold', 'sustained'\], got 'warm'"):
        profile.time_after(0, "warm")
    with pytest.raises(ValueError, match=r"context: expected an integer in 0\.\.10000000, got -1"):
        profile.time_after(-1)


def test_shares_in_draws():
    state = ms.sample_state(FLEET, 0, size=20_000)
    times = [time + added * (1024 - after) for time, (added, after) in zip(LOADS["cold"], GROWTH, strict=True)]
    rows = [
        np.isclose(state.draft_time, time, 1e-12, 0.0) & (state.draft_energy == joules)
        for time, joules in zip(times, JOULES, strict=True)
    ]
    assert [float(row.mean()) for row in rows] == pytest.approx([0.5, 0.25, 0.25], abs=0.01)
    others = ms.sample_state(QWEN, 0, size=20_000)  # the same channels and tasks
    assert (state.spectral_efficiency == others.spectral_efficiency).all()
    assert (state.acceptance_rate == others.acceptance_rate).all()
    assert others.draft_energy is None


def test_bounds_of_observations_are_reached():
    low, high = FLEET.devices.draft_time_range(ends=False)
    space = ObservationCodec(FLEET).space["compute"]
    assert (space.low[0], space.high[0]) == pytest.approx((low, high), abs=1e-4)
    env = gym.make_vec("MultiSpin/Heterogeneous-v0", 300, "vector_entry_point", scenario=FLEET)
    compute = env.reset(seed=0)[0]["compute"]
    assert (compute.min(), compute.max()) == pytest.approx((low, high), rel=1e-6)


@pytest.mark.parametrize(
    ("env_id", "others"),
    [
        ("MultiSpin/Heterogeneous-v0", {"rounds": 9}),
        ("MultiSpin/DraftAhead-v0", {"rho": 50.0}),
        ("MultiSpin/Continuous-v0", {"rho": 50.0}),
    ],
)
def test_single_environment_equals_the_vector(env_id, others):
    arguments = {"num_users": 3, "fleet": MINE, "device_load": "sustained", **others}
    vector = gym.make_vec(env_id, 2, "vector_entry_point", **arguments)
    single = gym.make(env_id, **arguments)
    actions = vector.action_space.sample()
    for seed, index in ((5, 0), (6, 1)):
        many, one = vector.reset(seed=5)[0], single.reset(seed=seed)[0]
        for _ in range(3):
            assert all((many[name][index] == one[name]).all() for name in one)
            (many, rewards, *_, infos), (one, reward, *_, info) = vector.step(actions), single.step(actions[index])
            assert rewards[index] == reward
        if "joules" in info:
            assert (infos["joules"][index] == info["joules"]).all()
    config = single.unwrapped.config
    assert ms.EnvConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_suite_tasks_have_fleets():
    name, *fields = (DATA / "v1.toml").read_text(encoding="utf-8").partition("[round-50]")[0].partition("fleet = []")
    rows = str([list(row) for row in FLEET.fleet]).replace("'", '"')
    text = name.replace("mean_draft_time = 0.012", f"mean_draft_time = {FLEET.mean_draft_time!r}")
    task = read_tasks(text + f"fleet = {rows}" + fields[1])["round-8"]
    assert (task.config.scenario.fleet, task.config.scenario.mean_draft_time) == (FLEET.fleet, FLEET.mean_draft_time)
    with pytest.raises(ValueError, match=r"task 'round-8': .*did you mean 'phones'"):
        read_tasks(name + 'fleet = "phone"' + fields[1])


def test_joules_are_those_of_the_devices():
    env = gym.make("MultiSpin/Heterogeneous-v0", scenario=FLEET).unwrapped
    env.reset(seed=1)
    state = env.state
    info = env.step(np.zeros(env.action_space.shape, np.float32))[4]
    per_token = info["joules"] / info["draft_length"] - token_energy(FLEET, state.changed(draft_energy=None)) + 0.1
    assert per_token == pytest.approx(state.draft_energy)
    assert set(state.draft_energy) <= set(JOULES)


def test_certified_optimum_and_price_of_a_joule():
    state = ms.sample_state(FLEET, 3, size=4)
    certified = ms.make_controller("optimal", FLEET, certify=1e-6)(state)
    assert (certified.gap <= 1e-6).all()
    best, fixed = (ms.expected_outcome(FLEET, state, ms.make_controller(n, FLEET)(state)) for n in ("optimal", "fixed"))
    assert (best.goodput > fixed.goodput).all()
    assert (best.goodput <= certified.bound * (1.0 + 1e-12)).all()
    priced = ms.make_controller("optimal", FLEET.replace(min_draft_length=0), energy_price=0.5)
    thirsty = replace(state, draft_energy=np.full(state.draft_time.shape, 5.0))
    assert (priced(thirsty).draft_length <= priced(state).draft_length).all()
    assert (priced(thirsty).draft_length == 0).all() > (priced(state).draft_length == 0).all()


REFUSED = [
    ({"fleet": [["pixel-8", 1.0]]}, r"fleet\[0\], device: expected one of .*; did you mean 'pixel-8-q8'\?"),
    ({"fleet": "phnes"}, "fleet: expected one of .*; did you mean 'phones'"),
    ({"fleet": [["pixel-8-q8", 0.5]]}, "fleet: expected shares with the sum 1, got 0.5"),
    ({"fleet": [["pixel-8-q8", 0.5], ["pixel-6a-q8", 0.500001]]}, "fleet: expected shares .* 1, got 1.000001"),
    ({"fleet": [["pixel-8-q8", 0.0], ["pixel-6a-q8", 1.0]]}, r"fleet\[0\], share: expected .* in \(0, 1\], got 0.0"),
    ({"fleet": [["mine", 1.0, -0.02, 0.02, 0.1]]}, r"fleet\[0\], draft_time: expected .* \(0, inf\), got -0.02"),
    ({"fleet": [["mine", 1.0, 0.02, 0.02, -0.1]]}, r"fleet\[0\], joules_per_token: expected .*, got -0.1"),
    ({"fleet": [["mine", 1.0, 0.02, 24, 0.1]]}, r"sustained_time: expected seconds, .*; did you mean 0.024\?"),
    (
        {"fleet": [["mine", 1.0, 0.02, 0.02, 0.1, 2e-6, 1.5]]},
        r"fleet\[0\], draft_context: expected an integer in 0\.\.10000000, got 1.5",
    ),
    (
        {"fleet": [["mine", 1.0, 0.02, 0.02, 0.1, 2e-6, 2e7]]},
        r"fleet\[0\], draft_context: expected an integer in 0\.\.10000000, got 20000000",
    ),
    ({"fleet": [["mine"]]}, r"fleet\[0\]: expected \(device, share\), or .*, got \['mine'\]"),
    ({"fleet": 3}, r"fleet: expected rows \(device, share\), got 3"),
    ({"device_load": "sustained"}, "^device_load: expected 'cold' without a fleet, got 'sustained'"),
    ({"fleet": "phones", "device_load": "warm"}, "device_load: expected one of .*, got 'warm'"),
    (
        {"fleet": "phones", "mean_draft_time": 0.012},
        "mean_draft_time: expected none, or 0.03.* of the fleet, got 0.012",
    ),
    ({"fleet": "phones", "draft": "qwen2.5-0.5b-q4"}, "fleet: expected none with a draft profile, .*'qwen2.5-0.5b-q4'"),
    ({"fleet": "phones", "battery_rounds": 9.0, "min_draft_length": 0}, "battery_rounds: expected 0 with a fleet"),
]


@pytest.mark.parametrize(("fields", "words"), REFUSED)
def test_bad_fleets_are_refused_in_one_sentence(fields, words):
    with pytest.raises(ValueError, match=words) as refused:
        QWEN.replace(**fields)
    assert "\n" not in str(refused.value)


def test_shares_may_lack_rounding_errors():
    thirds = QWEN.replace(fleet=[[label, 0.3333333333] for label in ("pixel-8-q8", "pixel-6a-q8", "rk3588-npu")])
    assert [share for _, share, *_ in thirds.fleet] == [0.3333333333] * 3


def test_untrusted_fields_read_no_file(tmp_path):
    FLEETS.load("phones").save(tmp_path / "mine.toml")
    with pytest.raises(ValueError, match="fleet: expected one of"):
        ms.Scenario.from_dict(QWEN.to_dict() | {"fleet": str(tmp_path / "mine.toml")})


def test_a_profile_needs_a_time(tmp_path):
    file = tmp_path / "mine.toml"
    DEVICES.load("pixel-8-q8").save(file)
    file.write_text(re.sub("(?m)^draft_time.*$", "", file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match="draft_time: expected a value"):
        ms.device.DeviceProfile.load(file)


def test_commands(capsys, tmp_path):
    text = "pixel-8-q8=0.25,rk3588-npu=0.75"
    compare = ["compare", "--num-users", "2", "--episodes", "4", "--controllers", "fixed", "--fleet"]
    assert main([*compare, text]) == 0
    assert "fleet of 2 devices" in capsys.readouterr().out
    assert main([*compare, "pixel-8-q8=much"]) == 2
    assert "fleet: expected DEVICE=SHARE,..., got 'pixel-8-q8=much'" in capsys.readouterr().err
    DEVICES.load("pixel-8-q8").save(tmp_path / "mine.toml")
    assert main([*compare, f"{tmp_path / 'mine.toml'}=0.25,rk3588-npu=0.75"]) == 0
    assert "fleet of 2 devices" in capsys.readouterr().out
    assert main([*compare, f"{tmp_path / 'none.toml'}=1"]) == 2
    assert "expected a file that can be read, got" in capsys.readouterr().err
    fleet = f"fleet={FLEET.fleet}"  # as commands print it
    assert QWEN.replace(**parse_settings([fleet, f"mean_draft_time={FLEET.mean_draft_time}"])) == FLEET
    file = tmp_path / "devices.csv"
    file.write_text("device,snr_db,acceptance_rate\niphone-16-pro-gpu,15,0.8\nrk3588-npu,20,0.7\n", encoding="utf-8")
    later = 1.0 + 8.589e-07 / 0.02661 * (32_768 - 692)
    for load, context, time in (
        ("cold", 692, 0.02661),
        ("sustained", 692, 0.04433),
        ("cold", 32_768, 0.02661 * later),
        ("sustained", 32_768, 0.04433 * later),
    ):
        settings = ["--set", f"device_load={load}", f"context={context}", "min_draft_length=1"]
        assert main(["solve", str(file), "--json", *settings]) == 0
        first, second = json.loads(capsys.readouterr().out)["rows"]
        assert (first["name"], second["name"]) == ("iphone-16-pro-gpu", "rk3588-npu")
        assert first["draft_time"] == pytest.approx(time * first["draft_length"])
    for words, sentence in (
        (["--fleet", "phones"], "fleet: expected none with the devices of "),
        (["--set", "fleet=phones"], "fleet: expected none with the devices of "),
        (["--set", "device_load=warm"], "device_load: expected one of ['cold', 'sustained'], got 'warm'"),
        (["--set", "context=long"], "context: expected an integer in 0.."),
    ):
        assert main(["solve", str(file), *words]) == 2
        assert capsys.readouterr().err.startswith(f"multispin solve: {sentence}")
    for load, context, words in (("warm", 0, "device_load: expected one of"), ("cold", -1, "context: expected an int")):
        with pytest.raises(ValueError, match=f"^{words}"):  # no fault of the file
            read_devices(file, load, context)
    assert main(["solve", "examples/devices.csv", "--set", "device_load=sustained"]) == 2
    assert "device_load: expected a column device in 'examples/devices.csv', got 's" in capsys.readouterr().err
    file.write_text("device,snr_db,acceptance_rate\nrk3588,15,0.8\n", encoding="utf-8")
    assert main(["solve", str(file)]) == 2
    assert "row 1, device: expected one of" in capsys.readouterr().err


@pytest.mark.parametrize("name", ms.controller_names(scenario=QWEN))
def test_a_fleet_of_one_row_decides_like_its_numbers(name):
    # the equivalent field of a fleet: equal draft times without spread, and the joules of the scenario
    numbers = QWEN.replace(draft_time_spread=0.0, max_draft_length=6, mean_draft_time=0.03, draft_energy=0.4)
    fleet = numbers.replace(fleet=[["my board", 1.0, 0.03, 0.05, 0.4]], draft_energy=0.9)
    states = [ms.sample_state(scenario, 3, size=2) for scenario in (fleet, numbers)]
    assert (states[0].draft_time == states[1].draft_time).all()
    assert (token_energy(fleet, states[0]) == token_energy(numbers, states[1])).all()
    pairs = zip((fleet, numbers), states, strict=True)
    if name not in ms.controller_names("rounds"):
        pairs = ((scenario, free_state(state)) for scenario, state in pairs)
    first, second = (ms.make_controller(name, scenario)(state) for scenario, state in pairs)
    assert (first.draft_length == second.draft_length).all()
    if hasattr(first, "bandwidth"):
        assert (first.bandwidth == second.bandwidth).all()


def test_a_fleet_of_one_row_has_the_bounds_and_certificate_of_its_numbers():
    numbers = QWEN.replace(draft_time_spread=0.0, max_draft_length=6, mean_draft_time=0.03, draft_energy=0.4)
    fleet = numbers.replace(fleet=[["my board", 1.0, 0.03, 0.05, 0.4]], draft_energy=0.9)
    first, second = (ms.sample_state(scenario, 3) for scenario in (fleet, numbers))
    assert ms.rate_bound(fleet, first).value == ms.rate_bound(numbers, second).value
    proofs = [
        ms.certificate(
            scenario,
            state,
            ms.make_controller("optimal", scenario, certify=1e-6, energy_price=1.0)(state),
            energy_price=1.0,
        )
        for scenario, state in ((fleet, first), (numbers, second))
    ]
    assert proofs[0] == proofs[1]
