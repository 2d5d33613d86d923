"""Laws of request lengths: tokens of prompts and answers."""

from dataclasses import dataclass
from os import PathLike
from typing import Any, Protocol, runtime_checkable

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_fields, check_real, checked_field
from multispin_env.physics.traces import RequestTrace, load_trace
from multispin_env.registry import LENGTHS, make_part

_MOST_MEAN = 1e6  # Tokens of a mean or median length


@runtime_checkable
class Lengths(Protocol):
    """Interface of laws of the lengths of prompts and answers, which must be hashable."""

    @property
    def mean_output(self) -> float:
        """Mean tokens of an answer."""

    def draw(self, rng: np.random.Generator, rows: int, num_users: int) -> tuple[IntArray, IntArray]:
        """Draw tokens of prompts ≥ 0 and answers ≥ 1, (rows, K); m + n rows equal m rows followed by n rows."""


def make_lengths(name: str, **options: Any) -> Lengths:
    """Make a length law from its name.

    ``ValueError`` or ``TypeError`` for an unknown name or option (the nearest is suggested), or a bad value.

    Parameters
    ----------
    name
        One of ``LENGTHS.names()``: ``"geometric"``, ``"log-normal"`` or ``"trace"``.
    **options
        Fields of the class, e.g. ``mean_output=100.0`` for ``"geometric"``.

    Examples
    --------
    >>> import multispin_env as ms
    >>> ms.requests.make_lengths("geometric", mean_output=100.0).mean_output
    100.0
    """
    return make_part(LENGTHS, name, options)


@dataclass(frozen=True)
class Geometric(Lengths):
    """Geometric lengths: each token is the last one with the same probability.

    Parameters
    ----------
    mean_output
        Mean tokens of an answer, ≥ 1; default 60.
    mean_prompt
        Mean tokens of a prompt, ≥ 1, or 0 for no prompts; default 0.
    """

    mean_output: float = checked_field(60.0, check_real, 1.0, _MOST_MEAN)
    mean_prompt: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.mean_prompt != 0.0:
            check_real("mean_prompt", self.mean_prompt, 1.0, _MOST_MEAN)

    @override
    def draw(self, rng: np.random.Generator, rows: int, num_users: int) -> tuple[IntArray, IntArray]:
        fresh = rng.standard_exponential((rows, 2, num_users))
        output = _geometric(self.mean_output, fresh[:, 1])
        return _geometric(self.mean_prompt, fresh[:, 0]) if self.mean_prompt else np.zeros_like(output), output


def _geometric(mean: float, exponential: FloatArray) -> IntArray:
    with np.errstate(divide="ignore"):  # with a mean of 1 the step is infinite and all lengths are 1
        step = -np.log1p(-1.0 / mean)
    return 1 + np.floor(exponential / step).astype(np.int64)


SUMMED = 20_000  # Tokens up to which the mean is summed; the integral beyond is equally exact


@dataclass(frozen=True)
class LogNormal(Lengths):
    """Log-normal lengths, independent for prompts and answers, rounded and at least 1 token.

    The defaults are fitted to recorded chats (Azure LLM inference trace 2023).

    Parameters
    ----------
    median_output, sigma_output
        Median tokens of an answer, > 0, and standard deviation of their natural logarithm, in [0, 3].
    median_prompt, sigma_prompt
        The same numbers for a prompt; a median of 0 for no prompts.
    """

    median_output: float = checked_field(129.0, check_real, 0.0, _MOST_MEAN, open_low=True)
    sigma_output: float = checked_field(0.86, check_real, 0.0, 3.0)  # so that lengths fit into int64
    median_prompt: float = checked_field(1020.0, check_real, 0.0, _MOST_MEAN)
    sigma_prompt: float = checked_field(0.99, check_real, 0.0, 3.0)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    @override
    def mean_output(self) -> float:
        median, sigma = self.median_output, self.sigma_output
        if sigma == 0.0:
            return float(_rounded(np.asarray(median)))
        from scipy import special  # imported late: it takes as long to import as this package

        # 1 + Σ_n P(X > n + ½) over n ≥ 1
        over = special.ndtr(np.log(median / (np.arange(1, SUMMED) + 0.5)) / sigma)
        # the rest of the sum is nearly the integral of P(X > t) over t ≥ x = `SUMMED`, which is E[(X − x)⁺]
        position = np.log(median / SUMMED) / sigma
        beyond = median * np.exp(sigma**2 / 2.0) * special.ndtr(position + sigma) - SUMMED * special.ndtr(position)
        return float(1.0 + over.sum() + beyond)

    @override
    def draw(self, rng: np.random.Generator, rows: int, num_users: int) -> tuple[IntArray, IntArray]:
        fresh = rng.standard_normal((rows, 2, num_users))
        output = _rounded(self.median_output * np.exp(self.sigma_output * fresh[:, 1]))
        if self.median_prompt == 0.0:
            return np.zeros_like(output), output
        return _rounded(self.median_prompt * np.exp(self.sigma_prompt * fresh[:, 0])), output


def _rounded(tokens: FloatArray) -> IntArray:
    return np.maximum(np.rint(tokens), 1.0).astype(np.int64)


@dataclass(frozen=True)
class TraceLengths(Lengths):
    """Recorded lengths: pairs of prompt and answer, drawn with replacement.

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
        """Recorded requests."""
        return load_trace(self.trace)

    @property
    @override
    def mean_output(self) -> float:
        return float(self.record.output.mean())

    @override
    def draw(self, rng: np.random.Generator, rows: int, num_users: int) -> tuple[IntArray, IntArray]:
        record = self.record
        position = (rng.random((rows, num_users)) * len(record.output)).astype(np.int64)
        return record.prompt[position], record.output[position]
