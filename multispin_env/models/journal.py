"""Journal of a long run, a line of a file for each part that is done: after a kill the same command goes on."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from multispin_env.checks import shown
from multispin_env.files import MIB, named, parse_json, read_bytes, write_text

LARGEST = 256 * MIB
"""Bytes of a file: the largest record needs fewer, also a prompt at a time."""

T = TypeVar("T")


class Journal(Generic[T]):
    """A file of lines: what all else depends on, perhaps a header, then a line for each part that is done.

    Parameters
    ----------
    path
        The file. One of the same setting is continued; half a line, which a killed process leaves, is cut off.
    command
        Who writes it.
    setting
        All that the parts depend on, as JSON can hold it.
    parse
        Reads the line of a part; ``ValueError`` for one that was not written here.
    header
        The second line, if there is one.

    Raises
    ------
    ValueError
        For a file of another setting or with anything else in it, which is left as it is.
    OSError
        If it can't be read or written.
    """

    def __init__(
        self, path: Path, command: str, setting: Mapping[str, Any], parse: Callable[[str], T], header: str = ""
    ) -> None:
        self.path, self._parse = path, parse
        self.parts: list[T] = []
        mark = f"# multispin {command} "
        begin = [f"{mark}{json.dumps(dict(setting))}", *([header] if header else [])]
        new = "".join(f"{line}\n" for line in begin)
        try:
            text = read_bytes(path, LARGEST).decode() if path.exists() else ""
        except ValueError as error:
            raise ValueError(f"{path}: can't be read as a file of this command ({error})") from None
        if new.startswith(text):
            write_text(path, new)
            return
        *lines, rest = text.split("\n")
        self._check_setting((lines or [rest])[0], mark, setting)
        if lines[1 : len(begin)] != begin[1:]:
            raise ValueError(f"{path}, line 2: expected {header!r}, got {shown((lines[1:] or [rest])[0])}")
        for number, line in enumerate(lines[len(begin) :], len(begin) + 1):
            try:
                self.parts.append(parse(line))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
        if rest:
            with named(path), path.open("r+b") as file:
                file.truncate(len(text.removesuffix(rest).encode()))

    def _check_setting(self, line: str, mark: str, setting: Mapping[str, Any]) -> None:
        try:
            found = parse_json(line.removeprefix(mark)) if line.startswith(mark) else None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ValueError(
                f"{self.path}: expected a new file or one of this command, got one that begins with {shown(line)}"
            )
        for name in dict.fromkeys((*setting, *found)):
            if found.get(name) != setting.get(name):
                raise ValueError(
                    f"{self.path}: expected a file with {name} = {setting.get(name)!r}, got {shown(found.get(name))}; "
                    "choose another name for the new one, or delete the file"
                )

    def add(self, line: str) -> T:
        """Write the line of a part that is done; returns the part as it will be read."""
        part = self._parse(line)
        with named(self.path), self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(f"{line}\n")
        self.parts.append(part)
        return part
