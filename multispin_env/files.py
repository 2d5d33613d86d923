"""Reading of untrusted files, with limits on size and nesting, and atomic writing."""

import csv
import hashlib
import io
import json
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

from multispin_env.checks import cut, shown

MIB = 2**20

_BLOCK = 2**16  # Bytes of one read, so that a short file takes little memory under any limit

LARGEST_JSON = 16 * MIB
"""Largest size of a JSON file in bytes, thousands of times the usual size; Python needs ten times as much memory."""

DEEPEST_JSON = 32  # Largest nesting of lists and objects; usual files have 4 levels, and Python fails at hundreds

DEEPEST_KEY = 8
"""Largest number of parts of a TOML key (``a.b.c`` has 3); Python takes hours for tens of thousands."""

_PART = r"""(?:(?<![\w-])[\w-]++|(?<!\\)"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_DEEP_KEY = re.compile(rf"{_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{DEEPEST_KEY}}}")
"""Pattern of a longer key anywhere in a text; possessive quantifiers make the search linear in the text's length."""

_LOCK = ".lock"  # Name of the file that `lock_folder` locks


def read_limited(stream: BinaryIO, limit: int) -> bytes:
    """Read a stream to its end; ``ValueError``, without reading further, if it has more than ``limit`` bytes."""
    content = bytearray()
    while part := stream.read(min(_BLOCK, limit + 1 - len(content))):
        content += part
    if len(content) > limit:
        raise ValueError(f"size: expected at most {limit} bytes, got more")
    return bytes(content)


def read_bytes(path: str | PathLike[str], limit: int) -> bytes:
    """Read a file; ``ValueError`` if it has more than ``limit`` bytes.

    ``OSError`` if it can't be read, or is not a regular file: a pipe or device may never end.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(f"not a regular file: {str(path)!r}")
    with path.open("rb") as file:
        return read_limited(file, limit)


def decode_text(content: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark; ``ValueError`` names a wrong byte."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"expected text in UTF-8, got the byte {error.object[error.start]:#x}") from None


def read_csv(content: bytes, columns: Sequence[str] = (), most: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of each row of a CSV file that is not empty, without spaces around cells.

    The header has each of the ``columns`` once, and rows have their cells in this order, "" for missing ones; without
    ``columns``, the header is the first row. ``ValueError`` for a bad header, broken CSV or more than ``most`` rows.
    """
    reader = csv.reader(io.StringIO(decode_text(content), newline=""), strict=True)
    lines = ([cell.strip() for cell in line] for line in reader)
    rows = ((reader.line_num, cells) for cells in lines if any(cells))
    try:
        header = next(rows, (0, []))[1] if columns else []
        if any(header.count(name) != 1 for name in columns):
            raise ValueError(f"header: expected the columns {list(columns)}, each once, got {shown(header)}")
        positions = [header.index(name) for name in columns]
        for count, (line, cells) in enumerate(rows):
            if count == most:
                raise ValueError(f"rows: expected at most {most}, got more")
            yield line, [cells[at] if at < len(cells) else "" for at in positions] if columns else cells
    except csv.Error as error:
        raise ValueError(f"expected CSV with commas and a header, got broken CSV ({cut(str(error))})") from None


def checksum(content: bytes) -> str:
    """Return the SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def read_json(path: str | PathLike[str]) -> Any:
    """Read a JSON file; ``ValueError`` or ``OSError`` as in `parse_json` and `read_bytes`."""
    return parse_json(read_bytes(path, LARGEST_JSON))


def read_table(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a JSON file with an object; errors as in `read_json`, and ``ValueError`` for other JSON."""
    table = read_json(path)
    if not isinstance(table, dict):
        raise ValueError(f"expected a table of fields, got a JSON {type(table).__name__}")
    return table


def parse_json(text: str | bytes, parse_int: Callable[[str], Any] | None = None) -> Any:
    """Parse JSON from text or UTF-8 bytes; ``parse_int`` is as in ``json.loads``.

    ``ValueError`` if it is not valid JSON, is longer than `LARGEST_JSON`, or is nested deeper than `DEEPEST_JSON`.
    """
    if len(text) > LARGEST_JSON:
        raise ValueError(f"size: expected at most {LARGEST_JSON} characters of JSON, got {len(text)}")
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
    """Parse TOML; ``ValueError`` if it is not valid, or has a key of more than `DEEPEST_KEY` parts."""
    if _DEEP_KEY.search(text):
        raise ValueError(f"TOML: expected dotted keys and words of at most {DEEPEST_KEY} parts, got a longer one")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("TOML: expected less deeply nested lists and tables, got too many levels") from None


def _depth_within(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most + 1):
        containers = [node for node in level if isinstance(node, list | dict)]
        if not containers:
            return True
        level = [child for node in containers for child in (node.values() if isinstance(node, dict) else node)]
    return False


def sibling_file(folder: Path, name: object) -> Path | None:
    """Return the path of a regular file in ``folder``, or ``None`` if there is no file of this name.

    Use it for names in untrusted files, which must not reach other folders by ``..``, an absolute path or a link.
    """
    if not isinstance(name, str) or Path(name).name != name:
        return None
    try:
        path = folder / name
        inside = path.resolve().parent == folder.resolve()
        return path if inside and path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # invalid names, circular links
        return None


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield the path of a new file, which atomically replaces ``path`` at the end of the block.

    After a kill or an error, the old file remains. Until the end, the new file is in a temporary folder next to it, out
    of reach of links and other processes. A link at ``path`` is replaced, not its target. The message of an ``OSError``
    names the file.
    """
    with name_file_in_errors(path), tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        draft = Path(folder, path.name)
        yield draft
        os.replace(draft, path)


@contextmanager
def name_file_in_errors(path: Path) -> Iterator[None]:
    """Add the name of the file to an ``OSError`` while writing it; the error for a full disk, for example, lacks it."""
    try:
        yield
    except BrokenPipeError:  # the reader has ended
        raise
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"file: expected a file that can be written, got {str(path)!r} ({reason})") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file atomically; see `replace_file`."""
    with replace_file(path) as draft:
        draft.write_bytes(content)


def write_text(path: str | PathLike[str], text: str) -> None:
    """Write text in UTF-8 to a path of the user: links are followed, pipes and devices are written to directly.

    ``OSError`` if it can't be written; the message names the file.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):  # a protected file is not replaced
        with name_file_in_errors(path):
            path.write_bytes(text.encode())
    else:
        write_atomically(path.resolve(), text.encode())


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, against other callers of this function, until the end of the block or the process.

    The empty file `_LOCK` stays in the folder. File systems without locks are not protected. ``ValueError`` if another
    process holds the lock.
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
        with tempfile.TemporaryFile(dir=folder):  # a test of write access
            pass
    except OSError as error:
        raise ValueError(f"folder: expected a folder that can be written, got {str(folder)!r} ({error})") from None
