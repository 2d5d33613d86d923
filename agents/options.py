"""Command-line options that training and evaluation share, and the errors of both."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from agents.runs import RunConfig
from multispin_env.envs.settings import ENVIRONMENTS, Settings, Variant
from multispin_env.evaluation.cli import add_set_option, chosen_arguments
from multispin_env.evaluation.printing import sentence

RUNS = Path("runs")

TRAINING_DEFAULTS: dict[str, Any] = {"history": True, "plan_quantile": 0.05, "half": 0, "modelled": True}
"""Arguments with another default here than in the environments that have them.

With ``history`` the counts since a request began are observed: all that the past tells of its rate, so that a network
without memory can use it. Delayed channels need none: the gain of Gauss-Markov fading is a Markov process, of which the
last report says all. With ``plan_quantile`` zero actions there mean the bandwidth of the best plug-in, so that a
network learns on top of it. With ``half`` and ``modelled`` agents learn from a model of half of the recorded texts, and
are measured on the replay of the others.
"""

REFUSED = (ValueError, TypeError, MemoryError)
"""Errors of what the user asks for, which `fail` says in one sentence."""

OWN_OPTIONS = ("action", "reward", "optimum", "render_mode", "scenario")
"""Arguments of environments that are no part of what ``--set`` chooses here."""


def add_system_options(parser: argparse.ArgumentParser) -> None:
    """``--env --scenario --num-users --total-bandwidth --set``; ``None`` where not given."""
    parser.add_argument("--env", help=f"environment id: {', '.join(ENVIRONMENTS.names())}")
    parser.add_argument("--scenario", help="preset name (default llama2)")
    parser.add_argument("--num-users", type=int, help="K, number of devices (default 20)")
    parser.add_argument("--total-bandwidth", type=float, help="B, uplink budget in Hz (default 10e6)")
    add_set_option(
        parser,
        "arguments of the environment, as spread=0.2; values as in Python (other defaults here than in the "
        "environments: " + ", ".join(f"{name}={value}" for name, value in TRAINING_DEFAULTS.items()) + ")",
    )


def own_arguments(variant: type[Variant], values: Mapping[str, Any] = TRAINING_DEFAULTS) -> dict[str, Any]:
    """Those of these values that are arguments of a variant; what training takes if it is told none."""
    own = {field.name for field in fields(variant)}
    return {name: value for name, value in values.items() if name in own}


def settings_from(options: argparse.Namespace, env_id: str, action: str, base: RunConfig | None = None) -> Settings:
    """Environment of the options, on top of what a run has where there is one.

    Raises
    ------
    ValueError, TypeError
        As the environment itself, and for an argument that is given twice or has an option of its own.
    """
    variant = ENVIRONMENTS.load(env_id)
    kept = TRAINING_DEFAULTS if base is None else base.arguments
    others = own_arguments(variant, kept) | _given(options)
    scenario = options.scenario or ("llama2" if base is None else base.scenario)
    chosen = {"action": action, "reward": "expected", "optimum": False}
    settings = Settings.make(env_id, variant, scenario, chosen, others)
    settings.variant.assumptions(settings.scenario)  # refuses what the scenario does not allow
    return settings


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of the environment, by ``--set`` or an option of their own."""
    found = chosen_arguments(options)
    for name in OWN_OPTIONS:
        if name in found:
            raise ValueError(f"set: got {name!r}, allowed is an argument other than {list(OWN_OPTIONS)}")
    return found


def run_folder(name: str) -> Path:
    """Folder of a run's name or path; ``.`` and ``..`` are paths."""
    path = Path(name)
    return path if path.parts[:-1] or path.name in ("", "..") else RUNS / path


def fail(program: str, error: Exception) -> NoReturn:
    """One sentence on stderr, exit status 2."""
    print(f"{program}: {sentence(error)}", file=sys.stderr)
    raise SystemExit(2)
