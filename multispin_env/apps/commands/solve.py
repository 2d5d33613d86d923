"""Compute draft lengths, bandwidths and goodput for your own devices.

The decision is compared with the optimum and two rules: equal bandwidth with the best lengths, and equal bandwidth with
one length.

The file is CSV with a header, or a JSON list of objects with the same keys; "-" reads standard input. Each row is one
device. Columns:
  draft_time_s or draft_time_ms   time of the draft model per token, or device, the name of a device profile, whose
                                  time is that after the context of the scenario
  spectral_efficiency or snr_db   of the uplink: bit/s/Hz, or signal-to-noise ratio with r = log2(1 + snr)
  acceptance_rate                 probability that the target model accepts a drafted token
  name, weight                    optional: a label, and the weight of the tokens of this device (default 1)
"""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.apps.commands.devices import Devices, read_devices
from multispin_env.apps.terminal.arguments import (
    DEFAULT_SCENARIO,
    Command,
    add_scenario_options,
    add_set_option,
    collect_arguments,
    parse_settings,
    resolve_scenario,
)
from multispin_env.apps.terminal.output import STDOUT, check_outputs, provenance, warn_of_memory, write_output
from multispin_env.arrays import FloatArray
from multispin_env.certificates.write import certificate
from multispin_env.checks import listed, shown
from multispin_env.controllers.names import (
    CUSTOM_CONTROLLER,
    check_controller,
    controller_names,
    load_controller,
    make_controller,
)
from multispin_env.device import LOADS
from multispin_env.evaluation.cases import changed_settings
from multispin_env.evaluation.contenders import contender_errors
from multispin_env.evaluation.statistics import Cells, aligned, table, to_csv
from multispin_env.physics.rounds import expected_outcome
from multispin_env.physics.types import Decision, Outcome
from multispin_env.registry import option_names
from multispin_env.scenario import Scenario
from multispin_env.solver.certify import CertifiedDecision
from multispin_env.units import MHZ, MS

_COMPARED = ("optimal", "uniform-bandwidth", "fixed")  # the optimum, and rules without an optimizer


@dataclass(frozen=True)
class _DeviceRow:
    name: str
    draft_length: int  # tokens
    bandwidth: float  # Hz
    share: float  # of the whole bandwidth
    draft_time: float  # s, the whole draft
    upload_time: float  # s, the whole draft
    expected_tokens: float  # in a round


@dataclass(frozen=True)
class _RivalRow:
    name: str
    goodput: float  # tokens/s, weighted where the devices have weights
    share: float  # of the goodput of the decision
    token_time: float | None = None  # s per token of the slowest device; None without a TPOT


@dataclass(frozen=True)
class _PricedDecision:
    """A decision and its goodput; ``None`` for values that were not requested."""

    goodput: float  # tokens/s
    weighted_goodput: float | None  # tokens/s, if devices have weights
    round_latency: float  # s
    verification_time: float  # s
    devices: list[_DeviceRow]
    rivals: list[_RivalRow]  # best first; those that exceed the TPOT last
    proven: CertifiedDecision | None = None
    token_time: float | None = None  # s per token of the slowest device
    tpot: float | None = None  # s per token, limit for each device
    unlimited_token_time: float | None = None  # s per token of the slowest device without the limit

    @property
    def tpot_binds(self) -> bool | None:
        return None if self.tpot is None else _is_late(self.unlimited_token_time, self.tpot)


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # checked with the goodput
def solve(
    scenario: Scenario, devices: Devices, controller: str, certify: float | None = None, tpot: float | None = None
) -> _PricedDecision:
    """Decide for the devices of a scenario with as many devices, and compare the decision with simple rules.

    ``ValueError`` for an unknown controller, one that lacks a required option (weights, certify or tpot), a bad gap, an
    infeasible TPOT, or inputs so extreme that the goodput is not a finite positive number.
    """
    check_controller(controller, controller_names("rounds"))
    decision = _decide(scenario, devices, controller, {"certify": certify, "tpot": tpot})
    with contender_errors(controller):
        outcome = expected_outcome(scenario, devices.state, decision)
    token_time = unlimited_token_time = _token_time(outcome, tpot)
    if tpot is not None:
        if _is_late(token_time, tpot):
            raise ValueError(f"tpot: expected at least {token_time:.6g} s, the minimum for these devices, got {tpot:g}")
        unlimited = expected_outcome(scenario, devices.state, _decide(scenario, devices, controller, {}))
        unlimited_token_time = _token_time(unlimited, tpot)
    goodput = _goodput(outcome, devices.weights)
    if not 0.0 < goodput < np.inf:
        raise ValueError(f"goodput: expected a finite number > 0, got {goodput} tokens/s; the inputs are too extreme")
    rivals = [_RivalRow(controller, goodput, 1.0, token_time)]
    for name in _COMPARED:
        if name != controller:
            options: dict[str, Any] = {"weights": devices.weights, "tpot": tpot} if name == "optimal" else {}
            rule = make_controller(name, scenario, **options)
            rival = expected_outcome(scenario, devices.state, rule(devices.state))
            value = _goodput(rival, devices.weights)
            rivals.append(_RivalRow(name, value, value / goodput, _token_time(rival, tpot)))
    return _PricedDecision(
        goodput=float(outcome.goodput),
        weighted_goodput=None if devices.weights is None else goodput,
        round_latency=float(outcome.round_latency),
        verification_time=float(outcome.verification_time),
        devices=_device_rows(scenario, devices, decision, outcome),
        rivals=sorted(rivals, key=lambda row: (_is_late(row.token_time, tpot), -row.goodput)),
        token_time=token_time,
        tpot=tpot,
        unlimited_token_time=unlimited_token_time,
        proven=decision if certify is not None and isinstance(decision, CertifiedDecision) else None,
    )


def _decide(scenario: Scenario, devices: Devices, controller: str, limits: Mapping[str, float | None]) -> Decision:
    options: dict[str, Any] = {"weights": devices.weights, **limits}
    options = {name: value for name, value in options.items() if value is not None}
    for name in options:
        if name not in option_names(load_controller(controller), "scenario"):
            rounds = controller_names("rounds", scenario)
            able = listed(other for other in rounds if name in option_names(load_controller(other), "scenario"))
            raise ValueError(f"controller: expected one of {able}, which have the option {name}, got {controller!r}")
    decide = make_controller(controller, scenario, **options)
    with contender_errors(controller, *([ValueError] if controller == "optimal" else [])):  # of an infeasible TPOT
        return decide(devices.state)


def _goodput(outcome: Outcome, weights: FloatArray | None) -> float:
    """Σ ω_k E[N_k] / T_e2e, with weights 1 by default."""
    if weights is None:
        return float(outcome.goodput)
    return float((weights * outcome.tokens).sum(-1) / outcome.round_latency)


def _token_time(outcome: Outcome, tpot: float | None) -> float | None:
    return None if tpot is None else float((outcome.round_latency / outcome.tokens).max())


def _is_late(token_time: float | None, tpot: float | None) -> bool:
    return token_time is not None and tpot is not None and token_time > tpot * (1.0 + 1e-9)  # tolerates rounding


def _device_rows(scenario: Scenario, devices: Devices, decision: Decision, outcome: Outcome) -> list[_DeviceRow]:
    share = decision.bandwidth / scenario.total_bandwidth
    times = outcome.draft_time, outcome.upload_time
    columns = (decision.draft_length, decision.bandwidth, share, *times, outcome.tokens)
    rows = zip(devices.names, *(np.asarray(column).tolist() for column in columns), strict=True)
    return [_DeviceRow(*row) for row in rows]


def _device_cells(rows: list[_DeviceRow]) -> tuple[Cells, list[Cells]]:
    return table(
        rows,
        {
            "device": lambda row: row.name,
            "draft length": lambda row: str(row.draft_length),
            "bandwidth (MHz)": lambda row: f"{row.bandwidth / MHZ:.4f}",
            "share (%)": lambda row: f"{100.0 * row.share:.2f}",
            "draft (ms)": lambda row: f"{row.draft_time / MS:.2f}",
            "upload (ms)": lambda row: f"{row.upload_time / MS:.2f}",
            "expected tokens": lambda row: f"{row.expected_tokens:.3f}",
        },
    )


def _rival_cells(solution: _PricedDecision, controller: str) -> tuple[Cells, list[Cells]]:
    weighted, tpot = solution.weighted_goodput is not None, solution.tpot
    columns: dict[str, Callable[[_RivalRow], str]] = {
        "decided by": lambda row: row.name,
        f"{'weighted goodput' if weighted else 'goodput'} (tokens/s)": lambda row: f"{row.goodput:.2f}",
        f"of {controller}": lambda row: f"{row.share:.4f}",
    }
    if tpot is not None:
        columns["slowest device (ms a token)"] = lambda row: f"{(row.token_time or 0.0) / MS:.2f}"
        columns["limit"] = lambda row: "missed" if _is_late(row.token_time, tpot) else "met"
    return table(solution.rivals, columns)


def summary(solution: _PricedDecision) -> str:
    """Return the numbers of a decision as text, one per line."""
    latency, verification = solution.round_latency / MS, solution.verification_time / MS
    lines = {"goodput": f"{solution.goodput:.2f} tokens/s"}
    if solution.weighted_goodput is not None:
        lines["weighted goodput"] = f"{solution.weighted_goodput:.2f} tokens/s"
    if not any(row.draft_length for row in solution.devices):
        lines["drafts"] = "none"
    lines["round latency"] = f"{latency:.2f} ms, of which verification {verification:.2f} ms"
    if solution.token_time is not None:
        lines["slowest device"] = f"a token every {solution.token_time / MS:.2f} ms"
    if solution.tpot is not None and solution.unlimited_token_time is not None:
        verdict = "binds" if solution.tpot_binds else "changes nothing"
        unlimited = f"without it the slowest device gets a token every {solution.unlimited_token_time / MS:.2f} ms"
        lines["limit"] = f"{solution.tpot / MS:g} ms, which {verdict}: {unlimited}"
    if (proven := solution.proven) is not None:
        lines["upper bound"] = f"{proven.bound:.2f} tokens/s"
        missed = "" if proven.certified else f", above the requested {proven.tolerance:g}"
        lines["proven gap"] = f"{proven.gap:.1e}{missed}"
    width = max(map(len, lines))
    return "\n".join(f"{name:{width}s}  {value}" for name, value in lines.items())


def to_record(solution: _PricedDecision, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return all numbers for JSON, in SI units; ``None`` for infinite ones."""
    times = "round_latency", "verification_time", "token_time", "tpot", "tpot_binds"
    numbers = {name: getattr(solution, name) for name in ("goodput", "weighted_goodput", *times)}
    numbers |= dict.fromkeys(("upper_bound", "gap", "certified"))
    if (proven := solution.proven) is not None:
        numbers |= {"upper_bound": float(proven.bound), "gap": float(proven.gap), "certified": bool(proven.certified)}
    rows = {"rows": [vars(row) for row in solution.devices], "comparison": [vars(row) for row in solution.rivals]}
    return {"about": dict(about), **{k: None if v == np.inf else v for k, v in numbers.items()}, **rows}


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="devices as CSV or JSON; - reads standard input")
    add_scenario_options(parser)
    names = f"one of {', '.join(controller_names('rounds'))}, or {CUSTOM_CONTROLLER} (default optimal)"
    parser.add_argument("--controller", default="optimal", metavar="NAME", help=names)
    certify = "prove that no decision is better by more than this relative gap, for example 1e-6"
    parser.add_argument("--certify", type=float, metavar="GAP", help=certify)
    proof = "with --certify, also write the proof to this file; multispin check verifies it without the solver"
    parser.add_argument("--certificate", type=Path, metavar="FILE", help=proof)
    tpot = "limit on the time per token of each device in seconds (default: none)"
    parser.add_argument("--tpot", type=float, metavar="S", help=tpot)
    fields = "fields of the scenario, e.g. max_draft_length=12; fields for random states have no effect"
    add_set_option(parser, fields)
    parser.add_argument("--json", action="store_true", help="print JSON in SI units instead of tables")
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="also write the rows of devices to this file; - prints them"
    )


def read_system(options: argparse.Namespace, file: Path) -> tuple[Devices, Scenario]:
    """Return the devices of a file and the scenario of the options; ``ValueError`` for options about devices."""
    fields = collect_arguments(options)
    base = Scenario.resolve(options.scenario or DEFAULT_SCENARIO)
    load, context = (fields.get(name, getattr(base, name)) for name in ("device_load", "context"))
    devices = read_devices(file, load, context)
    num_users = len(devices.names)
    if "num_users" in fields:
        raise ValueError(
            f"set: expected fields other than num_users, the number of rows ({num_users}), got 'num_users'"
        )
    if "fleet" in fields:
        raise ValueError(f"fleet: expected none with the devices of {str(file)!r}, got {shown(fields['fleet'])}")
    if "device_load" in fields and not devices.profiled:
        raise ValueError(f"device_load: expected a column device in {str(file)!r}, got {load!r} without one")
    return devices, resolve_scenario(options, num_users=num_users, fleet=(), device_load=LOADS[0])


def _write_proof(options: argparse.Namespace, scenario: Scenario, devices: Devices, proven: CertifiedDecision) -> None:
    try:
        proof = certificate(scenario, devices.state, proven, weights=devices.weights, tpot=options.tpot)
    except RuntimeError as error:  # it would be too long
        raise ValueError(str(error)) from None
    write_output(f"{json.dumps(proof)}\n", options.certificate)


def _run(options: argparse.Namespace) -> None:
    check_outputs(STDOUT if options.json else None, options.csv, options.certificate)
    if options.certificate is not None and options.certify is None:
        raise ValueError("certify: expected a relative gap with --certificate, for example 1e-6, got none")
    devices, scenario = read_system(options, options.file)
    solution = solve(scenario, devices, options.controller, options.certify, options.tpot)
    if options.certificate is not None and solution.proven is not None:
        _write_proof(options, scenario, devices, solution.proven)
    if options.csv is not None:
        write_output(to_csv(solution.devices), options.csv)
    if options.json:
        about = {"file": str(options.file), "controller": options.controller, "scenario": scenario.to_dict()}
        record = to_record(solution, about | provenance(options, "scipy"))
        print(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False))
    elif STDOUT not in (options.csv, options.certificate):
        changed = changed_settings(parse_settings(options.set))
        system = f"{scenario.label}{changed}, K = {scenario.num_users}, B = {scenario.total_bandwidth / 1e6:g} MHz"
        print(f"{system}, decided by {options.controller}\n\n{aligned(*_device_cells(solution.devices))}")
        print(f"\n{summary(solution)}\n\n{aligned(*_rival_cells(solution, options.controller))}")
    warn_of_memory(options, scenario)


COMMAND = Command(
    __doc__,
    (
        "examples/devices.csv",
        "--scenario qwen3.5 --total-bandwidth 5e6 --certify 1e-6 examples/devices.csv",
        "--set max_draft_length=12 verification_fixed_time=0.04 examples/devices.csv",
        "--scenario qwen3.5 --server a100-32b --set payload=ids min_draft_length=0 examples/devices.csv",
        "--tpot 0.065 --certify 1e-6 --certificate proof.json examples/devices.csv",
        "--json - < examples/devices.csv",
    ),
    _add_options,
    _run,
)
