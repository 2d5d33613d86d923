"""What flows through the model: state, decision, outcome. Leading batch axes ``(...)``, users K last."""

from dataclasses import dataclass, fields
from typing import Any

from multispin_env.arrays import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class SystemState:
    """All that a round depends on besides the decision."""

    # SLM time per drafted token T_k
    draft_time: FloatArray  # (..., K) s/token
    # uplink bits per second and hertz r_k
    spectral_efficiency: FloatArray  # (..., K) bit/s/Hz
    # probability α_k that a drafted token is accepted
    acceptance_rate: FloatArray  # (..., K)

    def __getitem__(self, index: Any) -> "SystemState":
        """Select along the leading batch axes."""
        return SystemState(self.draft_time[index], self.spectral_efficiency[index], self.acceptance_rate[index])

    def copy(self) -> "SystemState":
        """Return the same numbers in memory of their own."""
        return SystemState(self.draft_time.copy(), self.spectral_efficiency.copy(), self.acceptance_rate.copy())


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
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

    def __getitem__(self, index: Any) -> "Observed":
        """Select along the leading batch axes."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen: dict[str, Any] = {name: None if array is None else array[index] for name, array in arrays.items()}
        return Observed(**chosen)


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What the controller chooses in every round."""

    # drafted tokens L_k
    draft_length: IntArray  # (..., K) tokens
    # uplink bandwidth B_k, Σ B_k ≤ B
    bandwidth: FloatArray  # (..., K) Hz

    def __getitem__(self, index: Any) -> "Decision":
        """Select along the leading batch axes."""
        return Decision(self.draft_length[index], self.bandwidth[index])


@dataclass(frozen=True, slots=True, eq=False)
class RealDecision:
    """A decision with real lengths, or the derivatives of a number by one (ours)."""

    # L_k
    draft_length: FloatArray  # (..., K) tokens
    # B_k
    bandwidth: FloatArray  # (..., K) Hz


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a round gives."""

    # sum token goodput G ([MS] 13)
    goodput: FloatArray  # (...) tokens/s
    # tokens N_k gained, expected or drawn
    tokens: FloatArray  # (..., K) tokens
    # T_e2e = T_ma + T_ver
    round_latency: FloatArray  # (...) s
    # drafting L_k T_k and uploading L_k Q / (B_k r_k)
    draft_time: FloatArray  # (..., K) s
    upload_time: FloatArray  # (..., K) s
    # T_ver of the whole batch
    verification_time: float  # s

    def __getitem__(self, index: Any) -> "Outcome":
        """Select along the leading batch axes."""
        return Outcome(
            self.goodput[index],
            self.tokens[index],
            self.round_latency[index],
            self.draft_time[index],
            self.upload_time[index],
            self.verification_time,
        )
