"""Tasks of the current version of the suite, read from a file."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from multispin_env.checks import check_complete, check_name, shown
from multispin_env.envs.config import EnvConfig
from multispin_env.files import parse_toml
from multispin_lab.suite.frozen import DATA, VERSION
from multispin_lab.suite.tasks import SuiteTask

_NONE = "none"  # ``None`` in TOML
_OF_CONFIG = ("env", "action", "reward", "arguments", "scenario")  # fields of the environment


def read_tasks(text: str) -> dict[str, SuiteTask]:
    """Read tasks from TOML; ``ValueError`` for missing or unknown fields, also those that have defaults elsewhere."""
    return {name: _task(name, with_none(table)) for name, table in parse_toml(text).items()}


def _task(name: str, content: Mapping[str, Any]) -> SuiteTask:
    try:
        config = EnvConfig.from_dict(content)
        check_complete("arguments", content["arguments"], config.own_fields())
        check_complete("scenario", content["scenario"], config.scenario.to_dict())
        others = {key: value for key, value in content.items() if key not in _OF_CONFIG}
        return SuiteTask(name, config=config, **{**others, "held_out": tuple(content["held_out"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"task {shown(name)}: {error}") from None


def with_none(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of TOML with ``None`` in the place of "none"."""
    return {
        name: with_none(value) if isinstance(value, dict) else None if value == _NONE else value
        for name, value in table.items()
    }


@cache
def _tasks() -> dict[str, SuiteTask]:
    return read_tasks((DATA / f"{VERSION}.toml").read_text(encoding="utf-8"))


def tasks() -> tuple[SuiteTask, ...]:
    """Return all tasks of the suite.

    Examples
    --------
    >>> import multispin_lab
    >>> [task.name for task in multispin_lab.suite.tasks()][:3]
    ['round-8', 'round-50', 'resize']
    """
    return tuple(_tasks().values())


def task(name: str) -> SuiteTask:
    """Return a task of the suite; ``ValueError`` for an unknown name suggests the closest.

    Examples
    --------
    >>> import multispin_lab
    >>> multispin_lab.suite.task("resize").hard
    'learnt with 8 devices, played with 2 to 200'
    """
    check_name("task", name, _tasks())
    return _tasks()[name]
