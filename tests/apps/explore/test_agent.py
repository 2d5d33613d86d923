"""An agent beside the best known rule, and the texts that print the numbers again."""

import shlex
import sys

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.apps.explore import agent
from multispin_env.apps.explore.agent import RUN, AgentViewSettings, agent_names, as_command, as_python, compute
from multispin_env.apps.explore.settings import Places
from tests.apps.explore.test_no_barrier import printed

PLACES = Places()
FULL, HIDDEN, FAIR, ENDLESS = (
    f"MultiSpin/{name}-v0" for name in ("Heterogeneous", "HiddenAcceptance", "Fair", "Continuous")
)


def numbers(**values):
    return compute(AgentViewSettings(**{"num_users": 4, **values}), PLACES)


@pytest.mark.parametrize(("env_id", "rounds"), [(HIDDEN, 3), (FAIR, 3), (ENDLESS, 2)])
def test_python_prints_the_numbers(env_id, rounds, monkeypatch):
    monkeypatch.setattr(agent, "SECONDS", 0.5)
    settings = AgentViewSettings(agent=env_id, num_users=4, rounds=rounds, seed=7)
    found = compute(settings, PLACES)
    lines = printed(as_python(settings, PLACES)).splitlines()
    expected = []
    for name, side in (("agent", found.agent), (found.best.name, found.best)):
        told = {"lengths": map(str, side.decision.draft_length)}
        if found.by_round:
            told["bandwidth in MHz"] = (f"{one / 1e6:.3f}" for one in side.decision.bandwidth)
            told["tokens/s"] = (f"{one:.2f}" for one in side.device_rate)
        expected += [" ".join([name, what, *values]) for what, values in told.items()]
        expected.append(f"{name} goodput {side.goodput:.2f} tokens/s")
    assert lines == expected


@pytest.mark.parametrize("env_id", [FULL, HIDDEN])
def test_the_best_is_the_proven_optimum_of_the_state(env_id):
    found = numbers(agent=env_id, rounds=2)
    proven = ms.make_controller("optimal", found.scenario, certify=1e-9)(found.state)
    best = float(ms.expected_outcome(found.scenario, found.state, proven).goodput)
    assert found.best.goodput == pytest.approx(best, rel=1e-6)
    assert found.loss > -1e-6 * best
    for side in (found.agent, found.best):
        outcome = ms.expected_outcome(found.scenario, found.state, side.decision)
        assert side.goodput == pytest.approx(float(outcome.goodput))
        assert side.device_rate.sum() == pytest.approx(side.goodput)
        assert side.decision.bandwidth.sum() <= found.scenario.total_bandwidth * (1.0 + 1e-9)


def test_the_state_is_that_of_the_seed_and_the_round():
    first, other, later = (numbers(**values).state for values in ({}, {"seed": 1}, {"rounds": 1}))
    assert not np.array_equal(first.draft_time, other.draft_time)
    assert np.array_equal(first.draft_time, later.draft_time)
    assert not np.array_equal(first.spectral_efficiency, later.spectral_efficiency)


def test_the_command_prints_what_python_prints(capsys):
    settings = AgentViewSettings(num_users=3, seed=2)
    words = shlex.split(as_command(settings, PLACES))
    assert main(words[1:]) == 0
    assert capsys.readouterr().out == printed(as_python(settings, PLACES))


@pytest.mark.parametrize("name", ["MultiSpin/Heterogenous-v0", *(f"{RUN}{one}" for one in ("mine", "../runs", "/etc"))])
def test_bad_names_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=rf"^agent: expected one of .* got '{name}'"):
        compute(AgentViewSettings(agent=name), Places(runs=tmp_path))


def test_no_more_steps_than_an_episode_has(tmp_path):
    slow = tmp_path / "slow.toml"
    slow.write_text('preset = "llama2"\nverification_fixed_time = 1.0\n', encoding="utf-8")
    settings = AgentViewSettings(scenario=str(slow), agent=ENDLESS, rounds=30, num_users=2)
    with pytest.raises(ValueError, match=r"^rounds: expected at most \d+, since the episode ends then, got 30$"):
        compute(settings, Places(scenario_file=slow))


def test_without_the_packages_of_networks(monkeypatch):
    """One sentence, and nothing to choose; all else of the page works."""
    for name in [one for one in sys.modules if one.partition(".")[0] == "agents"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    said = "the package 'torch' is missing; install it with: pip install \"multispin_env[train]\""
    assert compute(AgentViewSettings(), PLACES) == said
    assert as_python(AgentViewSettings(), PLACES) == f"# {said}\n"
    assert agent_names(PLACES) == ()
