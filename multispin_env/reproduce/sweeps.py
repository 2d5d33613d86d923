"""Sweeps of one setting at a time: bandwidth, devices, draft length, recorded drafts, batch size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.controllers.rounds.homogeneous import homogeneous_draft_length
from multispin_env.evaluation.statistics import mean_interval
from multispin_env.physics.acceptance.records import Records, load_records
from multispin_env.physics.acceptance.replay import accepted_runs, advance, prompt_rates
from multispin_env.physics.rounds import goodput
from multispin_env.physics.tokens import expected_tokens
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.reproduce.drawing import BLACK, BLUE, GREEN, ORANGE, RED, draw_sweep, legend_below
from multispin_env.reproduce.figure import PRESETS, FigureSpec, Scale, SweepRow, states_of, sweep
from multispin_env.scenario import Scenario
from multispin_env.solver.equalization import common_latency

FEW_MEGAHERTZ = 10.0
USER_COUNTS = (1, 2, 4, 8, 12, 16, 20, 25, 30, 40)
QUICK_USER_COUNTS = (1, 4, 10, 20)


def users_rows(scale: Scale) -> list[SweepRow]:
    """All systems with each number of devices."""
    return sweep(scale, [(users, FEW_MEGAHERTZ) for users in scale.pick(USER_COUNTS, QUICK_USER_COUNTS)])


def draw_users(rows: Sequence[SweepRow], figure: Any) -> None:
    """Lines over the number of devices."""
    draw_sweep(rows, figure, lambda row: row.num_users, "devices K")


USERS = FigureSpec(
    title="Goodput against the number of devices",
    caption="At 10 MHz Fixed BW&L peaks near 16 devices and then falls, as each has too little bandwidth for its eight "
    "tokens, while the systems that choose lengths go on rising, ever more slowly; with one device all that choose "
    "equal P2P-SPIN. Means over states with 95 % bands, other states for each K.",
    compute=users_rows,
    draw=draw_users,
)


MANY = 20
BUDGETS = (1.25, 1.75, 2.5, 3.5, 5.0, 7.0, 10.0, 14.0, 20.0, 28.0, 40.0)
QUICK_BUDGETS = (2.5, 5.0, 10.0, 20.0)
TICKS = (1.25, 2.5, 5.0, 10.0, 20.0, 40.0)


def bandwidth_rows(scale: Scale) -> list[SweepRow]:
    """All systems at each budget."""
    return sweep(scale, [(MANY, budget) for budget in scale.pick(BUDGETS, QUICK_BUDGETS)])


def draw_bandwidth(rows: Sequence[SweepRow], figure: Any) -> None:
    """Lines over a logarithmic axis."""
    ticks = sorted({row.bandwidth_mhz for row in rows} & set(TICKS))
    for axes in draw_sweep(rows, figure, lambda row: row.bandwidth_mhz, "total bandwidth B (MHz)"):
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{budget:g}" for budget in ticks])
        axes.minorticks_off()


BANDWIDTH = FigureSpec(
    title="Goodput against total bandwidth",
    caption="With 20 devices the heterogeneous optimum is best and Fixed BW&L last of the four controllers at every "
    "budget; Homo and Uni-BW come closer to the optimum as bandwidth ceases to be scarce, and change places between "
    "the presets. P2P-SPIN and Cen-SPIN serve one prompt at a time and hardly depend on it. Means over states with "
    "95 % bands.",
    compute=bandwidth_rows,
    draw=draw_bandwidth,
)


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


def draft_length_rows(scale: Scale) -> list[LengthRow]:
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


def draw_draft_length(rows: Sequence[LengthRow], figure: Any) -> None:
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


DRAFT_LENGTH = FigureSpec(
    title="Goodput against one common draft length",
    caption="With 20 devices of one acceptance rate α at 10 MHz goodput rises to a single peak and falls, and the "
    "length that the closed form gives for the mean ϑ* (star) is at most one token beside it; the better drafts are "
    "accepted, the longer they should be. Means over channels and devices with 95 % bands.",
    compute=draft_length_rows,
    draw=draw_draft_length,
)


TASKS = ("code", "mathematics", "chat", "reading")
RECORDED_LENGTHS = tuple(range(1, 17))
QUICK_LENGTHS = (1, 2, 4, 8, 12, 16)
ROUNDS = 64


@dataclass(frozen=True)
class RecordedRow:
    """One draft length on the prompts of one task."""

    task: str
    draft_length: int
    prompts: int
    replayed: float  # tokens a round, mean over prompts
    low: float  # 95 % interval over prompts
    high: float
    fitted: float  # E[N | L] at each prompt's fitted rate, mean over prompts
    plain: float  # E[N | L] at each prompt's mean acceptance probability


def replayed_tokens(records: Records, draft_length: int, rounds: int = ROUNDS) -> FloatArray:
    """Tokens a round of each prompt, (P,): the mean over rounds that begin at every place and read on."""
    runs = accepted_runs(records)
    place: IntArray = np.arange(len(runs))
    total = np.zeros(len(place))
    for _ in range(rounds):
        tokens = np.minimum(runs[place], draft_length) + 1
        total += tokens
        place = advance(records, place, tokens)
    mean: FloatArray = np.add.reduceat(total, records.start) / (rounds * records.length)
    return mean


def recorded_rows(scale: Scale) -> list[RecordedRow]:
    """Replay the record of the package; nothing here is random but the bootstrap."""
    records = load_records()
    fitted = prompt_rates(records)
    plain = np.add.reduceat(records.probability, records.start) / records.length
    rows = []
    for length in scale.over(scale.pick(RECORDED_LENGTHS, QUICK_LENGTHS)):
        tokens = replayed_tokens(records, length)
        for index, task in enumerate(TASKS):
            mine = records.task == index
            interval = mean_interval(tokens[mine])
            means = [float(expected_tokens(np.array(length), rates[mine]).mean()) for rates in (fitted, plain)]
            rows.append(RecordedRow(task, length, int(mine.sum()), *interval, *means))
    return rows


def draw_recorded(rows: Sequence[RecordedRow], figure: Any) -> None:
    """A panel for each task."""
    panels = figure.subplots(1, len(TASKS), sharey=True)
    for axes, task in zip(panels, TASKS, strict=True):
        points = [row for row in rows if row.task == task]
        lengths = [row.draft_length for row in points]
        axes.fill_between(lengths, [row.low for row in points], [row.high for row in points], color=BLUE, alpha=0.2)
        replayed = [row.replayed for row in points]
        axes.plot(lengths, replayed, color=BLUE, marker="o", markersize=3.5, label="replayed record, 95 % band")
        axes.plot(lengths, [row.fitted for row in points], color=BLACK, linestyle="--", label="E[N] at the fitted α")
        plain = [row.plain for row in points]
        axes.plot(lengths, plain, color=ORANGE, linestyle=":", linewidth=2.0, label="E[N] at the mean acceptance")
        axes.set_title(f"{task}, {points[0].prompts} prompts")
        axes.set_xlabel("draft length L (tokens)")
        axes.set_ylim(bottom=0.0)
    panels[0].set_ylabel("tokens gained a round")
    legend_below(figure, panels[0], 3)


RECORDED = FigureSpec(
    title="E[N] against recorded drafts",
    caption="The i.i.d. formula at one rate for each prompt, fitted or its plain mean acceptance, stays within a tenth "
    "of the replayed record at every draft length, though real acceptance is not i.i.d.: chat gains less, reading more "
    "than it says. The record is of the project's own model pair, the same for both presets.",
    compute=recorded_rows,
    draw=draw_recorded,
    size=(10.5, 3.6),
)


LARGEST = 32
FITTED = 16
"""Largest batch that the paper's lines were fitted to."""


@dataclass(frozen=True)
class BatchRow:
    """One batch size of one model."""

    preset: str
    batch: int
    verification_ms: float
    per_draft_ms: float


def verification_rows(scale: Scale) -> list[BatchRow]:
    """T_ver = T_fix + K T_lin ([MS] 7)."""
    rows = []
    for preset in scale.over(PRESETS):
        for batch in range(1, LARGEST + 1):
            time = 1e3 * Scenario.preset(preset, num_users=batch).verification_time
            rows.append(BatchRow(preset, batch, time, time / batch))
    return rows


def draw_verification(rows: Sequence[BatchRow], figure: Any) -> None:
    """Latency of the batch, and for each draft in it."""
    left, right = figure.subplots(1, 2)
    for preset, colour, marker in zip(PRESETS, (BLUE, ORANGE), ("o", "s"), strict=True):
        points = [row for row in rows if row.preset == preset]
        batch = [row.batch for row in points]
        left.plot(batch, [row.verification_ms for row in points], color=colour, marker=marker, markersize=3)
        right.plot(batch, [row.per_draft_ms for row in points], color=colour, marker=marker, markersize=3, label=preset)
    for axes, what in (
        (left, "verification latency of the batch (ms)"),
        (right, "verification latency per draft (ms)"),
    ):
        axes.axvspan(FITTED, LARGEST, color="0.92", zorder=0, label="beyond the fitted batches")
        axes.set_xlabel("batch size K (drafts)")
        axes.set_ylabel(what)
        axes.set_ylim(bottom=0.0)
        axes.set_xlim(0, LARGEST)
    legend_below(figure, right, 3)


VERIFICATION = FigureSpec(
    title="Verification latency against batch size",
    caption="A batch takes T_fix + K T_lin (left), so each draft in it costs less the more share it, down to T_lin "
    "(right); the lines are the paper's fits to batches of 1 to 16, and its own 20 devices lie beyond them.",
    compute=verification_rows,
    draw=draw_verification,
)
