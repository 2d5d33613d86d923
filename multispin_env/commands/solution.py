"""The decision for some devices, priced and compared, as rows and as text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.commands.devices import Devices
from multispin_env.controllers.factory import check_controller, controller_maker, controller_names, make_controller
from multispin_env.evaluation.statistics import Cells
from multispin_env.physics.rounds import expected_outcome
from multispin_env.physics.types import Decision, Outcome
from multispin_env.registry import option_names
from multispin_env.scenario import Scenario
from multispin_env.solver.certify import CertifiedDecision
from multispin_env.units import MHZ, MS

COMPARED = ("uniform-bandwidth", "fixed")
"""What needs no optimizer: equal bandwidth with the best lengths, and one length for all."""


@dataclass(frozen=True)
class DeviceRow:
    """What one device is told, and what comes of it."""

    name: str
    draft_length: int  # tokens
    bandwidth: float  # Hz
    share: float  # of the whole bandwidth
    draft_time: float  # s, the whole draft
    upload_time: float  # s, the whole draft
    expected_tokens: float  # in a round


@dataclass(frozen=True)
class RivalRow:
    """What one controller reaches for the same devices."""

    name: str
    goodput: float  # tokens/s, weighted where the devices have weights
    share: float  # of the goodput of the decision
    token_time: float | None = None  # s, that the slowest device waits for a token; None where no TPOT was asked for


@dataclass(frozen=True)
class PricedDecision:
    """A decision, priced; what nobody asked for is ``None``."""

    goodput: float  # tokens/s
    weighted_goodput: float | None  # tokens/s, where devices have weights
    round_latency: float  # s
    verification_time: float  # s
    devices: list[DeviceRow]
    rivals: list[RivalRow]  # best first, those that are late for a device last
    token_time: float | None = None  # s, that the slowest device waits for a token; where there is a TPOT
    tpot: float | None = None  # s, that each device may wait for a token
    free_time: float | None = None  # s, that the slowest device would wait without it
    upper_bound: float | None = None  # tokens/s; no decision has more
    gap: float | None = None  # relative
    wanted: float | None = None  # relative gap that was asked for

    @property
    def tpot_binds(self) -> bool | None:
        """Whether the decision would be another one without the TPOT."""
        return None if self.tpot is None else _late(self.free_time, self.tpot)

    @property
    def certified(self) -> bool | None:
        """Whether the proof reached the gap that was asked for."""
        return None if self.gap is None or self.wanted is None else self.gap <= self.wanted


def solve(
    scenario: Scenario, devices: Devices, controller: str, certify: float | None = None, tpot: float | None = None
) -> PricedDecision:
    """Decide for the devices, of which the scenario has as many, price the decision and compare it.

    ``ValueError`` for an unknown controller, one that does not take weights, a certificate or a TPOT but should, a bad
    gap, a TPOT that no decision reaches, or numbers so extreme that nothing is left of the goodput.
    """
    check_controller(controller, controller_names("rounds"))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # the goodput shows it
        return _solve(scenario, devices, controller, certify, tpot)


def _solve(
    scenario: Scenario, devices: Devices, controller: str, certify: float | None, tpot: float | None
) -> PricedDecision:
    decision = _decide(scenario, devices, controller, {"certify": certify, "tpot": tpot})
    outcome = expected_outcome(scenario, devices.state, decision)
    slowest = None if tpot is None else _slowest(outcome)
    if tpot is not None and _late(slowest, tpot):
        raise ValueError(f"tpot: expected at least {slowest:.6g} s, the least for these devices, got {tpot:g}")
    reached = _value(outcome, devices.weights)
    if not 0.0 < reached < np.inf:
        raise ValueError(f"goodput: expected a finite number > 0, got {reached} tokens/s; the inputs are too extreme")
    rivals = [RivalRow(controller, reached, 1.0, slowest)]
    for name in COMPARED:
        if name != controller:
            rival = expected_outcome(scenario, devices.state, make_controller(name, scenario)(devices.state))
            value = _value(rival, devices.weights)
            rivals.append(RivalRow(name, value, value / reached, None if tpot is None else _slowest(rival)))
    certificate = decision if isinstance(decision, CertifiedDecision) else None
    return PricedDecision(
        goodput=float(outcome.goodput),
        weighted_goodput=None if devices.weights is None else reached,
        round_latency=float(outcome.round_latency),
        verification_time=float(outcome.verification_time),
        devices=_device_rows(scenario, devices, decision, outcome),
        rivals=sorted(rivals, key=lambda row: (_late(row.token_time, tpot), -row.goodput)),
        token_time=slowest,
        tpot=tpot,
        free_time=None if tpot is None else _without_limit(scenario, devices, controller),
        upper_bound=None if certificate is None else float(certificate.bound),
        gap=None if certificate is None else float(certificate.gap),
        wanted=None if certificate is None else certificate.tolerance,
    )


def _decide(scenario: Scenario, devices: Devices, controller: str, wanted: Mapping[str, float | None]) -> Decision:
    given: dict[str, Any] = {"weights": devices.weights, **wanted}
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if name not in option_names(controller_maker(controller), "scenario"):
            rounds = controller_names("rounds")
            able = [other for other in rounds if name in option_names(controller_maker(other), "scenario")]
            raise ValueError(f"controller: expected one of {able}, which have {name}, got {controller!r}")
    return make_controller(controller, scenario, **options)(devices.state)


def _without_limit(scenario: Scenario, devices: Devices, controller: str) -> float:
    """Seconds that the slowest device would wait for each of its tokens if there were no TPOT."""
    decision = _decide(scenario, devices, controller, {})
    return _slowest(expected_outcome(scenario, devices.state, decision))


def _value(outcome: Outcome, weights: FloatArray | None) -> float:
    """Σ ω_k E[N_k] / T_e2e; without weights the goodput."""
    if weights is None:
        return float(outcome.goodput)
    return float((weights * outcome.tokens).sum(-1) / outcome.round_latency)


def _slowest(outcome: Outcome) -> float:
    """Seconds that the slowest device waits for each of its tokens."""
    return float((outcome.round_latency / outcome.tokens).max())


def _late(token_time: float | None, tpot: float | None) -> bool:
    return token_time is not None and tpot is not None and token_time > tpot * (1.0 + 1e-9)  # but for rounding


def _device_rows(scenario: Scenario, devices: Devices, decision: Decision, outcome: Outcome) -> list[DeviceRow]:
    columns = (
        decision.draft_length,
        decision.bandwidth,
        decision.bandwidth / scenario.total_bandwidth,
        outcome.draft_time,
        outcome.upload_time,
        outcome.tokens,
    )
    rows = zip(devices.names, *(np.asarray(column).tolist() for column in columns), strict=True)
    return [DeviceRow(*row) for row in rows]


def device_cells(rows: list[DeviceRow]) -> tuple[Cells, list[Cells]]:
    """Header and lines of the table of devices."""
    header = "device", "draft length", "bandwidth (MHz)", "share (%)", "draft (ms)", "upload (ms)", "expected tokens"
    lines: list[Cells] = [
        (
            row.name,
            str(row.draft_length),
            f"{row.bandwidth / MHZ:.4f}",
            f"{100.0 * row.share:.2f}",
            f"{row.draft_time / MS:.2f}",
            f"{row.upload_time / MS:.2f}",
            f"{row.expected_tokens:.3f}",
        )
        for row in rows
    ]
    return header, lines


def rival_cells(rows: list[RivalRow], controller: str, weighted: bool) -> tuple[Cells, list[Cells]]:
    """Header and lines of the comparison."""
    kind = "weighted goodput" if weighted else "goodput"
    header: Cells = ("decided by", f"{kind} (tokens/s)", f"of {controller}")
    lines: list[Cells] = [(row.name, f"{row.goodput:.2f}", f"{row.share:.4f}") for row in rows]
    if rows[0].token_time is None:
        return header, lines
    times = [f"{(row.token_time or 0.0) / MS:.2f}" for row in rows]
    return (*header, "slowest device (ms a token)"), [(*line, time) for line, time in zip(lines, times, strict=True)]


def summary(solution: PricedDecision) -> str:
    """What the decision is worth, a line for each number."""
    latency, verification = solution.round_latency / MS, solution.verification_time / MS
    lines = {"goodput": f"{solution.goodput:.2f} tokens/s"}
    if solution.weighted_goodput is not None:
        lines["weighted goodput"] = f"{solution.weighted_goodput:.2f} tokens/s"
    lines["round latency"] = f"{latency:.2f} ms, of which verification {verification:.2f} ms"
    if solution.token_time is not None:
        lines["slowest device"] = f"a token every {solution.token_time / MS:.2f} ms"
    if solution.tpot is not None and solution.free_time is not None:
        verdict = "binds" if solution.tpot_binds else "changes nothing"
        free = f"without it the slowest device gets a token every {solution.free_time / MS:.2f} ms"
        lines["limit"] = f"{solution.tpot / MS:g} ms, which {verdict}: {free}"
    if solution.gap is not None:
        lines["upper bound"] = f"{solution.upper_bound:.2f} tokens/s"
        missed = "" if solution.certified else f", not the {solution.wanted:g} that was asked for"
        lines["proven gap"] = f"{solution.gap:.1e}{missed}"
    width = max(map(len, lines))
    return "\n".join(f"{name:{width}s}  {value}" for name, value in lines.items())


RECORDED = (
    *("goodput", "weighted_goodput", "round_latency", "verification_time", "token_time", "tpot", "tpot_binds"),
    *("upper_bound", "gap", "certified"),
)
"""Numbers of a decision in its JSON."""


def to_record(solution: PricedDecision, about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything as JSON can hold it, in SI units; without what is infinite."""
    numbers = {name: getattr(solution, name) for name in RECORDED}
    rows = {"rows": [vars(row) for row in solution.devices], "comparison": [vars(row) for row in solution.rivals]}
    return {"about": dict(about), **{k: None if v == np.inf else v for k, v in numbers.items()}, **rows}
