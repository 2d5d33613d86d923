import csv
import io
import json

import numpy as np
import pytest

from multispin_env.evaluation.comparison import (
    METRICS,
    Row,
    best_plug_in,
    compare_episodes,
    compare_values,
    comparison_cells,
    service_cells,
    user_cells,
)
from multispin_env.evaluation.episodes import EpisodeStats
from multispin_env.evaluation.statistics import aligned, markdown, to_csv, to_json


def stats(goodput, tokens, served=False):
    """Of two rounds and as many seconds."""
    goodput, tokens = np.array(goodput), np.array(tokens)
    names = ("tokens_in_time", "request_goodput", "share_missed", "least_served", "gap_p99")
    latencies = (f"{name}_p{percent}" for name in ("ttft", "tpot", "e2el") for percent in (50, 95, 99))
    told = {name: place + goodput for place, name in enumerate((*names, *latencies))}
    return EpisodeStats(
        2, 2.0 * tokens, 4.0 * tokens, np.full(2, 2.0), goodput / 10.0, 2.0 * goodput, told if served else {}
    )


def played(served=False):
    return {
        "best": stats([10.0, 20.0], [[4.0, 4.0], [9.0, 9.0]], served),
        "half": stats([5.0, 10.0], [[4.0, 0.5], [8.0, 1.0]], served),
    }


PLAYED, SERVED = played(), played(served=True)


def test_rows_by_hand():
    rows = compare_episodes(PLAYED, "best", "goodput")
    assert [row.name for row in rows] == ["best", "half"]
    assert (rows[0].share, rows[1].share) == (1.0, 0.5)
    assert (rows[0].difference_low, rows[0].difference, rows[0].difference_high) == (0.0, 0.0, 0.0)
    assert rows[1].difference == -7.5
    assert -10.0 <= rows[1].difference_low <= rows[1].difference_high <= -5.0
    assert rows[1].details["fairness"] == pytest.approx((4.5**2 / (2 * 16.25) + 81.0 / (2 * 65.0)) / 2)
    assert rows[1].details["user_throughput_50"] == pytest.approx(2.5)
    assert rows[1].details["reward"] == pytest.approx(0.375)
    assert [row.headline for row in rows] == [1.0, 0.5]
    assert rows == [Row.from_dict(row.to_dict()) for row in rows]
    assert rows[1].to_dict()["fairness"] == rows[1].details["fairness"]


@pytest.mark.parametrize("metric", METRICS)
def test_tables_of_every_metric(metric):
    all_stats = SERVED if METRICS[metric].below is not None and METRICS[metric].has_share else PLAYED
    rows = compare_episodes(all_stats, "best", metric)
    assert rows[1].mean == pytest.approx(METRICS[metric].values(all_stats["half"]).mean())
    assert (rows[1].share is None) != METRICS[metric].has_share
    header, lines = comparison_cells(rows, metric)
    assert {len(line) for line in lines} == {len(header)}
    assert METRICS[metric].header in aligned(header, lines)
    assert markdown(*METRICS[metric].below(rows) if METRICS[metric].below else user_cells(rows)).count("\n") == 3
    assert json.loads(to_json(rows, {}))["rows"][1]["mean"] == rows[1].mean
    assert float(list(csv.DictReader(io.StringIO(to_csv(rows))))[1]["difference"]) == rows[1].difference


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"metric: expected one of .*, got 'goodputs'; did you mean 'goodput'"):
        compare_episodes(PLAYED, "best", "goodputs")
    with pytest.raises(ValueError, match=r"reference: expected one of .*, got 'bes'; did you mean 'best'"):
        compare_episodes(PLAYED, "bes", "goodput")


def test_the_table_of_requests_by_hand():
    rows = compare_episodes(SERVED, "best", "tokens_in_time")
    header, lines = service_cells(rows)
    best = dict(zip(header, lines[0], strict=True))
    assert rows[0].mean == 15.0
    assert best["requests in time/s"] == "16.000"
    assert best["missed"] == "17.000"
    assert best["least device"] == "18.00"
    assert best["TTFT p50/p95 s"] == "20.00/21.00"
    assert best["TPOT p50/p95 ms"] == "23000/24000"
    assert best["E2EL p50/p95/p99 s"] == "26.00/27.00/28.00"
    assert best["gap p99 s"] == "19.00"


def test_what_no_environment_told_is_no_metric():
    with pytest.raises(ValueError, match=r"^metric: expected one of an environment that tells of it, got 'tokens_in_t"):
        compare_episodes({"best": EpisodeStats.empty(2, 2)}, "best", "tokens_in_time")


def test_nothing_is_a_share_of_nothing():
    rows = compare_values({"one": np.zeros(2), "best": np.zeros(2)}, "best")
    assert [row.share for row in rows] == [None, None]
    header, lines = comparison_cells(rows, "goodput")
    assert [len(line) for line in lines] == [len(header)] * 2


def test_the_best_plug_in_is_not_told_what_is_hidden():
    values = {"optimal+clairvoyant": np.full(2, 3.0), "optimal+filter": np.full(2, 2.0), "optimal+beta": np.ones(2)}
    assert best_plug_in(values) == "optimal+filter"
    assert best_plug_in({"fixed": np.ones(2), "optimal": np.full(2, 2.0), "colocated": np.full(2, 3.0)}) == "optimal"


def test_other_systems_stand_below_what_decides():
    values = {"p2p": 1.0, "fixed": 2.0, "colocated": 9.0, "optimal": 4.0}
    rows = compare_values({name: np.full(2, value) for name, value in values.items()}, "optimal")
    assert [row.name for row in rows] == ["optimal", "fixed", "colocated", "p2p"]
    header, lines = comparison_cells(rows, "goodput")
    assert [line[0] for line in lines] == ["optimal", "fixed", "", "other systems", "colocated", "p2p"]
    assert [len(line) for line in lines] == [len(header)] * 6
    assert [line[0] for line in comparison_cells(rows[:2], "goodput")[1]] == ["optimal", "fixed"]
