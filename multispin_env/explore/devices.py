"""The table of devices of a page: drawn from the scenario, rounded as it is shown, with what was edited."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer, check_name, check_real, shown
from multispin_env.explore.system import MOST_DEVICES
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.types import SystemState
from multispin_env.physics.uplink import channel_gain
from multispin_env.scenario import Scenario
from multispin_env.units import MS, db_to_linear, linear_to_db


class EditableColumn(NamedTuple):
    """A column that can be edited."""

    name: str
    title: str
    low: float
    high: float
    digits: int


COLUMNS = (
    EditableColumn("draft_ms", "draft time (ms/token)", 0.01, 10_000.0, 2),
    EditableColumn("snr_db", "SNR (dB)", -30.0, 60.0, 1),
    EditableColumn("acceptance", "acceptance", 0.0, 1.0, 3),
)
"""In the order of the fields of `SystemState`."""

NAMES = tuple(column.name for column in COLUMNS)

Edits = dict[tuple[int, str], float]
"""What was edited, by device, counted from 1, and column."""


@dataclass(frozen=True, eq=False)
class DeviceTable:
    """Devices in the units of the page; what is shown is exactly what is computed with."""

    draft_ms: FloatArray  # (K,) ms/token
    snr_db: FloatArray  # (K,) dB
    acceptance: FloatArray  # (K,)

    def state(self) -> SystemState:
        """The state of the library, as `python_state` writes it."""
        return SystemState(self.draft_ms * MS, np.log2(1.0 + db_to_linear(self.snr_db)), self.acceptance)

    def python_state(self) -> str:
        """Lines of Python that make `state`."""
        columns = {name: getattr(self, name).tolist() for name in NAMES}
        return "\n".join(
            [
                *(f"{name} = np.array({values})" for name, values in columns.items()),
                f"state = ms.SystemState(draft_ms * {MS}, np.log2(1.0 + np.power(10.0, snr_db / 10.0)), acceptance)",
            ]
        )

    def csv(self) -> str:
        """The file that ``multispin solve`` reads."""
        rows = zip(self.draft_ms.tolist(), self.snr_db.tolist(), self.acceptance.tolist(), strict=True)
        lines = [f"{draft},{snr},{acceptance}" for draft, snr, acceptance in rows]
        return "\n".join(["draft_time_ms,snr_db,acceptance_rate", *lines])


def read_edits(text: str) -> Edits:
    """Edits from their text, as ``3.snr_db=12.5;4.acceptance=0.7``.

    Raises
    ------
    ValueError
        For what is no such text, a device or column that there is not, or a value outside the column's range.
    """
    edits: Edits = {}
    for part in filter(None, text.split(";")):
        place, _, value = part.partition("=")
        device, _, name = place.partition(".")
        if not device.isdecimal():
            raise ValueError(f"device: expected a number from 1 to {MOST_DEVICES}, got {shown(device)}")
        number = check_integer("device", int(device[:9]), 1, MOST_DEVICES)
        check_name("column", name, NAMES)
        edits[number, name] = _checked(number, COLUMNS[NAMES.index(name)], value)
    return edits


def _checked(device: int, column: EditableColumn, text: str) -> float:
    field = f"device {device}, {column.title}"
    try:
        number = float(text)
    except ValueError:
        raise ValueError(
            f"{field}: expected a number from {column.low:g} to {column.high:g}, got {shown(text)}"
        ) from None
    return round(check_real(field, number, column.low, column.high), column.digits)


def draw_devices(scenario: Scenario, seed: int, edits: Edits) -> DeviceTable:
    """Devices drawn from a scenario, then edited.

    The draw is that of `MOST_DEVICES` devices, so that another K keeps those that stay. Edits of devices that there are
    not are kept for later.
    """
    drawn = sample_state(scenario.replace(num_users=MOST_DEVICES), np.random.default_rng(seed))
    count = scenario.num_users
    snr = linear_to_db(channel_gain(scenario, drawn.spectral_efficiency[:count]) * scenario.transmit_snr)
    columns = [
        np.clip(np.round(values, column.digits), column.low, column.high)
        for column, values in zip(
            COLUMNS, (drawn.draft_time[:count] / MS, snr, drawn.acceptance_rate[:count]), strict=True
        )
    ]
    for (device, name), value in edits.items():
        if device <= count:
            columns[NAMES.index(name)][device - 1] = value
    return DeviceTable(*columns)
