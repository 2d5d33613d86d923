"""One round: devices that can be edited, what each controller decides, and what more of each resource is worth."""

import shlex
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from multispin_env.apps.explore.markup import (
    DRAFTING,
    UPLOADING,
    VERIFYING,
    WAITING,
    Markup,
    card,
    cell_table,
    element,
    fragment,
    legend,
    numbers,
    signed_bar,
    stacked_bars,
)
from multispin_env.apps.explore.page import PageView
from multispin_env.apps.explore.settings import (
    MAX_DEVICES,
    HiddenText,
    ScenarioSources,
    Slider,
    SystemSettings,
    control_field,
)
from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer, check_name, shown
from multispin_env.controllers.names import controller_names, make_controller
from multispin_env.physics.radio import channel_gain
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.physics.types import Decision, Outcome, SystemState
from multispin_env.scenario import Scenario
from multispin_env.solver.certify import CertifiedDecision
from multispin_env.solver.sensitivities import Sensitivities, sensitivities
from multispin_env.units import MHZ, MS, db_to_linear, linear_to_db


class _EditableColumn(NamedTuple):
    name: str
    title: str
    low: float
    high: float
    digits: int


COLUMNS = (
    _EditableColumn("draft_ms", "draft time (ms/token)", 0.01, 10_000.0, 2),
    _EditableColumn("snr_db", "SNR (dB)", -30.0, 60.0, 1),
    _EditableColumn("acceptance", "acceptance", 0.0, 1.0, 3),
)
"""In the order of the fields of `SystemState`."""

NAMES = tuple(column.name for column in COLUMNS)

_Edits = dict[tuple[int, str], float]  # what was edited, by device, counted from 1, and column


@dataclass(frozen=True, eq=False)
class _DeviceTable:
    """Devices in the units of the page; what is shown is exactly what is computed with."""

    draft_ms: FloatArray  # (K,) ms/token
    snr_db: FloatArray  # (K,) dB
    acceptance: FloatArray  # (K,)

    def state(self) -> SystemState:
        return SystemState(self.draft_ms * MS, np.log2(1.0 + db_to_linear(self.snr_db)), self.acceptance)

    def csv(self) -> str:
        rows = zip(self.draft_ms.tolist(), self.snr_db.tolist(), self.acceptance.tolist(), strict=True)
        lines = [f"{draft},{snr},{acceptance}" for draft, snr, acceptance in rows]
        return "\n".join(["draft_time_ms,snr_db,acceptance_rate", *lines])


def read_edits(text: str) -> _Edits:
    """Edits from their text, as ``3.snr_db=12.5;4.acceptance=0.7``; any other is refused, or a value out of range."""
    edits: _Edits = {}
    for part in filter(None, text.split(";")):
        position, _, value = part.partition("=")
        device, _, name = position.partition(".")
        if not device.isdecimal():
            raise ValueError(f"device: expected a number from 1 to {MAX_DEVICES}, got {shown(device)}")
        number = check_integer("device", int(device[:9]), 1, MAX_DEVICES)
        check_name("column", name, NAMES)
        column = COLUMNS[NAMES.index(name)]
        said, bounds = f"device {number}, {column.title}", Slider("", column.low, column.high)
        exact = bounds.read(said, value, 0.0)
        bounds.check(said, exact, 0.0)
        edits[number, name] = round(exact, column.digits)
    return edits


def draw_devices(scenario: Scenario, seed: int, edits: _Edits) -> _DeviceTable:
    """Devices drawn from a scenario, then edited.

    The draw is that of `MAX_DEVICES` devices, so that another K keeps those that stay. Edits of devices that there are
    not are kept for later.
    """
    drawn = sample_state(scenario.replace(num_users=MAX_DEVICES), np.random.default_rng(seed))
    count = scenario.num_users
    snr = linear_to_db(channel_gain(scenario, drawn.spectral_efficiency[:count]) * scenario.transmit_snr)
    columns = [
        np.clip(np.round(values, column.digits), column.low, column.high)
        for column, values in zip(
            COLUMNS, (drawn.draft_time[:count] / MS, snr, drawn.acceptance_rate[:count]), strict=True
        )
    ]
    for (device, name), value in edits.items():
        if device <= count:
            columns[NAMES.index(name)][device - 1] = value
    return _DeviceTable(*columns)


@dataclass(frozen=True)
class RoundSettings(SystemSettings):
    """Settings of the view."""

    seed: int = control_field(0, Slider("seed of the devices", 0, 99))
    moved: int = control_field(1, Slider("device whose channel moves", 1, MAX_DEVICES))
    moved_db: float = control_field(0.0, Slider("its SNR moves by", -20.0, 20.0, 0.5, "dB"))
    edits: str = control_field("", HiddenText())

    def __post_init__(self) -> None:
        super().__post_init__()
        read_edits(self.edits)

    def devices(self, scenario: Scenario, moved: bool = True) -> _DeviceTable:
        """The table of devices, before or after one of them has moved."""
        table = draw_devices(scenario, self.seed, read_edits(self.edits))
        if moved and self.moved_db and self.moved <= scenario.num_users:
            snr, column = table.snr_db.copy(), COLUMNS[1]
            shifted = round(float(snr[self.moved - 1]) + self.moved_db, column.digits)
            snr[self.moved - 1] = min(max(shifted, column.low), column.high)
            table = _DeviceTable(table.draft_ms, snr, table.acceptance)
        return table


@dataclass(frozen=True, eq=False)
class _RoundNumbers:
    scenario: Scenario = field(repr=False)
    devices: _DeviceTable
    decision: Decision  # the optimum
    outcome: Outcome
    goodputs: dict[str, float]  # tokens/s of every controller, the optimum first, then the best
    bound: float  # tokens/s
    worth: Sensitivities | None  # None where it takes too long for a page
    moved: int | None  # device, counted from 1
    rate_change: FloatArray  # (K,) tokens/s against before the device moved
    bandwidth_change: FloatArray  # (K,) Hz

    @property
    def gap(self) -> float:
        """How much of the bound the optimum might lack."""
        return max(self.bound / float(self.outcome.goodput) - 1.0, 0.0)


def _optimum(scenario: Scenario, table: _DeviceTable) -> tuple[CertifiedDecision, Outcome]:
    state = table.state()
    decision = make_controller("optimal", scenario, certify=1e-6)(state)
    assert isinstance(decision, CertifiedDecision)
    return decision, expected_outcome(scenario, state, decision)


def compute(settings: RoundSettings, sources: ScenarioSources) -> _RoundNumbers:
    """All numbers of the page."""
    scenario = settings.system(sources)
    table, before = settings.devices(scenario), settings.devices(scenario, moved=False)
    state = table.state()
    decision, outcome = _optimum(scenario, table)
    names = controller_names("rounds", scenario)
    rules = {name: make_controller(name, scenario) for name in names if name != "optimal"}
    goodputs = {name: float(expected_outcome(scenario, state, rule(state)).goodput) for name, rule in rules.items()}
    is_moved = not np.array_equal(table.snr_db, before.snr_db)
    old_decision, old = _optimum(scenario, before) if is_moved else (decision, outcome)
    return _RoundNumbers(
        scenario,
        table,
        decision,
        outcome,
        {"optimal": float(outcome.goodput), **dict(sorted(goodputs.items(), key=lambda pair: -pair[1]))},
        float(decision.bound),
        None if scenario.padded_verification else sensitivities(scenario, state),
        settings.moved if is_moved else None,
        outcome.tokens / outcome.round_latency - old.tokens / old.round_latency,
        decision.bandwidth - old_decision.bandwidth,
    )


def describe_sensitivities(numbers: _RoundNumbers) -> list[str]:
    """What a little more of each resource is worth, a sentence each."""
    worth = numbers.worth
    if worth is None:
        return ["This takes seconds for a server that pads its batch: ms.sensitivities(scenario, state) in Python."]
    best, slowest = int(np.argmax(worth.snr_db)), int(np.argmin(worth.draft_time))
    return [
        f"One more MHz is worth {_rate(worth.total_bandwidth * 1e6)}.",
        f"One dB more for device {best + 1}, whose channel is worth most, is worth {_rate(worth.snr_db[best])}.",
        f"A verification that is one ms shorter is worth {_rate(-worth.verification_time * 1e-3)}.",
        f"A small model that is one ms a token faster on device {slowest + 1}, where this is worth most, is worth "
        f"{_rate(-worth.draft_time[slowest] * 1e-3)}.",
    ]


def _rate(value: FloatArray | float) -> str:
    return f"{float(value):.3g} tokens/s"


def as_command(settings: RoundSettings, sources: ScenarioSources) -> str:
    """A command that prints the decision of the page, its tokens and goodput, the bound and the gap."""
    table = settings.devices(settings.system(sources))
    options = settings.option_words(sources, "num_users")
    line = shlex.join(["multispin", "solve", *options, "--certify", "1e-06", "-"])
    return f"{line} <<'END'\n{table.csv()}\nEND\n"


def _draw(settings: RoundSettings, found: _RoundNumbers) -> Markup:
    worth = element("ul", [element("li", line) for line in describe_sensitivities(found)], id="worth")
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


def _headline(found: _RoundNumbers) -> dict[str, str]:
    outcome = found.outcome
    return {
        "goodput": f"{float(outcome.goodput):.2f} tokens/s",
        "upper bound": f"{found.bound:.2f} tokens/s",
        "proven gap": f"{found.gap:.1e}",
        "expected tokens": f"{float(outcome.tokens.sum()):.2f} a round",
        "round": f"{float(outcome.round_latency) / MS:.1f} ms",
        "verification": f"{float(outcome.verification_time) / MS:.1f} ms",
    }


def _controllers(found: _RoundNumbers) -> Markup:
    best = found.goodputs["optimal"]
    rows = [(name, f"{value:.2f}", f"{value / best:.4f}") for name, value in found.goodputs.items()]
    return cell_table("controllers", ("decided by", "tokens/s", "of the optimum"), rows)


def _timeline(found: _RoundNumbers) -> Markup:
    outcome = found.outcome
    total = float(outcome.round_latency)
    verified = float(outcome.verification_time)
    lines = []
    pairs = zip(outcome.draft_time.tolist(), outcome.upload_time.tolist(), strict=True)
    for device, (draft, upload) in enumerate(pairs, start=1):
        waits = max(total - verified - draft - upload, 0.0)
        said = f"drafts {draft / MS:.1f} ms, uploads {upload / MS:.1f} ms, finishes at {(draft + upload) / MS:.1f} ms"
        parts = [
            (draft / total, DRAFTING, f"drafts {draft / MS:.1f} ms"),
            (upload / total, UPLOADING, f"uploads {upload / MS:.1f} ms"),
            (waits / total, WAITING, f"waits {waits / MS:.1f} ms"),
            (verified / total, VERIFYING, f"verification {verified / MS:.1f} ms"),
        ]
        lines.append(stacked_bars(str(device), parts, f"device {device} {said}"))
    marks = {"drafts": DRAFTING, "uploads": UPLOADING, "waits": WAITING, "server verifies": VERIFYING}
    scale = element("div", element("span", "0 ms"), element("span", f"{total / MS:.1f} ms"), class_="scale")
    return fragment([legend(marks), element("div", lines, id="timeline"), scale])


def _edited(settings: RoundSettings, found: _RoundNumbers) -> Markup:
    devices = settings.devices(found.scenario, moved=False)
    columns = [getattr(devices, column.name).tolist() for column in COLUMNS]
    rows = []
    for device, values in enumerate(zip(*columns, strict=True), start=1):
        cells = [_editable(device, column, value) for column, value in zip(COLUMNS, values, strict=True)]
        rows.append((str(device), *cells))
    return cell_table("devices", ("device", *(column.title for column in COLUMNS)), rows)


def _editable(device: int, column: _EditableColumn, value: float) -> Markup:
    text, cell, label = f"{value:.{column.digits}f}", f"{device}.{column.name}", f"device {device}, {column.title}"
    ways = {"contenteditable": "true", "role": "textbox", "tabindex": 0, "aria_label": label}
    return element("td", text, **ways, data_cell=cell, data_good=text)


def _gets(found: _RoundNumbers) -> Markup:
    outcome, decision = found.outcome, found.decision
    finish = outcome.draft_time + outcome.upload_time
    rates = outcome.tokens / outcome.round_latency
    arrays = decision.draft_length, decision.bandwidth / MHZ, finish / MS, outcome.tokens, rates
    rows = [
        (str(device), str(length), f"{megahertz:.3f}", f"{end:.1f}", f"{tokens:.3f}", f"{rate:.2f}")
        for device, (length, megahertz, end, tokens, rate) in enumerate(
            zip(*(array.tolist() for array in arrays), strict=True), start=1
        )
    ]
    return cell_table("gets", ("device", "length", "MHz", "ends (ms)", "tokens", "tokens/s"), rows)


def _payers(settings: RoundSettings, found: _RoundNumbers) -> Markup:
    if found.moved is None:
        return element("p", "No device has moved.", id="payers")
    change, hertz = found.rate_change, found.bandwidth_change
    most = max(float(np.abs(change).max()), 5e-4)
    lines = [
        signed_bar(f"{device + 1}", float(rate) / most, f"{rate:+.2f} tokens/s, {band / MHZ:+.3f} MHz")
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
    compute=compute,
    draw=_draw,
    as_command=as_command,
)
