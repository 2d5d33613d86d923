"""One-round view: editable devices, decisions of all controllers, and sensitivities to each resource."""

import shlex
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer, check_name, shown
from multispin_env.controllers.names import controller_names
from multispin_env.evaluation.cases import StateCases
from multispin_env.physics.radio import channel_gain
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.physics.types import Decision, Outcome, SystemState
from multispin_env.scenario import Scenario
from multispin_env.solver.certify import CertifiedDecision
from multispin_env.solver.sensitivities import Sensitivities, sensitivities
from multispin_env.units import MHZ, MS, db_to_linear
from multispin_lab.explore.markup import (
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
from multispin_lab.explore.settings import (
    MAX_DEVICES,
    Control,
    ScenarioSources,
    Slider,
    SystemSettings,
    control_field,
)


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
"""Editable columns, in the order of the fields of `SystemState`."""

NAMES = tuple(column.name for column in COLUMNS)

_Edits = dict[tuple[int, str], float]  # edited values by device (from 1) and column


@dataclass(frozen=True, eq=False)
class _DeviceTable:
    """Devices in the units of the page, rounded to the digits that are shown."""

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
    """Parse edits such as ``3.snr_db=12.5;4.acceptance=0.7``; ``ValueError`` for other text or values out of range."""
    edits: _Edits = {}
    for part in filter(None, text.split(";")):
        cell, _, value = part.partition("=")
        device, _, name = cell.partition(".")
        if not device.isdecimal():
            raise ValueError(f"device: expected a number from 1 to {MAX_DEVICES}, got {shown(device)}")
        number = check_integer("device", int(device[:9]), 1, MAX_DEVICES)
        check_name("column", name, NAMES)
        column = COLUMNS[NAMES.index(name)]
        field_name, bounds = f"device {number}, {column.title}", Slider("", column.low, column.high)
        exact = bounds.read(field_name, value, 0.0)
        bounds.check(field_name, exact, 0.0)
        edits[number, name] = round(exact, column.digits)
    return edits


def draw_states(scenario: Scenario, seed: int, states: int | None = None) -> SystemState:
    """Draw states (n, K), or by default one (K,); a larger K adds devices and keeps those of a smaller K."""
    largest = scenario.replace(num_users=MAX_DEVICES, access_delay=())
    return sample_state(largest, np.random.default_rng(seed), states)[..., : scenario.num_users]


def draw_devices(scenario: Scenario, seed: int, edits: _Edits) -> _DeviceTable:
    """Draw devices from a scenario and apply the edits.

    A larger K adds devices and keeps those of a smaller K. Edits of devices beyond K are ignored.
    """
    drawn = draw_states(scenario, seed)
    snr = 10.0 * np.log10(channel_gain(scenario, drawn.spectral_efficiency) * scenario.transmit_snr)  # dB
    columns = [
        np.clip(np.round(values, column.digits), column.low, column.high)
        for column, values in zip(COLUMNS, (drawn.draft_time / MS, snr, drawn.acceptance_rate), strict=True)
    ]
    for (device, name), value in edits.items():
        if device <= scenario.num_users:
            columns[NAMES.index(name)][device - 1] = value
    return _DeviceTable(*columns)


@dataclass(frozen=True)
class RoundSettings(SystemSettings):
    """Settings of the one-round view."""

    title = "One round"
    about = (
        "Devices draft tokens, upload them over a shared uplink and wait for one server. Move a slider to see how "
        "the optimal decision changes."
    )

    seed: int = control_field(0, Slider("seed of the devices", 0, 99))
    moved: int = control_field(1, Slider("device with changed SNR", 1, MAX_DEVICES))
    moved_db: float = control_field(0.0, Slider("change of its SNR", -20.0, 20.0, 0.5, "dB"))
    edits: str = control_field("", Control())

    def __post_init__(self) -> None:
        super().__post_init__()
        read_edits(self.edits)

    def devices(self, scenario: Scenario, moved: bool = True) -> _DeviceTable:
        """Return the table of devices, before or after the change of one device's SNR."""
        table = draw_devices(scenario, self.seed, read_edits(self.edits))
        if moved and self.moved_db and self.moved <= scenario.num_users:
            snr, column = table.snr_db.copy(), COLUMNS[1]
            shifted = round(float(snr[self.moved - 1]) + self.moved_db, column.digits)
            snr[self.moved - 1] = min(max(shifted, column.low), column.high)
            table = _DeviceTable(table.draft_ms, snr, table.acceptance)
        return table

    def compute(self, sources: ScenarioSources) -> "_RoundNumbers":
        """Compute all numbers of the page."""
        scenario = self.system(sources)
        table, before = self.devices(scenario), self.devices(scenario, moved=False)
        state = table.state()
        decision, outcome = _optimum(scenario, table)
        names = [name for name in controller_names("rounds", scenario) if name != "optimal"]
        goodputs = {name: float(StateCases(scenario, state).values(name)) for name in names}
        is_moved = not np.array_equal(table.snr_db, before.snr_db)
        of_paper = scenario.uplink.of_paper
        old_decision, old = _optimum(scenario, before) if is_moved else (decision, outcome)
        return _RoundNumbers(
            scenario,
            table,
            decision,
            outcome,
            {"optimal": float(outcome.goodput), **dict(sorted(goodputs.items(), key=lambda pair: -pair[1]))},
            float(decision.bound),
            sensitivities(scenario, state) if of_paper else None,
            self.moved if is_moved else None,
            outcome.tokens / outcome.round_latency - old.tokens / old.round_latency,
            decision.bandwidth - old_decision.bandwidth,
        )

    def draw(self, results: "_RoundNumbers") -> Markup:
        """Return the HTML of the numbers."""
        gains = element("ul", [element("li", line) for line in describe_sensitivities(results)], id="sensitivities")
        return fragment(
            [
                _optimum_card(results),
                card(
                    "Round",
                    _timeline(results),
                    about="Each device drafts, uploads and waits; then the server verifies.",
                ),
                card(
                    "Devices",
                    _device_table(self, results),
                    element("button", "Undo all edits", type="button", data_set="edits", data_value=""),
                    about="Click a number, or select it with Tab, to edit it. Enter applies it, Escape cancels it.",
                ),
                card("Optimal allocation", _allocation_table(results)),
                card("Sensitivities", gains, about="Gain of goodput from a small improvement of one resource."),
                card("Effect of an SNR change", _changes(self, results), about="Set by the last two sliders."),
            ]
        )

    def as_command(self, sources: ScenarioSources) -> str:
        """Return the command that prints the decision, its tokens and goodput, the bound and the gap."""
        table = self.devices(self.system(sources))
        options = self.option_words(sources, "num_users")
        line = shlex.join(["multispin", "solve", *options, "--certify", "1e-06", "-"])
        return f"{line} <<'END'\n{table.csv()}\nEND\n"


@dataclass(frozen=True, eq=False)
class _RoundNumbers:
    scenario: Scenario = field(repr=False)
    devices: _DeviceTable
    decision: Decision  # the optimum
    outcome: Outcome
    goodputs: dict[str, float]  # tokens/s by controller, the optimum first, then in descending order
    bound: float  # tokens/s
    sensitivities: Sensitivities | None  # None for other uplinks
    moved: int | None  # device with changed SNR, from 1
    rate_change: FloatArray  # (K,) tokens/s, after minus before the change
    bandwidth_change: FloatArray  # (K,) Hz

    @property
    def gap(self) -> float:
        """Largest possible relative distance of the optimum to the bound."""
        return max(self.bound / float(self.outcome.goodput) - 1.0, 0.0)


def _optimum(scenario: Scenario, table: _DeviceTable) -> tuple[CertifiedDecision, Outcome]:
    cases = StateCases(scenario, table.state())
    decision = cases.make("optimal")(cases.state)
    assert isinstance(decision, CertifiedDecision)
    return decision, expected_outcome(scenario, cases.state, decision)


def describe_sensitivities(numbers: _RoundNumbers) -> list[str]:
    """Return a sentence on the marginal goodput of each resource."""
    gains = numbers.sensitivities
    if gains is None:
        return ["Not computed for other links, delays and lost uploads."]
    best, slowest = int(np.argmax(gains.snr_db)), int(np.argmin(gains.draft_time))
    return [
        f"1 MHz more bandwidth: {_rate(gains.total_bandwidth * 1e6)}.",
        f"1 dB more SNR for device {best + 1} (the largest gain): {_rate(gains.snr_db[best])}.",
        f"1 ms less verification time: {_rate(-gains.verification_time * 1e-3)}.",
        f"1 ms per token less draft time on device {slowest + 1} (the largest gain): "
        f"{_rate(-gains.draft_time[slowest] * 1e-3)}.",
    ]


def _rate(value: FloatArray | float) -> str:
    return f"{float(value):+.3g} tokens/s"


def _optimum_card(results: _RoundNumbers) -> Markup:
    outcome, best = results.outcome, results.goodputs["optimal"]
    headline = {
        "goodput": f"{float(outcome.goodput):.2f} tokens/s",
        "upper bound": f"{results.bound:.2f} tokens/s",
        "proven gap": f"{results.gap:.1e}",
        "expected tokens": f"{float(outcome.tokens.sum()):.2f} per round",
        "round": f"{float(outcome.round_latency) / MS:.1f} ms",
        "verification": f"{float(outcome.verification_time) / MS:.1f} ms",
    }
    rows = [(name, f"{value:.2f}", f"{value / best:.4f}") for name, value in results.goodputs.items()]
    table = cell_table("controllers", ("controller", "tokens/s", "of optimum"), rows)
    return card("Optimum", numbers(headline), table)


def _timeline(results: _RoundNumbers) -> Markup:
    outcome = results.outcome
    total = float(outcome.round_latency)
    verified = float(outcome.verification_time)
    lines = []
    pairs = zip(outcome.draft_time.tolist(), outcome.upload_time.tolist(), strict=True)
    for device, (draft, upload) in enumerate(pairs, start=1):
        ready = draft + upload
        waiting = max(total - verified - ready, 0.0)
        description = f"drafts {draft / MS:.1f} ms, uploads {upload / MS:.1f} ms, ready at {ready / MS:.1f} ms"
        parts = [
            (draft / total, DRAFTING, f"drafts {draft / MS:.1f} ms"),
            (upload / total, UPLOADING, f"uploads {upload / MS:.1f} ms"),
            (waiting / total, WAITING, f"waits {waiting / MS:.1f} ms"),
            (verified / total, VERIFYING, f"verification {verified / MS:.1f} ms"),
        ]
        lines.append(stacked_bars(str(device), parts, f"device {device} {description}"))
    marks = {"drafting": DRAFTING, "uploading": UPLOADING, "waiting": WAITING, "verification": VERIFYING}
    scale = element("div", element("span", "0 ms"), element("span", f"{total / MS:.1f} ms"), class_="scale")
    return fragment([legend(marks), element("div", lines, id="timeline"), scale])


def _device_table(settings: RoundSettings, results: _RoundNumbers) -> Markup:
    devices = settings.devices(results.scenario, moved=False)
    columns = [getattr(devices, column.name).tolist() for column in COLUMNS]
    attributes = {"contenteditable": "true", "role": "textbox", "tabindex": 0}
    rows = []
    for device, values in enumerate(zip(*columns, strict=True), start=1):
        row = [str(device)]
        for column, value in zip(COLUMNS, values, strict=True):
            text, label = f"{value:.{column.digits}f}", f"device {device}, {column.title}"
            names = {"aria_label": label, "data_cell": f"{device}.{column.name}"}
            row.append(element("td", text, **attributes, **names, data_good=text))
        rows.append(row)
    return cell_table("devices", ("device", *(column.title for column in COLUMNS)), rows)


def _allocation_table(results: _RoundNumbers) -> Markup:
    outcome, decision = results.outcome, results.decision
    finish = outcome.ready_time
    rates = outcome.tokens / outcome.round_latency
    arrays = decision.draft_length, decision.bandwidth / MHZ, finish / MS, outcome.tokens, rates
    rows = [
        (str(device), str(length), f"{megahertz:.3f}", f"{end:.1f}", f"{tokens:.3f}", f"{rate:.2f}")
        for device, (length, megahertz, end, tokens, rate) in enumerate(
            zip(*(array.tolist() for array in arrays), strict=True), start=1
        )
    ]
    return cell_table("allocation", ("device", "length", "MHz", "ready (ms)", "tokens", "tokens/s"), rows)


def _changes(settings: RoundSettings, results: _RoundNumbers) -> Markup:
    if results.moved is None:
        return element("p", "No SNR has been changed.", id="changes")
    change, hertz = results.rate_change, results.bandwidth_change
    largest = max(float(np.abs(change).max()), 5e-4)
    lines = [
        signed_bar(f"{device + 1}", float(rate) / largest, f"{rate:+.2f} tokens/s, {band / MHZ:+.3f} MHz")
        for device, (rate, band) in enumerate(zip(change.tolist(), hertz.tolist(), strict=True))
    ]
    tables = settings.devices(results.scenario, moved=False), results.devices
    before, after = (float(devices.snr_db[results.moved - 1]) for devices in tables)
    others = float(change.sum()) - float(change[results.moved - 1])
    text = (
        f"SNR of device {results.moved}: {before:.1f} → {after:.1f} dB. Change for this device: "
        f"{change[results.moved - 1]:+.2f} tokens/s and {hertz[results.moved - 1] / MHZ:+.3f} MHz. "
        f"Change for all others together: {others:+.2f} tokens/s."
    )
    return fragment([element("p", text, id="changes"), element("div", lines)])
