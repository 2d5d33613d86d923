"""Version and data of the suite, and the results that were recorded when it was frozen."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.files import read_json

VERSION = "v1"
"""Version of the suite; its tasks and results never change, and a new version is added next to it."""

DATA = Path(__file__).parents[1] / "data" / "suite"


@dataclass(frozen=True, eq=False)
class Frozen:
    """Recorded results of a task: values (parts, n) of the metric, scores, and a hash of steps."""

    floor: FloatArray
    reference: FloatArray
    bound: FloatArray | None
    middle: float  # score of the middle of the range of actions
    untrained: float  # score of untrained networks
    steps: str


FROZEN_VALUES = ("floor", "reference", "bound")  # keys of the recorded values of a task


@cache
def frozen_content() -> dict[str, Any]:
    """Return the recorded results by task; empty if there is no file yet."""
    path = DATA / f"{VERSION}.json"
    return dict(read_json(path)) if path.is_file() else {}


def frozen_of(name: str) -> Frozen:
    """Return the recorded results of a task; ``KeyError`` for a task that has not been frozen yet."""
    values = frozen_content()[name]
    arrays = {key: None if values[key] is None else np.array(values[key]) for key in FROZEN_VALUES}
    return Frozen(**{**values, **arrays})


@cache
def attainable_content() -> dict[str, dict[str, float]]:
    """Return brackets of the best mean by task, as differences to the reference; tasks that are open are missing."""
    return dict(read_json(DATA / "attainable.json"))


@cache
def own_content() -> dict[str, dict[str, Any]]:
    """Return by task the ``action`` and ``arguments`` of this project's agents, and scores without learning there."""
    return dict(read_json(DATA / "own.json"))
