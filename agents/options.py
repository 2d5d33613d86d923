"""Options of training and evaluation, and what they mean."""

import argparse
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from agents.base import usual_choice
from agents.runs import RunConfig
from multispin_env.checks import check_name
from multispin_env.envs.settings import Settings, Variant
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.seeds import TUNING_SEED
from multispin_env.registry import CONTINUOUS_ENCODINGS, ENCODINGS, ENVIRONMENTS
from multispin_env.terminal.arguments import DEFAULT_ENV, DEFAULT_SCENARIO, check_settings, chosen_arguments

RUNS = Path("runs")

PILOTS = 8
"""Episodes that tell which rule to start from."""

TRAINING_DEFAULTS: dict[str, Any] = {"history": True, "plan_quantile": 0.05, "half": 0, "modelled": True}
"""Arguments with another default here than in the environments that have them.

With ``history`` the counts since a request began are observed: all that the past tells of its rate, so that a network
without memory can use it. Delayed channels need none: the gain of Gauss-Markov fading is a Markov process, of which the
last report says all. With ``plan_quantile`` zero actions there mean the bandwidth of the best plug-in, so that a
network learns on top of it. With ``half`` and ``modelled`` agents learn from a model of half of the recorded texts, and
are measured on the replay of the others.
"""

SETTINGS = (
    "arguments of the environment, as spread=0.2; values as in Python (other defaults here than in the environments: "
    + ", ".join(f"{name}={value}" for name, value in TRAINING_DEFAULTS.items())
    + ")"
)
"""Help of ``--set``."""

ENCODING_NAMES = tuple(dict.fromkeys((*ENCODINGS.names(), *CONTINUOUS_ENCODINGS.names())))
"""What ``--action`` takes, in rounds and without the barrier."""

OWN_OPTIONS = ("action", "reward", "optimum", "render_mode")
"""Arguments of environments that are no part of what ``--set`` chooses here."""


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
    variant: type[Variant] = ENVIRONMENTS.load(env_id)
    kept = TRAINING_DEFAULTS if base is None else base.arguments
    given = chosen_arguments(options, OWN_OPTIONS)
    check_settings(options, given, env_id)
    others = own_arguments(variant, kept) | given
    scenario = options.scenario or (DEFAULT_SCENARIO if base is None else base.scenario)
    chosen = {"action": action, "reward": None, "optimum": False}
    settings = with_start(env_id, Settings.make(env_id, variant, scenario, chosen, others))
    settings.variant.assumptions(settings.scenario)  # refuses what the scenario does not allow
    return settings


def config_from(options: argparse.Namespace) -> RunConfig:
    """New run of the options; what is not given, or no option of the command, is the usual choice there.

    Raises
    ------
    ValueError, TypeError
        As `settings_from` and `RunConfig`, and for an unknown environment.
    """
    env_id = DEFAULT_ENV if options.env is None else options.env
    check_name("env", env_id, ENVIRONMENTS.names())
    usual = usual_choice(env_id)
    given = {name: getattr(options, name) for name in usual if getattr(options, name, None) is not None}
    chosen = {**usual, **given}
    settings = settings_from(options, chosen["env"], chosen["action"])
    return RunConfig(scenario=settings.scenario, arguments=settings.arguments, **chosen)


def with_start(env_id: str, settings: Settings) -> Settings:
    """Settings that say which rule action 0 is: of several that are worth it, the best in a few episodes."""
    names = settings.variant.learning.starts.get(settings.action, ())
    if len(names) < 2 or settings.arguments["reference"] is not None:
        return settings
    cases = Episodes(env_id, PILOTS, settings.scenario, settings.arguments, seed=TUNING_SEED)
    best = max(names, key=lambda name: float(cases.values(name).mean()))
    variant: Any = settings.variant
    return replace(settings, variant=replace(variant, reference=best))


def run_folder(name: str) -> Path:
    """Folder of a run's name or path; ``.`` and ``..`` are paths."""
    path = Path(name)
    return path if path.parts[:-1] or path.name in ("", "..") else RUNS / path
