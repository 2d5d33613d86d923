"""A record in the making: each group of texts is a file beside the output, so that a killed run goes on."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import shown
from multispin_env.files import make_folder, read_json, write_atomically
from multispin_env.npz import BOOLEANS, FLOATS, INTEGERS, archive_of, read_arrays, read_file

SETTINGS = "settings.json"
"""File of a folder of parts that says how they are made."""

LARGEST_PART = 16_000_000
"""Bytes of a part: a record has no more."""

_KINDS = {
    "settings": INTEGERS,
    "length": INTEGERS,
    "accept_probability": FLOATS,
    "accepted": BOOLEANS,
    "overlap": FLOATS,
}


class RecordedTexts(NamedTuple):
    """Texts of some prompts, one behind the other."""

    length: IntArray
    """Places of each, (P,)."""
    probability: FloatArray
    """β at each place, (N,)."""
    accepted: BoolArray
    """(N,)."""
    overlap: FloatArray
    """(N,)."""


def join_texts(groups: list[RecordedTexts]) -> RecordedTexts:
    """All groups as one."""
    return RecordedTexts(*(np.concatenate(arrays) for arrays in zip(*groups, strict=True)))


@dataclass(frozen=True)
class RecordParts:
    """Folder of the groups that are done.

    Parameters
    ----------
    folder
        Where they are.
    settings
        All that the texts follow from, as JSON can hold it.
    """

    folder: Path
    settings: Mapping[str, Any]

    def open(self) -> None:
        """Make the folder, or take up one with the same settings.

        Raises
        ------
        ValueError
            If the folder can't be written, or has parts of other settings.
        """
        make_folder(self.folder)
        if any(self.folder.glob("group-*.npz")):
            self._check_settings()
        write_atomically(self.folder / SETTINGS, self._text)

    def close(self) -> None:
        """Remove the folder with all that this class has written there."""
        for path in (*self.folder.glob("group-*.npz"), self.folder / SETTINGS):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # somebody has put something else there
            self.folder.rmdir()

    def close_if_empty(self) -> None:
        """Remove the folder of a run that has come to nothing."""
        if not any(self.folder.glob("group-*.npz")):
            self.close()

    def save(self, group: int, places: RecordedTexts) -> None:
        """Keep a group; probabilities are rounded to float16."""
        arrays: dict[str, NDArray[Any]] = {
            "settings": np.frombuffer(self._digest, dtype=np.uint8),
            "length": places.length.astype(np.int64),
            "accept_probability": places.probability.astype(np.float16),
            "accepted": places.accepted,
            "overlap": places.overlap.astype(np.float16),
        }
        write_atomically(self._path(group), archive_of(arrays))

    def load(self, group: int) -> RecordedTexts | None:
        """Return a group that is done; ``None`` if it is to be made, also where its file is damaged."""
        if not self._path(group).exists():
            return None
        try:
            arrays = read_arrays(read_file(self._path(group), LARGEST_PART), _KINDS)
        except ValueError:
            return None
        if arrays.pop("settings").tobytes() != self._digest:
            return None
        return RecordedTexts(*arrays.values())

    def _path(self, group: int) -> Path:
        return self.folder / f"group-{group:04d}.npz"

    @property
    def _text(self) -> bytes:
        return (json.dumps(self.settings, indent=2, ensure_ascii=False) + "\n").encode()

    @property
    def _digest(self) -> bytes:
        return hashlib.sha256(self._text).digest()

    def _check_settings(self) -> None:
        """``ValueError`` if the parts are of other settings."""
        path = self.folder / SETTINGS
        try:
            old = read_json(path)
        except (OSError, ValueError) as error:
            raise ValueError(f"out: expected the settings of old parts in {str(path)!r}, got none ({error})") from None
        old = old if isinstance(old, dict) else {}
        for name in dict.fromkeys((*self.settings, *old)):
            if old.get(name) != self.settings.get(name):
                raise ValueError(
                    f"{name}: expected {shown(old.get(name))}, as of the parts in {str(self.folder)!r} (remove that "
                    f"folder or choose another --out to begin anew), got {shown(self.settings.get(name))}"
                )
