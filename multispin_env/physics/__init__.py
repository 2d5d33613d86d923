"""The model: arrays in, arrays out, users on the last axis; no Gymnasium and no hidden random state."""

from multispin_env.physics.continuous.types import (
    ContinuousObserved,
    ContinuousOutcome,
    ContinuousState,
    Demand,
    Join,
    Phase,
    Served,
)
from multispin_env.physics.records import Records, load_records
from multispin_env.physics.types import BatteryState

__all__ = [
    "BatteryState",
    "ContinuousObserved",
    "ContinuousOutcome",
    "ContinuousState",
    "Demand",
    "Join",
    "Phase",
    "Records",
    "Served",
    "load_records",
]
