"""Baselines: systems and rules from other work."""

from multispin_env.baselines.systems import (
    autoregressive_goodput,
    centralized_goodput,
    colocated_goodput,
    overlapping_goodput,
    p2p_goodput,
)

__all__ = [
    "autoregressive_goodput",
    "centralized_goodput",
    "colocated_goodput",
    "overlapping_goodput",
    "p2p_goodput",
]
