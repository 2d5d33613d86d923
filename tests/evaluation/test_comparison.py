import csv
import io
import json

import gymnasium as gym
import numpy as np
import pytest

from multispin_env.evaluation.comparison import (
    METRICS,
    compare,
    comparison_cells,
    default_metric,
    paired_difference,
    play_all,
    user_cells,
)
from multispin_env.evaluation.episodes import Episodes
from multispin_env.evaluation.table import aligned, markdown, to_csv, to_json


def episodes(goodput, users):
    users = np.array(users)
    goodput = np.array(goodput)
    return Episodes(2, goodput, users.sum(-1), goodput / 10.0, users)


PLAYED = {
    "best": episodes([10.0, 20.0], [[4.0, 4.0], [9.0, 9.0]]),
    "half": episodes([5.0, 10.0], [[4.0, 0.5], [8.0, 1.0]]),
}


def test_rows_by_hand():
    rows = compare(PLAYED, "best")
    assert [row.name for row in rows] == ["best", "half"]
    assert (rows[0].share, rows[1].share) == (1.0, 0.5)
    assert (rows[0].difference_low, rows[0].difference, rows[0].difference_high) == (0.0, 0.0, 0.0)
    assert rows[1].difference == -7.5
    assert -10.0 <= rows[1].difference_low <= rows[1].difference_high <= -5.0
    assert rows[1].fairness == pytest.approx((4.5**2 / (2 * 16.25) + 81.0 / (2 * 65.0)) / 2)
    assert rows[1].user_throughput_50 == pytest.approx(2.5)
    assert rows[1].reward == pytest.approx(0.375)
    difference = paired_difference(PLAYED["half"], PLAYED["best"])
    assert difference == (rows[1].difference, rows[1].difference_low, rows[1].difference_high)


@pytest.mark.parametrize("metric", METRICS)
def test_tables_of_every_metric(metric):
    rows = compare(PLAYED, "best", metric)
    assert rows[1].mean == pytest.approx(METRICS[metric].values(PLAYED["half"]).mean())
    assert (rows[1].share is None) != METRICS[metric].has_share
    header, lines = comparison_cells(rows, metric)
    assert {len(line) for line in lines} == {len(header)}
    assert METRICS[metric].header in aligned(header, lines)
    assert markdown(*user_cells(rows)).count("\n") == 3
    assert json.loads(to_json(rows, {}))["rows"][1]["mean"] == rows[1].mean
    assert float(list(csv.DictReader(io.StringIO(to_csv(rows))))[1]["difference"]) == rows[1].difference


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"metric: got 'goodputs'.*did you mean 'goodput'"):
        compare(PLAYED, "best", "goodputs")
    with pytest.raises(ValueError, match=r"reference: got 'bes'.*did you mean 'best'"):
        compare(PLAYED, "bes")
    with pytest.raises(ValueError, match=r"metric: got 'goodputs'.*did you mean 'goodput'"):
        paired_difference(PLAYED["half"], PLAYED["best"], "goodputs")


def vector(env_id, copies):
    return gym.make_vec(
        env_id, num_envs=copies, vectorization_mode="vector_entry_point", num_users=4, max_episode_steps=6
    )


def test_play_all_pairs_the_episodes():
    played = play_all(vector("MultiSpin/HiddenAcceptance-v0", 40), ["optimal", "optimal+filter"], seed=5)
    apart = np.hypot(*(one.goodput.std() for one in played.values()))
    together = (played["optimal"].goodput - played["optimal+filter"].goodput).std()
    assert together < 0.3 * apart
    assert compare(played, "optimal")[0].name == "optimal"


def test_metric_fits_the_environment():
    assert default_metric(vector("MultiSpin/Heterogeneous-v0", 2)) == "goodput"
    assert default_metric(vector("MultiSpin/Fair-v0", 2)) == "return"
