"""Runs: budgets, folders, configurations, and command-line options."""

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
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from multispin_agents.registry import AGENTS, check_admitted
from multispin_env.apps.terminal.arguments import DEFAULT_ENV, DEFAULT_SCENARIO, check_settings, collect_arguments
from multispin_env.checks import check_fields, check_integer, check_real, checked_field
from multispin_env.device import LOADS
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.statistics import TUNING_SEED
from multispin_env.files import checksum, lock_folder, make_folder, read_table, write_atomically
from multispin_env.registry import CONTINUOUS_ENCODINGS, ENCODINGS, ENVIRONMENTS, FLEETS


@dataclass
class Budget:
    """Limit on environment steps or on time; the learning rate decreases with the remaining budget."""

    timesteps: int | None  # of all environments, including those before a resume
    seconds: float | None
    spent_seconds: float = 0.0  # before a resume
    _start: float = field(default_factory=lambda: time.monotonic())

    @property
    def elapsed(self) -> float:
        """Seconds spent, including those before a resume."""
        return self.spent_seconds + time.monotonic() - self._start

    def fraction_used(self, num_timesteps: int) -> float:
        """Return the used fraction of the budget, from 0 to 1."""
        by_steps = 0.0 if self.timesteps is None else num_timesteps / self.timesteps
        by_time = 0.0 if self.seconds is None else self.elapsed / self.seconds
        return min(1.0, max(by_steps, by_time))

    def remaining(self, progress: float) -> float:
        """Return the remaining fraction of the budget, given Stable-Baselines3's remaining progress."""
        if self.seconds is None:
            return progress
        return 1.0 - min(1.0, self.elapsed / self.seconds)


@dataclass(frozen=True)
class Limits:
    """Positive budget of a run in environment steps or minutes; by default the agent's steps."""

    timesteps: int | None = checked_field(None, check_integer, 1)
    minutes: float | None = checked_field(None, check_real, 0.0, open_low=True)

    def __post_init__(self) -> None:
        check_fields(self)

    def budget(self, default_timesteps: int, spent_seconds: float) -> Budget:
        """Start the budget."""
        seconds = None if self.minutes is None else 60.0 * self.minutes
        timesteps = default_timesteps if self.timesteps is None and seconds is None else self.timesteps
        return Budget(timesteps, seconds, spent_seconds)


SCHEMA = 4
"""Version of the files of a run; files of other versions are refused."""

DIGEST = "sha256"
"""Entry of a file with the SHA-256 of its other entries."""

CONFIG = "config.json"

NAME = re.compile(r"\w[\w.+=-]*")
_LONGEST_NAME = 100
_PACKAGES = ("multispin_env", "gymnasium", "numpy", "scipy", "torch", "stable-baselines3", "safetensors")


@dataclass(frozen=True)
class RunConfig:
    """Configuration of a run without its budget; raises ``ValueError`` or ``TypeError`` if training is impossible."""

    env: EnvConfig
    agent: str
    seed: int  # of all random numbers

    def __post_init__(self) -> None:
        check_admitted(self.agent)
        check_integer("seed", self.seed, 0)
        AGENTS.load(self.agent).check(self.env)
        _ = self.env.observations  # raises for scenarios beyond the observation's bounds

    @property
    def choice(self) -> dict[str, Any]:
        """Command-line options of the run other than those of the system."""
        return {"env": self.env.env_id, "agent": self.agent, "action": self.env.action, "seed": self.seed}

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as a dict for JSON."""
        return {**self.env.to_dict(), "agent": self.agent, "seed": self.seed}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def make_next_folder(parent: Path, stem: str) -> Path:
    """Atomically create and return the first of the folders ``stem-1``, ``stem-2``, ... that does not exist yet."""
    make_folder(parent)
    for folder in (parent / f"{stem}-{number}" for number in itertools.count(1)):
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError


def check_run_name(name: str) -> str:
    """Return the name of a new run, the last part of its folder; raise ``ValueError`` if it is not valid."""
    if not NAME.fullmatch(name) or len(os.fsencode(name)) > _LONGEST_NAME:
        raise ValueError(
            f"name: expected letters, digits and _ . + = -, at most {_LONGEST_NAME} bytes, starting with a "
            f"letter, digit or _, got {name!r}"
        )
    return name


def save_config(folder: Path, config: RunConfig, limits: Limits) -> None:
    """Write ``config.json`` with budget and versions, and copies of files; raise ``ValueError`` if it exists."""
    content = {
        **config.to_dict(),
        "limits": asdict(limits),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in _PACKAGES},
    }
    if (folder / CONFIG).exists():
        raise ValueError(f"name: expected a new name, or --resume, got {str(folder)!r}, which exists")
    for name, path in config.env.files.items():
        write_atomically(folder / name, path.read_bytes())
    write_record(folder / CONFIG, content)


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Lock the folder of a run until the end of the block.

    Raises ``ValueError`` if another process has locked it, and as in `refuse_links`.
    """
    refuse_links(folder)
    with lock_folder(folder):
        yield


def refuse_links(folder: Path) -> None:
    """Raise ``ValueError`` if a folder contains links, which may lead to files outside."""
    # unlike `Path.rglob`, this does not fail if another process removes a folder meanwhile
    paths = (Path(top, name) for top, *names in os.walk(folder) for name in itertools.chain(*names))
    links = [path for path in paths if path.is_symlink()]
    if links:
        raise ValueError(f"run: expected a folder without links, got {str(links[0])!r}")


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON content with the current schema and a digest, which `read_record` checks."""
    content = {"schema": SCHEMA, **content}
    text = json.dumps({**content, DIGEST: digest(content)}, indent=2, ensure_ascii=False)
    write_atomically(path, text.encode())


def read_record(path: Path) -> dict[str, Any]:
    """Read JSON content; ``ValueError`` or ``OSError`` unless `write_record` of this version has written it."""
    content = read_table(path)
    check_unchanged(content)
    return content


def digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of JSON content without its entry `DIGEST`, for any layout of the file."""
    others = {key: value for key, value in content.items() if key != DIGEST}
    return checksum(json.dumps(others, sort_keys=True).encode())


def check_unchanged(content: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` unless the content of a file has the current schema and a matching digest."""
    schema = content.get("schema")
    if schema != SCHEMA:
        raise ValueError(f"schema: expected {SCHEMA}, got {schema!r}, of another version of this project")
    if content.get(DIGEST) != digest(content):
        raise ValueError("the content does not match its digest; restore the original, or train a new run")


def load_config(folder: Path, arguments: Mapping[str, Any] | None = None) -> tuple[RunConfig, Limits]:
    """Read the configuration and budget of a run; raise ``ValueError`` if ``config.json`` is missing or not valid.

    The configuration can only name files in its folder; the user's ``arguments`` may replace them by other paths.
    """
    path = folder / CONFIG
    if not os.path.isfile(path):  # Path.is_file raises for names that are too long
        raise ValueError(f"run: expected the folder of a run, with its {CONFIG}, got {str(folder)!r}")
    try:
        content = read_record(path)
        config = RunConfig(EnvConfig.from_dict(content, folder, arguments or {}), content["agent"], content["seed"])
        return config, Limits(**content["limits"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}: can't be read as the configuration of a run ({error})") from None


RUNS = Path("runs")

TRAINING_DEFAULTS: dict[str, Any] = {"history": True, "plan_quantile": 0.05, "half": 0, "modelled": True}
"""Arguments of environments whose defaults differ in training.

With ``history``, counts since a request began are observed. They contain everything that the past reveals about its
rate, so a network without memory is sufficient. Delayed channels need no history: the gain of Gauss-Markov fading is a
Markov process, so the last report is sufficient. With ``plan_quantile``, zero actions there give the bandwidth of the
best plug-in, and a network learns corrections. With ``half`` and ``modelled``, agents learn from a model of half of the
recorded texts and are measured on the replay of the other half.
"""

SETTINGS = (
    "arguments of the environment, such as spread=0.2; values as in Python (defaults that differ in training: "
    + ", ".join(f"{name}={value}" for name, value in TRAINING_DEFAULTS.items())
    + ")"
)

ENCODING_NAMES = tuple(dict.fromkeys((*ENCODINGS.names(), *CONTINUOUS_ENCODINGS.names())))

_OWN_OPTIONS = ("action", "reward", "optimum", "render_mode")
"""Arguments of environments that ``--set`` cannot set in these commands."""


def default_choice(env_id: str) -> dict[str, Any]:
    """Return the default environment, and the default agent, action encoding and seed for ``env_id``.

    If steps differ in duration, evolution improves on the rule at action 0, and PPO hardly does.
    """
    by_time = ENVIRONMENTS.load(env_id).family == "continuous"
    agent, action = ("evolution", "tuned") if by_time else ("ppo", "residual")
    return {"env": DEFAULT_ENV, "agent": agent, "action": action, "seed": 0}


def supported_arguments(kind: type[EnvConfig], values: Mapping[str, Any] = TRAINING_DEFAULTS) -> dict[str, Any]:
    """Return the values that are arguments of an environment."""
    return {name: value for name, value in values.items() if name in kind.own_fields()}


def env_config_from(options: argparse.Namespace, env_id: str, action: str, base: RunConfig | None = None) -> EnvConfig:
    """Return the environment of command-line options; defaults are those of the run ``base``, if any.

    Errors are those of the environment, and a ``ValueError`` for an argument that is set twice or has its own option.
    """
    defaults = TRAINING_DEFAULTS if base is None else base.env.arguments
    arguments = collect_arguments(options, _OWN_OPTIONS)
    check_settings(options, arguments, [env_id])
    arguments = supported_arguments(ENVIRONMENTS.load(env_id), defaults) | arguments
    scenario = options.scenario or (DEFAULT_SCENARIO if base is None else base.env.scenario)
    config = with_reference(EnvConfig.of(env_id, scenario, action=action, **arguments))
    _ = config.assumptions  # raises if the scenario does not allow the environment
    return config


def config_from(options: argparse.Namespace) -> RunConfig:
    """Return a new run from command-line options and the default choice of the environment."""
    env_id = DEFAULT_ENV if options.env is None else options.env
    choice = default_choice(env_id)
    choice |= {name: getattr(options, name) for name in choice if getattr(options, name, None) is not None}
    return RunConfig(env_config_from(options, choice["env"], choice["action"]), choice["agent"], choice["seed"])


def with_reference(config: EnvConfig) -> EnvConfig:
    """Return the configuration with a rule for action 0; if there are several, the best one in a few episodes."""
    names = config.starts.get(config.action, ())
    if len(names) < 2 or config.arguments["reference"] is not None:
        return config
    cases = Episodes(config, 8, TUNING_SEED)
    return config.replace(reference=max(names, key=lambda name: float(cases.values(name).mean())))


def run_folder(name: str) -> Path:
    """Return the folder of a run from its name or path; ``.`` and ``..`` are paths."""
    path = Path(name)
    return path if path.parts[:-1] or path.name in ("", "..") else RUNS / path


def command_of(folder: Path) -> str:
    """Return the command that trains the run again; raise ``ValueError`` if its scenario is not a preset."""
    config, limits = load_config(folder)
    env = config.env
    defaults = default_choice(env.env_id)
    options = {name: value for name, value in config.choice.items() if defaults[name] != value}
    changed = env.changed_fields
    options |= {name: changed.pop(name) for name in ("num_users", "total_bandwidth") if name in changed}
    if env.scenario.name != DEFAULT_SCENARIO:
        options["scenario"] = env.scenario.name
    options |= {name: value for name in ("server", "draft") if (value := getattr(env.scenario, name))}
    if env.scenario.fleet:
        changed |= {"device_load": env.scenario.device_load} if env.scenario.device_load != LOADS[0] else {}
        named = env.scenario.devices.fleet_name in FLEETS.names()
        (options if named else changed)["fleet"] = env.scenario.devices.fleet_name if named else env.scenario.fleet
    options |= {name: value for name, value in vars(limits).items() if value is not None}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    usual = {name: field.default for name, field in env.own_fields().items()} | supported_arguments(type(env))
    saved = env.to_dict()["arguments"]  # with the names of files in the folder
    changed = {name: value for name, value in saved.items() if value != usual[name]} | changed
    settings = ["--set", *(f"{name}={value}" for name, value in changed.items())] if changed else []
    return shlex.join(["python", "train.py", *words, *settings])
