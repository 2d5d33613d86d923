import json

import numpy as np
import pytest

from multispin_env.evaluation.comparison import (
    METRICS,
    Row,
    compare_episodes,
    comparison_cells,
    service_cells,
    user_cells,
)
from multispin_env.evaluation.episodes import EpisodeStats
from multispin_env.evaluation.statistics import aligned, markdown, to_csv, to_json


def stats(goodput, tokens, served=False):
    goodput, tokens = np.array(goodput), np.array(tokens)
    names = ("tokens_in_time", "request_goodput", "share_missed", "least_served", "gap_p99")
    latencies = (f"{name}_p{percent}" for name in ("ttft", "tpot", "e2el") for percent in (50, 95, 99))
    episode = {name: position + goodput for position, name in enumerate((*names, *latencies))}
    sums = 2.0 * tokens, 4.0 * tokens, np.full(2, 2.0), goodput / 10.0, 2.0 * goodput
    return EpisodeStats(2, *sums, episode if served else {}, joules=np.array([3.0, 5.0]))


PLAYED, SERVED = (
    {
        "best": stats([10.0, 20.0], [[4.0, 4.0], [9.0, 9.0]], served),
        "half": stats([5.0, 10.0], [[4.0, 0.5], [8.0, 1.0]], served),
    }
    for served in (False, True)
)


def compared(goodputs, reference):
    return compare_episodes(
        {name: stats(values, np.ones((2, 2))) for name, values in goodputs.items()}, reference, "goodput"
    )


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


@pytest.mark.parametrize("metric", METRICS)
def test_tables_of_every_metric(metric):
    all_stats = SERVED if METRICS[metric].second_table is not None and METRICS[metric].has_share else PLAYED
    rows = compare_episodes(all_stats, "best", metric)
    values, per = METRICS[metric].values(all_stats["half"]), METRICS[metric].per
    assert rows[1].mean == pytest.approx(values.mean() if per is None else values.sum() / per(all_stats["half"]).sum())
    assert (rows[1].share is None) != METRICS[metric].has_share
    header, lines = comparison_cells(rows, metric)
    assert {len(line) for line in lines} == {len(header)}
    assert METRICS[metric].header in aligned(header, lines)
    second_table = METRICS[metric].second_table or user_cells
    assert markdown(*second_table(rows)).count("\n") == 3


def test_the_table_of_requests_by_hand():
    rows = compare_episodes(SERVED, "best", "tokens_in_time")
    _, lines = service_cells(rows)
    assert rows[0].mean == 15.0
    assert lines[0][1:5] == ("16.000", "17.000", "18.00", "20.00/21.00")  # in time, missed, least device, TTFT
    assert lines[0][5:] == ("23000/24000", "26.00/27.00/28.00", "19.00")  # TPOT in ms, E2EL, gap


def sums_of(tokens, joules, time=1.0):
    tokens = np.array(tokens, dtype=float)[:, None]
    return EpisodeStats(1, tokens, tokens, time * np.ones(len(tokens)), joules=np.array(joules))


def test_tokens_per_joule_where_some_cases_spend_nothing():
    some, every, idle = (sums_of([8, 1, 3], joules) for joules in ([3.0, 0.0, 1.0], [3.0, 2.0, 1.0], [0.0] * 3))
    rows = compare_episodes({"some": some, "all": every}, "some", "tokens_per_joule")
    assert [row.mean for row in rows] == [pytest.approx(12.0 / 4.0), pytest.approx(12.0 / 6.0)]
    assert [row.share for row in rows] == [1.0, pytest.approx(2.0 / 3.0)]
    assert [row.details["largest_share"] for row in rows] == [0.75, 0.5]
    assert (rows[0].low, rows[0].high, rows[1].low) == (8.0 / 3.0, np.inf, 0.5)  # those of single cases
    with pytest.raises(ValueError, match=r"^metric: .* 'tokens_per_joule' where idle spent 0 J$"):
        compare_episodes({"some": some, "idle": idle}, "some", "tokens_per_joule")
    with pytest.raises(ValueError, match=r"^metric: expected joules for 'tokens_per_joule', got none$"):
        compare_episodes({"unknown": EpisodeStats(1)}, "unknown", "tokens_per_joule")


def test_limits_of_a_ratio_are_ratios_of_draws():
    """The mean ± its deviations was −93 to 207 here."""
    tokens, joules = np.full(20, 20.0), np.zeros(20)
    tokens[12:14], joules[12:14] = 47.0, 4.0
    once = np.where(np.arange(20) == 12, joules, 0.0)
    ratios = compare_episodes(
        {"twice": sums_of(tokens, joules), "once": sums_of(tokens, once), "each": sums_of(tokens, np.full(20, 4.0))},
        "twice",
        "tokens_per_joule",
    )
    assert [row.name for row in ratios] == ["once", "twice", "each"]
    assert all(0.0 < row.low < row.mean < row.high for row in ratios)
    assert all(row.difference_low > -ratios[1].high for row in ratios[:2])
    assert ratios[0].difference_low >= 0.0  # never more joules
    assert [row.high == np.inf for row in ratios] == [True, True, False]  # some draws spend nothing


def test_tokens_per_second_divide_all_tokens_by_all_time():
    rng = np.random.default_rng(0)
    tokens, time = rng.uniform(20.0, 60.0, 400), rng.uniform(0.2, 0.4, 400)
    time[7] = 300.0
    slow, fast = sums_of(tokens, [1.0] * 400, time), sums_of(tokens, [1.0] * 400, 0.3)
    rows = compare_episodes({"slow": slow, "fast": fast}, "fast", "tokens_per_second")
    assert [row.name for row in rows] == ["fast", "slow"]
    assert [row.mean for row in rows] == pytest.approx([tokens.mean() / 0.3, tokens.sum() / time.sum()])
    assert 0.0 < rows[1].low < rows[1].mean < rows[1].high < 180.0
    header, lines = comparison_cells(rows, "tokens_per_second")
    assert header[-2:] == ("mean of episodes", "largest episode")
    assert lines[1][-2:] == (f"{(tokens / time).mean():.2f}", f"{300.0 / time.sum():.4f}")


def test_edges_of_comparisons():
    with pytest.raises(ValueError, match=r"^metric: expected a metric that the environment reports, got 'tokens_in_t"):
        compare_episodes({"best": EpisodeStats()}, "best", "tokens_in_time")
    assert [row.share for row in compared({"zero": [0.0, 0.0], "best": [0.0, 0.0]}, "best")] == [None, None]
    values = {"p2p": 1.0, "fixed": 2.0, "colocated": 9.0, "optimal": 4.0}
    rows = compared({name: [value, value] for name, value in values.items()}, "optimal")
    header, lines = comparison_cells(rows, "goodput")
    assert [line[0] for line in lines] == ["optimal", "fixed", "", "other systems", "colocated", "p2p"]
    assert {len(line) for line in lines} == {len(header)}
    assert [line[0] for line in comparison_cells(rows[:2], "goodput")[1]] == ["optimal", "fixed"]


ROWS = [
    Row("optimal", 171.234, 170.0, 172.5, 1.0, 0.0, 0.0, 0.0),
    Row("fixed", 9.25, 9.0, 10.125, 0.05402, -161.984, -163.5, -160.0),
]

TEXT = """\
decided by  goodput (tokens/s)     95 % interval  of optimum  minus optimum       95 % interval
----------  ------------------  ----------------  ----------  -------------  ------------------
optimal                 171.23  170.00 to 172.50      1.0000          +0.00      +0.00 to +0.00
fixed                     9.25     9.00 to 10.12      0.0540        -161.98  -163.50 to -160.00
"""


def test_formats_of_tables():
    assert aligned(*comparison_cells(ROWS, "goodput", "optimum")) + "\n" == TEXT
    assert markdown(("name", "K"), [("a", "3")]) == "| name | K |\n| --- | ---: |\n| a | 3 |"
    header, *_, last = to_csv(ROWS).splitlines()
    assert header == "name,mean,low,high,share,difference,difference_low,difference_high"
    assert last == "fixed,9.25,9.0,10.125,0.05402,-161.984,-163.5,-160.0"
    row = Row("α", *[1.0] * 7)
    text = to_json([row], {"K": 3})
    assert text.startswith('{\n  "about": {\n    "K": 3\n')
    assert "α" in text
    assert json.loads(text) == {"about": {"K": 3}, "rows": [row.to_dict()]}


def test_order_of_a_table():
    """The best is first; the reference precedes rows that are equal up to rounding."""
    near = [20.0 * (1.0 + 1e-13)] * 2
    rows = compared({"a": near, "middle": [20.0] * 2, "best": [30.0, 10.0 + 2e-8], "low": [5.0, 9.0]}, "middle")
    assert [row.name for row in rows] == ["best", "middle", "a", "low"]
    assert list(rows[3].to_dict().values())[:8] == ["low", 7.0, 5.0, 9.0, 0.35, -13.0, -15.0, -11.0]


def test_cells_of_users():
    names = ("throughput", "utility", "fairness", *(f"user_throughput_{q}" for q in (5, 25, 50, 75, 95)))
    details = dict(zip(names, (11.0, -2.0, 0.5, 0.1, 0.2, 0.3, 0.4, 0.5555), strict=True))
    header, lines = user_cells([Row("half", *[1.0] * 7, details=details)])
    assert header[:4] == ("decided by", "throughput (tokens/s)", "Σ ln throughput", "Jain's index")
    assert header[4:] == ("user's 5 %", "user's 25 %", "user's 50 %", "user's 75 %", "user's 95 %")
    assert lines == [("half", "11.00", "-2.000", "0.5000", "0.100", "0.200", "0.300", "0.400", "0.555")]
