"""Run folders: what a run is, and its configuration."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from agents.budget import Limits
from multispin_env.envs.named_files import loaded_arguments, named_files, saved_arguments
from multispin_env.envs.settings import Settings, Variant
from multispin_env.files import read_json
from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario

FORMAT = 1
"""Version of the configuration's file; a reader refuses another."""

CONFIG, CURVE = "config.json", "curve.csv"
PACKAGES = ("multispin_env", "gymnasium", "numpy", "scipy", "torch", "stable-baselines3", "safetensors")


@dataclass(frozen=True)
class RunConfig:
    """All that decides what a run trains, but for its budget.

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

    @property
    def settings(self) -> Settings:
        """The environment it trains on."""
        return Settings(self.scenario, ENVIRONMENTS.load(self.env).variant_type(**self.arguments), self.action)

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
        return ENVIRONMENTS.load(self.env).variant_type


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step, so that a kill leaves the old or the new one, never half of it."""
    draft = path.with_name(path.name + ".part")
    draft.write_bytes(content)
    os.replace(draft, path)


def make_folder(folder: Path) -> None:
    """Create the run folder; ``ValueError`` if it can't be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / ".writable", b"")
        (folder / ".writable").unlink()
    except OSError as error:
        raise ValueError(
            f"run folder: got {str(folder)!r}, allowed is a folder that can be written ({error})"
        ) from None


def save_config(folder: Path, config: RunConfig, limits: Limits) -> None:
    """Write ``config.json`` with the budget and the versions that are installed, and beside it the files it names."""
    versions = {package: _version(package) for package in PACKAGES}
    content = {
        "format": FORMAT,
        **config.to_dict(),
        "limits": asdict(limits),
        "python": platform.python_version(),
        "versions": versions,
    }
    write_atomically(folder / CONFIG, json.dumps(content, indent=2, ensure_ascii=False).encode())
    for name, path in config.files.items():
        write_atomically(folder / name, path.read_bytes())


def load_config(folder: Path, given: Mapping[str, Any] | None = None) -> tuple[RunConfig, Limits]:
    """Read what ``config.json`` says of a run and its budget; ``ValueError`` if it is missing or not one of ours.

    It names files of its folder alone. Arguments ``given`` by the user take the place of names of other files.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"run: got {str(folder)!r}, allowed is the folder of a run, with its {CONFIG}")
    try:
        content = read_json(path)
        if content["format"] != FORMAT:
            raise ValueError(f"format is {content['format']!r}, not {FORMAT}")
        config = RunConfig(
            env=content["env"],
            scenario=Scenario.from_dict(content["scenario"]),
            agent=content["agent"],
            action=content["action"],
            seed=content["seed"],
            arguments=loaded_arguments(
                ENVIRONMENTS.load(content["env"]).variant_type, content.get("arguments", {}), folder, given or {}
            ),
        )
        _ = config.settings  # refuses arguments that the environment does not take
        return config, Limits(**content["limits"])
    except (OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"{path}: can't be read as the configuration of a run ({error})") from None
