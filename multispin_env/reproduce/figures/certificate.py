"""Distance to the proven optimum: the certificate, and what each controller loses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.controllers.factory import make_controller
from multispin_env.controllers.rounds.optimal import Optimal
from multispin_env.evaluation.cases.states import CERTIFICATE
from multispin_env.reproduce.drawing import BLACK, GREEN, ORANGE, PURPLE, RED, SKY, legend_below
from multispin_env.reproduce.figure import PRESETS, FigureSpec
from multispin_env.reproduce.scale import Scale
from multispin_env.reproduce.scores import states_of
from multispin_env.scenario import Scenario
from multispin_env.solver.certify import CertifiedDecision

FLOOR = 1e-9
"""Smaller losses are drawn here, at the left edge."""

LOSSES = (
    ("rule", "optimal", SKY, "fast rule"),
    ("algorithm1", "algorithm1", PURPLE, "Algorithm 1, 100 × 100"),
    ("homogeneous", "homogeneous", ORANGE, "Homo"),
    ("uniform_bandwidth", "uniform-bandwidth", GREEN, "Uni-BW"),
    ("fixed", "fixed", RED, "Fixed BW&L"),
)
"""Column, controller, colour and label."""


@dataclass(frozen=True)
class StateRow:
    """One state: the proven optimum, its gap, and the share of it that each rule loses."""

    preset: str
    state: int
    optimum: float  # tokens/s
    gap: float  # proven relative gap, (bound − value) / value
    rule: float  # relative regrets
    algorithm1: float
    homogeneous: float
    uniform_bandwidth: float
    fixed: float


def compute(scale: Scale) -> list[StateRow]:
    """Certified optimum and regrets on common states."""
    rows = []
    for preset in scale.over(PRESETS):
        scenario = Scenario.preset(preset)
        states = states_of(scale, scenario)
        best = Optimal(scenario, certify=CERTIFICATE)(states.state)
        if not isinstance(best, CertifiedDecision):
            raise TypeError(f"decision: expected a CertifiedDecision, got {type(best).__name__}")
        rules = (make_controller(name, scenario) for _, name, _, _ in LOSSES)
        regrets = [1.0 - states.values(rule) / best.value for rule in rules]
        columns = np.stack([best.value, best.gap, *regrets], -1)
        rows += [StateRow(preset, i, *map(float, line)) for i, line in enumerate(columns)]
    return rows


def _distribution(values: Sequence[float]) -> tuple[FloatArray, FloatArray]:
    """Steps of the empirical distribution, in per cent, from the left edge to the right one."""
    x = np.sort(np.maximum(values, FLOOR))
    return np.concatenate([[FLOOR], x, [1.0]]), 100.0 * np.concatenate(
        [[0.0], np.arange(1, len(x) + 1) / len(x), [1.0]]
    )


def draw(rows: Sequence[StateRow], figure: Any) -> None:
    """Distributions over states."""
    panels = figure.subplots(1, len(PRESETS), sharey=True)
    for axes, preset in zip(panels, PRESETS, strict=True):
        points = [row for row in rows if row.preset == preset]
        for column, _, colour, text in LOSSES:
            values = [getattr(row, column) for row in points]
            axes.step(*_distribution(values), where="post", color=colour, label=text, linewidth=1.8)
        gaps = [row.gap for row in points]
        axes.step(*_distribution(gaps), where="post", color=BLACK, linestyle="--", label="proven gap of the optimum")
        axes.set_xscale("log")
        axes.set_xlim(FLOOR * 0.7, 1.0)
        axes.set_title(preset)
        axes.set_xlabel("loss relative to the optimum (left edge: at most 1e-9)")
    panels[0].set_ylabel("states that lose at most this (%)")
    legend_below(figure, panels[0], 3)


FIGURE = FigureSpec(
    title="Certificate and regret",
    caption="The proof stops as soon as no decision can be better by 1e-6 (dashed); the fast rule finds the optimum in "
    "nearly every state, the paper's Algorithm 1 within about 1e-4, while Homo and Uni-BW lose some per cent and, in "
    "a few states, more than half. 20 devices, 10 MHz.",
    compute=compute,
    draw=draw,
    size=(9.0, 4.4),
)
