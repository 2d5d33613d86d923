"""Requests that end: arrivals, lengths, traces and service levels (not in the paper)."""

from multispin_env.physics.arrivals import make_arrivals
from multispin_env.physics.lengths import make_lengths
from multispin_env.physics.traces import RequestTrace, load_trace
from multispin_env.physics.workload import ServiceLevel, Workload

__all__ = ["RequestTrace", "ServiceLevel", "Workload", "load_trace", "make_arrivals", "make_lengths"]
