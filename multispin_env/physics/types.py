"""What flows through the model: state, decision, outcome. Leading batch axes ``(...)``, users K last."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np

from multispin_env.arrays import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Batched:
    """Base of what is made of arrays with the same leading batch axes; where a field is ``None``, it stays so."""

    unbatched: ClassVar[tuple[str, ...]] = ()
    """Fields without batch axes: one value for the whole batch."""

    def __getitem__(self, index: Any) -> Self:
        """Select along the leading batch axes."""
        return self.mapped(lambda array: array[index])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return batches (n_1, ...), (n_2, ...), ... as one, (n_1 + n_2 + ..., ...); other fields are the first's."""
        values: list[Any] = []
        for name, batched in _fields(cls):  # type: ignore[arg-type]  # mypy takes no class for hashable
            own = [getattr(part, name) for part in parts]
            if not batched or own[0] is None:
                values.append(own[0])
            else:
                values.append(type(own[0]).joined(own) if isinstance(own[0], Batched) else np.concatenate(own))
        return cls(*values)

    def copy(self) -> Self:
        """Return the same numbers in memory of their own."""
        return self.mapped(lambda array: array.copy())

    def changed(self, **values: Any) -> Self:
        """Return the same with other values of these fields: `dataclasses.replace`, without its checks and its time."""
        return type(self)(*(values.get(name, getattr(self, name)) for name, _ in _fields(type(self))))  # type: ignore[arg-type]

    def mapped(self, function: Callable[[Any], Any]) -> Self:
        """Return what a function makes of each array that has batch axes, in parts too that are made of arrays."""
        values = []
        for name, batched in _fields(type(self)):  # type: ignore[arg-type]  # mypy takes no class for hashable
            value = getattr(self, name)
            if batched and value is not None:
                value = value.mapped(function) if isinstance(value, Batched) else function(value)
            values.append(value)
        return type(self)(*values)


@cache
def _fields(kind: type[Batched]) -> tuple[tuple[str, bool], ...]:
    """Names of the fields, and whether each has batch axes; kept, because `dataclasses.fields` takes its time."""
    return tuple((field.name, field.name not in kind.unbatched) for field in fields(kind))


@dataclass(frozen=True, slots=True, eq=False)
class SystemState(Batched):
    """All that a round depends on besides the decision."""

    # SLM time per drafted token T_k
    draft_time: FloatArray  # (..., K) s/token
    # uplink bits per second and hertz r_k
    spectral_efficiency: FloatArray  # (..., K) bit/s/Hz
    # probability α_k that a drafted token is accepted
    acceptance_rate: FloatArray  # (..., K)


@dataclass(frozen=True, slots=True, eq=False)
class Observed(Batched):
    """What an agent may see before a round, of n copies or of one, in physical units; ``None`` is hidden (ours)."""

    # SLM time per drafted token T_k
    draft_time: FloatArray  # (n, K) s/token
    # uplink bits per second and hertz r_k as last reported, possibly some rounds old
    spectral_efficiency: FloatArray  # (n, K) bit/s/Hz
    # probability α_k that a drafted token is accepted
    acceptance_rate: FloatArray | None = None  # (n, K)
    # index into scenario.tasks
    task: IntArray | None = None  # (n, K)
    # tokens drafted, and of them accepted, in the last round; both 0 before any
    drafted: IntArray | None = None  # (n, K) tokens
    accepted: IntArray | None = None  # (n, K) tokens, the tokens gained less the server's one
    # rounds the present request is old; at 0 it is new, and the counts above are the previous one's
    age: IntArray | None = None  # (n, K) rounds
    # mean power gain H̄_k
    mean_gain: FloatArray | None = None  # (n, K)
    # discounted throughput so far
    throughput: FloatArray | None = None  # (n, K) tokens/s
    # tokens accepted, and rounds that ended with a refusal, since the present request began
    hits: IntArray | None = None  # (n, K) tokens
    misses: IntArray | None = None  # (n, K) rounds
    # uplink bits per second and hertz that the encoding of actions plans with
    planned_efficiency: FloatArray | None = None  # (n, K) bit/s/Hz


@dataclass(frozen=True, slots=True, eq=False)
class Decision(Batched):
    """What the controller chooses in every round."""

    # drafted tokens L_k
    draft_length: IntArray  # (..., K) tokens
    # uplink bandwidth B_k, Σ B_k ≤ B
    bandwidth: FloatArray  # (..., K) Hz


@dataclass(frozen=True, slots=True, eq=False)
class RealDecision:
    """A decision with real lengths, or the derivatives of a number by one (ours)."""

    # L_k
    draft_length: FloatArray  # (..., K) tokens
    # B_k
    bandwidth: FloatArray  # (..., K) Hz


@dataclass(frozen=True, slots=True, eq=False)
class Outcome(Batched):
    """What a round gives."""

    # sum token goodput G ([MS] 13)
    goodput: FloatArray  # (...) tokens/s
    # tokens N_k gained, expected or drawn
    tokens: FloatArray  # (..., K) tokens
    # T_e2e = T_ma + T_ver + T_rtt
    round_latency: FloatArray  # (...) s
    # drafting L_k T_k and uploading L_k Q / (B_k r_k)
    draft_time: FloatArray  # (..., K) s
    upload_time: FloatArray  # (..., K) s
    # T_ver of the whole batch
    verification_time: FloatArray  # (...) s
