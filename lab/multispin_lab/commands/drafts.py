"""Compare draft models and other ways to draft by the goodput of the optimum.

All profiles have the same random states, and each target, greedy or sampling, has a table. A profile sets acceptance
and, where it has them, the draft time, payload and target; --set overrides these. Draft times of devices are those of
the profile's hardware, or the scenario's, times --time-factor. Where the server drafts, nothing is uploaded and all
drafts have the best common length. Acceptance is marked "assumed" where it was measured for another target model than
the scenario's target_model.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from multispin_env.apps.terminal.arguments import (
    Command,
    add_anchor_options,
    add_scenario_options,
    add_set_option,
    collect_arguments,
    resolve_scenario,
)
from multispin_env.apps.terminal.output import provenance, warn_of_memory, write_output
from multispin_env.checks import check_integer, check_real
from multispin_env.controllers.names import make_controller
from multispin_env.draft import DraftProfile
from multispin_env.evaluation.drawing import BLUE, GREEN, ORANGE, save
from multispin_env.evaluation.statistics import aligned, table, to_csv, to_json
from multispin_env.physics.acceptance import task_means
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.registry import DRAFTS
from multispin_env.scenario import Scenario
from multispin_env.units import MHZ
from multispin_lab.commands.model_options import add_out_option, out_files
from multispin_lab.drawing import legend_below

_SUFFIXES = (".csv", ".json", ".png")
_OWN = "(scenario's own)"
_COLOURS = {"devices": BLUE, "server": ORANGE, _OWN: GREEN}
_LEGEND = ("devices draft", "the server drafts", "the scenario's own draft model")


@dataclass(frozen=True)
class DraftRow:
    """Optimum with one draft profile."""

    draft: str
    drafts_on: str  # "devices" or "server"
    target: str  # choice of the target's tokens
    acceptance: float | None  # mean rate over tasks, with the payload and target; ``None`` of a tree
    assumed: bool  # whether the acceptance was measured for another target model
    goodput: float  # tokens/s, mean over states
    tokens: float  # mean tokens of a device in a round
    mean_length: float  # tokens
    longest: int
    payload: str = ""  # of devices
    bits_per_token: int = 0  # uploaded
    share: float = 1.0  # goodput relative to the best row with this target


def _device_row(name: str, scenario: Scenario, assumed: bool, states: int, seed: int) -> DraftRow:
    state = sample_state(scenario, seed, states)
    decision = make_controller("optimal", scenario)(state)
    outcome, length = expected_outcome(scenario, state, decision), decision.draft_length
    return DraftRow(
        draft=name,
        drafts_on="devices",
        target=scenario.target_choice,
        acceptance=float(task_means(scenario).mean()),
        assumed=assumed,
        goodput=float(outcome.goodput.mean()),
        tokens=float(outcome.tokens.mean()),
        mean_length=float(length.mean()),
        longest=int(length.max()),
        payload=scenario.payload,
        bits_per_token=scenario.bits_per_token,
    )


def _server_row(profile: DraftProfile, scenario: Scenario, assumed: bool) -> DraftRow:
    users, lengths = scenario.num_users, profile.lengths(scenario.max_draft_length)
    tokens = profile.tokens(lengths)
    goodput = users * tokens / profile.round_time(scenario.law, users, lengths)
    best = int(goodput.argmax())
    return DraftRow(
        draft=profile.name,
        drafts_on="server",
        target=profile.target or scenario.target_choice,
        acceptance=None if profile.verified_tokens else float(np.mean([rate for _, rate in profile.rates])),
        assumed=assumed,
        goodput=float(goodput[best]),
        tokens=float(tokens[best]),
        mean_length=float(lengths[best]),
        longest=int(lengths[best]),
    )


def compare_drafts(
    scenario: Scenario,
    names: Sequence[str],
    settings: Mapping[str, Any] = MappingProxyType({}),
    states: int = 32,
    seed: int = 0,
    time_factor: float = 1.0,
) -> list[DraftRow]:
    """Return the rows of the scenario itself and of profiles or files, by target and with the best first.

    ``time_factor`` multiplies the draft times of all devices, and ``settings`` override fields of their scenarios.
    """

    def slowed(drafted: Scenario) -> Scenario:
        times = {name: getattr(drafted, name) * time_factor for name in ("mean_draft_time", "draft_context_time")}
        return drafted.replace(**times | dict(settings))

    rows = [_device_row(_OWN, slowed(scenario), bool(scenario.assumed), states, seed)]
    for name in names:
        profile = DraftProfile.resolve(name)
        assumed = profile.target_model != scenario.target_model
        if profile.on_server:
            rows.append(_server_row(profile, scenario, assumed))
        else:
            rows.append(_device_row(profile.name, slowed(scenario.replace(draft=name)), assumed, states, seed))
    rows.sort(key=lambda row: (row.target, -row.goodput))
    return [replace(row, share=row.goodput / group[0].goodput) for group in _by_target(rows) for row in group]


def _by_target(rows: Sequence[DraftRow]) -> list[list[DraftRow]]:
    return [list(group) for _, group in groupby(rows, lambda row: row.target)]


_COLUMNS: dict[str, Callable[[DraftRow], str]] = {
    "draft": lambda row: row.draft,
    "by": lambda row: row.drafts_on,
    "acceptance": lambda row: (
        ("a tree" if row.acceptance is None else f"{row.acceptance:.3f}") + " assumed" * row.assumed
    ),
    "tokens/s": lambda row: f"{row.goodput:.1f}",
    "share": lambda row: f"{row.share:.3f}",
    "tokens a round": lambda row: f"{row.tokens:.2f}",
    "length": lambda row: (
        f"{row.mean_length:.1f} (to {row.longest})" if row.drafts_on == "devices" else str(row.longest)
    ),
    "bits a token": lambda row: f"{row.bits_per_token} ({row.payload})" if row.payload else "0",
}


def _draw(rows: Sequence[DraftRow], title: str, stem: Path) -> None:
    def draw(figure: Any) -> None:
        groups = _by_target(rows)
        heights = [len(group) + 1 for group in groups]
        panels = figure.subplots(len(groups), squeeze=False, sharex=True, height_ratios=heights)[:, 0]
        for axes, group in zip(panels, groups, strict=True):
            colours = [_COLOURS.get(row.draft, _COLOURS[row.drafts_on]) for row in group]
            axes.barh(range(len(group)), [row.goodput for row in group], color=colours)
            for index, row in enumerate(group):
                text = f" {row.share:.2f}, length {row.mean_length:.1f}, {row.bits_per_token:,} bits a token"
                axes.text(row.goodput, index, text, va="center", fontsize=8)
            axes.set_yticks(range(len(group)), [f"{row.draft}{'*' if row.assumed else ''}" for row in group])
            axes.invert_yaxis()
            axes.grid(visible=False, axis="y")
            axes.set(xlim=(0.0, 1.5 * max(row.goodput for row in rows)))
            axes.set_title(f"{group[0].target} target", loc="left")
        figure.suptitle(title)
        axes.set(xlabel="goodput of the optimum (tokens/s); * acceptance of another target model")
        for colour, label in zip(_COLOURS.values(), _LEGEND, strict=True):
            axes.barh(0, 0.0, color=colour, label=label)
        legend_below(figure, axes, len(_COLOURS))

    save(draw, (8.0, 2.0 + 0.28 * len(rows)), stem, (".png",))


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_scenario_options(parser, draft=False)
    add_anchor_options(parser)
    parser.add_argument("--num-users", type=int, metavar="K", help="number of devices (default: the scenario's)")
    add_set_option(parser)
    names = f"profiles: {', '.join(DRAFTS.names())}, or .toml or .json files (default: all)"
    parser.add_argument("--profiles", nargs="+", default=DRAFTS.names(), metavar="NAME", help=names)
    factor = "factor on the draft times of all devices (default 1)"
    parser.add_argument("--time-factor", type=float, default=1.0, metavar="X", help=factor)
    parser.add_argument("--states", type=int, default=32, metavar="N", help="random states (default 32)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default 0)")
    add_out_option(parser, ", ".join(_SUFFIXES), required=False)


def _run(options: argparse.Namespace) -> None:
    check_integer("states", options.states, 1)
    check_real("time_factor", options.time_factor, 0.0, open_low=True)
    scenario, settings = resolve_scenario(options), collect_arguments(options)
    if scenario.draft_ahead:
        raise ValueError("draft_ahead: expected False, since rows are optima of single rounds, got True")
    files = () if options.out is None else out_files(options.out, _SUFFIXES)
    names = list(dict.fromkeys(options.profiles))
    rows = compare_drafts(scenario, names, settings, options.states, options.seed, options.time_factor)
    title = f"{scenario.label}, K = {scenario.num_users}, B = {scenario.total_bandwidth / MHZ:g} MHz"
    tables = [f"\n{group[0].target} target\n\n{aligned(*table(group, _COLUMNS))}" for group in _by_target(rows)]
    print(f"{title}, {options.states} states", *tables, sep="\n")
    if idle := [row.draft for row in rows if not row.longest]:
        print(f"\nlength 0, the server alone: {', '.join(idle)}")
    warn_of_memory(options, scenario, "server" in [row.drafts_on for row in rows])
    if files:
        write_output(to_csv(rows), files[0])
        about = {"scenario": scenario.to_dict(), "states": options.states, "seed": options.seed, **provenance(options)}
        write_output(f"{to_json(rows, about)}\n", files[1])
        _draw(rows, title, options.out)


COMMAND = Command(
    __doc__,
    (
        "--scenario qwen3.5 --server a100-32b --set min_draft_length=0",
        "--profiles qwen2.5-0.5b-q4 qwen2.5-1.5b-q4 mine.toml --time-factor 4 --out drafts",
    ),
    _add_options,
    _run,
)
