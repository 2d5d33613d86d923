"""Recorded arrival times and lengths of requests: file formats, checks, and two packaged traces of one hour each."""

from dataclasses import dataclass, field
from functools import cache
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_name, located, shown
from multispin_env.files import MIB, checksum, read_csv
from multispin_env.npz import INTEGERS, MOST_NUMBERS, read_arrays, read_file, read_packaged

_PACKAGED = "data/records/requests.npz"
PACKAGED_SHA256 = "b84937204b7217fca372cfb7a5cbcfcdb5d6209834708bef46846d84120db615"

TRACES = {"azure-chat": "conv_", "azure-code": "code_"}  # Prefixes of the arrays in the file

LARGEST_FILE = 32 * MIB  # Bytes, enough for a million rows
_LONGEST_TIME = 1e9  # Seconds from the first to the last request, 31 years; microseconds stay exact in float64
_MOST_TOKENS = 1e9  # Maximum for a prompt or an answer

_COLUMNS = ("arrived_at", "prompt", "output")


@dataclass(frozen=True)
class RequestTrace:
    """Trace of n ≥ 1 recorded requests.

    Two traces are equal if their ``digest`` is equal. ``ValueError`` for an empty trace or a bad number; the message
    names the row, counted from 1.

    Parameters
    ----------
    arrived_at
        Arrival times (n,) in s on any clock, not decreasing; stored as times since the first, to the microsecond.
    prompt
        Tokens of the prompts (n,), ≥ 0.
    output
        Tokens of the answers (n,), ≥ 1.

    Attributes
    ----------
    digest
        SHA-256 of all numbers.

    Examples
    --------
    >>> import multispin_env as ms
    >>> trace = ms.requests.RequestTrace([7.0, 8.5, 9.0], prompt=[0, 20, 5], output=[1, 60, 3])
    >>> trace.arrived_at.tolist(), trace.period, trace.rate
    ([0.0, 1.5, 2.0], 3.0, 1.0)
    """

    arrived_at: FloatArray = field(compare=False, repr=False)
    prompt: IntArray = field(compare=False, repr=False)
    output: IntArray = field(compare=False, repr=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        arrived_at, prompt, output = (_numbers(name, getattr(self, name)) for name in _COLUMNS)
        if len({len(arrived_at), len(prompt), len(output)}) != 1 or not len(arrived_at):
            lengths = [len(arrived_at), len(prompt), len(output)]
            raise ValueError(f"requests: expected the same number ≥ 1 of entries in {list(_COLUMNS)}, got {lengths}")
        arrays = {"arrived_at": _times(arrived_at), "prompt": _tokens("prompt", prompt, 0)}
        arrays["output"] = _tokens("output", output, 1)
        for name, array in arrays.items():
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        digest = checksum(b"".join(array.tobytes() for array in arrays.values()))
        object.__setattr__(self, "digest", digest)

    @property
    def period(self) -> float:
        """Period in s of the repeated trace, up to a mean gap after the last request; ``ValueError`` if it is 0."""
        last = float(self.arrived_at[-1])
        if last == 0.0:
            raise ValueError(
                f"arrived_at: expected at least two different times, got {len(self.arrived_at)} equal times"
            )
        return last + max(round(last * 1e6 / (len(self.arrived_at) - 1)), 1) / 1e6

    @property
    def rate(self) -> float:
        """Requests/s."""
        return len(self.arrived_at) / self.period


def _numbers(name: str, values: Any) -> FloatArray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(())
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one number for each request, got {shown(values)}")
    return array


def _times(arrived_at: FloatArray) -> FloatArray:
    _check_rows("arrived_at", arrived_at, np.isfinite(arrived_at), "a finite number of seconds")
    in_order = np.diff(arrived_at, prepend=arrived_at[0]) >= 0.0
    _check_rows("arrived_at", arrived_at, in_order, "a time no earlier than in the previous row")
    times = arrived_at - arrived_at[0]
    _check_rows("arrived_at", arrived_at, times <= _LONGEST_TIME, f"at most {_LONGEST_TIME:g} s after the first row")
    return np.rint(times * 1e6) / 1e6


def _tokens(name: str, tokens: FloatArray, low: int) -> IntArray:
    whole = (tokens >= low) & (tokens <= _MOST_TOKENS) & (tokens == np.floor(tokens))
    _check_rows(name, tokens, whole, f"an integer in {low}..{_MOST_TOKENS:.0f}")
    return tokens.astype(np.int64)


def _check_rows(name: str, array: FloatArray, good: BoolArray, expected: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f"row {row + 1}, {name}: expected {expected}, got {array[row]:.15g}")


def load_trace(trace: str | PathLike[str] | RequestTrace) -> RequestTrace:
    """Load recorded requests.

    ``ValueError`` for an unknown name (the nearest is suggested), an unreadable file or bad content. The message names
    the file and the row, counted from 1 without the header.

    Parameters
    ----------
    trace
        One of

        - ``"azure-chat"`` or ``"azure-code"``: an hour of a chat and of a code completion service, from the Azure LLM
          inference trace 2023 (P. Patel et al., "Splitwise", ISCA 2024; CC-BY 4.0);
        - the path of a ``.csv`` file with a header and the columns ``arrived_at`` (s, on any clock), ``prompt`` and
          ``output`` (tokens); other columns are ignored;
        - the path of an ``.npz`` file with the integers ``gap_us`` (microseconds since the previous request; the
          first is 0), ``prompt`` and ``output``;
        - a `RequestTrace`, which is returned unchanged.

    Examples
    --------
    >>> import multispin_env as ms
    >>> trace = ms.requests.load_trace("azure-chat")
    >>> len(trace.output), round(trace.rate, 2), round(float(trace.output.mean()))
    (19366, 5.53, 211)
    """
    if isinstance(trace, RequestTrace):
        return trace
    suffix = Path(trace).suffix.lower() if isinstance(trace, str | PathLike) else ""
    reader = {".csv": _from_csv, ".npz": _from_npz}.get(suffix)
    if reader is None:
        check_name("trace, by its name or as a .csv or .npz file", trace, TRACES)
        return _packaged(str(trace))
    content = read_file(trace, LARGEST_FILE, suffix)
    with located(fspath(trace)):
        return reader(content)


@cache
def _packaged(name: str) -> RequestTrace:
    return _from_npz(read_packaged(_PACKAGED, PACKAGED_SHA256), TRACES[name])


def _from_npz(content: bytes, prefix: str = "") -> RequestTrace:
    names = [f"{prefix}{name}" for name in ("gap_us", "prompt", "output")]
    gap, prompt, output = read_arrays(content, dict.fromkeys(names, INTEGERS)).values()
    longest = int(_LONGEST_TIME * 1e6) // MOST_NUMBERS  # the sum of such gaps cannot overflow
    _check_rows(names[0], gap, (gap >= 0) & (gap <= longest), f"microseconds in 0..{longest}")
    _check_rows(names[0], gap[:1], gap[:1] == 0, "0 in the first row")
    return RequestTrace(np.cumsum(gap.astype(np.int64)) / 1e6, prompt, output)


def _from_csv(content: bytes) -> RequestTrace:
    rows = [
        [_cell(row, name, cell) for name, cell in zip(_COLUMNS, cells, strict=True)]
        for row, (_, cells) in enumerate(read_csv(content, _COLUMNS, MOST_NUMBERS), start=1)
    ]
    return RequestTrace(*np.array(rows, dtype=np.float64).reshape(-1, len(_COLUMNS)).T)


def _cell(row: int, name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"row {row}, {name}: expected a number, got {shown(text)}") from None
