"""Runs: their budgets, folders and configurations, and the options of commands that make one."""

import argparse
import itertools
import json
import os
import platform
import re
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from agents.registry import AGENTS, check_admitted
from multispin_env.apps.terminal.arguments import DEFAULT_ENV, DEFAULT_SCENARIO, check_settings, collect_arguments
from multispin_env.checks import check_integer, check_name, check_real
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.variant import Variant
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.policy import checksum
from multispin_env.evaluation.statistics import TUNING_SEED
from multispin_env.files import locked, make_folder, read_json, write_atomically
from multispin_env.registry import CONTINUOUS_ENCODINGS, ENCODINGS, ENVIRONMENTS


@dataclass
class Budget:
    """A limit on rounds or on time; the learning rate falls with what remains of it."""

    timesteps: int | None  # of all copies, counted over resumed parts too
    seconds: float | None
    spent_seconds: float = 0.0  # of the parts before a resume
    _start: float = field(default_factory=lambda: time.monotonic())

    @property
    def elapsed(self) -> float:
        """Seconds spent, those before a resume included."""
        return self.spent_seconds + time.monotonic() - self._start

    def done(self, num_timesteps: int) -> float:
        """Fraction of the budget that is used, 0 to 1."""
        by_steps = 0.0 if self.timesteps is None else num_timesteps / self.timesteps
        by_time = 0.0 if self.seconds is None else self.elapsed / self.seconds
        return min(1.0, max(by_steps, by_time))

    def remaining(self, progress: float) -> float:
        """Fraction that remains, given Stable-Baselines3's own fraction of the timesteps."""
        if self.seconds is None:
            return progress
        return 1.0 - min(1.0, self.elapsed / self.seconds)


@dataclass(frozen=True)
class Limits:
    """Budget of a run: rounds, else minutes, else the agent's default rounds; ``ValueError`` for one of nothing."""

    timesteps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.timesteps is not None:
            check_integer("timesteps", self.timesteps, 1)
        if self.minutes is not None:
            check_real("minutes", self.minutes, 0.0, open_low=True)

    def budget(self, default_timesteps: int, spent_seconds: float) -> Budget:
        """Start the clock."""
        seconds = None if self.minutes is None else 60.0 * self.minutes
        timesteps = default_timesteps if self.timesteps is None and seconds is None else self.timesteps
        return Budget(timesteps, seconds, spent_seconds)


SCHEMA = 3
"""Version of a run's files; a reader refuses another."""

DIGEST = "sha256"
"""Entry of a file that holds the SHA-256 of all else in it."""

CONFIG = "config.json"

PROGRAM = "policy.pt2"
"""File of an export for PyTorch; ``torch.export.load`` reads it."""

NAME = re.compile(r"\w[\w.+=-]*")
_LONGEST_NAME = 100
_PACKAGES = ("multispin_env", "gymnasium", "numpy", "scipy", "torch", "stable-baselines3", "safetensors")


@dataclass(frozen=True)
class RunConfig:
    """All that decides what a run trains, but for its budget; ``ValueError`` or ``TypeError`` if that can't be."""

    env: EnvConfig
    agent: str
    seed: int  # of everything random

    def __post_init__(self) -> None:
        check_admitted(self.agent)
        check_integer("seed", self.seed, 0)
        AGENTS.load(self.agent).check(self.env)
        _ = self.env.observations  # refuses scenarios beyond the observation's bounds

    @property
    def choice(self) -> dict[str, Any]:
        """Options of a command that choose them, beside those of the system."""
        return {"env": self.env.env_id, "agent": self.agent, "action": self.env.action, "seed": self.seed}

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON can hold it."""
        return {**self.env.to_dict(), "agent": self.agent, "seed": self.seed}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def make_next_folder(parent: Path, stem: str) -> Path:
    """Create the first of ``stem-1``, ``stem-2``, ... that is not there, which no other process can get too."""
    make_folder(parent)
    for folder in (parent / f"{stem}-{number}" for number in itertools.count(1)):
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError


def check_run_name(name: str) -> str:
    """Return the name of a new run, the last part of its folder; ``ValueError`` if it is none."""
    if not NAME.fullmatch(name) or len(os.fsencode(name)) > _LONGEST_NAME:
        raise ValueError(
            f"name: expected letters, digits and _ . + = -, {_LONGEST_NAME} bytes at most, the first a "
            f"letter, digit or _, got {name!r}"
        )
    return name


def save_config(folder: Path, config: RunConfig, limits: Limits) -> None:
    """Write ``config.json`` with budget and versions, and the files it names; ``ValueError`` if it is there."""
    content = {
        "schema": SCHEMA,
        **config.to_dict(),
        "limits": asdict(limits),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in _PACKAGES},
    }
    text = json.dumps({**content, DIGEST: digest(content)}, indent=2, ensure_ascii=False)
    if (folder / CONFIG).exists():
        raise ValueError(f"name: expected a new name, or --resume, got {str(folder)!r}, which exists")
    for name, path in config.env.files.items():
        write_atomically(folder / name, path.read_bytes())
    write_atomically(folder / CONFIG, text.encode())


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep the folder of a run to oneself until the end of the block.

    ``ValueError`` if another process has it, or there is a link in it: a stranger's may lead to files outside.
    """
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    if links:
        raise ValueError(f"run: expected a folder without links, got {str(links[0])!r}")
    with locked(folder):
        yield


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of what JSON says, however it is laid out; the entry that holds it is left out."""
    others = {key: value for key, value in content.items() if key != DIGEST}
    return checksum(json.dumps(others, sort_keys=True).encode())


def check_unchanged(content: Mapping[str, Any]) -> None:
    """``ValueError`` unless a file's content is of today's schema and has the digest that it was written with."""
    schema = content.get("schema")
    if schema != SCHEMA:
        raise ValueError(f"schema: expected {SCHEMA}, got {schema!r}; another version of this project made it")
    if content.get(DIGEST) != digest(content):
        raise ValueError("it has changed since it was written; put the original back, or train again under a new name")


def load_config(folder: Path, given: Mapping[str, Any] | None = None) -> tuple[RunConfig, Limits]:
    """Read what ``config.json`` says of a run and its budget; ``ValueError`` if it is missing or not one of ours.

    It names files of its folder alone. Arguments ``given`` by the user take the place of names of other files.
    """
    path = folder / CONFIG
    if not os.path.isfile(path):  # Path.is_file raises for names that are too long
        raise ValueError(f"run: expected the folder of a run, with its {CONFIG}, got {str(folder)!r}")
    try:
        content = read_json(path)
        check_unchanged(content)
        config = RunConfig(EnvConfig.from_dict(content, folder, given or {}), content["agent"], content["seed"])
        return config, Limits(**content["limits"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}: can't be read as the configuration of a run ({error})") from None


RUNS = Path("runs")

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

_OWN_OPTIONS = ("action", "reward", "optimum", "render_mode")
"""Arguments of environments that are no part of what ``--set`` chooses here."""


def usual_choice(env_id: str) -> dict[str, Any]:
    """Environment, agent, action encoding and seed of a run where nothing is said, but that it is in this environment.

    Where steps take different times, PPO finds little beyond the rule that it starts from, and evolution does.
    """
    by_time = ENVIRONMENTS.load(env_id)().learning.discount_of == "second"
    agent, action = ("evolution", "tuned") if by_time else ("ppo", "residual")
    return {"env": DEFAULT_ENV, "agent": agent, "action": action, "seed": 0}


def own_arguments(variant: type[Variant], values: Mapping[str, Any] = TRAINING_DEFAULTS) -> dict[str, Any]:
    """Those of these values that are arguments of a variant; what training takes if it is told none."""
    own = {field.name for field in fields(variant)}
    return {name: value for name, value in values.items() if name in own}


def env_config_from(options: argparse.Namespace, env_id: str, action: str, base: RunConfig | None = None) -> EnvConfig:
    """Environment of the options, on top of what a run has where there is one.

    ``ValueError`` or ``TypeError`` as of the environment itself, and for an argument that is given twice or has an
    option of its own.
    """
    kept = TRAINING_DEFAULTS if base is None else base.env.arguments
    given = collect_arguments(options, _OWN_OPTIONS)
    check_settings(options, given, [env_id])
    others = own_arguments(ENVIRONMENTS.load(env_id), kept) | given
    scenario = options.scenario or (DEFAULT_SCENARIO if base is None else base.env.scenario)
    config = with_start(EnvConfig.of(env_id, scenario, action=action, **others))
    config.variant.assumptions(config.scenario)  # refuses what the scenario does not allow
    return config


def config_from(options: argparse.Namespace) -> RunConfig:
    """New run of the options; what is not given, or no option of the command, is the usual choice there."""
    env_id = DEFAULT_ENV if options.env is None else options.env
    check_name("env", env_id, ENVIRONMENTS.names())
    usual = usual_choice(env_id)
    given = {name: getattr(options, name) for name in usual if getattr(options, name, None) is not None}
    chosen = {**usual, **given}
    return RunConfig(env_config_from(options, chosen["env"], chosen["action"]), chosen["agent"], chosen["seed"])


def with_start(config: EnvConfig) -> EnvConfig:
    """Configuration that says which rule action 0 is: of several that are worth it, the best in a few episodes."""
    names = config.variant.learning.starts.get(config.action, ())
    if len(names) < 2 or config.arguments["reference"] is not None:
        return config
    cases = Episodes(config, 8, TUNING_SEED)
    return config.replace(reference=max(names, key=lambda name: float(cases.values(name).mean())))


def run_folder(name: str) -> Path:
    """Folder of a run's name or path; ``.`` and ``..`` are paths."""
    path = Path(name)
    return path if path.parts[:-1] or path.name in ("", "..") else RUNS / path


def command_of(folder: Path) -> str:
    """The command that trains a run like this one; ``ValueError`` for a scenario that is no preset."""
    config, limits = load_config(folder)
    env = config.env
    usual = usual_choice(env.env_id)
    given = {name: value for name, value in config.choice.items() if usual[name] != value}
    others = env.changed_fields
    given |= {name: others.pop(name) for name in ("num_users", "total_bandwidth") if name in others}
    if env.scenario.name != DEFAULT_SCENARIO:
        given["scenario"] = env.scenario.name
    if env.scenario.server:
        given["server"] = env.scenario.server
    given |= {name: value for name, value in vars(limits).items() if value is not None}
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    changed = [*_changed_arguments(env), *(f"{name}={value}" for name, value in others.items())]
    return shlex.join(["python", "train.py", *words, *(["--set", *changed] if changed else [])])


def _changed_arguments(env: EnvConfig) -> list[str]:
    usual = {field.name: field.default for field in fields(env.variant)} | own_arguments(type(env.variant))
    saved = env.to_dict()["arguments"]  # files by the names that they have beside the configuration
    return [f"{name}={value}" for name, value in saved.items() if value != usual[name]]
