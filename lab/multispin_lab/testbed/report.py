"""Summary of the rounds of a testbed: what they add to their prediction, and the devices that played them."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from multispin_env.evaluation.statistics import Cells, table
from multispin_env.units import MS
from multispin_lab.testbed.contender import TestbedContender, TestbedRound

FIRST_ROUNDS = 20  # of each contender, from which the constant is estimated


def _added(entry: TestbedRound) -> dict[str, float]:
    """Return the seconds that a round and its parts took longer than predicted without a round trip."""
    measured, played = entry.measured, entry.played
    drafting, uploading = (
        float(np.nan_to_num(times).sum()) / max(1, int(np.isfinite(times).sum()))
        for times in (measured.drafting - entry.drafting, measured.uploading - entry.uploading)
    )
    parts = {
        "drafting": drafting,  # mean of the devices, as is the next
        "upload": uploading,
        "waiting for the last": measured.access - entry.access - drafting - uploading,
        "pass": played.verification_time - entry.predicted_pass,
        "acceptance": played.accepting_time,
    }
    whole = entry.measured_time - entry.predicted_time + entry.round_trip
    return {**parts, "rest": whole - sum(parts.values()), "round": whole}


def added_rows(contenders: Sequence[TestbedContender]) -> tuple[float, list[dict[str, Any]]]:
    """Return the ``round_trip_time`` (s) that would explain the rounds, and a row of medians (ms) for each contender.

    It is the median over the first `FIRST_ROUNDS` of all contenders. ``error`` is the relative error of the sum of the
    predicted times of later rounds with it, ``None`` without later ones. Medians of parts need not sum up. Rounds that
    were cut, for lack of a draft, are left out of all three where a contender has others.
    """
    complete = [
        [entry for entry in contender.rounds if not entry.is_cut] or contender.rounds for contender in contenders
    ]
    added = [[_added(entry) for entry in entries] for entries in complete]
    constant = max(0.0, median(parts["round"] for rounds in added for parts in rounds[:FIRST_ROUNDS]))
    rows = []
    for contender, entries, rounds in zip(contenders, complete, added, strict=True):
        later = entries[FIRST_ROUNDS:]
        predicted = sum(entry.predicted_time - entry.round_trip + constant for entry in later)
        error = predicted / sum(entry.measured_time for entry in later) - 1.0 if later else None
        parts = {name: median(parts[name] for parts in rounds) / MS for name in rounds[0]}
        cut = sum(entry.is_cut for entry in contender.rounds)
        rows.append({"contender": contender.name, **parts, "cut": cut, "error": error})
    return constant, rows


def added_cells(rows: Sequence[dict[str, Any]]) -> tuple[Cells, list[Cells]]:
    """Return header and rows of the table of `added_rows`."""
    parts = {part: lambda row, part=part: f"{row[part]:.1f}" for part in list(rows[0])[1:-2]}
    error = f"error from round {FIRST_ROUNDS + 1} on"
    last = {"rounds cut": lambda row: str(row["cut"])}
    last[error] = lambda row: "" if row["error"] is None else f"{100.0 * row['error']:+.1f} %"
    return table(rows, {"added (ms, median)": lambda row: row["contender"], **parts, **last})


def device_rows(contenders: Sequence[TestbedContender]) -> list[dict[str, Any]]:
    """Return a row for each device: name, model, time of a token (s), tokens, shares, and rounds without its draft."""
    rounds, rows = [entry for contender in contenders for entry in contender.rounds], []
    for device, slot in enumerate(contenders[0].testbed.connections.slots):
        drafted, accepted, gained = (
            sum(int(numbers[device]) for numbers in columns)
            for columns in zip(
                *((entry.draft_length * entry.measured.present, *entry.played[:2]) for entry in rounds), strict=True
            )
        )
        row = {"device": slot.name, "draft": slot.draft, "token_time": slot.token_time, "tokens": gained}
        rows.append({**row, "accepted": accepted / drafted if drafted else None, "missed": slot.missed})
    return rows


def device_cells(rows: Sequence[dict[str, Any]]) -> tuple[Cells, list[Cells]]:
    """Return header and rows of the table of `device_rows`."""
    return table(
        rows,
        {
            "device": lambda row: row["device"],
            "draft model": lambda row: row["draft"],
            "token (ms)": lambda row: f"{row['token_time'] / MS:.2f}",
            "tokens": lambda row: str(row["tokens"]),
            "accepted": lambda row: "" if row["accepted"] is None else f"{row['accepted']:.3f}",
            "rounds missed": lambda row: str(row["missed"]),
        },
    )
