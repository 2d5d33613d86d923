"""Devices of a scenario, profiles of measured ones, and fleets: mixtures from which a scenario draws its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import fsum
from typing import Any, ClassVar, NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import (
    check_instance,
    check_integer,
    check_label,
    check_name,
    check_plausible,
    check_real,
    checked_field,
    require,
    shown,
)
from multispin_env.field_files import ProfileFile
from multispin_env.pairs import check_pairs
from multispin_env.registry import DEVICES, FLEETS, Registry
from multispin_env.server import MAX_CONTEXT

__all__ = ["DeviceProfile", "Fleet"]

LOADS = ("cold", "sustained")

Row = tuple[str, float, float, float, float, *tuple[float, ...]]
"""Label, share, draft time cold and under sustained load in s/token, and joules of a drafted token, 0 if unknown.

Devices whose draft times grow with the context have two more: ``draft_context_time`` and ``draft_context``. Devices
with a known rate of reading have these two, which may be 0, and a third: ``prompt_rate``.
"""

_NUMBERS = "draft_time", "sustained_time", "joules_per_token", "draft_context_time", "draft_context", "prompt_rate"

_ROUNDING = 1e-9  # by which the sum of the shares may differ from 1


@dataclass(frozen=True, kw_only=True)
class DeviceProfile(ProfileFile):
    """Measured device, with the draft model that it ran, and its source.

    ``ValueError`` for a value out of range.

    Parameters
    ----------
    name
        Label; for a registered profile, its name in `DEVICES`.
    chip
        Chip of the device.
    model
        Model, bits of its weights, runtime and processor that were measured.
    source
        Source of the numbers, with the place in it; "excerpt" if it could not be read in full.
    licence
        Licence of the source.
    date
        Date of the measurement or its publication.
    draft_time
        Seconds per drafted token of a cold device.
    sustained_time
        Seconds per drafted token under sustained load. ``None`` if it was not measured: that of a cold device.
    joules_per_token
        Energy of the device per drafted token; ``None`` if it was not measured.
    draft_context_time
        Seconds that each token of context beyond ``draft_context`` adds to a drafted token of a cold device; 0 if
        unknown. Under sustained load it grows as the draft time does.
    draft_context
        Tokens of context after which the draft times were measured.
    context_source
        Source of ``draft_context_time``, "measured: ..." or "estimated: ..."; "" without one.
    prompt_rate
        Tokens/s that a cold device reads of a prompt; 0 if it was not measured.
    prompt_source
        Source of ``prompt_rate``, with the tokens of the prompt; "" without one.
    """

    _kind: ClassVar[str] = "device"
    _table: ClassVar[Registry] = DEVICES

    name: str
    chip: str
    model: str
    source: str
    licence: str
    date: str
    draft_time: float
    sustained_time: float | None = checked_field(None, check_real, 0.0, open_low=True)
    joules_per_token: float | None = checked_field(None, check_real, 0.0, open_low=True)
    draft_context_time: float = checked_field(0.0, check_real, 0.0)
    draft_context: int = checked_field(0, check_integer, 0, MAX_CONTEXT)
    context_source: str = checked_field("", check_instance, str, "text")
    prompt_rate: float = checked_field(0.0, check_real, 0.0)
    prompt_source: str = checked_field("", check_instance, str, "text")

    def __post_init__(self) -> None:
        check_real("draft_time", self.draft_time, 0.0, open_low=True)
        self.check_profile()

    @property
    def numbers(self) -> tuple[float, ...]:
        """Numbers of a row of a fleet, after label and share."""
        times = self.draft_time, self.sustained_time or self.draft_time
        growth = self.draft_context_time, float(self.draft_context)
        return _known((*times, self.joules_per_token or 0.0, *growth, self.prompt_rate))

    def time_after(self, context: int, load: str = LOADS[0]) -> float:
        """Return the draft time in s/token after ``context`` tokens, under a ``load`` of `LOADS`.

        ``ValueError`` for another load or a context out of range.

        Examples
        --------
        >>> import multispin_env as ms
        >>> phone = ms.registry.DEVICES.load("iphone-16-pro-gpu")
        >>> round(phone.time_after(32_768), 4), round(phone.time_after(32_768, "sustained"), 4)
        (0.0542, 0.0902)
        """
        check_name("load", load, LOADS)
        check_integer("context", context, 0, MAX_CONTEXT)
        growth = _growth(self.draft_context_time / self.draft_time, float(self.draft_context), context)
        return self.numbers[LOADS.index(load)] * float(growth)


def _known(numbers: tuple[float, ...]) -> tuple[float, ...]:
    """Return the six numbers of a row without those at the end that are unknown."""
    return numbers[: 6 if numbers[5] else 5 if numbers[3] else 3]


def _without_rate(row: Row) -> Row:
    label, share, cold, sustained, joules, *others = row
    return label, share, cold, sustained, joules, *(others[:2] if others and others[0] else ())


def _growth(ratio: FloatArray | float, measured_after: FloatArray | float, context: IntArray | int) -> FloatArray:
    return np.asarray(1.0 + ratio * np.maximum(context - measured_after, 0.0))


@dataclass(frozen=True, kw_only=True)
class Fleet(ProfileFile):
    """Named mixture of devices; ``ValueError`` for rows that `fleet_rows` refuses.

    Parameters
    ----------
    name
        Label; for a registered fleet, its name in `FLEETS`.
    about
        What the fleet stands for.
    devices
        Rows (profile, share), or rows with numbers as in `Scenario`.
    """

    _kind: ClassVar[str] = "fleet"
    _table: ClassVar[Registry] = FLEETS

    name: str
    about: str
    devices: tuple[Row, ...]

    def __post_init__(self) -> None:
        self.check_profile()
        object.__setattr__(self, "devices", fleet_rows(self.devices))


class DrawnDevices(NamedTuple):
    """Numbers of drawn devices, arrays (..., K)."""

    draft_time: FloatArray  # T_k, s/token
    mean_gain: FloatArray  # H̄_k
    draft_energy: FloatArray | None = None  # J, with a fleet
    fleet_row: IntArray | None = None  # row of the fleet


@dataclass(frozen=True, kw_only=True)
class Devices:
    """Devices from which a scenario draws its own, `Scenario.devices`; the fields are those of the scenario.

    A drafted token takes T_k + c_k max(C − C_0, 0) seconds after C tokens of context, where T_k was measured after C_0.
    """

    mean_draft_time: float
    draft_time_spread: float
    draft_context_time: float
    draft_context: int
    context: int
    mean_gain_low: float
    mean_gain_high: float
    draft_energy: float
    prompt_rate: float
    fleet: tuple[Row, ...]
    device_load: str

    def draw(self, draft: FloatArray, gain: FloatArray) -> DrawnDevices:
        """Map uniform variables (..., K) in [0, 1) to devices: T_k uniform in T̄ (1 ± spread), or of the fleet.

        Draft times are those after ``context`` tokens.
        """
        mean_gain = self.mean_gain_low + (self.mean_gain_high - self.mean_gain_low) * gain
        if not self.fleet:
            spread = self.draft_time_spread
            measured = self.mean_draft_time * (1.0 - spread + 2.0 * spread * draft)
            return DrawnDevices(measured * self.growth(self.context), mean_gain)
        shares, times, joules = self.rows[:3]
        row = np.searchsorted(np.cumsum(shares)[:-1], draft, side="right")
        return DrawnDevices(times[row] * self.growth(self.context, row), mean_gain, joules[row], row)

    @cached_property  # read whenever devices are drawn
    def rows(self) -> FloatArray:
        """Numbers (6, n) of the rows: share, draft time under the load, joules of a token, c / T, C_0, reading rate."""
        numbers = np.array([[*row[1:], 0.0, 0.0, 0.0][:7] for row in self.fleet], dtype=np.float64).reshape(-1, 7)
        shares, cold, sustained, joules, added, measured_after, rate = numbers.T
        times = (cold, sustained)[LOADS.index(self.device_load)]
        joules, rate = np.where(joules > 0.0, joules, self.draft_energy), np.where(rate > 0.0, rate, self.prompt_rate)
        return np.stack([shares, times, joules, added / cold, measured_after, rate])

    def growth(self, context: IntArray | int, row: IntArray | None = None) -> FloatArray:
        """Return the draft time after ``context`` (...) tokens, over the measured one, of devices of ``row`` (...).

        Without a row they are those of the scenario, which all have the same c_k / T_k.
        """
        ratio, measured_after = self.draft_context_time / self.mean_draft_time, float(self.draft_context)
        if row is not None:
            ratio, measured_after = self.rows[3:5, np.asarray(row, dtype=np.int64)]
        return _growth(ratio, measured_after, context)

    def later_time(self, draft_time: FloatArray, context: Callable[[], IntArray], row: IntArray | None) -> FloatArray:
        """Return the draft times (..., K) after ``context()`` (..., K) tokens, from those after the scenario's."""
        if not (self.draft_context_time or self.fleet):  # for speed
            return draft_time
        row = row if self.fleet else None  # a state may be that of another scenario's fleet
        return draft_time * (self.growth(context(), row) / self.growth(self.context, row))

    @cached_property  # read in every step
    def reads(self) -> bool:
        """Whether reading takes a device time."""
        return bool(self.rows[5].any() if self.fleet else self.prompt_rate)

    def reading_time(self, tokens: IntArray | int, row: IntArray | None) -> FloatArray:
        """Return the seconds (...) in which devices of ``row`` (...) read ``tokens`` (...) of a prompt or an answer."""
        rate = np.asarray(self.rows[5, row] if self.fleet and row is not None else self.prompt_rate)
        return np.asarray(tokens / np.where(rate > 0.0, rate, np.inf))

    def check_rows(self, row: FloatArray | None) -> None:
        """Raise ``ValueError`` unless each is a row of the fleet; without a fleet they are not used."""
        if row is not None and self.fleet:
            expected = f"integers in [0, {len(self.fleet)}), rows of the scenario's fleet"
            require("fleet_row", row, (row == np.round(row)) & (row >= 0) & (row < len(self.fleet)), expected)

    def draft_time_range(self, ends: bool) -> tuple[float, float]:
        """Return the smallest and largest T_k / T̄ after ``context`` tokens, or of requests that end, after any."""
        row = np.arange(len(self.fleet)) if self.fleet else None
        spread = self.draft_time_spread * np.array([-1.0, 1.0])
        measured = self.rows[1] / self.mean_draft_time if self.fleet else 1.0 + spread
        shortest, longest = (0, MAX_CONTEXT) if ends else (self.context, self.context)
        low, high = (measured * self.growth(context, row) for context in (shortest, longest))
        return float(low.min()), float(high.max())

    @property
    def middle_gain(self) -> float:
        """Mean H̄ of the mean gains H̄_k."""
        return 0.5 * (self.mean_gain_low + self.mean_gain_high)

    def joules(self, drawn: FloatArray | None) -> FloatArray | float:
        """Return the joules of a drafted token: those of drawn devices (..., K), or the number that all have."""
        return self.draft_energy if drawn is None else drawn

    @property
    def fleet_name(self) -> str:
        """Name of the fleet in `FLEETS`, or the number of its rows; "" without a fleet."""
        names = FLEETS.names() if self.fleet else ()
        devices = ((name, FLEETS.load(name).devices) for name in names)  # older rows have no rates
        named = (name for name, rows in devices if self.fleet in (rows, tuple(map(_without_rate, rows))))
        return next(named, f"of {len(self.fleet)} devices" if self.fleet else "")

    @property
    def label(self) -> str:
        """Fleet and its load, if it is sustained; "" without a fleet."""
        load = " under sustained load" * (self.device_load != LOADS[0])
        return f"fleet {self.fleet_name}{load}" if self.fleet else ""


def fleet_rows(rows: Any) -> tuple[Row, ...]:
    """Return rows of a fleet as in `Row`, with the numbers of profiles for rows without.

    Rates of profiles are used if at least half of the rows have one, since the others read in no time. A label becomes
    "" if its profile has other numbers than the row. ``ValueError`` for an unknown profile, a number out of range, and
    shares whose sum is not 1.
    """
    if not isinstance(rows, tuple | list) or not rows:
        raise ValueError(f"fleet: expected rows (device, share), got {shown(rows)}")
    checked = tuple(_row(f"fleet[{index}]", row) for index, row in enumerate(rows))
    total = fsum(share for _, share, *_ in checked)
    if abs(total - 1.0) > _ROUNDING:
        raise ValueError(f"fleet: expected shares with the sum 1, got {total:.10g}")
    if 2 * sum(len(row) > 7 for row in checked) >= len(checked):
        return checked
    return tuple(_without_rate(row) if len(given) == 2 else row for given, row in zip(rows, checked, strict=True))


def _row(where: str, row: Any) -> Row:
    if not isinstance(row, tuple | list) or len(row) not in (2, 5, 7, 8):
        expected = "(device, share), or (label, share, cold time, sustained time, joules), or these with two numbers"
        expected += " of the growth with context, or also with the rate of reading"
        raise ValueError(f"{where}: expected {expected}, got {shown(row)}")
    label, share, *numbers = row
    check_label(f"{where}, device", label)
    check_real(f"{where}, share", share, 0.0, 1.0, open_low=True)
    if not numbers:
        check_name(f"{where}, device", label, DEVICES.names())
        return (label, float(share), *DEVICES.load(label).numbers)
    named = dict(zip(_NUMBERS, numbers, strict=False))
    check_plausible(named, f"{where}, ")
    measured = tuple(
        check_real(f"{where}, {name}", number, 0.0, open_low=name in _NUMBERS[:2]) for name, number in named.items()
    )
    for context in measured[4:5]:  # a float in the rows of files
        check_integer(f"{where}, draft_context", int(context) if context.is_integer() else context, 0, MAX_CONTEXT)
    measured = _known((*measured, 0.0, 0.0, 0.0)[:6])
    if label in DEVICES.names() and DEVICES.load(label).numbers[: len(measured)] != measured:
        label = ""
    return (label, float(share), *measured)


def with_fleet(values: Mapping[str, Any], read_files: bool = True) -> dict[str, Any]:
    """Return fields of a scenario with the rows of their ``fleet``, a name, file or rows, and its mean draft time.

    Without ``read_files`` files are refused. ``ValueError`` for a bad fleet, a load without a fleet, another mean draft
    time, a draft profile, whose time is that of its own machine, and batteries, whose capacities are fitted to devices
    without a fleet.
    """
    fleet, load = values.get("fleet"), values.get("device_load", LOADS[0])
    check_name("device_load", load, LOADS)
    if not fleet:
        if load != LOADS[0]:
            raise ValueError(f"device_load: expected {LOADS[0]!r} without a fleet, got {load!r}")
        return dict(values)
    check_pairs("fleet", values)
    rows = Fleet.resolve(fleet, read_files).devices if isinstance(fleet, str) else fleet_rows(fleet)
    mean = fsum(share * numbers[LOADS.index(load)] for _, share, *numbers in rows)
    if values.get("mean_draft_time", mean) != mean:
        raise ValueError(f"mean_draft_time: expected none, or {mean!r} of the fleet, got {values['mean_draft_time']!r}")
    return {**values, "fleet": rows, "mean_draft_time": mean}
