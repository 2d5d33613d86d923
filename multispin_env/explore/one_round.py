"""Numbers of one round: what each controller decides for some devices, and what more of each resource is worth."""

import shlex
from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.controllers.factory import controller_names, make_controller
from multispin_env.explore.devices import COLUMNS, DeviceTable, draw_devices, read_edits
from multispin_env.explore.places import Places
from multispin_env.explore.settings import Kept, Slider, controlled
from multispin_env.explore.system import MOST_DEVICES, SystemSettings
from multispin_env.physics.rounds import expected_outcome
from multispin_env.physics.types import Decision, Outcome
from multispin_env.scenario import Scenario
from multispin_env.solver.certify import CertifiedDecision
from multispin_env.solver.sensitivities import Sensitivities, sensitivities

CERTIFY = 1e-6
"""Gap to which the optimum is proven, unless the search ends earlier."""

PRINTED = """for name in ms.controller_names("rounds"):
    one = decision if name == "optimal" else ms.make_controller(name, scenario)(state)
    goodput = ms.expected_outcome(scenario, state, one).goodput
    print(f"{name}: {goodput:.2f} tokens/s, {goodput / outcome.goodput:.4f} of the optimum")
print(f"bound: {decision.bound:.2f} tokens/s, gap: {max(decision.bound / outcome.goodput - 1.0, 0.0):.1e}")
print(f"a round: {outcome.tokens.sum():.2f} tokens, {outcome.round_latency * 1e3:.1f} ms,", end=" ")
print(f"of which verification {outcome.verification_time * 1e3:.1f} ms")
print("lengths:", *decision.draft_length)
print("bandwidth in MHz:", *(f"{one / 1e6:.3f}" for one in decision.bandwidth))
print("ends in ms:", *(f"{one * 1e3:.1f}" for one in outcome.draft_time + outcome.upload_time))
print("tokens:", *(f"{one:.3f}" for one in outcome.tokens))
rates = outcome.tokens / outcome.round_latency
print("tokens/s:", *(f"{one:.2f}" for one in rates))
"""

WORTH = """worth = ms.sensitivities(scenario, state)
print(f"one more MHz is worth {worth.total_bandwidth * 1e6:.3g} tokens/s")
print("one more dB is worth", *(f"{one:.3g}" for one in worth.snr_db), "tokens/s")
print(f"a verification that is one ms shorter is worth {-worth.verification_time * 1e-3:.3g} tokens/s")
print("a token that is drafted one ms faster is worth", *(f"{-one * 1e-3:.3g}" for one in worth.draft_time), "tokens/s")
"""

MOVED = """before = snr_db.copy()
before[{index}] = {old}
old_state = ms.SystemState(state.draft_time, np.log2(1.0 + np.power(10.0, before / 10.0)), acceptance)
old_decision = ms.make_controller("optimal", scenario, certify=1e-6)(old_state)
old = ms.expected_outcome(scenario, old_state, old_decision)
print("change in tokens/s:", *(f"{{one:+.2f}}" for one in rates - old.tokens / old.round_latency))
print("change in MHz:", *(f"{{one / 1e6:+.3f}}" for one in decision.bandwidth - old_decision.bandwidth))
"""
"""Parts of the Python."""


@dataclass(frozen=True)
class RoundSettings(SystemSettings):
    """Settings of the view."""

    seed: int = controlled(0, Slider("seed of the devices", 0, 99))
    moved: int = controlled(1, Slider("device whose channel moves", 1, MOST_DEVICES))
    moved_db: float = controlled(0.0, Slider("its SNR moves by", -20.0, 20.0, 0.5, "dB"))
    edits: str = controlled("", Kept())

    def __post_init__(self) -> None:
        super().__post_init__()
        read_edits(self.edits)

    def devices(self, scenario: Scenario, moved: bool = True) -> DeviceTable:
        """The table of devices, before or after one of them has moved."""
        table = draw_devices(scenario, self.seed, read_edits(self.edits))
        if moved and self.moved_db and self.moved <= scenario.num_users:
            snr, column = table.snr_db.copy(), COLUMNS[1]
            shifted = round(float(snr[self.moved - 1]) + self.moved_db, column.digits)
            snr[self.moved - 1] = min(max(shifted, column.low), column.high)
            table = DeviceTable(table.draft_ms, snr, table.acceptance)
        return table


@dataclass(frozen=True, eq=False)
class RoundNumbers:
    """What the page shows."""

    scenario: Scenario
    devices: DeviceTable
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


def _optimum(scenario: Scenario, table: DeviceTable) -> tuple[CertifiedDecision, Outcome]:
    state = table.state()
    decision = make_controller("optimal", scenario, certify=CERTIFY)(state)
    assert isinstance(decision, CertifiedDecision)
    return decision, expected_outcome(scenario, state, decision)


def compute(settings: RoundSettings, places: Places) -> RoundNumbers:
    """All numbers of the page.

    Raises
    ------
    ValueError
        For settings that make no system.
    """
    scenario = settings.system(places)
    table, before = settings.devices(scenario), settings.devices(scenario, moved=False)
    state = table.state()
    decision, outcome = _optimum(scenario, table)
    goodputs = {"optimal": float(outcome.goodput)}
    for name in controller_names("rounds"):
        if name != "optimal":
            goodputs[name] = float(expected_outcome(scenario, state, make_controller(name, scenario)(state)).goodput)
    others = sorted((name for name in goodputs if name != "optimal"), key=lambda name: -goodputs[name])
    is_moved = not np.array_equal(table.snr_db, before.snr_db)
    old_decision, old = _optimum(scenario, before) if is_moved else (decision, outcome)
    return RoundNumbers(
        scenario,
        table,
        decision,
        outcome,
        {name: goodputs[name] for name in ("optimal", *others)},
        float(decision.bound),
        None if scenario.padded_verification else sensitivities(scenario, state),
        settings.moved if is_moved else None,
        outcome.tokens / outcome.round_latency - old.tokens / old.round_latency,
        decision.bandwidth - old_decision.bandwidth,
    )


def worth_in_words(numbers: RoundNumbers) -> list[str]:
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


def as_python(settings: RoundSettings, places: Places) -> str:
    """Python that prints the numbers of the page."""
    scenario = settings.system(places)
    table, before = settings.devices(scenario), settings.devices(scenario, moved=False)
    worth = "" if scenario.padded_verification else WORTH
    old = before.snr_db[settings.moved - 1 : settings.moved]
    moved = (
        "" if np.array_equal(table.snr_db, before.snr_db) else MOVED.format(index=settings.moved - 1, old=old.item())
    )
    return f"""import numpy as np
import multispin_env as ms

{settings.python_system(places)}
{table.python_state()}
decision = ms.make_controller("optimal", scenario, certify={CERTIFY})(state)
outcome = ms.expected_outcome(scenario, state, decision)
{PRINTED}{worth}{moved}"""


def as_command(settings: RoundSettings, places: Places) -> str:
    """A command that prints the decision of the page, its tokens and goodput, the bound and the gap."""
    table = settings.devices(settings.system(places))
    options = settings.option_words(places, "num_users")
    line = shlex.join(["multispin", "solve", *options, "--certify", f"{CERTIFY:g}", "-"])
    return f"{line} <<'END'\n{table.csv()}\nEND\n"
