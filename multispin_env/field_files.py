"""Scenario and server files, in TOML or JSON; errors name the line."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields
from functools import partial
from inspect import getdoc, signature
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self, TypeVar

from multispin_env.checks import check_fields, check_instance, check_keywords, check_label, cut
from multispin_env.files import MIB, parse_json, parse_toml, read_bytes, write_text
from multispin_env.registry import Registry

Part = TypeVar("Part")

_PARSERS: Mapping[str, Callable[[str], Any]] = MappingProxyType({".toml": parse_toml, ".json": parse_json})

LARGEST_FILE = MIB  # Largest size of a file in bytes, hundreds of times the usual size
_value = partial(json.dumps, ensure_ascii=False)  # Numbers, text, booleans and lists are the same in TOML and JSON
_WIDEST = 80  # Comments are aligned after lines of at most this many characters
_PARAMETER = re.compile(r"^(\w+)\n((?: {4}.+\n?)+)", re.MULTILINE)  # Name and text of an entry of numpydoc


def is_file_name(name: object) -> bool:
    """Whether the name of a scenario or server is a file name."""
    return isinstance(name, str | PathLike) and str(name).lower().endswith(tuple(_PARSERS))


def read_fields(kind: str, path: str | PathLike[str], make: Callable[[dict[str, Any]], Part]) -> Part:
    """Read the fields of a file and ``make`` a scenario or server from them; ``kind`` is its name in errors.

    ``ValueError`` if the file can't be read or a field is bad; the message names the file and, where known, the line.
    """
    path = Path(path)
    parse = _parser(kind, path)
    try:
        text = read_bytes(path, LARGEST_FILE).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ValueError(f"{kind}: expected a file that can be read, got {str(path)!r} ({error})") from None
    try:
        content = parse(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: can't be read as JSON ({error.msg})") from None
    except ValueError as error:
        raise ValueError(f"{path}: can't be read as a {kind} ({cut(str(error))})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a table of fields, got {type(content).__name__}")
    try:
        return make(content)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path}{_line_of(str(error), text)}: {error}") from None


def make_from_fields(cls: type[Part], values: dict[str, Any], alternative: str = "") -> Part:
    """Make an object from its fields; ``ValueError`` names the missing ones that have no default."""
    parameters = signature(cls).parameters.values()
    missing = [entry.name for entry in parameters if entry.default is entry.empty and entry.name not in values]
    if missing:
        raise ValueError(f"{missing[0]}: expected a value for each of {missing}{alternative}, got none")
    return cls(**values)


class ProfileFile:
    """Base of profiles: dataclasses whose fields are those of a TOML or JSON file."""

    _kind: ClassVar[str]  # name in errors
    _table: ClassVar[Registry]  # registered profiles
    name: str

    def check_profile(self) -> None:
        """Check name, texts, and the fields that were made by `checked_field`."""
        check_label("name", self.name)
        for part in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            if part.type is str and part.default is MISSING:
                check_instance(part.name, getattr(self, part.name), str, "text")
        check_fields(self)

    @classmethod
    def resolve(cls, name: str, read_files: bool = True) -> Self:
        """Return the registered profile of this name, or that of a file unless ``read_files`` is false."""
        profile: Self = cls.load(name) if read_files and is_file_name(name) else cls._table.load(name)
        return profile

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a profile from a TOML or JSON file, as written by `save`.

        ``ValueError`` if the file can't be read or a field is unknown or bad; the message names the file and the line.

        Examples
        --------
        >>> import tempfile, multispin_env as ms
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = f"{folder}/mine.toml"
        ...     ms.registry.SERVERS.load("a100-32b").save(file)
        ...     ms.Server.load(file).name
        'a100-32b'
        """
        return read_fields(cls._kind, path, cls._from_table)

    @classmethod
    def _from_table(cls, values: dict[str, Any]) -> Self:
        check_keywords(cls.__name__, values, signature(cls).parameters)
        return make_from_fields(cls, values)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of a file as a dict that JSON can hold."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]  # subclasses are dataclasses

    def save(self, path: str | PathLike[str]) -> None:
        """Write all fields to a TOML or JSON file; TOML has their meanings and units as comments."""
        write_fields(self._kind, path, self)


def _parser(kind: str, path: Path) -> Callable[[str], Any]:
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        raise ValueError(f"{kind}: expected a file of {' or '.join(_PARSERS)}, got {str(path)!r}")
    return parse


def _line_of(message: str, text: str) -> str:
    words = [word for word in re.findall(r"\w+", message) if len(word) > 2]
    for word in words:
        match = re.search(rf"^[ \t]*[\"']?{re.escape(word)}[\"']?[ \t]*[=:]", text, re.MULTILINE)
        if match:
            return f", line {text.count(chr(10), 0, match.start()) + 1}"
    return ""


def write_fields(kind: str, path: str | PathLike[str], part: Any) -> None:
    """Write the fields of ``part.to_dict()`` that are not ``None`` as `read_fields` reads them.

    In TOML each field has a comment: the first sentence of its entry in the docstring of the class.
    """
    path = Path(path)
    _parser(kind, path)
    fields = {name: value for name, value in part.to_dict().items() if value is not None}
    as_json = path.suffix.lower() == ".json"
    text = json.dumps(fields, indent=2, ensure_ascii=False) + "\n" if as_json else _toml(fields, _meanings(type(part)))
    write_text(path, text)


def _meanings(cls: type) -> dict[str, str]:
    entries = _PARAMETER.findall((getdoc(cls) or "").replace("``", ""))  # empty in python -OO, which has no docstrings
    return {name: re.split(r"\.$|[.;] ", " ".join(text.split()))[0] for name, text in entries}


def _toml(fields: Mapping[str, Any], meanings: Mapping[str, str]) -> str:
    plain = [(name, _value(value)) for name, value in fields.items() if not _is_tables(value)]
    width = max((size for name, value in plain if (size := len(f"{name} = {value}")) <= _WIDEST), default=0)
    lines = [f"{f'{name} = {value}':{width}s}  # {meanings.get(name, '')}" for name, value in plain]
    for name, tables in fields.items():
        if _is_tables(tables):
            for table in tables:
                lines += ["", f"[[{name}]]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _is_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], dict)
