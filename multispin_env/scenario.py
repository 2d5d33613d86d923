"""What stays the same for a whole experiment: devices, radio, server, tasks."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import multispin_env.registry as tables
from multispin_env.checks import check_integer, check_keywords, check_name, check_real
from multispin_env.units import MHZ, MS, db_to_linear, index_bits


@dataclass(frozen=True, kw_only=True)
class Task:
    """One data set of prompts, with its acceptance over prompts ([MS] Table I).

    Parameters
    ----------
    name
        Label.
    acceptance_rate
        Mean α of the task, in [0, 1].
    acceptance_std
        Standard deviation around it.
    """

    name: str
    acceptance_rate: float
    acceptance_std: float = 0.0

    def __post_init__(self) -> None:
        check_real(f"acceptance_rate of task {self.name!r}", self.acceptance_rate, 0.0, 1.0)
        check_real(f"acceptance_std of task {self.name!r}", self.acceptance_std, 0.0)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A frozen, checked and hashable description of one system; the defaults are those of the paper.

    Parameters
    ----------
    name
        Label, shown in tables.
    vocabulary_size
        V, tokens in the vocabulary both models share.
    verification_fixed_time, verification_time_per_draft
        T_fix and T_lin in seconds: one verification of K drafts takes T_fix + K T_lin ([MS] 7).
    mean_draft_time
        T̄, mean SLM time per drafted token in seconds. Calibrated by this project, not stated in the paper.
    tasks
        What devices ask for; each device draws one of them uniformly.
    num_users
        K, number of devices.
    total_bandwidth
        B, uplink budget in Hz.
    kept_probabilities, bits_per_probability
        V̂ and Q_B: what is uploaded for each drafted token ([MS] 9).
    min_draft_length, max_draft_length
        Range of L_k in tokens. 0 means no draft, no uplink and one token of the server (ours).
    draft_time_spread
        T_k is uniform in T̄ (1 ± spread).
    mean_gain_low, mean_gain_high
        Range of the mean power gain H̄_k, uniform over devices.
    transmit_snr_db
        p_k / N0 at unit gain, in dB. Calibrated by this project, not stated in the paper.
    noise_power
        N0 in W.
    server_draft_time
        T_srv in seconds per token, of the centralized reference (ours).
    channel, acceptance
        Names of the fading model and of the acceptance process.

    Raises
    ------
    ValueError
        For a value out of range, naming the field, what is expected and the value.
    """

    name: str
    vocabulary_size: int
    verification_fixed_time: float
    verification_time_per_draft: float
    mean_draft_time: float
    tasks: tuple[Task, ...]
    num_users: int = 20
    total_bandwidth: float = 10 * MHZ
    kept_probabilities: int = 1024
    bits_per_probability: int = 16
    min_draft_length: int = 1
    max_draft_length: int = 25
    draft_time_spread: float = 0.15
    mean_gain_low: float = 0.2
    mean_gain_high: float = 0.5
    transmit_snr_db: float = 23.5
    noise_power: float = 1e-10
    server_draft_time: float = 4 * MS
    channel: str = "rayleigh"
    acceptance: str = "by-task"

    def __post_init__(self) -> None:
        for field, low in (
            ("num_users", 1),
            ("vocabulary_size", 2),
            ("kept_probabilities", 1),
            ("bits_per_probability", 1),
        ):
            check_integer(field, getattr(self, field), low)
        check_integer("min_draft_length", self.min_draft_length, 0, 1)
        check_integer("max_draft_length", self.max_draft_length, max(1, self.min_draft_length))
        for field in (
            "total_bandwidth",
            "verification_fixed_time",
            "verification_time_per_draft",
            "mean_draft_time",
            "server_draft_time",
            "mean_gain_low",
            "noise_power",
        ):
            check_real(field, getattr(self, field), 0.0, open_low=True)
        check_real("draft_time_spread", self.draft_time_spread, 0.0, 1.0, open_high=True)
        check_real("mean_gain_high", self.mean_gain_high, self.mean_gain_low)
        check_real("transmit_snr_db", self.transmit_snr_db, -300.0, 300.0)
        check_name("channel", self.channel, tables.CHANNELS.names())
        check_name("acceptance", self.acceptance, tables.ACCEPTANCES.names())
        if not self.tasks or not all(isinstance(task, Task) for task in self.tasks):
            raise ValueError(f"tasks: expected a tuple of at least one Task, got {self.tasks!r}")
        object.__setattr__(self, "tasks", tuple(self.tasks))  # a list would not hash

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "Scenario":
        """One of the named scenarios, with any field replaced.

        Parameters
        ----------
        name
            ``"llama2"``, ``"qwen3.5"``, or one registered by the user in ``multispin_env.SCENARIOS``.
        **overrides
            Any field of `Scenario` by its name.

        Raises
        ------
        ValueError, TypeError
            For an unknown preset or field name (the nearest is suggested) or a bad value.
        """
        return SCENARIOS.load(name).replace(**overrides)

    @classmethod
    def resolve(cls, scenario: "Scenario | str") -> "Scenario":
        """Return a `Scenario`, looked up by name where it is one."""
        if isinstance(scenario, Scenario):
            return scenario
        return cls.preset(scenario)

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Every field that may be overridden."""
        return tuple(field.name for field in fields(cls))

    def replace(self, **overrides: Any) -> Self:
        """Return a copy with fields replaced; ``TypeError`` for an unknown field suggests the nearest."""
        check_keywords("Scenario", overrides, self.field_names())
        return replace(self, **overrides)

    def to_dict(self) -> dict[str, Any]:
        """Every field as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Scenario":
        """Rebuild the scenario that `to_dict` wrote."""
        check_keywords("Scenario", values, cls.field_names())
        tasks = tuple(Task(**task) for task in values["tasks"])
        return cls(**{**values, "tasks": tasks})

    @property
    def bits_per_token(self) -> int:
        """Q in bits: V̂ probabilities of Q_B bits, each with its vocabulary index ([MS] 9)."""
        return self.kept_probabilities * (self.bits_per_probability + index_bits(self.vocabulary_size))

    @property
    def verification_time(self) -> float:
        """T_ver in seconds for the drafts of all users ([MS] 7)."""
        return self.verification_fixed_time + self.num_users * self.verification_time_per_draft

    @property
    def single_verification_time(self) -> float:
        """T_fix + T_lin in seconds: a batch of one draft ([MS] 7)."""
        return self.verification_fixed_time + self.verification_time_per_draft

    @property
    def transmit_snr(self) -> float:
        """p_k / N0 at unit gain, as a power ratio."""
        return db_to_linear(self.transmit_snr_db)

    @property
    def transmit_power(self) -> float:
        """p_k in W."""
        return self.transmit_snr * self.noise_power

    @property
    def autoregressive_goodput(self) -> float:
        """K / T_ver in tokens/s: the server alone, one token for each user a round; rewards are multiples of it."""
        return self.num_users / self.verification_time


SCENARIOS: tables.Registry[Scenario] = tables.SCENARIOS
"""The presets."""
