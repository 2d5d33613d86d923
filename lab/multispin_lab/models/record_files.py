"""Optional arrays of a record's file, and its writer."""

import zipfile
from collections.abc import Mapping
from io import BytesIO
from os import PathLike

import numpy as np

from multispin_env.arrays import Array, FloatArray
from multispin_env.npz import FLOATS, open_archive, read_arrays
from multispin_env.physics.records import Records, check_probabilities, record_content

CONFIDENCES = ("draft_probability", "draft_margin", "draft_entropy")
"""Probability of the drafted token, margin of the two most likely, and entropy over log V, by the draft model's law."""

EXTRAS = ("overlap", *CONFIDENCES)
"""Optional arrays of a file, not used by a replay; ``overlap`` is Σ_x min(p, q), β averaged over all proposals."""


def load_extras(path: str | PathLike[str] | None, records: Records) -> dict[str, FloatArray]:
    """Load those of `EXTRAS` that the file of these records has, each (N,) in [0, 1]."""
    with record_content(path) as content:
        with open_archive(content) as archive:
            kinds = {name: FLOATS for name in EXTRAS if f"{name}.npy" in archive.namelist()}
        extras = {name: array.astype(np.float64) for name, array in read_arrays(content, kinds).items()}
        for name, array in extras.items():
            check_probabilities(name, len(records.probability), array)
        return extras


def record_file(records: Records, extras: Mapping[str, FloatArray]) -> bytes:
    """Return reproducible bytes of a file for `load_records` and `load_extras`; probabilities become float16."""
    arrays: dict[str, Array] = {
        "task": records.task.astype(np.int8 if records.num_tasks <= np.iinfo(np.int8).max + 1 else np.int64),
        "length": records.length.astype(np.int16 if records.length.max() <= np.iinfo(np.int16).max else np.int64),
        "accept_probability": records.probability.astype(np.float16),
        "accepted": records.accepted,
    }
    return archive_of(arrays | {name: array.astype(np.float16) for name, array in extras.items()})


def archive_of(arrays: Mapping[str, Array]) -> bytes:
    """Return an uncompressed archive of these arrays, without timestamps, so that equal arrays give equal bytes."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = BytesIO()
            np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return content.getvalue()
