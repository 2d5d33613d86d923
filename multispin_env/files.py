"""Files of strangers: no more of one is read than a limit, JSON or TOML of any content is one error at worst.

Our own are written whole or not at all.
"""

import json
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

MIB = 2**20

_BLOCK = 2**16  # Bytes that are read at once, so that a short file takes little memory whatever the limit

LARGEST_JSON = 16 * MIB
"""Bytes of a JSON file: thousands of times our configurations; Python needs some ten times as much to hold them."""

DEEPEST_JSON = 32  # Lists and objects within each other: ours have 4, and Python fails at some hundreds

DEEPEST_KEY = 8
"""Parts of a key of TOML, as ``a.b.c`` has three: ours have one, and Python takes hours for some tens of thousands."""

_PART = r"""(?:(?<![\w-])[\w-]++|(?<!\\)"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_DEEP_KEY = re.compile(rf"{_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{DEEPEST_KEY}}}")
"""More parts than that, wherever they stand; each letter is looked at few times, whatever the text."""

_LOCK = ".lock"  # File of a folder that a process may lock


def read_limited(stream: BinaryIO, limit: int) -> bytes:
    """Read a stream to its end; ``ValueError`` if it has more than ``limit`` bytes, and no more than that is read."""
    content = bytearray()
    while part := stream.read(min(_BLOCK, limit + 1 - len(content))):
        content += part
    if len(content) > limit:
        raise ValueError(f"size: expected at most {limit} bytes, got more")
    return bytes(content)


def read_bytes(path: str | PathLike[str], limit: int) -> bytes:
    """Read a file; ``ValueError`` if it has more than ``limit`` bytes.

    ``OSError`` if it can't be read, or is no plain file but a pipe or a device, which may never end.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(f"no plain file: {str(path)!r}")
    with path.open("rb") as file:
        return read_limited(file, limit)


def read_json(path: str | PathLike[str]) -> Any:
    """Read a JSON file; ``ValueError`` or ``OSError`` as of `parse_json` and `read_bytes`."""
    return parse_json(read_bytes(path, LARGEST_JSON))


def parse_json(text: str | bytes, parse_int: Callable[[str], Any] | None = None) -> Any:
    """Return what JSON says, in text or in bytes of UTF-8; ``parse_int`` makes numbers from the digits of whole ones.

    ``ValueError`` for anything that is no JSON, has more than `LARGEST_JSON` letters, or is nested deeper than
    `DEEPEST_JSON`.
    """
    if len(text) > LARGEST_JSON:
        raise ValueError(f"size: expected at most {LARGEST_JSON} letters of JSON, got {len(text)}")
    try:
        value = json.loads(text.decode() if isinstance(text, bytes) else text, parse_int=parse_int)
    except UnicodeDecodeError as error:
        raise ValueError(f"JSON: expected text in UTF-8, got the byte {error.object[error.start]:#x}") from None
    except RecursionError:
        value = None
    else:
        if _depth_within(value, DEEPEST_JSON):
            return value
    raise ValueError(f"JSON: expected lists and objects nested at most {DEEPEST_JSON} deep, got deeper ones")


def parse_toml(text: str) -> dict[str, Any]:
    """Return what TOML says; ``ValueError`` for anything else, or for a key of more than `DEEPEST_KEY` parts."""
    if _DEEP_KEY.search(text):
        raise ValueError(f"TOML: expected keys, and dotted words, of at most {DEEPEST_KEY} parts, got one of more")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("TOML: expected lists and tables within few others, got them nested too deeply") from None


def _depth_within(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        inside = [one for one in level if isinstance(one, list | dict)]
        if not inside:
            return True
        level = [child for one in inside for child in (one.values() if isinstance(one, dict) else one)]
    return False


def sibling_file(folder: Path, name: object) -> Path | None:
    """Path of the file that another one in ``folder`` names, or ``None`` if it is not a plain file in that folder.

    So a file that came from somebody else reaches no other folder: not by ``..``, not by an absolute path, and not by a
    link.
    """
    if not isinstance(name, str) or Path(name).name != name:
        return None
    try:
        path = folder / name
        inside = path.resolve().parent == folder.resolve()
        return path if inside and path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # names that no file can have, and links in a circle
        return None


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Path of a new file, which takes the place of ``path`` in one step at the end of the block.

    So a kill or an error leaves the old file. The new one is in a fresh folder beside it, where no other process writes
    and no link leads away; a link at ``path`` is replaced, and what it leads to stays. ``OSError`` names the file.
    """
    with name_file_in_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        draft = Path(folder, path.name)
        yield draft
        os.replace(draft, path)


@contextmanager
def name_file_in_errors(path: Path) -> Iterator[None]:
    """Name the file in errors of writing it, which a full disk raises without."""
    try:
        yield
    except BrokenPipeError:  # whoever read it has gone
        raise
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"file: expected a file that can be written, got {str(path)!r} ({reason})") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step; see `replace_file`."""
    with replace_file(path) as draft:
        draft.write_bytes(content)


def write_text(path: str | PathLike[str], text: str) -> None:
    """Write a file that the user names, in UTF-8: a link is followed, and a pipe or a device gets the text as it is.

    ``OSError`` if it can't be written; one sentence that names the file.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):  # a protected file is not replaced
        with name_file_in_errors(path):
            path.write_bytes(text.encode())
    else:
        write_atomically(path.resolve(), text.encode())


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep a folder from other processes that ask here, until the end of the block or of this process.

    A file `_LOCK` stays there, which says nothing. Where the file system has no locks, nothing is kept. ``ValueError``
    if another process has it.
    """
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        _lock(descriptor)
    except (BlockingIOError, PermissionError):  # the second on Windows
        os.close(descriptor)
        raise ValueError(f"folder: expected a folder that no other process writes to, got {str(folder)!r}") from None
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def make_folder(folder: Path) -> None:
    """Create a folder; ``ValueError`` if it can't be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # of a name that no other process has
            pass
    except OSError as error:
        raise ValueError(f"folder: expected a folder that can be written, got {str(folder)!r} ({error})") from None
