"""``train.py`` and ``multispin_agents.evaluate`` in environments that hide or remember something."""

import json
from functools import cache

import pytest

import multispin_env as ms
from multispin_agents import evolution
from multispin_agents.evolution import EvolutionSettings
from multispin_agents.measures import CURVE, read_curve
from multispin_agents.runs import default_choice, load_config
from multispin_env.apps.commands.main import main
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.comparison import Row
from multispin_env.evaluation.defaults import default_contenders
from multispin_env.evaluation.statistics import EPISODE_SEED

pytestmark = pytest.mark.slow

HIDDEN = "MultiSpin/HiddenAcceptance-v0"
FAIR = "MultiSpin/Fair-v0"
PARTIAL = [name for name in ms.registry.ENVIRONMENTS.names() if not ms.EnvConfig.of(name).independent]
TINY = ["--num-users", "3", "--timesteps", "3000"]
SERVING = ("--set", "horizon=2.5", "warm_up=0.5", "load=1.5", "reference=own-pace+deadlines")

SHORT = {
    **{env_id: ["--set", "rounds=40"] for env_id in PARTIAL},
    "MultiSpin/Continuous-v0": ["--timesteps", "300", "--set", "horizon=1"],
    "MultiSpin/Serving-v0": [*("--timesteps", "300"), *SERVING],
}


@pytest.fixture(autouse=True)
def few_episodes(quick_prices, monkeypatch):
    monkeypatch.setattr(Episodes, "default_size", 2)
    monkeypatch.setattr(Episodes, "validation_size", 2)
    monkeypatch.setattr(evolution, "SETTINGS", EvolutionSettings(pairs=2, cases=2))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    @cache
    def run(env_id):
        folder = tmp_path_factory.mktemp("runs") / "tiny"
        assert main(["train", "--env", env_id, "--name", str(folder), *TINY, *SHORT[env_id]]) == 0
        return folder

    return run


@pytest.mark.parametrize("env_id", PARTIAL)
def test_a_run_compares_with_what_the_environment_lists(env_id, runs):
    folder = runs(env_id)
    table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    rows = [Row.from_dict(row) for row in table["rows"]]
    contenders = default_contenders(ms.EnvConfig.of(env_id))
    assert {row.name for row in rows} == {*contenders, "{agent} ({action})".format(**default_choice(env_id))}
    assert table["about"]["seed"] == EPISODE_SEED
    assert table["about"]["episodes"] == 2
    reference = next(row for row in rows if row.name == table["about"]["reference"])
    assert reference.difference == 0.0
    _, scores = read_curve(folder / CURVE, "return" if env_id == FAIR else "share_of_reference")
    assert all(score > 0.0 for score in scores)


def test_arguments_are_saved_and_tried_elsewhere(tmp_path, capsys, refused):
    folder = tmp_path / "run"
    settings = ["--set", "rounds=40", "spread=0.2", "mean_rounds=8", "history=False"]
    options = [*settings, "--action", "lengths", "--agent", "decentralised"]
    assert main(["train", "--env", HIDDEN, "--name", str(folder), *TINY, *options]) == 0
    config, _ = load_config(folder)
    env = config.env
    assert (env.spread, env.history, env.mean_rounds) == (0.2, False, 8)
    capsys.readouterr()
    assert main(["evaluate", str(folder), "--episodes", "2", "--set", "spread=0.1"]) == 0
    assert "HiddenAcceptance-v0, rounds=40, mean_rounds=8, spread=0.1, llama2, K = 3" in capsys.readouterr().out
    other = ["--env", "MultiSpin/RecordedAcceptance-v0", "--set", "kv_tokens=2000"]
    assert main(["evaluate", str(folder), *other, "--episodes", "2"]) == 0
    assert "3 requests of 1,024 tokens do not fit" in capsys.readouterr().err
    message = refused("train", ["--resume", str(folder), "--set", "spread=0.1"])
    assert f"arguments: expected the values of the run {str(folder)!r}, got others" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--states", "20"], "states: expected --episodes for MultiSpin/Fair-v0, got --states 20"),
        (["--episodes", "1"], "episodes: expected an integer ≥ 2, got 1"),
        (["--env", HIDDEN], "got 'MultiSpin/HiddenAcceptance-v0' with ['accepted', 'age',"),
        (["--set", "window=0"], "window: expected a finite number in [1, inf), got 0"),
    ],
)
def test_wrong_evaluations_are_one_sentence(runs, arguments, message, refused):
    assert message in refused("evaluate", [str(runs(FAIR)), *arguments])
