"""Short tables of a long league: every agent in every contest, and how near seeds and cases come to the reference."""

from collections.abc import Iterator

import numpy as np

from benchmarks.league.report import PLUG_IN, League, Standing
from multispin_env.evaluation.comparison import METRICS
from multispin_env.evaluation.table import Cells

MARKS = {"ahead": " ahead", "behind": "", "undecided": " undecided"}


def agents_of(league: League) -> list[str]:
    """Labels of all agents, in the order they were run."""
    return list(dict.fromkeys(league.label(cell) for cell in league.results))


def overview_cells(league: League) -> tuple[Cells, list[Cells]]:
    """Header and lines of the scores of the best plug-in and of every agent."""
    names, lines = agents_of(league), []
    for contest, about in league.references.items():
        standings = {one.name: one for one in league.standings(contest)}
        scores = [_score(standings.get(name)) for name in names]
        lines.append((contest.title, f"{about['plug_in']} {standings[about['plug_in']].score:.4f}", *scores))
    return ("contest", PLUG_IN, *names), lines


def _score(one: Standing | None) -> str:
    return "-" if one is None else f"{one.score:.4f}{MARKS[one.verdict]}"


def share_cells(league: League) -> tuple[Cells, list[Cells]]:
    """Header and lines of shares of the reference: over all, by seed and by case, where a share says something."""
    header: Cells = ("contest", "decided by", "share of reference", "seeds", "5 % quantile of cases")
    return header, list(_shares(league))


def _shares(league: League) -> Iterator[Cells]:
    for contest, about in league.references.items():
        if not METRICS[about["metric"]].has_share:
            continue
        reference = league.others(contest, about["reference"])
        for one in league.standings(contest):
            if one.name in (about["reference"], about["floor"]):
                continue
            seeds = np.sort(one.values.mean(-1) / reference.mean())[::-1]
            shown = " ".join(f"{share:.4f}" for share in seeds) if one.seeds else "-"
            quantile = np.quantile(one.values / reference, 0.05)
            yield contest.title, one.name, f"{seeds.mean():.4f}", shown, f"{quantile:.4f}"
