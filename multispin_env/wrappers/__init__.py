"""Other shapes of the environments, for libraries that want one array: flat, or each device a copy of its own."""

from multispin_env.wrappers.devices import by_device
from multispin_env.wrappers.flattening import flat, flat_vector

__all__ = ["by_device", "flat", "flat_vector"]
