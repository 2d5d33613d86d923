"""Write every field of every task of the suite out, with the values that the code has now for fields that are missing.

Run it after a scenario or an environment gets new fields, before the version is published; it keeps all other values.
"""

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from multispin_env.envs.config import EnvConfig
from multispin_env.files import parse_toml, write_atomically
from multispin_lab.suite.frozen import DATA, VERSION
from multispin_lab.suite.version import with_none

FILE = DATA / f"{VERSION}.toml"


def run(options: Namespace) -> None:
    """Read the tasks and write them with all fields."""
    text = FILE.read_text(encoding="utf-8")
    head = text.partition("\n\n")[0]
    tasks = [_task(name, table) for name, table in parse_toml(text).items()]
    write_atomically(FILE, ("\n\n".join([head, *tasks]) + "\n").encode())


def _task(name: str, table: Mapping[str, Any]) -> str:
    full = EnvConfig.from_dict(with_none(table)).to_dict()
    fields = {key: value for key, value in table.items() if not isinstance(value, dict)}
    blocks = {name: fields, **{f"{name}.{part}": full[part] for part in ("arguments", "scenario")}}
    return "\n\n".join("\n".join([f"[{title}]", *_lines(values)]) for title, values in blocks.items())


def _lines(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if key == "tasks":
            yield "\n".join(["tasks = [", *(f"  {_text(task)}," for task in value), "]"])
        else:
            yield f"{key} = {_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:_}" if value >= 10**7 else str(value)
    text = "none" if value is None else value
    return f'"{text}"' if isinstance(text, str) else repr(text)
