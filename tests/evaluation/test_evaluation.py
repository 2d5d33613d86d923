import csv
import io
import json

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.evaluation.scores import held_out_states
from multispin_env.evaluation.statistics import mean_interval
from multispin_env.evaluation.table import make_table, to_csv, to_json, to_markdown, to_text


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        found = mean_interval(rng.normal(3.0, 1.0, 80), rng)
        hits += found.low <= 3.0 <= found.high
    assert 180 <= hits <= 199


def test_interval_repeats_with_its_generator(rng):
    values = rng.normal(size=50)
    assert mean_interval(values, np.random.default_rng(1)) == mean_interval(values, np.random.default_rng(1))
    assert mean_interval(values, np.random.default_rng(1)) != mean_interval(values, np.random.default_rng(2))
    with pytest.raises(ValueError, match=r"values: got shape \(1,\)"):
        mean_interval(np.ones(1), rng)


def test_held_out_states_are_the_same_for_everyone():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    first, second = held_out_states(scenario, 5), held_out_states(scenario, 5)
    assert (first.spectral_efficiency == second.spectral_efficiency).all()


def test_table_by_hand_and_its_formats():
    scores = {"optimal": np.array([10.0, 20.0, 30.0]), "half": np.array([5.0, 10.0, 15.0])}
    rows = make_table(scores)
    assert [row.name for row in rows] == ["optimal", "half"]
    assert rows[1].share == 0.5
    assert rows[1].difference == -10.0
    assert rows[1].goodput_low <= 10.0 <= rows[1].goodput_high
    assert (rows[0].difference, rows[0].difference_low, rows[0].difference_high) == (0.0, 0.0, 0.0)
    assert json.loads(to_json(rows, {"K": 3}))["rows"][1]["share"] == 0.5
    assert float(list(csv.DictReader(io.StringIO(to_csv(rows))))[1]["difference"]) == -10.0
    assert "| half | 10.00 |" in to_markdown(rows)
    assert len({len(line.rstrip()) for line in to_text(rows).splitlines()[1:]}) <= 2
    with pytest.raises(ValueError, match="reference: got 'best'"):
        make_table(scores, "best")
