"""Scenarios: devices, radio, server and tasks, constant during an experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from operator import attrgetter
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import (
    check_bool,
    check_fields,
    check_instance,
    check_integer,
    check_keywords,
    check_label,
    check_name,
    check_real,
    checked_field,
    shown,
)
from multispin_env.device import LOADS, Devices, Row, with_fleet
from multispin_env.draft import PAYLOADS, TARGETS, DraftProfile, check_shifts
from multispin_env.field_files import is_file_name, make_from_fields, read_fields, write_fields
from multispin_env.pairs import check_pairs
from multispin_env.registry import ACCEPTANCES, CHANNELS, DRAFTS, LINKS, SCENARIOS, SERVERS
from multispin_env.server import (
    DRAFTING,
    LAW,
    MAX_CONTEXT,
    MEMORY,
    Memory,
    VerificationLaw,
    check_draft_pieces,
    check_pieces,
    line_time,
    lines_after,
    resolve_sibling_file,
    with_law,
)
from multispin_env.units import MHZ, MS, db_to_linear, index_bits
from multispin_env.uplink import Uplink

GUESSES = ("greedy", "shared-seed", "independent")


@dataclass(frozen=True, kw_only=True)
class Task:
    """Data set of prompts, with mean and spread of its acceptance rate ([MS] Table I).

    Parameters
    ----------
    name
        Label.
    acceptance_rate
        Mean of α over prompts, in [0, 1], with all probabilities uploaded, or for a greedy target.
    acceptance_std
        Standard deviation. That of [MS] Table I is between tokens: 71 to 89 % of the largest possible, √(α (1 − α));
        the packaged record has 78 to 85 % between tokens, and 0 to 0.07 between prompts. ``multispin record`` writes
        that over prompts.
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
    """Immutable, validated and hashable description of one system; the defaults are those of the paper.

    Not in the paper are pieces, padding, context and servers, the round trip, the payload ``"ids"``, acceptance that
    depends on the payload, draft profiles, links, delays and repeated uploads, drafts of length 0, drafting ahead,
    energy and batteries, and T_srv that depends on the batch.

    ``ValueError`` for a value out of range; the message has the field, the expected value and the value passed.

    Parameters
    ----------
    name
        Label, shown in tables.
    vocabulary_size
        V, tokens in the vocabulary that both models share.
    verification_fixed_time
        T_fix in seconds, of each pass of the server.
    verification_time_per_draft
        T_lin in seconds, of each draft of a pass. A pass of K drafts takes T_fix + K T_lin ([MS] 7).
    verification_pieces
        Pairs (a_j, b_j) in s and s/token: a pass of n tokens takes max_j (a_j + b_j n) in addition.
    padded_verification
        Whether n is K (max L + 1) tokens, for a server that pads its batch, instead of Σ_k (L_k + 1).
    context_time
        Seconds that each token of context before a draft adds to a pass.
    context
        Tokens of context of each device, for ``context_time`` and draft times. With finite requests, times depend on
        the actual context, the prompt and the tokens generated so far; only planning uses this number.
    server
        Name of the server profile with this verification law, or "" for another law. Set it by `preset`, `replace` or a
        file, which also set the law.
    round_trip_time
        T_rtt in seconds, added to every round.
    mean_draft_time
        T̄, mean SLM time per drafted token in seconds, after ``draft_context`` tokens. Calibrated by this project, not
        stated in the paper. With a ``fleet`` it is that of the fleet.
    tasks
        Tasks of the requests; the task of each device is drawn uniformly.
    num_users
        K, number of devices.
    total_bandwidth
        B, uplink bandwidth in Hz.
    payload
        Upload for each drafted token: ``"distributions"`` or ``"ids"``. The former are V̂ probabilities with their
        indices ([MS] 9), the latter only the index of the token, for a server that verifies without probabilities.
    kept_probabilities
        V̂, probabilities uploaded for each drafted token with ``"distributions"``. The device drafts from them, so
        that fewer than 1,024 lower the acceptance of a sampling target; see ``acceptance_shifts``.
    bits_per_probability
        Q_B, bits of each uploaded probability.
    target
        Choice of the target's tokens: ``"greedy"`` or ``"sampling"``; "" for ``"greedy"`` with ``"ids"``, else
        ``"sampling"``. With ``"ids"`` a sampling target accepts only as often as it samples the most likely draft
        token.
    acceptance_shifts
        Pairs (V̂, δ): the acceptance rate α of a sampling target becomes that with the logit ln(α / (1 − α)) + δ, with
        V̂ = 1 for ``"ids"``; linear in ln V̂ between pairs. By default those of SmolLM2-135M and its 4-bit rounding.
    target_model
        Target model of the tasks' acceptance rates, or "". Acceptance of a ``draft`` for another target is assumed.
    draft
        Name of the draft profile with these tasks and this mean draft time, or "" for another draft model. Set it by
        `preset`, `replace` or a file, which also set them.
    min_draft_length
        Least L_k in tokens, 0 or 1. With 0, a device may send no draft; it then gains one server token.
    max_draft_length
        Largest L_k in tokens, at most 10,000.
    draft_time_spread
        Draft times T_k are uniform in T̄ (1 ± spread). Not used with a ``fleet``.
    fleet
        Mixture from which each device is drawn: rows (label, share, draft time cold and under sustained load in
        s/token, joules of a drafted token, 0 for ``draft_energy``), or none. Two more numbers are those of
        ``draft_context_time``, of a cold device, and ``draft_context``, and a third that of ``prompt_rate``. `preset`,
        `replace` and files also take a name of `FLEETS`, a fleet file, and rows (profile, share). A label becomes "" if
        its profile has other numbers.
    device_load
        Draft times of a ``fleet``: ``"cold"`` or ``"sustained"``.
    draft_context_time
        Seconds that each token of context beyond ``draft_context`` adds to a drafted token of a device with T̄, and in
        proportion to T_k to those of others. Tokens of the draft itself are not counted as context.
    draft_context
        Tokens of context after which T̄ was measured.
    server_draft_context_time
        Seconds that each token of context of each request, beyond ``server_draft_context``, adds to drafting a token on
        the server: n c max(C − C_0, 0) for n requests.
    server_draft_context
        Tokens of context after which the server's draft times were measured.
    server_draft_round_time
        Seconds that each draft on the server takes in addition, whatever its length and batch.
    kv_tokens
        Tokens of all requests whose cache fits into the memory of the server; 0: unknown, without a limit. It limits
        capacities; elsewhere commands only say that requests do not fit. Environments do not enforce it.
    draft_kv_factor
        Ratio of ``kv_tokens`` to the tokens that fit if the server also has a draft model; 0: unknown, taken as 1.
    prompt_rate
        Tokens/s that a device reads of the prompt of a request, before which it cannot draft; 0: reading takes no time.
        With a ``fleet`` it is that of rows without a rate. Only finite requests have prompts.
    mean_gain_low
        Smallest mean power gain H̄_k of a channel. H̄_k is drawn uniformly for each device.
    mean_gain_high
        Largest mean power gain H̄_k.
    transmit_snr_db
        p_k / N0, transmit power over noise at unit gain, in dB. Calibrated by this project, not stated in the paper.
    noise_power
        N0, noise power in W.
    server_draft_time
        T_srv in seconds per token drafted on the server, for baselines. This is the paper's reference value for the
        centralized system; the other systems use it if ``server_draft_pieces`` is empty.
    server_draft_pieces
        Pairs (a_j, b_j) in s and s/request: drafting a token for each of n requests takes max_j (a_j + b_j n). Without
        pairs it takes ``server_draft_time`` for any n.
    channel
        Fading model: ``"independent"``, ``"gauss-markov"``, ``"static"`` or another of `CHANNELS`. Gains are drawn for
        each round, correlated over rounds, or drawn once; without the barrier, cycles of a device replace rounds.
    acceptance
        Acceptance process, one of `ACCEPTANCES`.
    link
        Law by which a share of the band becomes a rate: ``"density"`` (constant power per hertz, as in the paper),
        ``"power"`` (constant total power) or another of `LINKS`.
    power_bandwidth
        Bandwidth in Hz over which a device with constant total power has the spectral efficiency r_k of
        ``transmit_snr_db``; not used by ``"density"``. The default is the equal share of the paper's 20 devices.
    efficiency_limit
        Largest spectral efficiency in bit/s/Hz with ``"power"``, e.g. 7.4 for 256-QAM; 0: none.
    access_delay
        Seconds for access and downlink of a device that drafts, one number, or one for each device; default none.
    upload_loss
        Probability p that an upload must be repeated, in [0, 0.9]; each repetition is lost with the same probability.
        It needs a ``repeat_time``.
    repeat_time
        Seconds h of a repetition, which needs no bandwidth. A round waits for the device with the most repetitions;
        without the barrier, each draft arrives later by its own.
    draft_ahead
        Whether devices continue to draft while their draft is sent and verified; see `multispin_env.physics.chains`.
    guess
        How a device that drafts ahead guesses the token that the server adds to a completely accepted draft:
        ``"greedy"``, ``"shared-seed"`` or ``"independent"``.
    draft_energy
        Joules per drafted token; the default is that of a model with 10^9 parameters on a phone (MobileLLM).
    transmit_power
        Radiated power in W of a device that sends with the whole bandwidth; with a share of it, this share of the
        power, so that the joules of a token do not depend on the share.
    battery_rounds
        Capacity of each battery, in rounds of the device's mean energy at the best long-run goodput without batteries;
        0: no batteries. The batteries of `physics.energy` require drafts of length 0, and no drafting ahead.
    charge_share
        Constant power that charges a battery, in units of the device's mean power there.
    budget_time
        H in seconds; 0: batteries are charged. If positive, they start full and are not charged, and hold the energy
        that ``charge_share`` gives in H seconds; ``battery_rounds`` then only has to be positive.
    """

    name: str
    vocabulary_size: int
    verification_fixed_time: float
    verification_time_per_draft: float
    mean_draft_time: float
    tasks: tuple[Task, ...]
    num_users: int = checked_field(20, check_integer, 1, 1_000_000)  # a step takes about 2 GB
    total_bandwidth: float = checked_field(10 * MHZ, check_real, 0.0, open_low=True)
    verification_pieces: tuple[tuple[float, float], ...] = ()
    padded_verification: bool = checked_field(False, check_bool)
    context_time: float = checked_field(0.0, check_real, 0.0)
    context: int = checked_field(1024, check_integer, 0, MAX_CONTEXT)
    server: str = ""
    round_trip_time: float = checked_field(0.0, check_real, 0.0)
    payload: str = checked_field("distributions", check_name, PAYLOADS)
    kept_probabilities: int = checked_field(1024, check_integer, 1, lambda scenario: scenario.vocabulary_size)
    bits_per_probability: int = checked_field(16, check_integer, 1)
    target: str = checked_field("", check_name, ("", *TARGETS))
    acceptance_shifts: tuple[tuple[int, float], ...] = (
        (1, -0.930),
        (4, -0.351),
        (16, -0.153),
        (64, -0.0605),
        (1024, 0.0),
    )
    target_model: str = checked_field("", check_instance, str, "text")
    draft: str = ""
    min_draft_length: int = checked_field(1, check_integer, 0, 1)
    max_draft_length: int = checked_field(25, check_integer, 1, 10_000)  # arrays over all lengths fit into memory
    draft_time_spread: float = checked_field(0.15, check_real, 0.0, 1.0, open_high=True)
    mean_gain_low: float = checked_field(0.2, check_real, 0.0, open_low=True)
    mean_gain_high: float = checked_field(0.5, check_real, lambda scenario: scenario.mean_gain_low)
    transmit_snr_db: float = checked_field(23.5, check_real, -300.0, 300.0)
    noise_power: float = checked_field(1e-10, check_real, 0.0, open_low=True)
    server_draft_time: float = checked_field(4 * MS, check_real, 0.0, open_low=True)
    server_draft_pieces: tuple[tuple[float, float], ...] = ()
    channel: str = "independent"
    acceptance: str = "by-task"
    link: str = "density"
    power_bandwidth: float = checked_field(0.5 * MHZ, check_real, 0.0, open_low=True)
    efficiency_limit: float = checked_field(0.0, check_real, 0.0)
    access_delay: tuple[float, ...] = ()
    upload_loss: float = checked_field(0.0, check_real, 0.0, 0.9)
    repeat_time: float = checked_field(0.0, check_real, 0.0)
    draft_ahead: bool = checked_field(False, check_bool)
    guess: str = checked_field("greedy", check_name, GUESSES)
    draft_energy: float = checked_field(0.1, check_real, 0.0, open_low=True)
    transmit_power: float = checked_field(0.2, check_real, 0.0)
    battery_rounds: float = checked_field(0.0, check_real, 0.0, 1e6)
    charge_share: float = checked_field(0.5, check_real, 0.0, 1.0, open_low=True)
    budget_time: float = checked_field(0.0, check_real, 0.0)
    fleet: tuple[Row, ...] = ()
    device_load: str = checked_field("cold", check_name, LOADS)
    draft_context_time: float = checked_field(0.0, check_real, 0.0)
    draft_context: int = checked_field(0, check_integer, 0, MAX_CONTEXT)
    server_draft_context_time: float = checked_field(0.0, check_real, 0.0)
    server_draft_context: int = checked_field(0, check_integer, 0, MAX_CONTEXT)
    server_draft_round_time: float = checked_field(0.0, check_real, 0.0)
    kv_tokens: int = checked_field(0, check_integer, 0)
    draft_kv_factor: float = checked_field(0.0, check_real, 0.0)
    prompt_rate: float = checked_field(0.0, check_real, 0.0)

    def __post_init__(self) -> None:
        check_label("name", self.name)
        check_integer("vocabulary_size", self.vocabulary_size, 2)
        check_real("mean_draft_time", self.mean_draft_time, 0.0, open_low=True)
        check_fields(self)
        for field in ("verification_fixed_time", "verification_time_per_draft"):
            check_real(field, getattr(self, field), 0.0, open_low=not self.verification_pieces)
        object.__setattr__(self, "verification_pieces", check_pieces(self.verification_pieces))
        object.__setattr__(self, "server_draft_pieces", check_draft_pieces(self.server_draft_pieces))
        check_name("server", self.server, ("", *SERVERS.names()))
        if self.server and not with_law(vars(self), read_files=False)["server"]:
            expected = f"the law of {self.server!r}, which Scenario.replace(server={self.server!r}) sets"
            raise ValueError(f"server: expected {expected}, got {shown({name: getattr(self, name) for name in LAW})}")
        check_real("verification_time", self.verification_time, 0.0, open_low=True)
        object.__setattr__(self, "acceptance_shifts", check_shifts(self.acceptance_shifts))
        check_name("draft", self.draft, ("", *DRAFTS.names()))
        CHANNELS.check(self.channel)
        ACCEPTANCES.check(self.acceptance)
        LINKS.check(self.link)
        object.__setattr__(self, "access_delay", _checked_delays(self.access_delay, self.num_users))
        self.uplink.check(self.efficiency_limit)
        check_pairs("draft_ahead", vars(self))
        check_pairs("battery_rounds", vars(self))
        listed = isinstance(self.tasks, list | tuple) and len(self.tasks) > 0
        if not listed or not all(isinstance(task, Task) for task in self.tasks):
            raise ValueError(f"tasks: expected a tuple of at least one Task, got {shown(self.tasks)}")
        object.__setattr__(self, "tasks", tuple(self.tasks))  # a list is not hashable
        if self.draft and not with_draft(vars(self), read_files=False)["draft"]:
            expected = f"the tasks, time and energy of {self.draft!r}, set by Scenario.replace(draft={self.draft!r})"
            raise ValueError(f"draft: expected {expected}, got {shown(self.tasks)}")
        object.__setattr__(self, "fleet", tuple(with_fleet(vars(self), read_files=False)["fleet"] or ()))

    @classmethod
    def preset(cls, name: str, /, **overrides: Any) -> "Scenario":
        """Return the scenario with this name in `SCENARIOS`, with fields replaced.

        ``ValueError`` or ``TypeError`` for a bad value, or for an unknown name, with the closest as a suggestion.
        """
        if is_file_name(name):
            raise ValueError(f"preset: expected a name, got the file {shown(name)}; read it with Scenario.load")
        return SCENARIOS.load(name).replace(**overrides)

    @classmethod
    def resolve(cls, scenario: "Scenario | str | Mapping[str, Any]") -> "Scenario":
        """Return the scenario itself, or that of a preset name, a file name, or a dict of fields as from `to_dict`."""
        if isinstance(scenario, Scenario):
            return scenario
        if isinstance(scenario, Mapping):
            return cls._from_table(dict(scenario))
        if not isinstance(scenario, str):
            expected = "a Scenario, the name of a preset or file, or a table of fields"
            raise ValueError(f"scenario: expected {expected}, got {shown(scenario)}")
        return cls.load(scenario) if is_file_name(scenario) else cls.preset(scenario)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Scenario":
        """Read a scenario from a TOML or JSON file, as `save` writes it.

        A file may name a ``preset`` and then only needs the fields that differ from it. ``server`` and ``draft`` name
        profiles, as in `replace`, or files in the same folder. ``ValueError`` if the file can't be read or a field is
        unknown or bad; the message names the file and the line.

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
        return read_fields("scenario", path, lambda values: cls._from_table(resolve_sibling_file(values, folder)))

    @classmethod
    def _from_table(cls, values: dict[str, Any]) -> "Scenario":
        preset = values.pop("preset", None)
        if "tasks" in values:
            values["tasks"] = _tasks(values["tasks"])
        if preset is not None:
            return cls.preset(preset).replace(**values)
        check_keywords("Scenario", values, ("preset", *cls.field_names()))
        return make_from_fields(cls, with_fleet(with_draft(with_law(values))), ", or a preset")

    def save(self, path: str | PathLike[str]) -> None:
        """Write all fields to a TOML or JSON file; TOML has their meanings and units as comments."""
        write_fields("scenario", path, self)

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Return the names of all fields."""
        return tuple(map(attrgetter("name"), fields(cls)))

    def replace(self, **overrides: Any) -> Self:
        """Return a copy with fields replaced; ``TypeError`` for an unknown field suggests the closest.

        ``server`` names a profile of `SERVERS` or a server file (`Server.load`), whose verification law and memory
        replace the current ones; fields of these that are passed as well override them. ``server`` of the result is ""
        unless the law is that of a profile of `SERVERS`. ``draft`` names a profile of `DRAFTS` or a file
        (`DraftProfile.load`), which sets the tasks and, if it states them, the mean draft time, the joules of a drafted
        token, payload and target. ``fleet``, a name of `FLEETS`, a file (`Fleet.load`) or rows, and ``device_load`` set
        the mean draft time.
        """
        if not overrides:
            return self
        check_keywords("Scenario", overrides, self.field_names())
        kept = {"fleet", "device_load", "battery_rounds"}  # fields that profiles must not change
        if overrides.get("server", self.server) == self.server:
            kept |= {"server", *LAW, *MEMORY}
            if "server_draft_time" not in overrides:
                kept |= {*(DRAFTING[:1] if "server_draft_pieces" in overrides else DRAFTING)}
        if overrides.get("draft", self.draft) == self.draft:
            kept |= {"draft", "tasks", "draft_energy", *_UPLOAD}
            if not {"fleet", "device_load"} & overrides.keys():
                kept |= {"mean_draft_time", "draft_context_time", "draft_context"}
        values = with_draft(with_law({**{name: getattr(self, name) for name in kept}, **overrides}))
        return replace(self, **with_fleet(values))

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as a dict that JSON can hold, except newer ones with the values that older files mean.

        These are the defaults in `_OMITTED_DEFAULTS`, and those of the memory that the ``server`` has.
        """
        profile = SERVERS.load(self.server).fields if self.server else {}
        older = {name: profile.get(name, default) for name, default in _OMITTED_DEFAULTS.items()}
        return {name: value for name, value in asdict(self).items() if name not in older or value != older[name]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Scenario":
        """Make the scenario from the result of `to_dict`; ``server`` and ``draft`` become "" if the profile changed."""
        check_instance("scenario", values, Mapping, "a table of fields")
        check_keywords("Scenario", values, cls.field_names())
        values = with_law({**values, "tasks": _tasks(values.get("tasks"))}, read_files=False)
        return make_from_fields(cls, with_fleet(with_draft(values, read_files=False), read_files=False))

    def draft_step_time(self, num_requests: FloatArray | IntArray | float) -> Any:
        """Return the time (...) in seconds that the server takes to draft one token for each of n requests (...)."""
        return line_time(self.server_draft_lines, num_requests)

    def server_drafting_time(self, draft_length: IntArray | int, num_requests: int) -> FloatArray:
        """Return L T_srv(n) and the constant of a draft (...) in s: the server drafts L (...) tokens for n requests."""
        length = np.asarray(draft_length)
        return self.draft_step_time(num_requests) * length + self.server_draft_round_time * (length > 0)

    @cached_property
    def server_draft_lines(self) -> tuple[tuple[float, float], ...]:
        """Pairs (a_j, b_j): drafting a token for each of n requests after ``context`` takes max_j (a_j + b_j n)."""
        lines = self.server_draft_pieces or ((self.server_draft_time, 0.0),)
        return lines_after(lines, self.server_draft_context_time, self.context - self.server_draft_context)

    @cached_property  # read several times in every step
    def law(self) -> VerificationLaw:
        """Verification law, with the time of the context included in T_lin."""
        fixed = self.verification_fixed_time
        per_draft = self.verification_time_per_draft + self.context_time * self.context
        pieces, padded = self.verification_pieces, self.padded_verification
        return VerificationLaw(fixed, per_draft, pieces, padded, (), self.context_time, self.context)

    @property
    def memory(self) -> Memory:
        """Memory of the server for the caches of requests."""
        return Memory(self.kv_tokens, self.draft_kv_factor)

    @cached_property  # read whenever devices are drawn
    def devices(self) -> Devices:
        """Devices from which this scenario draws its own: times, gains and joules."""
        return Devices(**{field.name: getattr(self, field.name) for field in fields(Devices)})

    @property
    def label(self) -> str:
        """Name and differences from the paper: server, draft, payload, target, drafting ahead, fleet, repetitions."""
        server = f" on {self.server or 'a custom server'}" if self.verification_pieces else ""
        ahead = ", drafting ahead" if self.draft_ahead else ""
        draft = f", {self.draft}{self.assumed}" if self.draft else ""
        named = self.payload == "ids" or self.target
        target = f", {'ids for a ' if self.payload == 'ids' else ''}{self.target_choice} target" if named else ""
        fleet = f", {label}" if (label := self.devices.label) else ""
        repeats = f", {100.0 * self.upload_loss:g} % of uploads repeated after {self.repeat_time / MS:g} ms"
        return f"{self.name}{server}{draft}{target}{ahead}{fleet}{repeats if self.repeat_time else ''}"

    @property
    def assumed(self) -> str:
        """Remark that the acceptance of the ``draft`` was measured for another target model, or ""."""
        known = not self.draft or DRAFTS.load(self.draft).target_model == self.target_model
        return "" if known else " (acceptance assumed)"

    @property
    def target_choice(self) -> str:
        """Choice of the target's tokens, ``"greedy"`` or ``"sampling"``."""
        return self.target or ("greedy" if self.payload == "ids" else "sampling")

    @property
    def sent_probabilities(self) -> int:
        """Probabilities of a drafted token that the server knows, from which the device drafts: V̂, or 1 with ids."""
        return 1 if self.payload == "ids" else self.kept_probabilities

    @cached_property  # read several times in every step
    def acceptance_shift(self) -> float:
        """Shift δ of acceptance rates in logits by the payload; 0 for a greedy target or with all probabilities."""
        kept = self.sent_probabilities
        if self.target_choice == "greedy" or kept >= self.vocabulary_size:
            return 0.0
        counts, shifts = np.array(self.acceptance_shifts).T
        return float(np.interp(np.log(kept), np.log(counts), shifts))

    def received_acceptance(self, rate: FloatArray | Sequence[float]) -> FloatArray:
        """Return the acceptance rates (...) with this payload and target, given those with all probabilities."""
        rate = np.asarray(rate, dtype=np.float64)
        if not self.acceptance_shift:
            return rate
        odds = rate * np.exp(self.acceptance_shift)
        return np.asarray(odds / (1.0 - rate + odds))

    @cached_property  # read several times in every step
    def bits_per_token(self) -> int:
        """Q in bits: V̂ probabilities of Q_B bits, each with its vocabulary index ([MS] 9); one index for ``"ids"``."""
        index = index_bits(self.vocabulary_size)
        return index if self.payload == "ids" else self.kept_probabilities * (self.bits_per_probability + index)

    @cached_property  # read several times in every step
    def verification_time(self) -> float:
        """T_ver in seconds of a pass of all users without drafts; by the paper's law, of any pass ([MS] 7)."""
        return float(self.law.time(self.num_users, self.num_users))

    @cached_property  # read in every step
    def transmit_snr(self) -> float:
        """p_k / N0 at unit gain, as a power ratio."""
        return db_to_linear(self.transmit_snr_db)

    @cached_property  # read several times in every step
    def uplink(self) -> Uplink:
        """Link, access, repetitions and round trip: times, waits and joules of uploads."""
        return Uplink(self, **{field.name: getattr(self, field.name) for field in fields(Uplink)[1:]})

    @property
    def autoregressive_goodput(self) -> float:
        """K / T_ver in tokens/s: goodput without drafts, one token per user and round; the unit of rewards."""
        return self.num_users / self.verification_time


_OMITTED_DEFAULTS: Mapping[str, Any] = {
    "server_draft_round_time": 0.0,
    "kv_tokens": 0,
    "draft_kv_factor": 0.0,
    "prompt_rate": 0.0,
}
"""Newer fields, which older files lack."""

_UPLOAD = ("payload", "kept_probabilities", "target")


def with_draft(values: Mapping[str, Any], read_files: bool = True) -> dict[str, Any]:
    """Return fields of a scenario with those of their ``draft``, a profile or a file; ``values`` override them.

    ``draft`` becomes "" if tasks, time or energy then differ from the profile, and for a file. Without
    ``read_files`` only profiles are allowed. ``ValueError`` for an unknown or unreadable one, and if its server drafts.
    """
    name = values.get("draft")
    if not name:
        return dict(values)
    from_file = read_files and is_file_name(name)
    profile = DraftProfile.resolve(name, read_files)
    if profile.on_server:
        expected = "a profile whose devices draft; `multispin drafts` compares those of a server"
        raise ValueError(f"draft: expected {expected}, got {shown(name)}")
    law: dict[str, Any] = {"tasks": tuple(Task(name=task, acceptance_rate=rate) for task, rate in profile.rates)}
    measured = {"mean_draft_time": profile.draft_time, "draft_energy": profile.joules_per_token}
    law |= {field: value for field, value in measured.items() if value is not None}
    if profile.draft_time is not None:
        law |= {"draft_context_time": profile.draft_context_time, "draft_context": profile.draft_context}
    upload = {field: value for field in _UPLOAD if (value := getattr(profile, field))}
    merged = {**law, **upload, **values}
    keeps_name = not from_file and all(merged[field] == value for field, value in law.items())
    return merged if keeps_name else merged | {"draft": ""}


def check_ahead_losses(scenario: Scenario) -> None:
    """Raise ``ValueError`` for upload losses in rounds with ``draft_ahead``: chains grow during repeated uploads."""
    if scenario.draft_ahead:
        scenario.uplink.require_paper("in rounds with draft_ahead", "upload_loss")


def _checked_delays(delays: Any, num_users: int) -> tuple[float, ...]:
    values = tuple(delays) if isinstance(delays, tuple | list) else (delays,)
    if len(values) not in (0, 1, num_users):
        expected = f"one number, or one for each of {num_users} devices"
        raise ValueError(f"access_delay: expected {expected}, got {len(values)} numbers")
    for value in values:
        check_real("access_delay", value, 0.0)
    return tuple(float(value) for value in values) if any(values) else ()


def _tasks(tables: Any) -> tuple[Task, ...]:
    if not isinstance(tables, list | tuple) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"tasks: expected a list of tables, one for each task, got {shown(tables)}")
    for table in tables:
        check_keywords("Task", table, (field.name for field in fields(Task)))
    return tuple(Task(**table) for table in tables)
