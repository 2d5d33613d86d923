"""Figures of draft lengths and bandwidth shares by device, and of Remark 2 of the paper."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from multispin_env.controllers.names import make_controller
from multispin_env.evaluation.cases import CERTIFICATE
from multispin_env.evaluation.drawing import BLUE, ORANGE
from multispin_env.scenario import Scenario
from multispin_lab.drawing import legend_below
from multispin_lab.reproduce.figure import PRESETS, FigureSpec, Row, Scale, draw_states

_CASES = ("homogeneous", "heterogeneous")


def device_rows(scale: Scale, setting: tuple[str, int]) -> list[Row]:
    """Return r_k in bit/s/Hz, T_k, α_k, L_k and B_k / B of each device in the first states, in both cases."""
    preset, states = setting
    scenario = Scenario.preset(preset)
    state = draw_states(scale, scenario).state[:states]
    makers = (make_controller("homogeneous", scenario), make_controller("optimal", scenario, certify=CERTIFICATE))
    rows = []
    for case, controller in zip(_CASES, makers, strict=True):
        decision = controller(state)
        columns = {
            "spectral_efficiency": state.spectral_efficiency,
            "draft_time_ms": 1e3 * state.draft_time,
            "acceptance_rate": state.acceptance_rate,
            "draft_length": decision.draft_length,
            "bandwidth_share": decision.bandwidth / scenario.total_bandwidth,
        }
        for i, k in np.ndindex(decision.bandwidth.shape):
            numbers = {name: column[i, k].item() for name, column in columns.items()}
            rows.append({"preset": preset, "case": case, "state": i, "device": k, **numbers})
    return rows


def _group(row: Row) -> float:
    return round(row["acceptance_rate"], 2)


def _draw_allocation(rows: Sequence[Row], figure: Any) -> None:
    panels = figure.subplots(2, len(PRESETS), sharex="col", sharey="row")
    for column, preset in zip(panels.T, PRESETS, strict=True):
        for case, colour, offset in zip(_CASES, (ORANGE, BLUE), (-0.2, 0.2), strict=True):
            points = [row for row in rows if (row["preset"], row["case"]) == (preset, case)]
            points.sort(key=lambda row: (_group(row), row["spectral_efficiency"]))
            x = [index + offset for index in range(len(points))]
            column[0].bar(x, [row["draft_length"] for row in points], 0.4, color=colour, label=case)
            column[1].bar(x, [100.0 * row["bandwidth_share"] for row in points], 0.4, color=colour)
        rates = [_group(row) for row in points]
        for axes in column:
            axes.grid(axis="x", visible=False)
            for rate in sorted(set(rates))[1:]:
                axes.axvline(rates.index(rate) - 0.5, color="0.5", linewidth=0.8, linestyle=":")
        axes = column[1]
        axes.set_xticks(range(len(points)), [f"{row['spectral_efficiency']:.1f}" for row in points], fontsize=7.5)
        axes.set_xlabel("devices: spectral efficiency r (bit/s/Hz), below it acceptance rate α", labelpad=17)
        for rate in sorted(set(rates)):
            middle = rates.index(rate) + (rates.count(rate) - 1) / 2
            alignment = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "top"}
            axes.text(middle, -0.13, f"α ≈ {rate:.2f}", **alignment, fontsize=8)
        column[0].set_title(preset)
    panels[0, 0].set_ylabel("draft length (tokens)")
    panels[1, 0].set_ylabel("bandwidth share (%)")
    legend_below(figure, panels[0, 0], len(_CASES))


DEVICES = FigureSpec(
    title="Draft lengths and bandwidth by device",
    caption="One state of 20 devices at 10 MHz, sorted by acceptance rate (two digits) and then by channel. With "
    "one common length, bandwidth mostly decreases with channel quality in each group. With individual lengths, groups "
    "of high acceptance draft longer and get more bandwidth. Slow drafting, which is not shown, also gets more.",
    settings=lambda scale: [(preset, 1) for preset in PRESETS],
    rows=device_rows,
    draw=_draw_allocation,
    size=(10.5, 5.4),
)


def _medians(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the medians of both in bins with equal numbers of points."""
    parts = np.array_split(np.argsort(x, kind="stable"), 8)
    across, up = ([float(np.median(np.take(values, part))) for part in parts] for values in (x, y))
    return across, up


def _draw_remark_2(rows: Sequence[Row], figure: Any) -> None:
    panels = figure.subplots(len(PRESETS), 2, sharey=True)
    for (left, right), preset in zip(panels, PRESETS, strict=True):
        selected = [row for row in rows if row["preset"] == preset]
        rates = sorted(set(map(_group, selected)))
        for case, colour, marker, side in zip(_CASES, (ORANGE, BLUE), "so", (-0.015, 0.015), strict=True):
            points = [row for row in selected if row["case"] == case]
            offset = side * (rates[-1] - rates[0])  # so that the cases do not overlap
            dots = {"s": 8, "color": colour, "marker": marker, "alpha": 0.3, "linewidths": 0}
            share = [100.0 * row["bandwidth_share"] for row in points]
            efficiency = [row["spectral_efficiency"] for row in points]
            left.scatter(efficiency, share, **dots)
            left.plot(*_medians(efficiency, share), color=colour, linewidth=2.0)
            right.scatter([_group(row) + offset for row in points], share, **dots)
            medians = [
                np.median([s for s, row in zip(share, points, strict=True) if _group(row) == rate]) for rate in rates
            ]
            positions, label = [rate + offset for rate in rates], f"{case}, line: median"
            right.plot(positions, medians, color=colour, linewidth=2.0, marker=marker, label=label)
        left.set_ylabel(f"{preset}: bandwidth share (%)")
        left.set_yscale("log")
        left.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    panels[1, 0].set_xlabel("spectral efficiency r (bit/s/Hz)")
    panels[1, 1].set_xlabel("acceptance rate α, to two digits")
    legend_below(figure, panels[0, 1], len(_CASES))


REMARK_2 = FigureSpec(
    title="Remark 2: bandwidth by channel and acceptance",
    caption="With one common length (homogeneous) the bandwidth share decreases with channel quality and does not "
    "depend on acceptance: weak channels are compensated. With individual lengths (heterogeneous) it increases with "
    "acceptance: high acceptance is rewarded. The lowest orange points are in a state with one device in a deep fade, "
    "which gets nearly all bandwidth. 20 devices, 10 MHz; lines are medians; the cases are shifted slightly along α.",
    settings=lambda scale: [(preset, scale.pick(40, 10)) for preset in PRESETS],
    rows=device_rows,
    draw=_draw_remark_2,
    size=(9.0, 6.2),
)
