"""Devices of a scenario, profiles of measured ones, and fleets: mixtures from which a scenario draws its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import fsum
from typing import Any, ClassVar, NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_label, check_name, check_plausible, check_real, checked_field, shown
from multispin_env.field_files import ProfileFile
from multispin_env.pairs import check_pairs
from multispin_env.registry import DEVICES, FLEETS, Registry

LOADS = ("cold", "sustained")

Row = tuple[str, float, float, float, float]
"""Label, share, draft time cold and under sustained load in s/token, and joules of a drafted token, 0 if unknown."""

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

    def __post_init__(self) -> None:
        check_real("draft_time", self.draft_time, 0.0, open_low=True)
        self.check_profile()

    @property
    def numbers(self) -> tuple[float, float, float]:
        """Draft time cold and under sustained load in s/token, and joules of a drafted token, 0 if unknown."""
        return self.draft_time, self.sustained_time or self.draft_time, self.joules_per_token or 0.0


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


@dataclass(frozen=True, kw_only=True)
class Devices:
    """Devices from which a scenario draws its own, `Scenario.devices`; the fields are those of the scenario."""

    mean_draft_time: float
    draft_time_spread: float
    mean_gain_low: float
    mean_gain_high: float
    draft_energy: float
    fleet: tuple[Row, ...]
    device_load: str

    def draw(self, draft: FloatArray, gain: FloatArray) -> DrawnDevices:
        """Map uniform variables (..., K) in [0, 1) to devices: T_k uniform in T̄ (1 ± spread), or of the fleet."""
        mean_gain = self.mean_gain_low + (self.mean_gain_high - self.mean_gain_low) * gain
        if not self.fleet:
            spread = self.draft_time_spread
            return DrawnDevices(self.mean_draft_time * (1.0 - spread + 2.0 * spread * draft), mean_gain)
        shares, times, joules = self.rows
        row = np.searchsorted(np.cumsum(shares)[:-1], draft, side="right")
        return DrawnDevices(times[row], mean_gain, joules[row])

    @cached_property  # read whenever devices are drawn
    def rows(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Share, draft time in s/token under the ``device_load``, and joules of a drafted token, of each row (n,)."""
        shares, *times, joules = np.array([row[1:] for row in self.fleet]).T
        return shares, times[LOADS.index(self.device_load)], np.where(joules > 0.0, joules, self.draft_energy)

    @property
    def draft_time_range(self) -> tuple[float, float]:
        """Smallest and largest T_k / T̄."""
        if not self.fleet:
            return 1.0 - self.draft_time_spread, 1.0 + self.draft_time_spread
        times = self.rows[1] / self.mean_draft_time
        return float(times.min()), float(times.max())

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
        named = (name for name in FLEETS.names() if self.fleet and FLEETS.load(name).devices == self.fleet)
        return next(named, f"of {len(self.fleet)} devices" if self.fleet else "")

    @property
    def label(self) -> str:
        """Fleet and its load, if it is sustained; "" without a fleet."""
        load = " under sustained load" * (self.device_load != LOADS[0])
        return f"fleet {self.fleet_name}{load}" if self.fleet else ""


def fleet_rows(rows: Any) -> tuple[Row, ...]:
    """Return rows (label, share, cold, sustained, joules) of a fleet, with the numbers of profiles for rows without.

    A label becomes "" if its profile has other numbers. ``ValueError`` for an unknown profile, a number out of range,
    and shares whose sum is not 1.
    """
    if not isinstance(rows, tuple | list) or not rows:
        raise ValueError(f"fleet: expected rows (device, share), got {shown(rows)}")
    checked = tuple(_row(f"fleet[{index}]", row) for index, row in enumerate(rows))
    total = fsum(share for _, share, *_ in checked)
    if abs(total - 1.0) > _ROUNDING:
        raise ValueError(f"fleet: expected shares with the sum 1, got {total:.10g}")
    return checked


def _row(where: str, row: Any) -> Row:
    if not isinstance(row, tuple | list) or len(row) not in (2, 5):
        expected = "(device, share), or (label, share, cold time, sustained time, joules)"
        raise ValueError(f"{where}: expected {expected}, got {shown(row)}")
    label, share, *numbers = row
    check_label(f"{where}, device", label)
    check_real(f"{where}, share", share, 0.0, 1.0, open_low=True)
    if not numbers:
        check_name(f"{where}, device", label, DEVICES.names())
        return (label, float(share), *DEVICES.load(label).numbers)
    named = dict(zip(("draft_time", "sustained_time", "joules_per_token"), numbers, strict=True))
    check_plausible(named, f"{where}, ")
    cold, sustained, joules = (
        check_real(f"{where}, {name}", number, 0.0, open_low=name != "joules_per_token")
        for name, number in named.items()
    )
    if label in DEVICES.names() and DEVICES.load(label).numbers != (cold, sustained, joules):
        label = ""
    return label, float(share), cold, sustained, joules


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
    mean = fsum(share * (cold if load == LOADS[0] else sustained) for _, share, cold, sustained, _ in rows)
    if values.get("mean_draft_time", mean) != mean:
        raise ValueError(f"mean_draft_time: expected none, or {mean!r} of the fleet, got {values['mean_draft_time']!r}")
    return {**values, "fleet": rows, "mean_draft_time": mean}
