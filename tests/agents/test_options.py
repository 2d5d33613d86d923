"""Which rule a run starts from."""

import pytest

import multispin_env as ms
from agents.runs import with_start
from multispin_env.envs.settings import Settings
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.registry import ENVIRONMENTS

CLOSED = "MultiSpin/Continuous-v0"


def settings_of(action="tuned", **arguments):
    scenario = ms.Scenario.preset("llama2", num_users=3)
    return Settings(scenario, ENVIRONMENTS.load(CLOSED)(horizon=2.0, **arguments), action)


@pytest.mark.parametrize("best", ["prices", "groups"])
def test_the_better_rule_is_said(best, monkeypatch):
    monkeypatch.setattr(
        Episodes, "values", lambda cases, name: (name == best) * cases.env().reset(seed=0)[0]["compute"]
    )
    settings = with_start(CLOSED, settings_of())
    assert settings.variant.reference == best == settings.actions.reference


def test_it_is_measured():
    settings = settings_of()
    cases = Episodes(CLOSED, 8, settings.scenario, settings.arguments, seed=10**9)
    rates = {name: cases.values(name).mean() for name in ("prices", "groups")}
    assert with_start(CLOSED, settings).variant.reference == max(rates, key=rates.get)


@pytest.mark.parametrize("settings", [settings_of(reference="own-pace"), settings_of("residual"), settings_of("plain")])
def test_what_is_chosen_or_usual_stays(settings):
    assert with_start(CLOSED, settings) is settings


def test_other_families_have_no_rule_to_start_from():
    settings = Settings(ms.Scenario.preset("llama2", num_users=3), ENVIRONMENTS.load("MultiSpin/Fair-v0")())
    assert with_start("MultiSpin/Fair-v0", settings) is settings
