from dataclasses import fields

import pytest

from multispin_env.scenario import Scenario
from multispin_lab.explore.landscape import LandscapeSettings
from multispin_lab.explore.one_round import RoundSettings
from multispin_lab.explore.settings import MAX_QUERY_LENGTH, ScenarioSources, SystemSettings

HERE = ScenarioSources()


def test_a_link_restores_every_field():
    settings = RoundSettings(
        scenario="qwen3.5", num_users=3, megahertz=4.5, snr_shift=-2.5, spread=0.35, draft_factor=2.2,
        server="a100-32b", fleet="phones", context="8192", payload="ids", shortest="0", seed=7, moved=2,
        moved_db=5.5, edits="1.snr_db=12.5;3.acceptance=0.7",
    )  # fmt: skip
    assert all(getattr(settings, entry.name) != entry.default for entry in fields(settings)), "each differs"
    assert RoundSettings.from_query(f"?{settings.query()}") == settings


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("num_users=0", "num_users: expected an integer in 1..40, got 0"),
        ("num_users=41", "num_users: expected an integer in 1..40, got 41"),
        ("num_users=many", "num_users: expected a number from 1 to 40, got 'many'"),
        ("num_users=2&num_users=3", "link: expected each name once"),
        ("megahertz=nan", "megahertz: expected a finite number in [0.5, 40], got nan"),
        ("payload=all", "payload: expected one of"),
        ("speed=3", "link: got an unexpected keyword argument 'speed'"),
        ("edits=1.snr_db=x", "device 1, SNR (dB): expected a number from -30 to 60, got 'x'"),
        ("edits=1.snr_db=99", "device 1, SNR (dB): expected a finite number in [-30, 60], got 99.0"),
        ("edits=0.snr_db=9", "device: expected an integer in 1..40, got 0"),
        ("edits=1.weight=9", "column: expected one of"),
        ("edits=" + "9" * 5000, "device: expected an integer in 1..40, got 999999999"),
        ("edits=" + "9" * MAX_QUERY_LENGTH, f"link: expected at most {MAX_QUERY_LENGTH} characters"),
    ],
)
def test_bad_links_are_refused_in_one_sentence(query, words):
    with pytest.raises((ValueError, TypeError)) as refused:
        RoundSettings.from_query(query)
    assert str(refused.value).startswith(words)
    assert len(str(refused.value).splitlines()) == 1


def test_sliders_change_what_they_say(preset):
    base = Scenario.preset(preset)
    assert SystemSettings(preset).system(HERE) == base.replace(num_users=20, total_bandwidth=10e6)
    moved = SystemSettings(
        preset, num_users=5, megahertz=2.5, snr_shift=3.0, spread=0.0, draft_factor=2.0, server="a100-70b",
        context="32768", payload="ids", shortest="0",
    ).system(HERE)  # fmt: skip
    middle = pytest.approx((base.mean_gain_low + base.mean_gain_high) / 2)
    assert (moved.num_users, moved.total_bandwidth) == (5, 2.5e6)
    assert moved.transmit_snr_db == base.transmit_snr_db + 3.0
    assert moved.mean_draft_time == pytest.approx(2.0 * base.mean_draft_time)
    assert (moved.draft_time_spread, moved.mean_gain_low, moved.mean_gain_high) == (0.0, middle, middle)
    assert (moved.server, moved.context) == ("a100-70b", 32_768)
    assert (moved.payload, moved.min_draft_length) == ("ids", 0)
    assert SystemSettings(preset, fleet="boards").system(HERE).devices.fleet_name == "boards"
    wide = SystemSettings(spread=2.0).system(HERE)  # stays a scenario: of 0.15, and of 0.2 to 0.5
    spread = wide.draft_time_spread, wide.mean_gain_low, wide.mean_gain_high
    assert spread == pytest.approx((0.3, 0.05, 0.65))


@pytest.mark.parametrize("settings", [SystemSettings, RoundSettings, LandscapeSettings])
def test_a_scenario_file_begins_as_it_is(settings, tmp_path):
    file = tmp_path / "mine.toml"
    mine = Scenario.preset("qwen3.5", num_users=7, total_bandwidth=3e6, transmit_snr_db=20.0)
    mine.save(file)
    sources = ScenarioSources(file)
    start = settings.start(sources)
    assert start.system(sources) == mine
    assert settings.from_query(start.query()).system(sources) == mine
    mine.save(tmp_path / "other.toml")
    for name in (str(tmp_path / "other.toml"), f"{tmp_path}/./mine.toml", "/etc/passwd", ""):
        with pytest.raises(ValueError, match="scenario: expected one of"):
            sources.scenario(name)


def test_options_make_the_same_system(tmp_path, monkeypatch):
    from multispin_env.apps.commands.solve import COMMAND
    from multispin_env.apps.terminal.arguments import resolve_scenario

    monkeypatch.chdir(tmp_path)
    Scenario.preset("r1", num_users=4).save("own.json")
    for sources, name in ((HERE, "llama2"), (ScenarioSources(tmp_path / "own.json"), str(tmp_path / "own.json"))):
        settings = SystemSettings(
            name, num_users=3, spread=1.4, server="a100-32b", context="8192", payload="ids", shortest="0"
        )
        options = COMMAND.parser("x").parse_args([*settings.option_words(sources, "num_users"), "-"])
        assert resolve_scenario(options, num_users=3) == settings.system(sources)
