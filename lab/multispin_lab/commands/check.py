"""Check a certificate: a proof of the optimum of a round, or of the bound without the barrier.

It prints the system of the file and what is proven. The file cannot prove that its system is yours: compare it by eye,
or with --devices, up to a relative rounding error of 1e-12. The exit status is 1 if the proof is refused, or if the
devices or the scenario differ.
"""

import argparse
import sys
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.apps.commands.solve import read_system
from multispin_env.apps.terminal.arguments import Command, add_scenario_options, add_set_option
from multispin_env.bounds.rate_certificate import rate_system
from multispin_env.certificates import check, check_rate
from multispin_env.certificates.write import round_system
from multispin_env.checks import check_name, shown
from multispin_env.evaluation.statistics import aligned
from multispin_env.files import read_json
from multispin_env.solver.problem import checked_problem
from multispin_env.units import MHZ, MS
from multispin_lab.models.profile import describe_pieces

_System = dict[str, Any]


_CHECKS = {check.FORMAT: check.claim, check_rate.FORMAT: check_rate.claim}

_COLUMNS = {
    "draft_time": ("draft (ms a token)", MS, -1.0),
    "spectral_efficiency": ("bit/s/Hz", 1.0, 0.0),
    "token_time": ("upload (ms a token)", MS, 0.0),
    "acceptance_rate": ("acceptance", 1.0, -1.0),
    "weights": ("weight", 1.0, 1.0),
    "token_price": ("price of a token", 1.0, 0.0),
    "head_start": ("head start", 1.0, 0.0),
    "low": ("shortest", 1.0, -1.0),
    "high": ("longest", 1.0, -1.0),
}
"""Title, unit and usual value, which is not shown, of columns of a system."""


def _numbers(item: Any) -> Any:
    """Return a system, or a part of it, with numbers for texts."""
    if isinstance(item, dict):
        return {name: _numbers(part) for name, part in item.items()}
    if isinstance(item, list):
        return [_numbers(part) for part in item]
    return float.fromhex(item) if isinstance(item, str) else item


def _describe(system: _System) -> str:
    """Return a system as a table of devices and lines about the rest."""
    titles, columns = ["device"], [np.char.mod("%d", 1 + np.arange(system["num_users"]))]
    for name, (title, unit, usual) in _COLUMNS.items():
        values = np.array(system.get(name, usual)) / unit
        values = values.max(-1) if values.ndim == 2 else np.broadcast_to(values, len(columns[0]))
        if (values != usual).any():
            titles.append(title)
            columns.append(np.char.mod("%.4g", values))
    lines = {"server": f"{system['fixed_time'] / MS:.4g} ms + {system['time_per_draft'] / MS:.4g} ms K"}
    if any(map(any, system.get("pieces", ()))):
        padded = ", n as if all drafts were as long as the longest" * system["padded"]
        lines["server"] += f" + {describe_pieces(system['pieces'])}{padded}"
    lines["round trip"] = f"{system['round_trip'] / MS:.4g} ms"
    if "bandwidth" in system:
        lines["band"] = f"{system['bandwidth'] / MHZ:g} MHz, {system['bits_per_token']:g} bits a token"
        lines["TPOT"] = "none" if system["tpot"] is None else f"{system['tpot'] / MS:g} ms"
    else:
        states = max(map(len, system["probability"]))
        lines["channel"] = "static" if states == 1 else f"{states} states, drawn for each cycle; the worst is shown"
    text = "\n".join(f"{name:10}  {line}" for name, line in lines.items())
    return f"{aligned(tuple(titles), list(zip(*columns, strict=True)))}\n\n{text}"


def _difference(name: str, mine: Any, found: Any) -> str | None:
    """Return a sentence about the first number that differs."""
    if isinstance(mine, list) and isinstance(found, list) and len(mine) == len(found):
        parts = (_difference(f"{name}[{i}]", *pair) for i, pair in enumerate(zip(mine, found, strict=True)))
        return next(filter(None, parts), None)
    same = mine == found or (
        isinstance(mine, float) and isinstance(found, float) and isclose(mine, found, rel_tol=1e-12)
    )
    return None if same else f"{name}: expected {shown(mine)}, got {shown(found)}"


def _system(options: argparse.Namespace, kind: str, barrier: bool) -> _System:
    """Return the system of the options in the format of a certificate; ``barrier`` is part of the claim."""
    devices, scenario = read_system(options, options.devices)
    if kind == check_rate.FORMAT:
        return rate_system(scenario, devices.state, barrier=barrier)[0]
    problem = checked_problem(scenario, devices.state, devices.weights, tpot=options.tpot)
    return round_system(scenario, devices.state, problem, options.tpot)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="certificate of solve --certificate, certificate or rate_certificate")
    devices = "compare the system with these devices, as of solve, and the scenario of the other options"
    parser.add_argument("--devices", type=Path, metavar="FILE", help=devices)
    add_scenario_options(parser)
    parser.add_argument("--tpot", type=float, metavar="S", help="limit on the time per token (default: none)")
    add_set_option(parser)


def _run(options: argparse.Namespace) -> int:
    others = {**vars(options), "file": None, "program": None, "command": None}
    if options.devices is None and any(value not in (None, []) for value in others.values()):
        raise ValueError("devices: expected a file with options of a system such as --scenario, got none")
    try:
        certificate = read_json(options.file)
    except (OSError, ValueError) as error:
        raise ValueError(f"file: expected a certificate, got {str(options.file)!r} ({error})") from None
    kind = certificate.get("format") if isinstance(certificate, dict) else None
    check_name(f"{options.file}: format", kind, _CHECKS)
    try:
        claim = _CHECKS[str(kind)](certificate)
    except ValueError as error:
        print(f"{options.program}: refused: {error}", file=sys.stderr)
        return 1
    system = _numbers(certificate["system"])
    if options.devices is None:
        print(_describe(system))
    else:
        mine = _numbers(_system(options, str(kind), system.get("fewest") == system["num_users"]))
        difference = next(filter(None, (_difference(name, mine[name], system[name]) for name in mine)), None)
        if difference is not None:
            print(f"{options.program}: not the system of {options.devices}: {difference}", file=sys.stderr)
            return 1
        print(f"the system is that of {options.devices}")
    print(f"\nproven: {claim}")
    return 0


COMMAND = Command(
    __doc__,
    (
        "proof.json",
        "proof.json --devices examples/devices.csv --scenario qwen3.5 --total-bandwidth 5e6",
    ),
    _add_options,
    _run,
)
