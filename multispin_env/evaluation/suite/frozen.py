"""Files of a version of the suite, and what was played once when it was frozen."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.files import read_json

VERSION = "v1"
"""Of the suite: tasks and what was frozen with them never change, a new version stands beside the old one."""

DATA = Path(__file__).parents[2] / "data" / "suite"


@dataclass(frozen=True, eq=False)
class Frozen:
    """What was played once, when the version was frozen: values (parts, n) of the metric, and a hash of steps."""

    floor: FloatArray
    reference: FloatArray
    bound: FloatArray | None
    steps: str


FROZEN_VALUES = ("floor", "reference", "bound")
"""What is frozen of a task, as lists of the values of each part."""


@cache
def frozen_content() -> dict[str, Any]:
    """Content of the file of what was frozen, by the names of tasks; none if there is no file yet."""
    path = DATA / f"{VERSION}.json"
    content: dict[str, Any] = read_json(path) if path.is_file() else {}
    return content


def frozen_of(name: str) -> Frozen:
    """What was played of a task when the version was frozen; ``ValueError`` for one that has not been frozen yet."""
    known = frozen_content()
    if name not in known:
        raise ValueError(f"task: expected one that is frozen, of {list(known)}, got {name!r}")
    floor, reference, bound = (
        None if known[name][one] is None else np.array(known[name][one]) for one in FROZEN_VALUES
    )
    assert floor is not None
    assert reference is not None
    return Frozen(floor, reference, bound, known[name]["steps"])
