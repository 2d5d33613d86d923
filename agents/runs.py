"""Run folders: what a run is, and its configuration."""

import itertools
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from agents.budget import Limits
from agents.outside import check_admitted
from agents.registry import AGENTS
from multispin_env.checks import check_integer, check_name
from multispin_env.envs.named_files import loaded_arguments, named_files, saved_arguments
from multispin_env.envs.settings import Settings, Variant
from multispin_env.evaluation.exported import checksum
from multispin_env.files import locked, read_json
from multispin_env.files import make_folder as make_folder
from multispin_env.files import write_atomically as write_atomically
from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario

SCHEMA = 3
"""Version of a run's files; a reader refuses another."""

DIGEST = "sha256"
"""Entry of a file that holds the SHA-256 of all else in it."""

CONFIG = "config.json"
NAME = re.compile(r"\w[\w.+=-]*")
LONGEST_NAME = 100
PACKAGES = ("multispin_env", "gymnasium", "numpy", "scipy", "torch", "stable-baselines3", "safetensors")


@dataclass(frozen=True)
class RunConfig:
    """All that decides what a run trains, but for its budget; ``ValueError`` or ``TypeError`` if it can't be trained.

    Parameters
    ----------
    env
        Environment id.
    scenario
        The system.
    agent, action
        Names of the algorithm and of the action encoding.
    seed
        Of everything random.
    arguments
        Fields of the environment's variant; those that are missing have their defaults.
    """

    env: str
    scenario: Scenario
    agent: str
    action: str
    seed: int
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("env", self.env, ENVIRONMENTS.names())
        check_admitted(self.agent)
        check_integer("seed", self.seed, 0)
        AGENTS.load(self.agent).check(self.settings)
        _ = self.settings.observations  # refuses scenarios beyond the observation's bounds

    @property
    def settings(self) -> Settings:
        """The environment it trains on."""
        return Settings(self.scenario, ENVIRONMENTS.load(self.env)(**self.arguments), self.action)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        arguments = saved_arguments(self._variant, self.arguments)
        return {**asdict(self), "scenario": self.scenario.to_dict(), "arguments": arguments}

    @property
    def files(self) -> dict[str, Path]:
        """Files that its arguments name, by the names of their copies in the run's folder."""
        return named_files(self._variant, self.arguments)

    @property
    def _variant(self) -> type[Variant]:
        return ENVIRONMENTS.load(self.env)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def make_next_folder(parent: Path, stem: str) -> Path:
    """Create the first of ``stem-1``, ``stem-2``, ... that is not there, which no other process can get too."""
    make_folder(parent)
    for number in itertools.count(1):
        folder = parent / f"{stem}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError


def check_run_name(name: str) -> str:
    """Return the name of a new run, the last part of its folder; ``ValueError`` if it is none."""
    if not NAME.fullmatch(name) or len(os.fsencode(name)) > LONGEST_NAME:
        raise ValueError(
            f"name: expected letters, digits and _ . + = -, {LONGEST_NAME} bytes at most, the first a "
            f"letter, digit or _, got {name!r}"
        )
    return name


def save_config(folder: Path, config: RunConfig, limits: Limits) -> None:
    """Write ``config.json`` with budget and installed versions, and beside it the files it names; see `held`.

    Raises
    ------
    ValueError
        If there is a configuration already.
    """
    content = {
        "schema": SCHEMA,
        **config.to_dict(),
        "limits": asdict(limits),
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
    }
    text = json.dumps({**content, DIGEST: digest(content)}, indent=2, ensure_ascii=False)
    if (folder / CONFIG).exists():
        raise ValueError(f"name: expected a new name, or --resume, got {str(folder)!r}, which exists")
    for name, path in config.files.items():
        write_atomically(folder / name, path.read_bytes())
    write_atomically(folder / CONFIG, text.encode())


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep the folder of a run to oneself until the end of the block.

    Raises
    ------
    ValueError
        If another process has it, or there is a link in it: a stranger's may lead to files outside.
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
        own = {entry.name: content[entry.name] for entry in fields(RunConfig)}
        variant: type[Variant] = ENVIRONMENTS.load(content["env"])
        own["arguments"] = loaded_arguments(variant, content["arguments"], folder, given or {})
        config = RunConfig(**{**own, "scenario": Scenario.from_dict(content["scenario"])})
        return config, Limits(**content["limits"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}: can't be read as the configuration of a run ({error})") from None
