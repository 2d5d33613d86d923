"""Goodput against one common draft length, with the closed-form optimum."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multispin_env.controllers.rounds.homogeneous import homogeneous_draft_length
from multispin_env.evaluation.statistics import mean_interval
from multispin_env.physics.rounds import goodput
from multispin_env.physics.tokens import expected_tokens
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.reproduce.drawing import BLUE, GREEN, ORANGE, RED, legend_below
from multispin_env.reproduce.figure import PRESETS, FigureSpec
from multispin_env.reproduce.scale import Scale
from multispin_env.reproduce.scores import states_of
from multispin_env.scenario import Scenario
from multispin_env.solver.equalization import common_latency

RATES = (0.95, 0.85, 0.75, 0.6)


@dataclass(frozen=True)
class LengthRow:
    """One common length at one common acceptance rate."""

    preset: str
    acceptance_rate: float
    draft_length: int
    states: int
    goodput: float  # tokens/s, mean over states
    low: float  # 95 % interval
    high: float
    closed_form: bool  # whether [MS] (23, 24) picks this length at the mean ϑ*


def compute(scale: Scale) -> list[LengthRow]:
    """Mean goodput over states for every length 1..L_max; the channel and T_k of each state decide its ϑ*."""
    rows = []
    for preset, rate in scale.over([(preset, rate) for preset in PRESETS for rate in RATES]):
        scenario = Scenario.preset(preset)
        state = states_of(scale, scenario).state
        token_time = full_share_token_time(scenario, state.spectral_efficiency)
        latency = common_latency(state.draft_time, token_time).latency
        chosen = int(homogeneous_draft_length(np.array(rate), np.array(latency.mean()), scenario.verification_time))
        for length in range(1, scenario.max_draft_length + 1):
            tokens = scenario.num_users * expected_tokens(np.array(length), np.array(rate))
            values = goodput(tokens, length * latency, scenario.verification_time)
            interval = mean_interval(values)
            rows.append(LengthRow(preset, rate, length, scale.states, *interval, length == chosen))
    return rows


def draw(rows: Sequence[LengthRow], figure: Any) -> None:
    """A line for each rate, a star where the closed form says."""
    panels = figure.subplots(1, len(PRESETS))
    for axes, preset in zip(panels, PRESETS, strict=True):
        for rate, colour in zip(RATES, (BLUE, GREEN, ORANGE, RED), strict=True):
            points = [row for row in rows if row.preset == preset and row.acceptance_rate == rate]
            lengths = [row.draft_length for row in points]
            axes.fill_between(
                lengths, [row.low for row in points], [row.high for row in points], color=colour, alpha=0.25
            )
            axes.plot(lengths, [row.goodput for row in points], color=colour, linewidth=1.3, label=f"α = {rate:g}")
            (star,) = (row for row in points if row.closed_form)
            axes.plot(star.draft_length, star.goodput, color=colour, marker="*", markersize=11, linestyle="none")
        axes.plot([], [], color="0.3", marker="*", markersize=11, linestyle="none", label="closed form [MS] 23, 24")
        axes.set_title(preset)
        axes.set_xlabel("common draft length L (tokens)")
        axes.set_ylabel("goodput (tokens/s)")
        axes.set_ylim(bottom=0.0)
    legend_below(figure, panels[0], len(RATES) + 1)


FIGURE = FigureSpec(
    title="Goodput against one common draft length",
    caption="With 20 devices of one acceptance rate α at 10 MHz goodput rises to a single peak and falls, and the "
    "length that the closed form gives for the mean ϑ* (star) is at most one token beside it; the better drafts are "
    "accepted, the longer they should be. Means over channels and devices with 95 % bands.",
    compute=compute,
    draw=draw,
)
