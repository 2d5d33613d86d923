"""The paper's claims that are ratios, beside ours, and the table of all claims."""

from collections.abc import Sequence
from math import isnan
from typing import Any

from multispin_env.reproduce.claims import ClaimRow, claim_cells, claims
from multispin_env.reproduce.drawing import BLUE, RED, legend_below
from multispin_env.reproduce.figure import FigureSpec


def draw(rows: Sequence[ClaimRow], figure: Any) -> None:
    """Ratios of goodput, the paper's and ours with its interval."""
    shown = [row for row in rows if not isnan(row.value)][::-1]
    axes = figure.subplots()
    y = range(len(shown))
    errors = [[row.value - row.low for row in shown], [row.high - row.value for row in shown]]
    values = [row.value for row in shown]
    axes.errorbar(values, y, xerr=errors, fmt="o", color=BLUE, capsize=4, label="this model, 95 % interval")
    papers = [row.paper_low for row in shown]
    axes.plot(papers, y, marker="D", color=RED, linestyle="none", fillstyle="none", markersize=9, label="paper")
    axes.set_yticks(y, [row.claim.replace(" over ", "\nover ") for row in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel("ratio of mean goodputs")
    axes.set_xlim(1.0, 5.0)
    legend_below(figure, axes, 2)


FIGURE = FigureSpec(
    title="The paper's claims",
    caption="Ratios of mean goodput that the paper states, and the same ratios here with paired 95 % intervals; below, "
    "every claim. A number holds if it lies in the interval and is close if it is within 5 % of ours.",
    compute=claims,
    draw=draw,
    size=(8.0, 2.8),
    cells=claim_cells,
    printed=4,  # the reasons, whole sentences, are in the files
)
