"""Page of one round."""

import numpy as np

from multispin_env.explore.devices import COLUMNS
from multispin_env.explore.markup import Markup, element, fragment
from multispin_env.explore.one_round import (
    RoundNumbers,
    RoundSettings,
    as_command,
    as_python,
    compute,
    worth_in_words,
)
from multispin_env.explore.pages.parts import (
    DRAFTING,
    UPLOADING,
    VERIFYING,
    WAITING,
    card,
    cell_table,
    legend,
    numbers,
    signed,
    stacked_bars,
)
from multispin_env.explore.view import PageView
from multispin_env.units import MHZ, MS

LEAST_SHOWN = 5e-4
"""Tokens/s that are worth a bar."""


def draw(settings: RoundSettings, found: RoundNumbers) -> Markup:
    """Cards of the page."""
    worth = element("ul", [element("li", line) for line in worth_in_words(found)], id="worth")
    return fragment(
        [
            card("The optimum", numbers(_headline(found)), _controllers(found)),
            card("A round", _timeline(found), about="Each device drafts, uploads and waits; then the server verifies."),
            card(
                "Devices",
                _edited(settings, found),
                element("button", "Undo all edits", type="button", data_set="edits", data_value=""),
                about="Click a number, or go to it with Tab, to change it. Enter takes it, Escape leaves it.",
            ),
            card("What each gets", _gets(found)),
            card("What more is worth", worth),
            card("Who pays", _payers(settings, found), about="Move the channel of one device with its two sliders."),
        ]
    )


def _headline(found: RoundNumbers) -> dict[str, str]:
    outcome = found.outcome
    return {
        "goodput": f"{float(outcome.goodput):.2f} tokens/s",
        "upper bound": f"{found.bound:.2f} tokens/s",
        "proven gap": f"{found.gap:.1e}",
        "expected tokens": f"{float(outcome.tokens.sum()):.2f} a round",
        "round": f"{float(outcome.round_latency) / MS:.1f} ms",
        "verification": f"{float(outcome.verification_time) / MS:.1f} ms",
    }


def _controllers(found: RoundNumbers) -> Markup:
    best = found.goodputs["optimal"]
    rows = [(name, f"{value:.2f}", f"{value / best:.4f}") for name, value in found.goodputs.items()]
    return cell_table("controllers", ("decided by", "tokens/s", "of the optimum"), rows)


def _timeline(found: RoundNumbers) -> Markup:
    outcome = found.outcome
    total = float(outcome.round_latency)
    verified = float(outcome.verification_time)
    lines = []
    for device, (draft, upload) in enumerate(
        zip(outcome.draft_time.tolist(), outcome.upload_time.tolist(), strict=True)
    ):
        waits = max(total - verified - draft - upload, 0.0)
        said = f"drafts {draft / MS:.1f} ms, uploads {upload / MS:.1f} ms, finishes at {(draft + upload) / MS:.1f} ms"
        parts = [
            (draft / total, DRAFTING, f"drafts {draft / MS:.1f} ms"),
            (upload / total, UPLOADING, f"uploads {upload / MS:.1f} ms"),
            (waits / total, WAITING, f"waits {waits / MS:.1f} ms"),
            (verified / total, VERIFYING, f"verification {verified / MS:.1f} ms"),
        ]
        lines.append(stacked_bars(str(device + 1), parts, f"device {device + 1} {said}"))
    marks = {"drafts": DRAFTING, "uploads": UPLOADING, "waits": WAITING, "server verifies": VERIFYING}
    scale = element("div", element("span", "0 ms"), element("span", f"{total / MS:.1f} ms"), class_="scale")
    return fragment([legend(marks), element("div", lines, id="timeline"), scale])


def _edited(settings: RoundSettings, found: RoundNumbers) -> Markup:
    """The devices as they were drawn or edited, before one of them moves."""
    devices = settings.devices(found.scenario, moved=False)
    columns = [getattr(devices, column.name).tolist() for column in COLUMNS]
    rows = []
    for device, values in enumerate(zip(*columns, strict=True), start=1):
        cells = []
        for column, value in zip(COLUMNS, values, strict=True):
            text = f"{value:.{column.digits}f}"
            cells.append(
                element(
                    "td",
                    text,
                    contenteditable="true",
                    role="textbox",
                    tabindex=0,
                    aria_label=f"device {device}, {column.title}",
                    data_cell=f"{device}.{column.name}",
                    data_good=text,
                )
            )
        rows.append((str(device), *cells))
    return cell_table("devices", ("device", *(column.title for column in COLUMNS)), rows)


def _gets(found: RoundNumbers) -> Markup:
    outcome, decision = found.outcome, found.decision
    finish = outcome.draft_time + outcome.upload_time
    rates = outcome.tokens / outcome.round_latency
    rows = [
        (str(device + 1), str(length), f"{hertz / MHZ:.3f}", f"{seconds / MS:.1f}", f"{tokens:.3f}", f"{rate:.2f}")
        for device, (length, hertz, seconds, tokens, rate) in enumerate(
            zip(
                *(
                    array.tolist()
                    for array in (decision.draft_length, decision.bandwidth, finish, outcome.tokens, rates)
                ),
                strict=True,
            )
        )
    ]
    return cell_table("gets", ("device", "length", "MHz", "ends (ms)", "tokens", "tokens/s"), rows)


def _payers(settings: RoundSettings, found: RoundNumbers) -> Markup:
    if found.moved is None:
        return element("p", "No device has moved.", id="payers")
    change, hertz = found.rate_change, found.bandwidth_change
    most = max(float(np.abs(change).max()), LEAST_SHOWN)
    lines = [
        signed(f"{device + 1}", float(rate) / most, f"{rate:+.2f} tokens/s, {band / MHZ:+.3f} MHz")
        for device, (rate, band) in enumerate(zip(change.tolist(), hertz.tolist(), strict=True))
    ]
    tables = settings.devices(found.scenario, moved=False), found.devices
    before, after = (float(devices.snr_db[found.moved - 1]) for devices in tables)
    others = float(change.sum()) - float(change[found.moved - 1])
    said = (
        f"The SNR of device {found.moved} has moved from {before:.1f} to {after:.1f} dB. It gets "
        f"{change[found.moved - 1]:+.2f} tokens/s, all others together {others:+.2f} tokens/s, and "
        f"{hertz[found.moved - 1] / MHZ:+.3f} MHz goes to it."
    )
    return fragment([element("p", said, id="payers"), element("div", lines)])


VIEW = PageView(
    title="One round",
    about="Devices draft, share an uplink, and wait for one server. Turn a knob and see the best decision change.",
    settings=RoundSettings,
    start=RoundSettings.start,
    compute=compute,
    draw=draw,
    as_python=as_python,
    as_command=as_command,
)
