"""Whole vectors as flat arrays, and each device a copy of its own, which Gymnasium's own wrappers cannot make.

A single environment needs none of it: ``gymnasium.wrappers.FlattenObservation`` and ``RescaleAction`` do the same.
"""

from multispin_env.wrappers.flattening import by_device, flat_vector

__all__ = ["by_device", "flat_vector"]
