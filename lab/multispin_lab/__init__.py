"""Products around multispin_env: own models, real devices, answers for a server, the suite, the page, the figures."""

from multispin_lab import suite
from multispin_lab.planning.capacity import Capacity, capacity

__all__ = ["Capacity", "capacity", "suite"]
