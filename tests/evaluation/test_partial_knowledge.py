"""The benchmarks of estimators, on a stand-in environment."""

import csv
import json

import pytest

from benchmarks import partial_knowledge, tune_estimators
from multispin_env.evaluation.statistics import Interval
from tests.evaluation import hidden


@pytest.fixture
def stand_in():
    """The stand-in by its id."""
    hidden.register()
    yield hidden.ENV_ID
    hidden.unregister()


def test_tuning_tries_the_defaults_first(stand_in):
    search = tune_estimators.Search(
        stand_in, "beta", {"decay": (0.5, 0.98), "strength": (20.0,)}, {"reward": "sampled"}
    )
    assert search.combinations()[0] == search.defaults
    tried = tune_estimators.tune(search, ["llama2"], [3], 3)
    assert {one.options["decay"] for one in tried} == {0.5, search.defaults["decay"]} | {0.98}
    assert sum(one.is_default for one in tried) == 1
    assert [one.mean_share for one in tried] == sorted((one.mean_share for one in tried), reverse=True)
    assert list(tried[0].shares) == ["llama2, K = 3"]


def test_tables_and_orders_of_a_case(stand_in, tmp_path):
    names = ("optimal+filter", "optimal+task-mean")
    case = partial_knowledge.Case(stand_in, names, (("optimal+clairvoyant", "fixed"),), {"reward": "sampled"})
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
    order = partial_knowledge.Order("a", "b", "goodput", Interval(0.5 * (low + high), low, high))
    assert order.verdict == verdict
