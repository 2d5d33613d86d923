"""The stored entries of the suite have the stated numbers, and only methods that can be compared are."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.suite import long
from multispin_agents.runs import read_record
from multispin_env.evaluation.policy import load_policy
from multispin_lab.suite import leaderboard, statistics
from multispin_lab.suite.entries import check_files, kinds_of, playable, read_curves, read_entry, read_scores
from multispin_lab.suite.frozen import own_content
from multispin_lab.suite.leaderboard import LeaderRow, curve_cells, learnt_cells, pair_cells, partial_cells
from multispin_lab.suite.statistics import interquartile_mean
from multispin_lab.suite.tasks import MIDDLE_ACTIONS, OWN
from multispin_lab.suite.trainer import CELL, Cell
from multispin_lab.suite.version import task
from tests.repository import ROOT

ENTRIES = ROOT / "docs" / "results" / "suite" / "entries"


def stored(name, seeds=None):
    """Return the row of a stored entry, with its first seeds."""
    folder = ENTRIES / name
    entry = read_entry(folder)
    scores, curves = read_scores(folder, entry), read_curves(folder, entry)
    policies = {task: by_seed[:seeds] for task, by_seed in entry.policies.items()}
    first = replace(entry, seeds=entry.seeds[:seeds], policies=policies)
    scores = {task: values[:seeds] for task, values in scores.items()}
    curves = curves and {task: points[:, :seeds] for task, points in curves.items()}
    return LeaderRow(first, scores, curves, None, True, kinds_of(folder, entry))


@pytest.fixture(scope="module")
def rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 100)
        names = ("ours-ppo", "ours-apg", "ours-evolution", "ppo-device", "a2c", "ppo", "recurrent-ppo")
        found = {name: stored(name, 2 if name == "ppo" else None) for name in names}
        assert all(row.numbers for row in found.values())
    return found


@pytest.mark.parametrize(
    ("name", "tasks", "played", "at_5000"),
    [
        ("ours-ppo", 14, 0.988, 0.850),
        ("ours-apg", 8, 0.995, None),
        ("ours-evolution", 6, 0.939, None),
        ("ppo-device", 14, 0.625, 0.509),
        ("a2c", 13, 0.531, 0.449),
        ("ppo", 13, 0.482, 0.446),
        ("recurrent-ppo", 3, 0.558, None),
    ],
)
def test_means_are_over_the_tasks_played(rows, name, tasks, played, at_5000):
    row = rows[name]
    assert len(row.scores) == tasks
    assert round(row.numbers["iqm"], 3) == played
    assert (row.numbers["fixed_size"] is None) == (tasks < 13)
    if at_5000 is not None:
        assert f" {curve_cells([row])[1][0][4]}" == f" {at_5000:.3f}"


def test_only_seeds_make_an_interval_over_seeds(rows):
    numbers = rows["ours-ppo"].numbers
    assert 0.980 < numbers["iqm_low"] < numbers["iqm"] < numbers["iqm_high"] < 0.995
    assert rows["ppo"].numbers["iqm_low"] is None
    assert 0.001 < numbers["iqm_error"] < 0.004


def test_ranks_are_within_one_budget_and_kind_of_actions(rows):
    everything = list(rows.values())
    ranks = {name: row.rank(everything) for name, row in rows.items()}
    assert ranks == {
        **{"ours-ppo": "1 of 1", "ours-apg": "-", "ours-evolution": "-", "recurrent-ppo": "-"},
        **{"ppo-device": "1 of 3", "a2c": "2 of 3", "ppo": "3 of 3"},
    }
    cheap = replace(rows["a2c"], entry=replace(rows["a2c"].entry, steps=5000))
    assert cheap.rank([*everything, cheap]) == "1 of 1"


def test_methods_without_a_rank_are_compared_in_common_tasks(rows):
    _, lines = pair_cells(list(rows.values()))
    labels = {name: row.label for name, row in rows.items()}
    pairs = {line[0]: line[1:3] for line in lines}
    assert len(pairs) == 5  # `apg` and `evolution` have no common task
    assert pairs[f"{labels['ours-apg']} - {labels['ours-ppo']}"] == ("7", "0.005")
    assert pairs[f"{labels['recurrent-ppo']} - {labels['ppo']}"][0] == "3"


def test_what_is_learnt_is_relative_to_action_0_with_the_same_actions(rows):
    """A fraction needs something known to learn: none in `round-8` with the closed form, and none without a barrier."""
    row = rows["ours-ppo"]
    assert row.kinds["round-8"] == ("closed form", own_content()["round-8"]["middle"])
    assert row.kinds["late"][0] == row.kinds["requests"][0] == "around a rule"
    assert {kind for kind, _ in rows["ppo"].kinds.values()} == {"own", "closed form"}
    assert row.learnt_in("round-50") == pytest.approx((0.381, 0.986), abs=1e-3)
    assert row.learnt_in("late") == pytest.approx((0.310, 0.310 / 0.325), abs=5e-3)
    for name in ("round-8", "no-barrier-8", "fair"):
        assert row.learnt_in(name)[1] is None
    for left, known in ((0.09, False), (0.11, True)):
        little = replace(row, kinds={**row.kinds, "round-8": ("own", 1.0 - left)})
        assert (little.learnt_in("round-8")[1] is not None) == known
    cells = {line[0]: line[1:] for line in learnt_cells([row, rows["ppo"]])[1]}
    assert cells["round-8"] == ("0.034 (-)", "0.086 (44 %)")
    assert cells["resize"][1] == "-"
    own = stored("own-action-0")
    assert own.numbers["minus_action_0"] == pytest.approx(0.0, abs=1e-9)
    assert round(own.numbers["fixed_size"], 3) == 0.742
    assert row.numbers["minus_action_0"] == pytest.approx(row.numbers["iqm"] - own.numbers["iqm"])
    assert all(policy == {"rule": OWN + MIDDLE_ACTIONS} for (policy,) in own.entry.policies.values())


def test_first_points_before_any_update_are_marked(rows):
    """The first points of our `ppo` are those of action 0, as its last layer starts at zero."""
    (ours, recurrent) = curve_cells([rows["ours-ppo"], rows["recurrent-ppo"]])[1]
    assert ours[3] == "start 0.742"
    assert not recurrent[3].startswith("start")
    zeros = [np.array([own["middle"]]) for name, own in own_content().items() if name != "resize"]
    assert round(float(interquartile_mean(zeros)), 3) == 0.742


@pytest.mark.parametrize("folder", sorted(ENTRIES.iterdir()), ids=lambda folder: folder.name)
def test_networks_of_stock_methods_are_left_out_but_one(folder):
    entry = read_entry(folder)
    check_files(folder, entry)
    policies = playable(folder, entry)
    networks = [
        (name, seed) for name, by_seed in policies.items() for seed, policy in enumerate(by_seed) if "folder" in policy
    ]
    is_stock = entry.method.startswith(("stable_baselines3:", "sb3_contrib:"))
    assert networks == [("hidden", 0)] if is_stock else policies == entry.policies


def test_means_of_the_networks_that_are_there_leave_out_random_actions(rows):
    policies = playable(ENTRIES / "recurrent-ppo", rows["recurrent-ppo"].entry)
    assert policies["resize"] == [{"rule": "random-actions"}]
    _, lines = partial_cells([rows["ours-ppo"], replace(rows["recurrent-ppo"], policies=policies)], 0)
    assert lines == [("sb3_contrib:RecurrentPPO", "1 of 3", "0.264", "-")]


def test_all_entries_together_are_small():
    assert sum(file.stat().st_size for file in ENTRIES.rglob("*")) < 10e6
    assert leaderboard.BUDGETS[-1] == 50_000


@pytest.mark.slow
@pytest.mark.parametrize("folder", sorted(long.FOLDER.glob("*/*")), ids=lambda folder: "-".join(folder.parts[-2:]))
def test_stored_long_trainings_play_their_score(folder):
    content = read_record(folder / CELL)
    cell = Cell(*(content["spec"][key] for key in ("agent", "task", "seed", "steps")))
    values = task(cell.task).values(load_policy(folder))
    assert values == pytest.approx(np.array(content["values"][-1]), rel=1e-9)
    page = (ROOT / "docs" / "evidence" / "learning.md").read_text(encoding="utf-8")
    row = next(long.rows([("", cell, folder.parent)]))
    assert " | ".join(row[f"{steps:,}"] for steps in (10_000, 100_000, 1_000_000)) in page
