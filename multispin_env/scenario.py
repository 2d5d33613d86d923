"""Scenarios: devices, radio, server and tasks, which stay the same for a whole experiment."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Self

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import (
    check_bool,
    check_integer,
    check_keywords,
    check_label,
    check_name,
    check_plausible,
    check_real,
    shown,
)
from multispin_env.field_files import SCENARIO, is_file_name, make_from_fields, read_fields, write_fields
from multispin_env.registry import ACCEPTANCES, CHANNELS, SCENARIOS, SERVERS
from multispin_env.server import (
    DRAFTING,
    LAW,
    VerificationLaw,
    check_draft_pieces,
    check_pieces,
    line_time,
    resolve_server_file,
    with_law,
)
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
        check_label("name of a task", self.name)
        check_real(f"acceptance_rate of task {self.name!r}", self.acceptance_rate, 0.0, 1.0)
        check_real(f"acceptance_std of task {self.name!r}", self.acceptance_std, 0.0)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A frozen, checked and hashable description of one system; the defaults are those of the paper.

    Pieces, padding, context and servers, the round trip, the payload of ids, drafts of no tokens, drafting ahead and
    T_srv are additions (ours).

    ``ValueError`` for a value out of range, naming the field, what is expected and the value.

    Parameters
    ----------
    name
        Label, shown in tables.
    vocabulary_size
        V, tokens in the vocabulary both models share.
    verification_fixed_time, verification_time_per_draft
        T_fix and T_lin in seconds: one verification of K drafts takes T_fix + K T_lin ([MS] 7).
    verification_pieces
        Pairs (a_j, b_j) in seconds and seconds per token: a pass of n tokens takes max_j (a_j + b_j n) in addition.
    padded_verification
        Whether a pass holds K (max L + 1) tokens, as of a server that pads its batch, instead of Σ_k (L_k + 1).
    context_time
        Seconds that each token of a draft's context adds to a pass, which reads what is before the draft.
    context
        Tokens of context that each device has, which ``context_time`` is paid for. Of requests that end, a pass reads
        their own: the prompt and the tokens that came; then plans alone take this number.
    server
        Name of the profile that the law of verification is from; empty for a law of its own. It names a law and does
        not set it: `preset`, `replace` and files do.
    round_trip_time
        T_rtt in seconds, added to every round.
    mean_draft_time
        T̄, mean SLM time per drafted token in seconds. Calibrated by this project, not stated in the paper.
    tasks
        What devices ask for; each device draws one of them uniformly.
    num_users
        K, number of devices.
    total_bandwidth
        B, uplink budget in Hz.
    payload
        What is uploaded for each drafted token: ``"distributions"``, V̂ probabilities with their indices ([MS] 9), or
        ``"ids"``, its index alone, for a server that verifies without probabilities.
    kept_probabilities, bits_per_probability
        V̂ and Q_B, for ``"distributions"`` ([MS] 9).
    min_draft_length, max_draft_length
        Range of L_k in tokens, of 10,000 at most. 0 means no draft, no uplink and one token of the server.
    draft_time_spread
        T_k is uniform in T̄ (1 ± spread).
    mean_gain_low, mean_gain_high
        Range of the mean power gain H̄_k, uniform over devices.
    transmit_snr_db
        p_k / N0 at unit gain, in dB. Calibrated by this project, not stated in the paper.
    noise_power
        N0 in W.
    server_draft_time
        T_srv in seconds per token, the paper's reference value: of the centralized system, and of others without
        ``server_draft_pieces``.
    server_draft_pieces
        Pairs (a_j, b_j) in seconds a token and seconds a token and request: where the server drafts for n requests at a
        time, T_srv is the largest a_j + b_j n; without any, ``server_draft_time`` whatever n.
    channel
        Law of gains: ``"independent"``, drawn for each round, or for each cycle of a device without the barrier;
        ``"gauss-markov"``, correlated; ``"static"``, drawn once; or another one of `CHANNELS`.
    acceptance
        Name of the acceptance process.
    draft_ahead
        Whether devices draft on while their draft is sent and verified (`multispin_env.physics.chains`).
    guess
        How a device that drafts ahead guesses the server's token behind a draft that is accepted whole: ``"greedy"``,
        ``"shared-seed"`` or ``"independent"``.
    """

    name: str
    vocabulary_size: int
    verification_fixed_time: float
    verification_time_per_draft: float
    mean_draft_time: float
    tasks: tuple[Task, ...]
    num_users: int = 20
    total_bandwidth: float = 10 * MHZ
    verification_pieces: tuple[tuple[float, float], ...] = ()
    padded_verification: bool = False
    context_time: float = 0.0
    context: int = 1024
    server: str = ""
    round_trip_time: float = 0.0
    payload: str = "distributions"
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
    server_draft_pieces: tuple[tuple[float, float], ...] = ()
    channel: str = "independent"
    acceptance: str = "by-task"
    draft_ahead: bool = False
    guess: str = "greedy"

    def __post_init__(self) -> None:
        check_label("name", self.name)
        for field in ("num_users", "kept_probabilities", "bits_per_probability"):
            check_integer(field, getattr(self, field), 1)
        check_integer("vocabulary_size", self.vocabulary_size, 2)
        check_integer("min_draft_length", self.min_draft_length, 0, 1)
        check_integer("max_draft_length", self.max_draft_length, 1, 10_000)  # arrays over all lengths fit into memory
        for field in ("total_bandwidth", "mean_draft_time", "server_draft_time", "mean_gain_low", "noise_power"):
            check_real(field, getattr(self, field), 0.0, open_low=True)
        check_plausible(vars(self))
        self._check_verification()
        check_name("payload", self.payload, PAYLOADS)
        check_real("draft_time_spread", self.draft_time_spread, 0.0, 1.0, open_high=True)
        check_real("mean_gain_high", self.mean_gain_high, self.mean_gain_low)
        check_real("transmit_snr_db", self.transmit_snr_db, -300.0, 300.0)
        CHANNELS.check(self.channel)
        ACCEPTANCES.check(self.acceptance)
        check_bool("draft_ahead", self.draft_ahead)
        check_name("guess", self.guess, GUESSES)
        listed = isinstance(self.tasks, list | tuple) and len(self.tasks) > 0
        if not listed or not all(isinstance(task, Task) for task in self.tasks):
            raise ValueError(f"tasks: expected a tuple of at least one Task, got {shown(self.tasks)}")
        object.__setattr__(self, "tasks", tuple(self.tasks))  # a list would not hash

    def _check_verification(self) -> None:
        for field in ("verification_fixed_time", "verification_time_per_draft"):
            check_real(field, getattr(self, field), 0.0, open_low=not self.verification_pieces)
        check_real("round_trip_time", self.round_trip_time, 0.0)
        check_bool("padded_verification", self.padded_verification)
        check_real("context_time", self.context_time, 0.0)
        check_integer("context", self.context, 0, 10_000_000)
        object.__setattr__(self, "verification_pieces", check_pieces(self.verification_pieces))
        object.__setattr__(self, "server_draft_pieces", check_draft_pieces(self.server_draft_pieces))
        check_name("server", self.server, ("", *SERVERS.names()))
        law = {name: getattr(self, name) for name in LAW}
        if with_law({**law, "server": self.server}, SERVERS.load)["server"] != self.server:
            raise ValueError(
                f"server: expected the law of {self.server!r}, which Scenario.replace(server={self.server!r}) sets, "
                f"got {shown(law)}"
            )
        check_real("verification_time", self.verification_time, 0.0, open_low=True)

    @classmethod
    def preset(cls, name: str, /, **overrides: Any) -> "Scenario":
        """One of the named scenarios of `SCENARIOS`, with any field replaced.

        ``ValueError`` or ``TypeError`` for an unknown preset or field (the nearest is suggested), or a bad value.
        """
        return SCENARIOS.load(name).replace(**overrides)

    @classmethod
    def resolve(cls, scenario: "Scenario | str | Mapping[str, Any]") -> "Scenario":
        """Return a `Scenario`, looked up by name, read where the name is that of a file, or made of a table of fields.

        A table holds what a file holds, as `to_dict` gives it. So does what JSON makes of an environment's arguments.
        """
        if isinstance(scenario, Scenario):
            return scenario
        if isinstance(scenario, Mapping):
            return cls._from_table(dict(scenario))
        if not isinstance(scenario, str):
            raise ValueError(
                f"scenario: expected a Scenario, the name of a preset or file, or a table of fields, "
                f"got {shown(scenario)}"
            )
        return cls.load(scenario) if is_file_name(scenario) else cls.preset(scenario)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Scenario":
        """Read a scenario from a TOML or JSON file, as `save` writes it.

        A file may name a ``preset``; then it holds only what differs. ``server`` names a profile of `SERVERS`, as in
        `replace`, or the file of one in the same folder. ``ValueError`` if the file can't be read or a field is unknown
        or bad; it names the file and the line.

        Examples
        --------
        >>> import tempfile, multispin_env as ms
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = f"{folder}/mine.toml"
        ...     ms.Scenario.preset("llama2", num_users=8).save(file)
        ...     ms.Scenario.load(file).num_users
        8
        """
        if not isinstance(path, str | PathLike):
            raise ValueError(f"path: expected a str or a path, got {shown(path)}")
        folder = Path(path).parent
        return read_fields(SCENARIO, path, lambda values: cls._from_table(resolve_server_file(values, folder)))

    @classmethod
    def _from_table(cls, values: dict[str, Any]) -> "Scenario":
        preset = values.pop("preset", None)
        if "tasks" in values:
            values["tasks"] = _tasks(values["tasks"])
        if preset is not None:
            return cls.preset(preset).replace(**values)
        check_keywords("Scenario", values, ("preset", *cls.field_names()))
        values = with_law(values)
        return make_from_fields(cls, values, ", or a preset")

    def save(self, path: str | PathLike[str]) -> None:
        """Write every field to a TOML or JSON file, by the end of its name; in TOML with its meaning and unit."""
        write_fields(SCENARIO, path, self.to_dict())

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Every field that may be overridden."""
        return tuple(field.name for field in fields(cls))

    def replace(self, **overrides: Any) -> Self:
        """Return a copy with fields replaced; ``TypeError`` for an unknown field suggests the nearest.

        ``server`` names a profile of `SERVERS` or a file with one (`Server.load`), whose law of verification takes the
        position of the present one; fields of the law that are given beside it count more. A law that is not that of a
        profile of `SERVERS` has no name.
        """
        check_keywords("Scenario", overrides, self.field_names())
        same = overrides.get("server", self.server) == self.server
        kept = (*LAW, "server", *(() if "server_draft_time" in overrides else DRAFTING))
        present = {name: getattr(self, name) for name in kept if same}
        return replace(self, **with_law({**present, **overrides}))

    def to_dict(self) -> dict[str, Any]:
        """Every field as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Scenario":
        """Rebuild the scenario that `to_dict` wrote; a law that its server no longer has loses the name."""
        check_keywords("Scenario", values, cls.field_names())
        return cls(**with_law({**values, "tasks": _tasks(values["tasks"])}, SERVERS.load))

    def pass_time(
        self, num_drafts: FloatArray | IntArray | float, num_tokens: FloatArray | IntArray | float
    ) -> FloatArray | float:
        """T_ver in seconds of a pass of K drafts and n tokens, K of them the server's own, by the `law`.

        T_fix + K T_lin ([MS] 7), the largest a_j + b_j n of the pieces, and K ``context`` times ``context_time``. For
        means K may be no whole number; n is a number or an array of any shape, which the result has too.
        """
        return self.law.time(num_drafts, num_tokens)

    def draft_step_time(self, num_requests: FloatArray | IntArray | float) -> Any:
        """T_srv in seconds of requests (...): in this time a server drafts one token for each, in one batch."""
        return line_time(self.server_draft_pieces or ((self.server_draft_time, 0.0),), num_requests)

    @cached_property  # read several times in every step
    def law(self) -> VerificationLaw:
        """The law of verification, in which the context of a draft is part of T_lin."""
        fixed = self.verification_fixed_time
        per_draft = self.verification_time_per_draft + self.context_time * self.context
        return VerificationLaw(fixed, per_draft, self.verification_pieces, self.padded_verification)

    @property
    def label(self) -> str:
        """Its name, and what is not as in the paper: the server's law, what is uploaded, and drafting ahead."""
        server = f" on {self.server or 'a server of its own'}" if self.verification_pieces else ""
        ahead = ", drafting ahead" if self.draft_ahead else ""
        return f"{self.name}{server}{', ids' if self.payload == 'ids' else ''}{ahead}"

    @cached_property  # read several times in every step
    def bits_per_token(self) -> int:
        """Q in bits: V̂ probabilities of Q_B bits, each with its vocabulary index ([MS] 9); for ids an index alone."""
        index = index_bits(self.vocabulary_size)
        return index if self.payload == "ids" else self.kept_probabilities * (self.bits_per_probability + index)

    @property
    def verification_time(self) -> float:
        """T_ver in seconds of a pass of all users in which nobody drafts; in the paper's law of any pass ([MS] 7)."""
        return float(self.pass_time(self.num_users, self.num_users))

    @property
    def transmit_snr(self) -> float:
        """p_k / N0 at unit gain, as a power ratio."""
        return db_to_linear(self.transmit_snr_db)

    @property
    def autoregressive_goodput(self) -> float:
        """K / T_ver in tokens/s: the server alone, one token for each user a round; rewards are multiples of it."""
        return self.num_users / self.verification_time


PAYLOADS = ("distributions", "ids")  # What may be uploaded for each drafted token
GUESSES = ("greedy", "shared-seed", "independent")  # How the server's next token may be guessed


def _tasks(tables: Any) -> tuple[Task, ...]:
    if not isinstance(tables, list | tuple) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"tasks: expected a list of tables, one for each task, got {shown(tables)}")
    for table in tables:
        check_keywords("Task", table, (field.name for field in fields(Task)))
    return tuple(Task(**table) for table in tables)
