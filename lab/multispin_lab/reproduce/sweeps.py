"""Figures of parameter sweeps: bandwidth, devices, draft length, recorded drafts, batch size."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.draft import expected_tokens
from multispin_env.evaluation.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED
from multispin_env.physics.records import Records, accepted_runs, advance, load_records, prompt_rates
from multispin_env.physics.rounds import goodput
from multispin_env.scenario import Scenario
from multispin_lab.drawing import Series, Sweep, legend_below
from multispin_lab.reproduce.closed_form import common_latency, homogeneous_draft_length
from multispin_lab.reproduce.figure import (
    LABELS,
    PRESETS,
    FigureSpec,
    Row,
    Scale,
    band,
    compute_scores,
    draw_states,
    scenario_at,
)


def _sweep_rows(scale: Scale, setting: tuple[str, int, float]) -> list[Row]:
    """Return the mean goodput in tokens/s of each system at a preset, K, and B in MHz."""
    preset, users, megahertz = setting
    scores = compute_scores(scale, scenario_at(preset, megahertz, num_users=users))
    size = {"num_users": users, "bandwidth_mhz": megahertz, "states": scale.states}
    return [{"preset": preset, "system": of, **size, **band("goodput", values)} for of, values in scores.items()]


_STYLES = (
    *((BLUE, "o", "-"), (ORANGE, "s", "-"), (GREEN, "^", "-"), (RED, "v", "-")),
    *((PURPLE, "D", "--"), (BLACK, "x", "--")),
)
SYSTEMS = [
    Series(label, style, "goodput", {"system": system}, band=True)
    for (system, label), style in zip(LABELS.items(), _STYLES, strict=True)
]

USERS = FigureSpec(
    title="Goodput against the number of devices",
    caption="At 10 MHz Fixed BW&L peaks near 16 devices and then falls, as each device has too little bandwidth for "
    "its eight tokens. The systems with adaptive lengths continue to rise, more and more slowly. With one device they "
    "equal P2P-SPIN. Means over states with 95 % bands; different states for each K.",
    settings=lambda scale: [
        (preset, users, 10.0)
        for preset in PRESETS
        for users in scale.pick((1, 2, 4, 8, 12, 16, 20, 25, 30, 40), (1, 4, 10, 20))
    ],
    rows=_sweep_rows,
    draw=Sweep("num_users", "devices K", SYSTEMS).draw,
    seconds=4.0,
)

_BUDGETS = (1.25, 1.75, 2.5, 3.5, 5.0, 7.0, 10.0, 14.0, 20.0, 28.0, 40.0)

BANDWIDTH = FigureSpec(
    title="Goodput against total bandwidth",
    caption="With 20 devices the heterogeneous optimum is best and Fixed BW&L last of the four controllers at every "
    "budget. Homo and Uni-BW approach the optimum with more bandwidth; their order depends on the preset. P2P-SPIN and "
    "Cen-SPIN serve one prompt at a time and hardly depend on bandwidth. Means over states with 95 % bands.",
    settings=lambda scale: [
        (preset, 20, budget) for preset in PRESETS for budget in scale.pick(_BUDGETS, (2.5, 5.0, 10.0, 20.0))
    ],
    rows=_sweep_rows,
    draw=Sweep("bandwidth_mhz", "total bandwidth B (MHz)", SYSTEMS, ticks=_BUDGETS[::2]).draw,
    seconds=5.0,
)


RATES = {0.95: BLUE, 0.85: GREEN, 0.75: ORANGE, 0.6: RED}  # colours by acceptance rate


def _draft_length_rows(scale: Scale, setting: tuple[str, float]) -> list[Row]:
    """Return the mean goodput in tokens/s for every length 1..L_max; ϑ* follows from each state's channel and T_k.

    ``closed_form`` is whether [MS] (23, 24) gives this length at the mean ϑ*.
    """
    preset, rate = setting
    scenario = Scenario.preset(preset)
    state = draw_states(scale, scenario).state
    token_time = scenario.uplink.token_time(state.spectral_efficiency)
    latency = common_latency(state.draft_time, token_time).latency
    best = int(homogeneous_draft_length(np.array(rate), np.array(latency.mean()), scenario.verification_time))
    rows = []
    for length in range(1, scenario.max_draft_length + 1):
        tokens = scenario.num_users * expected_tokens(np.array(length), np.array(rate))
        values = band("goodput", goodput(tokens, length * latency, scenario.verification_time))
        head = {"preset": preset, "acceptance_rate": rate, "draft_length": length, "states": scale.states}
        rows.append({**head, **values, "closed_form": length == best})
    return rows


DRAFT_LENGTH = FigureSpec(
    title="Goodput against one common draft length",
    caption="With 20 devices of the same acceptance rate α at 10 MHz, goodput has a single peak. The length of the "
    "closed form for the mean ϑ* (star) differs from the peak by at most one token. Higher acceptance rates need "
    "longer drafts. Means over channels and devices with 95 % bands.",
    settings=lambda scale: [(preset, rate) for preset in PRESETS for rate in RATES],
    rows=_draft_length_rows,
    draw=Sweep(
        "draft_length",
        "common draft length L (tokens)",
        [
            *(
                Series(f"α = {rate:g}", (colour, "", "-"), "goodput", {"acceptance_rate": rate}, band=True)
                for rate, colour in RATES.items()
            ),
            Series("closed form [MS] 23, 24", ("0.3", "*", ""), "goodput", {"closed_form": True}),
        ],
    ).draw,
)

TASKS = ("code", "mathematics", "chat", "reading")


def replayed_tokens(records: Records, draft_length: int, rounds: int = 64) -> FloatArray:
    """Return the tokens per round of each prompt, (P,): means over rounds that begin at every position."""
    runs = accepted_runs(records)
    position: IntArray = np.arange(len(runs))
    total = np.zeros(len(position))
    for _ in range(rounds):
        tokens = np.minimum(runs[position], draft_length) + 1
        total += tokens
        position = advance(records, position, tokens)
    return np.add.reduceat(total, records.start) / (rounds * records.length)


def _recorded_rows(scale: Scale, lengths: Sequence[int]) -> list[Row]:
    """Return tokens per round, means over prompts, of the package's record; only the bootstrap is random.

    Replayed, and E[N | L] at each prompt's fitted rate (``fitted``) and at its mean acceptance probability (``plain``).
    """
    records = load_records()
    plain = np.add.reduceat(records.probability, records.start) / records.length
    rates, rows = {"fitted": prompt_rates(records), "plain": plain}, []
    for length in lengths:
        tokens = replayed_tokens(records, length)
        for index, task in enumerate(TASKS):
            mask = records.task == index
            head = {"task": task, "draft_length": length, "prompts": int(mask.sum())}
            means = {name: float(expected_tokens(np.array(length), rate[mask]).mean()) for name, rate in rates.items()}
            rows.append({**head, **band("replayed", tokens[mask]), **means})
    return rows


RECORDED = FigureSpec(
    title="E[N] against recorded drafts",
    caption="The i.i.d. formula with one rate per prompt, fitted or the mean acceptance, is within a tenth of the "
    "replayed record at every draft length, although real acceptance is not i.i.d.: chat gains fewer tokens than the "
    "formula, reading more. The record is from the project's own model pair, for both presets.",
    settings=lambda scale: [scale.pick(tuple(range(1, 17)), (1, 2, 4, 8, 12, 16))],
    rows=_recorded_rows,
    draw=Sweep(
        "draft_length",
        "draft length L (tokens)",
        [
            Series("replayed record, 95 % band", (BLUE, "o", "-"), "replayed", band=True),
            Series("E[N] at the fitted α", (BLACK, "", "--"), "fitted"),
            Series("E[N] at the mean acceptance", (ORANGE, "", ":"), "plain"),
        ],
        y="tokens per round",
        heading=lambda row: f"{row['task']}, {row['prompts']} prompts",
    ).draw,
    size=(10.5, 3.6),
)


def _verification_rows(scale: Scale, preset: str) -> list[Row]:
    """T_ver = T_fix + K T_lin ([MS] 7)."""
    times = {batch: 1e3 * Scenario.preset(preset, num_users=batch).verification_time for batch in range(1, 33)}
    return [
        {"preset": preset, "batch": batch, "verification_ms": time, "per_draft_ms": time / batch}
        for batch, time in times.items()
    ]


def _draw_verification(rows: Sequence[Row], figure: Any) -> None:
    panels = figure.subplots(1, 2)
    values = {"verification_ms": "of the batch", "per_draft_ms": "per draft"}
    for axes, (value, label) in zip(panels, values.items(), strict=True):
        for preset, style in zip(PRESETS, _STYLES, strict=False):
            Series(preset, style, value, {"preset": preset}).draw(axes, rows, "batch")
        axes.axvspan(16, 32, color="0.92", zorder=0, label="beyond the fitted batches")
        axes.set(xlabel="batch size K (drafts)", ylabel=f"verification latency {label} (ms)", xlim=(0, 32))
        axes.set_ylim(bottom=0.0)
    legend_below(figure, panels[0], 3)


VERIFICATION = FigureSpec(
    title="Verification latency against batch size",
    caption="A batch takes T_fix + K T_lin (left), so the time per draft decreases with the batch size, down to T_lin "
    "(right). The lines are the paper's fits to batches of 1 to 16; its 20 devices lie beyond them.",
    settings=lambda scale: PRESETS,
    rows=_verification_rows,
    draw=_draw_verification,
)
