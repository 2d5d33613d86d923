"""Untrusted ``.npz`` files: sizes and types are checked before anything is unpacked.

``numpy.load`` allocates the memory that an array's header declares before it reads the data (10 GB for a file of 200
bytes), and some compression methods may need gigabytes too. So it only reads members that were checked here.
"""

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from io import BytesIO
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from multispin_env.arrays import Array
from multispin_env.checks import cut, shown
from multispin_env.files import checksum, read_bytes

MOST_NUMBERS = 1_000_000  # Largest size of an array in a file
_MOST_BYTES = 16 * MOST_NUMBERS + 2**16  # For the widest numbers and a header, which usually has 128 bytes


class _Kind(NamedTuple):
    letters: str  # NumPy's kinds
    numbers: str  # for messages


INTEGERS, FLOATS, BOOLEANS = _Kind("iu", "integers"), _Kind("f", "floating-point numbers"), _Kind("b", "booleans")


def read_packaged(name: str, sha256: str) -> bytes:
    """Read a data file of the package; ``ValueError`` if its SHA-256 differs."""
    content = resources.files("multispin_env").joinpath(name).read_bytes()
    if checksum(content) != sha256:
        raise ValueError(f"{name}: expected the file with SHA-256 {sha256}, got a changed one")
    return content


def read_file(path: str | PathLike[str], limit: int, suffix: str = ".npz", field: str = "path") -> bytes:
    """Read an untrusted file; ``ValueError`` about ``field`` if it can't be read or has more than ``limit`` bytes."""
    try:
        return read_bytes(path, limit)
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{field}: expected a readable {suffix} file, got {shown(str(path))} ({error})") from None


def read_arrays(content: bytes, kinds: Mapping[str, _Kind]) -> dict[str, Array]:
    """Read one-dimensional arrays of these kinds from an archive of ``numpy.savez``; other arrays are ignored.

    ``ValueError`` if an array is missing or damaged, has more than `MOST_NUMBERS` numbers or another kind.
    Pickled objects are never loaded.
    """
    with open_archive(content) as archive:
        return {name: _array(archive, name, kinds) for name in kinds}


def check_type(field: str, dtype: np.dtype[Any], shape: tuple[int, ...], kind: _Kind) -> None:
    """Raise ``ValueError`` unless an array has one dimension and numbers of this kind."""
    if dtype.kind not in kind.letters or len(shape) != 1:
        raise ValueError(f"{field}: expected a one-dimensional array of {kind.numbers}, got {dtype} of shape {shape}")


def open_archive(content: bytes) -> zipfile.ZipFile:
    """Open the content of a file; ``ValueError`` if it is not an archive."""
    try:
        return zipfile.ZipFile(BytesIO(content))
    except Exception:  # errors of broken archives have no narrower common base
        raise ValueError(f"file: expected an .npz archive, got {content[:8]!r} at its start") from None


def _array(archive: zipfile.ZipFile, name: str, kinds: Mapping[str, _Kind]) -> Array:
    members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
    if name not in members:
        raise ValueError(
            f"{name}: expected an archive with the arrays {list(kinds)}, got only {shown(sorted(members))}"
        )
    member = members[name]
    if member.file_size > _MOST_BYTES:
        raise ValueError(f"{name}: expected at most {_MOST_BYTES} bytes, got {member.file_size}")
    with _name_array_in_errors(name):
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others may need gigabytes
            raise ValueError("numpy does not use its compression method")
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):  # later versions are for headers of more than 64 kB
                raise ValueError(f"version {version} of the format, which no plain array needs")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            size = member.file_size - file.tell()
        numbers = math.prod(shape)
        if dtype.hasobject:
            raise ValueError("it holds objects")
        if min(shape, default=0) < 0 or numbers > MOST_NUMBERS:
            raise ValueError(f"its shape is {shape}, with more than {MOST_NUMBERS} numbers")
        if numbers * dtype.itemsize != size:
            raise ValueError(f"its header declares {numbers * dtype.itemsize} bytes, and it has {size}")
    check_type(name, dtype, shape, kinds[name])
    with _name_array_in_errors(name), archive.open(member) as file:
        return np.load(file, allow_pickle=False)  # the checksum is compared after its last byte


@contextmanager
def _name_array_in_errors(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # as above
        reason = cut(str(error) or type(error).__name__)
        raise ValueError(f"{name}: expected a plain array without objects, got unreadable data ({reason})") from None
