import re

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_lab.explore.one_round import (
    COLUMNS,
    RoundSettings,
    describe_sensitivities,
    draw_devices,
    read_edits,
)
from multispin_lab.explore.settings import MAX_DEVICES, ScenarioSources

HERE = ScenarioSources()
FOUR, NINE = (ms.Scenario.preset("llama2", num_users=users) for users in (4, 9))


def test_devices_are_a_draw_of_the_scenario_as_it_is_shown():
    drawn = ms.sample_state(FOUR.replace(num_users=MAX_DEVICES), np.random.default_rng(3))
    state = draw_devices(FOUR.replace(access_delay=(0.0, 0.1, 0.0, 0.2)), 3, {}).state()
    rounding = {"draft_time": 0.5e-5, "spectral_efficiency": 0.005 * np.log2(10.0), "acceptance_rate": 0.5e-3}
    for name, tolerance in rounding.items():
        assert np.abs(getattr(state, name) - getattr(drawn, name)[:4]).max() <= tolerance * (1 + 1e-9)


def test_edits_and_more_devices_change_nothing_else():
    plain, more = (draw_devices(scenario, 0, {}) for scenario in (FOUR, NINE))
    edited = draw_devices(FOUR, 0, read_edits("2.snr_db=12.34;9.acceptance=0.5"))
    assert edited.snr_db[1] == 12.3
    edited.snr_db[1] = plain.snr_db[1]
    for column in COLUMNS:
        for other in (edited, more):
            assert np.array_equal(getattr(plain, column.name), getattr(other, column.name)[:4])


def test_who_pays_for_a_channel_that_got_worse():
    result, before = (RoundSettings(num_users=5, moved=3, moved_db=by).compute(HERE) for by in (-10.0, 0.0))
    assert result.moved == 3
    lost = float(before.outcome.goodput - result.outcome.goodput)
    assert -result.rate_change.sum() == pytest.approx(lost)
    assert lost > 0.0
    assert result.devices.snr_db[2] == pytest.approx(before.devices.snr_db[2] - 10.0)
    for settings in (RoundSettings(num_users=2), RoundSettings(num_users=2, moved=3, moved_db=5.0)):
        result = settings.compute(HERE)  # no device has moved
        assert result.moved is None
        assert not result.rate_change.any()


def test_one_more_megahertz_is_worth_what_it_says():
    result = RoundSettings(num_users=5).compute(HERE)
    text = float(re.search(r"1 MHz more bandwidth: \+([\d.]+) tokens/s", describe_sensitivities(result)[0])[1])
    state = result.devices.state()
    more, less = (result.scenario.replace(total_bandwidth=10e6 + step) for step in (1e4, -1e4))
    gained = ms.sensitivities(more, state).goodput - ms.sensitivities(less, state).goodput
    assert text == pytest.approx(float(gained) / 2e4 * 1e6, rel=5e-3)


def test_a_scenario_with_another_link_is_shown_without_sensitivities(tmp_path):
    ms.Scenario.preset("llama2", num_users=2, link="power").save(tmp_path / "mine.toml")
    sources = ScenarioSources(tmp_path / "mine.toml")
    result = RoundSettings.start(sources).compute(sources)
    assert 0.0 < result.outcome.goodput <= result.bound
    assert "other links" in describe_sensitivities(result)[0]


MOVED = RoundSettings(num_users=4, moved=2, moved_db=-6.0, edits="1.acceptance=0.9", spread=1.5, payload="ids")


@pytest.fixture(scope="module")
def result():
    return MOVED.compute(HERE)


def test_numbers_are_those_of_the_library(result):
    state, best = result.devices.state(), result.goodputs["optimal"]
    assert set(result.goodputs) == set(ms.controller_names("rounds", result.scenario))
    assert best <= result.bound <= best * (1 + 1e-6)
    for name, goodput in result.goodputs.items():
        decision = ms.make_controller(name, result.scenario)(state)
        assert float(ms.expected_outcome(result.scenario, state, decision).goodput) == pytest.approx(goodput, rel=1e-6)


def test_the_command_prints_the_decision(result, capsys, tmp_path):
    command, _, rest = MOVED.as_command(HERE).partition(" <<'END'\n")
    file = tmp_path / "devices.csv"
    file.write_text(rest.removesuffix("END\n"), encoding="utf-8")
    assert main([*command.removesuffix(" -").split()[1:], str(file)]) == 0
    printed = capsys.readouterr().out
    assert f"goodput        {result.goodputs['optimal']:.2f} tokens/s" in printed
    assert f"upper bound    {result.bound:.2f} tokens/s" in printed
    rows = re.findall(r"^(\d+) +(\d+) +([\d.]+)", printed, re.MULTILINE)
    assert [int(length) for _, length, _ in rows] == result.decision.draft_length.tolist()
    assert [float(band) for *_, band in rows] == [round(entry / 1e6, 4) for entry in result.decision.bandwidth.tolist()]
