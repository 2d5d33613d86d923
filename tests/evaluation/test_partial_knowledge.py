"""The benchmarks of estimators, in small."""

import csv
import json

import pytest

from benchmarks import partial_knowledge, tune_estimators
from multispin_env.evaluation.statistics import Interval

HIDDEN = "MultiSpin/HiddenAcceptance-v0"
SMALL = {"max_episode_steps": 4}


def test_tuning_tries_the_defaults_first():
    search = tune_estimators.Search(HIDDEN, "beta", {"decay": (0.5, 0.98), "strength": (20.0,)}, SMALL)
    assert search.combinations()[0] == search.defaults
    tried = tune_estimators.tune(search, ["llama2"], [3], 3)
    assert {one.options["decay"] for one in tried} == {0.5, search.defaults["decay"]} | {0.98}
    assert sum(one.is_default for one in tried) == 1
    assert [one.mean_share for one in tried] == sorted((one.mean_share for one in tried), reverse=True)
    assert list(tried[0].shares) == ["llama2, K = 3"]


def test_tables_and_orders_of_a_case(tmp_path):
    names = ("optimal+filter", "optimal+task-mean")
    case = partial_knowledge.Case(HIDDEN, names, (("optimal+clairvoyant", "fixed"),), SMALL)
    found = list(partial_knowledge.systems((case,), ("llama2",), (3,), 4))
    assert {*names, "optimal+clairvoyant", "fixed", "homogeneous"} <= {row.name for row in found[0].rows}
    assert found[0].orders[0].difference.mean > 0.0
    partial_knowledge.write(found, {"command": "c", "episodes": 4, "seed": 1}, tmp_path / "new")
    rows = list(csv.DictReader((tmp_path / "new/table.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["name"] for row in rows] == [row.name for row in found[0].rows]
    loaded = json.loads((tmp_path / "new/table.json").read_text(encoding="utf-8"))
    assert loaded["systems"][0]["orders"][0]["verdict"] == found[0].orders[0].verdict
    assert "| optimal+filter |" in (tmp_path / "new/table.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("low", "high", "verdict"), [(0.1, 0.3, "yes"), (-0.3, -0.1, "no"), (-0.1, 0.1, "undecided")])
def test_verdicts(low, high, verdict):
    order = partial_knowledge.Lead("a", "b", "goodput", Interval(0.5 * (low + high), low, high))
    assert order.verdict == verdict
