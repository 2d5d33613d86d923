"""Lengths of recorded requests."""

from dataclasses import dataclass
from os import PathLike

import numpy as np
from typing_extensions import override

from multispin_env.arrays import IntArray
from multispin_env.physics.lengths.base import Lengths
from multispin_env.physics.traces import RequestTrace, load_trace


@dataclass(frozen=True)
class TraceLengths(Lengths):
    """Each request is as long as one of a record, its prompt and its answer together, drawn with replacement (ours).

    Parameters
    ----------
    trace
        As for `load_trace`; kept as a `RequestTrace`. Default ``"azure-chat"``.
    """

    trace: str | PathLike[str] | RequestTrace = "azure-chat"

    def __post_init__(self) -> None:
        object.__setattr__(self, "trace", load_trace(self.trace))

    @property
    def record(self) -> RequestTrace:
        """The requests."""
        return load_trace(self.trace)

    @property
    @override
    def mean_output(self) -> float:
        return float(self.record.output.mean())

    @override
    def draw(self, rng: np.random.Generator, rows: int, num_users: int) -> tuple[IntArray, IntArray]:
        record = self.record
        place = (rng.random((rows, num_users)) * len(record.output)).astype(np.int64)
        return record.prompt[place], record.output[place]
