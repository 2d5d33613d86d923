"""The speed benchmarks run, count what they say, and leave the package as it was."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import env_speed, plain, rendering, training_speed, transcendental
from benchmarks.speed import subjects
from benchmarks.speed.profile import PARTS, profile
from benchmarks.speed.subjects import REFERENCE_K, REFERENCE_N, Grid
from multispin_env.physics.tokens import expected_tokens
from multispin_env.registry import ENVIRONMENTS


def run(module, monkeypatch, capsys, *options):
    monkeypatch.setattr("sys.argv", [module.__name__, *map(str, options)])
    module.main()
    return capsys.readouterr().out


@pytest.mark.usefixtures("quick_prices")
def test_env_speed_measures_every_environment(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(env_speed, "QUICK", Grid((1, REFERENCE_N), (REFERENCE_K,), most_sync=1, turns=1, seconds=0.0))
    out = run(env_speed, monkeypatch, capsys, "--quick", "--out", tmp_path)
    report = json.loads((tmp_path / "env_speed.json").read_text(encoding="utf-8"))
    measured = {row["env_id"] for row in report["subjects"]}
    assert {*ENVIRONMENTS.names(), "CartPole-v1"} <= measured
    assert all(row["steps_per_cpu_second"] > 0.0 for row in report["subjects"])
    assert out.count("\nmet ") + out.count("\nMISSED ") == len(report["targets"]) == 9
    assert (tmp_path / "env_speed.png").stat().st_size > 10_000


def test_timers_name_the_parts_and_are_gone_afterwards():
    before = expected_tokens
    parts = profile(1, "residual", turns=1)
    assert expected_tokens is before
    missing = [part for part in PARTS if parts[part] == 0.0]
    assert not missing, f"no function found for {missing}: a name in PARTS has moved"


def test_an_env_step_is_one_round_of_one_copy():
    subject = subjects.native(subjects.DEFAULT_ID, "shares", 3, 4)
    subject.turns = [2.0, 0.5]
    assert subject.rate == 2.0
    subject.play(subjects.PERIOD)


def test_plain_is_the_same_benchmark_without_avx_512(tmp_path, monkeypatch, capsys):
    if not plain.wide_features():
        pytest.skip("there is nothing to switch off")
    (tmp_path / "told.py").write_text(
        "import json, pathlib, sys\n"
        "from benchmarks.plain import wide_features\n"
        "pathlib.Path(sys.argv[-1], 'told.json').write_text(json.dumps([wide_features(), sys.argv[1:-1]]))\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}")
    monkeypatch.setattr("sys.argv", ["told", "--plain", "--quick"])
    assert plain.rerun("told", "told.json") == [[], ["--quick", "--out"]]
    assert ", ".join(plain.wide_features()) in capsys.readouterr().out


def test_without_avx_512_there_is_one_column(monkeypatch, capsys):
    monkeypatch.setattr(plain, "wide_features", list)
    assert plain.rerun("nothing", "nothing.json") is None
    assert "no AVX-512" in capsys.readouterr().out


def test_both_columns_and_their_ratio(capsys):
    plain.show("rate", {"a": 4.0, "b": 3.0}, {"a": 1.0})
    assert [line.split() for line in capsys.readouterr().out.splitlines() if line] == [
        ["rate", "usual", "plain", "plain/usual"],
        ["a", "4", "1", "0.25"],
    ]


def test_numbers_through_transcendental_functions_are_counted():
    before = np.exp
    calls, numbers = transcendental.counts(lambda: np.log(np.exp(np.ones((2, 3)))) + np.exp(1.0), 2)
    assert calls == 1.5
    assert numbers == {"exp": 3.5, "log": 3.0}
    assert np.exp is before


def test_pictures_are_counted(monkeypatch, capsys):
    out = run(rendering, monkeypatch, capsys, "--rounds", 2)
    assert re.fullmatch(r"K = 8: \d+ pictures/s\nK = 20: \d+ pictures/s\n", out)


def test_training_learns_the_same_bit_for_bit(tmp_path, monkeypatch, capsys):
    run(training_speed, monkeypatch, capsys, "--quick", "--out", tmp_path)
    (found,) = json.loads((tmp_path / "training_speed.json").read_text(encoding="utf-8")).values()
    assert found["same"]["curves_equal"]
    assert found["same"]["parameters_equal"]
    assert np.isfinite(found["same"]["last_mean_reward"])
    assert np.isfinite(found["ratio"]["env"])
