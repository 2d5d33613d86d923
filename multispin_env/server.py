"""Verification laws, and profiles of measured servers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import (
    check_bool,
    check_instance,
    check_integer,
    check_plausible,
    check_real,
    checked_field,
    shown,
)
from multispin_env.field_files import ProfileFile, is_file_name
from multispin_env.files import sibling_file
from multispin_env.registry import SERVERS, Registry
from multispin_env.units import MS

MAX_CONTEXT = 10_000_000  # tokens

LAW = (
    "verification_fixed_time",
    "verification_time_per_draft",
    "verification_pieces",
    "padded_verification",
    "context_time",
)

DRAFTING = (
    "server_draft_time",
    "server_draft_pieces",
    "server_draft_context_time",
    "server_draft_context",
    "server_draft_round_time",
)

MEMORY = ("kv_tokens", "draft_kv_factor")

USABLE_MEMORY = 0.9
"""Share of a GPU's memory that a server uses, the default of vLLM."""


@dataclass(frozen=True)
class VerificationLaw:
    """Verification law: a pass of K drafts and n tokens takes T_fix + K T_lin + max_j (a_j + b_j n).

    The paper's law ([MS] 7) has no ``pieces`` (a_j, b_j). Times are in s, and b_j in s/token. If passes are ``padded``,
    all drafts count as long as the longest. If the server drafts before a pass, max_j (a_j + b_j K) of ``drafting`` is
    added, with b_j in s/draft. T_lin includes reading ``context`` tokens, each of which takes ``context_time``.
    """

    fixed_time: float
    time_per_draft: float
    pieces: tuple[tuple[float, float], ...] = ()
    padded: bool = False
    drafting: tuple[tuple[float, float], ...] = ()
    context_time: float = 0.0
    context: int = 0

    @cached_property
    def lines(self) -> tuple[tuple[float, float], ...]:
        """Pairs (a_j, b_j); (0, 0) if there are no pieces."""
        return self.pieces or ((0.0, 0.0),)

    @cached_property
    def flat(self) -> bool:
        """Whether the time of a pass does not depend on its tokens."""
        return all(slope == 0.0 for _, slope in self.lines)

    @cached_property
    def start(self) -> float:
        """max_j a_j in seconds, the time that the lines add at n = 0; in a flat law, at any n."""
        return max(start for start, _ in self.lines)

    def time_of_drafts(self, num_drafts: FloatArray | IntArray | float) -> Any:
        """Return T_fix + K T_lin plus drafting in seconds: the part of a pass's time that depends only on K drafts."""
        time = self.fixed_time + num_drafts * self.time_per_draft
        return time + line_time(self.drafting, num_drafts) if self.drafting else time

    def time(self, num_drafts: FloatArray | IntArray | float, num_tokens: FloatArray | IntArray | float) -> FloatArray:
        """Return T_ver in seconds of passes of K drafts and n tokens, which include K tokens of the server.

        K may be a mean and need not be an integer. K and n broadcast.
        """
        return self.time_of_drafts(num_drafts) + line_time(self.lines, num_tokens)

    def tokens(self, draft_length: FloatArray | IntArray, num_drafts: IntArray | int) -> FloatArray | IntArray:
        """Return n (...): all tokens of drafts (..., K), of length 0 if not verified, plus one per verified draft."""
        if self.padded:
            return num_drafts * (draft_length.max(-1) + 1)
        return np.add.reduce(draft_length, -1) + num_drafts

    def pass_time(
        self,
        draft_length: FloatArray | IntArray,
        verified: BoolArray | None = None,
        prompt: IntArray | None = None,
        context: IntArray | None = None,
    ) -> FloatArray:
        """Return T_ver (...) in seconds of the pass that verifies drafts (..., K).

        With a mask ``verified`` (..., K), the pass holds only the drafts of these devices. Then ``prompt`` (..., K)
        adds prompt tokens, which are never padded, and ``context`` (..., K) is the number of tokens whose cache the
        pass reads; the default is the law's ``context``.
        """
        time = np.empty(draft_length.shape[:-1])
        drafts = draft_length.shape[-1] if verified is None else np.add.reduce(verified, -1)
        if self.flat:  # faster, since tokens need not be counted
            time[...] = self.time_of_drafts(drafts) + self.start
        else:
            tokens = self.tokens(draft_length if verified is None else np.where(verified, draft_length, 0), drafts)
            if verified is not None and prompt is not None:
                tokens = tokens + np.add.reduce(np.where(verified, prompt, 0), -1)
            time[...] = self.time(drafts, tokens)
        if verified is not None and context is not None:
            time += self.context_time * np.add.reduce(np.where(verified, context - self.context, 0), -1)
        return time[()]

    def slopes(self, draft_length: FloatArray) -> FloatArray:
        """Return ∂T_ver/∂L_k (..., K) in s/token at real lengths, or (1,) zero of a flat law.

        At a kink it is that of the steeper piece.
        """
        if self.flat:  # for speed
            return np.zeros(1)
        users = draft_length.shape[-1]
        start, slope = np.array(sorted(self.lines, key=lambda line: line[1])).T
        times = start + slope * self.tokens(draft_length, users)[..., None]
        per_token = slope[len(slope) - 1 - times[..., ::-1].argmax(-1)][..., None]
        if not self.padded:
            return per_token * np.ones_like(draft_length)
        # in a padded pass only the (first) longest draft counts
        return per_token * np.where(np.arange(users) == draft_length.argmax(-1)[..., None], float(users), 0.0)

    def lines_of_drafts(self, num_drafts: int, least: float, most: float) -> FloatArray:
        """Return the lines (J, 2) for K drafts by rising slope: start in s, slope in s per unit of x = n − K.

        Lines that are never the largest are omitted. A slope below ``least`` is 0; larger numbers are at most ``most``.
        """
        lines: list[tuple[float, float]] = []
        pieces = ((0.0 if slope < least else min(slope, most), start) for start, slope in self.lines)
        for slope, start in sorted((slope, min(start, most)) for slope, start in pieces):
            line = (start + num_drafts * slope, slope)
            while lines and line[0] >= lines[-1][0]:  # a steeper line that starts higher is larger everywhere
                lines.pop()
            while len(lines) > 1 and _crossing(lines[-1], line) <= _crossing(lines[-2], lines[-1]):
                lines.pop()
            lines.append(line)
        return np.array(lines)


def _crossing(flat: tuple[float, float], steep: tuple[float, float]) -> float:
    return (flat[0] - steep[0]) / (steep[1] - flat[1])


@dataclass(frozen=True)
class Memory:
    """Memory of a server for the caches of requests; the fields are those of `multispin_env.Scenario`."""

    kv_tokens: float
    draft_kv_factor: float = 0.0

    def tokens(self, drafts: bool = False) -> float:
        """Return the tokens whose cache fits, infinite if unknown; fewer with the draft model of a server."""
        return self.kv_tokens / max(self.draft_kv_factor * drafts, 1.0) or np.inf

    def requests(self, context: int, drafts: bool = False) -> float:
        """Return the largest number of requests of ``context`` tokens that fit, infinite if unknown."""
        return float(np.floor(self.tokens(drafts) / max(context, 1)))

    def excess(self, requests: int, context: int, drafts: bool = False) -> str:
        """Return the sentence that so many requests do not fit, or "" if they do or the memory is unknown."""
        if requests <= (fitting := self.requests(context, drafts)):
            return ""
        models = "the weights and the server's draft model" if drafts and self.draft_kv_factor else "the weights"
        return f"{requests} requests of {context:,} tokens do not fit beside {models}, only {fitting:.0f} do"


@dataclass(frozen=True, kw_only=True)
class Server(ProfileFile):
    """Measured verification law of a server, with its source.

    ``ValueError`` for a value out of range, and for a law in which a pass takes no time.

    Parameters
    ----------
    name
        Label; for a registered server, its name in `SERVERS`.
    model
        Model and hardware that were measured.
    source
        Source of the numbers.
    fixed_time
        T_fix in seconds, of each pass.
    time_per_draft
        T_lin in seconds, of each draft of a pass.
    context_time
        Seconds for each token of context before a draft. 0 if the other times include the context.
    pieces
        Pairs (a_j, b_j) in s and s/token: a pass of n tokens takes max_j (a_j + b_j n) in addition.
    padded
        Whether n is K (max L + 1) tokens for K drafts, instead of Σ_k (L_k + 1).
    draft_time
        T_srv in seconds per token drafted on the server. ``None`` if it was not measured; the scenario keeps its own.
    draft_pieces
        Pairs (a_j, b_j) in s and s/request: drafting a token for each of n requests takes max_j (a_j + b_j n).
    draft_context_time
        Seconds that each token of context of each request, beyond ``draft_context``, adds to drafting a token.
    draft_context
        Tokens of context after which ``draft_time`` or ``draft_pieces`` were measured.
    draft_round_time
        Seconds that each draft on the server takes in addition, whatever its length.
    gpus
        Number of GPUs over which the target model is divided; 0 if the memory is unknown.
    gpu_memory
        Memory of each GPU in bytes.
    weights
        Weights of the target model in bytes.
    token_cache
        Cache of a token of the target model in bytes.
    draft_weights
        Weights of the server's draft model in bytes, on one of the GPUs; 0 if unknown.
    draft_token_cache
        Cache of a token of the server's draft model in bytes.
    memory_source
        Source of these bytes, with their bits.
    """

    _kind: ClassVar[str] = "server"
    _table: ClassVar[Registry] = SERVERS

    name: str
    model: str
    source: str
    fixed_time: float = 0.0
    time_per_draft: float = 0.0
    context_time: float = checked_field(0.0, check_real, 0.0)
    pieces: tuple[tuple[float, float], ...] = ()
    padded: bool = checked_field(False, check_bool)
    draft_time: float | None = checked_field(None, check_real, 0.0, open_low=True)
    draft_pieces: tuple[tuple[float, float], ...] = ()
    draft_context_time: float = checked_field(0.0, check_real, 0.0)
    draft_context: int = checked_field(0, check_integer, 0, MAX_CONTEXT)
    draft_round_time: float = checked_field(0.0, check_real, 0.0)
    gpus: int = checked_field(0, check_integer, 0)
    gpu_memory: float = checked_field(0.0, check_real, 0.0)
    weights: float = checked_field(0.0, check_real, 0.0)
    token_cache: float = checked_field(0.0, check_real, 0.0)
    draft_weights: float = checked_field(0.0, check_real, 0.0)
    draft_token_cache: float = checked_field(0.0, check_real, 0.0)
    memory_source: str = checked_field("", check_instance, str, "text")

    def __post_init__(self) -> None:
        self.check_profile()
        object.__setattr__(self, "pieces", check_pieces(self.pieces, "pieces"))
        object.__setattr__(self, "draft_pieces", check_draft_pieces(self.draft_pieces, "draft_pieces"))
        for field in ("fixed_time", "time_per_draft"):
            check_real(field, getattr(self, field), 0.0, open_low=not self.pieces)
        if VerificationLaw(self.fixed_time, self.time_per_draft, self.pieces).time(1, 1) <= 0.0:
            raise ValueError(f"pieces: expected a law in which a pass takes time, got {shown(self.pieces)}")

    @property
    def memory(self) -> Memory:
        """Tokens of cache beside the weights in 90 % of the memory of each GPU; unknown if a field of the target is 0.

        The target is divided equally over the GPUs. The server's draft model with its cache is on one of them, as its
        measured times assume, so that this GPU is full first. At least 1 token is returned, since 0 is unknown.
        Neglected are activations, the rounding to blocks, and states of linear attention.
        """
        if not (self.gpus and self.gpu_memory and self.weights and self.token_cache):
            return Memory(0)
        token, room = self.token_cache / self.gpus, USABLE_MEMORY * self.gpu_memory - self.weights / self.gpus
        tokens = max(room / token, 1.0)
        beside_draft = max((room - self.draft_weights) / (token + self.draft_token_cache), 1.0)
        return Memory(int(tokens), round(tokens / beside_draft, 4) if self.draft_weights else 0.0)

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of `Scenario` that describe this law and memory."""
        law: dict[str, Any] = {
            "verification_fixed_time": self.fixed_time,
            "verification_time_per_draft": self.time_per_draft,
            "verification_pieces": self.pieces,
            "padded_verification": self.padded,
            "context_time": self.context_time,
            "server": self.name,
            "server_draft_pieces": self.draft_pieces,
            "server_draft_context_time": self.draft_context_time,
            "server_draft_context": self.draft_context,
            "server_draft_round_time": self.draft_round_time,
            **vars(self.memory),
        }
        return law if self.draft_time is None else law | {"server_draft_time": self.draft_time}

    @classmethod
    def of(cls, scenario: Any) -> "Server":
        """Return the server of a `Scenario`: its law and draft times."""
        names = ("fixed_time", "time_per_draft", "pieces", "padded", "context_time")
        law = {name: getattr(scenario, field) for name, field in zip(names, LAW, strict=True)}
        drafting = {field.removeprefix("server_"): getattr(scenario, field) for field in DRAFTING}
        return cls(name=scenario.server or scenario.name, model="", source=scenario.label, **law, **drafting)

    @override
    def to_dict(self) -> dict[str, Any]:
        values = super().to_dict()
        return values if self.draft_round_time else {k: v for k, v in values.items() if k != "draft_round_time"}

    def anchored(
        self, tpot: float | Sequence[float], num_requests: int | Sequence[int] = 1, context: int = 1024
    ) -> "Server":
        """Return this server with all times scaled to TPOTs in s that were measured without drafts.

        Each was measured with this number of requests after ``context`` tokens. One TPOT gives the scale. Several give
        the scale and a constant of each pass, ``fixed_time``, by least squares of the relative errors; the constant is
        not negative. ``source`` states all of it, with the largest error.

        Examples
        --------
        >>> import multispin_env as ms
        >>> server = ms.Server(name="mine", model="7B", source="a table", pieces=((0.010, 0.0001),))
        >>> anchored = server.anchored(0.0202)
        >>> anchored.pieces, anchored.source
        (((0.02, 0.0002),), 'a table; anchored at TPOT 20.2 ms with 1 request after 1024 tokens: times x 2')
        """
        tpots, counts = np.atleast_1d(tpot).tolist(), np.atleast_1d(num_requests).tolist()
        if not tpots or len(tpots) != len(counts):
            raise ValueError(f"at: expected a number of requests for each measured TPOT, got {shown(counts)}")
        for value, count in zip(tpots, counts, strict=True):
            check_plausible({"measured_tpot": check_real("measured_tpot", value, 0.0, open_low=True)})
            check_integer("at", count, 1)
        per_draft = self.time_per_draft + self.context_time * check_integer("context", context, 0, MAX_CONTEXT)
        predicted = VerificationLaw(self.fixed_time, per_draft, self.pieces).time(np.array(counts), np.array(counts))
        scale, constant = fit_line(predicted, np.array(tpots))
        where = ", ".join(
            f"{value / MS:.4g} ms with {count} request{'s' * (count > 1)}"
            for value, count in zip(tpots, counts, strict=True)
        )
        text = f"{self.source}; anchored at TPOT {where} after {context} tokens: times x {scale:.4g}"
        if len(tpots) > 1:
            error = np.abs((scale * predicted + constant) / tpots - 1.0).max()
            text += f" and {constant / MS:.4g} ms a pass, within {error:.1%}"
        scaled = {name: getattr(self, name) * scale for name in _SECONDS}
        scaled |= {name: tuple((scale * a, scale * b) for a, b in getattr(self, name)) for name in _PIECES}
        if self.draft_time is not None:
            scaled["draft_time"] = self.draft_time * scale
        return replace(self, source=text, **scaled | {"fixed_time": scaled["fixed_time"] + constant})


_SECONDS = ("fixed_time", "time_per_draft", "context_time", "draft_context_time", "draft_round_time")
_PIECES = ("pieces", "draft_pieces")


def fit_line(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Return slope and constant ≥ 0 of y ≈ slope x + constant, positive numbers (m,), with the least squared errors.

    Errors are relative to y. The constant is 0 if x differ by less than 10 %, which does not determine it.
    ``ValueError`` if the slope would not be positive.
    """
    rows = np.stack([x, np.ones_like(y)], -1) / y[:, None]
    slope, constant = np.linalg.lstsq(rows, np.ones_like(y))[0] if np.ptp(x) > 0.1 * x.max() else (0.0, -1.0)
    if constant < 0.0:
        return float(rows[:, 0].sum() / (rows[:, 0] ** 2).sum()), 0.0
    if slope <= 0.0:
        raise ValueError(f"measured: expected times that grow with {shown(x.tolist())}, got {shown(y.tolist())}")
    return float(slope), float(constant)


def check_pieces(pieces: Any, field: str = "verification_pieces") -> tuple[tuple[float, float], ...]:
    """Return pieces (a_j, b_j) as floats; ``ValueError`` unless all are pairs of finite numbers ≥ 0."""
    if not isinstance(pieces, tuple | list):
        raise ValueError(f"{field}: expected pairs (s, s/token), got {shown(pieces)}")
    for index, piece in enumerate(pieces):
        if not isinstance(piece, tuple | list) or len(piece) != 2:
            raise ValueError(f"{field}[{index}]: expected a pair (s, s/token), got {shown(piece)}")
        for part in piece:
            check_real(f"{field}[{index}]", part, 0.0)
    return tuple((float(start), float(slope)) for start, slope in pieces)


def check_draft_pieces(pieces: Any, field: str = "server_draft_pieces") -> tuple[tuple[float, float], ...]:
    """Return pieces checked by `check_pieces`; ``ValueError`` also if drafting a token takes no time."""
    checked = check_pieces(pieces, field)
    if checked and line_time(checked, 1) <= 0.0:
        raise ValueError(f"{field}: expected a law in which a token takes time, got {shown(pieces)}")
    return checked


def line_time(lines: Iterable[Any], x: FloatArray | IntArray | float) -> FloatArray:
    """Return max_j (a_j + b_j x) (...) in seconds at x (...), for at least one pair (a_j, b_j)."""
    (start, slope), *others = lines
    time: FloatArray = np.add(start, slope * x)
    for start, slope in others:
        time = np.maximum(time, start + slope * x)
    return time


def lines_after(lines: Iterable[Any], context_time: float, tokens: int) -> tuple[tuple[float, float], ...]:
    """Return the lines (a_j, b_j) with ``context_time`` added to b_j for each of ``tokens``, if there are any."""
    return tuple((start, slope + context_time * max(tokens, 0)) for start, slope in lines)


def with_law(values: Mapping[str, Any], read_files: bool = True) -> dict[str, Any]:
    """Return fields of a scenario with the verification law and memory of their ``server``, a profile or a file.

    Fields of the law in ``values`` override the server's. ``server_draft_time`` overrides its ``draft_pieces``, and
    either one its growth with the context. ``server`` becomes "" if the law then differs from the profile, and for a
    file, so that a scenario does not depend on files. Without ``read_files`` only profiles are allowed. ``ValueError``
    for an unknown server or an unreadable file.
    """
    if "server_draft_time" in values:
        values = {"server_draft_pieces": (), **values}
    if "server_draft_pieces" in values:  # times of another draft model
        values = {"server_draft_context_time": 0.0, "server_draft_context": 0, "server_draft_round_time": 0.0, **values}
    server = values.get("server")
    if not server:
        return dict(values)
    from_file = read_files and is_file_name(server)
    profile = Server.resolve(server, read_files).fields
    law = {**profile, **values}
    law["verification_pieces"] = check_pieces(law["verification_pieces"])
    keeps_name = not from_file and all(law[name] == profile[name] for name in LAW)
    return law if keeps_name else law | {"server": ""}


def resolve_sibling_file(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the fields of a scenario file with full paths of the files in its folder that it names."""
    for field in ("server", "draft", "fleet"):
        name = values.get(field)
        if is_file_name(name):
            path = sibling_file(folder, name)
            if path is None:
                expected = "a profile name or a file in the scenario's folder"
                raise ValueError(f"{field}: expected {expected}, got {shown(name)}")
            values = {**values, field: str(path)}
    return values
