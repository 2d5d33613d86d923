"""The expected tokens E[N] of a draft, and profiles: measured acceptance and time of a way to draft, with source."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import (
    check_bool,
    check_instance,
    check_integer,
    check_label,
    check_name,
    check_real,
    checked_field,
    shown,
)
from multispin_env.field_files import ProfileFile
from multispin_env.registry import DRAFTS, Registry
from multispin_env.server import MAX_CONTEXT, VerificationLaw, check_draft_pieces, line_time, lines_after

__all__ = ["DraftProfile"]


@dataclass(frozen=True, slots=True, eq=False)
class TokenLaw:
    """Terms of E[N | L] that depend only on the acceptance rates α, computed once for many draft lengths."""

    log_acceptance: FloatArray  # ln α
    minus_miss: FloatArray  # α − 1, and −1 where α = 1
    certain: BoolArray | None  # where α = 1; None if nowhere

    @classmethod
    def of(cls, acceptance_rate: FloatArray) -> Self:
        """Make the law of rates α in [0, 1], of any shape."""
        alpha = np.asarray(acceptance_rate, dtype=np.float64)
        minus_miss = alpha - 1.0
        certain = minus_miss == 0.0
        with np.errstate(divide="ignore"):  # ln 0 = −∞ is intended
            log_acceptance = np.log(alpha)
        if not np.count_nonzero(certain):
            return cls(log_acceptance, minus_miss, None)
        return cls(log_acceptance, np.where(certain, -1.0, minus_miss), certain)

    def rows(self, rows: IntArray | BoolArray) -> "TokenLaw":
        """Return the law of these rows."""
        certain = None if self.certain is None else self.certain[rows]
        return TokenLaw(self.log_acceptance[rows], self.minus_miss[rows], certain)

    def expected(self, draft_length: FloatArray | IntArray | float) -> FloatArray:
        """Return `expected_tokens` of draft lengths L, broadcast against α."""
        count = np.add(draft_length, 1.0)
        # expm1 keeps all digits where α^{L+1} is close to 1
        tokens: FloatArray = np.expm1(count * self.log_acceptance) / self.minus_miss
        return tokens if self.certain is None else np.where(self.certain, count, tokens)


def expected_tokens(draft_length: FloatArray | IntArray | float, acceptance_rate: FloatArray) -> FloatArray:
    """Return E[N | L] = (1 − α^{L+1}) / (1 − α), and L + 1 at α = 1 ([MS] 12).

    Parameters
    ----------
    draft_length
        L ≥ 0 in tokens, integer or real, broadcast against α.
    acceptance_rate
        α in [0, 1]; exact to rounding at and near both ends.

    Examples
    --------
    >>> import numpy as np
    >>> from multispin_env.draft import expected_tokens
    >>> expected_tokens(2, np.array([0.0, 0.5, 1.0]))
    array([1.  , 1.75, 3.  ])
    """
    return TokenLaw.of(acceptance_rate).expected(draft_length)


PAYLOADS = ("distributions", "ids")
TARGETS = ("greedy", "sampling")


@dataclass(frozen=True, kw_only=True)
class DraftProfile(ProfileFile):
    """Measured draft model or other way to draft, with its source.

    Devices draft, or the server where ``draft_pieces`` or ``draft_passes`` is given. ``ValueError`` for a value out of
    range, or without exactly one of ``acceptance`` and ``acceptance_length``.

    Parameters
    ----------
    name
        Label; for a registered profile, its name in `DRAFTS`.
    model
        Draft model or method, and hardware on which its time was measured.
    target_model
        Target model for which the acceptance was measured.
    source
        Source of the numbers and conditions of the measurement.
    licence
        Licence of the source.
    acceptance
        Acceptance rate with all probabilities: a number, pairs (task, rate), or rates by position, of which each is
        for drafts that are accepted up to there. Rates by position become the rate with the same E[N | L].
    acceptance_length
        Mean tokens of a round, with the server's own, of drafts of ``draft_length``.
    draft_length
        L in tokens at which ``acceptance_length`` was measured; for a tree, the longest path.
    draft_time
        Seconds per token drafted on a device. ``None`` if it was not measured; the scenario keeps its own.
    draft_pieces
        Pairs (a_j, b_j) in s and s/request: drafting a token on the server for each of n requests takes
        max_j (a_j + b_j n).
    draft_passes
        Time of a draft of ``draft_length`` on the server, in passes of the target for one request. Other lengths of
        such a profile are unknown.
    one_pass
        Whether ``draft_pieces`` is the time of a draft of any length, as of parallel heads.
    verified_tokens
        Tokens of a pass for each draft of ``draft_length``; 0 for ``draft_length`` + 1, more for a tree.
    payload
        Upload for each drafted token, as in `Scenario`; "" for the scenario's.
    kept_probabilities
        Probabilities uploaded for each drafted token; ``None`` for the scenario's.
    target
        Choice of the target's tokens, as in `Scenario`; "" for the scenario's.
    joules_per_token
        Energy of a device per drafted token; ``None`` if it was not measured.
    draft_context_time
        Seconds that each token of context beyond ``draft_context`` adds to a drafted token, of each request on the
        server; 0 if unknown.
    draft_context
        Tokens of context after which the time was measured.
    context_source
        Source of ``draft_context_time``, "measured: ..." or "estimated: ..."; "" without one.
    """

    _kind: ClassVar[str] = "draft"
    _table: ClassVar[Registry] = DRAFTS

    name: str
    model: str
    target_model: str
    source: str
    licence: str
    acceptance: Any = None
    acceptance_length: float | None = None
    draft_length: int | None = checked_field(None, check_integer, 1, 10_000_000)
    draft_time: float | None = checked_field(None, check_real, 0.0, open_low=True)
    draft_pieces: tuple[tuple[float, float], ...] = ()
    draft_passes: float = checked_field(0.0, check_real, 0.0)
    one_pass: bool = checked_field(False, check_bool)
    verified_tokens: int = checked_field(0, check_integer, 0)
    payload: str = checked_field("", check_name, ("", *PAYLOADS))
    kept_probabilities: int | None = checked_field(None, check_integer, 1, 10_000_000)
    target: str = checked_field("", check_name, ("", *TARGETS))
    joules_per_token: float | None = checked_field(None, check_real, 0.0, open_low=True)
    draft_context_time: float = checked_field(0.0, check_real, 0.0)
    draft_context: int = checked_field(0, check_integer, 0, MAX_CONTEXT)
    context_source: str = checked_field("", check_instance, str, "text")

    def __post_init__(self) -> None:
        self.check_profile()
        self._check_time()
        self._check_acceptance()

    def _check_time(self) -> None:
        object.__setattr__(self, "draft_pieces", check_draft_pieces(self.draft_pieces, "draft_pieces"))
        times = [field for field in ("draft_time", "draft_pieces", "draft_passes") if getattr(self, field)]
        if len(times) > 1:
            raise ValueError(f"{times[1]}: expected no time besides {times[0]}, got {shown(getattr(self, times[1]))}")
        if self.verified_tokens and not self.draft_passes:
            raise ValueError(f"verified_tokens: expected 0 without draft_passes, got {self.verified_tokens}")

    def _check_acceptance(self) -> None:
        if (self.acceptance is None) == (self.acceptance_length is None):
            got = shown(self.acceptance)
            raise ValueError(f"acceptance: expected a value unless there is an acceptance_length, got {got}")
        if self.draft_length is None and (self.acceptance_length is not None or self.draft_passes):
            raise ValueError("draft_length: expected the length that was measured, got None")
        if self.acceptance is None:
            check_real("acceptance_length", self.acceptance_length, 1.0, float(self.draft_length or 0) + 1.0)
        else:
            object.__setattr__(self, "acceptance", _acceptance(self.acceptance))

    @property
    def on_server(self) -> bool:
        """Whether the server drafts."""
        return bool(self.draft_pieces or self.draft_passes)

    @property
    def rates(self) -> tuple[tuple[str, float], ...]:
        """Pairs (task, acceptance rate); a single task is that of all prompts."""
        rate = self.acceptance
        if rate is None:
            rate = rate_of_length(float(self.acceptance_length or 1.0), self.draft_length or 1)
        elif isinstance(rate, tuple) and isinstance(rate[0], float):  # by position
            rate = rate_of_length(1.0 + float(np.cumprod(rate).sum()), len(rate))
        return rate if isinstance(rate, tuple) else (("all prompts", rate),)

    def lengths(self, longest: int) -> IntArray:
        """Return the draft lengths L (l,) that the server can draft: 0..``longest``, or 0 and the measured one."""
        return np.array([0, self.draft_length]) if self.draft_passes else np.arange(longest + 1)

    def tokens(self, draft_length: IntArray) -> FloatArray:
        """Return the mean E[N | L] over tasks for lengths (l,)."""
        return np.asarray(expected_tokens(draft_length, np.array([[rate] for _, rate in self.rates])).mean(0))

    def round_time(self, law: VerificationLaw, num_requests: int, draft_length: IntArray) -> FloatArray:
        """Return the time (l,) in s in which the server drafts and verifies drafts of n requests, for lengths (l,)."""
        drafts = draft_length > 0 if self.one_pass or self.draft_passes else draft_length
        pieces = self.draft_pieces or ((self.draft_passes * float(law.time(1, 1)), 0.0),)
        pieces = lines_after(pieces, self.draft_context_time, law.context - self.draft_context)
        verified = np.where(draft_length > 0, self.verified_tokens or draft_length + 1, 1)
        return drafts * line_time(pieces, num_requests) + law.time(num_requests, num_requests * verified)


def _acceptance(value: Any) -> float | tuple[Any, ...]:
    """Return a rate, rates by position or pairs (task, rate), checked."""
    if isinstance(value, dict):
        value = tuple(value.items())
    if not isinstance(value, tuple | list):
        return float(check_real("acceptance", value, 0.0, 1.0))
    pairs = [entry if isinstance(entry, tuple | list) else (None, entry) for entry in value]
    tasks = [pair[0] for pair in pairs if len(pair) == 2]
    if not pairs or len(tasks) < len(pairs) or (any(task is None for task in tasks) and set(tasks) != {None}):
        raise ValueError(f"acceptance: expected a rate, rates by position or pairs (task, rate), got {shown(value)}")
    for index, (task, rate) in enumerate(pairs):
        if task is not None:
            check_label(f"acceptance[{index}], task", task)
        check_real(f"acceptance[{index}]", rate, 0.0, 1.0)
    return tuple(float(rate) if task is None else (task, float(rate)) for task, rate in pairs)


def check_shifts(pairs: Any) -> tuple[tuple[int, float], ...]:
    """Return the pairs (V̂, δ) of ``acceptance_shifts`` as tuples; ``ValueError`` unless V̂ increases."""
    listed = isinstance(pairs, tuple | list) and len(pairs) > 0
    if not listed or not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise ValueError(f"acceptance_shifts: expected pairs (probabilities, shift), got {shown(pairs)}")
    low = 0
    for index, (count, shift) in enumerate(pairs):
        low = check_integer(f"acceptance_shifts[{index}], probabilities", count, low + 1)
        check_real(f"acceptance_shifts[{index}], shift", shift, -50.0, 50.0)
    return tuple((int(count), float(shift)) for count, shift in pairs)


def rate_of_length(length: float, draft_length: float) -> float:
    """Return the rate α with E[N | L] = length, by bisection: E[N | L] increases with α."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if expected_tokens(draft_length, np.array(middle)) < length else (low, middle)
    return high
