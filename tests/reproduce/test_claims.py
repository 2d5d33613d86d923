"""The claims are those that README and the page state, to the digit."""

from pathlib import Path

import numpy as np
import pytest

from multispin_env.evaluation.statistics import Interval
from multispin_env.registry import FIGURES
from multispin_env.reproduce.claims import (
    BUDGETS,
    best_and_last,
    claim_cells,
    claims,
    ratio_interval,
    scenario_at,
    verdict,
)
from multispin_env.reproduce.drawing import markdown_table
from multispin_env.reproduce.figure import LABELS, PRESETS, Scale, scores_of

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def rows():
    return claims(Scale())


def test_page_holds_this_table(rows):
    page = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
    assert markdown_table(*claim_cells(rows)) in page


@pytest.mark.parametrize("name", FIGURES.names())
def test_page_shows_every_figure_with_its_caption(name):
    page = " ".join((ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8").split())
    assert FIGURES.load(name).caption in page
    assert f"(images/reproduce/{name}.png)" in page
    assert (ROOT / "docs" / "images" / "reproduce" / f"{name}.png").stat().st_size <= 250_000


def test_scores_are_those_of_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    scores = scores_of(Scale(), scenario_at("llama2", 10.0))
    for name, values in scores.items():
        assert f"| {name} | {values.mean():.2f} |" in text
    assert tuple(scores) == tuple(LABELS)
    assert best_and_last(scores)


def test_targets_of_the_project_are_met():
    for preset in PRESETS:
        for budget in BUDGETS:
            assert best_and_last(scores_of(Scale(), scenario_at(preset, budget)))
        scores = {name: values.mean() for name, values in scores_of(Scale(), scenario_at(preset, 5.0)).items()}
        assert scores["optimal"] >= 1.8 * scores["fixed"]
    scores = {name: values.mean() for name, values in scores_of(Scale(), scenario_at("llama2", 10.0)).items()}
    assert scores["optimal"] >= 4.2 * scores["p2p"]


def test_why_the_ratio_to_p2p_is_lower():
    # the table says that 14 ms would meet this claim and +88 % at once
    slower = scenario_at("llama2", 10.0).replace(mean_draft_time=14e-3)
    wide, narrow = scores_of(Scale(), slower), scores_of(Scale(), slower.replace(total_bandwidth=5e6))
    assert verdict(4.6, ratio_interval(wide["optimal"], wide["p2p"])) == "holds"
    assert verdict(1.88, ratio_interval(narrow["optimal"], narrow["fixed"])) == "holds"


def test_why_homo_is_ahead_for_llama2():
    # the table says that the tasks decide
    for budget in (2.5, 10.0):
        pairs = scenario_at("llama2", budget), scenario_at("qwen3.5", budget)
        leads = []
        for scenario, other in (pairs, pairs[::-1]):
            scores = scores_of(Scale(), scenario.replace(tasks=other.tasks))
            leads.append(ratio_interval(scores["uniform-bandwidth"], scores["homogeneous"]))
        assert leads[0].low > 1.0 > leads[1].high


@pytest.mark.parametrize(("paper", "word"), [(2.0, "holds"), (2.08, "close"), (1.91, "close"), (2.2, "differs")])
def test_verdict(paper, word):
    assert verdict(paper, Interval(2.0, 1.95, 2.05)) == word


def test_ratio_interval_holds_its_ratio(rng):
    below = rng.uniform(1.0, 2.0, 200)
    exact = ratio_interval(3.0 * below, below)
    assert np.allclose(exact, 3.0)
    noisy = ratio_interval(below + rng.uniform(0.0, 1.0, 200), below)
    assert noisy.low < noisy.mean < noisy.high


def test_other_seeds_and_few_states_work():
    found = claims(Scale(quick=True, states=8, seed=3))
    assert len({row.claim for row in found}) == len(found)
    assert {row.verdict for row in found} <= {"holds", "close", "differs"}
